//! Compares the log with a naive one under random changes. The naive log is a plain list, which answers each question
//! by looking at every entry. Owns the comparison. Does not own the model of durability (`state/log/tail.rs`).

use std::time::Duration;

use world::seed::{Random, Seed};

use crate::ids::{EntryId, Index, IoId, Term};
use crate::message::{Entry, HardState, Payload, SnapshotMeta};
use crate::restored::{Restored, RestoredLog};
use crate::state::log::Log;
use crate::state::log::memory::Committed;

#[derive(Debug)]
struct NaiveLog {
    /// The purge mark and its time stamp.
    floor: (EntryId, u64),
    /// All entries after the purge mark.
    kept: Vec<Entry>,
    /// Index of the last entry that is not in memory.
    base: Index,
    commit: Index,
}

impl NaiveLog {
    /// Returns ID and time stamp of the purge mark and of every entry after it.
    fn known(&self) -> impl DoubleEndedIterator<Item = (EntryId, u64)> {
        std::iter::once(self.floor).chain(self.kept.iter().map(|entry| (entry.id, entry.time_ms)))
    }

    fn last(&self) -> (EntryId, u64) {
        self.known().next_back().expect("the purge mark is known")
    }

    fn purge(&mut self, through: Index) {
        let mark = self.known().rfind(|(id, _)| id.index <= through);
        self.floor = mark.unwrap_or(self.floor);
        self.kept.retain(|entry| entry.id.index > through);
        self.base = self.base.max(self.floor.0.index);
    }

    /// Returns the weight of the entries after `index`.
    fn bytes_after(&self, index: Index) -> u64 {
        let after = self.kept.iter().filter(|entry| entry.id.index > index);
        after.map(|entry| entry.payload.len() as u64 + 64).sum()
    }

    /// Compares a weight with that of the entries after `index`. If the entry at `index` is not in memory, the weight is
    /// an estimate.
    fn agrees_with_bytes(&self, bytes: u64, index: Index) {
        let least = self.bytes_after(self.base.max(index));
        let is_exact = index >= self.base;
        assert!(bytes == least || (!is_exact && least < bytes), "{bytes} after {index}: {self:?}");
    }

    fn may_agree_at(&self, index: Index, term: Term) -> EntryId {
        let within = |(id, _): &(EntryId, u64)| id.index <= index && id.term <= term;
        self.known().rfind(within).unwrap_or(self.floor).0
    }

    fn slice(&self, from: Index, count: usize, bytes: usize) -> (Vec<Entry>, usize) {
        let mut taken: Vec<Entry> = Vec::new();
        let mut total = 0;
        for entry in self.kept.iter().filter(|entry| entry.id.index >= from && entry.id.index > self.base) {
            let fits = taken.is_empty() || total + entry.payload.len() <= bytes;
            if taken.len() == count || !fits {
                break;
            }
            total += entry.payload.len();
            taken.push(entry.clone());
        }
        (taken, total)
    }

    /// Compares every answer of a log with the answer of this one.
    fn agrees_with(&self, log: &Log) {
        let (last, last_time_ms) = self.last();
        assert!(log.is_whole(), "{log:?}");
        assert_eq!((log.floor(), log.last(), log.last_time_ms()), (self.floor.0, last, last_time_ms));
        assert_eq!(log.base(), self.base);
        assert!(log.kept().eq(self.kept.iter().filter(|entry| entry.id.index > self.base)), "{log:?}");
        assert_eq!((log.commit(), log.held_bytes()), (self.commit, self.bytes_after(self.base)));
        self.agrees_with_bytes(log.unsettled_bytes(), self.commit.min(log.durable()));
        self.agrees_with_bytes(log.undurable_bytes(), log.durable());
        let held = self.kept.iter().filter(|entry| entry.id.index > self.base);
        let payload_bytes: u64 = held.map(|entry| entry.payload.len() as u64).sum();
        assert_eq!(log.payload_bytes_after(self.base), payload_bytes, "{self:?}");
        for index in (self.floor.0.index.0.saturating_sub(2)..=last.index.0 + 2).map(Index) {
            let known = self.known().find(|(id, _)| id.index == index);
            assert_eq!(log.term_at(index), known.map(|(id, _)| id.term), "index {index}");
            assert_eq!(log.id_before(index.next()), known.map(|(id, _)| id), "index {index}");
            for term in (self.floor.0.term.0.saturating_sub(1)..=last.term.0 + 1).map(Term) {
                let id = EntryId { term, index };
                assert_eq!(log.holds(id), known.is_some_and(|(known, _)| known == id), "{id}");
                assert_eq!(log.may_agree_at(index, term), self.may_agree_at(index, term), "{id}");
            }
        }
    }
}

