//! The legality of membership changes. Owns the checks of a request. Does not own the request type (`request.rs`) or
//! the transition through a joint configuration (`joint.rs`).

use crate::configuration::Configuration;
use crate::ids::{Index, MemberId};
use crate::membership::joint;
use crate::membership::request::{Change, ChangeRefusal};
use crate::message::Payload;
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::role::RoleState;

/// Maximum number of voters of a cluster. More are refused, because each additional voter costs every write another
/// acknowledgement.
const VOTERS_MAX: usize = 9;

impl Raft {
    /// Starts a change, or refuses it; a refused change adds nothing to the log.
    pub(crate) fn start_change(&mut self, change: Change) -> Result<Index, ChangeRefusal> {
        let RoleState::Leader(leader) = &self.role else {
            return Err(ChangeRefusal::NotLeader { leader: self.leader.id() });
        };
        if let Some(target) = self.transferring_to() {
            return Err(ChangeRefusal::Transferring { target });
        }
        let (index, current) = self.history.latest();
        let index = *index;
        check_shape(current, &change)?;
        if leads_to(current, &change) {
            return Ok(index);
        }
        self.check_free(index, current.is_joint(), change.expected)?;
        self.check_caught_up(leader, current, &change)?;
        self.check_reachable(leader, &change)?;
        if self.standing_of_quorum() == Some(Standing::Exhausted) {
            return Err(ChangeRefusal::NoSpace);
        }
        let next = joint::enter(current, change);
        assert!(next.voters.len() <= VOTERS_MAX, "a configuration has no more voters than a cluster can have");
        assert!(next.is_joint() || next.voters == current.voters, "voters change only through a joint configuration");
        assert!(next.removed.is_superset(&current.removed), "a removed member never comes back");
        Ok(self.append(Payload::Configuration(next.into())))
    }

    /// Refuses a change while another change is in progress, a change that was not computed from the configuration in
    /// force, and a change before the first commit of this term.
    fn check_free(&self, index: Index, is_joint: bool, expected: Index) -> Result<(), ChangeRefusal> {
        if !self.term_is_committed() {
            return Err(ChangeRefusal::TermNotCommitted);
        }
        if is_joint || index > self.log.commit() {
            return Err(ChangeRefusal::InFlight { pending: index });
        }
        if expected != index {
            return Err(ChangeRefusal::Stale { expected, actual: index });
        }
        Ok(())
    }
}

/// Refuses a request that is not legal in the current configuration, whichever member leads.
fn check_shape(current: &Configuration, change: &Change) -> Result<(), ChangeRefusal> {
    if change.voters.is_empty() {
        return Err(ChangeRefusal::NoVoters);
    }
    if change.voters.len() > VOTERS_MAX {
        return Err(ChangeRefusal::TooManyVoters { voters: change.voters.len(), limit: VOTERS_MAX });
    }
    if let Some(member) = change.voters.intersection(&change.learners).next() {
        return Err(ChangeRefusal::Overlap { member: *member });
    }
    for member in change.voters.union(&change.learners) {
        if current.removed.contains(member) {
            return Err(ChangeRefusal::WasRemoved { member: *member });
        }
        if !change.members.contains_key(member) {
            return Err(ChangeRefusal::Unknown { member: *member });
        }
    }
    Ok(())
}

/// Returns whether the configuration in force is the requested one, or a joint configuration that ends in the requested
/// one.
fn leads_to(current: &Configuration, change: &Change) -> bool {
    let end = if current.is_joint() { joint::leave(current) } else { current.clone() };
    let info_agrees = |id: &MemberId| end.members.get(id) == change.members.get(id);
    end.voters == change.voters
        && end.learners == change.learners
        && change.voters.union(&change.learners).all(info_agrees)
}
