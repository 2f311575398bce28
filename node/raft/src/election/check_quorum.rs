//! Check-quorum: a leader steps down when no quorum answers (Raft thesis §6.2). Owns the deadline for the answers, and
//! the deadline after which a disk counts as stalled.

use std::time::Duration;

use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::leader::Leader;
use crate::state::role::RoleState;

impl Raft {
    /// Returns the time at which the leader must step down unless a quorum answers. The time is counted from the start
    /// of the latest round that a quorum answered, not from the answers: an answer proves nothing about the time after
    /// the start of its round.
    pub(crate) fn quorum_lost_at(&self, leader: &Leader) -> Duration {
        let own = self.config.id;
        let contact = joint::reached(self.history.latest().1.electorate(), |id| match leader.peer(id) {
            _ if id == own => Duration::MAX,
            Some(progress) => progress.silent_since(),
            None => Duration::ZERO,
        });
        contact.unwrap_or(Duration::MAX).saturating_add(self.config.election_timeout)
    }

    /// Steps down if no quorum answered for an election timeout. Returns whether this member stepped down.
    pub(crate) fn step_down_without_quorum(&mut self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        if self.clocks.monotonic() < self.quorum_lost_at(leader) {
            return false;
        }
        self.follow(self.hard.term(), None);
        true
    }

    /// Returns whether a write has been in progress for at least an election timeout.
    pub(crate) fn disk_is_stalled(&self) -> bool {
        self.disk_stalls_at() <= self.clocks.monotonic()
    }

    /// Returns the time at which the oldest write in progress counts as stalled; [`Duration::MAX`] if no write is in
    /// progress.
    pub(crate) fn disk_stalls_at(&self) -> Duration {
        let issued_at = self.log.oldest_write_issued_at();
        issued_at.map_or(Duration::MAX, |at| at.saturating_add(self.config.election_timeout))
    }
}
