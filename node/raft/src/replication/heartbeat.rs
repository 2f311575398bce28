//! "I lead", the commit index for the idle, and the rounds that prove leadership. Owns the numbering of rounds and when each
//! began; what a round is good for belongs to reads, leases and check-quorum.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::{Index, MemberId};
use crate::message::{Append, Body, Message};
use crate::raft::Raft;
use crate::replication::progress::State;
use crate::role::Standing;

/// The rounds of one leader in one term, counted from 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    latest: u64,
    /// When the newest rounds began, ending with the latest.
    began: VecDeque<Duration>,
}

impl Rounds {
    pub(crate) fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { latest, began } = self;
        (latest, began.len()).hash(into);
        began.iter().for_each(|at| present.distance(*at).hash(into));
    }

    /// Begins one; forgets those that began longer ago than `span`, as nobody asks for them.
    pub(crate) fn begin(&mut self, now: Duration, span: Duration) -> u64 {
        while self.began.front().is_some_and(|began| began.saturating_add(span) < now) {
            self.began.pop_front();
        }
        assert!(self.began.back().is_none_or(|last| *last <= now), "rounds begin one after the other");
        self.latest += 1;
        self.began.push_back(now);
        assert!(self.began.len() as u64 <= self.latest, "only rounds that began are remembered");
        self.latest
    }

    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// What an answer to `round` is worth: nothing, if it never began.
    pub(crate) fn answered(&self, round: u64) -> u64 {
        if round <= self.latest { round } else { 0 }
    }

    /// When a round began; `None` for one long gone, or never begun.
    pub(crate) fn began(&self, round: u64) -> Option<Duration> {
        let back = self.latest.checked_sub(round)?;
        let place = (self.began.len() as u64).checked_sub(back + 1)?;
        self.began.get(usize::try_from(place).ok()?).copied()
    }
}

impl Raft {
    /// Begins a round: a heartbeat to everyone.
    pub(crate) fn begin_round(&mut self) {
        let (commit, term, now) = (self.log.commit(), self.hard.term, self.now.monotonic);
        let Standing::Leader(leader) = &mut self.standing else { return };
        let round = leader.rounds.begin(now, self.config.election_timeout);
        for (id, progress) in &mut leader.peers {
            let commit = progress.may_know(commit);
            assert!(commit <= progress.matched(), "a member is told of nothing that it may not hold");
            progress.tell(commit);
            self.outbox.send(*id, Message { term, body: Body::Heartbeat { commit, round } });
        }
    }

    /// The leader lives, and says what is committed of what this member confirmed to hold.
    pub(crate) fn on_heartbeat(&mut self, from: MemberId, commit: Index, round: u64) {
        if !self.hear_leader(from) {
            return;
        }
        if commit <= self.log.last().index {
            self.commit_to(commit);
        }
        if round > 0 {
            self.outbox.send(from, Message { term: self.hard.term, body: Body::HeartbeatReply { round } });
        }
    }

    /// A member answered a round.
    pub(crate) fn on_heartbeat_reply(&mut self, from: MemberId, round: u64) {
        let (now, interval) = (self.now.monotonic, self.config.heartbeat_interval);
        let Standing::Leader(leader) = &mut self.standing else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        progress.answered(leader.rounds.answered(round), leader.rounds.began(round));
        if progress.lives(now, interval) {
            self.send_empty_append(from);
        }
        self.confirm_reads();
    }

    /// Finds out whether the last appends arrived: what follows nothing that the member holds will be refused.
    fn send_empty_append(&mut self, to: MemberId) {
        let commit = self.log.commit();
        let Standing::Leader(leader) = &mut self.standing else { return };
        let Some(progress) = leader.peers.get_mut(&to) else { return };
        if let State::Snapshot { at_least, .. } = progress.state {
            // It may have installed the snapshot, and its word of that be lost. If the log was purged past it meanwhile, what it
            // says that it holds decides.
            let prev = self.log.id_before(at_least.next()).unwrap_or(self.log.base());
            let append = Append { prev, entries: Vec::new(), commit, round: leader.rounds.latest() };
            self.outbox.send(to, Message { term: self.hard.term, body: Body::Append(append) });
            return;
        }
        let Some(prev) = self.log.id_before(progress.next()) else {
            // Purged, so nobody can ask any more; what is known to have arrived decides.
            progress.probe();
            return;
        };
        let append = Append { prev, entries: Vec::new(), commit, round: leader.rounds.latest() };
        self.outbox.send(to, Message { term: self.hard.term, body: Body::Append(append) });
    }
}
