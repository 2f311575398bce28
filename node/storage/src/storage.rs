//! One member's directory: opens it, tells what it holds, and writes to it in the order that crashes cannot break.
//!
//! Owns the order between log, term and vote, snapshots and identity; each of those owns its own bytes.
//!
//! ```text
//! lock         held as long as a process works here
//! identity     member, cluster, tombstone
//! hard_state   term and vote
//! wal/         the log
//! snap/        snapshots
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::{Entry, EntryId, HardState, Index, MemberId, Persist, Restored, SnapshotMeta};

use crate::disk::{Disk, DiskLock};
use crate::error::{Damage, DamageKind, Failure, Latch, OnFailure, OpenError, StorageError};
use crate::hard_state::HardStateFile;
use crate::identity::{ClusterRecord, Identity};
use crate::replace::DRAFT_ENDING;
use crate::snapshot::{FoundSnapshots, Origin, SnapshotInfo, Snapshots};
use crate::wal::recover::RecoveredLog;
use crate::wal::{Wal, WalOptions};

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const HARD_STATE: &str = "hard_state";
const WAL: &str = "wal";
const SNAPSHOTS: &str = "snap";

/// What storage is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ID of this member if the volume is blank: 64 random bits, not zero.
    pub mint: MemberId,
    /// Random, another one at every start: keeps bytes that clients choose from being taken for frames of the log.
    pub salt: u64,
    /// A segment of the log that has reached this length is followed by another, bytes. Segments grow as they fill, and
    /// up to three exist beside what is not purged yet. Default 64 MiB.
    pub segment_bytes: u64,
    /// How many snapshots are kept. Default 3.
    pub snapshots_kept: usize,
    /// How many entries before the newest snapshot are given back at a start. Default 1,024.
    pub trailing_entries: u64,
    /// What is done when the disk's state becomes unknown. Default: nothing.
    pub on_failure: OnFailure,
}

impl Options {
    /// Defaults, for a blank volume's member ID and this start's salt.
    #[must_use]
    pub fn new(mint: MemberId, salt: u64) -> Self {
        Self {
            mint,
            salt,
            segment_bytes: 64 * 1024 * 1024,
            snapshots_kept: 3,
            trailing_entries: 1024,
            on_failure: OnFailure::default(),
        }
    }
}

/// What a directory held.
#[derive(Debug)]
pub struct Recovered {
    /// The directory, to go on with.
    pub storage: Storage,
    /// Who this is.
    pub identity: Identity,
    /// What the core starts from; empty for a blank volume and for a removed member.
    pub raft: Restored,
    /// The newest snapshot, which the state machine starts from; `raft.snapshot` is its meta.
    pub snapshot: Option<SnapshotInfo>,
    /// Damaged snapshots that were put aside, because an older one and the log made up for them.
    pub quarantined: Vec<Damage>,
}

/// How a new member of a cluster starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// With an empty log.
    Empty,
    /// With a received snapshot of this meta.
    Snapshot(SnapshotMeta),
}

/// One member's directory, held by one process.
#[derive(Debug)]
pub struct Storage {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    latch: Latch,
    identity: Identity,
    /// None while blank, and once removed.
    member: Option<MemberFiles>,
    snapshots: Snapshots,
    _lock: Box<dyn DiskLock>,
}

#[derive(Debug)]
struct MemberFiles {
    hard_state: HardStateFile,
    wal: Wal,
}

