//! Owns how many members a spec asks for, by kind. Does not own which members these are (`plan.rs`).

/// Wanted numbers of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Voters; odd.
    pub voters: usize,
    /// Learners.
    pub learners: usize,
    /// Most members that are replaced at a time; 0 if none is.
    pub replacements_max: usize,
}
