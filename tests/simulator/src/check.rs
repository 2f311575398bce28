//! What is demanded of a run as a whole, when it is over.

pub mod linearizable;
pub mod model;
