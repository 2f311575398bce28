//! A simulated disk: what is written is not yet durable, and a crash keeps some prefix of it. Owns what survives. Does
//! not own the order of writes and the moment of each sync, which the member decides.
//!
//! A write falls into steps: term and vote, then entries one by one (the first also truncates the log from its place
//! on), or a snapshot followed by the reset of the log. A crash lets an arbitrary prefix of the steps under way
//! survive, as a log of checksummed records does: a torn record, and everything that reached the disk after one that
//! did not, ends what can be read.
//!
//! What was synced can still be damaged, or overwritten by another record. A sound reader notices, by checksum and
//! by the name that each record carries, and refuses the whole disk: its member neither votes nor leads.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{Entry, EntryId, HardState, Index, IoId, MemberId, Persist, Restored, SnapshotMeta};

use crate::seed::Random;

/// What a disk holds for good.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Term and vote.
    pub hard_state: HardState,
    /// The newest snapshot; at first the empty state with the configuration of the bootstrap.
    pub snapshot: SnapshotMeta,
    /// That snapshot's state.
    pub image: Bytes,
    /// The log; it may reach back before the snapshot.
    pub log: VecDeque<Entry>,
}

impl Contents {
    /// The log's last entry, or the snapshot's.
    #[must_use]
    pub fn last(&self) -> EntryId {
        self.log.back().map_or(self.snapshot.last, |entry| entry.id)
    }

    /// Whether everything up to this entry is here.
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

    /// A log that does not lead through the snapshot is what an install left behind when it was interrupted.
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

/// How a crash may break the promises of a disk; only planted bugs ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// None.
    Sound,
    /// Term and vote are as they were at the start before.
    ForgetsHardState,
    /// The last entry that was synced is gone.
    DropsSyncedEntry,
    /// Entries that were truncated are back.
    ResurrectsTruncated,
    /// Entries survive before term and vote do.
    EntriesBeforeHardState,
    /// The newest file of the log is gone, as its directory was never synced.
    LosesNewestFile,
}

/// Entries in a file of the log.
const FILE_ENTRIES: u64 = 8;

/// What is wrong with a record that was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// Its bytes are not what was written.
    Damaged {
        /// Where it stands.
        at: Index,
    },
    /// Another record was written over it.
    Misdirected {
        /// Where it stood.
        at: Index,
        /// Which one is there now.
        found: Index,
    },
}

/// How a start reads a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What is not as it was written refuses the whole disk.
    Sound,
    /// A damaged record is taken for a torn tail, and cut off with everything after it.
    TruncatesOnDamage,
    /// A record counts for what its place says, whatever its name.
    TrustsThePlace,
}

/// One member's disk.
#[derive(Debug)]
pub struct Disk {
    /// Whose it is.
    pub owner: MemberId,
    durable: Contents,
    /// Not durable yet, in order.
    waiting: VecDeque<Write>,
    /// What happened to a record.
    ailment: Option<Ailment>,
    /// How many of those the sync under way covers.
    syncing: usize,
    /// Reads on a disk that is gone answer as on the day it went.
    lost: bool,
    /// The longest log that ever stood here, for [`Breakage::ResurrectsTruncated`].
    truncated: Vec<Entry>,
    first_hard_state: HardState,
}

impl Disk {
    /// A disk with nothing but a bootstrap configuration (none for a member that is to be added).
    #[must_use]
    pub fn bootstrapped(owner: MemberId, snapshot: SnapshotMeta, image: Bytes) -> Self {
        let durable = Contents { hard_state: HardState::default(), snapshot, image, log: VecDeque::new() };
        Self {
            owner,
            durable,
            waiting: VecDeque::new(),
            ailment: None,
            syncing: 0,
            lost: false,
            truncated: Vec::new(),
            first_hard_state: HardState::default(),
        }
    }

    /// A disk that holds just this.
    #[must_use]
    pub fn holding(owner: MemberId, found: &Restored) -> Self {
        let mut disk = Self::bootstrapped(owner, found.snapshot.clone(), Bytes::new());
        disk.durable.hard_state = found.hard_state;
        disk.durable.log = found.entries.iter().cloned().collect();
        disk
    }

    /// What would survive a crash for certain.
    #[must_use]
    pub fn durable(&self) -> &Contents {
        &self.durable
    }

    /// Writes, without a sync.
    pub fn write(&mut self, persist: Persist) {
        let Persist { io, hard_state, entries } = persist;
        let steps = hard_state.map(Step::HardState).into_iter().chain(entries.into_iter().map(Step::Entry)).collect();
        self.waiting.push_back(Write { io, steps });
    }

    /// Replaces log and state, without a sync.
    pub fn install(&mut self, io: IoId, hard_state: Option<HardState>, meta: SnapshotMeta, image: Bytes) {
        let replaced = [Step::Snapshot(meta, image), Step::Reset];
        let steps = hard_state.map(Step::HardState).into_iter().chain(replaced).collect();
        self.waiting.push_back(Write { io, steps });
    }

    /// A snapshot of the member's own state is durable; it does not queue behind the log.
    pub fn keep_snapshot(&mut self, meta: SnapshotMeta, image: Bytes) {
        self.durable.keep_snapshot(meta, image);
    }

    /// Forgets entries before `first`.
    pub fn purge(&mut self, first: Index) {
        while self.durable.log.front().is_some_and(|entry| entry.id.index < first) {
            self.durable.log.pop_front();
        }
    }

    /// Starts a sync of everything written, if there is something and none is under way.
    pub fn begin_sync(&mut self) -> bool {
        if self.syncing > 0 || self.waiting.is_empty() {
            return false;
        }
        self.syncing = self.waiting.len();
        true
    }

