//! How far the log is on disk. Owns the marks of durability and their correction when the tail is truncated, so that a late
//! acknowledgement of overwritten entries counts for nothing (CCF#6016).

use std::collections::VecDeque;
use std::time::Duration;

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
#[derive(Debug)]
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
