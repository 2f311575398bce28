//! A whole member that runs step by step, and its disk in memory. Owns the state that a crash loses, and the check of
//! the state that a restart finds.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use memory_disk::MemoryDisk;
use mvcc::FeatureLevel;
use raft::{Configuration, Entry, EntryId, HardState, Index, MemberId, Output, Persist, Restored, Term};
use stepped_member::{Settings, SteppedMember, Written};
use storage::disk::SECTOR;
use storage::{ClusterId, ClusterIdentity, LogRepair, OnFailure, OpenError, Options, Recovered, Start, Storage};
use world::clock::Clock;
use world::disk::Disk;

use crate::churn::info;
use crate::invariant::{Checked, Violation, ensure};

/// Size of a segment; small, so that segments are often created and removed.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Free bytes of a disk that is short of space.
const SHORT_BYTES: u64 = SEGMENT_BYTES + SEGMENT_BYTES / 2;
/// Directory of the member.
const DIR: &str = "/member";

/// State of a member.
#[derive(Debug)]
pub(super) enum State {
    /// The member runs.
    Up(Box<SteppedMember>),
    /// The member has stopped and will restart.
    Down,
    /// The member repairs its log, and takes part in nothing.
    Repairing(Box<LogRepair>),
    /// The member has stopped for good, and its disk holds a tombstone.
    Buried,
    /// The operator has removed and destroyed the member, or the member's disk is lost.
    Gone,
}

/// A write that the core requested and that is not reported durable yet.
#[derive(Clone, Debug)]
enum UnderWay {
    Persist(Persist),
    Install(Option<HardState>),
}

impl UnderWay {
    fn hard_state(&self) -> Option<HardState> {
        match self {
            Self::Persist(persist) => persist.hard_state,
            Self::Install(hard_state) => *hard_state,
        }
    }

    fn entries(&self) -> &[Entry] {
        match self {
            Self::Persist(persist) => &persist.entries,
            Self::Install(..) => &[],
        }
    }
}

/// What a directory must hold once its repair is finished.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Durable term before the repair.
    pub(super) before: Term,
    /// Term of the leader.
    pub(super) term: Term,
    /// Last entry of the leader's log.
    pub(super) last: EntryId,
    /// The leader's log, as far as its disk held it.
    pub(super) log: Vec<Entry>,
}

/// Planned events of a member; a restart drops them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planned {
    /// Number and time of the latest planned turn.
    pub(super) turn: (u64, Option<Duration>),
    pub(super) write: bool,
    pub(super) apply: bool,
    pub(super) snapshot: bool,
}

/// A simulated member, running or not.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) clock: Clock,
    pub(super) disk: MemoryDisk,
    pub(super) state: State,
    /// Number of starts so far; events planned for an earlier start are ignored.
    pub(super) start: u64,
    pub(super) planned: Planned,
    /// The member is paused before this time.
    pub(super) paused_until: Duration,
    /// Syncs do not end before this time.
    pub(super) stalled_until: Duration,
    /// The disk is full before this time.
    pub(super) full_until: Duration,
    /// The disk has little space before this time: less than the member's reserve, more than a segment.
    pub(super) short_until: Duration,
    /// What the program of the last start supports.
    pub(super) supports: FeatureLevel,
    /// What the members support that are connected to this one.
    pub(super) stated: BTreeMap<MemberId, FeatureLevel>,
    /// Whether the disk has failed. The shipped process would then exit.
    pub(super) disk_failed: Arc<AtomicBool>,
    /// Whether the driver has stopped. The writes that the driver requested are still carried out before the process
    /// exits.
    pub(super) has_ended: bool,
    identity: ClusterIdentity,
    under_way: VecDeque<UnderWay>,
}

