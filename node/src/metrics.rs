//! Every metric of a member, with unit and meaning. A metric is either counted when an event happens, or read from the
//! member when the page is requested. Owns names and counting. Does not own the port of the page (`health.rs`).
//!
//! The `etcd_*` and `grpc_*` names are those of etcd, so that dashboards made for etcd work. Metrics that etcd does not
//! have begin with `raft_`. Recording costs a few atomic additions and never waits.

mod histogram;
mod labelled;
mod observe;
mod process;
mod state;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use mvcc::{OpResult, TxnResult};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

pub use histogram::Histogram;
use labelled::{Calls, Durations};
pub use state::State;

/// Metrics of a member. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,

    leader_changes: Counter,
    elections: Counter,
    proposals_pending: Gauge<i64, AtomicI64>,
    proposals_failed: Counter,
    read_indexes_failed: Counter,
    slow_read_indexes: Counter,
    slow_applies: Counter,

    entry_commands: Histogram,
    log_write: Histogram,
    log_write_entries: Histogram,
    log_bytes: Counter,
    log_preallocated_bytes: Counter,
    apply: Histogram,
    read_index: Histogram,
    requests: Durations,
    calls: Calls,

    puts: Counter,
    deletes: Counter,
    ranges: Counter,
    txns: Counter,

    snapshots: Counter,
    snapshot_write: Histogram,
    snapshots_sent: Counter,
    snapshots_received: Counter,
    snapshots_failed: Counter,

    peer_sent_bytes: Counter,
    peer_received_bytes: Counter,
    peer_disconnects: Counter,
    keyspaces_differ: Counter,
    log_given_up: Counter,

    health_success: Counter,
    health_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates all metrics, at zero.
    #[must_use]
    pub fn new() -> Metrics {
        let mut page = Page(Registry::default());
        let inner = Inner {
            leader_changes: page.counter("etcd_server_leader_changes_seen", "Changes of leader that this member saw"),
            elections: page
                .counter("raft_elections_started", "Elections that this member started, pre-votes not counted"),
            proposals_pending: page
                .gauge("etcd_server_proposals_pending", "Proposals of this member's clients without an outcome yet"),
            proposals_failed: page
                .counter("etcd_server_proposals_failed", "Proposals that were refused, or without an outcome in time"),
            read_indexes_failed: page
                .counter("etcd_server_read_indexes_failed", "Linearizable reads that could not be confirmed"),
            slow_read_indexes: page
                .counter("etcd_server_slow_read_indexes", "Linearizable reads confirmed after 1 s or more"),
            slow_applies: page.counter("etcd_server_slow_apply", "Batches that took 100 ms or more to apply"),
            entry_commands: page.histogram(
                "raft_entry_commands",
                "Commands that share one log entry",
                Histogram::counts(),
            ),
            log_write: page.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                "Time to write a log batch and sync it",
                Histogram::durations(),
            ),
            log_write_entries: page.histogram(
                "raft_log_write_entries",
                "Entries that share one write and one sync",
                Histogram::counts(),
            ),
            log_bytes: page.counter("raft_log_bytes", "Bytes of the batches written to the log, in whole pages"),
            log_preallocated_bytes: page.counter(
                "raft_log_preallocated_bytes",
                "Bytes by which files of the log were extended ahead of batches",
            ),
            apply: page.histogram(
                "etcd_server_apply_duration_seconds",
                "Time to apply a batch",
                Histogram::durations(),
            ),
            read_index: page.histogram(
                "raft_read_index_duration_seconds",
                "Time until a linearizable read is confirmed",
                Histogram::durations(),
            ),
            requests: page.register(
                "etcd_server_request_duration_seconds",
                "Time from a parsed request to its outcome",
                Durations::new(),
            ),
            calls: page.register("grpc_server_handled", "Calls answered, by code", Calls::new()),
            puts: page.counter("etcd_mvcc_put", "Puts applied by this member, including those in transactions"),
            deletes: page
                .counter("etcd_mvcc_delete", "Deletes applied by this member, including those in transactions"),
            ranges: page.counter("etcd_mvcc_range", "Ranges read by this member, including those in transactions"),
            txns: page.counter("etcd_mvcc_txn", "Transactions of more than one operation, run by this member"),
            snapshots: page.counter("raft_snapshots_taken", "Snapshots made durable"),
            snapshot_write: page.histogram(
                "raft_snapshot_write_duration_seconds",
                "Time to write a snapshot and make it durable",
                Histogram::durations(),
            ),
            snapshots_sent: page.counter("raft_snapshots_sent", "Snapshots that another member received completely"),
            snapshots_received: page
                .counter("raft_snapshots_received", "Snapshots received completely from another member"),
            snapshots_failed: page
                .counter("raft_snapshot_transfers_failed", "Snapshot transfers, sent or received, that failed"),
            peer_sent_bytes: page.counter("etcd_network_peer_sent_bytes", "Bytes of messages sent to other members"),
            peer_received_bytes: page
                .counter("etcd_network_peer_received_bytes", "Bytes of messages received from other members"),
            peer_disconnects: page.counter("raft_peer_disconnects", "Connections to other members that broke"),
            keyspaces_differ: page
                .counter("raft_keyspaces_differ", "Comparisons after a compaction in which hashes of members differed"),
            log_given_up: page.counter(
                "raft_log_given_up",
                "Damaged parts of the log, given up because only older snapshots need them",
            ),
            health_success: page.counter("etcd_server_health_success", "Successful answers of /health"),
            health_failures: page.counter("etcd_server_health_failures", "Failing answers of /health"),
            registry: Registry::default(),
        };
        Metrics(Arc::new(Inner { registry: page.0, ..inner }))
    }

    /// Counts a transaction and its operations, whether or not the transaction was written to the log.
    fn count_transaction(&self, result: &TxnResult) {
        let operations = self.operations(result);
        if operations > 1 {
            self.0.txns.inc();
        }
    }

    fn operations(&self, result: &TxnResult) -> usize {
        result
            .responses
            .iter()
            .map(|response| match response {
                OpResult::Range(_) => {
                    self.0.ranges.inc();
                    1
                }
                OpResult::Put(_) => {
                    self.0.puts.inc();
                    1
                }
                OpResult::DeleteRange(_) => {
                    self.0.deletes.inc();
                    1
                }
                OpResult::Txn(nested) => self.operations(nested),
            })
            .sum()
    }

    /// Counts a snapshot that this member sent and another member received.
    pub fn snapshot_sent(&self) {
        self.0.snapshots_sent.inc();
    }

    /// Counts a snapshot from another member that was received and verified.
    pub fn snapshot_received(&self) {
        self.0.snapshots_received.inc();
    }

    /// Counts a snapshot transfer that failed.
    pub fn snapshot_failed(&self) {
        self.0.snapshots_failed.inc();
    }

    /// Counts bytes of messages sent to another member, as on the wire.
    pub fn peer_sent(&self, bytes: usize) {
        self.0.peer_sent_bytes.inc_by(bytes as u64);
    }

    /// Counts bytes of messages received from another member, as on the wire.
    pub fn peer_received(&self, bytes: usize) {
        self.0.peer_received_bytes.inc_by(bytes as u64);
    }

    /// Counts one broken connection to another member.
    pub fn peer_disconnected(&self) {
        self.0.peer_disconnects.inc();
    }

    /// Counts a comparison of keyspaces in which members differed.
    pub fn keyspaces_differ(&self) {
        self.0.keyspaces_differ.inc();
    }

    /// Counts a damaged part of the log that was given up.
    pub fn log_given_up(&self) {
        self.0.log_given_up.inc();
    }

    /// Returns the page that Prometheus scrapes, in the OpenMetrics text format.
    #[must_use]
    pub fn page(&self, state: &State) -> String {
        let mut page = Page(Registry::default());
        state::register(&mut page, state);
        process::register(&mut page);
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.0.registry)
            .and_then(|()| text::encode_registry(&mut text, &page.0))
            .and_then(|()| text::encode_eof(&mut text));
        written.expect("writing to a string never fails");
        text
    }
}

