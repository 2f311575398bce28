//! Snapshots as a driver takes, sends and installs them. Owns the capture, the lane to another member, the install and
//! the checks of each. Does not own the other events (`state.rs`) or the disk (`disk.rs`).
//!
//! The search chooses when a captured snapshot becomes durable; then the purge is queued as a write. A lane is one
//! transfer of a snapshot: it carries the metadata and the state as one message. After that message has arrived, the
//! end of the transfer is reported to the sender. A failure may be reported at any time, even after the message has
//! arrived. An install is a write in several steps.

use raft::{HardState, Index, IoId, MemberId, Message, SnapshotMeta, Term};

use super::bounds::{Bounds, Flaw};
use super::disk::{Snapshot, Write};
use super::member::Lane;
use super::state::World;

impl World {
    /// Captures the state when a snapshot is due, the log is durable up to the applied index, and no other capture is
    /// in progress.
    pub(crate) fn capture_if_due(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        let is_left = self.spent.snapshots < bounds.snapshots;
        let member = self.member(at);
        if !member.snapshots.due || member.snapshots.captured.is_some() {
            return Ok(());
        }
        let time_ms = member.disk.time_at(member.applied);
        let Some(meta) = member.raft.as_ref().and_then(|raft| raft.snapshot_meta(member.applied, time_ms)) else {
            return Ok(());
        };
        member.snapshots.due = false;
        if !is_left {
            return Ok(());
        }
        let snapshot = Snapshot { meta, state: member.state };
        if bounds.flaw == Flaw::PurgesEarly {
            let first = member.raft.as_mut().map(|raft| raft.snapshot_taken(snapshot.meta.last.index));
            member.writes.extend(first.map(Write::Purge));
        }
        self.history.captures(&snapshot)?;
        self.member(at).snapshots.captured = Some(snapshot);
        Ok(())
    }

    /// Makes the captured snapshot durable, and queues the purge of the entries before the index that the core returns.
    pub(crate) fn snapshot_is_durable(&mut self, bounds: &Bounds, at: usize) {
        self.spent.snapshots += 1;
        let member = self.member(at);
        let Some(snapshot) = member.snapshots.captured.take() else { return };
        let index = snapshot.meta.last.index;
        member.disk.store_snapshot(snapshot);
        let Some(raft) = &mut member.raft else { return };
        let first = raft.snapshot_taken(index);
        let first = if bounds.flaw == Flaw::PurgesTooMuch { first.next() } else { first };
        member.writes.push_back(Write::Purge(first));
        if self.spent.snapshots == bounds.snapshots {
            self.drop_captures(bounds);
        }
    }

    /// Drops all captures. Called when the bounds let no further snapshot become durable, because the captures would
    /// then only make equal states differ.
    fn drop_captures(&mut self, bounds: &Bounds) {
        for at in 0..self.members.len() {
            if self.members[at].snapshots.captured.is_some() {
                let member = self.member(at);
                member.snapshots.captured = None;
                member.update_digest(bounds);
            }
        }
    }

    /// Sends the newest durable snapshot.
    pub(crate) fn send_snapshot(
        &mut self,
        from: usize,
        to: MemberId,
        term: Term,
        at_least: Index,
    ) -> Result<(), String> {
        let member = self.member(from);
        let snapshot = member.disk.snapshot.clone();
        let newest = snapshot.meta.last.index;
        if newest < at_least {
            return Err(format!(
                "{} must send a snapshot at or after {at_least}, but has one at {newest}",
                member.id()
            ));
        }
        member.snapshots.lanes.retain(|lane| lane.to != to);
        member.snapshots.lanes.push(Lane { to, arrived: false });
        let message = Message { term, body: raft::Body::InstallSnapshot(snapshot.meta.clone()) };
        self.post(from, to, message, Some(snapshot));
        Ok(())
    }

    /// Handles the arrival of all bytes at the receiver. A later report tells the sender that they arrived.
    pub(crate) fn snapshot_arrives(&mut self, bounds: &Bounds, from: usize, to: usize, snapshot: Snapshot) {
        let (id, receiver) = (self.members[from].id(), self.members[to].id());
        self.member(to).snapshots.received = Some((id, snapshot));
        let sender = self.member(from);
        for lane in &mut sender.snapshots.lanes {
            lane.arrived |= lane.to == receiver;
        }
        sender.update_digest(bounds);
    }

    /// Reports the end of a snapshot transfer to the core of the sender.
    pub(crate) fn report(&mut self, at: usize, place: usize, arrived: Result<(), ()>) {
        let member = self.member(at);
        let lane = member.snapshots.lanes.remove(place);
        let now = member.now();
        if let Some(raft) = &mut member.raft {
            raft.snapshot_sent(now, lane.to, arrived);
        }
    }

    /// Replaces state and log by a snapshot: immediately in memory, but in several steps on disk.
    pub(crate) fn install(
        &mut self,
        bounds: &Bounds,
        at: usize,
        (io, from): (IoId, MemberId),
        hard_state: Option<HardState>,
        meta: &SnapshotMeta,
    ) -> Result<(), String> {
        self.coverage.installs += 1;
        let member = self.member(at);
        let received = member.snapshots.received.take().filter(|(sender, got)| *sender == from && got.meta == *meta);
        let Some((_, snapshot)) = received else {
            return Err(format!(
                "{} must install the snapshot at {}, which it did not receive",
                member.id(),
                meta.last
            ));
        };
        member.snapshots.due = false;
        member.applied = meta.last.index;
        if bounds.flaw != Flaw::InstallsWithoutState {
            member.state = snapshot.state;
        }
        member.writes.extend(hard_state.map(Write::HardState));
        member.writes.push_back(Write::Snapshot(snapshot));
        member.writes.push_back(Write::Reset(io));
        let (id, state) = (member.id(), member.state);
        self.history.installs(id, meta, state)
    }
}