impl Member {
    /// A member with an empty disk, which the first start bootstraps with this configuration.
    pub(super) fn new(id: MemberId, clock: Clock, bootstrap: Configuration) -> Self {
        let identity = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: info(id),
            first_configuration: bootstrap,
        };
        Self {
            id,
            clock,
            // Members write format 1 of the log, which is laid out for media that write sectors as one.
            disk: MemoryDisk::with_tear_unit(SECTOR),
            state: State::Down,
            start: 0,
            planned: Planned::default(),
            paused_until: Duration::ZERO,
            stalled_until: Duration::ZERO,
            full_until: Duration::ZERO,
            short_until: Duration::ZERO,
            supports: FeatureLevel::FIRST,
            stated: BTreeMap::new(),
            disk_failed: Arc::default(),
            has_ended: false,
            identity,
            under_way: VecDeque::new(),
        }
    }

    pub(super) fn process(&self) -> Option<&SteppedMember> {
        match &self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut SteppedMember> {
        match &mut self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    /// If the disk must appear full at this time, limits it to the bytes that it already uses. If it must appear to be
    /// short of space, leaves a little more. Otherwise lifts the limit.
    pub(super) fn limit_space(&self, now: Duration) {
        let spare = match now {
            _ if self.full_until > now => Some(0),
            _ if self.short_until > now => Some(SHORT_BYTES),
            _ => None,
        };
        self.disk.limit_bytes(spare.map(|spare| self.disk.used_bytes() + spare));
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Opens the member's directory on a disk for a repair. Returns `None` if its log is whole.
    pub(super) fn open_repair(&self, disk: &MemoryDisk, salt: u64) -> Result<Option<LogRepair>, String> {
        let options = || Options { segment_bytes: SEGMENT_BYTES, ..Options::new(self.id, salt) };
        let disk = || Arc::new(disk.clone());
        match Storage::open(disk(), Path::new(DIR), options()) {
            Ok(_) => Ok(None),
            Err(OpenError::Damaged { damage, .. }) => LogRepair::open(disk(), Path::new(DIR), &options(), damage)
                .map(Some)
                .map_err(|reason| reason.to_string()),
            Err(other) => Err(other.to_string()),
        }
    }

    /// Reads the disk, and keeps in memory at most the given bytes of entries. Bootstraps the disk first if it is blank.
    /// Also returns the whole log on the disk.
    pub(super) fn read_disk(&self, memory_bytes: u64, salt: u64) -> Result<(Recovered, Vec<Entry>), String> {
        let failed = Arc::clone(&self.disk_failed);
        failed.store(false, Ordering::Relaxed);
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            memory_bytes,
            on_failure: OnFailure::call(move |_| failed.store(true, Ordering::Relaxed)),
            ..Options::new(self.id, salt)
        };
        let recovered = Storage::open(Arc::new(self.disk.clone()), Path::new(DIR), options);
        let mut recovered = recovered.map_err(|reason| reason.to_string())?;
        if recovered.identity.cluster.is_none() {
            let started = recovered.storage.bootstrap(self.identity.clone(), &Start::Empty);
            recovered.raft = started.map_err(|reason| reason.to_string())?.unwrap_or_default();
            recovered.identity = recovered.storage.identity().clone();
        }
        let raft::RestoredLog { floor, tail, .. } = &recovered.raft.log;
        let log = match tail.last() {
            Some(last) => recovered.storage.read_log(floor.index.next(), last.id.index, usize::MAX),
            None => Ok(Vec::new()),
        };
        log.map(|log| (recovered, log)).map_err(|fault| fault.to_string())
    }

    /// Starts the process from `recovered`, as a program that supports the feature levels up to `supports`.
    pub(super) fn run(
        &mut self,
        recovered: Recovered,
        settings: Settings,
        supports: FeatureLevel,
        now: Duration,
    ) -> Checked {
        let process = SteppedMember::start(recovered, settings, supports, self.clock.read(now)).map_err(|reason| {
            Violation { invariant: "a disk can be read again", seen: format!("{}: {reason}", self.id) }
        })?;
        self.start += 1;
        self.supports = supports;
        (self.planned, self.has_ended) = (Planned::default(), false);
        self.state = State::Up(Box::new(process));
        Ok(())
    }

    /// Notes the writes that the core requested.
    pub(super) fn note_requested(&mut self, outputs: &[Output]) {
        self.under_way.extend(outputs.iter().filter_map(|output| match output {
            Output::Persist(persist) => Some(UnderWay::Persist(persist.clone())),
            Output::InstallSnapshot { hard_state, .. } => Some(UnderWay::Install(*hard_state)),
            _ => None,
        }));
    }

    /// Notes that the member reported a write durable, and makes the same write on the shadow disk.
    pub(super) fn note_written(&mut self, written: Written, shadow: &mut Disk) {
        match written {
            Written::Persisted(group) => {
                self.under_way.drain(..group.len());
                group.into_iter().for_each(|persist| shadow.write(persist));
            }
            Written::Installed { io, hard_state, meta } => {
                self.under_way.pop_front();
                shadow.install(io, hard_state, meta, Bytes::new());
            }
            Written::Purged { first_kept } => shadow.purge(first_kept),
            Written::Tombstone { .. } | Written::Discarded | Written::Format(_) | Written::Nothing => {}
        }
        if shadow.begin_sync() {
            shadow.finish_sync();
        }
    }

    /// Checks what a start finds after the log was repaired; `log` is the whole log.
    ///
    /// # Errors
    /// Returns a violation if the log is not that of the leader, or if term and vote are not those of a member that followed it.
    pub(super) fn check_repaired(&mut self, found: &Restored, log: &[Entry], target: &Target) -> Checked {
        const NAME: &str = "a repaired log is the log of a leader";
        let id = self.id;
        self.under_way.clear();
        // A vote in the leader's term was cast before the damage, or never. Other checks see that it does not change.
        let HardState { term, vote } = found.hard_state;
        let is_of_leader = term == target.term && (vote.is_none() || term == target.before);
        ensure(is_of_leader, NAME, || format!("{id} starts with {:?} after {target:?}", found.hard_state))?;
        let last = log.last().map_or(found.snapshot.last, |entry| entry.id);
        ensure(last == target.last, NAME, || format!("{id} starts with {last}, the leader had {}", target.last))?;
        let kept = target.log.iter().filter(|entry| entry.id.index > found.snapshot.last.index);
        for entry in kept {
            let at = log.iter().find(|found| found.id.index == entry.id.index);
            ensure(at == Some(entry), NAME, || format!("{id} starts with {at:?}, the leader had {entry:?}"))?;
        }
        Ok(())
    }

    /// Checks what a start finds after the process ended; `log` is the whole log. Of the writes in progress, any prefix may be on the disk.
    ///
    /// # Errors
    /// Returns a violation if the start does not find all acknowledged writes, followed by a prefix of the writes in
    /// progress.
    pub(super) fn check_found(&mut self, found: &Restored, log: &[Entry], shadow: &Disk) -> Checked {
        const NAME: &str = "a restart finds what was acknowledged";
        let id = self.id;
        let acknowledged = shadow.durable();
        let under_way = std::mem::take(&mut self.under_way);
        let overwritten = under_way.iter().flat_map(UnderWay::entries).map(|entry| entry.id.index).min();
        let installs = under_way.iter().any(|write| matches!(write, UnderWay::Install(..)));
        let states = under_way.iter().filter_map(UnderWay::hard_state);
        let is_known = std::iter::once(acknowledged.hard_state).chain(states).any(|state| state == found.hard_state);
        ensure(is_known, NAME, || {
            format!("{id} starts with {:?}, but acknowledged {:?}", found.hard_state, acknowledged.hard_state)
        })?;
        let (snapshot, kept) = (found.snapshot.last, acknowledged.snapshot.last);
        ensure(snapshot.index >= kept.index, NAME, || {
            format!("{id} starts from a snapshot at {snapshot}, but had one at {kept}")
        })?;
        let holds = |index: Index| {
            let first = log.first().map_or(Index(0), |entry| entry.id.index);
            log.get(index.0.checked_sub(first.0)? as usize)
        };
        for entry in acknowledged.log.iter().filter(|entry| entry.id.index > found.snapshot.last.index) {
            let may_be_gone = installs || overwritten.is_some_and(|index| index <= entry.id.index);
            ensure(may_be_gone || holds(entry.id.index) == Some(entry), NAME, || {
                format!("{id} starts without {}, which was acknowledged", entry.id)
            })?;
        }
        for entry in log.iter().filter(|entry| entry.id.index > acknowledged.snapshot.last.index) {
            if acknowledged.log.iter().any(|known| known == entry) {
                continue;
            }
            let place = under_way.iter().position(|write| write.entries().contains(entry));
            let place = place.ok_or_else(|| Violation {
                invariant: NAME,
                seen: format!("{id} starts with {entry:?}, which the core never wrote"),
            })?;
            // Term and vote must be on disk before the entries that were written with them (Raft thesis §3.8).
            let newest = under_way.iter().take(place + 1).filter_map(UnderWay::hard_state).next_back();
            let newest = newest.unwrap_or(acknowledged.hard_state);
            ensure(found.hard_state.term >= newest.term, NAME, || {
                format!("{id} starts with {}, but not with {newest:?}, written before it", entry.id)
            })?;
        }
        Ok(())
    }
}