impl Storage {
    /// Opens a directory (its parent exists), or makes it a blank member's.
    ///
    /// # Errors
    /// Somebody else works there, it is damaged, or the file system refuses.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Recovered, OpenError> {
        disk.create_dir(dir).map_err(Failure::of("create", dir))?;
        let lock_path = dir.join(LOCK);
        let lock = match disk.lock(&lock_path) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::Locked { path: dir.to_owned() }),
            other => other.map_err(Failure::of("lock", &lock_path))?,
        };
        let latch = Latch::new(options.on_failure.clone());
        let identity = identify(&*disk, dir, &options, &latch)?;
        // What was read may be in the cache only; nothing may be built on a name that a power loss takes back.
        disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
        let opened = match &identity {
            Identity { removed: Some(_), .. } => Ok(read_removed(&disk, dir, &options, &latch, &identity)),
            Identity { cluster: Some(record), .. } => read_member(&disk, dir, &options, &latch, &identity, record),
            Identity { cluster: None, .. } => read_blank(&disk, dir, &options, &latch, &identity),
        };
        let Opened { member, snapshots, raft, snapshot, quarantined } =
            opened.map_err(|error| with_identity(error, &identity))?;
        let storage = Self {
            disk,
            dir: dir.to_owned(),
            options,
            latch,
            identity: identity.clone(),
            member,
            snapshots,
            _lock: lock,
        };
        Ok(Recovered { storage, identity, raft, snapshot, quarantined })
    }

    /// Who this volume is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its snapshots; usable from any thread.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Makes a blank member part of a cluster: first everything that it starts from, then, whole, its identity. The same
    /// record again is fine and changes nothing. Answers what the core starts from; `None` if it had this record already.
    ///
    /// # Errors
    /// The volume is as blank as before (or unknown: [`StorageError::Failed`]).
    pub fn bootstrap(&mut self, record: ClusterRecord, start: &Start) -> Result<Option<Restored>, StorageError> {
        self.latch.check()?;
        if self.identity.removed.is_some() {
            return Err(StorageError::Removed);
        }
        if let Some(own) = &self.identity.cluster {
            if *own != record {
                return Err(StorageError::AlreadyMember { cluster: own.cluster_id });
            }
            return Ok(None);
        }
        let (snapshot, base) = match start {
            Start::Empty => (blank_meta(&record), EntryId::default()),
            Start::Snapshot(meta) => (self.snapshots.adopt_received(meta.last)?.meta, meta.last),
        };
        let hard_state = HardState { term: base.term, vote: None };
        let member = self.create_member(hard_state, base)?;
        let identity = Identity { cluster: Some(record), ..self.identity.clone() };
        identity.write(&*self.disk, &self.dir, IDENTITY, &self.latch)?;
        self.identity = identity;
        self.member = Some(member);
        Ok(Some(Restored { hard_state, snapshot, entries: Vec::new() }))
    }

    fn create_member(&self, state: HardState, base: EntryId) -> Result<MemberFiles, StorageError> {
        let (disk, latch) = (&self.disk, &self.latch);
        let id = self.identity.member;
        let hard_state = HardStateFile::create(&**disk, &self.dir, HARD_STATE, id, state, latch.clone())?;
        let options = wal_options(id, &self.options);
        let wal = Wal::create(disk.clone(), self.dir.join(WAL), options, latch.clone(), base)?;
        latch.guard("sync", &self.dir, disk.sync_dir(&self.dir))?;
        Ok(MemberFiles { hard_state, wal })
    }

    /// Makes writes durable, in order, as one batch with one sync (and one more when term or vote changed, which come
    /// first). When it answers, all of them may be acknowledged.
    ///
    /// # Errors
    /// None may be acknowledged; see [`StorageError`] for which may be tried again.
    pub fn append(&mut self, persists: &[Persist]) -> Result<(), StorageError> {
        let member = self.member.as_mut().ok_or(StorageError::NotMember)?;
        // The last one stands for all: none is acknowledged before the whole batch is.
        if let Some(state) = persists.iter().rev().find_map(|persist| persist.hard_state) {
            member.hard_state.write(state)?;
        }
        let entries: Vec<&Entry> = persists.iter().flat_map(|persist| &persist.entries).collect();
        member.wal.append(&entries)
    }

    /// Lets files of the log go that hold nothing at or above `first_kept`.
    ///
    /// # Errors
    /// Of the disk; final.
    pub fn purge(&mut self, first_kept: Index) -> Result<(), StorageError> {
        self.member.as_mut().ok_or(StorageError::NotMember)?.wal.purge(first_kept)
    }

    /// Replaces the log by a received snapshot, together with term and vote if they changed. After a crash at any step
    /// the member has either the old log or the snapshot.
    ///
    /// # Errors
    /// It must not be acknowledged; see [`StorageError`] for which may be tried again.
    pub fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        hard_state: Option<HardState>,
    ) -> Result<SnapshotInfo, StorageError> {
        let member = self.member.as_mut().ok_or(StorageError::NotMember)?;
        if let Some(state) = hard_state {
            member.hard_state.write(state)?;
        }
        // From here on a start finds the snapshot, and a log that lacks its last entry: it then finishes the next step.
        let info = self.snapshots.adopt_received(meta.last)?;
        member.wal.reset(meta.last)?;
        Ok(info)
    }

    /// Writes the tombstone: a committed configuration removed this member at `index`, and it never takes part again.
    /// Only the first one counts.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn bury(&mut self, index: Index) -> Result<(), StorageError> {
        self.latch.check()?;
        if self.identity.removed.is_some() {
            return Ok(());
        }
        if self.identity.cluster.is_none() {
            return Err(StorageError::NotMember);
        }
        let identity = Identity { removed: Some(index), ..self.identity.clone() };
        identity.write(&*self.disk, &self.dir, IDENTITY, &self.latch)?;
        self.identity = identity;
        self.member = None;
        Ok(())
    }
}

