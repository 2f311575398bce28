//! What this process remembers of clusters and backups between looks. Owns nothing that could not be forgotten: it makes
//! waiting shorter, or words better.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crds::ObjectStore;
use plan::backup::Tries;
use plan::names::Ordinal;
use plan::observed::{Probe, Refusal, Warning};

use crate::retry::{Failures, Fruitless};

/// What nobody asked for in this time is forgotten: whatever exists is looked at far more often, and nobody hears of what is
/// gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// What is remembered of one cluster or backup.
#[derive(Debug, Default)]
pub struct Memory {
    /// Since when each member is silent, on the monotonic clock.
    pub silent: BTreeMap<Ordinal, Instant>,
    /// Ordinals reserved by this process and not used yet.
    pub reserved: BTreeSet<Ordinal>,
    /// Why membership was not changed when that was last asked for.
    pub refusal: Option<Refusal>,
    /// The last look at an object store.
    pub probe: Option<Probed>,
    /// When its status was last written.
    pub published: Option<Instant>,
    /// Of a backup: tries that came to nothing.
    pub tries: Tries,
    /// Passes that failed, one after another.
    pub failures: Failures,
    /// Looks that led to nothing.
    pub fruitless: Fruitless,
    /// Warnings, and when they were read.
    pub warnings: Option<(Instant, BTreeMap<Ordinal, Vec<Warning>>)>,
}

/// What a member said of an object store.
#[derive(Clone, Debug)]
pub struct Probed {
    /// When.
    pub at: Instant,
    /// Of which: the spec may name another by now.
    pub store: ObjectStore,
    /// What.
    pub probe: Probe,
}

impl Probed {
    /// Whether it tells anything of this one.
    #[must_use]
    pub fn is_about(&self, store: &ObjectStore) -> bool {
        self.store == *store
    }
}

/// All that is remembered, by UID.
#[derive(Debug, Default)]
pub struct Memories {
    by_uid: BTreeMap<String, (Instant, Memory)>,
    swept: Option<Instant>,
}

impl Memories {
    /// Works with what is remembered of one object, and forgets what was not worked with for long.
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

    /// Forgets an object.
    pub fn forget(&mut self, uid: &str) {
        self.by_uid.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BackupReady would be True for up to a minute for a bucket that nobody looked at.
    #[test]
    fn what_was_said_of_another_bucket_tells_nothing() {
        let store = |bucket: &str| -> ObjectStore {
            let store = serde_json::json!({ "bucket": bucket, "credentialsSecretRef": { "name": "keys" } });
            serde_json::from_value(store).expect("a store")
        };
        let probe = Probe { cause: String::new(), error: String::new() };
        let probed = Probed { at: Instant::now(), store: store("there"), probe };
        assert!(probed.is_about(&store("there")));
        assert!(!probed.is_about(&store("elsewhere")));
    }

    /// Nobody tells when an object is gone: a RaftBackup a minute would fill the memory.
    #[test]
    fn what_is_gone_is_forgotten_and_what_is_there_is_not() {
        let (mut memories, mut now) = (Memories::default(), Instant::now());
        memories.with("cluster", now, |memory| memory.tries.failed = 7);
        for backup in 0..100 {
            now += Duration::from_secs(60);
            memories.with(&format!("backup {backup}"), now, |memory| memory.tries.failed = 1);
            assert_eq!(memories.with("cluster", now, |memory| memory.tries.failed), 7);
        }
        assert!(memories.by_uid.len() < 30, "{} are remembered", memories.by_uid.len());
    }
}
