//! Owns a histogram with few buckets that is updated without a lock. Does not own what is measured (`metrics.rs`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Bounds of durations from 100 µs to 10 s, in nanoseconds.
const DURATIONS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    32_000_000,
    64_000_000,
    128_000_000,
    256_000_000,
    512_000_000,
    1_024_000_000,
    4_096_000_000,
    10_000_000_000,
];

const COUNTS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Histogram with fixed bounds. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [u64],
    /// Factor from the stored unit to the unit that is shown.
    scale: f64,
    /// One bucket for each bound, and one for values above the last bound.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Creates a histogram of durations, shown in seconds.
    #[must_use]
    pub fn durations() -> Histogram {
        Histogram::over(DURATIONS, 1e-9)
    }

    /// Creates a histogram of counts.
    #[must_use]
    pub fn counts() -> Histogram {
        Histogram::over(COUNTS, 1.0)
    }

    fn over(bounds: &'static [u64], scale: f64) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Inner { bounds, scale, buckets, sum: AtomicU64::new(0) }))
    }

    /// Adds a duration.
    pub fn observe(&self, took: Duration) {
        self.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a count.
    pub fn observe_count(&self, count: usize) {
        self.add(count as u64);
    }

    fn add(&self, value: u64) {
        let bucket = self.0.bounds.partition_point(|&bound| bound < value);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Number of values that were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = self.0.bounds.iter().map(|&bound| bound as f64 * self.0.scale);
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)))
            .collect();
        // The count is computed from the buckets just read, because a separate counter could disagree with them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 * self.0.scale;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_value_at_a_bound_belongs_to_the_bucket_of_that_bound() {
        let histogram = Histogram::counts();
        for count in [0, 1, 2, 3, 1024, 1025] {
            histogram.observe_count(count);
        }
        assert_eq!(histogram.count(), 6);
        let mut registry = Registry::default();
        registry.register("things", "Things", histogram);
        let mut page = String::new();
        text::encode_registry(&mut page, &registry).unwrap();
        for line in [
            "things_sum 2055.0",
            "things_count 6",
            "things_bucket{le=\"1.0\"} 2",
            "things_bucket{le=\"2.0\"} 3",
            "things_bucket{le=\"4.0\"} 4",
            "things_bucket{le=\"1024.0\"} 5",
            "things_bucket{le=\"+Inf\"} 6",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing from:\n{page}");
        }
    }

    #[test]
    fn durations_are_shown_in_seconds() {
        let histogram = Histogram::durations();
        histogram.observe(Duration::from_micros(250));
        let mut registry = Registry::default();
        registry.register("took_seconds", "Time", histogram);
        let mut page = String::new();
        text::encode_registry(&mut page, &registry).unwrap();
        assert!(page.contains("took_seconds_sum 0.00025"), "{page}");
        assert!(page.contains("took_seconds_bucket{le=\"0.00025\"} 1"), "{page}");
        assert!(page.contains("took_seconds_bucket{le=\"0.0001\"} 0"), "{page}");
    }
}
