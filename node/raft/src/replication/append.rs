//! AppendEntries: building it, answering it, and handling the answer (Raft thesis §3.5). Does not own indexes: the log
//! and the progress of each member own them.

use std::time::Duration;

use crate::config::Config;
use crate::ids::{EntryId, Index, MemberId, NUMBER_MAX, Term};
use crate::message::{Append, AppendReply, Body, Message};
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::replication::read_back;
use crate::snapshot::offer;
use crate::state::log::Log;
use crate::state::progress::{PeerProgress, ProgressState};
use crate::state::role::RoleState;

/// The leader's state that all appends of one flush share.
struct AppendFlush<'a> {
    config: &'a Config,
    log: &'a Log,
    outbox: &'a mut Outbox,
    term: Term,
    round: u64,
    /// Number of further reads from the disk that may begin.
    reads_left: usize,
}

impl Raft {
    /// Sends to every member what the member may receive now: entries, a snapshot, or at least the commit index.
    pub(crate) fn replicate(&mut self) {
        let now = self.clocks.monotonic();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let mut flush = AppendFlush {
            config: &self.config,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.hard.term(),
            round: leader.latest_round(),
            reads_left: reads_max(&self.config).saturating_sub(leader.reads_under_way()),
        };
        for (id, progress) in leader.peers_mut() {
            if flush.appends(id, progress) == Flushed::UpToPurged {
                flush.offer_snapshot(id, progress, now);
            }
            flush.send_commit(id, progress);
        }
    }

    /// Handles AppendEntries from a leader of this term.
    pub(crate) fn on_append(&mut self, from: MemberId, append: Append) {
        if !is_well_formed(&append, self.hard.term()) || !self.accept_leader(from) {
            return;
        }
        let Append { prev, mut entries, commit, round } = append;
        let covered = Index(prev.index.0 + entries.len() as u64);
        if prev.index <= self.log.commit() {
            // The leader's log contains all committed entries (Raft thesis §3.6.3), so both logs agree up to this
            // member's commit index.
            let known = (self.log.commit().0 - prev.index.0).min(entries.len() as u64) as usize;
            let agreed = entries.drain(..known).next_back().map_or(prev, |entry| entry.id);
            if agreed.index >= self.log.floor().index && !self.log.holds(agreed) {
                // The message is invalid, because no leader's log disagrees with a committed entry.
                return;
            }
        } else if !self.log.holds(prev) {
            let hint = self.log.may_agree_at(prev.index, prev.term);
            let reply = AppendReply::Rejected { prev: prev.index, hint, round };
            self.outbox.send(from, Message { term: self.hard.term(), body: Body::AppendReply(reply) });
            return;
        }
        let shared = self.log.shared(&entries);
        if shared < entries.len() && self.disk_lags() {
            // Without an answer, the leader sends the entries again later. Otherwise the memory of a member whose disk is
            // slow would grow without limit, because the other members commit without it.
            return;
        }
        self.extend(entries, shared);
        assert!(self.log.last().index >= covered, "every entry of an append is in the log");
        self.commit_to(commit.min(covered));
        self.accept(from, covered, round);
    }

    /// Returns whether this member's disk lags so far that no more entries are accepted from a leader.
    fn disk_lags(&self) -> bool {
        self.log.undurable_bytes() > (self.config.limits.unsettled_bytes as u64).saturating_mul(2)
    }

    /// Acknowledges that this log agrees with the leader's log up to `matched`. The acknowledgement is sent when that
    /// prefix and the current term are durable.
    pub(crate) fn accept(&mut self, leader: MemberId, matched: Index, round: u64) {
        let reply =
            Message { term: self.hard.term(), body: Body::AppendReply(AppendReply::Accepted { matched, round }) };
        assert!(matched <= self.log.last().index, "only entries of the log are acknowledged");
        assert!(leader != self.config.id, "no member acknowledges to itself");
        let io = self.write_of(matched).max(self.hard_state_io());
        self.outbox.send_after(io, leader, reply);
    }

    /// Handles a member's answer to an append.
    pub(crate) fn on_append_reply(&mut self, from: MemberId, reply: AppendReply) {
        let last = self.log.last().index;
        let RoleState::Leader(leader) = &mut self.role else { return };
        let (AppendReply::Accepted { round, .. } | AppendReply::Rejected { round, .. }) = reply;
        let Some(progress) = leader.answered(from, round) else { return };
        match reply {
            AppendReply::Accepted { matched, .. } if matched <= last => {
                progress.accepted(matched, &self.log);
                self.advance_commit();
            }
            AppendReply::Rejected { prev, hint, .. } if hint.index <= prev && prev <= last => {
                if !progress.rejected(prev, hint.index, self.log.may_agree_at(hint.index, hint.term)) {
                    progress.missed_snapshot(prev, offer::pause(&self.config, self.clocks.monotonic()));
                }
            }
            AppendReply::Accepted { .. } | AppendReply::Rejected { .. } => {}
        }
        self.confirm_reads();
    }
}

