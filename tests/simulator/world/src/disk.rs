//! A simulated disk. A write is not durable before it is synced, and a crash keeps some prefix of the writes in
//! progress. Owns the content that survives. Does not own the order of writes or the time of each sync, which the
//! member decides.
//!
//! A write consists of steps: either term and vote, followed by entries one by one (the first entry truncates the log
//! from its own index), or a snapshot followed by a reset of the log. After a crash an arbitrary prefix of the steps in
//! progress survives. A log of checksummed records has the same effect: reading ends at the first torn or missing
//! record, even if later records reached the disk.
//!
//! A synced record can still be damaged, or be overwritten by another record. A correct reader detects this by the
//! checksum and the ID in each record, and refuses the whole disk. The disk's member then neither votes nor leads.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{Entry, EntryId, HardState, Index, IoId, MemberId, Persist, Restored, RestoredLog, SnapshotMeta};

use crate::seed::Random;

/// Durable content of a disk.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Term and vote.
    pub hard_state: HardState,
    /// The newest snapshot; initially the empty state with the configuration of the bootstrap.
    pub snapshot: SnapshotMeta,
    /// State of the store in the newest snapshot.
    pub image: Bytes,
    /// The log. Its first entry may precede the end of the snapshot.
    pub log: VecDeque<Entry>,
}

impl Contents {
    /// ID of the last entry of the log, or of the snapshot if the log is empty.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.log.back().map_or(self.snapshot.last, |entry| entry.id)
    }

    /// Returns whether log and snapshot contain this entry and all entries before it.
    #[must_use]
    pub fn holds(&self, id: EntryId) -> bool {
        id.index <= self.snapshot.last.index || self.at(id.index) == Some(id)
    }

    fn at(&self, index: Index) -> Option<EntryId> {
        let place = index.0.checked_sub(self.log.front()?.id.index.0)?;
        self.log.get(place as usize).map(|entry| entry.id)
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::HardState(hard_state) => self.hard_state = hard_state,
            Step::Entry(entry) => self.append(entry),
            Step::Snapshot(meta, image) => self.keep_snapshot(meta, image),
            Step::Reset => self.log.clear(),
        }
    }

    fn append(&mut self, entry: Entry) {
        let index = entry.id.index;
        if let Some(first) = self.log.front().map(|entry| entry.id.index) {
            self.log.truncate(index.0.saturating_sub(first.0) as usize);
        }
        let expected = self.log.back().map_or(self.snapshot.last.index, |entry| entry.id.index).next();
        let connects = index == expected || (self.log.is_empty() && index < expected);
        assert!(connects, "the log on disk has no gaps: {} comes where {expected} is expected", entry.id);
        self.log.push_back(entry);
    }

    fn keep_snapshot(&mut self, meta: SnapshotMeta, image: Bytes) {
        if meta.last.index > self.snapshot.last.index {
            (self.snapshot, self.image) = (meta, image);
        }
    }

    /// Drops a log that does not connect to the snapshot. An interrupted install leaves such a log.
    fn drop_disconnected_log(&mut self) {
        let last = self.snapshot.last;
        let follows = self.log.front().is_some_and(|first| first.id.index == last.index.next());
        if !follows && self.at(last.index) != Some(last) {
            self.log.clear();
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    HardState(HardState),
    Entry(Entry),
    Snapshot(SnapshotMeta, Bytes),
    Reset,
}

#[derive(Debug)]
struct Write {
    io: IoId,
    steps: Vec<Step>,
}

/// How a crash violates the guarantees of a disk. Only planted bugs use a value other than `Sound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// The crash violates no guarantee.
    Sound,
    /// Term and vote fall back to those that the previous start found.
    ForgetsHardState,
    /// The last synced entry is lost.
    DropsSyncedEntry,
    /// Truncated entries are present again after the crash.
    ResurrectsTruncated,
    /// Entries survive a crash although the term and vote that were written with them do not.
    EntriesBeforeHardState,
    /// The newest segment is lost, because its directory was never synced.
    LosesNewestFile,
}

