//! Counts the measurements that the engine and the client API report. Owns which metric each report changes. Does not
//! own when a measurement is reported ([`Observer`], [`CallObserver`]).

use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{CallObserver, Method, Request, Success};
use engine::observer::Observer;
use mvcc::{Outcome, Response, TxnResult};
use tonic::Code;

use super::Metrics;

impl Observer for Metrics {
    fn leader_changed(&self) {
        self.0.leader_changes.inc();
    }

    fn election_started(&self) {
        self.0.elections.inc();
    }

    fn entry_built(&self, commands: usize) {
        self.0.entry_commands.observe_count(commands);
    }

    fn log_written(&self, entries: usize, took: Duration) {
        self.0.log_write.observe(took);
        self.0.log_write_entries.observe_count(entries);
    }

    fn log_bytes(&self, written: u64, preallocated: u64) {
        self.0.log_bytes.inner().store(written, Ordering::Relaxed);
        self.0.log_preallocated_bytes.inner().store(preallocated, Ordering::Relaxed);
    }

    fn batch_applied(&self, took: Duration) {
        self.0.apply.observe(took);
        if took >= Duration::from_millis(100) {
            self.0.slow_applies.inc();
        }
    }

    fn applied(&self, outcome: &Outcome) {
        match &outcome.response {
            Response::Put(_) => {
                self.0.puts.inc();
            }
            Response::DeleteRange(_) => {
                self.0.deletes.inc();
            }
            Response::Txn(result) => self.count_transaction(result),
            Response::Compact | Response::Alarm(_) | Response::RaiseFeatureLevel => {}
        }
    }

    fn snapshot_taken(&self, took: Duration) {
        self.0.snapshots.inc();
        self.0.snapshot_write.observe(took);
    }
}

impl CallObserver for Metrics {
    fn proposal_began(&self) {
        self.0.proposals_pending.inc();
    }

    fn proposal_ended(&self) {
        self.0.proposals_pending.dec();
    }

    fn proposal_failed(&self) {
        self.0.proposals_failed.inc();
    }

    fn read_confirmed(&self, took: Duration) {
        self.0.read_index.observe(took);
        if took >= Duration::from_secs(1) {
            self.0.slow_read_indexes.inc();
        }
    }

    fn read_failed(&self) {
        self.0.read_indexes_failed.inc();
    }

    fn range_read(&self) {
        self.0.ranges.inc();
    }

    fn transaction(&self, result: &TxnResult) {
        self.count_transaction(result);
    }

    fn request(&self, request: Request, success: Success, took: Duration) {
        self.0.requests.of(request, success).observe(took);
    }

    fn call(&self, method: Method, code: Code) {
        self.0.calls.inc(method, code);
    }

    fn health_checked(&self, success: Success) {
        match success {
            Success::Yes => self.0.health_success.inc(),
            Success::No => self.0.health_failures.inc(),
        };
    }
}
