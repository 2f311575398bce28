//! Reads the log at a start, one batch at a time. Owns the distinction between a torn tail and damage. Nothing on disk is changed
//! before this distinction is made. Does not own what is kept of the entries (`extents.rs`, `outline.rs`).
//!
//! Only the last batch of the last segment can be torn, because a batch is written only after the batch before it was synced, and
//! a segment is created only after the last batch of the segment before it was synced. Therefore bytes that do not match their
//! checksum are
//!
//! - **damage** in any segment except the last. In the last segment they are damage if an open frame of a later batch follows
//!   them, because the open frame was written after the sync of the batch that does not match;
//! - **a torn tail** otherwise. No byte of a torn tail was ever acknowledged, and no byte of it is read again, because the next
//!   segment's header names the end of the last whole batch as the place where the log continues.
//!
//! Damage that the newest snapshot makes up for does not stop a start. Older snapshots whose log is damaged are given up, and damage
//! before the end of the snapshot from which the log is read is passed.
//!
//! A repair reads the part of a damaged log before the first damage (`Wal::salvage`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::{Entry, EntryId, Index};

use crate::disk::{Disk, SECTOR, read_exact_at};
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};
use crate::wal::extents::Extents;
use crate::wal::format::LogFormat;
use crate::wal::outline::{LogOutline, OutlineBuilder};
use crate::wal::read::Reads;
use crate::wal::record::{self, Fault, Place, RecoveredBatch};
use crate::wal::segment::{self, DRAFT, HEADER_SIZE, Header, Previous, SPARE, Segment};
use crate::wal::window::{SegmentBytes, Window};
use crate::wal::{Wal, WalOptions};

/// Number of bytes that are read at a time.
const BLOCK: usize = 1024 * 1024;

/// A log that was read at a start.
#[derive(Debug)]
pub(crate) struct RecoveredLog {
    pub(crate) wal: Wal,
    pub(crate) outline: LogOutline,
    /// The last entries, with consecutive indexes. Empty only if the log is empty.
    pub(crate) tail: Vec<Entry>,
    /// Damage to parts of the log that the newest snapshot makes up for.
    pub(crate) given_up: Vec<Damage>,
}

/// What a repair can keep of a damaged log.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// Number of the newest segment in the directory; 0 if there is none.
    pub(crate) newest: u64,
    /// Format in which the log continues.
    pub(crate) format: LogFormat,
    /// The log before the first damage. `None` if no header is whole.
    pub(crate) prefix: Option<Prefix>,
}

/// The log before its first damage.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// First index. If there is no entry, index of the next one.
    pub(crate) first: Index,
    pub(crate) last: EntryId,
    pub(crate) outline: LogOutline,
    /// End of the last whole batch.
    pub(crate) end: Previous,
    /// Number of the batch after it.
    pub(crate) next_batch: u64,
}

fn damaged(path: &Path, offset: u64, kind: DamageKind) -> OpenError {
    OpenError::Damaged { identity: None, damage: Damage { path: path.to_owned(), offset, kind } }
}

