//! Owns the changes of one command: puts and deletes that share a revision. Does not own the choice of the operations to run
//! (`apply`, `txn`).

use crate::command::{DeleteRange, Put};
use crate::index::{Interval, KeyEntry};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::outcome::{Answer, DeleteRangeResult, PutResult};
use crate::revision::{FullRevision, Revision};

/// The changes of one command while it runs.
pub(crate) struct Write<'a> {
    pub(crate) space: &'a mut Keyspace,
    /// Whether the results are complete.
    pub(crate) answer: Answer,
    scratch: &'a mut Vec<u8>,
    changes: u32,
}

impl<'a> Write<'a> {
    pub(crate) fn new(space: &'a mut Keyspace, scratch: &'a mut Vec<u8>, answer: Answer) -> Self {
        Write { space, answer, scratch, changes: 0 }
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
        let returns_previous = put.prev_kv && self.answer == Answer::Wanted;
        let needs_previous = returns_previous || put.ignore_value || put.ignore_lease;
        let previous = if needs_previous { self.space.newest(&put.key) } else { None };
        // A put that keeps the value or the lease requires that the key existed before the transaction. An earlier
        // operation of the transaction may nevertheless have deleted the key, because etcd's check for overlapping
        // operations misses some cases. The put then keeps an empty value and no lease.
        let kept = previous.as_ref().map(KeyValue::fields).unwrap_or_default();
        let value = if put.ignore_value { kept.value } else { &put.value };
        let lease = if put.ignore_lease { kept.lease } else { put.lease };

        let revision = self.next_change();
        self.space.put(self.scratch, revision, &put.key, value, lease);
        PutResult { revision: revision.main, prev_kv: previous.filter(|_| returns_previous) }
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> DeleteRangeResult {
        let interval = Interval::new(&delete.key, &delete.range_end);
        let returns_previous = delete.prev_kv && self.answer == Answer::Wanted;
        let mut prev_kvs = returns_previous.then(Vec::new);
        let changes_before = self.changes;
        match interval {
            Interval::Key(key) => {
                if let Some(entry) = self.space.index.get(key).filter(KeyEntry::is_live) {
                    self.delete(key, entry, &mut prev_kvs);
                }
            }
            // The keys are those of a copy of the index, because each deletion changes the index. The copy shares its
            // nodes with the published view, so that it costs less than a list of the keys.
            interval => {
                let index = self.space.index.clone();
                for (key, entry) in index.scan_live(interval) {
                    self.delete(key, entry, &mut prev_kvs);
                }
            }
        }
        let (deleted, prev_kvs) = (u64::from(self.changes - changes_before), prev_kvs.unwrap_or_default());
        debug_assert!(prev_kvs.is_sorted_by(|a, b| a.key() < b.key()), "deleted keys are distinct and in order");
        debug_assert!(!returns_previous || prev_kvs.len() as u64 == deleted, "each deleted key had a version");
        debug_assert_eq!(self.space.count(interval, None), 0, "no key of the interval is live after its deletion");
        DeleteRangeResult { revision: self.revision(), deleted, prev_kvs }
    }

    /// Deletes a live key. Its version is looked up only if it belongs to the answer.
    fn delete(&mut self, key: &[u8], entry: KeyEntry, prev_kvs: &mut Option<Vec<KeyValue>>) {
        if let Some(prev_kvs) = prev_kvs {
            prev_kvs.push(self.space.version(entry).clone());
        }
        let revision = self.next_change();
        self.space.delete(self.scratch, revision, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::command::{Command, Op, Range, Txn};
    use crate::history::reads;
    use crate::outcome::{CommandError, Outcome};

    /// Number of keys of the store. Small content is checked after each command, which reads versions.
    const KEYS: usize = 100;

    type Apply = fn(&mut Store, u64, &Command) -> Result<Outcome, CommandError>;

    /// Number of versions that a command reads in a store in which each key was put once.
    fn reads_of(apply: Apply, command: &Command) -> usize {
        let mut store = Store::new();
        for number in 0..KEYS {
            let put = Put { key: format!("k{number}").into(), value: "v".into(), ..Put::default() };
            store.apply(0, &Command::Put(put)).expect("a plain put succeeds");
        }
        let (result, read) = reads::counted(|| apply(&mut store, 0, command));
        result.expect("the command is valid");
        read
    }

    #[test]
    fn previous_versions_are_read_only_if_the_answer_or_the_new_version_has_them() {
        let delete = |prev_kv| Command::DeleteRange(DeleteRange { key: "k".into(), range_end: "l".into(), prev_kv });
        let without = reads_of(Store::apply, &delete(false));
        assert_eq!(reads_of(Store::apply, &delete(true)), without + KEYS);
        assert_eq!(reads_of(Store::apply_unanswered, &delete(true)), without);

        let put =
            |prev_kv, ignore_value| Command::Put(Put { key: "k7".into(), prev_kv, ignore_value, ..Put::default() });
        for (prev_kv, ignore_value, answered, unanswered) in
            [(false, false, 0, 0), (true, false, 1, 0), (false, true, 1, 1), (true, true, 1, 1)]
        {
            let command = put(prev_kv, ignore_value);
            assert_eq!(reads_of(Store::apply, &command), answered, "{command:?}");
            assert_eq!(reads_of(Store::apply_unanswered, &command), unanswered, "{command:?}");
        }
    }

    #[test]
    fn ranges_of_a_transaction_run_only_for_an_answer() {
        let range = || Op::Range(Range { key: "k".into(), range_end: "l".into(), ..Range::default() });
        let put = Op::Put(Put { key: "k7".into(), ..Put::default() });
        let nested = Op::Txn(Txn { success: vec![range()], ..Txn::default() });
        let command = Command::Txn(Txn { success: vec![range(), put, nested], ..Txn::default() });
        assert_eq!(reads_of(Store::apply, &command), 2 * KEYS);
        assert_eq!(reads_of(Store::apply_unanswered, &command), 0);
    }
}
