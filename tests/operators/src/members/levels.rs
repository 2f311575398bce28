//! Feature levels of simulated members, and members that repair their disks. A raise is a command in the log: a program
//! that supports less does not start on a log with it, and ends when it applies it. Owns both, and the leader's rule
//! for a raise. Does not own which image supports which level (`controllers.rs`).

use std::time::Duration;

use bytes::Bytes;
use plan::action::Change;
use plan::ids::MemberId;
use plan::observed::refusal::RefusalReason;
use raft::{Entry, Payload, ProposalId};

use crate::members::{CallError, Members, Process};

/// First bytes of the command that raises the level. Client writes have other lengths.
const RAISE: &[u8] = b"level";

/// The command that raises the level.
fn raise(to: u32) -> Payload {
    Payload::Normal(Bytes::from([RAISE, &to.to_be_bytes()].concat()))
}

/// The level to which an entry raises the level; `None` for every other entry.
pub(super) fn raised(entry: &Entry) -> Option<u32> {
    let Payload::Normal(bytes) = &entry.payload else { return None };
    let level = bytes.strip_prefix(RAISE)?;
    level.try_into().ok().map(u32::from_be_bytes)
}

impl Process {
    /// Applies the raises among these entries. The program ends if it does not support one.
    pub(super) fn apply_levels(&mut self, entries: &[Entry]) {
        let raised = entries.iter().filter_map(raised).max().unwrap_or(1);
        self.level = self.level.max(raised);
        if self.level > self.supports {
            (self.core, self.is_too_old) = (None, true);
        }
    }
}

impl Members {
    /// Raises the level, if this pod's member leads and every member of the configuration supports it.
    ///
    /// # Errors
    /// Returns the refusal. Nothing was proposed.
    pub(super) fn raise_level(&mut self, pod: &str, to: u32) -> Result<(), CallError> {
        let refused = |reason| Err(CallError::Refused(reason));
        let clock = self.clock();
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod)).ok_or(CallError::Unreachable)?;
        let Some(core) = process.core.as_ref() else { return refused(RefusalReason::NotServing) };
        if core.soft_state().role != raft::Role::Leader {
            return refused(RefusalReason::NotLeader);
        }
        if to <= process.level {
            return Ok(());
        }
        let log = &self.volumes[&process.volume].disk.durable().log;
        let committed = log.iter().find(|entry| entry.id.index == core.commit());
        if committed.is_none_or(|entry| entry.id.term != core.soft_state().term) {
            return refused(RefusalReason::TermNotCommitted);
        }
        let is_pending = |entry: &&Entry| entry.id.index > process.applied && raised(entry).is_some();
        if log.iter().any(|entry| is_pending(&entry)) {
            return refused(RefusalReason::InFlight);
        }
        let own = self.volumes[&process.volume].id;
        let (in_force, _) = core.configuration();
        let progress = core.progress();
        let everyone = [&in_force.voters, &in_force.outgoing, &in_force.learners, &in_force.learners_next];
        let held = everyone.into_iter().flatten().filter(|id| id.0 != own.0).any(|id| {
            let is_active = progress.iter().any(|(who, about)| who == id && about.active);
            !is_active || self.supports(MemberId(id.0)).is_none_or(|supports| supports < to)
        });
        if held || process.supports < to {
            return refused(RefusalReason::LevelHeld);
        }
        self.raises += 1;
        let id = ProposalId(u64::MAX - self.raises);
        let core = self.processes.get_mut(pod).and_then(|process| process.core.as_mut()).expect("it leads");
        // A refused proposal needs no check, because the operator sees that the level has not risen, and asks again.
        let _ = core.propose(clock, vec![(id, raise(to))]);
        self.carry_out(pod);
        Ok(())
    }

    /// Returns whether a change adds a member whose program does not support the level of this pod's member.
    pub(super) fn adds_too_old(&self, pod: &str, change: &Change) -> bool {
        let Some(process) = self.processes.get(pod) else { return false };
        let Some(core) = process.core.as_ref() else { return false };
        let (in_force, _) = core.configuration();
        let is_new = |id: &&MemberId| !in_force.members.contains_key(&raft::MemberId(id.0));
        let mut newcomers = change.voters.iter().chain(&change.learners).filter(is_new);
        newcomers.any(|id| self.supports(*id).is_some_and(|supports| supports < process.level))
    }

    /// The highest level that the running program of a member supports; `None` if none can be reached.
    fn supports(&self, id: MemberId) -> Option<u32> {
        let found = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod) && self.volumes.get(&process.volume).is_some_and(|volume| volume.id == id)
        });
        found.map(|(_, process)| process.supports)
    }

    /// The highest level that any member applied.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.applied.values().filter_map(raised).max().unwrap_or(1)
    }

    /// Returns whether the program on the disk of a claim is too old for it.
    #[must_use]
    pub fn is_too_old(&self, claim: &str) -> bool {
        self.processes.values().any(|process| process.volume == claim && process.is_too_old)
    }

    /// Restarts the process on the disk of a claim with a program that supports only the first level, or with that of
    /// its pod's image again.
    pub fn set_outdated(&mut self, claim: &str, is_outdated: bool) {
        if is_outdated {
            self.outdated.insert(claim.to_owned());
        } else {
            self.outdated.remove(claim);
        }
        self.processes.retain(|_, process| process.volume != claim);
    }

    /// Returns whether the process on the disk of a claim supports only the first level, whatever its image is.
    #[must_use]
    pub fn is_outdated(&self, claim: &str) -> bool {
        self.outdated.contains(claim)
    }

    /// Restarts every process whose program is older than its image.
    pub fn renew_programs(&mut self) {
        for claim in std::mem::take(&mut self.outdated) {
            self.set_outdated(&claim, false);
        }
    }

    /// Lets a pod's member repair its disk for a while. It serves nothing, and the repair makes progress.
    pub fn repair(&mut self, pod: &str, time: Duration) {
        let until = self.now + time;
        if let Some(process) = self.processes.get_mut(pod).filter(|process| process.core.is_some()) {
            (process.core, process.repairs_until) = (None, Some(until));
        }
    }

    /// Ends a repair whose time has passed. The member serves again.
    pub(super) fn continue_repair(&mut self, pod: &str) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(pod) else { return };
        if process.repairs_until.is_some_and(|until| until <= now) {
            process.repairs_until = None;
            self.start_core(pod);
        }
    }
}