impl Wal {
    /// Creates the empty log of a member that joins a cluster. The first entry will follow `base`. Removes files that an
    /// unfinished bootstrap left.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: WalOptions,
        latch: Latch,
        base: EntryId,
    ) -> Result<Self, StorageError> {
        latch.guard("create", &dir, disk.create_dir(&dir))?;
        for name in latch.guard("list", &dir, disk.list(&dir))? {
            let path = dir.join(name);
            latch.guard("remove", &path, disk.remove(&path))?;
        }
        let mut wal = Self {
            disk,
            dir,
            options,
            latch,
            segments: Vec::new(),
            active: None,
            next_seq: 1,
            next_batch: 1,
            last: base,
            extents: Extents::default(),
            reads: Reads::default(),
            recyclable: VecDeque::new(),
            scratch: Vec::new(),
            written: 0,
            preallocated: 0,
        };
        wal.next_segment(Some(base), 0)?;
        Ok(wal)
    }

    /// Reads the log of a directory whose snapshots end at the `snapshots`, newest first. Of the last entries, keeps those in memory
    /// that weigh at most `tail_bound` bytes.
    pub(crate) fn recover(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        mut options: WalOptions,
        latch: Latch,
        snapshots: &[EntryId],
        tail_bound: u64,
    ) -> Result<RecoveredLog, OpenError> {
        let names = disk.list(&dir).map_err(Failure::of("list", &dir))?;
        let seqs: BTreeSet<u64> = names.iter().filter_map(|name| segment::seq_of(name)).collect();
        let Some(&newest) = seqs.last() else {
            return Err(damaged(&dir, 0, DamageKind::Missing));
        };
        let newest_snapshot = snapshots.first().copied().unwrap_or_default();
        let directory = LogDirectory { disk: &*disk, dir: &dir, options: &options, seqs: &seqs, newest };
        let (reader, given_up) = directory.read_needed(snapshots, tail_bound)?;
        let LogReader { segments, extents, outline, next_batch, .. } = reader;
        let last = outline.last();
        let (outline, tail) = outline.finish(&extents, newest_snapshot);
        if segments.iter().any(|segment| segment.header.unit > SECTOR as u64) {
            // Programs that know only version 1 refuse the directory already.
            options.format = LogFormat::V2;
        }

        // The last batch may be in a cache only, because the previous process may have died between the write and the sync.
        if let Some(newest) = segments.last() {
            let file = disk.open(&newest.path).map_err(Failure::of("open", &newest.path))?;
            file.sync().map_err(Failure::of("sync", &newest.path))?;
        }
        let mut recyclable = purged(&dir, &seqs, &segments, options.recycled_segments);
        // The next start would find the same damage.
        recyclable.retain(|path| given_up.iter().all(|damage| damage.path != *path));
        for name in &names {
            let path = dir.join(name);
            let referenced = segments.iter().any(|segment| segment.path == path) || recyclable.contains(&path);
            let ours = segment::seq_of(name).is_some() || name == DRAFT || name == SPARE;
            if ours && !referenced {
                disk.remove(&path).map_err(Failure::of("remove", &path))?;
            }
        }
        disk.sync_dir(&dir).map_err(Failure::of("sync", &dir))?;

        let wal = Self {
            disk,
            dir,
            options,
            latch,
            segments,
            active: None,
            next_seq: newest + 1,
            next_batch,
            last,
            extents,
            reads: Reads::default(),
            recyclable,
            scratch: Vec::new(),
            written: 0,
            preallocated: 0,
        };
        wal.assert_consistent();
        debug_assert!(tail.windows(2).all(|pair| pair[0].id.index.next() == pair[1].id.index), "the log has a gap");
        debug_assert!(tail.last().is_none_or(|entry| entry.id == last), "the log ends elsewhere");
        debug_assert_eq!(tail.is_empty(), wal.extents.first().is_none(), "the last entry is returned");
        Ok(RecoveredLog { wal, outline, tail, given_up })
    }

    /// Reads a damaged log up to the first damage. Changes nothing.
    ///
    /// # Errors
    /// Returns any error but damage.
    pub(crate) fn salvage(
        disk: &dyn Disk,
        dir: &Path,
        options: &WalOptions,
        snapshots: &[EntryId],
    ) -> Result<Salvaged, OpenError> {
        let names = disk.list(dir).map_err(Failure::of("list", dir))?;
        let seqs: BTreeSet<u64> = names.iter().filter_map(|name| segment::seq_of(name)).collect();
        let Some(&newest) = seqs.last() else {
            return Ok(Salvaged { newest: 0, format: options.format, prefix: None });
        };
        let mut format = options.format;
        for seq in &seqs {
            match whole(read_header(disk, dir, *seq))? {
                Some(header) if header.unit > SECTOR as u64 => format = LogFormat::V2,
                _ => {}
            }
        }
        let newest_snapshot = snapshots.first().copied().unwrap_or_default();
        let oldest_snapshot = snapshots.last().map_or(Index(0), |last| last.index);
        let mut chain = Vec::new();
        // A segment whose header is damaged, or that is missing, says neither where it continues the log nor which later ones continue it.
        // The segments before it still hold the log as it was when that one was begun.
        for end in seqs.iter().rev() {
            let directory = LogDirectory { disk, dir, options, seqs: &seqs, newest: *end };
            let found = whole(directory.walk_back(oldest_snapshot, None))?.unwrap_or_default();
            let reaches_back = found.first().is_some_and(|first: &Header| first.base.index <= newest_snapshot.index);
            if chain.is_empty() || reaches_back {
                chain = found;
            }
            if reaches_back {
                break;
            }
        }
        let mut reader = LogReader::new(&chain, 0, None);
        for (header, next) in chain.iter().zip(chain.iter().skip(1).map(Some).chain([None])) {
            if whole(reader.read_segment(disk, dir, header, next))?.is_none() {
                break;
            }
        }
        let LogReader { extents, outline, reached, .. } = reader;
        let prefix = reached.map(|(seq, place)| {
            let last = outline.last();
            let (outline, _) = outline.finish(&extents, newest_snapshot);
            Prefix {
                first: extents.first().unwrap_or(last.index.next()),
                last,
                outline,
                end: Previous { seq, end: place.offset, chain: place.chain },
                next_batch: place.number,
            }
        });
        Ok(Salvaged { newest, format, prefix })
    }
}

