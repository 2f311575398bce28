//! Limits on the time without service. Owns the rule that only the best of three rounds must stay within a limit,
//! because other work on the machine can delay any single round. Does not own the check that acknowledged writes are
//! kept, which covers all rounds.

use std::time::Duration;

use scenario::client::Traffic;

const ROUNDS: usize = 3;

/// Runs rounds until the time without service in one of them is at most `limit`.
pub(crate) fn some_round_stays_within(limit: Duration, what: &str, mut round: impl FnMut() -> Duration) {
    let mut gaps = Vec::new();
    for _ in 0..ROUNDS {
        let gap = round();
        if gap <= limit {
            return;
        }
        gaps.push(gap);
    }
    panic!("{what}: {ROUNDS} rounds had gaps of {gaps:?} without an acknowledged write; the limit is {limit:?}");
}

/// Ends the present phase of the writer and begins the phase `what`. Returns the longest time without an
/// acknowledgement in the phase that ended.
pub(crate) fn gap(traffic: &Traffic<'_>, what: &str) -> Duration {
    let phase = traffic.mark(what).expect("the writer answers");
    let error = phase.last_error.map(|error| format!("; last error: {error}")).unwrap_or_default();
    println!("{what}: longest gap {} ms, {} acknowledged{error}", phase.longest_gap.as_millis(), phase.acknowledged);
    phase.longest_gap
}