/// Number of entries in a segment.
const FILE_ENTRIES: u64 = 8;

/// Damage to a synced record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The record's checksum does not match.
    Damaged {
        /// Index of the record.
        at: Index,
    },
    /// Another record overwrote the record.
    Misdirected {
        /// Index of the overwritten record.
        at: Index,
        /// Index that the overwriting record carries.
        found: Index,
    },
}

/// How a start treats a damaged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Refuses the whole disk.
    Sound,
    /// Treats the damaged record as a torn tail, and cuts the record off with everything after it.
    TruncatesOnDamage,
    /// Accepts the overwriting record as the record that belongs there, because the reader ignores the ID in the
    /// record.
    TrustsThePlace,
}

/// The disk of one member.
#[derive(Debug)]
pub struct Disk {
    /// The member to which the disk belongs.
    pub owner: MemberId,
    durable: Contents,
    /// Writes that are not durable yet, in the order in which they were made.
    waiting: VecDeque<Write>,
    /// Damage to a synced record, if there is any.
    damage: Option<Damage>,
    /// Number of writes at the front of `waiting` that the sync in progress covers.
    syncing: usize,
    /// Whether the disk is destroyed. The last content of a destroyed disk stays readable for invariants.
    lost: bool,
    /// Entries that the latest truncation removed, for [`Breakage::ResurrectsTruncated`].
    truncated: Vec<Entry>,
    first_hard_state: HardState,
}

impl Disk {
    /// A disk that holds only a bootstrap configuration. For a member that will be added, this configuration is empty.
    #[must_use]
    pub fn bootstrapped(owner: MemberId, snapshot: SnapshotMeta, image: Bytes) -> Self {
        let durable = Contents { hard_state: HardState::default(), snapshot, image, log: VecDeque::new() };
        Self {
            owner,
            durable,
            waiting: VecDeque::new(),
            damage: None,
            syncing: 0,
            lost: false,
            truncated: Vec::new(),
            first_hard_state: HardState::default(),
        }
    }

    /// A disk that holds exactly the content that a start found. `log` is the whole log.
    #[must_use]
    pub fn holding(owner: MemberId, found: &Restored, log: Vec<Entry>) -> Self {
        let mut disk = Self::bootstrapped(owner, found.snapshot.clone(), Bytes::new());
        disk.durable.hard_state = found.hard_state;
        disk.durable.log = log.into();
        disk
    }

    /// Content that survives every crash.
    #[must_use]
    pub fn durable(&self) -> &Contents {
        &self.durable
    }

    /// Begins a write, without a sync.
    pub fn write(&mut self, persist: Persist) {
        let Persist { io, hard_state, entries } = persist;
        let steps = hard_state.map(Step::HardState).into_iter().chain(entries.into_iter().map(Step::Entry)).collect();
        self.waiting.push_back(Write { io, steps });
    }

    /// Begins to replace log and state by a snapshot, without a sync.
    pub fn install(&mut self, io: IoId, hard_state: Option<HardState>, meta: SnapshotMeta, image: Bytes) {
        let replaced = [Step::Snapshot(meta, image), Step::Reset];
        let steps = hard_state.map(Step::HardState).into_iter().chain(replaced).collect();
        self.waiting.push_back(Write { io, steps });
    }

    /// Makes a snapshot of the member's own state durable, without waiting for writes of the log.
    pub fn keep_snapshot(&mut self, meta: SnapshotMeta, image: Bytes) {
        self.durable.keep_snapshot(meta, image);
    }

    /// Removes entries below `first`.
    pub fn purge(&mut self, first: Index) {
        while self.durable.log.front().is_some_and(|entry| entry.id.index < first) {
            self.durable.log.pop_front();
        }
    }

