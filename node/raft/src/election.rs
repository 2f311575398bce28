//! Elections: which member leads, and when leadership moves to another member. Owns votes, check-quorum and leadership
//! transfers. Does not own the campaign of this member or the duties of a leader (`role`).

pub(crate) mod check_quorum;
pub(crate) mod pre_vote;
pub(crate) mod preference;
pub(crate) mod transfer;
pub(crate) mod vote;
