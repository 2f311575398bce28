//! The report: medians, spreads and ratios as a table. The table includes every load, also those in which etcd is
//! better.

use std::fmt::Write;

use super::load::{LOADS, Measured};

/// A figure of the table: its name, the function that returns its value, and the number of digits after the decimal
/// point.
type Figure = (&'static str, fn(&Measured) -> f64, usize);

/// Everything that a run measured.
pub(super) struct Results {
    /// Name of what ours is compared with.
    pub(super) other: String,
    /// For each load and each round, the figures of ours and of the other, in this order.
    pub(super) measured: Vec<Vec<[Measured; 2]>>,
    /// Moments of the run, each with the memory of all members of ours and of the other, in bytes.
    pub(super) memory: Vec<(&'static str, [u64; 2])>,
    /// Requests of each load in each round.
    pub(super) requests: u64,
}

/// By how much the median of the CPU time may exceed that of a former program.
const CPU_FACTOR_MAX: f64 = 1.05;

/// Returns the loads in which ours uses more CPU time than a former program: its median is more than 5 % above the
/// other's, and above the other's highest round.
pub(super) fn costlier(results: &Results) -> Vec<String> {
    let costlier = LOADS.iter().zip(&results.measured).filter_map(|(load, rounds)| {
        let [ours, theirs] = [0, 1].map(|server| Spread::of(rounds.iter().map(|round| round[server].cpu)));
        let limit = f64::max(theirs.median * CPU_FACTOR_MAX, theirs.high);
        (ours.median > limit).then(|| format!("{}: {} CPU s, at most {limit:.2}", load.name, ours.show(2)))
    });
    costlier.collect()
}

/// Returns the whole report.
pub(super) fn markdown(results: &Results) -> String {
    let Results { other, measured, memory, requests } = results;
    let mut text = format!("| Load | Figure | raft-node | {other} | ratio |\n|---|---|---|---|---|\n");
    let figures: [Figure; 6] = [
        ("requests/s", |m| m.rate, 0),
        ("p50 ms", |m| m.p50_ms, 1),
        ("p99 ms", |m| m.p99_ms, 1),
        ("server CPU s per 10,000", |m| m.cpu, 2),
        ("MB written per 10,000", |m| m.written, 1),
        ("of which ahead of entries", |m| m.preallocated, 1),
    ];
    for (load, rounds) in LOADS.iter().zip(measured) {
        for (name, figure, digits) in figures {
            let [ours, theirs] = [0, 1].map(|server| Spread::of(rounds.iter().map(|round| figure(&round[server]))));
            // Loads that only read write nothing.
            if ours.high == 0.0 && theirs.high == 0.0 {
                continue;
            }
            let ratio = ours.median / theirs.median;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {name} | {} | {} | {ratio:.2} |",
                load.name,
                ours.show(digits),
                theirs.show(digits)
            );
        }
    }
    for (when, bytes) in memory {
        let [ours, theirs] = bytes.map(|bytes| bytes / (1 << 20));
        let ratio = ours as f64 / theirs as f64;
        let _ = writeln!(text, "| {when} | memory of three members, MiB | {ours} | {theirs} | {ratio:.2} |");
    }
    let rounds = measured.first().map_or(0, Vec::len);
    let _ = writeln!(text, "\nMedian (lowest to highest) of {rounds} rounds, taken in turns, of {requests} requests.");
    for load in LOADS.iter().filter(|load| load.requests(*requests) != *requests) {
        let _ = writeln!(text, "- {}: {} requests", load.name, load.requests(*requests));
    }
    text
}

struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |share: usize| values.get((values.len().saturating_sub(1)) * share / 2).copied().unwrap_or(f64::NAN);
        Self { low: at(0), median: at(1), high: at(2) }
    }

    fn show(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(cpu: [[f64; 2]; 3]) -> Results {
        let measured = |cpu| Measured { rate: 1.0, p50_ms: 1.0, p99_ms: 1.0, cpu, written: 0.0, preallocated: 0.0 };
        let measured = vec![cpu.map(|pair| pair.map(measured)).to_vec()];
        Results { other: "former".into(), measured, memory: Vec::new(), requests: 7 }
    }

    #[test]
    fn cpu_time_may_be_a_twentieth_higher_or_within_the_former_spread() {
        assert!(costlier(&results([[1.04, 1.0], [1.05, 1.0], [9.0, 1.0]])).is_empty());
        assert_eq!(costlier(&results([[1.04, 1.0], [1.06, 1.0], [9.0, 1.0]])).len(), 1);
        assert!(costlier(&results([[1.2, 1.0], [1.2, 1.0], [1.2, 1.3]])).is_empty());
    }

    #[test]
    fn figures_that_are_zero_on_both_sides_are_left_out() {
        let text = markdown(&results([[1.0; 2]; 3]));
        assert!(text.contains("raft-node | former") && !text.contains("MB written"), "{text}");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(spread.show(1), "2.0 (1.0 to 3.0)");
    }
}