    /// Starts a sync of all writes. Returns false if there are no writes, or if a sync is in progress.
    pub fn begin_sync(&mut self) -> bool {
        if self.syncing > 0 || self.waiting.is_empty() {
            return false;
        }
        self.syncing = self.waiting.len();
        true
    }

    /// Ends the sync in progress and makes the writes that it covers durable. Returns the ID of the last of these
    /// writes.
    pub fn finish_sync(&mut self) -> Option<IoId> {
        let covered: Vec<Write> = self.waiting.drain(..self.syncing).collect();
        self.syncing = 0;
        let last = covered.last().map(|write| write.io);
        for step in hard_state_first(covered) {
            self.note_truncation(&step);
            self.durable.carry_out(step);
        }
        last
    }

    /// Fails the sync in progress. The writes that it covers are lost, but the next sync reports success. Returns the
    /// ID of the last of these writes.
    pub fn lose_sync(&mut self) -> Option<IoId> {
        let covered = self.waiting.drain(..self.syncing).next_back();
        self.syncing = 0;
        covered.map(|write| write.io)
    }

    /// Reads durable entries of the log, from `from` to `through`, as long as their payloads fit into `bytes`; a larger
    /// first entry is read alone. Returns `None` if the first entry is not in the log.
    #[must_use]
    pub fn read_log(&self, from: Index, through: Index, bytes: usize) -> Option<Vec<Entry>> {
        let log = &self.durable.log;
        let place = from.0.checked_sub(log.front()?.id.index.0)? as usize;
        let mut read: Vec<Entry> = Vec::new();
        let mut left = bytes;
        for entry in log.iter().skip(place).take_while(|entry| entry.id.index <= through) {
            if !read.is_empty() && entry.payload.len() > left {
                break;
            }
            left = left.saturating_sub(entry.payload.len());
            read.push(entry.clone());
        }
        (!read.is_empty()).then_some(read)
    }

    /// Returns whether all writes are durable.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Drops all writes that are not synced.
    pub fn lose_unsynced(&mut self) {
        self.waiting.clear();
        self.syncing = 0;
    }

    /// Damages a synced record of the log. Returns false if the log has no record.
    pub fn damage(&mut self, random: &mut Random, misdirection: Misdirection) -> bool {
        let (Some(first), Some(last)) = (self.durable.log.front(), self.durable.log.back()) else { return false };
        let (first, last) = (first.id.index.0, last.id.index.0);
        // Half of the damage is near the end of the log, because damage there is harder to detect.
        let low = if random.coin() { first } else { last.saturating_sub(3).max(first) };
        let at = Index(random.between(low, last));
        self.damage = Some(match misdirection {
            Misdirection::No => Damage::Damaged { at },
            Misdirection::Yes => Damage::Misdirected { at, found: Index(random.between(first, last)) },
        });
        true
    }

    /// Simulates a power failure. Some prefix of the writes in progress survives.
    pub fn crash(&mut self, random: &mut Random, breakage: Breakage) {
        let covered: Vec<Write> = self.waiting.drain(..self.syncing).collect();
        self.syncing = 0;
        let mut steps = hard_state_first(covered);
        steps.extend(self.waiting.drain(..).flat_map(|write| write.steps));
        let kept = match random.below(4) {
            0 => 0,
            1 => steps.len(),
            _ => random.between(0, steps.len() as u64) as usize,
        };
        if breakage == Breakage::EntriesBeforeHardState {
            steps.sort_by_key(|step| matches!(step, Step::HardState(_)));
        }
        for step in steps.into_iter().take(kept) {
            self.durable.carry_out(step);
        }
        self.break_promises(breakage);
        self.first_hard_state = self.durable.hard_state;
    }

