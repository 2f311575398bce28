//! How many members a spec asks for, by kind. Does not own which members these are (`plan.rs`).

/// How many members of which kind are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Voters; odd.
    pub voters: usize,
    /// Learners.
    pub learners: usize,
    /// Most members replaced at a time; 0: nobody is.
    pub replacements_max: usize,
}
