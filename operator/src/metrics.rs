//! Every metric of the operator, with unit and meaning. Owns the registry. Does not own when an event is counted.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;

/// Labels of the metrics that count passes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    kind: &'static str,
    outcome: &'static str,
}

/// Labels of the metric that counts actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Done {
    action: &'static str,
    outcome: &'static str,
}

/// The operator's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    passes: Family<Pass, Counter>,
    durations: Histogram,
    actions: Family<Done, Counter>,
    leading: Gauge,
    overlaps: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates all metrics with the value zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("raft_operator");
        let passes = Family::<Pass, Counter>::default();
        registry.register("reconciles", "Reconciliations, by kind of object and outcome", passes.clone());
        let durations = Histogram::new(exponential_buckets(0.005, 2.0, 12));
        let help = "Time that one reconciliation takes, from the first read to the last write";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, durations.clone());
        let actions = Family::<Done, Counter>::default();
        registry.register(
            "actions",
            "Actions of the planner that were carried out, by action and outcome",
            actions.clone(),
        );
        let leading: Gauge = Gauge::default();
        registry.register("leading", "1 while this copy of the operator holds the lease", leading.clone());
        let overlaps = Counter::default();
        let help = "Clusters that an operator of another release manages as well; each is counted once";
        registry.register("overlaps", help, overlaps.clone());
        Self { registry: Arc::new(registry), passes, durations, actions, leading, overlaps }
    }

    /// Counts a pass that ended.
    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: Option<&dyn std::fmt::Display>) {
        let outcome = if failed.is_some() { "error" } else { "ok" };
        self.passes.get_or_create(&Pass { kind, outcome }).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// Counts an action that succeeded or failed.
    pub fn acted(&self, action: &'static str, failed: Option<&dyn std::fmt::Display>) {
        let outcome = if failed.is_some() { "error" } else { "ok" };
        self.actions.get_or_create(&Done { action, outcome }).inc();
    }

    /// Sets the metric that shows that this process holds the lease.
    pub fn leads(&self) {
        self.leading.set(1);
    }

    /// Counts a cluster that an operator of another release manages as well.
    pub fn overlaps(&self) {
        self.overlaps.inc();
    }

    /// The values of all metrics, in the text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_unit_and_total() {
        let metrics = Metrics::new();
        metrics.reconciled("RaftCluster", Duration::from_millis(10), None);
        metrics.acted("Apply", Some(&"refused"));
        let text = metrics.text();
        for line in [
            r#"raft_operator_reconciles_total{kind="RaftCluster",outcome="ok"} 1"#,
            r#"raft_operator_actions_total{action="Apply",outcome="error"} 1"#,
            "raft_operator_reconcile_duration_seconds_count 1",
            "raft_operator_leading 0",
            "raft_operator_overlaps_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