/// What lies in a directory beside its identity.
struct Opened {
    member: Option<MemberFiles>,
    snapshots: Snapshots,
    raft: Restored,
    snapshot: Option<SnapshotInfo>,
    quarantined: Vec<Damage>,
}

fn wal_options(member: MemberId, options: &Options) -> WalOptions {
    WalOptions { member, segment_bytes: options.segment_bytes, salt: options.salt }
}

/// The snapshot before the first one.
fn blank_meta(record: &ClusterRecord) -> SnapshotMeta {
    SnapshotMeta { configuration: Arc::new(record.first_configuration.clone()), ..SnapshotMeta::default() }
}

fn damaged(path: PathBuf, kind: DamageKind) -> OpenError {
    OpenError::Damaged { identity: None, damage: Damage { path, offset: 0, kind } }
}

fn with_identity(error: OpenError, identity: &Identity) -> OpenError {
    match error {
        OpenError::Damaged { damage, .. } => OpenError::Damaged { identity: Some(Box::new(identity.clone())), damage },
        other => other,
    }
}

/// A step at a start that failed as a write: the start fails with it.
fn at_start(error: StorageError, path: &Path) -> OpenError {
    match error {
        StorageError::Failed(failure) | StorageError::Refused(failure) => OpenError::Failed(failure),
        other => OpenError::Failed(Failure {
            action: "write",
            path: path.to_owned(),
            kind: io::ErrorKind::Other,
            cause: other.to_string(),
        }),
    }
}

/// Reads the identity, or gives a blank volume one.
fn identify(disk: &dyn Disk, dir: &Path, options: &Options, latch: &Latch) -> Result<Identity, OpenError> {
    for name in disk.list(dir).map_err(Failure::of("list", dir))? {
        if name.ends_with(DRAFT_ENDING) {
            let path = dir.join(name);
            disk.remove(&path).map_err(Failure::of("remove", &path))?;
        }
    }
    let path = dir.join(IDENTITY);
    if let Some(identity) = Identity::read(disk, &path)? {
        return Ok(identity);
    }
    let names = disk.list(dir).map_err(Failure::of("list", dir))?;
    let mut leftovers = usize::from(names.iter().any(|name| name == HARD_STATE));
    for name in [WAL, SNAPSHOTS] {
        let path = dir.join(name);
        leftovers += disk.list(&path).map_err(Failure::of("list", &path))?.len();
    }
    if leftovers > 0 {
        return Err(damaged(path, DamageKind::NoIdentity));
    }
    let identity = Identity { member: options.mint, cluster: None, removed: None };
    identity.write(disk, dir, IDENTITY, latch).map_err(|e| at_start(e, &path))?;
    Ok(identity)
}

/// A removed member's volume: nothing in it is read or changed.
fn read_removed(disk: &Arc<dyn Disk>, dir: &Path, options: &Options, latch: &Latch, identity: &Identity) -> Opened {
    let (snap_dir, kept) = (dir.join(SNAPSHOTS), options.snapshots_kept);
    let snapshots = Snapshots::none(disk.clone(), snap_dir, identity.member, kept, latch.clone());
    Opened { member: None, snapshots, raft: Restored::default(), snapshot: None, quarantined: Vec::new() }
}

