//! The members that are connected to this one, and what they support. Owns the list of open streams. Does not own what
//! it is used for: the leader raises the feature level only if every member is connected and supports it (`engine`).

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use mvcc::FeatureLevel;
use raft::MemberId;

use crate::peer::Peers;

/// The open streams from other members, oldest first. Nothing is kept of a member whose streams have ended.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Number of streams so far.
    streams: u64,
    open: Vec<(u64, MemberId, FeatureLevel)>,
}

impl Members {
    fn add(&mut self, from: MemberId, supports: FeatureLevel) -> u64 {
        self.streams += 1;
        self.open.push((self.streams, from, supports));
        self.streams
    }

    fn remove(&mut self, stream: u64) {
        self.open.retain(|(open, ..)| *open != stream);
    }

    /// What each member supports. The newest stream counts, because an older one may be left from a former process that
    /// cannot end it any more.
    fn stated(&self) -> BTreeMap<MemberId, FeatureLevel> {
        self.open.iter().map(|(_, from, supports)| (*from, *supports)).collect()
    }
}

/// An open stream from a member. Dropping this value takes the stream from the list.
pub(super) struct Connected {
    peers: Arc<Peers>,
    stream: u64,
}

impl Connected {
    /// Notes a stream whose greeting was accepted.
    pub(super) fn new(peers: &Arc<Peers>, from: MemberId, supports: FeatureLevel) -> Self {
        let mut members = lock(peers);
        let stream = members.add(from, supports);
        peers.shared.state_levels(members.stated());
        drop(members);
        Self { peers: Arc::clone(peers), stream }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut members = lock(&self.peers);
        members.remove(self.stream);
        // The list is locked, so that an older one cannot replace it.
        self.peers.shared.state_levels(members.stated());
    }
}

/// Ignores poisoning, because every holder of the lock leaves the list consistent.
fn lock(peers: &Peers) -> MutexGuard<'_, Members> {
    peers.connected.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_stated_while_a_stream_of_it_is_open() {
        let mut members = Members::default();
        let [member, other] = [MemberId(1), MemberId(2)];
        let old = members.add(member, FeatureLevel(2));
        let another = members.add(other, FeatureLevel(1));
        // The member restarts with an older program, and its old stream is still open.
        let new = members.add(member, FeatureLevel(1));
        let stated = |level, other| BTreeMap::from([(member, FeatureLevel(level)), (MemberId(2), FeatureLevel(other))]);
        assert_eq!(members.stated(), stated(1, 1));
        members.remove(old);
        assert_eq!(members.stated(), stated(1, 1));
        members.remove(new);
        assert_eq!(members.stated(), [(other, FeatureLevel(1))].into());
        members.remove(another);
        assert!(members.stated().is_empty() && members.open.is_empty());
    }
}
