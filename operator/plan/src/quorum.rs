//! The arithmetic of majorities. Does not own who votes (`membership`).

/// Smallest number of voters that decides.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}
