//! Opens a directory: finds out to which member and cluster the directory belongs, and whether its files fit together.
//! Owns these conclusions, which `node/docs/wal_format.md` lists. Does not own writes after the start (`storage.rs`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::{EntryId, Index, Restored, SnapshotMeta};

use crate::disk::Disk;
use crate::error::{Damage, DamageKind, Failure, Latch, Newer, OpenError, StorageError};
use crate::hard_state::HardStateFile;
use crate::identity::{ClusterIdentity, Identity};
use crate::identity_file;
use crate::isolation;
use crate::replace::DRAFT_ENDING;
use crate::snapshot::{FoundSnapshots, SnapshotInfo, SnapshotOrigin, Snapshots};
use crate::storage::{
    HARD_STATE, IDENTITY, LOCK, MemberFiles, Options, Recovered, SNAPSHOTS, Storage, WAL, blank_meta,
    log_reaches_back_to_the_snapshot, snapshot_limits, wal_options,
};
use crate::wal::Wal;
use crate::wal::outline::LogOutline;
use crate::wal::recover::RecoveredLog;
use crate::wal::segment;

/// Contents of a directory, without its identity.
struct Opened {
    member: Option<MemberFiles>,
    snapshots: Snapshots,
    raft: Restored,
    log: LogOutline,
    snapshot: Option<SnapshotInfo>,
    quarantined: Vec<Damage>,
    given_up: Vec<Damage>,
}

/// Implements [`Storage::open`].
pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Recovered, OpenError> {
    disk.create_dir(dir).map_err(Failure::of("create", dir))?;
    let lock_path = dir.join(LOCK);
    let lock = match disk.lock(&lock_path) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::Locked { path: dir.to_owned() }),
        other => other.map_err(Failure::of("lock", &lock_path))?,
    };
    let latch = Latch::new(options.on_failure.clone());
    let identity = identify(&*disk, dir, &options, &latch).map_err(|error| conclude(error, None))?;
    // The names of files may exist only in a cache. They are synced here, because otherwise a power loss could remove a
    // name on which a later write depends.
    disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
    let opened = match &identity {
        Identity { removed: Some(_), .. } => Ok(read_removed(&disk, dir, &options, &latch, &identity)),
        Identity { cluster: Some(record), .. } => read_member(&disk, dir, &options, &latch, &identity, record),
        Identity { cluster: None, .. } => read_blank(&disk, dir, &options, &latch, &identity),
    };
    let Opened { member, snapshots, raft, log, snapshot, quarantined, given_up } =
        opened.map_err(|error| conclude(error, Some(&identity)))?;
    assert_eq!(identity.has_data(), member.is_some(), "only the files of a member are written to");
    let storage = Storage {
        disk,
        dir: dir.to_owned(),
        options,
        latch,
        identity: identity.clone(),
        member,
        snapshots,
        saves_space: false,
        _lock: lock,
    };
    Ok(Recovered { storage, identity, raft, log, snapshot, quarantined, given_up })
}

fn damaged(path: PathBuf, kind: DamageKind) -> OpenError {
    OpenError::Damaged { identity: None, damage: Damage { path, offset: 0, kind } }
}

/// Adds the identity to an error, and tells what is newer from what is damaged.
pub(super) fn conclude(error: OpenError, identity: Option<&Identity>) -> OpenError {
    let identity = identity.cloned().map(Box::new);
    match error {
        OpenError::Damaged { damage: Damage { path, kind: DamageKind::Newer { what, found }, .. }, .. } => {
            OpenError::TooNew { identity, newer: Newer { path, what, found: u32::from(found) } }
        }
        OpenError::Damaged { damage, .. } => OpenError::Damaged { identity, damage },
        OpenError::TooNew { newer, .. } => OpenError::TooNew { identity, newer },
        other => other,
    }
}

/// Converts the error of a write during a start.
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

/// Reads the identity of the volume. If the volume is empty, writes a blank identity first.
fn identify(disk: &dyn Disk, dir: &Path, options: &Options, latch: &Latch) -> Result<Identity, OpenError> {
    for name in disk.list(dir).map_err(Failure::of("list", dir))? {
        if name.ends_with(DRAFT_ENDING) {
            let path = dir.join(name);
            disk.remove(&path).map_err(Failure::of("remove", &path))?;
        }
    }
    let path = dir.join(IDENTITY);
    if let Some(identity) = identity_file::read(disk, &path)? {
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
    make_name_durable(disk, dir)?;
    let identity = Identity::blank(options.blank_member_id);
    identity_file::write(&identity, disk, dir, IDENTITY, latch).map_err(|e| at_start(e, &path))?;
    Ok(identity)
}

/// Makes the directory's own name durable before anything durable is written to the directory. Otherwise a power loss could
/// remove the directory of a member that has already voted, and the member would come back blank.
///
/// Some parents cannot be synced: a container may mount the directory into a file system that it cannot read or write. Then this
/// process did not create the directory, or cannot do more.
fn make_name_durable(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match disk.sync_dir(parent) {
        Err(e) if is_beyond_reach(&e) => Ok(()),
        other => Ok(other.map_err(Failure::of("sync", parent))?),
    }
}

fn is_beyond_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported)
}

