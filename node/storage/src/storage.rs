//! One member's directory. Owns the order of writes to log, term and vote, snapshots and identity. With this order, a
//! crash at any moment leaves a usable directory. Does not own the layout of the files, or what a start concludes from
//! the files (`open.rs`).
//!
//! ```text
//! lock         held as long as a process uses the directory
//! identity     member, cluster, tombstone
//! hard_state   term and vote
//! isolated     why the member takes part in nothing any more; absent unless it was isolated
//! wal/         the log
//! snap/        snapshots
//! ```

mod open;
mod space;

pub(crate) mod repair;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::{Entry, EntryId, HardState, Index, MemberId, Persist, Restored, SnapshotMeta};

use crate::disk::{Disk, DiskLock};
use crate::error::{Damage, Latch, OnFailure, OpenError, StorageError};
use crate::hard_state::HardStateFile;
use crate::identity::{ClusterIdentity, Identity};
use crate::identity_file;
use crate::snapshot::{SnapshotInfo, SnapshotLimits, SnapshotOrigin, Snapshots};
use crate::wal::format::LogFormat;
use crate::wal::outline::LogOutline;
use crate::wal::read::ReadFault;
use crate::wal::{Wal, WalOptions};

pub use space::MemberSpace;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const HARD_STATE: &str = "hard_state";
const WAL: &str = "wal";
const SNAPSHOTS: &str = "snap";

/// Settings with which a directory is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Member ID that a blank volume gets: 64 random bits, never 0.
    pub blank_member_id: MemberId,
    /// Random number, different at every start, so that a client cannot choose bytes that look like frames of the log.
    pub salt: u64,
    /// Length in bytes at which the log continues in a new segment. Segments grow as they fill. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Maximum number of purged segments whose files are kept to be overwritten by new segments. On a full disk they are removed
    /// first. Default: 4.
    pub recycled_segments: usize,
    /// Format of new segments. A directory that holds a segment of a later format continues in the later format, because the
    /// programs that cannot read it refuse the directory already. Default: [`LogFormat::V1`].
    pub format: LogFormat,
    /// Number of snapshots to keep, each with the log after it; 0 keeps one snapshot. Default: 3.
    pub snapshots_kept: usize,
    /// Maximum weight in bytes of the entries that a start returns, the last ones of the log: their payloads and a surcharge of 64
    /// bytes for each entry. The last entry is returned whatever its weight. Default: [`u64::MAX`].
    pub memory_bytes: u64,
    /// Callback that is called when the contents of the disk become unknown. Default: a callback that does nothing.
    pub on_failure: OnFailure,
}

impl Options {
    /// Default settings, with the given member ID for a blank volume and the given salt of this start.
    #[must_use]
    pub fn new(blank_member_id: MemberId, salt: u64) -> Self {
        Self {
            blank_member_id,
            salt,
            segment_bytes: 64 * 1024 * 1024,
            recycled_segments: 4,
            format: LogFormat::default(),
            snapshots_kept: 3,
            memory_bytes: u64::MAX,
            on_failure: OnFailure::default(),
        }
    }
}

/// Contents of a directory, read at a start.
#[derive(Debug)]
pub struct Recovered {
    /// The open directory.
    pub storage: Storage,
    /// Identity of the volume.
    pub identity: Identity,
    /// State with which the core starts. Empty for a blank volume and for a removed member.
    pub raft: Restored,
    /// The log, of which `raft` holds the last entries. Empty for a blank volume and for a removed member.
    pub log: LogOutline,
    /// The newest snapshot, with which the state machine starts. `raft.snapshot` is the meta of this snapshot.
    pub snapshot: Option<SnapshotInfo>,
    /// Damaged snapshots that were put aside. No entry is lost, because an older snapshot and the log hold the same entries.
    pub quarantined: Vec<Damage>,
    /// Damage to parts of the log that hold nothing after the newest snapshot. No entry is lost, but the member cannot start from the
    /// snapshots before the damage any more.
    pub given_up: Vec<Damage>,
}

