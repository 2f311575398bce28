//! Owns the arithmetic of majorities. Does not own who votes (`membership`).

/// Smallest number of voters that can commit; any two majorities share a voter.
pub(crate) fn majority(voters: usize) -> usize {
    let majority = voters / 2 + 1;
    assert!(2 * majority > voters, "two majorities share a voter");
    majority
}
