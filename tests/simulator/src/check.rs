//! Checks of a whole run at its end.

pub mod linearizable;
pub mod model;