/// Opens the volume of a removed member. Nothing in the volume is read or changed.
fn read_removed(disk: &Arc<dyn Disk>, dir: &Path, options: &Options, latch: &Latch, identity: &Identity) -> Opened {
    let (snap_dir, limits) = (dir.join(SNAPSHOTS), snapshot_limits(options));
    let snapshots = Snapshots::none(disk.clone(), snap_dir, identity.member, limits, latch.clone());
    let (raft, log) = (Restored::default(), LogOutline::default());
    Opened { member: None, snapshots, raft, log, snapshot: None, quarantined: Vec::new(), given_up: Vec::new() }
}

/// Opens a blank volume, and removes the snapshots that an unfinished bootstrap left in it.
fn read_blank(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    latch: &Latch,
    identity: &Identity,
) -> Result<Opened, OpenError> {
    let wal_dir = dir.join(WAL);
    let names = disk.list(&wal_dir).map_err(Failure::of("list", &wal_dir))?;
    if names.iter().any(|name| segment::seq_of(name).is_some()) {
        let wal = wal_options(identity.member, options);
        let log = Wal::recover(disk.clone(), wal_dir.clone(), wal, latch.clone(), &[], 0)?;
        if !log.tail.is_empty() {
            return Err(damaged(wal_dir, DamageKind::NoIdentity));
        }
    }
    let opened = read_removed(disk, dir, options, latch, identity);
    opened.snapshots.clear()?;
    disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
    Ok(opened)
}

/// Opens the volume of a member: reads its files and checks that they fit together.
fn read_member(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    latch: &Latch,
    identity: &Identity,
    record: &ClusterIdentity,
) -> Result<Opened, OpenError> {
    isolation::check(&**disk, dir)?;
    let id = identity.member;
    let hard_state = HardStateFile::open(&**disk, dir.join(HARD_STATE), id, latch.clone())?;
    let (snap_dir, limits) = (dir.join(SNAPSHOTS), snapshot_limits(options));
    let FoundSnapshots { snapshots, damaged: unreadable } =
        Snapshots::find(disk.clone(), snap_dir, id, limits, latch.clone())?;
    // The directory of the snapshots may be new. Its name must be durable before the log is purged up to a snapshot in it.
    disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
    let wal_dir = dir.join(WAL);
    let snapshot = snapshots.newest();
    let meta = snapshot.as_ref().map_or_else(|| blank_meta(record), |info| info.meta.clone());
    let origin = snapshot.as_ref().map_or(SnapshotOrigin::Taken, |info| info.origin);
    let ends: Vec<EntryId> = snapshots.list().iter().map(|info| info.meta.last).collect();
    let (wal_settings, bound) = (wal_options(id, options), options.memory_bytes);
    let log = Wal::recover(disk.clone(), wal_dir.clone(), wal_settings, latch.clone(), &ends, bound)?;
    let RecoveredLog { mut wal, mut outline, mut tail, given_up } = log;

    match reaches(&meta, wal.first(), wal.last(), &outline) {
        Reach::Whole => {}
        Reach::Lacks if origin == SnapshotOrigin::Received => {
            // A crash interrupted the installation of a snapshot between its two steps.
            wal.reset(meta.last).map_err(|e| at_start(e, &wal_dir))?;
            (outline, tail) = (LogOutline::after(meta.last), Vec::new());
        }
        Reach::Lacks => {
            return Err(damaged(wal_dir, DamageKind::LogEndsBeforeSnapshot { snapshot: meta.last.index }));
        }
        Reach::Gap => {
            // If a snapshot is unreadable, its damage is the cause of the gap. The damage is reported instead of the
            // gap.
            let gap = damaged(wal_dir, DamageKind::Gap { first: wal.first(), snapshot: meta.last.index });
            let unreadable = unreadable.into_iter().next();
            return Err(unreadable.map_or(gap, |damage| OpenError::Damaged { identity: None, damage }));
        }
    }
    let terms = outline.terms.iter().map(|(_, term)| *term).chain([outline.floor.term]);
    if terms.max() > Some(hard_state.state().term) {
        return Err(damaged(dir.join(HARD_STATE), DamageKind::HardStateOlderThanLog));
    }
    log_reaches_back_to_the_snapshot(wal.first(), meta.last.index);
    assert!(wal.last().index >= meta.last.index, "the log ends before the snapshot");
    for damage in &unreadable {
        snapshots.quarantine(&damage.path).map_err(|e| at_start(e, &damage.path))?;
    }
    let raft = Restored { hard_state: hard_state.state(), snapshot: meta, log: outline.with_tail(tail) };
    let member = Some(MemberFiles { hard_state, wal, first_kept: Index(0) });
    Ok(Opened { member, snapshots, raft, log: outline, snapshot, quarantined: unreadable, given_up })
}

/// Relation of a log to a snapshot.
pub(super) enum Reach {
    /// The log holds the snapshot's last entry, or begins right after it.
    Whole,
    /// The log lacks the snapshot's last entry.
    Lacks,
    /// Entries between the snapshot and the log are missing.
    Gap,
}

pub(super) fn reaches(meta: &SnapshotMeta, first: Index, last: EntryId, outline: &LogOutline) -> Reach {
    let at = meta.last.index;
    if first > at.next() {
        return Reach::Gap;
    }
    if last.index < at {
        return Reach::Lacks;
    }
    // The term of the entry before the log's first entry is not compared, unless the log is empty.
    let is_comparable = at >= first || first > last.index;
    match outline.term_at(at) {
        Some(term) if is_comparable && term != meta.last.term => Reach::Lacks,
        _ => Reach::Whole,
    }
}
