//! AppendEntries: building it, answering it, and learning from the answer (Raft thesis §3.5). Owns no index itself: the log and
//! the members' progress do.

use crate::config::Config;
use crate::ids::{EntryId, Index, MemberId, Term};
use crate::log::Log;
use crate::message::{Append, AppendReply, Body, Message};
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::replication::progress::{Progress, State};
use crate::role::Standing;
use crate::snapshot::offer;

/// What every append of one moment has in common.
struct Feed<'a> {
    config: &'a Config,
    log: &'a Log,
    outbox: &'a mut Outbox,
    term: Term,
    round: u64,
}

impl Raft {
    /// Sends everyone what they may get now: entries, the start of a snapshot, or at least the commit index.
    pub(crate) fn replicate(&mut self) {
        let now = self.now.monotonic;
        let Standing::Leader(leader) = &mut self.standing else { return };
        let mut feed = Feed {
            config: &self.config,
            log: &self.log,
            outbox: &mut self.outbox,
            term: self.hard.term,
            round: leader.rounds.latest(),
        };
        for (id, progress) in &mut leader.peers {
            if feed.appends(*id, progress) == Fed::Purged {
                feed.offer_snapshot(*id, progress, now);
            }
            feed.tell_commit(*id, progress);
        }
    }

    /// AppendEntries of this term.
    pub(crate) fn on_append(&mut self, from: MemberId, append: Append) {
        if !is_well_formed(&append, self.hard.term) || !self.hear_leader(from) {
            return;
        }
        let Append { prev, mut entries, commit, round } = append;
        let covered = Index(prev.index.0 + entries.len() as u64);
        if prev.index <= self.log.commit() {
            // Committed entries are in every later leader's log (Raft thesis §3.6.3), so up to there the logs agree.
            let known = (self.log.commit().0 - prev.index.0).min(entries.len() as u64) as usize;
            let agreed = entries.drain(..known).next_back().map_or(prev, |entry| entry.id);
            if agreed.index >= self.log.base().index && !self.log.holds(agreed) {
                // No leader disagrees with what is committed.
                return;
            }
        } else if !self.log.holds(prev) {
            let hint = self.log.may_agree_at(prev.index, prev.term);
            let reply = AppendReply::Rejected { prev: prev.index, hint, round };
            self.outbox.send(from, Message { term: self.hard.term, body: Body::AppendReply(reply) });
            return;
        }
        let shared = self.log.shared(&entries);
        self.extend(entries, shared);
        assert!(self.log.last().index >= covered, "what an append brought is in the log");
        self.commit_to(commit.min(covered));
        self.accept(from, covered, round);
    }

    /// Says that the log agrees with the leader's up to `matched`, once that is durable here, with the term it was said in.
    pub(crate) fn accept(&mut self, leader: MemberId, matched: Index, round: u64) {
        let reply = Message { term: self.hard.term, body: Body::AppendReply(AppendReply::Accepted { matched, round }) };
        assert!(matched <= self.log.last().index, "only what is in the log is acknowledged");
        assert!(leader != self.config.id, "nobody acknowledges to itself");
        let io = self.write_of(matched).max(self.hard_state_io());
        self.outbox.send_after(io, leader, reply);
    }

    /// A member answered an append.
    pub(crate) fn on_append_reply(&mut self, from: MemberId, reply: AppendReply) {
        let last = self.log.last().index;
        let Standing::Leader(leader) = &mut self.standing else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        let (AppendReply::Accepted { round, .. } | AppendReply::Rejected { round, .. }) = reply;
        progress.answered(leader.rounds.answered(round), leader.rounds.began(round));
        match reply {
            AppendReply::Accepted { matched, .. } if matched <= last => {
                progress.accepted(matched, &self.log);
                self.advance_commit();
            }
            AppendReply::Rejected { prev, hint, .. } if hint.index <= prev && prev <= last => {
                if !progress.rejected(prev, hint.index, self.log.may_agree_at(hint.index, hint.term)) {
                    progress.missed_snapshot(prev, offer::pause(&self.config, self.now.monotonic));
                }
            }
            AppendReply::Accepted { .. } | AppendReply::Rejected { .. } => {}
        }
        self.confirm_reads();
    }
}

/// How far an attempt to send appends got.
#[derive(Debug, PartialEq, Eq)]
enum Fed {
    /// Everything that may be sent is.
    Enough,
    /// What the member needs next is not in the log any more.
    Purged,
}

impl Feed<'_> {
    /// Appends, as many as the member's state allows.
    fn appends(&mut self, to: MemberId, progress: &mut Progress) -> Fed {
        let last = self.log.last().index;
        let (messages, bytes) = (self.config.max_inflight_messages, self.config.max_inflight_bytes);
        loop {
            let is_due = match &progress.state {
                State::Probe { waiting } => !waiting && progress.matched() < last,
                State::Replicate(inflight) => progress.next() <= last && !inflight.is_full(messages, bytes),
                State::Snapshot { .. } => false,
            };
            if !is_due {
                return Fed::Enough;
            }
            let Some(prev) = self.log.id_before(progress.next()) else { return Fed::Purged };
            self.append(to, progress, prev);
        }
    }

    fn append(&mut self, to: MemberId, progress: &mut Progress, prev: EntryId) {
        let (entries, bytes) =
            self.log.slice(progress.next(), self.config.max_append_entries, self.config.max_append_bytes);
        let last = entries.last().map_or(prev.index, |entry| entry.id.index);
        let commit = self.log.commit();
        assert!(prev.index.next() == progress.next(), "an append goes on where the last one ended");
        assert!(last.0 - prev.index.0 == entries.len() as u64, "an append has no gaps");
        let append = Append { prev, entries, commit, round: self.round };
        self.outbox.send(to, Message { term: self.term, body: Body::Append(append) });
        progress.sent(last, bytes, commit);
    }

    /// A member in want of a snapshot gets one as soon as it shows that it lives.
    fn offer_snapshot(&mut self, to: MemberId, progress: &mut Progress, now: std::time::Duration) {
        if progress.is_active(now, self.config.election_timeout) {
            let output = offer::offer(self.log, self.config, self.term, to, progress, now);
            self.outbox.push(output);
        }
    }

    /// What is committed, to a member that no append just told.
    fn tell_commit(&mut self, to: MemberId, progress: &mut Progress) {
        let commit = progress.may_know(self.log.commit());
        if !progress.knows(commit) {
            assert!(commit <= progress.matched(), "a member is told of nothing that it may not hold");
            progress.tell(commit);
            self.outbox.send(to, Message { term: self.term, body: Body::Heartbeat { commit, round: 0 } });
        }
    }
}

/// Indexes and terms beyond this are nonsense; below it no sum overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Whether the entries are consecutive behind `prev`, their terms rise and none is of a later term than the leader's.
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
