//! Leading: what only a leader holds, how it begins, and what time makes it do. Owns no rule of its own; replication,
//! elections, reads and membership each keep theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::election::transfer::Transfer;
use crate::fingerprint::Present;
use crate::ids::{Index, MemberId};
use crate::message::Payload;
use crate::raft::Raft;
use crate::read::read_index::Confirmations;
use crate::replication::heartbeat::Rounds;
use crate::replication::progress::{Progress, State};
use crate::role::Standing;

/// What only a leader holds, for one term.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Everyone else in the committed configuration or a later one.
    pub(crate) peers: BTreeMap<MemberId, Progress>,
    /// The no-op of this term: nothing that asks for a commit of this term is done before it commits.
    pub(crate) first: Index,
    pub(crate) heartbeat_due: Duration,
    pub(crate) rounds: Rounds,
    pub(crate) reads: Confirmations,
    pub(crate) transfer: Option<Transfer>,
    /// Somebody was told to campaign in this term: its lease is over for good (raft-rs#234).
    pub(crate) lease_over: bool,
    /// It has no vote any more and is on its way out.
    pub(crate) retiring: bool,
    /// Next hand-over for a stalled disk, at the earliest.
    pub(crate) stall_retry: Duration,
    pub(crate) uncommitted_bytes: usize,
}

impl Leader {
    pub(crate) fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self {
            peers,
            first,
            heartbeat_due,
            rounds,
            reads,
            transfer,
            lease_over,
            retiring,
            stall_retry,
            uncommitted_bytes,
        } = self;
        for (id, progress) in peers {
            id.hash(into);
            progress.fingerprint(present, into);
        }
        (peers.len(), first, reads, lease_over, retiring, uncommitted_bytes).hash(into);
        (present.wait(*heartbeat_due), present.wait(*stall_retry)).hash(into);
        rounds.fingerprint(present, into);
        transfer.is_some().hash(into);
        transfer.iter().for_each(|transfer| transfer.fingerprint(present, into));
    }
}

impl Raft {
    /// The election is won (Raft thesis §3.4): nothing is known of the others, and the no-op commits what came before.
    pub(crate) fn lead(&mut self) {
        assert!(self.hard.vote == Some(self.config.id), "a leader has its own vote");
        let now = self.now.monotonic;
        let mut rounds = Rounds::default();
        rounds.begin(now, self.config.election_timeout);
        self.standing = Standing::Leader(Box::new(Leader {
            peers: BTreeMap::new(),
            first: self.log.last().index.next(),
            heartbeat_due: now.saturating_add(self.config.heartbeat_interval),
            rounds,
            reads: Confirmations::default(),
            transfer: None,
            lease_over: false,
            retiring: false,
            stall_retry: Duration::ZERO,
            uncommitted_bytes: self.log.uncommitted_bytes(),
        }));
        self.set_leader(Some(self.config.id));
        self.settle_before_handing_over();
        self.sync_peers();
        let first = self.append(Payload::Noop);
        assert!(first > self.log.commit(), "a term begins with an entry of its own");
        assert!(self.log.last().term == self.hard.term, "a term begins with an entry of its own");
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.standing, Standing::Leader(_))
    }

    /// Keeps a progress for everyone in the committed configuration and in later ones: members of the outgoing half are
    /// served until the leave entry commits. Who is left out then is told so, if it was removed.
    pub(crate) fn sync_peers(&mut self) {
        let (at, committed) = self.history.at(self.log.commit()).clone();
        let mut wanted = BTreeSet::new();
        for configuration in self.history.since(self.log.commit()) {
            wanted.extend(configuration.everyone());
        }
        wanted.remove(&self.config.id);
        let (last, now, term) = (self.log.last().index, self.now.monotonic, self.hard.term);
        assert!(!wanted.contains(&self.config.id), "a leader does not replicate to itself");
        let Standing::Leader(leader) = &mut self.standing else { return };
        for id in &wanted {
            leader.peers.entry(*id).or_insert_with(|| Progress::new(last, now));
        }
        let gone: Vec<MemberId> = leader.peers.keys().filter(|id| !wanted.contains(id)).copied().collect();
        for id in gone {
            leader.peers.remove(&id);
            if committed.removed.contains(&id) {
                self.outbox.send(id, crate::membership::removal::notice(term, at));
            }
        }
    }

    /// Whether an entry of this term is committed: only then is everything of earlier terms known to be (Raft thesis §6.4).
    pub(crate) fn term_is_committed(&self) -> bool {
        match &self.standing {
            Standing::Leader(leader) => self.log.commit() >= leader.first,
            _ => false,
        }
    }

    /// What time makes a leader do.
    pub(crate) fn tick_leader(&mut self) {
        if self.step_down_without_quorum() || self.give_up_transfer() {
            return;
        }
        let now = self.now.monotonic;
        let Standing::Leader(leader) = &mut self.standing else { return };
        for progress in leader.peers.values_mut() {
            if matches!(progress.state, State::Snapshot { give_up, .. } if give_up <= now) {
                progress.probe();
            }
        }
        if leader.heartbeat_due <= now {
            leader.heartbeat_due = now.saturating_add(self.config.heartbeat_interval);
            self.begin_round();
            self.repeat_timeout_now();
            self.hand_over_to_preferred();
        }
        self.hand_over_for_stalled_disk();
    }

    /// When a leader has something to do.
    pub(crate) fn leader_deadline(&self, leader: &Leader) -> Duration {
        let snapshots = leader.peers.values().filter_map(|progress| match progress.state {
            State::Snapshot { give_up, .. } => Some(give_up),
            State::Probe { .. } | State::Replicate(_) => None,
        });
        let transfer = leader.transfer.as_ref().map(|transfer| transfer.give_up);
        let stalled = self.disk_stalls_at().max(leader.stall_retry);
        snapshots
            .chain(transfer)
            .chain([leader.heartbeat_due, self.quorum_lost_at(leader), stalled])
            .min()
            .unwrap_or(Duration::MAX)
    }
}