    /// Reads the disk as a start does.
    ///
    /// # Errors
    /// Returns the damage if the reader refuses the disk. The log stays unchanged.
    pub fn recover(&mut self, reading: Reading) -> Result<Restored, Damage> {
        assert!(!self.lost, "a disk that is gone cannot be read");
        if let Some(damage) = self.damage.take() {
            self.read_past(damage, reading)?;
        }
        let Contents { hard_state, snapshot, log, .. } = &self.durable;
        let found = Restored::of_entries(*hard_state, snapshot.clone(), log.iter().cloned().collect());
        self.durable.drop_disconnected_log();
        Ok(found)
    }

    /// Reads the damaged record as an incorrect reader does, and changes the log accordingly.
    fn read_past(&mut self, damage: Damage, reading: Reading) -> Result<(), Damage> {
        let log = &mut self.durable.log;
        let first = log.front().map_or(0, |entry| entry.id.index.0);
        let place = |index: Index| index.0.saturating_sub(first) as usize;
        match (damage, reading) {
            (Damage::Damaged { at }, Reading::TruncatesOnDamage) => log.truncate(place(at)),
            (Damage::Misdirected { at, found }, Reading::TrustsThePlace) => {
                let other = log.get(place(found)).cloned();
                if let (Some(entry), Some(other)) = (log.get_mut(place(at)), other) {
                    *entry = Entry { id: EntryId { term: other.id.term, index: at }, ..other };
                }
            }
            // A correct reader refuses the disk.
            _ => return Err(damage),
        }
        Ok(())
    }

    /// Destroys the disk. Its last content stays available to invariants.
    pub fn lose(&mut self) {
        self.lose_unsynced();
        self.lost = true;
    }

    /// Returns whether the disk is destroyed.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    fn note_truncation(&mut self, step: &Step) {
        let Step::Entry(entry) = step else { return };
        if entry.id.index <= self.durable.last().index && !self.durable.log.is_empty() {
            self.truncated = self.durable.log.iter().filter(|old| old.id.index >= entry.id.index).cloned().collect();
        }
    }

    fn break_promises(&mut self, breakage: Breakage) {
        match breakage {
            Breakage::Sound | Breakage::EntriesBeforeHardState => {}
            Breakage::ForgetsHardState => self.durable.hard_state = self.first_hard_state,
            Breakage::DropsSyncedEntry => {
                self.durable.log.pop_back();
            }
            Breakage::LosesNewestFile => {
                let end = self.durable.last().index.0 / FILE_ENTRIES * FILE_ENTRIES;
                while self.durable.log.back().is_some_and(|entry| entry.id.index.0 > end) {
                    self.durable.log.pop_back();
                }
            }
            Breakage::ResurrectsTruncated => {
                // Old records directly follow the new end of the log, and their checksums are valid.
                for entry in std::mem::take(&mut self.truncated) {
                    if entry.id.index == self.durable.last().index.next() {
                        self.durable.log.push_back(entry);
                    }
                }
            }
        }
    }
}

/// Leaves at most `count` entries of a restored log in memory, but at least one. The others stay on the disk.
pub fn keep_in_memory(log: &mut RestoredLog, count: usize) {
    let evicted = log.tail.len().saturating_sub(count.max(1));
    let weight = log.tail.drain(..evicted).map(|entry| (entry.id.index, entry.weight()));
    let mut end = 0;
    log.marks.extend(weight.map(|(index, weight)| {
        end += weight;
        (index, end)
    }));
}

/// Whether damage is caused by a misdirected write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdirection {
    /// The record's own bytes changed.
    No,
    /// A write meant for another place replaced the record.
    Yes,
}

