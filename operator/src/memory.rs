//! The memory of this process about clusters and backups between passes. The memory may be lost at any time, because
//! it only shortens waits and improves reports.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::ObjectStore;
use crds::raft_cluster::Bootstrap;
use k8s_openapi::jiff::Timestamp;
use plan::backup::Attempts;
use plan::names::Ordinal;
use plan::observed::{Entropy, Probe, Refusal, Warning};
use plan::overlap::NoteState;
use tokio::time::Instant;

use crate::refusals::Refusals;
use crate::retry::{Failures, IdleBackoff};

/// Time after which unused memory is dropped. An object that needs its memory is reconciled at much shorter intervals.
/// Memory is dropped by time, because not every deletion triggers an event.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// What this process remembers about one cluster or one backup.
#[derive(Debug, Default)]
pub struct Memory {
    /// Time at which each silent member's silence began, on the monotonic clock.
    pub silent: BTreeMap<Ordinal, Instant>,
    /// Time at which each member answered this process or the leader last.
    pub heard: BTreeMap<Ordinal, Instant>,
    /// Ordinals that this process reserved and has not used yet.
    pub reserved: BTreeSet<Ordinal>,
    /// The reason why the last membership change was refused; `None` if it was not refused.
    pub refusal: Option<Refusal>,
    /// Writes that the API server refused.
    pub refused: Refusals,
    /// Random bytes for an identity that does not count yet, and the bootstrap of the spec for which they were drawn.
    pub drawn: Option<(Option<Bootstrap>, Entropy)>,
    /// The last report about an object store.
    pub probe: Option<Probed>,
    /// Time of the last write of the object's status.
    pub published: Option<Instant>,
    /// Number of attempts that did not complete the backup; unused for a cluster.
    pub attempts: Attempts,
    /// Number of consecutive failed passes.
    pub failures: Failures,
    /// Number of consecutive passes without a change.
    pub idle: IdleBackoff,
    /// Warnings about members' objects, and the time at which they were read.
    pub warnings: Option<(Instant, BTreeMap<Ordinal, Vec<Warning>>)>,
    /// Generation for which this process reported that the object cannot be read. The generation is `None` if the
    /// object has none.
    pub unreadable: Option<Option<i64>>,
    /// Nodes of silent members that are not Ready, with the time since which they are not (`None` if a node does not exist),
    /// and the time at which nodes were read.
    pub unready_nodes: Option<(Instant, BTreeMap<String, Option<Timestamp>>)>,
    /// What this process has done about the note that names the release that manages the cluster.
    pub note: NoteState,
}

impl Memory {
    /// The random bytes of a pass. Without them in memory, each pass whose pointer is refused would leave a Secret.
    /// `fresh` is used if no bytes were drawn for this bootstrap, and once the cluster has a pointer.
    pub fn entropy(&mut self, bootstrap: Option<&Bootstrap>, has_pointer: bool, fresh: Entropy) -> Entropy {
        let drawn = self.drawn.take().filter(|(of, _)| of.as_ref() == bootstrap && !has_pointer);
        let entropy = drawn.map_or(fresh, |(_, drawn)| drawn);
        self.drawn = (!has_pointer).then(|| (bootstrap.cloned(), entropy));
        entropy
    }
}

/// A member's report about an object store.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Time of the report.
    pub at: Instant,
    /// The object store that the report is about. The spec may name another store meanwhile.
    pub store: ObjectStore,
    /// The report.
    pub probe: Probe,
}

impl Probed {
    /// Returns whether the report is about this object store.
    #[must_use]
    pub fn is_about(&self, store: &ObjectStore) -> bool {
        self.store == *store
    }
}

/// Memory of all objects, by UID.
#[derive(Debug, Default)]
pub struct Memories {
    by_uid: BTreeMap<String, (Instant, Memory)>,
    swept: Option<Instant>,
}

impl Memories {
    /// Runs `work` on the memory of one object. Also drops memory that was not used for a long time.
    pub fn with<T>(&mut self, uid: &str, now: Instant, work: impl FnOnce(&mut Memory) -> T) -> T {
        let is_old = |at: Instant| now.saturating_duration_since(at) > FORGOTTEN_AFTER;
        if is_old(*self.swept.get_or_insert(now)) {
            self.by_uid.retain(|_, (at, _)| !is_old(*at));
            self.swept = Some(now);
        }
        let (at, memory) = self.by_uid.entry(uid.to_owned()).or_insert_with(|| (now, Memory::default()));
        *at = now;
        work(memory)
    }

    /// Drops the memory of an object.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After the spec names a new bucket, a report about the old bucket must not count. Otherwise BackupReady would be
    /// True for up to a minute although no member has accessed the new bucket.
    #[test]
    fn a_report_about_another_bucket_does_not_count() {
        let store = |bucket: &str| -> ObjectStore {
            let store = serde_json::json!({ "bucket": bucket, "credentialsSecretRef": { "name": "keys" } });
            serde_json::from_value(store).expect("a store")
        };
        let probe = Probe { cause: None, error: String::new() };
        let probed = Probed { at: Instant::now(), store: store("there"), probe };
        assert!(probed.is_about(&store("there")));
        assert!(!probed.is_about(&store("elsewhere")));
    }

    #[test]
    fn random_bytes_are_drawn_anew_for_another_bootstrap_and_after_the_pointer() {
        let entropy = |cluster_id| Entropy { cluster_id, token: [0; 32] };
        let take_up = serde_json::json!({ "takeUp": { "clusterID": "00000000000000000000000000000001" } });
        let take_up: Bootstrap = serde_json::from_value(take_up).expect("a bootstrap");
        let mut memory = Memory::default();
        let mut draw = |bootstrap, has_pointer, fresh| {
            let drawn: Entropy = memory.entropy(bootstrap, has_pointer, entropy(fresh));
            drawn.cluster_id
        };
        assert_eq!([draw(None, false, 1), draw(None, false, 2)], [1, 1]);
        assert_eq!([draw(Some(&take_up), false, 3), draw(Some(&take_up), false, 4)], [3, 3]);
        assert_eq!([draw(Some(&take_up), true, 5), draw(Some(&take_up), true, 6), draw(None, false, 7)], [5, 6, 7]);
    }

    /// Not every deletion triggers an event. If memory were dropped only after an event, a new RaftBackup every minute
    /// would fill the memory.
    #[test]
    fn deleted_objects_are_forgotten_and_existing_ones_are_not() {
        let (mut memories, mut now) = (Memories::default(), Instant::now());
        memories.with("cluster", now, |memory| memory.attempts.failed = 7);
        for backup in 0..100 {
            now += Duration::from_secs(60);
            memories.with(&format!("backup {backup}"), now, |memory| memory.attempts.failed = 1);
            assert_eq!(memories.with("cluster", now, |memory| memory.attempts.failed), 7);
        }
        assert!(memories.by_uid.len() < 30, "{} are remembered", memories.by_uid.len());
    }
}