/// Both logs, and what the changes have in common.
struct Pair {
    random: Random,
    log: Log,
    naive: NaiveLog,
    /// The latest write.
    io: IoId,
}

impl Pair {
    /// Returns two logs that begin after a snapshot, so that indexes and places differ.
    fn new(seed: u64) -> Self {
        let last = EntryId { term: Term(2), index: Index(5) };
        let snapshot = SnapshotMeta { last, time_ms: 7, ..SnapshotMeta::default() };
        Self {
            random: Random::new(Seed(seed)),
            log: Log::restored(&snapshot, RestoredLog { floor: last, ..RestoredLog::default() }).expect("no entries"),
            naive: NaiveLog { floor: (last, 7), kept: Vec::new(), base: last.index, commit: last.index },
            io: IoId(0),
        }
    }

    fn change(&mut self) {
        match self.random.below(24) {
            0..8 => self.push(),
            8..10 => self.truncate(),
            10..13 => self.commit(),
            13..15 => self.apply(),
            15..17 => self.write(),
            17..19 => self.purge(),
            19..23 => self.evict(),
            _ if self.random.percent(70) => self.restart(),
            _ => self.replace(),
        }
    }

    /// Returns an entry that may follow the entry with ID and time stamp `last`.
    fn follower_of(&mut self, last: (EntryId, u64)) -> Entry {
        let (id, time_ms) = last;
        let term = id.term.0 + if self.random.percent(20) { self.random.between(1, 3) } else { 0 };
        let payload = match self.random.below(4) {
            0 => Payload::Noop,
            _ => Payload::Normal(vec![0; self.random.below(100) as usize].into()),
        };
        Entry { id: EntryId { term: Term(term), index: id.index.next() }, time_ms: time_ms + 1, payload }
    }

    fn push(&mut self) {
        let entry = self.follower_of(self.naive.last());
        self.log.push(entry.clone());
        self.naive.kept.push(entry);
    }

    fn truncate(&mut self) {
        let (commit, last) = (self.naive.commit, self.naive.last().0.index);
        if commit < last {
            let index = Index(self.random.between(commit.0 + 1, last.0));
            self.log.truncate(index);
            self.naive.kept.retain(|entry| entry.id.index < index);
            self.naive.base = self.naive.base.min(Index(index.0 - 1));
            // A log is truncated only to replace entries.
            self.push();
        }
    }

    fn commit(&mut self) {
        let index = Index(self.random.between(self.naive.commit.0, self.naive.last().0.index.0));
        self.log.commit_to(index);
        self.naive.commit = index;
    }

    fn apply(&mut self) {
        let (count, bytes) = (self.random.below(6) as usize, self.random.below(300) as usize);
        let (commit, applying) = (self.naive.commit, self.log.applying());
        if applying == commit {
            return;
        }
        let (expected, _) = self.naive.slice(applying.next(), count.min((commit.0 - applying.0) as usize), bytes);
        match self.log.take_committed(count, bytes) {
            Committed::Held(taken) => assert_eq!(taken, expected),
            Committed::Stored(first, last) => {
                assert_eq!((first, self.log.applying()), (applying.next(), last));
                assert!(first <= last && last <= commit.min(self.naive.base), "{first} to {last}: {:?}", self.naive);
            }
        }
        if self.random.coin() {
            self.log.applied_to(self.log.applying());
        }
    }

