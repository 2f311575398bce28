//! Owns the changes of one command: puts and deletes that share a revision. Does not own the choice of the operations to run
//! (`apply`, `txn`).

use crate::command::{DeleteRange, Put};
use crate::index::Interval;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::outcome::{DeleteRangeResult, PutResult};
use crate::revision::{FullRevision, Revision};

/// The changes of one command while it runs.
pub(crate) struct Write<'a> {
    pub(crate) space: &'a mut Keyspace,
    scratch: &'a mut Vec<u8>,
    changes: u32,
}

impl<'a> Write<'a> {
    pub(crate) fn new(space: &'a mut Keyspace, scratch: &'a mut Vec<u8>) -> Self {
        Write { space, scratch, changes: 0 }
    }

    /// Revision of the newest content: the store's revision, or the next revision once the command has changed something.
    pub(crate) fn revision(&self) -> Revision {
        if self.changes == 0 { self.space.revision } else { self.space.revision.next() }
    }

    /// The full revision of the next change.
    fn next_change(&mut self) -> FullRevision {
        let revision = FullRevision { main: self.space.revision.next(), sub: self.changes };
        self.changes = self.changes.checked_add(1).expect("no command names 2^32 keys");
        revision
    }

    pub(crate) fn put(&mut self, put: &Put) -> PutResult {
        let wants_previous = put.prev_kv || put.ignore_value || put.ignore_lease;
        let previous = if wants_previous { self.space.newest(&put.key) } else { None };
        // A put that keeps the value or the lease requires that the key existed before the transaction. An earlier
        // operation of the transaction may nevertheless have deleted the key, because etcd's check for overlapping
        // operations misses some cases. The put then keeps an empty value and no lease.
        let kept = previous.as_ref().map(KeyValue::fields).unwrap_or_default();
        let value = if put.ignore_value { kept.value } else { &put.value };
        let lease = if put.ignore_lease { kept.lease } else { put.lease };

        let revision = self.next_change();
        self.space.put(self.scratch, revision, &put.key, value, lease);
        PutResult { revision: revision.main, prev_kv: previous.filter(|_| put.prev_kv) }
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> DeleteRangeResult {
        let interval = Interval::new(&delete.key, &delete.range_end);
        let deleted_versions: Vec<KeyValue> = self
            .space
            .index
            .scan(interval)
            .filter(|(_, entry)| entry.is_live())
            .map(|(_, entry)| self.space.version(entry).clone())
            .collect();
        debug_assert!(
            deleted_versions.is_sorted_by(|a, b| a.key() < b.key()),
            "deleted keys are distinct and in order"
        );
        for version in &deleted_versions {
            let revision = self.next_change();
            self.space.delete(self.scratch, revision, version.key());
        }
        let deleted = deleted_versions.len() as u64;
        debug_assert_eq!(self.space.count(interval, None), 0, "no key of the interval is live after its deletion");
        DeleteRangeResult {
            revision: self.revision(),
            deleted,
            prev_kvs: if delete.prev_kv { deleted_versions } else { Vec::new() },
        }
    }
}
