//! One member without threads, sockets or clocks: the parts that [`engine::wiring`] makes, each moved one step at a time by the
//! caller, who also says what time it is and carries messages between members. Owns no behaviour: a step is what a thread of
//! [`engine::threads`] does in one round.
//!
//! The simulator runs clusters of these on disks in memory, so that the shipped code is what was tried. Messages leave and enter
//! in the form that they have on the wire (`wire`), so that a message which loses something in encoding is noticed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::apply::{Applier, ApplyError};
use engine::driver::{Driver, Ended};
use engine::handle::Handle;
use engine::incoming_snapshot::{self, KeepError, Offered};
use engine::log_thread::{LogJob, LogThread};
use engine::observer::Observer;
use engine::shared::Shared;
use engine::snapshot_thread::SnapshotThread;
use engine::status::{Phase, Status};
use engine::transport::Transport;
use engine::wiring::{WireError, Wired, wire};
use raft::{Configuration, HardState, Index, IoId, MemberId, Message, Now, Output, Persist, Raft, SnapshotMeta, Term};
use storage::codec::DecodeError;
use storage::{Recovered, SnapshotError, Snapshots, StorageError};
use tokio::sync::mpsc;

pub use engine::wiring::Settings;

/// What the driver wants carried to other members.
#[derive(Debug, Default)]
struct Outbox {
    messages: Vec<(MemberId, Message)>,
    /// To each member one at most, as on the wire.
    snapshots: BTreeMap<MemberId, SnapshotDue>,
}

#[derive(Clone, Debug, Default)]
struct SharedOutbox(Arc<Mutex<Outbox>>);

impl SharedOutbox {
    /// Every holder leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for SharedOutbox {
    fn configure(&self, _configuration: Arc<Configuration>) {}

    fn send(&self, messages: &mut Vec<(MemberId, Message)>) {
        self.lock().messages.append(messages);
    }

    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index) {
        self.lock().snapshots.insert(to, SnapshotDue { to, number, term, at_least });
    }
}

/// A snapshot that is to go to another member.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotDue {
    /// To whom.
    pub to: MemberId,
    /// The transfer's name.
    pub number: u64,
    /// The sender's term, to be carried along.
    pub term: Term,
    /// How far it must reach.
    pub at_least: Index,
}

/// What the core's thread did in one round. Nothing of it has left the member yet.
#[derive(Debug)]
pub struct Turn {
    /// What the core asked for, in order.
    pub outputs: Vec<Output>,
    /// Whether the driver has ended, and must not be moved again.
    pub ended: bool,
}

/// What is on the disk now.
#[derive(Debug)]
pub enum Written {
    /// These, with one sync.
    Persisted(Vec<Persist>),
    /// A received snapshot in the place of log and state, and term and vote if they changed.
    Installed {
        /// The write's name.
        io: IoId,
        /// Term and vote.
        hard_state: Option<HardState>,
        /// What it contains.
        meta: SnapshotMeta,
    },
    /// Nothing below this index is needed any more.
    Purged {
        /// The first one that is.
        first_kept: Index,
    },
    /// The tombstone of a removed member.
    Buried,
    /// Less than before: received snapshots are gone.
    Discarded,
}

/// A snapshot on its way between members.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What it contains.
    pub meta: SnapshotMeta,
    bytes: Vec<Bytes>,
    size: u64,
    crc32c: u32,
}

/// Keeps the outputs of the core until the end of the turn.
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