/// Result of sending appends to a member.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// Every append that may be sent was sent.
    All,
    /// The next entry that the member needs is purged.
    UpToPurged,
}

impl AppendFlush<'_> {
    /// Sends as many appends as the member's progress allows.
    fn appends(&mut self, to: MemberId, progress: &mut PeerProgress) -> Flushed {
        let last = self.log.last().index;
        let (messages, bytes) = (self.config.max_inflight_messages, self.config.max_inflight_bytes);
        loop {
            let is_due = match progress.state() {
                ProgressState::Probe { waiting } => !waiting && progress.matched() < last,
                ProgressState::Replicate(inflight) => progress.next() <= last && !inflight.is_full(messages, bytes),
                ProgressState::Snapshot { .. } => false,
            };
            if !is_due {
                return Flushed::All;
            }
            let Some(prev) = self.log.id_before(progress.next()) else { return Flushed::UpToPurged };
            if progress.next() <= self.log.base() {
                self.read_back(to, progress, prev);
                return Flushed::All;
            }
            self.append(to, progress, prev);
        }
    }

    /// Requests the next entries for a member from the disk, because they are not in memory. Does nothing if a read for
    /// the member is under way, or if too many reads are.
    fn read_back(&mut self, to: MemberId, progress: &mut PeerProgress, prev: EntryId) {
        if progress.is_reading() || self.reads_left == 0 {
            return;
        }
        self.reads_left -= 1;
        progress.begin_read();
        let (count, bytes) = (self.config.max_append_entries, self.config.max_append_bytes);
        self.outbox.push(read_back::request(self.log, to, prev, count, bytes));
    }

    fn append(&mut self, to: MemberId, progress: &mut PeerProgress, prev: EntryId) {
        let (entries, bytes) =
            self.log.slice(progress.next(), self.config.max_append_entries, self.config.max_append_bytes);
        let last = entries.last().map_or(prev.index, |entry| entry.id.index);
        let commit = self.log.commit();
        assert!(prev.index.next() == progress.next(), "an append continues where the last one ended");
        assert!(last.0 - prev.index.0 == entries.len() as u64, "an append has no gaps");
        let append = Append { prev, entries, commit, round: self.round };
        self.outbox.send(to, Message { term: self.term, body: Body::Append(append) });
        progress.sent(last, bytes, commit);
    }

    /// Offers a snapshot to a member that needs it, after the member has shown that it is alive.
    fn offer_snapshot(&mut self, to: MemberId, progress: &mut PeerProgress, now: Duration) {
        if progress.is_active(now, self.config.election_timeout) {
            let at_least = self.log.floor().index;
            assert!(at_least <= self.log.snapshot(), "a snapshot holds every purged entry");
            let output = offer::offer(self.log, self.config, self.term, (to, at_least), progress, now);
            self.outbox.push(output);
        }
    }

    /// Sends the commit index in a heartbeat, if no append of this flush carried it.
    fn send_commit(&mut self, to: MemberId, progress: &mut PeerProgress) {
        let commit = progress.commit_to_send(self.log.commit());
        if !progress.is_commit_sent(commit) {
            assert!(commit <= progress.matched(), "a commit index is sent only to a member that holds the entry");
            progress.commit_sent(commit);
            self.outbox.send(to, Message { term: self.term, body: Body::Heartbeat { commit, round: 0 } });
        }
    }
}

/// Returns how many reads from the disk may be under way. One is always possible.
fn reads_max(config: &Config) -> usize {
    (config.limits.read_back_bytes / config.max_append_bytes).max(1)
}

/// Returns whether the entries directly follow `prev` without gaps, their terms never decrease, and no term is later
/// than the leader's term.
fn is_well_formed(append: &Append, term: Term) -> bool {
    let mut last = append.prev;
    if last.index.0 > NUMBER_MAX {
        return false;
    }
    for entry in &append.entries {
        if entry.id.index != last.index.next() || entry.id.term < last.term {
            return false;
        }
        last = entry.id;
    }
    last.term <= term
}
