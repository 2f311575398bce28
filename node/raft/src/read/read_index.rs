//! ReadIndex: the commit index at the start of a round is safe to read at once a quorum answered that round (Raft thesis
//! §6.4). Owns the waiting reads of a leader, and those that a follower forwarded.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::{Index, MemberId, ReadContext};
use crate::membership::configuration::Configuration;
use crate::message::{Body, Message};
use crate::output::Output;
use crate::quorum::joint;
use crate::raft::Raft;
use crate::role::Standing;
use crate::role::leader::Leader;

/// Reads of one leader that wait, at most; more are failed at once.
const WAITING_MAX: usize = 65_536;
/// Rounds for reads under way at once; reads that come meanwhile share the next.
const ROUNDS_MAX: usize = 4;

/// Who asked: this member itself, or another.
#[derive(Clone, Copy, Debug, Hash)]
struct Asker {
    member: Option<MemberId>,
    context: ReadContext,
}

/// Reads that share one round.
#[derive(Clone, Debug, Hash)]
struct Batch {
    round: u64,
    /// Commit index when the round began.
    index: Index,
    askers: Vec<Asker>,
}

/// What a leader is to confirm.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Confirmations {
    /// In no round yet.
    waiting: Vec<Asker>,
    /// Oldest round first.
    under_way: VecDeque<Batch>,
}

/// Reads that a follower forwarded to its leader, oldest first, each with its end of patience.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forwarded(VecDeque<(ReadContext, Duration)>);

impl Forwarded {
    pub(crate) fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self(asked) = self;
        asked.iter().for_each(|(context, patience)| (context, present.wait(*patience)).hash(into));
        asked.len().hash(into);
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.front().map_or(Duration::MAX, |(_, patience)| *patience)
    }
}

impl Raft {
    pub(crate) fn start_read(&mut self, context: ReadContext) {
        if self.is_leader() {
            self.confirm(Asker { member: None, context });
            return;
        }
        let Some(leader) = self.leader.filter(|_| self.forwarded.0.len() < WAITING_MAX) else {
            self.outbox.push(Output::ReadFailed { context });
            return;
        };
        let patience = self.now.monotonic.saturating_add(self.config.election_timeout);
        self.forwarded.0.push_back((context, patience));
        assert!(self.forwarded.0.len() <= WAITING_MAX, "reads that wait are bounded");
        self.outbox.send(leader, Message { term: self.hard.term, body: Body::ReadIndex { context } });
    }

    /// A member asks this one, as its leader, to confirm a read.
    pub(crate) fn on_read_index(&mut self, from: MemberId, context: ReadContext) {
        self.confirm(Asker { member: Some(from), context });
    }

    /// The leader confirmed a read, or could not. One that was given up meanwhile is not answered twice.
    pub(crate) fn on_read_index_reply(&mut self, context: ReadContext, index: Option<Index>) {
        let Some(place) = self.forwarded.0.iter().position(|(asked, _)| *asked == context) else { return };
        self.forwarded.0.remove(place);
        self.outbox.push(match index {
            Some(index) => Output::ReadReady { context, index },
            None => Output::ReadFailed { context },
        });
    }

    fn confirm(&mut self, asker: Asker) {
        match &mut self.standing {
            Standing::Leader(leader) if leader.reads.waiting.len() < WAITING_MAX => leader.reads.waiting.push(asker),
            _ => self.answer_read(asker, None),
        }
    }

    /// Begins a round for the reads that wait, once an entry of this term is committed (etcd#7331).
    pub(crate) fn start_read_round(&mut self) {
        let proven = self.term_is_committed() && (self.holds_lease() || self.is_quorum_alone());
        let may_start = self.term_is_committed();
        let index = self.log.commit();
        let Standing::Leader(leader) = &mut self.standing else { return };
        if !may_start || leader.reads.waiting.is_empty() {
            return;
        }
        if proven {
            let askers = std::mem::take(&mut leader.reads.waiting);
            askers.into_iter().for_each(|asker| self.answer_read(asker, Some(index)));
        } else if leader.reads.under_way.len() < ROUNDS_MAX {
            let askers = std::mem::take(&mut leader.reads.waiting);
            let round = leader.rounds.latest() + 1;
            assert!(leader.reads.under_way.back().is_none_or(|last| last.round < round), "a round serves one batch");
            assert!(leader.reads.under_way.back().is_none_or(|last| last.index <= index), "reads never go back");
            leader.reads.under_way.push_back(Batch { round, index, askers });
            self.begin_round();
        }
    }

    /// Answers the reads whose round a quorum answered.
    pub(crate) fn confirm_reads(&mut self) {
        let own = self.config.id;
        let Standing::Leader(leader) = &mut self.standing else { return };
        if leader.reads.under_way.is_empty() {
            return;
        }
        let answered = joint::reached(&self.history.latest().1, |id| match leader.peers.get(&id) {
            _ if id == own => u64::MAX,
            Some(progress) => progress.round(),
            None => 0,
        });
        let mut ready = Vec::new();
        while let Some(batch) = leader.reads.under_way.front() {
            if answered.is_none_or(|answered| answered < batch.round) {
                break;
            }
            ready.extend(leader.reads.under_way.pop_front());
        }
        for Batch { index, askers, .. } in ready {
            askers.into_iter().for_each(|asker| self.answer_read(asker, Some(index)));
        }
    }

    /// This member leads no longer: nothing that waits can be confirmed.
    pub(crate) fn fail_confirmations(&mut self, leader: Leader) {
        let Confirmations { waiting, under_way } = leader.reads;
        let under_way = under_way.into_iter().flat_map(|batch| batch.askers);
        under_way.chain(waiting).for_each(|asker| self.answer_read(asker, None));
    }

    /// The leader that reads were forwarded to is not this member's leader any more, or cannot be reached.
    pub(crate) fn fail_forwarded_reads(&mut self) {
        for (context, _) in std::mem::take(&mut self.forwarded.0) {
            self.outbox.push(Output::ReadFailed { context });
        }
    }

    /// Gives up forwarded reads that nobody answered.
    pub(crate) fn expire_forwarded_reads(&mut self) {
        while self.forwarded.deadline() <= self.now.monotonic {
            let Some((context, _)) = self.forwarded.0.pop_front() else { return };
            self.outbox.push(Output::ReadFailed { context });
        }
    }

    fn answer_read(&mut self, asker: Asker, index: Option<Index>) {
        assert!(index.is_none_or(|index| index <= self.log.commit()), "a read waits for what is committed");
        let context = asker.context;
        match (asker.member, index) {
            (None, Some(index)) => self.outbox.push(Output::ReadReady { context, index }),
            (None, None) => self.outbox.push(Output::ReadFailed { context }),
            (Some(member), index) => {
                let body = Body::ReadIndexReply { context, index };
                self.outbox.send(member, Message { term: self.hard.term, body });
            }
        }
    }

    /// Whether this member's own voice is a quorum.
    pub(crate) fn is_quorum_alone(&self) -> bool {
        self.decides_alone(&self.history.latest().1)
    }

    /// Whether it also was before the changes that are not known to be committed: who led by an earlier configuration may
    /// still lead, and hold a lease on this member's word.
    pub(crate) fn was_quorum_alone(&self) -> bool {
        self.history.since(self.log.commit()).all(|configuration| self.decides_alone(configuration))
    }

    fn decides_alone(&self, configuration: &Configuration) -> bool {
        let own = self.config.id;
        joint::reached(configuration, |id| id == own) == Some(true)
    }
}
