//! Owns how many voters and learners a spec asks for, and which member moves to another volume. Does not own which
//! members stay (`plan.rs`).

use crate::ids::MemberId;

/// Desired numbers of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of voters; odd.
    pub voters: usize,
    /// Number of learners.
    pub learners: usize,
    /// Maximum number of members replaced at the same time; 0: replacement is off.
    pub replacements_max: usize,
    /// The member that a new one replaces although it serves.
    pub moved: Option<MemberId>,
}
