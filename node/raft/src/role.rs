//! Roles and the transitions between them. Owns what a member does when it enters a role and when time passes in the
//! role. Does not own who wins an election (`election`).
//!
//! ```text
//!                  leader is silent        pre-vote won            vote won
//!   Follower ------------------> PreCandidate -------> Candidate -------> Leader
//!      ^                              |                    |                |
//!      +------------------------------+--------------------+----------------+
//!               another leader, a newer term, a lost election, or a lost quorum
//! ```

pub(crate) mod candidate;
pub(crate) mod follower;
pub(crate) mod leader;