/// Returns `None` for damage. A value that only a newer program knows is an error.
fn whole<T>(outcome: Result<T, OpenError>) -> Result<Option<T>, OpenError> {
    match outcome {
        Err(OpenError::Damaged { damage, .. }) if !matches!(damage.kind, DamageKind::Newer { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Paths of the newest `count` segments before those that hold the log, oldest first. None before a log that starts anew: if the
/// newest segment were lost, they would look like the log.
fn purged(dir: &Path, seqs: &BTreeSet<u64>, segments: &[Segment], count: usize) -> VecDeque<PathBuf> {
    let oldest = segments.first().filter(|oldest| oldest.header.previous.is_some());
    let old_below = oldest.map_or(0, |oldest| oldest.header.seq);
    let mut paths: VecDeque<PathBuf> = seqs.range(..old_below).map(|seq| dir.join(segment::name(*seq))).collect();
    paths.drain(..paths.len().saturating_sub(count));
    paths
}

/// The files of a log at a start.
struct LogDirectory<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    options: &'a WalOptions,
    /// Numbers of all segments.
    seqs: &'a BTreeSet<u64>,
    newest: u64,
}

impl LogDirectory<'_> {
    /// Reads the log from the end of the oldest snapshot on. If this part of the log is damaged, gives that snapshot up and reads from
    /// the end of the next one on. Returns the damage that the newest snapshot makes up for as well.
    fn read_needed(&self, snapshots: &[EntryId], tail_bound: u64) -> Result<(LogReader, Vec<Damage>), OpenError> {
        let mut given_up = Vec::new();
        for snapshot in snapshots.iter().rev() {
            match self.read_after(snapshot.index, None, tail_bound) {
                Err(OpenError::Damaged { damage, .. }) if is_decay(&damage) => given_up.push(damage),
                other => return other.map(|reader| reader.with_passed(given_up)),
            }
        }
        let newest = snapshots.first().copied().unwrap_or_default();
        self.read_after(newest.index, Some(newest), tail_bound).map(|reader| reader.with_passed(given_up))
    }

    /// Reads the log that a start from a snapshot with this end needs. Also reads the snapshot's last entry if it is there, unless a
    /// segment continues the log after `base`.
    fn read_after(&self, snapshot: Index, base: Option<EntryId>, tail_bound: u64) -> Result<LogReader, OpenError> {
        let chain = self.walk_back(snapshot, base)?;
        let mut reader = LogReader::new(&chain, tail_bound, Some(snapshot));
        for (header, next) in chain.iter().zip(chain.iter().skip(1).map(Some).chain([None])) {
            reader.read_segment(self.disk, self.dir, header, next)?;
        }
        Ok(reader)
    }

    /// Reads the headers of the segments that hold the log, and returns them oldest first. Walks from the newest segment back to a
    /// segment that starts the log anew, whose predecessor was purged, that begins at or before the end of the snapshot, or that
    /// continues the log after `base`. The segments before that one hold nothing that is needed.
    fn walk_back(&self, snapshot: Index, base: Option<EntryId>) -> Result<Vec<Header>, OpenError> {
        let mut chain = Vec::new();
        let mut seq = self.newest;
        loop {
            let path = self.dir.join(segment::name(seq));
            let header = read_header(self.disk, self.dir, seq)?;
            if header.member != self.options.member {
                return Err(damaged(&path, 0, DamageKind::Foreign));
            }
            if header.seq != seq || header.previous.is_some_and(|p| p.seq >= seq) {
                return Err(damaged(&path, 0, DamageKind::Contents("a segment under another one's name")));
            }
            // The snapshot's last entry itself is read, so that its term can be compared.
            let is_start = header.base.index < snapshot || Some(header.base) == base;
            let previous = header.previous.filter(|_| !is_start);
            chain.push(header);
            match previous {
                Some(previous) if self.seqs.contains(&previous.seq) => seq = previous.seq,
                _ => break,
            }
        }
        chain.reverse();
        debug_assert!(chain.is_sorted_by(|before, after| before.seq < after.seq), "segments are read oldest first");
        Ok(chain)
    }
}

/// Returns whether bytes changed after they were written. What another program wrote, or another member, is no decay.
fn is_decay(damage: &Damage) -> bool {
    !matches!(damage.kind, DamageKind::Newer { .. } | DamageKind::Foreign)
}

fn read_header(disk: &dyn Disk, dir: &Path, seq: u64) -> Result<Header, OpenError> {
    let path = dir.join(segment::name(seq));
    let file = disk.open(&path).map_err(Failure::of("open", &path))?;
    let mut sector = [0; HEADER_SIZE];
    match read_exact_at(&*file, 0, &mut sector) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(damaged(&path, 0, DamageKind::Checksum)),
        other => {
            other.map_err(Failure::of("read", &path))?;
            Header::decode(&sector, &path)
        }
    }
}

struct LogReader {
    segments: Vec<Segment>,
    extents: Extents,
    outline: OutlineBuilder,
    next_batch: u64,
    /// Number of the segment that is being read, and the place after its last whole batch.
    reached: Option<(u64, Place)>,
    /// End of the snapshot that makes up for damage before it; `None` if no damage is passed.
    snapshot: Option<Index>,
    /// First damage that was passed.
    passed: Option<Damage>,
}

impl LogReader {
    fn new(chain: &[Header], tail_bound: u64, snapshot: Option<Index>) -> Self {
        let base = chain.first().map_or(EntryId::default(), |header| header.base);
        let outline = OutlineBuilder::new(base, tail_bound);
        let (segments, extents) = (Vec::new(), Extents::default());
        Self { segments, extents, outline, next_batch: 1, reached: None, snapshot, passed: None }
    }

    /// Adds the damage that was passed.
    fn with_passed(mut self, mut given_up: Vec<Damage>) -> (Self, Vec<Damage>) {
        given_up.extend(self.passed.take());
        // Each snapshot that needs a damaged part is an attempt to read it.
        given_up.dedup();
        (self, given_up)
    }

    fn read_segment(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        header: &Header,
        next: Option<&Header>,
    ) -> Result<(), OpenError> {
        let path = dir.join(segment::name(header.seq));
        let failed = || Failure::of("read", &path);
        let file = disk.open_settled(&path).map_err(failed())?;
        let mut window = Window::new(&*file, BLOCK).map_err(failed())?;
        if window.get(0, HEADER_SIZE).map_err(failed())? != Some(&header.encode()) {
            return Err(damaged(&path, 0, DamageKind::Checksum));
        }
        if header.base != self.outline.last() {
            return Err(damaged(&path, 0, DamageKind::Contents("a segment that does not continue the log")));
        }
        let continued: Option<Previous> = next.and_then(|next| next.previous);
        let mut max_index = None;
        let mut place = header.first_place();
        self.reached = Some((header.seq, place));
        while continued.is_none_or(|next| place.offset < next.end) {
            let batch = match record::decode_batch(&mut window, place).map_err(failed())? {
                Ok(batch) => batch,
                Err(Fault { offset, kind }) => {
                    let damage = Damage { path: path.clone(), offset, kind };
                    let Some((next, batch)) = self.after_fault(&mut window, place, continued, damage)? else { break };
                    place = next;
                    batch
                }
            };
            // Checked before anything of the batch is kept, so that a repair keeps whole batches.
            let mut last = self.outline.last().index;
            for Entry { id, .. } in &batch.entries {
                if id.index == Index(0) || id.index > last.next() {
                    return Err(damaged(&path, place.offset, DamageKind::Contents("a gap in the log")));
                }
                last = id.index;
            }
            max_index = max_index.max(batch.entries.iter().map(|entry| entry.id.index).max());
            self.extents.add(self.outline.last().index, header.seq, place, batch.entries.iter());
            batch.entries.into_iter().for_each(|entry| self.outline.push(entry));
            place = Place { number: place.number + 1, offset: batch.end, chain: batch.chain, ..place };
            self.reached = Some((header.seq, place));
        }
        if continued.is_none()
            && let Some(missing) = record::continued_in(&mut window, header.salt, place.offset).map_err(failed())?
        {
            return Err(damaged(&dir.join(segment::name(missing)), 0, DamageKind::Missing));
        }
        if continued.is_some_and(|next| (next.end, next.chain) != (place.offset, place.chain)) {
            return Err(damaged(&path, place.offset, DamageKind::Contents("another end than the next segment names")));
        }
        self.next_batch = place.number;
        self.segments.push(Segment { header: header.clone(), path, max_index, end: place.offset, chain: place.chain });
        Ok(())
    }
}

impl LogReader {
    /// Decides what the fault at `place` is. Returns `None` for a torn tail, and the batch to go on with if the snapshot makes up for
    /// the damage.
    ///
    /// # Errors
    /// Returns any other damage.
    fn after_fault(
        &mut self,
        window: &mut Window,
        place: Place,
        continued: Option<Previous>,
        damage: Damage,
    ) -> Result<Option<(Place, RecoveredBatch)>, OpenError> {
        let failed = || Failure::of("read", &damage.path);
        let may_be_torn = damage.kind == DamageKind::Checksum && continued.is_none();
        if may_be_torn && !is_followed(window, place).map_err(failed())? {
            return Ok(None);
        }
        let end = continued.map_or(window.size(), |next| next.end);
        let resumed = match self.snapshot.filter(|_| is_decay(&damage)) {
            Some(snapshot) => resume(window, place, end, snapshot).map_err(failed())?,
            None => None,
        };
        let Some((first, next, batch)) = resumed else { return Err(OpenError::Damaged { identity: None, damage }) };
        self.extents.clear();
        self.outline.begin_after(Index(first.0 - 1));
        self.passed.get_or_insert(damage);
        Ok(Some((next, batch)))
    }
}

/// Finds the first whole batch after `place` with which the log after a snapshot is complete, and returns its first index, too. This
/// batch begins at or before the entry after the snapshot: an entry that was lost before it is in the snapshot or superseded.
fn resume(
    window: &mut Window,
    place: Place,
    end: u64,
    snapshot: Index,
) -> io::Result<Option<(Index, Place, RecoveredBatch)>> {
    let mut at = place.offset + place.unit;
    while at < end {
        if let Some(next) = record::opened_place(window, place, at)?.filter(|next| next.number > place.number)
            && let Ok(batch) = record::decode_batch(window, next)?
            && let Some(first) = batch.entries.first().map(|entry| entry.id.index)
            && (1..=snapshot.next().0).contains(&first.0)
        {
            return Ok(Some((first, next, batch)));
        }
        at += place.unit;
    }
    Ok(None)
}

/// Returns whether an open frame of a later batch follows `place`.
fn is_followed(segment: &mut Window, place: Place) -> io::Result<bool> {
    let mut at = place.offset + place.unit;
    while at < segment.size() {
        if record::opens(segment, place.salt, at)?.is_some_and(|number| number > place.number) {
            return Ok(true);
        }
        at += place.unit;
    }
    Ok(false)
}
