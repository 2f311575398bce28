//! The methods that a driver calls: inputs, acknowledgements and the one output. Owns their order of steps: take the
//! time, let a rule decide, check the invariants. Does not own a decision.

use std::collections::BTreeSet;

use crate::election::transfer::TransferRefusal;
use crate::ids::{Index, IoId, MemberId, Now, ProposalId, ReadContext};
use crate::membership::request::{Change, ChangeRefusal};
use crate::message::{Body, Message, Payload};
use crate::output::Output;
use crate::raft::Raft;
use crate::replication::proposal::ProposeRefusal;
use crate::state::role::RoleState;

/// Inputs.
impl Raft {
    /// A message arrived. Duplicate, late and reordered messages are harmless; invalid ones are ignored.
    pub fn step(&mut self, now: Now, from: MemberId, message: Message) {
        self.begin(now);
        let snapshot = match &message.body {
            Body::InstallSnapshot(meta) => Some(meta.last),
            _ => None,
        };
        if self.admits(from, &message) {
            self.dispatch(from, message);
        } else if let Some(last) = snapshot {
            self.outbox.push(Output::DiscardSnapshot { from, last });
        }
        self.check();
    }

    /// Time passed; cheap when nothing is due. Call it at [`Raft::deadline`] or later.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        self.expire_forwarded_reads();
        if self.is_leader() {
            self.tick_leader();
        } else if self.silence_ends_at() <= self.clocks.monotonic() {
            self.on_silence();
        }
        self.check();
    }

    /// Proposes payloads in order; a follower forwards them to its leader. Each proposal later appears in
    /// [`Output::Apply`], where the driver recognizes it by its payload, or in [`Output::Dropped`], or its outcome
    /// stays unknown.
    ///
    /// # Errors
    /// Returns the reason if the proposals are refused at once; none of them entered the log.
    pub fn propose(&mut self, now: Now, proposals: Vec<(ProposalId, Payload)>) -> Result<(), ProposeRefusal> {
        self.begin(now);
        let outcome = self.start_proposals(proposals);
        self.check();
        outcome
    }

    /// Changes the membership; only a leader can. Returns the index of the entry that carries the change. If the
    /// configuration in force already is the requested one or leads there, returns its index. A joint configuration, if
    /// one is needed, is left automatically (Raft thesis §4.3).
    ///
    /// # Errors
    /// Returns the reason if the change is refused; nothing entered the log.
    pub fn change(&mut self, now: Now, change: Change) -> Result<Index, ChangeRefusal> {
        self.begin(now);
        let outcome = self.start_change(change);
        self.check();
        outcome
    }

    /// Transfers leadership to `target` (Raft thesis §3.10), or, if it is `None`, to the voter with the longest log
    /// among those that answered recently; returns the target. Proposals are refused until the transfer ends. Succeeds
    /// without effect if this transfer is already in progress or the target is the leader itself.
    ///
    /// # Errors
    /// Returns the reason if the transfer is refused; no transfer was started.
    pub fn transfer(&mut self, now: Now, target: Option<MemberId>) -> Result<MemberId, TransferRefusal> {
        self.begin(now);
        let outcome = self.start_transfer(target);
        self.check();
        outcome
    }

    /// Sets the members that should lead rather than others, such as those of one zone. They campaign a little earlier,
    /// and another leader transfers leadership to one that keeps up (Raft thesis §3.10). Other members may still lead.
    /// The driver must call this on every member, and again after a restart; no member is preferred at first.
    pub fn prefer(&mut self, now: Now, members: BTreeSet<MemberId>) {
        self.begin(now);
        self.preference.set(members);
        self.check();
    }

    /// Requests a linearizable read, answered by [`Output::ReadReady`] or [`Output::ReadFailed`]. A member never reuses
    /// a context, not even after a restart.
    pub fn read(&mut self, now: Now, context: ReadContext) {
        self.begin(now);
        self.start_read(context);
        self.check();
    }

    fn begin(&mut self, now: Now) {
        self.clocks.advance(now);
        if self.config.lease_reads {
            self.clocks.compare(self.config.clock_drift, self.config.leader_lease);
        }
        self.outbox.request_flush();
    }
}

/// Acknowledgements.
impl Raft {
    /// Every write up to and including `io` is durable.
    pub fn persisted(&mut self, now: Now, io: IoId) {
        self.begin(now);
        self.log.persisted(io);
        self.outbox.persisted(io, self.hard.term());
        self.count_own_vote();
        self.advance_commit();
        self.check();
    }

    /// Every entry up to and including `index` is applied.
    pub fn applied(&mut self, now: Now, index: Index) {
        self.begin(now);
        self.log.applied_to(index);
        self.check();
    }

    /// A snapshot of the state at `index` (that of [`Output::SnapshotDue`] or a later one) is durable. Purges the log
    /// before it, except for entries that followers may need. Returns the first index that is kept; the driver may
    /// purge its files before it.
    pub fn snapshot_taken(&mut self, index: Index) -> Index {
        self.outbox.request_flush();
        let first = self.purge_before_snapshot(index);
        self.check();
        first
    }

    /// The stream of a snapshot to `to` ended; `arrived` is `Ok` if the receiver acknowledged every byte.
    pub fn snapshot_sent(&mut self, now: Now, to: MemberId, arrived: Result<(), ()>) {
        self.begin(now);
        self.end_snapshot(to, arrived);
        self.check();
    }

    /// The connection to `to` broke, and messages in flight may be lost.
    pub fn unreachable(&mut self, to: MemberId) {
        self.outbox.request_flush();
        if self.leader.is(to) {
            self.fail_forwarded_reads();
        }
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(progress) = leader.peer_mut(to)
        {
            progress.lost();
        }
    }
}

/// The one output.
impl Raft {
    /// The next instruction, in order; `None` until the next input.
    pub fn next_output(&mut self) -> Option<Output> {
        if self.outbox.take_flush_request() {
            self.flush();
        }
        self.outbox.pop()
    }
}