/// A page of metrics while it is built.
struct Page(Registry);

impl Page {
    fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge<i64, AtomicI64> {
        self.register(name, help, Gauge::default())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: Histogram) -> Histogram {
        self.register(name, help, histogram)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::{CallObserver, Method, Request, Success};
    use engine::observer::Observer;
    use mvcc::{Command, DeleteRange, Op, Put, Range, Store, Txn};

    use super::*;

    fn recorded(metrics: &Metrics) -> String {
        let mut text = String::new();
        text::encode_registry(&mut text, &metrics.0.registry).unwrap();
        text
    }

    fn has_line(page: &str, line: &str) -> bool {
        page.lines().any(|found| found == line)
    }

    #[test]
    fn operations_in_transactions_are_counted_as_in_etcd_whether_or_not_a_caller_waits() {
        let put = Put { key: "a".into(), ..Put::default() };
        let delete = DeleteRange { key: "a".into(), prev_kv: true, ..DeleteRange::default() };
        let nested = Txn { success: vec![Op::Range(Range { key: "a".into(), ..Range::default() })], ..Txn::default() };
        let txn = Txn { success: vec![Op::Put(put.clone()), Op::Txn(nested)], ..Txn::default() };
        let single = Txn { success: vec![Op::Put(put.clone())], ..Txn::default() };
        let commands = [Command::Put(put), Command::Txn(txn), Command::Txn(single), Command::DeleteRange(delete)];
        for apply in [Store::apply, Store::apply_unanswered] {
            let metrics = Metrics::new();
            let mut store = Store::new();
            for command in &commands {
                metrics.applied(&apply(&mut store, 1, command).unwrap());
            }

            let page = recorded(&metrics);
            for (name, count) in [("put", 3), ("range", 1), ("delete", 1), ("txn", 1)] {
                let line = format!("etcd_mvcc_{name}_total {count}");
                assert!(has_line(&page, &line), "{line} is missing from:\n{page}");
            }
        }
    }

    /// The page adds the ending to the names of counters.
    #[test]
    fn counters_have_the_names_that_the_documents_say() {
        let page = recorded(&Metrics::new());
        let names = [
            "raft_keyspaces_differ_total",
            "raft_log_bytes_total",
            "raft_log_preallocated_bytes_total",
            "raft_snapshots_taken_total",
        ];
        for name in names {
            assert!(has_line(&page, &format!("{name} 0")), "{name} is missing from:\n{page}");
        }
    }

    #[test]
    fn a_proposal_is_pending_until_its_guard_is_dropped() {
        let metrics = Metrics::new();
        metrics.proposal_began();
        assert!(has_line(&recorded(&metrics), "etcd_server_proposals_pending 1"));
        metrics.proposal_ended();
        assert!(has_line(&recorded(&metrics), "etcd_server_proposals_pending 0"));
    }

    #[test]
    fn slow_applies_and_reads_have_counters_of_their_own() {
        let metrics = Metrics::new();
        metrics.batch_applied(Duration::from_millis(99));
        metrics.batch_applied(Duration::from_millis(100));
        metrics.read_confirmed(Duration::from_millis(999));
        metrics.read_confirmed(Duration::from_secs(1));
        let page = recorded(&metrics);
        assert!(has_line(&page, "etcd_server_slow_apply_total 1"), "{page}");
        assert!(has_line(&page, "etcd_server_slow_read_indexes_total 1"), "{page}");
    }

    #[test]
    fn only_calls_and_requests_that_happened_are_shown() {
        let metrics = Metrics::new();
        metrics.call(Method::Put, tonic::Code::Ok);
        metrics.call(Method::Put, tonic::Code::Ok);
        metrics.call(Method::RangeStream, tonic::Code::OutOfRange);
        metrics.request(Request::Put, Success::No, Duration::from_millis(3));
        let page = recorded(&metrics);
        let lines = [
            "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_code=\"OK\"} 2",
            "grpc_server_handled_total{grpc_type=\"server_stream\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"RangeStream\",grpc_code=\"OutOfRange\"} 1",
            "etcd_server_request_duration_seconds_count{type=\"Put\",success=\"false\"} 1",
        ];
        for line in lines {
            assert!(has_line(&page, line), "{line} is missing from:\n{page}");
        }
        assert!(!page.contains("grpc_method=\"Txn\""), "{page}");
    }
}
