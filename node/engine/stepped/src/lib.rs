//! Owns a member without threads, sockets or clocks. The caller steps each part that [`engine::wiring`] assembles, passes in the
//! time, and carries messages between members. Does not own any behaviour of a member: one step executes one round of a thread of
//! [`engine::threads`].
//!
//! The simulator runs clusters of these members on disks in memory, and so tests the shipped code. Messages leave and enter a
//! member as encoded frames (`wire`), so that tests also notice a message that is not encoded completely.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::apply::{Applier, ApplyError};
use engine::driver::{Driver, Ended};
use engine::handle::Handle;
use engine::incoming_snapshot::{self, KeepError, Offered};
pub use engine::level::SUPPORTED;
use engine::log_thread::{LogJob, LogThread};
use engine::observer::Observer;
use engine::shared::Shared;
use engine::snapshot_thread::SnapshotThread;
use engine::status::{Phase, Status};
use engine::transport::Transport;
use engine::wiring::{WireError, Wired, wire};
use mvcc::FeatureLevel;
use raft::{
    Body, Configuration, HardState, Index, IoId, MemberId, Message, Now, Output, Persist, ProposalId, Raft,
    RemovalVerdict, SnapshotMeta, Term,
};
use storage::codec::DecodeError;
use storage::{LogFormat, Recovered, SnapshotError, Snapshots, StorageError};
use tokio::sync::mpsc;

pub use engine::driver::SnapshotTrigger;
pub use engine::wiring::{QueueLimits, Settings};

/// Messages and snapshots that the driver has sent, until the caller takes them.
#[derive(Debug, Default)]
struct Outbox {
    messages: Vec<(MemberId, Message)>,
    /// Transfers that the driver has begun, at most one to each member, as in the real transport.
    snapshots: BTreeMap<MemberId, SnapshotDue>,
    /// Whether commands for the leader do not fit.
    is_full: bool,
    /// Whether the other voters are to be asked about a removal.
    verifies_removal: bool,
}

#[derive(Clone, Debug, Default)]
struct SharedOutbox(Arc<Mutex<Outbox>>);

impl SharedOutbox {
    /// Ignores poisoning: every holder of the lock leaves the outbox consistent.
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for SharedOutbox {
    fn configure(&self, _configuration: Arc<Configuration>) {}

    fn send(&self, messages: &mut Vec<(MemberId, Message)>, unsent: &mut Vec<ProposalId>) {
        let mut outbox = self.lock();
        let is_full = outbox.is_full;
        for (to, message) in messages.drain(..) {
            match message.body {
                Body::Propose { proposals } if is_full => unsent.extend(proposals.into_iter().map(|(id, _)| id)),
                body => outbox.messages.push((to, Message { body, ..message })),
            }
        }
    }

    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index) {
        self.lock().snapshots.insert(to, SnapshotDue { to, number, term, at_least });
    }

    fn verify_removal(&self) {
        self.lock().verifies_removal = true;
    }
}

/// A snapshot transfer that the driver has begun.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotDue {
    /// The receiver.
    pub to: MemberId,
    /// Number of the transfer.
    pub number: u64,
    /// The sender's term, which the receiver needs.
    pub term: Term,
    /// Index that the snapshot must reach.
    pub at_least: Index,
}

/// Result of one round of the core's thread. The messages of the round are still in the member's outbox.
#[derive(Debug)]
pub struct Turn {
    /// Outputs of the core, in order.
    pub outputs: Vec<Output>,
    /// True if the driver has ended. A driver that has ended must not be stepped again.
    pub ended: bool,
}

/// Result of one step of the log thread. The result is durable.
#[derive(Debug)]
pub enum Written {
    /// Writes of the core, made durable with one sync.
    Persisted(Vec<Persist>),
    /// The installation of a received snapshot, which replaces the log and the state.
    Installed {
        /// ID of the write.
        io: IoId,
        /// Term and vote, if they changed.
        hard_state: Option<HardState>,
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
    },
    /// All log entries below an index were purged.
    Purged {
        /// First index that is kept.
        first_kept: Index,
    },
    /// The tombstone of the removed member was written.
    Tombstone {
        /// Index of the committed configuration that removed the member.
        index: Index,
    },
    /// The next batch is written in this format.
    Format(LogFormat),
    /// Received snapshots were deleted.
    Discarded,
    /// Entries were read, and nothing was written.
    Nothing,
}

