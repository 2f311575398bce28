//! The repair of a damaged log: what of it is kept, and the segment that takes the place of the rest. Owns the order of the steps, with
//! which a crash at any moment leaves a directory that the next start repairs again, or a whole one. Does not own which entries are
//! fetched, and from whom (`node/docs/repair.md` says why it must be the log of a leader).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::{Configuration, Entry, EntryId, HardState, Index, Payload, Term};

use crate::disk::{Disk, DiskLock};
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};
use crate::hard_state::HardStateFile;
use crate::identity::Identity;
use crate::identity_file;
use crate::snapshot::{FoundSnapshots, Snapshots};
use crate::storage::open::{Reach, conclude, reaches};
use crate::storage::{HARD_STATE, IDENTITY, LOCK, Options, SNAPSHOTS, WAL, blank_meta, snapshot_limits, wal_options};
use crate::wal::draft::SegmentDraft;
use crate::wal::format::LogFormat;
use crate::wal::recover::{Prefix, Salvaged};
use crate::wal::segment::{Header, Previous};
use crate::wal::{Wal, WalOptions};

/// A directory whose log is damaged, and whose identity, term and vote are whole. It is locked, and nothing in it is changed before
/// [`LogRepair::finish`], except for a draft that no start reads.
#[derive(Debug)]
pub struct LogRepair {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    wal_dir: PathBuf,
    options: WalOptions,
    latch: Latch,
    identity: Identity,
    hard_state: HardStateFile,
    /// Last entry of the newest readable snapshot, which is committed.
    snapshot: EntryId,
    configuration: Configuration,
    /// Number of the segment that is written.
    seq: u64,
    start: Continuation,
    draft: Option<SegmentDraft>,
    _lock: Box<dyn DiskLock>,
}

/// Where the new segment continues the log.
#[derive(Clone, Copy, Debug)]
struct Continuation {
    base: EntryId,
    /// `None`: the log starts anew after `base`.
    previous: Option<Previous>,
    first_batch: u64,
}

impl Continuation {
    fn anew(base: EntryId) -> Self {
        Self { base, previous: None, first_batch: 1 }
    }
}

