//! Limits on the time without service. Owns the rule that the median of three rounds must stay within a limit, because
//! other work on the machine can delay a single round. Does not own the check that acknowledged writes are kept, which
//! covers all rounds.

use std::time::Duration;

use scenario::client::Traffic;

/// Number of rounds, of three, that decide the median.
const DECISIVE: usize = 2;

/// Runs rounds until two of at most three agree on whether they stay within `limit`. They then decide the median. The
/// times of all rounds are printed.
pub(crate) fn the_median_stays_within(limit: Duration, what: &str, mut round: impl FnMut() -> Duration) {
    let (mut within, mut above) = (Vec::new(), Vec::new());
    while within.len() < DECISIVE && above.len() < DECISIVE {
        let gap = round();
        if gap <= limit { within.push(gap) } else { above.push(gap) }
    }
    println!("{what}: rounds within {limit:?}: {within:?}; rounds above: {above:?}");
    assert!(
        within.len() == DECISIVE,
        "{what}: rounds had gaps of {above:?} and {within:?} without an acknowledged write; the limit is {limit:?}"
    );
}

/// Ends the present phase of the writer and begins the phase `what`. Returns the longest time without an
/// acknowledgement in the phase that ended.
pub(crate) fn gap(traffic: &Traffic<'_>, what: &str) -> Duration {
    let phase = traffic.mark(what).expect("the writer answers");
    let error = phase.last_error.map(|error| format!("; last error: {error}")).unwrap_or_default();
    println!("{what}: longest gap {} ms, {} acknowledged{error}", phase.longest_gap.as_millis(), phase.acknowledged);
    phase.longest_gap
}