    /// The sync under way is done: what it covers is durable. The name of its last write.
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

    /// The sync under way failed, its pages are gone, and yet the next one reports success. The name of its last write.
    pub fn lose_sync(&mut self) -> Option<IoId> {
        let covered = self.waiting.drain(..self.syncing).next_back();
        self.syncing = 0;
        covered.map(|write| write.io)
    }

    /// Whether everything written is durable.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The process is gone, and everything that was not synced.
    pub fn lose_unsynced(&mut self) {
        self.waiting.clear();
        self.syncing = 0;
    }

    /// A record of the log that was synced goes bad; false if there is none.
    pub fn ail(&mut self, random: &mut Random, misdirection: Misdirection) -> bool {
        let (Some(first), Some(last)) = (self.durable.log.front(), self.durable.log.back()) else { return false };
        let (first, last) = (first.id.index.0, last.id.index.0);
        // Mostly near the end, where it matters.
        let low = if random.coin() { first } else { last.saturating_sub(3).max(first) };
        let at = Index(random.between(low, last));
        self.ailment = Some(match misdirection {
            Misdirection::No => Ailment::Damaged { at },
            Misdirection::Yes => Ailment::Misdirected { at, found: Index(random.between(first, last)) },
        });
        true
    }

    /// Power is lost: some prefix of what was under way survives.
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

    /// What a start finds.
    ///
    /// # Errors
    /// Returns the first record that is not as it was written.
    pub fn recover(&mut self, reading: Reading) -> Result<Restored, Ailment> {
        assert!(!self.lost, "a disk that is gone cannot be read");
        if let Some(ailment) = self.ailment.take() {
            self.read_past(ailment, reading)?;
        }
        let found = Restored {
            hard_state: self.durable.hard_state,
            snapshot: self.durable.snapshot.clone(),
            entries: self.durable.log.iter().cloned().collect(),
        };
        self.durable.drop_disconnected_log();
        Ok(found)
    }

    /// What a careless reader makes of a bad record.
    fn read_past(&mut self, ailment: Ailment, reading: Reading) -> Result<(), Ailment> {
        let log = &mut self.durable.log;
        let first = log.front().map_or(0, |entry| entry.id.index.0);
        let place = |index: Index| index.0.saturating_sub(first) as usize;
        match (ailment, reading) {
            (Ailment::Damaged { at }, Reading::TruncatesOnDamage) => log.truncate(place(at)),
            (Ailment::Misdirected { at, found }, Reading::TrustsThePlace) => {
                let other = log.get(place(found)).cloned();
                if let (Some(entry), Some(other)) = (log.get_mut(place(at)), other) {
                    *entry = Entry { id: EntryId { term: other.id.term, index: at }, ..other };
                }
            }
            // Every other reader refuses the disk.
            _ => return Err(ailment),
        }
        Ok(())
    }

    /// The disk is destroyed; what it held is remembered for the record only.
    pub fn lose(&mut self) {
        self.lose_unsynced();
        self.lost = true;
    }

    /// Whether it is destroyed.
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
                // Old records, sound by themselves, stand right behind the new end.
                for entry in std::mem::take(&mut self.truncated) {
                    if entry.id.index == self.durable.last().index.next() {
                        self.durable.log.push_back(entry);
                    }
                }
            }
        }
    }
}

/// Whether a bad record is another one's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdirection {
    /// Its bytes changed where it stood.
    No,
    /// A write meant for another place came here.
    Yes,
}

/// The steps of one sync: term and vote have a place of their own that is written first, but not past an install.
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
    fn what_is_not_synced_survives_as_a_prefix_only() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = disk();
            disk.write(persist(1, Some(1), vec![entry(1, 1), entry(1, 2)]));
            assert!(disk.begin_sync());
            assert_eq!(disk.finish_sync(), Some(IoId(1)));
            disk.write(persist(2, Some(2), vec![entry(2, 2), entry(2, 3)]));
            disk.crash(&mut Random::new(Seed(seed)), Breakage::Sound);
            let found = disk.recover(Reading::Sound).expect("no record is damaged here");
            assert!(found.entries.iter().map(|entry| entry.id.index.0).eq(1..=found.entries.len() as u64));
            let newest = found.entries.iter().map(|entry| entry.id.term).max();
            assert!(newest <= Some(found.hard_state.term), "entries never survive without their term");
            lengths.insert((found.hard_state.term, found.entries.len(), newest));
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
    fn what_is_not_as_it_was_written_refuses_the_disk() {
        let mut random = Random::new(Seed(5));
        for misdirection in [Misdirection::No, Misdirection::Yes] {
            let mut disk = disk();
            assert!(!disk.ail(&mut random, misdirection), "an empty log has nothing to lose");
            disk.write(persist(1, Some(1), vec![entry(1, 1), entry(1, 2), entry(1, 3)]));
            disk.begin_sync();
            disk.finish_sync();
            assert!(disk.ail(&mut random, misdirection));
            assert!(disk.recover(Reading::Sound).is_err());
            let careless = match misdirection {
                Misdirection::No => Reading::TruncatesOnDamage,
                Misdirection::Yes => Reading::TrustsThePlace,
            };
            disk.ail(&mut random, misdirection);
            let found = disk.recover(careless).expect("a careless reader takes anything").entries;
            assert_eq!(found.len() < 3, misdirection == Misdirection::No, "{found:?}");
        }
    }

    #[test]
    fn a_sync_that_failed_and_is_repeated_claims_what_is_not_there() {
        let mut disk = disk();
        disk.write(persist(1, Some(1), vec![entry(1, 1)]));
        disk.begin_sync();
        assert_eq!(disk.lose_sync(), Some(IoId(1)));
        assert!(!disk.durable().holds(entry(1, 1).id));
    }
}