/// A blank volume: what an unfinished bootstrap left in it goes.
fn read_blank(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    latch: &Latch,
    identity: &Identity,
) -> Result<Opened, OpenError> {
    let wal_dir = dir.join(WAL);
    let names = disk.list(&wal_dir).map_err(Failure::of("list", &wal_dir))?;
    if names.iter().any(|name| crate::wal::segment::seq_of(name).is_some()) {
        let wal = wal_options(identity.member, options);
        let log = Wal::recover(disk.clone(), wal_dir.clone(), wal, latch.clone())?;
        if !log.entries.is_empty() {
            return Err(damaged(wal_dir, DamageKind::NoIdentity));
        }
    }
    let opened = read_removed(disk, dir, options, latch, identity);
    opened.snapshots.clear()?;
    disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
    Ok(opened)
}

/// A member's data.
fn read_member(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    latch: &Latch,
    identity: &Identity,
    record: &ClusterRecord,
) -> Result<Opened, OpenError> {
    let id = identity.member;
    let hard_state = HardStateFile::open(&**disk, dir.join(HARD_STATE), id, latch.clone())?;
    let (snap_dir, kept) = (dir.join(SNAPSHOTS), options.snapshots_kept);
    let FoundSnapshots { snapshots, damaged: unreadable } =
        Snapshots::find(disk.clone(), snap_dir, id, kept, latch.clone())?;
    let wal_dir = dir.join(WAL);
    let log = Wal::recover(disk.clone(), wal_dir.clone(), wal_options(id, options), latch.clone())?;
    let RecoveredLog { mut wal, mut entries, first } = log;

    let snapshot = snapshots.newest();
    let meta = snapshot.as_ref().map_or_else(|| blank_meta(record), |info| info.meta.clone());
    let origin = snapshot.as_ref().map_or(Origin::Taken, |info| info.origin);
    match reaches(&meta, first, wal.last(), &entries) {
        Reach::Whole => {}
        Reach::Lacks if origin == Origin::Received => {
            // A crash came between the two steps of an installation.
            wal.reset(meta.last).map_err(|e| at_start(e, &wal_dir))?;
            entries.clear();
        }
        Reach::Lacks => {
            return Err(damaged(wal_dir, DamageKind::LogBehindSnapshot { snapshot: meta.last.index }));
        }
        Reach::Gap => {
            // The newest snapshot is not readable, and without it the log is of no use: that is the damage to report.
            let gap = damaged(wal_dir, DamageKind::Gap { first, snapshot: meta.last.index });
            let unreadable = unreadable.into_iter().next();
            return Err(unreadable.map_or(gap, |damage| OpenError::Damaged { identity: None, damage }));
        }
    }
    if entries.iter().any(|entry| entry.id.term > hard_state.state().term) {
        return Err(damaged(dir.join(HARD_STATE), DamageKind::HardStateBehindLog));
    }
    for damage in &unreadable {
        snapshots.quarantine(&damage.path).map_err(|e| at_start(e, &damage.path))?;
    }
    entries.retain(|entry| entry.id.index.0.saturating_add(options.trailing_entries) > meta.last.index.0);
    let raft = Restored { hard_state: hard_state.state(), snapshot: meta, entries };
    let member = Some(MemberFiles { hard_state, wal });
    Ok(Opened { member, snapshots, raft, snapshot, quarantined: unreadable })
}

enum Reach {
    /// Snapshot and log are one history.
    Whole,
    /// The log does not hold the snapshot's last entry.
    Lacks,
    /// Between snapshot and log something is missing.
    Gap,
}

/// How a log relates to a snapshot.
fn reaches(meta: &SnapshotMeta, first: Index, last: EntryId, entries: &[Entry]) -> Reach {
    let at = meta.last.index;
    if first > at.next() {
        return Reach::Gap;
    }
    if last.index < at {
        return Reach::Lacks;
    }
    let held = entries.iter().find(|entry| entry.id.index == at).map(|entry| entry.id);
    // Right before the first entry only its index is known, unless the log is empty.
    let known = held.or((entries.is_empty() && last.index == at).then_some(last));
    match known {
        Some(id) if id != meta.last => Reach::Lacks,
        _ => Reach::Whole,
    }
}
