//! Owns how the metrics count what the engine reports. Does not own when it reports ([`Observer`]).

use std::time::Duration;

use engine::observer::Observer;
use mvcc::{Outcome, Response};

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
            Response::Txn(result) => self.transaction(result),
            Response::Compact | Response::Alarm(_) => {}
        }
    }

    fn snapshot_taken(&self, took: Duration) {
        self.0.snapshots.inc();
        self.0.snapshot_write.observe(took);
    }
}
