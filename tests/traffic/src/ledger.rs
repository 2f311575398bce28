//! Outcomes of all writes so far, grouped by phase. Owns the counts, and the times without an acknowledgement. Does not
//! own a connection (`writer.rs`).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Outcome of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server acknowledged the write.
    Acknowledged,
    /// There was no response, or there was an error after the request may have reached a server. Whether the write
    /// happened is unknown.
    Unknown,
    /// The request was never sent, because no connection was established.
    NotSent,
}

/// All outcomes of one client.
#[derive(Debug)]
pub struct WriteLedger {
    outcomes: Vec<Outcome>,
    phase: Phase,
    last_acknowledgement: Instant,
}

#[derive(Debug)]
struct Phase {
    name: String,
    began: Instant,
    acknowledged: u64,
    unknown: u64,
    not_sent: u64,
    longest_gap: Duration,
    gap_began: Duration,
    last_error: Option<String>,
}

/// The client's report on one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Name that the test gave to the phase.
    pub phase: String,
    /// Duration of the phase in milliseconds.
    pub duration_ms: u64,
    /// Number of acknowledged writes.
    pub acknowledged: u64,
    /// Number of writes whose outcome is unknown.
    pub unknown: u64,
    /// Number of writes that were never sent.
    pub not_sent: u64,
    /// Longest time within the phase in which no writer received an acknowledgement, in milliseconds. A time without an
    /// acknowledgement that is still open at the end of the phase counts up to that end.
    pub longest_gap_ms: u64,
    /// Beginning of the longest time without an acknowledgement, in milliseconds after the beginning of the phase.
    pub gap_began_ms: u64,
    /// The last error of a write, if any write failed.
    pub last_error: Option<String>,
}

impl Phase {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            began: now,
            acknowledged: 0,
            unknown: 0,
            not_sent: 0,
            longest_gap: Duration::ZERO,
            gap_began: Duration::ZERO,
            last_error: None,
        }
    }

    /// Counts a time without an acknowledgement. If it began before the phase, only the part within the phase counts.
    fn gap(&mut self, from: Instant, to: Instant) {
        let from = from.max(self.began);
        let gap = to.saturating_duration_since(from);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.gap_began = from - self.began;
        }
    }
}

impl WriteLedger {
    /// Creates an empty ledger whose first phase has the name `name`.
    #[must_use]
    pub fn new(name: &str, now: Instant) -> Self {
        Self { outcomes: Vec::new(), phase: Phase::new(name, now), last_acknowledgement: now }
    }

    /// Reserves the next key and returns its sequence number. The outcome of its write is unknown until [`Self::end`]
    /// is called.
    pub fn begin(&mut self) -> u64 {
        self.outcomes.push(Outcome::Unknown);
        self.outcomes.len() as u64 - 1
    }

    /// Records the outcome of the write of the key with the number `sequence`.
    pub fn end(&mut self, sequence: u64, outcome: Outcome, error: Option<String>, now: Instant) {
        self.outcomes[usize::try_from(sequence).expect("sequences come from begin")] = outcome;
        match outcome {
            Outcome::Acknowledged => {
                self.phase.acknowledged += 1;
                self.phase.gap(self.last_acknowledgement, now);
                self.last_acknowledgement = self.last_acknowledgement.max(now);
            }
            Outcome::Unknown => self.phase.unknown += 1,
            Outcome::NotSent => self.phase.not_sent += 1,
        }
        if error.is_some() {
            self.phase.last_error = error;
        }
    }

    /// Ends the present phase and begins the phase `next`. Returns the report on the phase that ended.
    pub fn mark(&mut self, next: &str, now: Instant) -> PhaseReport {
        self.phase.gap(self.last_acknowledgement, now);
        let ended = std::mem::replace(&mut self.phase, Phase::new(next, now));
        PhaseReport {
            phase: ended.name,
            duration_ms: millis(now - ended.began),
            acknowledged: ended.acknowledged,
            unknown: ended.unknown,
            not_sent: ended.not_sent,
            longest_gap_ms: millis(ended.longest_gap),
            gap_began_ms: millis(ended.gap_began),
            last_error: ended.last_error,
        }
    }

    /// All outcomes. The index of an outcome is its sequence number.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_may_be_open_at_the_end_of_a_phase() {
        let t = Instant::now();
        let at = |ms| t + Duration::from_millis(ms);
        let mut ledger = WriteLedger::new("before the fault", t);
        for (sequence, ms) in [(0, 10), (1, 30), (2, 35)] {
            assert_eq!(ledger.begin(), sequence);
            ledger.end(sequence, Outcome::Acknowledged, None, at(ms));
        }
        let report = ledger.mark("fault", at(40));
        assert_eq!((report.acknowledged, report.longest_gap_ms, report.gap_began_ms), (3, 20, 10));
        let lost = ledger.begin();
        ledger.end(lost, Outcome::Unknown, Some("gone".into()), at(900));
        let report = ledger.mark("end", at(1040));
        assert_eq!((report.acknowledged, report.unknown, report.longest_gap_ms), (0, 1, 1000));
        assert_eq!(ledger.outcomes()[3], Outcome::Unknown);
    }
}
