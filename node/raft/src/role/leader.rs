//! Leaders: how a term of leadership begins, which members a leader serves, and what it does when time passes. Does not
//! own the rules of replication, elections, reads or membership; other modules own them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::message::{Message, Payload};
use crate::raft::Raft;
use crate::state::leader::Leader;
use crate::state::progress::ProgressState;
use crate::state::role::RoleState;
use crate::state::rounds::HeartbeatRounds;

impl Raft {
    /// Becomes leader after winning the election (Raft thesis §3.4). Appends the no-op, whose commit also commits
    /// earlier entries.
    pub(crate) fn lead(&mut self) {
        assert!(self.hard.vote() == Some(self.config.id), "a leader has its own vote");
        let now = self.clocks.monotonic();
        let mut rounds = HeartbeatRounds::default();
        rounds.begin(now, self.config.election_timeout);
        let heartbeat_due = now.saturating_add(self.config.heartbeat_interval);
        let first = self.log.last().index.next();
        let leader = Leader::new(first, heartbeat_due, rounds);
        self.role = RoleState::Leader(Box::new(leader));
        self.set_leader(Some(self.config.id));
        self.forget_removal_hint();
        self.settle_before_transfer();
        self.hear_of_space_before_transfer();
        self.sync_peers();
        let first = self.append(Payload::Noop);
        assert!(first > self.log.commit(), "the no-op of a term is not committed when it is made");
        assert!(self.log.last().term == self.hard.term(), "a term begins with an entry of its own");
    }

    pub(crate) fn is_leader(&self) -> bool {
        matches!(self.role, RoleState::Leader(_))
    }

    /// Tracks every other member of the committed configuration and of later ones. Members of the outgoing electorate
    /// are therefore served until the entry that leaves the joint configuration is committed. Sends a removal notice to
    /// each member that is no longer tracked because the committed configuration removed it.
    pub(crate) fn sync_peers(&mut self) {
        let (at, committed) = self.history.at(self.log.commit()).clone();
        let mut wanted = BTreeSet::new();
        for configuration in self.history.since(self.log.commit()) {
            wanted.extend(configuration.everyone());
        }
        wanted.remove(&self.config.id);
        let (last, now, term) = (self.log.last().index, self.clocks.monotonic(), self.hard.term());
        assert!(!wanted.contains(&self.config.id), "a leader does not replicate to itself");
        let RoleState::Leader(leader) = &mut self.role else { return };
        for id in leader.track(&wanted, last, now) {
            if committed.removed.contains(&id) {
                self.outbox.send(id, Message::removal_notice(term, at));
            }
        }
    }

    /// Returns whether an entry of this leader's term is committed. Only then does the leader know which entries of
    /// earlier terms are committed (Raft thesis §6.4).
    pub(crate) fn term_is_committed(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => self.log.commit() >= leader.first(),
            _ => false,
        }
    }

    /// Carries out everything that is due for a leader at the current time.
    pub(crate) fn tick_leader(&mut self) {
        if self.step_down_without_quorum() || self.abort_overdue_transfer() {
            return;
        }
        let now = self.clocks.monotonic();
        let RoleState::Leader(leader) = &mut self.role else { return };
        for (_, progress) in leader.peers_mut() {
            if matches!(progress.state(), ProgressState::Snapshot { deadline, .. } if *deadline <= now) {
                progress.probe();
            }
        }
        if leader.heartbeat_due() <= now {
            leader.schedule_heartbeat(now.saturating_add(self.config.heartbeat_interval));
            self.begin_round();
            self.repeat_timeout_now();
            self.transfer_to_space();
            self.transfer_to_preferred();
        }
        self.transfer_from_stalled_disk();
    }

    /// Returns the earliest time at which a leader has something to do.
    pub(crate) fn leader_deadline(&self, leader: &Leader) -> Duration {
        let snapshots = leader.peers().values().filter_map(|progress| match progress.state() {
            ProgressState::Snapshot { deadline, .. } => Some(*deadline),
            ProgressState::Probe { .. } | ProgressState::Replicate(_) => None,
        });
        let transfer = leader.transfer().map(|transfer| transfer.deadline());
        let stalled = self.disk_stalls_at().max(leader.stall_retry());
        snapshots
            .chain(transfer)
            .chain([leader.heartbeat_due(), self.quorum_lost_at(leader), stalled])
            .min()
            .unwrap_or(Duration::MAX)
    }
}