/// A member that moves when it is stepped.
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
    /// A member that goes on from what its disk holds. Its first turn is due at once.
    ///
    /// # Errors
    /// Returns why the member cannot run on this disk.
    pub fn start(recovered: Recovered, settings: Settings, now: Now) -> Result<Self, WireError> {
        let record = recovered.identity.cluster.as_ref().ok_or(WireError::NoCluster)?;
        let status = Status {
            cluster: Some(record.cluster_id),
            ..Status::idle(recovered.identity.member, record.own.name.clone(), Phase::Member)
        };
        let outputs = Outputs::default();
        // A member of a cluster gets no lifecycle requests.
        let lifecycle = mpsc::channel(1).0;
        let shared = Shared::new(status, Some(record.token_sha256), 1, lifecycle, Box::new(outputs.clone()));
        let stored = recovered.storage.snapshots().clone();
        let outbox = SharedOutbox::default();
        let Wired { driver, log, applier, snapshots, .. } =
            wire(recovered, settings, now, &shared, Box::new(outbox.clone()))?;
        Ok(Self { driver, log, applier, snapshots, stored, shared, outbox, outputs })
    }

    /// The member as its callers see it. Its futures wake no task: poll them again after a step.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    /// Its core.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        self.driver.raft()
    }

    // The core's thread.

    /// Whether the core's thread would wake, were its clock at `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.driver.is_due(now)
    }

    /// When the core's thread wakes though nothing happens, on its monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.driver.deadline()
    }

    /// One round of the core's thread: everything that waits, and all that follows.
    pub fn turn(&mut self, now: Now) -> Turn {
        let ended = self.driver.step(now);
        Turn { outputs: self.outputs.take(), ended: matches!(ended, Some(Ended::Stopped | Ended::Removed(_))) }
    }

    /// Asks the member to end. The turn that takes this in says so.
    pub fn stop(&self) {
        self.shared.stop_core();
    }

    // The log's thread.

    /// Whether something is to be written.
    #[must_use]
    pub fn has_to_write(&self) -> bool {
        self.log.has_work()
    }

    /// One write with its sync.
    ///
    /// # Errors
    /// Returns why nothing was written. After [`StorageError::Full`] it may be tried again; after any other error the member must
    /// end.
    pub fn write(&mut self) -> Result<Option<Written>, StorageError> {
        Ok(self.log.step()?.map(|job| match job {
            LogJob::Persist(group) => Written::Persisted(group),
            LogJob::Install { io, hard_state, meta, .. } => Written::Installed { io, hard_state, meta },
            LogJob::Discard { .. } | LogJob::DiscardThrough { .. } => Written::Discarded,
            LogJob::Purge { first_kept } => Written::Purged { first_kept },
            LogJob::Tombstone { .. } => Written::Buried,
        }))
    }

    // The apply thread.

    /// Whether something is to be applied that does not wait for an installation.
    #[must_use]
    pub fn has_to_apply(&mut self) -> bool {
        self.applier.has_work()
    }

    /// One batch.
    ///
    /// # Errors
    /// Returns why the member must end: its state cannot be what it is on other members.
    pub fn apply(&mut self) -> Result<(), ApplyError> {
        self.applier.step()
    }

    // The snapshot thread.

    /// Whether a snapshot is to be written.
    #[must_use]
    pub fn has_to_snapshot(&mut self) -> bool {
        self.snapshots.has_work()
    }

    /// Writes one snapshot.
    pub fn snapshot(&mut self) {
        self.snapshots.step();
    }

    /// What the newest snapshot on its disk contains.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<SnapshotMeta> {
        self.stored.newest().map(|info| info.meta)
    }

    // The wire.

    /// The messages that the member has sent since the last call, each in the form that it has on the wire.
    pub fn take_said(&mut self) -> Vec<(MemberId, Bytes)> {
        let said = std::mem::take(&mut self.outbox.lock().messages);
        let encoded = said.into_iter().filter_map(|(to, message)| {
            let mut frame = Vec::new();
            // A message that has no form is not sent, and Raft sends it again.
            wire::put_message(&mut frame, &message).ok()?;
            Some((to, frame.into()))
        });
        encoded.collect()
    }

    /// Delivers a frame from another member.
    ///
    /// # Errors
    /// Returns what is wrong with a malformed frame.
    pub fn hear(&self, from: MemberId, frame: Bytes) -> Result<(), DecodeError> {
        self.shared.deliver(from, wire::messages(frame)?);
        Ok(())
    }

    /// Reports that a connection broke.
    pub fn unreachable(&self, member: MemberId) {
        self.shared.unreachable(member);
    }

    /// Transfers of snapshots that were begun since the last call.
    pub fn take_snapshots_due(&mut self) -> Vec<SnapshotDue> {
        std::mem::take(&mut self.outbox.lock().snapshots).into_values().collect()
    }

    /// The newest snapshot, to be carried to a member.
    ///
    /// # Errors
    /// Returns why there is none that reaches `at_least`, or why it cannot be read.
    pub fn carry(&self, at_least: Index) -> Result<Carried, SnapshotError> {
        let mut reader = self.stored.open_newest(at_least)?;
        let info = reader.info().clone();
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            bytes.push(chunk);
        }
        Ok(Carried { meta: info.meta, bytes, size: info.bytes, crc32c: info.crc32c })
    }

    /// Makes a snapshot durable that has arrived, then notifies the core.
    ///
    /// # Errors
    /// Returns why the snapshot was not kept.
    pub fn receive(&self, from: MemberId, term: Term, carried: Carried) -> Result<(), KeepError> {
        let Carried { meta, bytes, size, crc32c } = carried;
        let offered = Offered { from, term, meta, size_bytes: size, crc32c };
        incoming_snapshot::keep(&self.stored, &self.shared, offered, bytes.into_iter())
    }

    /// Reports that the transfer of this number has ended, and whether the snapshot arrived.
    pub fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.shared.snapshot_sent(to, number, arrived);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use memory_disk::MemoryDisk;
    use raft::{Append, AppendReply, Body, Config, Entry, EntryId, MemberInfo, Payload};
    use storage::{ClusterId, ClusterIdentity, Options, Start, Storage};

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, wall_ms: 0 };

    fn id(index: u64) -> EntryId {
        EntryId { term: Term(1), index: Index(index) }
    }

    /// One of three voters, on an empty disk.
    fn member(disk: &MemoryDisk) -> SteppedMember {
        let voters: BTreeSet<MemberId> = (1..=3).map(MemberId).collect();
        let members = voters.iter().map(|id| (*id, MemberInfo::default())).collect();
        let record = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration { voters, members, ..Configuration::default() },
        };
        let options = Options::new(MemberId(1), 3);
        let mut recovered = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap();
        recovered.raft = recovered.storage.bootstrap(record, &Start::Empty).unwrap().unwrap();
        recovered.identity = recovered.storage.identity().clone();
        let settings = Settings {
            raft: Config { snapshot_threshold: 1, snapshot_trailing: 0, ..Config::new(MemberId(1), 5) },
            commit_timeout: Duration::from_secs(2),
            prefer_leaders: Vec::new(),
            first_names: [1, 2, 3],
        };
        SteppedMember::start(recovered, settings, NOW).unwrap()
    }

    fn hear(member: &SteppedMember, from: MemberId, message: &Message) {
        let mut frame = Vec::new();
        wire::put_message(&mut frame, message).unwrap();
        member.hear(from, frame.into()).unwrap();
    }

    /// Another voter answers. The third one takes no entries, so that only a snapshot helps it.
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
        hear(member, from, &Message { term, body });
    }

    /// All its threads have time, and the others answer at once. The transfers that it began.
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
            for (to, frame) in member.take_said() {
                wire::messages(frame).unwrap().into_iter().for_each(|message| answer(member, to, message));
            }
            monotonic += Duration::from_micros(100);
            if !member.is_due(monotonic) {
                monotonic = member.deadline();
            }
        }
        begun
    }

    /// The core may ask for a write after it said that the member was removed.
    #[test]
    fn the_tombstone_comes_behind_everything_else_that_a_turn_writes() {
        let mut member = member(&MemoryDisk::new());
        let entries = vec![Entry { id: id(1), time_ms: 0, payload: Payload::Noop }];
        let append = Append { prev: EntryId::default(), entries, commit: Index(0), round: 1 };
        for body in [Body::Append(append), Body::Removed { index: Index(9) }] {
            hear(&member, MemberId(2), &Message { term: Term(1), body });
        }
        let turn = member.turn(NOW);
        let place = |is: fn(&Output) -> bool| turn.outputs.iter().position(is).unwrap();
        let removed = place(|output| matches!(output, Output::Removed { .. }));
        assert!(turn.ended && removed < place(|output| matches!(output, Output::Persist(_))));
        let mut written = Vec::new();
        while member.has_to_write() {
            written.extend(member.write().unwrap());
        }
        assert!(matches!(written[..], [Written::Persisted(_), Written::Buried]), "{written:?}");
    }

    /// The core offers a snapshot again when one has been under way for 600 election timeouts; a large one takes longer.
    #[test]
    fn a_transfer_that_takes_long_is_not_begun_anew() {
        let mut member = member(&MemoryDisk::new());
        let long = Duration::from_secs(700);
        let begun = run(&mut member, Duration::ZERO, long);
        assert!(matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 1, .. }]), "{begun:?}");
        member.snapshot_sent(MemberId(3), 1, Err(()));
        let begun = run(&mut member, long, long + Duration::from_secs(10));
        assert!(matches!(begun[..], [SnapshotDue { to: MemberId(3), number: 2, .. }]), "it had ended: {begun:?}");
    }

    /// Neither an installation nor a word that it is of no use would ever end its life on the disk.
    #[test]
    fn a_snapshot_that_the_core_does_not_hear_of_is_not_kept() {
        let disk = MemoryDisk::new();
        let mut member = member(&disk);
        let files = disk.files();
        let meta = SnapshotMeta { last: id(5), ..SnapshotMeta::default() };
        let carried = Carried { meta, bytes: Vec::new(), size: 0, crc32c: 0 };
        member.receive(MemberId(2), Term(1), carried.clone()).unwrap();
        assert_eq!(disk.files().len(), files.len() + 1, "the core is told");
        member.stop();
        assert!(member.turn(NOW).ended);
        while member.has_to_write() {
            member.write().unwrap();
        }
        assert_eq!(disk.files(), files, "it was of no use");
        assert!(member.receive(MemberId(2), Term(1), carried).is_err());
        assert_eq!(disk.files(), files, "the core has ended");
    }
}
