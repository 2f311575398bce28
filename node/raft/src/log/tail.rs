//! How far the log is on disk. Owns the marks of durability and their correction when the tail is truncated, so that a late
//! acknowledgement of overwritten entries counts for nothing (CCF#6016).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::{Index, IoId};

/// A write under way.
#[derive(Clone, Copy, Debug)]
struct Write {
    io: IoId,
    /// What the log holds on disk, as far as it still stands, when this write is durable.
    through: Index,
    issued_at: Duration,
}

/// Marks of durability.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    durable: Index,
    /// First index that no write carries yet.
    unwritten: Index,
    /// Oldest first; `through` never falls.
    writes: VecDeque<Write>,
}

impl Tail {
    pub(crate) fn durable_through(index: Index) -> Self {
        Self { durable: index, unwritten: index.next(), writes: VecDeque::new() }
    }

    pub(crate) fn fingerprint(&self, done: IoId, present: Present, into: &mut impl Hasher) {
        let Self { durable, unwritten, writes } = self;
        (durable, unwritten, writes.len()).hash(into);
        for Write { io, through, issued_at } in writes {
            (io.0 - done.0, through, present.distance(*issued_at)).hash(into);
        }
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn unwritten(&self) -> Index {
        self.unwritten
    }

    /// When the oldest write under way was asked for.
    pub(crate) fn waiting_since(&self) -> Option<Duration> {
        self.writes.front().map(|write| write.issued_at)
    }

    /// Everything from `index` on was truncated: no write under way proves any of it.
    pub(crate) fn truncated(&mut self, index: Index) {
        let kept = Index(index.0 - 1);
        assert!(index.0 > 0, "there is nothing before the first entry");
        self.durable = self.durable.min(kept);
        self.unwritten = self.unwritten.min(index);
        for write in &mut self.writes {
            write.through = write.through.min(kept);
        }
    }

    /// A snapshot through `index` replaces the log by the write issued next.
    pub(crate) fn replaced_through(&mut self, index: Index) {
        self.truncated(Index(1));
        self.unwritten = index.next();
    }

    /// A write carries the log through `through`.
    pub(crate) fn written(&mut self, io: IoId, through: Index, now: Duration) {
        assert!(self.writes.back().is_none_or(|last| last.io < io), "writes have growing names");
        assert!(self.writes.back().is_none_or(|last| last.through <= through), "a later write carries as much");
        self.unwritten = through.next();
        self.writes.push_back(Write { io, through, issued_at: now });
    }

    /// Everything up to `io` is durable.
    pub(crate) fn persisted(&mut self, io: IoId) {
        while let Some(write) = self.writes.front().filter(|write| write.io <= io) {
            self.durable = self.durable.max(write.through);
            self.writes.pop_front();
        }
    }

    /// The write that makes `index` durable: `None` if it is, `Err` if no write carries it yet.
    pub(crate) fn write_of(&self, index: Index) -> Result<Option<IoId>, Unwritten> {
        if index <= self.durable {
            return Ok(None);
        }
        let place = self.writes.partition_point(|write| write.through < index);
        self.writes.get(place).map(|write| Some(write.io)).ok_or(Unwritten)
    }
}

/// The entry is in no write yet.
#[derive(Debug)]
pub(crate) struct Unwritten;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Tail;
    use crate::ids::{Index, IoId};

    /// Against a disk that is spelt out: each write keeps what it carries, a truncation goes with the next write.
    #[test]
    fn durability_agrees_with_a_disk_spelt_out() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..2_000 {
            let mut tail = Tail::durable_through(Index(0));
            // What the log holds, as one number per entry that tells it from any other at its index.
            let (mut log, mut disk) = (Vec::<u64>::new(), Vec::<u64>::new());
            let mut under_way = Vec::<(u64, usize, Vec<u64>)>::new();
            let (mut fresh, mut io, mut written) = (0, 0, 0);
            for _ in 0..30 {
                match random(4) {
                    0 if !log.is_empty() => {
                        let kept = random(log.len() as u64) as usize;
                        log.truncate(kept);
                        tail.truncated(Index(kept as u64 + 1));
                        written = written.min(kept);
                        // A truncation is always followed by what replaces it.
                        fresh += 1;
                        log.push(fresh);
                    }
                    0 | 1 => {
                        fresh += 1;
                        log.push(fresh);
                    }
                    2 => {
                        io += 1;
                        under_way.push((io, written, log[written..].to_vec()));
                        written = log.len();
                        tail.written(IoId(io), Index(log.len() as u64), Duration::ZERO);
                    }
                    _ if !under_way.is_empty() => {
                        let (done, at, entries) = under_way.remove(0);
                        if !entries.is_empty() {
                            disk.truncate(at);
                            disk.extend(entries);
                        }
                        tail.persisted(IoId(done));
                    }
                    _ => {}
                }
                let shared = log.iter().zip(&disk).take_while(|(one, other)| one == other).count() as u64;
                assert!(tail.durable().0 <= shared, "{} is called durable, {shared} is", tail.durable());
                if under_way.is_empty() {
                    assert_eq!(tail.durable().0, shared.min(tail.unwritten().0 - 1), "and nothing less, in the end");
                }
            }
        }
    }
}