impl LogRepair {
    /// Prepares the repair of a directory that [`crate::Storage::open`] has found damaged.
    ///
    /// # Errors
    /// Returns the damage if it is none that a repair mends, or another one if identity, term or vote are damaged. Nothing was changed.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &Options, damage: Damage) -> Result<Self, OpenError> {
        let (wal_dir, snap_dir) = (dir.join(WAL), dir.join(SNAPSHOTS));
        let is_of_the_log = damage.path.starts_with(&wal_dir) || damage.path.starts_with(&snap_dir);
        let foreign = matches!(damage.kind, DamageKind::Foreign | DamageKind::NoIdentity);
        if !is_of_the_log || foreign {
            return Err(OpenError::Damaged { identity: None, damage });
        }
        let lock_path = dir.join(LOCK);
        let lock = match disk.lock(&lock_path) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::Locked { path: dir.to_owned() }),
            other => other.map_err(Failure::of("lock", &lock_path))?,
        };
        let latch = Latch::new(options.on_failure.clone());
        let identity = identity_file::read(&*disk, &dir.join(IDENTITY))?;
        let Some(identity) = identity.filter(Identity::has_data) else {
            return Err(OpenError::Damaged { identity: None, damage });
        };
        Self::prepare(disk, dir, options, latch, &identity, lock).map_err(|error| conclude(error, Some(&identity)))
    }

    fn prepare(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
        latch: Latch,
        identity: &Identity,
        lock: Box<dyn DiskLock>,
    ) -> Result<Self, OpenError> {
        let id = identity.member;
        let hard_state = HardStateFile::open(&*disk, dir.join(HARD_STATE), id, latch.clone())?;
        let FoundSnapshots { snapshots, .. } =
            Snapshots::find(Arc::clone(&disk), dir.join(SNAPSHOTS), id, snapshot_limits(options), latch.clone())?;
        let blank = || identity.cluster.as_ref().map(blank_meta).unwrap_or_default();
        let meta = snapshots.newest().map_or_else(blank, |info| info.meta);
        let ends: Vec<EntryId> = snapshots.list().iter().map(|info| info.meta.last).collect();
        let wal_dir = dir.join(WAL);
        disk.create_dir(&wal_dir).map_err(Failure::of("create", &wal_dir))?;
        let mut settings = wal_options(id, options);
        let Salvaged { newest, format, prefix } = Wal::salvage(&*disk, &wal_dir, &settings, &ends)?;
        settings.format = format;
        let mut configuration = Configuration::clone(&meta.configuration);
        let mut start = Continuation::anew(meta.last);
        if let Some(Prefix { first, last, outline, end, next_batch }) = prefix {
            let terms = outline.terms.iter().map(|(_, term)| *term).chain([outline.floor.term]);
            if terms.max() > Some(hard_state.state().term) {
                let damage = Damage { path: dir.join(HARD_STATE), offset: 0, kind: DamageKind::HardStateOlderThanLog };
                return Err(OpenError::Damaged { identity: None, damage });
            }
            if let Some((_, newest)) = outline.configurations.iter().rfind(|(at, _)| *at > meta.last.index) {
                configuration = Configuration::clone(newest);
            }
            if matches!(reaches(&meta, first, last, &outline), Reach::Whole) {
                start = Continuation { base: last, previous: Some(end), first_batch: next_batch };
            }
        }
        // One number is left out: it may be that of a newest segment that is missing.
        let seq = newest + 2;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            wal_dir,
            options: settings,
            latch,
            identity: identity.clone(),
            hard_state,
            snapshot: meta.last,
            configuration,
            seq,
            start,
            draft: None,
            _lock: lock,
        })
    }

    /// Identity of the volume, which belongs to a cluster.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The newest configuration that could be read or was added. It may not be committed.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Durable term. The member may have acknowledged entries in this term and in earlier ones, and in no later one.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard_state.state().term
    }

    /// The last entry that the repaired log holds so far.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.draft.as_ref().map_or(self.start.base, SegmentDraft::last)
    }

    /// Index of the last entry of the newest readable snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Index {
        self.snapshot.index
    }

    /// Returns whether [`LogRepair::last`] is the last entry of a snapshot, or no entry. It is then committed.
    #[must_use]
    pub fn is_at_snapshot(&self) -> bool {
        self.last() == self.snapshot
    }

    /// Drops everything after the newest readable snapshot, because a leader has another log.
    pub fn return_to_snapshot(&mut self) {
        self.draft = None;
        self.start = Continuation::anew(self.snapshot);
    }

    /// Adds entries that follow the last one. They are not a part of the log before [`LogRepair::finish`].
    ///
    /// # Errors
    /// Returns [`StorageError::OutOfOrder`] if the entries do not follow each other, or why they cannot be written. Some of them may
    /// have been added; [`LogRepair::last`] says which one is the last.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), StorageError> {
        self.draft()?.append(entries)?;
        let newest = entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some(configuration),
            _ => None,
        });
        if let Some(newest) = newest {
            self.configuration = Configuration::clone(newest);
        }
        Ok(())
    }

    /// Writes the tombstone of this member, which the configuration that is committed at `index` removed. After that this value must be
    /// dropped. The log stays as it is, and no start reads it any more.
    ///
    /// # Errors
    /// Returns why it was not written. After [`StorageError::Failed`] a tombstone may exist.
    pub fn write_tombstone(&mut self, index: Index) -> Result<(), StorageError> {
        self.latch.check()?;
        let identity = Identity { removed: Some(index), ..self.identity.clone() };
        identity_file::write(&identity, &*self.disk, &self.dir, IDENTITY, &self.latch)?;
        self.identity = identity;
        Ok(())
    }

    fn draft(&mut self) -> Result<&mut SegmentDraft, StorageError> {
        let draft = match self.draft.take() {
            Some(draft) => draft,
            None => SegmentDraft::create(&*self.disk, &self.wal_dir, &self.header(), self.latch.clone())?,
        };
        Ok(self.draft.insert(draft))
    }

    fn header(&self) -> Header {
        let Continuation { base, previous, first_batch } = self.start;
        let WalOptions { member, salt, format, .. } = self.options;
        // The multiplier is odd, so different segment numbers give different salts.
        let salt = salt ^ self.seq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Header { seq: self.seq, salt, member, previous, first_batch, base, unit: LogFormat::unit(format) as u64 }
    }

    /// Makes the repaired log the member's log. `term` is that of the leader whose log it is. After that this value must be dropped.
    /// The next [`crate::Storage::open`] finds the log, and removes what it replaces.
    ///
    /// # Errors
    /// Returns why it was not written. The log is still the damaged one, unless the error is [`StorageError::Failed`].
    pub fn finish(&mut self, term: Term) -> Result<(), StorageError> {
        let last = self.draft()?.last();
        // No entry is ahead of the durable term. In a term that this member has not seen before, it has not voted.
        let term = term.max(last.term);
        if term > self.term() {
            self.hard_state.write(HardState { term, vote: None })?;
        }
        let (disk, wal_dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        self.draft()?.publish(&*disk, &wal_dir)
    }
}
