//! Appends sent and not answered. Owns the window in messages and bytes; a full window stops the sender (etcd-io/raft's
//! Inflights).

use std::collections::VecDeque;

use crate::ids::Index;

/// The window to one member.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflight {
    /// Last index and payload bytes of each, oldest first.
    sent: VecDeque<(Index, usize)>,
    bytes: usize,
}

impl Inflight {
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        assert!(self.sent.back().is_none_or(|(before, _)| *before < last), "appends in flight follow each other");
        self.sent.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `index` was answered.
    pub(crate) fn answered(&mut self, index: Index) {
        while let Some((_, bytes)) = self.sent.front().copied().filter(|(last, _)| *last <= index) {
            self.sent.pop_front();
            self.bytes -= bytes;
        }
        assert!(!self.sent.is_empty() || self.bytes == 0, "what was answered is in flight no more");
    }

    pub(crate) fn is_full(&self, messages: usize, bytes: usize) -> bool {
        self.sent.len() >= messages || self.bytes >= bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}
