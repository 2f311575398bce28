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
use storage::{Recovered, SnapshotError, Snapshots, StorageError};
use tokio::sync::mpsc;

pub use engine::wiring::Settings;

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
    Tombstone,
    /// The next batch is written in another format.
    Format,
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
            LogJob::Format(_) => Written::Format,
            LogJob::Read { .. } => Written::Nothing,
            LogJob::Tombstone { .. } => Written::Tombstone,
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

    /// Reports that the snapshot transfer of this number has ended, and whether the snapshot arrived.
    pub fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.shared.snapshot_sent(to, number, arrived);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use memory_disk::MemoryDisk;
    use raft::{Append, AppendReply, Config, Entry, EntryId, MemberInfo, Payload};
    use storage::{ClusterId, ClusterIdentity, Options, Start, Storage};

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, wall_ms: 0 };

    fn id(index: u64) -> EntryId {
        EntryId { term: Term(1), index: Index(index) }
    }

    /// Starts one of three voters on an empty disk.
    fn member(disk: &MemoryDisk) -> SteppedMember {
        let voters: BTreeSet<MemberId> = (1..=3).map(MemberId).collect();
        let members = voters.iter().map(|id| (*id, MemberInfo::default())).collect();
        let identity = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration { voters, members, ..Configuration::default() },
        };
        let options = Options::new(MemberId(1), 3);
        let mut recovered = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap();
        recovered.raft = recovered.storage.bootstrap(identity, &Start::Empty).unwrap().unwrap();
        recovered.identity = recovered.storage.identity().clone();
        let settings = Settings {
            raft: Config { snapshot_threshold: 1, snapshot_trailing: 0, ..Config::new(MemberId(1), 5) },
            commit_timeout: Duration::from_secs(2),
            prefer_leaders: Vec::new(),
            first_names: [1, 2, 3],
        };
        SteppedMember::start(recovered, settings, SUPPORTED, NOW).unwrap()
    }

    fn deliver(member: &SteppedMember, from: MemberId, message: &Message) {
        let mut frame = Vec::new();
        wire::put_message(&mut frame, message).unwrap();
        member.deliver(from, frame.into()).unwrap();
    }

    /// Delivers the answer of the voter `from` to a message. Member 3 never answers appends, so only a snapshot can bring it up
    /// to date.
    fn answer(member: &SteppedMember, from: MemberId, Message { term, body }: Message) {
        let body = match body {
            Body::PreVote { .. } => Body::PreVoteReply { granted: true },
            Body::Vote { .. } => Body::VoteReply { granted: true },
            Body::Heartbeat { round, .. } => Body::HeartbeatReply { round },
            Body::Append(Append { prev, entries, round, .. }) if from == MemberId(2) => {
                let matched = entries.last().map_or(prev.index, |entry| entry.id.index);
                Body::AppendReply(AppendReply::Accepted { matched, round })
            }
            _ => return,
        };
        deliver(member, from, &Message { term, body });
    }

    /// Runs the member until `end`. The member's threads work without delay, and the other voters answer without delay.
    /// Returns the snapshot transfers that began.
    fn run(member: &mut SteppedMember, mut monotonic: Duration, end: Duration) -> Vec<SnapshotDue> {
        let mut begun = Vec::new();
        while monotonic < end {
            member.turn(Now { monotonic, wall_ms: 0 });
            while member.has_to_write() {
                member.write().unwrap();
            }
            while member.has_to_apply() {
                member.apply().unwrap();
            }
            while member.has_to_snapshot() {
                member.snapshot();
            }
            begun.extend(member.take_snapshots_due());
            for (to, frame) in member.take_frames() {
                wire::messages(frame).unwrap().into_iter().for_each(|message| answer(member, to, message));
            }
            monotonic += Duration::from_micros(100);
            if !member.is_due(monotonic) {
                monotonic = member.deadline();
            }
        }
        begun
    }

    /// The core may output a write after the output which reports that the member was removed.
    #[test]
    fn the_tombstone_is_written_after_all_other_writes_of_a_turn() {
        let mut member = member(&MemoryDisk::new());
        let entries = vec![Entry { id: id(1), time_ms: 0, payload: Payload::Noop }];
        let append = Append { prev: EntryId::default(), entries, commit: Index(0), round: 1 };
        deliver(&member, MemberId(2), &Message { term: Term(1), body: Body::Append(append) });
        member.removal_verified(RemovalVerdict::Removed { index: Index(9) });
        let turn = member.turn(NOW);
        let place = |is: fn(&Output) -> bool| turn.outputs.iter().position(is).unwrap();
        let removed = place(|output| matches!(output, Output::Removed { .. }));
        assert!(turn.ended && removed < place(|output| matches!(output, Output::Persist(_))));
        let mut written = Vec::new();
        while member.has_to_write() {
            written.extend(member.write().unwrap());
        }
        assert!(matches!(written[..], [Written::Persisted(_), Written::Tombstone]), "{written:?}");
    }

    /// The core requests a transfer again after 600 election timeouts, but a large snapshot may take longer.
    #[test]
    fn a_slow_transfer_is_not_restarted() {
        let mut member = member(&MemoryDisk::new());
        let long = Duration::from_secs(700);
        let begun = run(&mut member, Duration::ZERO, long);
        assert!(matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 1, .. }]), "{begun:?}");
        member.snapshot_sent(MemberId(3), 1, Err(()));
        let begun = run(&mut member, long, long + Duration::from_secs(10));
        assert!(
            matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 2, .. }]),
            "no transfer began after the first one had ended: {begun:?}"
        );
    }

    /// The core neither installs nor discards a snapshot that it was not notified of, so the snapshot would stay on the disk.
    #[test]
    fn a_snapshot_is_not_kept_if_the_core_cannot_be_notified() {
        let disk = MemoryDisk::new();
        let mut member = member(&disk);
        let files = disk.files();
        let meta = SnapshotMeta { last: id(5), ..SnapshotMeta::default() };
        let content = SnapshotContent { meta, bytes: Vec::new(), size: 0, crc32c: 0 };
        member.receive_snapshot(MemberId(2), Term(1), content.clone()).unwrap();
        assert_eq!(disk.files().len(), files.len() + 1, "the snapshot was not kept");
        member.stop();
        assert!(member.turn(NOW).ended);
        while member.has_to_write() {
            member.write().unwrap();
        }
        assert_eq!(disk.files(), files, "the unused snapshot was not discarded");
        assert!(member.receive_snapshot(MemberId(2), Term(1), content).is_err());
        assert_eq!(disk.files(), files, "the snapshot was kept although the core has ended");
    }
}