/// Steps of one sync. Term and vote are written first, because they have their own place on the disk. If the sync
/// contains an install, all steps keep their order.
fn hard_state_first(writes: Vec<Write>) -> Vec<Step> {
    let mut steps: Vec<Step> = writes.into_iter().flat_map(|write| write.steps).collect();
    if steps.iter().any(|step| matches!(step, Step::Reset)) {
        return steps;
    }
    let newest = steps.iter().rposition(|step| matches!(step, Step::HardState(_)));
    if let Some(place) = newest {
        let hard_state = steps.remove(place);
        steps.retain(|step| !matches!(step, Step::HardState(_)));
        steps.insert(0, hard_state);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use raft::{Payload, Term};

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: EntryId { term: Term(term), index: Index(index) }, time_ms: index, payload: Payload::Noop }
    }

    fn disk() -> Disk {
        Disk::bootstrapped(MemberId(1), SnapshotMeta::default(), Bytes::new())
    }

    fn persist(io: u64, term: Option<u64>, entries: Vec<Entry>) -> Persist {
        let hard_state = term.map(|term| HardState { term: Term(term), vote: None });
        Persist { io: IoId(io), hard_state, entries }
    }

    #[test]
    fn unsynced_writes_survive_as_a_prefix_only() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = disk();
            disk.write(persist(1, Some(1), vec![entry(1, 1), entry(1, 2)]));
            assert!(disk.begin_sync());
            assert_eq!(disk.finish_sync(), Some(IoId(1)));
            disk.write(persist(2, Some(2), vec![entry(2, 2), entry(2, 3)]));
            disk.crash(&mut Random::new(Seed(seed)), Breakage::Sound);
            let found = disk.recover(Reading::Sound).expect("no record is damaged here");
            let entries = found.log.tail;
            assert!(entries.iter().map(|entry| entry.id.index.0).eq(1..=entries.len() as u64));
            let newest = entries.iter().map(|entry| entry.id.term).max();
            assert!(newest <= Some(found.hard_state.term), "entries never survive without their term");
            lengths.insert((found.hard_state.term, entries.len(), newest));
        }
        assert_eq!(lengths.len(), 4, "nothing, the term, one entry (which truncates), both: {lengths:?}");
    }

    #[test]
    fn an_interrupted_install_leaves_no_disconnected_log() {
        for seed in 0..100 {
            let mut disk = disk();
            disk.write(persist(1, Some(1), vec![entry(1, 1), entry(1, 2)]));
            disk.begin_sync();
            disk.finish_sync();
            let meta = SnapshotMeta { last: entry(2, 5).id, ..SnapshotMeta::default() };
            disk.install(IoId(2), None, meta, Bytes::new());
            disk.crash(&mut Random::new(Seed(seed)), Breakage::Sound);
            disk.recover(Reading::Sound).expect("no record is damaged here");
            let contents = disk.durable();
            assert!(contents.log.is_empty() || contents.snapshot.last.index == Index(0));
            assert_eq!(contents.holds(entry(2, 5).id), contents.log.is_empty());
        }
    }

    #[test]
    fn a_damaged_record_makes_recovery_refuse_the_disk() {
        let mut random = Random::new(Seed(5));
        for misdirection in [Misdirection::No, Misdirection::Yes] {
            let mut disk = disk();
            assert!(!disk.damage(&mut random, misdirection), "an empty log has no record to damage");
            disk.write(persist(1, Some(1), vec![entry(1, 1), entry(1, 2), entry(1, 3)]));
            disk.begin_sync();
            disk.finish_sync();
            assert!(disk.damage(&mut random, misdirection));
            assert!(disk.recover(Reading::Sound).is_err());
            let incorrect = match misdirection {
                Misdirection::No => Reading::TruncatesOnDamage,
                Misdirection::Yes => Reading::TrustsThePlace,
            };
            disk.damage(&mut random, misdirection);
            let found = disk.recover(incorrect).expect("an incorrect reader accepts a damaged record").log.tail;
            assert_eq!(found.len() < 3, misdirection == Misdirection::No, "{found:?}");
        }
    }

    #[test]
    fn a_repeated_sync_after_a_failed_one_reports_lost_writes_as_durable() {
        let mut disk = disk();
        disk.write(persist(1, Some(1), vec![entry(1, 1)]));
        disk.begin_sync();
        assert_eq!(disk.lose_sync(), Some(IoId(1)));
        assert!(!disk.durable().holds(entry(1, 1).id));
    }
}
