//! Appends that are sent and not yet acknowledged. Owns the limits on their number and bytes. The sender stops when a
//! limit is reached (etcd-io/raft's Inflights).

use std::collections::VecDeque;

use crate::ids::Index;

/// The unacknowledged appends to one member.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflight {
    /// Last index and payload bytes of each append, oldest first.
    appends: VecDeque<(Index, usize)>,
    /// Payload bytes of all appends.
    bytes: usize,
}

impl Inflight {
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        assert!(self.appends.back().is_none_or(|(before, _)| *before < last), "appends in flight follow each other");
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Removes the appends that end at or before `index`, because the member acknowledged everything up to `index`.
    pub(crate) fn answered(&mut self, index: Index) {
        while let Some((_, bytes)) = self.appends.front().copied().filter(|(last, _)| *last <= index) {
            self.appends.pop_front();
            assert!(bytes <= self.bytes, "every append in flight was counted");
            self.bytes -= bytes;
        }
        assert!(!self.appends.is_empty() || self.bytes == 0, "an empty window holds no bytes");
    }

    pub(crate) fn is_full(&self, messages: usize, bytes: usize) -> bool {
        self.appends.len() >= messages || self.bytes >= bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }
}
