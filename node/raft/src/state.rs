//! The data of a member. The rules build on these types. Owns types that keep their own invariants: their fields are
//! private, and each method asserts its preconditions. Does not own rules: `role`, `election`, `replication`,
//! `membership`, `read` and `snapshot` decide when to call the methods.

pub(crate) mod clocks;
pub(crate) mod hard_state;
pub(crate) mod high_water;
pub(crate) mod timeout;

pub(crate) mod history;
pub(crate) mod log;

pub(crate) mod inflight;
pub(crate) mod progress;
pub(crate) mod rounds;
pub(crate) mod transfer;
pub(crate) mod waiting_reads;

pub(crate) mod leader;
pub(crate) mod role;

pub(crate) mod known_leader;
pub(crate) mod open_proposals;
pub(crate) mod preference;
pub(crate) mod removal;
pub(crate) mod seen;
