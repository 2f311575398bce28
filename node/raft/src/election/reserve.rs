//! Effects of space that is short: a voter below its reserve leaves campaigns to other voters for a while, a leader below
//! its reserve transfers leadership to a voter above it, and a leader refuses what no quorum has space for. Owns these
//! three effects, and the exchange of standings between a follower and its leader. Does not own the limits between the
//! standings (the driver).
//!
//! None of them affects a vote, so none of them can violate safety. Every voter campaigns sooner or later, so none of them
//! can prevent an election for good: the voter with the longest log may be the only one that can win.

use std::time::Duration;

use bytes::Bytes;

use crate::ids::MemberId;
use crate::message::{Body, Message, Payload};
use crate::quorum::joint;
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::progress::PeerProgress;
use crate::state::role::RoleState;

/// Shortest pause before a transfer that too little space causes, in election timeouts. A new leader pauses, because it
/// must first hear from the others whether they have space. The pause doubles with each transfer in the term, because each
/// transfer interrupts the service.
const RETRY_AFTER: u32 = 2;
/// Limit on the factor by which the pause grows.
const RETRY_TIMES: u32 = 8;

impl Raft {
    /// Takes note of the space on this member's volume.
    pub(crate) fn stand(&mut self, standing: Standing) {
        let before = std::mem::replace(&mut self.standing, standing);
        if before != standing {
            self.state_standing();
        }
    }

    /// Informs the leader of the space on this member's volume.
    pub(crate) fn state_standing(&mut self) {
        if let Some(leader) = self.leader.id().filter(|leader| *leader != self.config.id) {
            self.outbox.send(leader, Message { term: self.hard.term(), body: Body::Standing(self.standing) });
        }
    }

    /// Handles what a member says about its space. The leader forgets it after an election timeout, so a member that
    /// has crashed does not count as short of space.
    pub(crate) fn on_standing(&mut self, from: MemberId, standing: Standing) {
        let now = self.clocks.monotonic();
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(progress) = leader.peer_mut(from)
        {
            progress.stands(standing, now);
        }
    }

    pub(crate) fn standing_of(&self, progress: &PeerProgress) -> Standing {
        progress.standing(self.clocks.monotonic(), self.config.election_timeout)
    }

    /// Returns the best standing that a quorum has, this leader included; `None` if this member does not lead. A voter that
    /// says nothing counts as above its reserve.
    pub(crate) fn standing_of_quorum(&self) -> Option<Standing> {
        let RoleState::Leader(leader) = &self.role else { return None };
        // The usual case, which is asked for often, needs no count.
        if self.standing == Standing::Above && leader.peers().values().all(|progress| !progress.was_short()) {
            return Some(Standing::Above);
        }
        let own = self.config.id;
        joint::reached(self.history.latest().1.electorate(), |id| match leader.peer(id) {
            _ if id == own => self.standing,
            Some(progress) => self.standing_of(progress),
            None => Standing::default(),
        })
    }

    /// Returns whether no quorum has space for a proposal.
    pub(crate) fn lacks_space_for(&self, payload: &Payload) -> bool {
        match (self.standing_of_quorum(), payload) {
            (Some(Standing::Exhausted), _) => true,
            (Some(Standing::Below), Payload::Normal(content)) => self.adds_content(content),
            _ => false,
        }
    }

    fn adds_content(&self, content: &Bytes) -> bool {
        (self.config.adds_content)(content)
    }

    /// Returns whether this member lets the end of a wait pass without a campaign, because a voter with more space may
    /// campaign. A member that no other voter can replace campaigns at once.
    pub(crate) fn leaves_campaign_to_others(&self) -> bool {
        let left = match self.standing {
            Standing::Above => 0,
            Standing::Below => 2,
            Standing::Exhausted => 4,
        };
        self.timer.campaigns() <= left && !self.was_quorum_alone()
    }

    /// Postpones the first transfer of a new leader that too little space causes.
    pub(crate) fn hear_of_space_before_transfer(&mut self) {
        let pause = self.config.election_timeout.saturating_mul(RETRY_AFTER);
        let at = self.clocks.monotonic().saturating_add(pause);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.transfers_to_space_from(at);
        }
    }

    /// If less than its reserve is free on the leader's volume, starts a transfer of leadership to a voter above its
    /// reserve that keeps up. Until one does, the leader continues to lead.
    pub(crate) fn transfer_to_space(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let now = self.clocks.monotonic();
        let is_free = !leader.is_transferring() && !leader.is_retiring() && leader.space_retry() <= now;
        if self.standing == Standing::Above || !is_free || !self.term_is_committed() {
            return;
        }
        let voters = &self.history.latest().1.voters;
        let is_fit = |id: MemberId, progress: &PeerProgress| {
            voters.contains(&id) && self.standing_of(progress) == Standing::Above && self.keeps_up(progress)
        };
        let fit = leader.peers().iter().filter(|(id, progress)| is_fit(**id, progress));
        let best = fit.max_by_key(|(id, progress)| (self.is_preferred(**id, progress), progress.matched()));
        let Some(target) = best.map(|(id, _)| *id) else { return };
        let wait: Duration = self.config.election_timeout.saturating_mul(RETRY_AFTER);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.transfers_to_space(now, wait, RETRY_TIMES);
        }
        let started = self.start_transfer(Some(target));
        assert!(started == Ok(target), "a leader without a transfer can transfer leadership to a voter");
    }
}
