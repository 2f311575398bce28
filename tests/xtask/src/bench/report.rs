//! The report: medians, spreads and ratios as a table. The table includes every load, also those in which etcd is
//! better.

use std::fmt::Write;

use super::load::{LOADS, Measured};

/// A figure of the table: its name, the function that returns its value, and the number of digits after the decimal
/// point.
type Figure = (&'static str, fn(&Measured) -> f64, usize);

/// Returns the whole report. `measured` holds, for each load and each round, the figures of raft-node and of etcd, in
/// this order.
pub(super) fn markdown(measured: &[Vec<[Measured; 2]>], memory: [u64; 2], requests: u64) -> String {
    let mut text = String::from("| Load | Figure | raft-node | etcd | ratio |\n|---|---|---|---|---|\n");
    let figures: [Figure; 4] = [
        ("requests/s", |m| m.rate, 0),
        ("p50 ms", |m| m.p50_ms, 1),
        ("p99 ms", |m| m.p99_ms, 1),
        ("server CPU s per 10,000", |m| m.cpu, 2),
    ];
    for (load, rounds) in LOADS.iter().zip(measured) {
        for (name, figure, digits) in figures {
            let [ours, theirs] = [0, 1].map(|server| Spread::of(rounds.iter().map(|round| figure(&round[server]))));
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
    let [ours, theirs] = memory.map(|bytes| bytes / (1 << 20));
    let _ = writeln!(
        text,
        "| after all loads | memory of three members, MiB | {ours} | {theirs} | {:.2} |",
        ours as f64 / theirs as f64
    );
    let rounds = measured.first().map_or(0, Vec::len);
    let _ = writeln!(
        text,
        "\nMedian (lowest to highest) of {rounds} rounds, taken in turns, of {requests} requests (1 client: a twentieth)."
    );
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

    #[test]
    fn the_median_is_the_middle_one() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(spread.show(1), "2.0 (1.0 to 3.0)");
    }
}