    /// Evicts entries: the model looks at every entry in memory.
    fn evict(&mut self) {
        let limit = self.random.below(400) as usize;
        self.log.evict(limit);
        while self.naive.bytes_after(self.naive.base) > limit as u64 {
            let first = self.naive.base.next();
            if first > self.log.durable() {
                break;
            }
            self.naive.base = first;
        }
    }

    fn write(&mut self) {
        self.io = self.io.next();
        self.log.written(self.io, Duration::ZERO);
        if self.random.coin() {
            self.log.persisted(self.io);
        }
    }

    fn purge(&mut self) {
        let (applied, durable) = (self.log.applied(), self.log.durable());
        let index = Index(self.random.between(self.log.snapshot().0, applied.0));
        let through = Index(self.random.below(index.0 + 2));
        self.log.purge(index, through);
        self.naive.purge(through.min(index).min(durable));
    }

    /// Reads both logs from a disk that holds all entries and the newest snapshot. A random number of the last entries is
    /// in memory.
    fn restart(&mut self) {
        let index = self.log.snapshot();
        let (last, time_ms) = self.naive.known().find(|(id, _)| id.index == index).expect("a snapshot is not purged");
        let snapshot = SnapshotMeta { last, time_ms, ..SnapshotMeta::default() };
        let Restored { mut log, .. } =
            Restored::of_entries(HardState::default(), snapshot.clone(), self.naive.kept.clone());
        self.naive.commit = index;
        if let Some(first) = self.naive.kept.first().map(|entry| entry.id.index).filter(|first| *first <= index) {
            self.naive.purge(first);
        }
        let evicted = self.random.below(log.tail.len().max(1) as u64) as usize;
        let mut end = 0;
        for entry in log.tail.drain(..evicted) {
            end += entry.weight();
            if self.random.coin() {
                log.marks.push((entry.id.index, end));
            }
        }
        self.naive.base = log.tail.first().map_or(log.floor.index, |first| Index(first.id.index.0 - 1));
        self.log = Log::restored(&snapshot, log).expect("sound");
    }

    /// Installs a snapshot from a leader whose log is not this one.
    fn replace(&mut self) {
        let (commit, (last, time_ms)) = (self.naive.commit, self.naive.last());
        let index = Index(self.random.between(commit.0 + 1, last.index.0 + 3));
        let last = EntryId { term: last.term.next(), index };
        let snapshot = SnapshotMeta { last, time_ms: time_ms + 1, ..SnapshotMeta::default() };
        self.log.replace(&snapshot);
        self.naive = NaiveLog { floor: (last, time_ms + 1), kept: Vec::new(), base: index, commit: index };
        self.write();
    }

    /// Asks both logs about an append whose first entries may be known, and for a random range.
    fn compare_ranges(&mut self) {
        let last = self.naive.last().0.index.0;
        let known = self.random.below(self.naive.kept.len() as u64 + 1) as usize;
        let from = self.random.below(known as u64 + 1) as usize;
        let mut append = self.naive.kept[from..known].to_vec();
        for _ in 0..self.random.below(4) {
            let before = append.last().map_or(self.naive.floor, |entry| (entry.id, entry.time_ms));
            append.push(self.follower_of(before));
        }
        let shared = append.iter().take_while(|entry| self.naive.known().any(|(id, _)| id == entry.id)).count();
        assert_eq!(self.log.shared(&append), shared, "{append:?}");
        let from = Index(self.random.between(self.naive.base.0 + 1, last + 2));
        let (count, bytes) = (self.random.below(8) as usize, self.random.below(400) as usize);
        assert_eq!(self.log.slice(from, count, bytes), self.naive.slice(from, count, bytes), "{count} from {from}");
    }
}

#[test]
fn the_log_agrees_with_a_naive_one() {
    for seed in 0..300 {
        let mut pair = Pair::new(seed);
        for _ in 0..100 {
            pair.change();
            pair.naive.agrees_with(&pair.log);
            pair.compare_ranges();
        }
    }
}
