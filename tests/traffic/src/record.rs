//! What has been acknowledged so far, phase by phase. Owns counting and gaps; talks to nobody.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What came of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said yes.
    Acknowledged,
    /// No answer, or an error after the request may have reached a server: it may have happened or not.
    Unknown,
    /// The request never left: no connection could be had.
    NotSent,
}

/// All outcomes of one client's life.
#[derive(Debug)]
pub struct Record {
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

/// What one phase looked like from the client's side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseReport {
    /// As named by whoever drives the test.
    pub phase: String,
    /// Length, milliseconds.
    pub duration_ms: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Writes that never left.
    pub not_sent: u64,
    /// Longest time between two acknowledgements of any writer, milliseconds; a gap still open at the end counts.
    pub longest_gap_ms: u64,
    /// When that gap began, milliseconds after the phase did.
    pub gap_began_ms: u64,
    /// The last error seen, for the reader.
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

    /// A gap that reaches back before the phase counts from the phase's beginning only.
    fn gap(&mut self, from: Instant, to: Instant) {
        let from = from.max(self.began);
        let gap = to.saturating_duration_since(from);
        if gap > self.longest_gap {
            self.longest_gap = gap;
            self.gap_began = from - self.began;
        }
    }
}

impl Record {
    /// Nothing written yet; the first phase is called `name`.
    #[must_use]
    pub fn new(name: &str, now: Instant) -> Self {
        Self { outcomes: Vec::new(), phase: Phase::new(name, now), last_acknowledgement: now }
    }

    /// Reserves the next fresh key. Until its outcome is known it counts as unknown.
    pub fn begin(&mut self) -> u64 {
        self.outcomes.push(Outcome::Unknown);
        self.outcomes.len() as u64 - 1
    }

    /// The write of key `sequence` ended.
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

    /// Ends the phase and begins the next.
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

    /// Every outcome, by sequence.
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
    fn the_longest_gap_is_between_acknowledgements_and_may_be_open_at_the_end() {
        let t = Instant::now();
        let at = |ms| t + Duration::from_millis(ms);
        let mut record = Record::new("quiet", t);
        for (sequence, ms) in [(0, 10), (1, 30), (2, 35)] {
            assert_eq!(record.begin(), sequence);
            record.end(sequence, Outcome::Acknowledged, None, at(ms));
        }
        let report = record.mark("stormy", at(40));
        assert_eq!((report.acknowledged, report.longest_gap_ms, report.gap_began_ms), (3, 20, 10));
        let lost = record.begin();
        record.end(lost, Outcome::Unknown, Some("gone".into()), at(900));
        let report = record.mark("end", at(1040));
        assert_eq!((report.acknowledged, report.unknown, report.longest_gap_ms), (0, 1, 1000));
        assert_eq!(record.outcomes()[3], Outcome::Unknown);
    }
}
