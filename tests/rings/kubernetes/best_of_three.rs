//! Bars on the gap in service. Owns that each gets three rounds, the best of which counts: a machine that is busy with
//! something else can break any bar once. What was acknowledged must hold after all of them.

use std::time::Duration;

use scenario::client::Traffic;

const ROUNDS: usize = 3;

/// Does something to the cluster until the longest gap in one round is within `bar`.
pub(crate) fn some_round_stays_within(bar: Duration, what: &str, mut round: impl FnMut() -> Duration) {
    let mut gaps = Vec::new();
    for _ in 0..ROUNDS {
        let gap = round();
        if gap <= bar {
            return;
        }
        gaps.push(gap);
    }
    panic!("{what}: nothing was served for {gaps:?} in {ROUNDS} rounds, and {bar:?} are allowed");
}

/// The longest gap since the last mark.
pub(crate) fn gap(traffic: &Traffic<'_>, what: &str) -> Duration {
    let phase = traffic.mark(what).expect("the writer answers");
    let error = phase.last_error.map(|error| format!("; last error: {error}")).unwrap_or_default();
    println!("{what}: longest gap {} ms, {} acknowledged{error}", phase.longest_gap.as_millis(), phase.acknowledged);
    phase.longest_gap
}
