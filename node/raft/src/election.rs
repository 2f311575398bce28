//! Who leads. Owns ballots, time-outs and hand-overs; what a leader then does belongs to `replication`.

pub(crate) mod check_quorum;
pub(crate) mod pre_vote;
pub(crate) mod preference;
pub(crate) mod timeout;
pub(crate) mod transfer;
pub(crate) mod vote;
