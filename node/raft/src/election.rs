//! Elections: which member leads, and when leadership moves to another member. Owns votes, check-quorum, leadership
//! transfers, and what follows from space that is short. Does not own the campaign of this member or the duties of a leader (`role`).

pub(crate) mod check_quorum;
pub(crate) mod pre_vote;
pub(crate) mod preference;
pub(crate) mod reserve;
pub(crate) mod transfer;
pub(crate) mod vote;
