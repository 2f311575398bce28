//! ReadIndex: when a quorum has answered a round, a read is safe at the commit index from the start of that round (Raft
//! thesis §6.4). Owns the handling of a read by the leader, and by a follower that forwards it.

use crate::configuration::Configuration;
use crate::ids::{Index, MemberId, ReadContext};
use crate::message::{Body, Message};
use crate::output::Output;
use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::leader::Leader;
use crate::state::role::RoleState;
use crate::state::waiting_reads::{Asker, ReadBatch};

impl Raft {
    pub(crate) fn start_read(&mut self, context: ReadContext) {
        if self.is_leader() {
            self.confirm(Asker { member: None, context });
            return;
        }
        let Some(leader) = self.leader.id().filter(|_| !self.forwarded.is_full()) else {
            self.outbox.push(Output::ReadFailed { context });
            return;
        };
        let fails_at = self.clocks.monotonic().saturating_add(self.config.election_timeout);
        self.forwarded.push(context, fails_at);
        self.outbox.send(leader, Message { term: self.hard.term(), body: Body::ReadIndex { context } });
    }

    /// Handles a read that another member forwarded to this member as its leader.
    pub(crate) fn on_read_index(&mut self, from: MemberId, context: ReadContext) {
        self.confirm(Asker { member: Some(from), context });
    }

    /// Handles the leader's answer to a forwarded read. Ignores an answer to a read that has failed meanwhile.
    pub(crate) fn on_read_index_reply(&mut self, context: ReadContext, index: Option<Index>) {
        if !self.forwarded.remove(context) {
            return;
        }
        self.outbox.push(match index {
            Some(index) => Output::ReadReady { context, index },
            None => Output::ReadFailed { context },
        });
    }

    fn confirm(&mut self, asker: Asker) {
        match &mut self.role {
            RoleState::Leader(leader) if !leader.reads().is_full() => leader.reads_mut().push(asker),
            _ => self.answer_read(asker, None),
        }
    }

    /// Confirms the waiting reads immediately if the lease is valid or this member alone is a quorum; otherwise begins
    /// a round for them. In each case an entry of this term must be committed first (etcd#7331).
    pub(crate) fn start_read_round(&mut self) {
        let proven = self.term_is_committed() && (self.holds_lease() || self.is_quorum_alone());
        let may_start = self.term_is_committed();
        let index = self.log.commit();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if !may_start || !leader.reads().needs_round() {
            return;
        }
        if proven {
            let askers = leader.reads_mut().take_waiting();
            askers.into_iter().for_each(|asker| self.answer_read(asker, Some(index)));
        } else if leader.reads().may_begin_round() {
            let round = leader.latest_round() + 1;
            leader.reads_mut().begin_round(round, index);
            self.begin_round();
        }
    }

    /// Answers each waiting read if a quorum has answered the round of the read.
    pub(crate) fn confirm_reads(&mut self) {
        let own = self.config.id;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if !leader.reads().is_in_progress() {
            return;
        }
        let answered = joint::reached(self.history.latest().1.electorate(), |id| match leader.peer(id) {
            _ if id == own => u64::MAX,
            Some(progress) => progress.acked_round(),
            None => 0,
        });
        let Some(answered) = answered else { return };
        for ReadBatch { index, askers, .. } in leader.reads_mut().confirm(answered) {
            askers.into_iter().for_each(|asker| self.answer_read(asker, Some(index)));
        }
    }

    /// Fails all waiting reads, because this member no longer leads and cannot confirm them.
    pub(crate) fn fail_confirmations(&mut self, leader: Leader) {
        leader.into_reads().into_askers().for_each(|asker| self.answer_read(asker, None));
    }

    /// Fails all forwarded reads, because the leader that received them no longer leads or is unreachable.
    pub(crate) fn fail_forwarded_reads(&mut self) {
        for context in self.forwarded.take_all() {
            self.outbox.push(Output::ReadFailed { context });
        }
    }

    /// Fails forwarded reads that the leader did not answer in time.
    pub(crate) fn expire_forwarded_reads(&mut self) {
        while let Some(context) = self.forwarded.expire(self.clocks.monotonic()) {
            self.outbox.push(Output::ReadFailed { context });
        }
    }

    fn answer_read(&mut self, asker: Asker, index: Option<Index>) {
        assert!(index.is_none_or(|index| index <= self.log.commit()), "a read waits for a committed entry");
        let context = asker.context;
        match (asker.member, index) {
            (None, Some(index)) => self.outbox.push(Output::ReadReady { context, index }),
            (None, None) => self.outbox.push(Output::ReadFailed { context }),
            (Some(member), index) => {
                let body = Body::ReadIndexReply { context, index };
                self.outbox.send(member, Message { term: self.hard.term(), body });
            }
        }
    }

    /// Returns whether this member alone is a quorum in the configuration in force.
    pub(crate) fn is_quorum_alone(&self) -> bool {
        self.decides_alone(&self.history.latest().1)
    }

    /// Returns whether this member alone is a quorum in the committed configuration and in every later one. Otherwise a
    /// leader that another configuration elected may still lead, and the lease of that leader may depend on this
    /// member's answers.
    pub(crate) fn was_quorum_alone(&self) -> bool {
        self.history.since(self.log.commit()).all(|configuration| self.decides_alone(configuration))
    }

    fn decides_alone(&self, configuration: &Configuration) -> bool {
        let own = self.config.id;
        joint::reached(configuration.electorate(), |id| id == own) == Some(true)
    }
}