/// A snapshot in transfer between members.
#[derive(Clone, Debug)]
pub struct SnapshotContent {
    /// Metadata of the snapshot.
    pub meta: SnapshotMeta,
    bytes: Vec<Bytes>,
    size: u64,
    crc32c: u32,
}

/// Collects the outputs of the core until the end of the turn.
#[derive(Clone, Debug, Default)]
struct Outputs(Arc<Mutex<Vec<Output>>>);

impl Outputs {
    fn take(&self) -> Vec<Output> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Outputs {
    fn output(&self, output: &Output) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(output.clone());
    }
}

/// A member whose parts the caller steps.
pub struct SteppedMember {
    driver: Driver,
    log: LogThread,
    applier: Applier,
    snapshots: SnapshotThread,
    stored: Snapshots,
    shared: Arc<Shared>,
    outbox: SharedOutbox,
    outputs: Outputs,
}

impl fmt::Debug for SteppedMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteppedMember").field("member", &self.shared.member()).finish_non_exhaustive()
    }
}

impl SteppedMember {
    /// Starts a member from the recovered content of its disk. The member behaves as a program that supports the
    /// feature levels up to `supports`. The first turn is due immediately.
    ///
    /// # Errors
    /// Returns why the member cannot run on this disk.
    pub fn start(
        recovered: Recovered,
        settings: Settings,
        supports: FeatureLevel,
        now: Now,
    ) -> Result<Self, WireError> {
        let identity = recovered.identity.cluster.as_ref().ok_or(WireError::NoCluster)?;
        let status = Status {
            supports,
            cluster: Some(identity.cluster_id),
            ..Status::idle(recovered.identity.member, identity.own.name.clone(), Phase::Member)
        };
        let outputs = Outputs::default();
        // The receiver is dropped, because a member that belongs to a cluster gets no lifecycle requests.
        let lifecycle = mpsc::channel(1).0;
        let shared = Shared::new(status, Some(identity.token_sha256), 1, lifecycle, Box::new(outputs.clone()));
        let stored = recovered.storage.snapshots().clone();
        let outbox = SharedOutbox::default();
        let Wired { driver, log, applier, snapshots, .. } =
            wire(recovered, settings, now, &shared, Box::new(outbox.clone()))?;
        Ok(Self { driver, log, applier, snapshots, stored, shared, outbox, outputs })
    }

