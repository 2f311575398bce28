//! State machine safety: if a member has applied an entry at a given index to its state machine, no other member will
//! ever apply a different entry for the same index (Raft thesis figure 3.2, §3.6.3). In addition, equal entries lead to
//! equal states.

use std::collections::BTreeMap;

use raft::{Entry, Index, MemberId, SnapshotMeta};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "state machine safety";

/// Results that state machines have reached, for comparison among members.
#[derive(Debug, Default)]
pub struct StateMachineSafety {
    /// Hash of the state after each index. Element 0 is the hash after index 1.
    hashes: Vec<u64>,
    applied: BTreeMap<MemberId, Index>,
}

impl StateMachineSafety {
    /// Notes that a state machine restarts from a snapshot at `index`.
    pub fn restarted(&mut self, id: MemberId, index: Index) {
        self.applied.insert(id, index);
    }

    /// Checks an entry that a state machine applied, and the hash of the resulting state.
    ///
    /// # Errors
    /// Returns a violation if the entry, its index or the state is wrong.
    pub fn applied(&mut self, ledger: &Ledger, id: MemberId, entry: &Entry, hash: u64) -> Checked {
        let index = entry.id.index;
        let before = self.applied.insert(id, index).unwrap_or_default();
        ensure(index == before.next(), NAME, || format!("{id} applies {index} after {before}, with a gap"))?;
        let committed = ledger.committed_at(index);
        ensure(committed.is_some_and(|committed| committed.id == entry.id), NAME, || {
            format!("{id} applies {}, but {committed:?} is committed there", entry.id)
        })?;
        let known = ledger.known(entry.id).map(|known| &known.entry);
        ensure(known == Some(entry), NAME, || format!("{id} applies {entry:?}, but the committed entry is {known:?}"))?;
        self.state(id, index, hash)
    }

    /// Checks the hash of a state machine's state at `index`.
    ///
    /// # Errors
    /// Returns a violation if another member's state at this index was different.
    pub fn state(&mut self, id: MemberId, index: Index, hash: u64) -> Checked {
        let place = index.0 as usize - 1;
        if place == self.hashes.len() {
            self.hashes.push(hash);
        }
        let expected = self.hashes.get(place).copied();
        ensure(expected == Some(hash), NAME, || {
            format!("the state of {id} at {index} hashes to {hash:x}, at another member to {expected:x?}")
        })
    }
}

/// Notes that a member replaces its log and state by those of a snapshot.
///
/// # Errors
/// Returns a violation if the snapshot contains an entry that is not committed, or contradicts the log.
pub fn installed(ledger: &mut Ledger, id: MemberId, meta: &SnapshotMeta) -> Checked {
    describes_what_is_committed(ledger, id, meta)?;
    ledger.replace(id, meta.last.index);
    Ok(())
}

/// Checks that the metadata of a snapshot match the committed log (openraft#1808).
///
/// # Errors
/// Returns a violation if the metadata do not match.
pub fn describes_what_is_committed(ledger: &Ledger, id: MemberId, meta: &SnapshotMeta) -> Checked {
    let last = meta.last;
    let committed = ledger.committed_at(last.index);
    ensure(committed.is_some_and(|committed| committed.id == last), NAME, || {
        format!("{id} has a snapshot at {last}, but {committed:?} is committed there")
    })?;
    let stamp = ledger.known(last).map(|known| known.entry.time_ms);
    ensure(stamp == Some(meta.time_ms), NAME, || {
        format!("{id} has a snapshot at {last} with time stamp {}, but the entry has {stamp:?}", meta.time_ms)
    })
}
