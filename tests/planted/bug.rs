//! What a planted bug is: pieces of text that are replaced in a crate's sources. In the new text, `PLANTED` stands for the
//! condition that the bug is switched on. Does not own the lists of bugs (the files `bugs.rs`).

/// A bug that can be planted.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Name by which the environment variable `BUG` selects the bug.
    pub name: &'static str,
    /// The implementation that had the bug, or the rule that the bug breaks.
    pub of: &'static str,
    /// Replacements that plant the bug.
    pub edits: &'static [Edit],
}

/// The crate in which a piece of text is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `node/raft/src`.
    Core,
    /// `node/storage/src`.
    Storage,
    /// `node/engine/src`.
    Engine,
    /// `operator/plan/src`.
    Planner,
    /// `operator/src`.
    Shell,
}

/// A replacement of one piece of text.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// The crate.
    pub part: Part,
    /// File, relative to the crate's sources.
    pub file: &'static str,
    /// Text that occurs exactly once in the file.
    pub from: &'static str,
    /// Text that replaces `from`.
    pub to: &'static str,
}