    /// The handle with which callers use the member. Its futures never wake a task, so the caller must poll them again after each
    /// step.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// The member's core.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        self.driver.raft()
    }

    // The core's thread.

    /// Returns whether the core's thread would wake if its clock showed `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.driver.is_due(now)
    }

    /// Monotonic time at which the core's thread wakes even if no event arrives.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.driver.deadline()
    }

    /// Runs one round of the core's thread: takes all events, reacts to them, and executes all outputs.
    pub fn turn(&mut self, now: Now) -> Turn {
        let ended = self.driver.step(now);
        Turn { outputs: self.outputs.take(), ended: matches!(ended, Some(Ended::Stopped | Ended::Removed(_))) }
    }

    /// Stops the member. The next turn reports that the driver has ended.
    pub fn stop(&self) {
        self.shared.stop_core();
    }

    // The log thread.

    /// Returns whether a job waits for the log thread.
    #[must_use]
    pub fn has_to_write(&self) -> bool {
        self.log.has_work()
    }

    /// Executes one job of the log thread, with one sync.
    ///
    /// # Errors
    /// Returns why the job failed. After [`StorageError::Full`] the caller may step the log thread again; after any other error
    /// the member must end.
    pub fn write(&mut self) -> Result<Option<Written>, StorageError> {
        Ok(self.log.step()?.map(|job| match job {
            LogJob::Persist(group) => Written::Persisted(group),
            LogJob::Install { io, hard_state, meta, .. } => Written::Installed { io, hard_state, meta },
            LogJob::Discard { .. } | LogJob::DiscardThrough { .. } => Written::Discarded,
            LogJob::Purge { first_kept } => Written::Purged { first_kept },
            LogJob::Format(format) => Written::Format(format),
            LogJob::Read { .. } | LogJob::Measure { .. } => Written::Nothing,
            LogJob::Tombstone { index } => Written::Tombstone { index },
        }))
    }

    // The apply thread.

    /// Returns whether the apply thread has work that does not wait for the log thread.
    #[must_use]
    pub fn has_to_apply(&mut self) -> bool {
        self.applier.has_work()
    }

    /// Applies one batch.
    ///
    /// # Errors
    /// Returns why the member must end. Its state would otherwise differ from the state of other members.
    pub fn apply(&mut self) -> Result<(), ApplyError> {
        self.applier.step()
    }

    // The snapshot thread.

    /// Returns whether a snapshot waits to be written.
    #[must_use]
    pub fn has_to_snapshot(&mut self) -> bool {
        self.snapshots.has_work()
    }

    /// Writes one snapshot.
    pub fn snapshot(&mut self) {
        self.snapshots.step();
    }

    /// Returns the metadata of the newest snapshot on the member's disk.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<SnapshotMeta> {
        self.stored.newest().map(|info| info.meta)
    }

    // The transport.

    /// Sets whether the transport has no space for commands that the member forwards to the leader.
    pub fn fill_transport(&mut self, is_full: bool) {
        self.outbox.lock().is_full = is_full;
    }

    /// Takes the messages that the member has sent since the last call, each encoded as a frame.
    pub fn take_frames(&mut self) -> Vec<(MemberId, Bytes)> {
        let messages = std::mem::take(&mut self.outbox.lock().messages);
        let encoded = messages.into_iter().filter_map(|(to, message)| {
            let mut frame = Vec::new();
            // A message that cannot be encoded is dropped, which Raft tolerates.
            wire::put_message(&mut frame, &message).ok()?;
            Some((to, frame.into()))
        });
        encoded.collect()
    }

    /// Delivers a frame from another member.
    ///
    /// # Errors
    /// Returns why the frame is malformed. No message of the frame was delivered.
    pub fn deliver(&self, from: MemberId, frame: Bytes) -> Result<(), DecodeError> {
        let is_member = self.driver.raft().configuration().0.contains(from);
        self.shared.deliver(from, is_member, wire::messages(frame)?);
        Ok(())
    }

    /// Reports what the members support that are connected to this one.
    pub fn state_levels(&self, stated: BTreeMap<MemberId, FeatureLevel>) {
        self.shared.state_levels(stated);
    }

    /// Reports that the connection to a member broke.
    pub fn unreachable(&self, member: MemberId) {
        self.shared.unreachable(member);
    }

    /// Returns whether the driver asked since the last call what the other voters say of this member's removal.
    pub fn takes_verification(&mut self) -> bool {
        std::mem::take(&mut self.outbox.lock().verifies_removal)
    }

    /// Reports what the other voters say of this member's removal.
    pub fn removal_verified(&self, verdict: RemovalVerdict) {
        self.shared.removal_verified(verdict);
    }

    /// Takes the snapshot transfers that the driver has begun since the last call.
    pub fn take_snapshots_due(&mut self) -> Vec<SnapshotDue> {
        std::mem::take(&mut self.outbox.lock().snapshots).into_values().collect()
    }

    /// Reads the newest snapshot, for a transfer to another member.
    ///
    /// # Errors
    /// Returns an error if no snapshot reaches `at_least` or if it cannot be read.
    pub fn read_snapshot(&self, at_least: Index) -> Result<SnapshotContent, SnapshotError> {
        let mut reader = self.stored.open_newest(at_least)?;
        let info = reader.info().clone();
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            bytes.push(chunk);
        }
        Ok(SnapshotContent { meta: info.meta, bytes, size: info.bytes, crc32c: info.crc32c })
    }

    /// Makes a snapshot from another member durable, then notifies the core.
    ///
    /// # Errors
    /// Returns why the snapshot was not kept.
    pub fn receive_snapshot(&self, from: MemberId, term: Term, content: SnapshotContent) -> Result<(), KeepError> {
        let SnapshotContent { meta, bytes, size, crc32c } = content;
        let offered = Offered { from, term, meta, size_bytes: size, crc32c };
        incoming_snapshot::keep(&self.stored, &self.shared, offered, bytes.into_iter())
    }

    /// Reports that the durable snapshot which ends at `index` cannot be read.
    pub fn snapshot_unreadable(&self, index: Index) {
        self.shared.snapshot_unreadable(index);
    }

    /// Reports that the snapshot transfer of this number has ended, and whether the snapshot arrived.
    pub fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.shared.snapshot_sent(to, number, arrived);
    }
}

#[cfg(test)]
mod tests;
