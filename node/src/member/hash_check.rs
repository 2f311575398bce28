//! Comparison of keyspaces: after each compaction every member compares its hash with those of the others. Owns when it compares, and
//! how a member isolates itself that differs from a majority. Does not own the hashes (`peer/hash.rs`) or the comparison
//! (`engine::hash_check`).
//!
//! Every member asks for itself. A leader's word would not do: the port of members does not authenticate its callers.

use std::sync::Arc;
use std::time::Duration;

use engine::hash_check::{self, Verdict};
use engine::shared::Shared;
use engine::status::{Phase, Status};
use mvcc::Revision;
use tokio::sync::mpsc;

use crate::member::serve::Serving;
use crate::member::{Member, Stage};
use crate::metrics::Metrics;
use crate::peer::Peers;

/// Time within which a leader that isolates itself transfers leadership.
const TRANSFER_WITHIN: Duration = Duration::from_secs(2);

/// Compares after each compaction, one at a time: marks that are reached meanwhile are skipped, except the latest. Runs until it is
/// aborted, or until this member differs; then it sends the revision.
pub(super) async fn run(peers: Arc<Peers>, shared: Arc<Shared>, metrics: Metrics, differs: mpsc::Sender<Revision>) {
    let mut removed = shared.subscribe_removed();
    // Nothing is compacted at revision 0.
    while removed.wait_for(|mark| *mark > Revision(0)).await.is_ok() {
        let mark = *removed.borrow_and_update();
        let configuration = Arc::clone(&shared.status().configuration);
        match peers.all_hashes(&configuration, mark).await {
            Err(reason) => tracing::debug!(revision = mark.0, %reason, "keyspaces are not compared"),
            Ok(hashes) => match hash_check::compare(&configuration, &hashes) {
                Verdict::Same => tracing::debug!(revision = mark.0, members = hashes.len(), "keyspaces are equal"),
                Verdict::Differ(members) => {
                    metrics.keyspaces_differ();
                    tracing::error!(
                        revision = mark.0,
                        ?members,
                        ?hashes,
                        "the keyspaces of members differ from the others"
                    );
                    if members.contains(&shared.member()) {
                        // Fails only if the member is stopping.
                        let _ = differs.send(mark).await;
                        return;
                    }
                }
                Verdict::NoMajority => {
                    metrics.keyspaces_differ();
                    tracing::error!(
                        revision = mark.0,
                        ?hashes,
                        "keyspaces differ, and no majority has the same one: all serve on, find out which one is right"
                    );
                }
            },
        }
        if removed.changed().await.is_err() {
            return;
        }
    }
}

impl Member {
    /// Isolates this member, whose keyspace differs from that of a majority: it neither votes nor serves.
    pub(super) async fn isolate(&mut self, mark: Revision, serving: &mut Serving) {
        let Stage::Member(consensus) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        let reason =
            format!("the keyspace of this member at revision {} differs from that of a majority of the voters", mark.0);
        // Otherwise a restart would serve until it has compared again.
        let (disk, dir, text) = (Arc::clone(&self.disk), self.config.args.data_dir.clone(), reason.clone());
        let written = tokio::task::spawn_blocking(move || storage::isolation::isolate(&*disk, &dir, &text));
        if self.handle.status().leader == Some(self.handle.member()) {
            // Otherwise the others wait for an election timeout.
            let _ = tokio::time::timeout(TRANSFER_WITHIN, self.handle.transfer(None)).await;
        }
        consensus.stop().await;
        let error = format!("{reason}: replace this member");
        tracing::error!(error, "this member neither votes nor serves from now on");
        // A task that is joined neither panics nor is aborted.
        if let Ok(Err(reason)) = written.await {
            tracing::error!(%reason, "the verdict is not durable: after a restart this member serves until it has compared again");
        }
        self.shared.update_status(|status| Status {
            phase: Phase::Damaged,
            leader: None,
            error: error.clone(),
            ..Status::clone(status)
        });
        serving.stop_clients(&self.shared).await;
    }
}