/// State with which a new member of a cluster starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// An empty log.
    Empty,
    /// The received snapshot with this meta.
    Snapshot(SnapshotMeta),
}

/// One member's directory, open in one process.
#[derive(Debug)]
pub struct Storage {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    latch: Latch,
    identity: Identity,
    /// `None` while the volume is blank, and after the member was removed.
    member: Option<MemberFiles>,
    snapshots: Snapshots,
    /// Whether older snapshots and purged files are removed instead of kept.
    saves_space: bool,
    _lock: Box<dyn DiskLock>,
}

#[derive(Debug)]
struct MemberFiles {
    hard_state: HardStateFile,
    wal: Wal,
    /// First index that the latest purge kept.
    first_kept: Index,
}

impl MemberFiles {
    /// Asserts that the term of an entry, or of a snapshot's last entry, is durable before the entry or the snapshot is written.
    /// Otherwise a member could vote in a term in which it has already accepted entries of a leader.
    fn no_entry_ahead_of_the_term(&self, id: EntryId) {
        let term = self.hard_state.state().term;
        assert!(id.term <= term, "entry {} has term {}, ahead of the durable term {}", id.index.0, id.term.0, term.0);
    }
}

impl Storage {
    /// Opens a directory whose parent exists. If the directory does not exist, creates it for a blank member.
    ///
    /// # Errors
    /// Returns [`OpenError`] if another process uses the directory, if it is damaged, or if the file system fails.
    ///
    /// # Panics
    /// Panics if the volume is blank and [`Options`] gives it the member ID 0.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Recovered, OpenError> {
        open::open(disk, dir, options)
    }

    /// Identity of the volume.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Snapshots of the member, which any thread may use.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Makes a blank member part of a cluster: first writes all files with which the member starts, then its identity. Returns
    /// the state with which the core starts. A repeated call with the same cluster changes nothing and returns `None`.
    ///
    /// # Errors
    /// Returns [`StorageError`] if the member was removed, if the volume belongs to a member of another cluster, or if
    /// a write failed. A blank volume stays blank, except that after [`StorageError::Failed`] it may belong to the
    /// cluster.
    pub fn bootstrap(&mut self, record: ClusterIdentity, start: &Start) -> Result<Option<Restored>, StorageError> {
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
        // Leftover snapshots are removed, because otherwise a later start would load a newer leftover instead of the
        // snapshot with which the member starts now.
        let (snapshot, base) = match start {
            Start::Empty => {
                self.snapshots.remove_leftovers(None)?;
                (blank_meta(&record), EntryId::default())
            }
            Start::Snapshot(meta) => {
                self.snapshots.remove_leftovers(Some(meta.last))?;
                (self.snapshots.adopt_received(meta.last)?.meta, meta.last)
            }
        };
        let newest = self.snapshots.newest().map_or(EntryId::default(), |info| info.meta.last);
        assert_eq!(newest, base, "the state machine starts from the snapshot with which the log starts");
        let hard_state = HardState { term: base.term, vote: None };
        let member = self.create_member(hard_state, base)?;
        member.no_entry_ahead_of_the_term(base);
        assert_eq!(member.wal.last(), base, "the log continues what the member starts from");
        self.replace_identity(Identity { cluster: Some(record), ..self.identity.clone() }, Some(member))?;
        Ok(Some(Restored::of_entries(hard_state, snapshot, Vec::new())))
    }

    fn create_member(&self, state: HardState, base: EntryId) -> Result<MemberFiles, StorageError> {
        let (disk, latch) = (&self.disk, &self.latch);
        let id = self.identity.member;
        let hard_state = HardStateFile::create(&**disk, &self.dir, HARD_STATE, id, state, latch.clone())?;
        let options = wal_options(id, &self.options);
        let wal = Wal::create(disk.clone(), self.dir.join(WAL), options, latch.clone(), base)?;
        latch.guard("sync", &self.dir, disk.sync_dir(&self.dir))?;
        Ok(MemberFiles { hard_state, wal, first_kept: Index(0) })
    }

    fn replace_identity(&mut self, identity: Identity, member: Option<MemberFiles>) -> Result<(), StorageError> {
        identity.identity_is_written_once(&self.identity);
        assert_eq!(identity.has_data(), member.is_some(), "only the files of a member are written to");
        identity_file::write(&identity, &*self.disk, &self.dir, IDENTITY, &self.latch)?;
        self.identity = identity;
        self.member = member;
        Ok(())
    }

    /// Makes writes durable, in order, as one batch with one sync, or as several if they are longer than [`crate::BATCH_BYTES`]. If
    /// term or vote changed, they are synced before. All of the writes may be acknowledged once this method returns.
    ///
    /// # Errors
    /// Returns [`StorageError`] if a write failed or was refused. None of the writes may be acknowledged. The variants of
    /// [`StorageError`] say whether the caller may try again.
    ///
    /// # Panics
    /// Panics if the term decreases or the vote of a term changes; nothing was written. Also panics if an entry's term
    /// is larger than the durable term, or smaller than the term of the entry before it; no entry was written.
    pub fn append(&mut self, persists: &[Persist]) -> Result<(), StorageError> {
        self.latch.check()?;
        let member = self.member.as_mut().ok_or(StorageError::NotMember)?;
        // Only the last term and vote of the batch are written, because no write is acknowledged before the whole batch is
        // durable.
        if let Some(state) = persists.iter().rev().find_map(|persist| persist.hard_state) {
            member.hard_state.write(state)?;
        }
        let entries: Vec<&Entry> = persists.iter().flat_map(|persist| &persist.entries).collect();
        for entry in &entries {
            member.no_entry_ahead_of_the_term(entry.id);
        }
        member.wal.append(&entries)
    }

    /// Bytes of all batches that were written to the log since the start.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.member.as_ref().map_or(0, |member| member.wal.written_bytes())
    }

    /// Bytes by which files of the log were extended ahead of batches since the start.
    #[must_use]
    pub fn log_preallocated_bytes(&self) -> u64 {
        self.member.as_ref().map_or(0, |member| member.wal.preallocated_bytes())
    }

    /// Reserves space for later batches. For a caller that has nothing to write, so that a batch does not wait for it. Does nothing
    /// if there is enough, if the disk is full, or if the volume belongs to no member.
    ///
    /// # Errors
    /// Returns [`StorageError`] if the file system fails.
    pub fn prepare(&mut self) -> Result<(), StorageError> {
        self.member.as_mut().map_or(Ok(()), |member| member.wal.prepare())
    }

    /// Length of the log after `index` on disk, in bytes, to within 256 KiB. 0 if the log ends at or before `index`.
    #[must_use]
    pub fn log_bytes_after(&self, index: Index) -> u64 {
        self.member.as_ref().map_or(0, |member| member.wal.bytes_after(index))
    }

    /// Continues the log in a format. The log never returns to an earlier format.
    pub fn use_format(&mut self, format: LogFormat) {
        if let Some(member) = &mut self.member {
            member.wal.use_format(format);
        }
    }

    /// Reads entries of the log that are no longer in memory: those from `from` to `through`, or fewer. Stops at the end of the log,
    /// before an entry with which the payloads would exceed `bytes`, and before an entry that cannot be read. Reads the first entry
    /// whatever its length.
    ///
    /// # Errors
    /// Returns [`ReadFault`] if the first entry cannot be read, or if the volume belongs to no member.
    pub fn read_log(&mut self, from: Index, through: Index, bytes: usize) -> Result<Vec<Entry>, ReadFault> {
        self.member.as_mut().ok_or(ReadFault::Gone)?.wal.read(from, through, bytes)
    }

    /// Removes the files of the log that hold only entries below `first_kept`, except those with entries after the end of a snapshot
    /// that is kept. So a member whose newest snapshots are damaged starts from an older one and loses nothing.
    ///
    /// # Errors
    /// Returns [`StorageError`] if the volume is blank, if its member was removed, or if the file system fails.
    ///
    /// # Panics
    /// Panics before anything is removed if `first_kept` is after the entry that follows the newest snapshot.
    pub fn purge(&mut self, first_kept: Index) -> Result<(), StorageError> {
        let member = self.member.as_mut().ok_or(StorageError::NotMember)?;
        let ends: Vec<Index> = self.snapshots.list().iter().map(|info| info.meta.last.index).collect();
        log_reaches_back_to_the_snapshot(first_kept, ends.first().copied().unwrap_or_default());
        member.first_kept = member.first_kept.max(first_kept);
        // A snapshot before the log's first entry is no reason to keep the log.
        let first = member.wal.first();
        let oldest = ends.iter().map(|end| end.next()).filter(|next| *next >= first).min();
        member.wal.purge(oldest.map_or(first_kept, |oldest| oldest.min(first_kept)))
    }

    /// Replaces the log by a received snapshot. Term and vote are replaced, too, if they changed. After a crash at any step the
    /// member has either the old log or the snapshot.
    ///
    /// # Errors
    /// Returns [`StorageError`] if a write failed or the snapshot does not exist. The installation must not be acknowledged. The
    /// variants of [`StorageError`] say whether the caller may try again.
    ///
    /// # Panics
    /// Panics before the log is replaced if the term decreases, if the vote of a term changes, or if the snapshot's
    /// term is larger than the durable term.
    pub fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        hard_state: Option<HardState>,
    ) -> Result<SnapshotInfo, StorageError> {
        self.latch.check()?;
        let member = self.member.as_mut().ok_or(StorageError::NotMember)?;
        if let Some(state) = hard_state {
            member.hard_state.write(state)?;
        }
        // If a crash happens after this step, a start finds the snapshot and a log that lacks the snapshot's last entry. The
        // start then resets the log.
        let info = self.snapshots.adopt_received(meta.last)?;
        member.no_entry_ahead_of_the_term(meta.last);
        assert_eq!(
            (info.meta.last, info.origin),
            (meta.last, SnapshotOrigin::Received),
            "another snapshot was installed"
        );
        member.wal.reset(meta.last)?;
        self.snapshots.remove_before(meta.last.index)?;
        Ok(info)
    }

    /// Writes the tombstone of this member. The member was removed by the configuration that is committed at `index`. A
    /// member with a tombstone never takes part in the cluster again. Only the first call writes a tombstone.
    ///
    /// # Errors
    /// Returns [`StorageError`] if the volume is blank or a write failed. No tombstone was written, except that after
    /// [`StorageError::Failed`] a tombstone may exist.
    pub fn write_tombstone(&mut self, index: Index) -> Result<(), StorageError> {
        self.latch.check()?;
        if self.identity.removed.is_some() {
            return Ok(());
        }
        if self.identity.cluster.is_none() {
            return Err(StorageError::NotMember);
        }
        self.replace_identity(Identity { removed: Some(index), ..self.identity.clone() }, None)
    }
}

/// Asserts that the entry after the newest snapshot's end stays in the log. Otherwise entries are lost, and the next start
/// refuses the directory.
fn log_reaches_back_to_the_snapshot(first_kept: Index, covered: Index) {
    assert!(
        first_kept <= covered.next(),
        "a log that starts at {} does not reach back to the newest snapshot, which ends at {}",
        first_kept.0,
        covered.0
    );
}

fn wal_options(member: MemberId, options: &Options) -> WalOptions {
    let Options { segment_bytes, recycled_segments, format, salt, .. } = *options;
    WalOptions { member, segment_bytes, recycled_segments, format, salt }
}

fn snapshot_limits(options: &Options) -> SnapshotLimits {
    SnapshotLimits { kept: options.snapshots_kept, floor_bytes: options.segment_bytes }
}

/// Meta of an imaginary snapshot that ends before the first entry.
fn blank_meta(record: &ClusterIdentity) -> SnapshotMeta {
    SnapshotMeta { configuration: Arc::new(record.first_configuration.clone()), ..SnapshotMeta::default() }
}
