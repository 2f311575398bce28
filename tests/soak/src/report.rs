//! The report of a run: rounds with their gaps in service, counts of faults, and figures of the end. Owns the limit of
//! the gaps. Does not own what is measured (`run.rs`).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::check::Checked;
use crate::schedule::Fault;

/// Limit of the median of all gaps during faults that leave a quorum of voters, in milliseconds. It is the limit of
/// the tests that kill a leader.
const GAP_MEDIAN_MAX_MS: u64 = 3_000;

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct RoundReport {
    /// The faults, as text.
    pub(crate) faults: String,
    /// Longest time without an acknowledged put through a voter that was not struck, in milliseconds; `None` if the
    /// faults left no quorum, or struck every voter.
    pub(crate) gap_ms: Option<u64>,
    /// Time from the end of the faults until a put through each voter succeeded, in milliseconds; `None`: not in time.
    pub(crate) recovery_ms: Option<u64>,
}

/// Everything that a run reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Seed and settings.
    pub(crate) head: String,
    pub(crate) rounds: Vec<RoundReport>,
    pub(crate) faults: BTreeMap<Fault, usize>,
    pub(crate) checked: Checked,
    /// Lines about the end of the run.
    pub(crate) end: Vec<String>,
}

impl Report {
    /// The median of the gaps, and whether it is below its limit. A run without a measured gap has none.
    pub(crate) fn median_gap(&self) -> Option<(u64, bool)> {
        let mut gaps: Vec<u64> = self.rounds.iter().filter_map(|round| round.gap_ms).collect();
        gaps.sort_unstable();
        let median = *gaps.get(gaps.len() / 2)?;
        Some((median, median <= GAP_MEDIAN_MAX_MS))
    }

    /// The report as Markdown.
    pub(crate) fn markdown(&self, violations: &[String]) -> String {
        let mut text = format!("{}\n\n| Round | Faults | Gap ms | Recovery ms |\n|---|---|---|---|\n", self.head);
        let show = |figure: Option<u64>| figure.map_or_else(|| "–".into(), |figure| figure.to_string());
        // Writing to a String cannot fail.
        for (number, round) in (1..).zip(&self.rounds) {
            let (gap, recovery) = (show(round.gap_ms), show(round.recovery_ms));
            let _ = writeln!(text, "| {number} | {} | {gap} | {recovery} |", round.faults);
        }
        let faults: Vec<_> = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        let _ = writeln!(text, "\nFaults: {}.", faults.join(", "));
        if let Some((median, _)) = self.median_gap() {
            let _ = writeln!(text, "Gaps: median {median} ms, limit {GAP_MEDIAN_MAX_MS} ms.");
        }
        let Checked { registers, calls, unknown } = self.checked;
        let _ = writeln!(text, "Histories: {registers} registers, {calls} calls, {unknown} without an answer.");
        for line in &self.end {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "Violations: {}.", violations.len());
        for violation in violations {
            let _ = writeln!(text, "- {violation}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(gaps: &[Option<u64>]) -> Report {
        let round = |gap_ms: &Option<u64>| RoundReport { faults: "Kill m1".into(), gap_ms: *gap_ms, recovery_ms: None };
        Report { rounds: gaps.iter().map(round).collect(), ..Default::default() }
    }

    #[test]
    fn the_median_counts_measured_gaps_only() {
        assert_eq!(gaps(&[Some(9_000), None, Some(100), Some(200)]).median_gap(), Some((200, true)));
        assert_eq!(gaps(&[Some(9_000), None]).median_gap(), Some((9_000, false)));
        assert_eq!(gaps(&[None]).median_gap(), None);
    }

    #[test]
    fn every_round_and_violation_is_published() {
        let text = gaps(&[Some(7), None]).markdown(&["lost".into()]);
        assert!(text.contains("| 1 | Kill m1 | 7 | – |") && text.contains("| 2 | Kill m1 | – | – |"), "{text}");
        assert!(text.ends_with("Violations: 1.\n- lost\n"), "{text}");
    }
}
