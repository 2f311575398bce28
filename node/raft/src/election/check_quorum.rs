//! A leader that a quorum does not answer any more steps down (Raft thesis §6.2), and one whose disk stalls hands over. Owns
//! both deadlines.

use std::time::Duration;

use crate::quorum::joint;
use crate::raft::Raft;
use crate::role::Standing;
use crate::role::leader::Leader;

impl Raft {
    /// When the leader must step down unless a quorum answers. A round counts from its start, so that answers that were long
    /// on their way prove nothing newer.
    pub(crate) fn quorum_lost_at(&self, leader: &Leader) -> Duration {
        let own = self.config.id;
        let contact = joint::reached(&self.history.latest().1, |id| match leader.peers.get(&id) {
            _ if id == own => Duration::MAX,
            Some(progress) => progress.silent_since(),
            None => Duration::ZERO,
        });
        contact.unwrap_or(Duration::MAX).saturating_add(self.config.election_timeout)
    }

    /// Steps down when no quorum answered for an election timeout; true then.
    pub(crate) fn step_down_without_quorum(&mut self) -> bool {
        let Standing::Leader(leader) = &self.standing else { return false };
        if self.now.monotonic < self.quorum_lost_at(leader) {
            return false;
        }
        self.follow(self.hard.term, None);
        true
    }

    /// Whether a write has been under way for longer than an election timeout.
    pub(crate) fn disk_is_stalled(&self) -> bool {
        self.disk_stalls_at() <= self.now.monotonic
    }

    /// When the oldest write under way counts as stalled.
    pub(crate) fn disk_stalls_at(&self) -> Duration {
        self.log.tail.waiting_since().map_or(Duration::MAX, |since| since.saturating_add(self.config.election_timeout))
    }
}
