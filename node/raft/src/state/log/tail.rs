//! How far the log is on disk. Owns the durable and unwritten indexes, and their correction when the log is truncated.
//! A late acknowledgement of overwritten entries therefore has no effect (CCF#6016).

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{Index, IoId};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// A write in progress.
#[derive(Clone, Copy, Debug)]
struct LogWrite {
    io: IoId,
    /// Last index of this log that the disk holds once the write is durable. Decreases if the log is truncated while
    /// the write is in progress.
    through: Index,
    issued_at: Duration,
}

/// How far a log is written and durable.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// Highest index up to which the disk holds the log.
    durable: Index,
    /// First index that no write carries yet.
    unwritten: Index,
    /// Writes in progress, oldest first; `through` never decreases along the queue.
    writes: VecDeque<LogWrite>,
}

impl Tail {
    pub(crate) fn durable_through(index: Index) -> Self {
        Self { durable: index, unwritten: index.next(), writes: VecDeque::new() }
    }

    pub(crate) fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn unwritten(&self) -> Index {
        self.unwritten
    }

    /// Returns the time at which the oldest write in progress was issued.
    pub(crate) fn oldest_write_issued_at(&self) -> Option<Duration> {
        self.writes.front().map(|write| write.issued_at)
    }

    /// Records that the log was truncated from `index` on. Writes in progress no longer prove that entries at or after
    /// `index` are durable.
    pub(crate) fn truncated(&mut self, index: Index) {
        let kept = Index(index.0 - 1);
        assert!(index.0 > 0, "index 0 is before the first entry");
        self.durable = self.durable.min(kept);
        self.unwritten = self.unwritten.min(index);
        for write in &mut self.writes {
            write.through = write.through.min(kept);
        }
    }

    /// Records that a snapshot up to `index` replaced the log. The write that is issued next carries the snapshot.
    pub(crate) fn replaced_through(&mut self, index: Index) {
        self.truncated(Index(1));
        self.unwritten = index.next();
    }

    /// Records that the write `io` carries the log up to `through`.
    pub(crate) fn written(&mut self, io: IoId, through: Index, now: Duration) {
        assert!(self.writes.back().is_none_or(|last| last.io < io), "the numbers of writes grow");
        assert!(self.writes.back().is_none_or(|last| last.through <= through), "a later write covers an earlier one");
        self.unwritten = through.next();
        self.writes.push_back(LogWrite { io, through, issued_at: now });
    }

    /// Records that every write up to `io` is durable.
    pub(crate) fn persisted(&mut self, io: IoId) {
        while let Some(write) = self.writes.front().filter(|write| write.io <= io) {
            self.durable = self.durable.max(write.through);
            self.writes.pop_front();
        }
    }

    /// Returns the write that makes `index` durable; `None` if `index` is durable already.
    ///
    /// # Errors
    /// Returns [`Unwritten`] if no write carries the entry yet.
    pub(crate) fn write_of(&self, index: Index) -> Result<Option<IoId>, Unwritten> {
        if index <= self.durable {
            return Ok(None);
        }
        let place = self.writes.partition_point(|write| write.through < index);
        self.writes.get(place).map(|write| Some(write.io)).ok_or(Unwritten)
    }
}

/// No write carries the entry yet; the next write will carry it.
#[derive(Debug)]
pub(crate) struct Unwritten;

#[cfg(feature = "fingerprint")]
impl Fingerprint for Tail {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { durable, unwritten, writes } = self;
        (durable, unwritten, writes.len()).hash(into);
        for LogWrite { io, through, issued_at } in writes {
            (present.writes_to(*io), through, present.distance(*issued_at)).hash(into);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Tail;
    use crate::ids::{Index, IoId};

    /// Compares the indexes with a model of the disk that stores the entries of each write. A truncation reaches the
    /// modelled disk with the next write.
    #[test]
    fn durability_agrees_with_a_model_disk() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..2_000 {
            let mut tail = Tail::durable_through(Index(0));
            // Each entry is a number that differs from every other entry at the same index.
            let (mut log, mut disk) = (Vec::<u64>::new(), Vec::<u64>::new());
            let mut in_progress = Vec::<(u64, usize, Vec<u64>)>::new();
            let (mut fresh, mut io, mut written) = (0, 0, 0);
            for _ in 0..30 {
                match random(4) {
                    0 if !log.is_empty() => {
                        let kept = random(log.len() as u64) as usize;
                        log.truncate(kept);
                        tail.truncated(Index(kept as u64 + 1));
                        written = written.min(kept);
                        // A new entry is appended after every truncation, because a log is truncated only to replace
                        // entries.
                        fresh += 1;
                        log.push(fresh);
                    }
                    0 | 1 => {
                        fresh += 1;
                        log.push(fresh);
                    }
                    2 => {
                        io += 1;
                        in_progress.push((io, written, log[written..].to_vec()));
                        written = log.len();
                        tail.written(IoId(io), Index(log.len() as u64), Duration::ZERO);
                    }
                    _ if !in_progress.is_empty() => {
                        let (done, at, entries) = in_progress.remove(0);
                        if !entries.is_empty() {
                            disk.truncate(at);
                            disk.extend(entries);
                        }
                        tail.persisted(IoId(done));
                    }
                    _ => {}
                }
                let shared = log.iter().zip(&disk).take_while(|(one, other)| one == other).count() as u64;
                assert!(
                    tail.durable().0 <= shared,
                    "the mark is {}, but the disk agrees only up to {shared}",
                    tail.durable()
                );
                if in_progress.is_empty() {
                    assert_eq!(
                        tail.durable().0,
                        shared.min(tail.unwritten().0 - 1),
                        "the mark covers every durable entry in the end"
                    );
                }
            }
        }
    }
}
