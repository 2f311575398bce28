//! The methods that a driver calls: inputs, acknowledgements, and `next_output`. Owns the order of steps in each input:
//! advance the clock, apply the rule, check the invariants. Does not own the rules.

use std::collections::BTreeSet;

use crate::config::Limits;
use crate::election::transfer::TransferRefusal;
use crate::ids::{Index, IoId, MemberId, Now, ProposalId, ReadContext};
use crate::membership::removal::RemovalVerdict;
use crate::membership::request::{Change, ChangeRefusal};
use crate::message::{Body, Entry, Message, Payload};
use crate::output::{Output, Unreadable};
use crate::raft::Raft;
use crate::replication::proposal::ProposeRefusal;
use crate::standing::Standing;
use crate::state::role::RoleState;

/// Inputs.
impl Raft {
    /// Handles a message from another member. Duplicate, late and reordered messages are harmless; invalid ones are
    /// ignored.
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

    /// Handles the passage of time. Call this at the time that [`Raft::deadline`] returns, or later. Earlier calls are
    /// cheap.
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

    /// Proposes payloads in order. A follower forwards them to its leader. A proposal that is committed appears in
    /// [`Output::Apply`], where the driver recognizes it by its payload. A proposal that certainly failed appears in
    /// [`Output::Dropped`]. The outcome of any other proposal stays unknown.
    ///
    /// # Errors
    /// Returns the reason if the proposals are refused immediately; none of them entered the log.
    pub fn propose(&mut self, now: Now, proposals: Vec<(ProposalId, Payload)>) -> Result<(), ProposeRefusal> {
        self.begin(now);
        let outcome = self.start_proposals(proposals);
        self.check();
        outcome
    }

    /// Changes the membership; only a leader can do this. Returns the index of the entry that carries the change. If
    /// the configuration in force already is the requested one, or is a joint configuration that ends in the requested
    /// one, returns the index of the configuration in force. If the change needs a joint configuration, the leader
    /// leaves that configuration automatically (Raft thesis §4.3).
    ///
    /// # Errors
    /// Returns the reason if the change is refused; nothing entered the log.
    pub fn change(&mut self, now: Now, change: Change) -> Result<Index, ChangeRefusal> {
        self.begin(now);
        let outcome = self.start_change(change);
        self.check();
        outcome
    }

    /// Transfers leadership to `target` (Raft thesis §3.10) and returns the target. If `target` is `None`, chooses the
    /// voter with the longest log among those that answered recently. Proposals are refused until the transfer ends.
    /// Succeeds without effect if this transfer is already in progress or the target is the leader itself.
    ///
    /// # Errors
    /// Returns the reason if the transfer is refused; no transfer was started.
    pub fn transfer(&mut self, now: Now, target: Option<MemberId>) -> Result<MemberId, TransferRefusal> {
        self.begin(now);
        let outcome = self.start_transfer(target);
        self.check();
        outcome
    }

    /// Sets the preferred leaders, such as the members of one zone. A preferred member campaigns a little earlier. A
    /// leader that is not preferred transfers leadership to a preferred member that keeps up (Raft thesis §3.10). Other
    /// members may still lead. The driver must call this on every member, and again after a restart; initially no
    /// member is preferred.
    pub fn prefer(&mut self, now: Now, members: BTreeSet<MemberId>) {
        self.begin(now);
        self.preference.set(members);
        self.check();
    }

    /// Sets the space that is left on this member's volume. A voter that is not above its reserve campaigns later than
    /// others, and transfers leadership to a voter that is. A leader refuses proposals while no quorum of voters has space
    /// for them; this ends by itself. The driver must call this again after a restart; initially a member is above.
    pub fn set_standing(&mut self, now: Now, standing: Standing) {
        self.begin(now);
        self.stand(standing);
        self.check();
    }

    /// Requests a linearizable read. [`Output::ReadReady`] or [`Output::ReadFailed`] answers it. A member never reuses
    /// a context, not even after a restart.
    pub fn read(&mut self, now: Now, context: ReadContext) {
        self.begin(now);
        self.start_read(context);
        self.check();
    }

    /// Answers [`Output::VerifyRemoval`]. A verdict without such a request is harmless.
    pub fn removal_verified(&mut self, now: Now, verdict: RemovalVerdict) {
        self.begin(now);
        self.on_removal_verdict(verdict);
        self.check();
    }

    /// Changes the limits on the memory of the log. If a limit is lower than before, entries leave the memory at the next
    /// request for an output.
    pub fn set_limits(&mut self, limits: Limits) {
        self.config.limits = limits;
        self.outbox.request_flush();
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
    /// Acknowledges that every write up to and including `io` is durable.
    pub fn persisted(&mut self, now: Now, io: IoId) {
        self.begin(now);
        self.log.persisted(io);
        self.outbox.persisted(io, self.hard.term());
        self.count_own_vote();
        self.advance_commit();
        self.check();
    }

    /// Acknowledges that every entry up to and including `index` is applied.
    pub fn applied(&mut self, now: Now, index: Index) {
        self.begin(now);
        self.log.applied_to(index);
        self.check();
    }

    /// Acknowledges that a snapshot of the state at `index` is durable; `index` is that of [`Output::SnapshotDue`] or a
    /// later one. Purges the entries that the snapshot covers, except entries that followers may need. Returns the
    /// first index that is kept; the driver may purge the entries below that index from its files.
    pub fn snapshot_taken(&mut self, index: Index) -> Index {
        self.outbox.request_flush();
        let first = self.purge_before_snapshot(index);
        self.check();
        first
    }

    /// Acknowledges that the stream of a snapshot to `to` ended. `arrived` is `Ok` if the receiver acknowledged every
    /// byte.
    pub fn snapshot_sent(&mut self, now: Now, to: MemberId, arrived: Result<(), ()>) {
        self.begin(now);
        self.end_snapshot(to, arrived);
        self.check();
    }

    /// Answers [`Output::ReadLog`] with the same `to` and `from`: passes the entries that were read, in order. An answer
    /// that comes too late is harmless.
    pub fn log_read(&mut self, now: Now, to: MemberId, from: Index, read: Result<Vec<Entry>, Unreadable>) {
        self.begin(now);
        self.on_log_read(to, from, read);
        self.check();
    }

    /// Reports that the connection to `to` broke: messages in flight may be lost.
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

/// Output.
impl Raft {
    /// Returns the next instruction to the driver. `None` means that there are no more instructions until the next
    /// input.
    pub fn next_output(&mut self) -> Option<Output> {
        if self.outbox.take_flush_request() {
            self.flush();
        }
        self.outbox.pop()
    }
}
