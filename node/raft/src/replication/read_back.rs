//! Entries that are read back from the disk for a member that lags. Owns when entries are requested, and which answers are
//! sent. Does not own the read: the driver carries it out.

use crate::ids::{EntryId, Index, MemberId};
use crate::message::{Append, Body, Entry, Message};
use crate::output::{Output, Unreadable};
use crate::raft::Raft;
use crate::snapshot::offer;
use crate::state::log::Log;
use crate::state::role::RoleState;

impl Raft {
    /// Handles the answer to a request for entries. While the entries were being read, the leader may have learned that
    /// the member needs others, and another leader may have overwritten them. Such an answer is dropped; the next flush
    /// requests entries again if the member still needs any.
    pub(crate) fn on_log_read(&mut self, to: MemberId, from: Index, read: Result<Vec<Entry>, Unreadable>) {
        let (now, term) = (self.clocks.monotonic(), self.hard.term());
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.latest_round();
        let Some(progress) = leader.peer_mut(to) else { return };
        if !progress.end_read(from) || progress.next() != from || progress.needs_snapshot() {
            return;
        }
        let Some(prev) = self.log.id_before(from) else { return };
        match read {
            Ok(entries) if continues(&self.log, prev, &entries) => {
                let last = entries.last().map_or(prev.index, |entry| entry.id.index);
                let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
                let commit = self.log.commit();
                let append = Append { prev, entries, commit, round };
                self.outbox.send(to, Message { term, body: Body::Append(append) });
                progress.sent(last, bytes, commit);
            }
            Ok(_) => {}
            Err(Unreadable) if from <= self.log.applied() => {
                let output = offer::offer(&self.log, &self.config, term, (to, from), progress, now);
                self.outbox.push(output);
            }
            // No snapshot holds the entries yet. The leader waits for the member's next sign of life.
            Err(Unreadable) => progress.wait(),
        }
    }
}

/// Returns the request for the entries that follow `prev` and are not in memory. An answer fits into one append.
pub(super) fn request(log: &Log, to: MemberId, prev: EntryId, count: usize, bytes: usize) -> Output {
    let from = prev.index.next();
    assert!(from <= log.base(), "only entries that are not in memory are read: {from} of those up to {}", log.base());
    let through = Index(prev.index.0.saturating_add(count as u64)).min(log.base());
    Output::ReadLog { to, from, through, bytes }
}

/// Returns whether `entries` are the entries of `log` after `prev`.
fn continues(log: &Log, prev: EntryId, entries: &[Entry]) -> bool {
    let mut expected = prev.index;
    !entries.is_empty()
        && entries.iter().all(|entry| {
            expected = expected.next();
            entry.id.index == expected && log.holds(entry.id)
        })
}
