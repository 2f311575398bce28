//! Membership changes. Owns which changes are legal, joint configurations, and the removal of members. Does not own the
//! list of configurations in the log (`state/history.rs`).

pub(crate) mod request;

pub(crate) mod catch_up;
pub(crate) mod change;
pub(crate) mod joint;
pub(crate) mod removal;
