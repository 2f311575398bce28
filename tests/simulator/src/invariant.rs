//! Invariants: statements that must hold after every step. Each invariant has its own file. An invariant that Ongaro's
//! thesis defines is named as in the thesis. Owns the order in which the invariants are checked. Does not change the
//! state that is checked.

pub mod append_is_of_the_log;
pub mod committed_is_durable;
pub mod configuration_follows_log;
pub mod election_safety;
pub mod happens_once;
pub mod leader_append_only;
pub mod leader_completeness;
pub mod lease_gate;
pub mod ledger;
pub mod log_matching;
pub mod match_is_durable;
pub mod one_change_at_a_time;
pub mod one_vote_per_term;
pub mod quorums_overlap;
pub mod read_gate;
pub mod removal_is_committed;
pub mod state_machine_safety;

use std::collections::BTreeMap;
use std::fmt;

use raft::{Entry, Index, MemberId, Output, Raft, Role};
use world::disk::Disk;

use crate::invariant::committed_is_durable::CommittedIsDurable;
use crate::invariant::happens_once::HappensOnce;
use crate::invariant::lease_gate::LeaseGate;
use crate::invariant::ledger::Ledger;
use crate::invariant::match_is_durable::MatchIsDurable;
use crate::invariant::one_vote_per_term::OneVotePerTerm;
use crate::invariant::read_gate::ReadGate;
use crate::invariant::state_machine_safety::StateMachineSafety;

/// Violation of an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the invariant.
    pub invariant: &'static str,
    /// Description of the state that violates the invariant.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}

/// Result of a check.
pub type Checked = Result<(), Violation>;

/// All disks of a run, including destroyed ones.
pub type Disks = BTreeMap<MemberId, Disk>;

/// Checks that `holds` is true.
///
/// # Errors
/// Returns a violation with the description `seen` if `holds` is false.
pub fn ensure(holds: bool, invariant: &'static str, seen: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, seen: seen() }) }
}

/// All invariants and their state.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Logs, leaders and committed entries.
    pub ledger: Ledger,
    /// Votes cast.
    pub votes: OneVotePerTerm,
    /// Acknowledgements sent.
    pub matches: MatchIsDurable,
    /// Results of the state machines.
    pub machines: StateMachineSafety,
    /// Outcomes of proposals.
    pub proposals: HappensOnce,
    /// Reads in progress.
    pub reads: ReadGate,
    /// Reads confirmed by the leader lease.
    pub leases: LeaseGate,
    commits: CommittedIsDurable,
}

impl Invariants {
    /// Checks a member that starts from the content of its disk.
    ///
    /// # Errors
    /// Returns the invariant that the content violates.
    pub fn started(&mut self, disk: &Disk) -> Checked {
        self.votes.restarted(disk.owner, disk.durable().hard_state)?;
        self.machines.restarted(disk.owner, disk.durable().snapshot.last.index);
        self.ledger.restarted(disk.owner, disk.durable())
    }

    /// Checks a member after one input. None of its `outputs` is carried out yet.
    ///
    /// # Errors
    /// Returns the invariant that the step violates.
    pub fn stepped(&mut self, id: MemberId, raft: &Raft, outputs: &[Output], disks: &Disks) -> Checked {
        let state = raft.soft_state();
        if state.role == Role::Leader {
            election_safety::led(&mut self.ledger, id, state.term)?;
        }
        for output in outputs {
            match output {
                Output::Persist(persist) => {
                    leader_append_only::written(&self.ledger, id, state, &persist.entries)?;
                    for entry in &persist.entries {
                        if self.ledger.known(entry.id).is_none() {
                            one_change_at_a_time::created(&self.ledger, id, entry, raft.commit())?;
                            quorums_overlap::created(&self.ledger, id, entry)?;
                        }
                        log_matching::appended(&mut self.ledger, id, entry)?;
                    }
                }
                Output::InstallSnapshot { meta, .. } => {
                    leader_append_only::installed(&self.ledger, id, state, meta)?;
                    state_machine_safety::installed(&mut self.ledger, id, meta)?;
                }
                _ => {}
            }
        }
        if state.role == Role::Leader {
            leader_completeness::led(&mut self.ledger, id, state.term)?;
            self.matches.counted(id, state.term, raft.progress())?;
        }
        self.commits.committed(&mut self.ledger, id, raft, disks)?;
        self.proposals.committed(&self.ledger)?;
        configuration_follows_log::stepped(&self.ledger, id, raft)?;
        for output in outputs {
            if let Output::Send { message, to } = output {
                self.votes.sent(id, *to, message, disks)?;
                self.matches.sent(&self.ledger, id, message, disks)?;
                append_is_of_the_log::sent(&self.ledger, id, message)?;
            }
        }
        if state.role == Role::Leader {
            self.votes.led(id, state.term)?;
        }
        self.ledger.seen(id, raft);
        Ok(())
    }

    /// Checks a member's disk after its durable content changed.
    ///
    /// # Errors
    /// Returns the invariant that the content violates.
    pub fn synced(&mut self, disk: &Disk) -> Checked {
        self.votes.durable(disk.owner, disk.durable().hard_state)
    }

    /// Checks the state machine of a member after it applied an entry; `hash` is the hash of the resulting state.
    ///
    /// # Errors
    /// Returns the invariant that the result violates.
    pub fn applied(&mut self, id: MemberId, entry: &Entry, hash: u64) -> Checked {
        self.machines.applied(&self.ledger, id, entry, hash)
    }

    /// Number of committed entries.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.ledger.committed()
    }
}
