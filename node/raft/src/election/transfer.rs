//! Handing leadership over (Raft thesis §3.10). Owns the transfer under way: proposals wait, the target catches up, the lease
//! ends, and only then does TimeoutNow leave.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::{EntryId, Index, MemberId};
use crate::message::{Body, Message};
use crate::raft::{Raft, TransferError};
use crate::role::Standing;
use crate::role::candidate::Reason;
use crate::role::leader::Leader;

/// A transfer under way.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) target: MemberId,
    pub(crate) give_up: Duration,
    /// TimeoutNow left.
    told: bool,
}

impl Transfer {
    pub(crate) fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { target, give_up, told } = self;
        (target, present.wait(*give_up), told).hash(into);
    }
}

impl Raft {
    pub(crate) fn start_transfer(&mut self, target: Option<MemberId>) -> Result<MemberId, TransferError> {
        let Standing::Leader(leader) = &self.standing else { return Err(TransferError::NotLeader) };
        let wanted = match target {
            Some(target) if target == self.config.id => return Ok(target),
            Some(target) if !self.history.latest().1.is_voter(target) => {
                return Err(TransferError::NotVoter { target });
            }
            Some(target) => Some(target),
            None => self.best_successor(leader),
        };
        if let Some(Transfer { target, .. }) = leader.transfer {
            return if wanted == Some(target) { Ok(target) } else { Err(TransferError::InFlight { target }) };
        }
        let target = wanted.ok_or(TransferError::NoTarget)?;
        assert!(target != self.config.id, "leadership goes to another");
        let give_up = self.now.monotonic.saturating_add(self.config.transfer_timeout);
        if let Standing::Leader(leader) = &mut self.standing {
            leader.transfer = Some(Transfer { target, give_up, told: false });
        }
        Ok(target)
    }

    /// The voter with the longest log among those heard from lately; a preferred one that holds what is committed comes first.
    fn best_successor(&self, leader: &Leader) -> Option<MemberId> {
        let voters = &self.history.latest().1.voters;
        let heard = leader.peers.iter().filter(|(id, progress)| {
            voters.contains(id) && progress.is_active(self.now.monotonic, self.config.election_timeout)
        });
        heard.max_by_key(|(id, progress)| (self.is_preferred(**id, progress), progress.matched())).map(|(id, _)| *id)
    }

    /// Whether proposals must wait for a transfer.
    pub(crate) fn transferring_to(&self) -> Option<MemberId> {
        match &self.standing {
            Standing::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.target),
            _ => None,
        }
    }

    /// Tells the target to campaign, once its durable log reaches the last entry.
    pub(crate) fn drive_transfer(&mut self) {
        let last = self.log.last();
        let Standing::Leader(leader) = &mut self.standing else { return };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| !transfer.told) else { return };
        let Some(progress) = leader.peers.get(&transfer.target) else {
            leader.transfer = None;
            return;
        };
        if progress.matched() < last.index {
            return;
        }
        assert!(progress.matched() == last.index, "the target holds all there is, durably");
        transfer.told = true;
        leader.lease_over = true;
        let target = transfer.target;
        self.send_timeout_now(target, last);
    }

    /// TimeoutNow may have been lost.
    pub(crate) fn repeat_timeout_now(&mut self) {
        let Standing::Leader(leader) = &self.standing else { return };
        let told = leader.transfer.as_ref().filter(|transfer| transfer.told).map(|transfer| transfer.target);
        if let Some(target) = told {
            self.send_timeout_now(target, self.log.last());
        }
    }

    fn send_timeout_now(&mut self, target: MemberId, last: EntryId) {
        let is_over = matches!(&self.standing, Standing::Leader(leader) if leader.lease_over);
        assert!(is_over, "the lease is dead before TimeoutNow leaves");
        self.outbox.send(target, Message { term: self.hard.term, body: Body::TimeoutNow { last } });
    }

    /// Ends a transfer that took too long; true if this member stopped leading with that.
    pub(crate) fn give_up_transfer(&mut self) -> bool {
        let now = self.now.monotonic;
        let Standing::Leader(leader) = &mut self.standing else { return false };
        if leader.transfer.as_ref().is_none_or(|transfer| now < transfer.give_up) {
            return false;
        }
        leader.transfer = None;
        if leader.retiring {
            self.follow(self.hard.term, None);
            return true;
        }
        false
    }

    /// A leader that lost its vote hands over, or just steps down when nobody can take over (Raft thesis §4.2.2).
    pub(crate) fn retire_when_due(&mut self) {
        let (index, committed) = self.history.at(self.log.commit());
        let stays = committed.is_voter(self.config.id) || *index != self.history.latest().0;
        let Standing::Leader(leader) = &mut self.standing else { return };
        if stays || leader.retiring {
            return;
        }
        leader.retiring = true;
        leader.transfer = None;
        if self.start_transfer(None).is_err() {
            self.follow(self.hard.term, None);
        }
    }

    /// A leader whose disk stalls hands over; it goes on meanwhile, as a majority of others can still commit.
    pub(crate) fn hand_over_for_stalled_disk(&mut self) {
        if !self.disk_is_stalled() {
            return;
        }
        let now = self.now.monotonic;
        let Standing::Leader(leader) = &mut self.standing else { return };
        if now < leader.stall_retry {
            return;
        }
        leader.stall_retry = now.saturating_add(self.config.election_timeout.saturating_mul(2));
        if leader.transfer.is_none() {
            // Without a successor there is nothing better than to go on.
            let _ = self.start_transfer(None);
        }
    }

    /// The leader hands over to this member. Late, doubled or premature requests are ignored.
    pub(crate) fn on_timeout_now(&mut self, from: MemberId, last: EntryId) {
        let follows = matches!(self.standing, Standing::Follower) && self.leader == Some(from);
        let reaches = self.log.holds(last) && self.durable_through(last.index);
        if follows && reaches && self.may_campaign() {
            self.campaign(Reason::Transfer);
        }
    }

    fn durable_through(&self, index: Index) -> bool {
        self.log.durable() >= index
    }
}
