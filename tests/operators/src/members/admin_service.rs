//! A member's admin service: status, bootstrap, restore, join, membership change and leadership transfer, with the
//! planner's plain types. Owns the answers and refusals. Does not own the decisions of a core.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plan::action::Change;
use plan::ids::{ClusterId, MemberId};
use plan::observed::failure::FailureCause;
use plan::observed::member::{Configuration, MemberInfo, MemberPhase, RepairProgress, Report, RestoreProgress};
use plan::observed::refusal::RefusalReason;
use raft::{Index, Payload, ProposalId, SnapshotMeta};

use crate::members::plain_types::{plain, progress, raft_info, refusal, role};
use crate::members::{CallError, Members, Restoring, fresh_disk};

/// Duration of an attempt to restore.
const RESTORE_DURATION: Duration = Duration::from_millis(700);
/// Minimum time between a failed attempt and the next one.
const RESTORE_PAUSE: Duration = Duration::from_secs(1);

impl Members {
    /// Returns the report of the pod's member.
    ///
    /// # Errors
    /// Returns an error if the member cannot be reached.
    pub(super) fn describe(&self, pod: &str) -> Result<Report, CallError> {
        self.describe_whole(pod).ok_or(CallError::Unreachable)
    }

    /// Returns the token that the pod's member stores; `None` if the member is blank or cannot be reached.
    pub(super) fn token_of(&self, pod: &str) -> Option<&str> {
        let process = self.processes.get(pod)?;
        let volume = self.volumes.get(&process.volume)?;
        let restoring = process.restoring.as_ref().map(|restoring| restoring.token.as_str());
        restoring.or(volume.token.as_deref())
    }

    fn describe_whole(&self, pod: &str) -> Option<Report> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod))?;
        let volume = self.volumes.get(&process.volume)?;
        let durable = volume.disk.durable();
        let phase = match (volume.tombstone, volume.cluster) {
            (true, _) => MemberPhase::Removed,
            (false, Some(_)) if process.is_too_old => MemberPhase::TooNew,
            (false, Some(_)) if process.repairs_until.is_some() => MemberPhase::Repairing,
            (false, Some(_)) => MemberPhase::Member,
            (false, None) => MemberPhase::Blank,
        };
        let repair = process.repairs_until.map(|_| RepairProgress::default());
        let mut report = Report {
            id: Some(volume.id),
            cluster: volume.cluster,
            term: durable.hard_state.term.0,
            last: durable.log.back().map_or(0, |entry| entry.id.index.0),
            version: "simulated".to_owned(),
            level: process.level,
            supports: process.supports,
            repair,
            ..Report::of_phase(phase)
        };
        if let Some(restoring) = &process.restoring {
            report.phase = MemberPhase::Restoring;
            report.cluster = Some(restoring.cluster);
            let cause = restoring.failed.then_some(FailureCause::StoreUnreachable);
            report.error = restoring.failed.then(|| "the object store is not reachable".to_owned());
            report.restore = Some(RestoreProgress { cause, ..RestoreProgress::default() });
        }
        if let Some(core) = &process.core {
            let state = core.soft_state();
            report.role = role(state.role);
            report.leader = state.leader.map(|id| MemberId(id.0));
            report.commit = core.commit().0;
            let (configuration, index) = core.configuration();
            report.configuration = Some(plain(configuration, index));
            report.progress =
                core.progress().into_iter().map(|(id, about)| (MemberId(id.0), progress(about))).collect();
        }
        Some(report)
    }

    /// Bootstraps a member whose ID is among `voters`. If its volume is blank, the volume becomes part of the cluster,
    /// and the member starts. If the volume already belongs to this cluster, the call changes nothing.
    ///
    /// # Errors
    /// Returns an error if the member cannot be reached, if its ID is not among `voters`, or if it belongs to another
    /// cluster. Nothing was changed.
    pub fn bootstrap(
        &mut self,
        pod: &str,
        (cluster, token): (ClusterId, &str),
        voters: &[(MemberId, MemberInfo)],
    ) -> Result<(), CallError> {
        let configuration = raft::Configuration {
            voters: voters.iter().map(|(id, _)| raft::MemberId(id.0)).collect(),
            members: voters.iter().map(|(id, info)| (raft::MemberId(id.0), raft_info(info))).collect(),
            ..raft::Configuration::default()
        };
        let named: BTreeSet<MemberId> = voters.iter().map(|(id, _)| *id).collect();
        let first = SnapshotMeta { configuration: Arc::new(configuration), ..SnapshotMeta::default() };
        self.adopt(pod, (cluster, token), first, |id| named.contains(&id))
    }

    /// Begins a restore. A member with a blank volume accepts the call, also while the same restore runs.
    /// `continue_restore` ends the attempt.
    ///
    /// # Errors
    /// Returns the refusal if the member has another ID or belongs to another cluster. Nothing was changed.
    pub fn restore(
        &mut self,
        pod: &str,
        (cluster, token): (ClusterId, &str),
        expected: MemberId,
        info: &MemberInfo,
    ) -> Result<(), CallError> {
        let until = self.now + RESTORE_DURATION;
        let process = self.processes.get_mut(pod).filter(|_| !self.lost.contains(pod)).ok_or(CallError::Unreachable)?;
        let volume = self.volumes.get(&process.volume).expect("a process has a volume");
        if volume.id != expected {
            return Err(CallError::Refused(RefusalReason::Other));
        }
        match (volume.cluster, &process.restoring) {
            (Some(held), _) if held == cluster => return Ok(()),
            (None, Some(former)) if former.cluster == cluster && (!former.failed || self.now < former.until) => {
                return Ok(());
            }
            (Some(_), _) => return Err(CallError::Refused(RefusalReason::Other)),
            (None, Some(former)) if former.cluster != cluster => return Err(CallError::Refused(RefusalReason::Other)),
            (None, _) => {}
        }
        let (token, info) = (token.to_owned(), info.clone());
        process.restoring = Some(Restoring { cluster, token, id: expected, info, until, failed: false });
        self.attempts += 1;
        Ok(())
    }

    /// Ends an attempt to restore if its duration has passed. The attempt fails if the backup cannot be read.
    pub(super) fn continue_restore(&mut self, pod: &str) {
        let Some(process) = self.processes.get_mut(pod) else { return };
        let Some(restoring) = process.restoring.as_mut().filter(|it| !it.failed && it.until <= self.now) else {
            return;
        };
        if self.store_is_broken {
            restoring.failed = true;
            restoring.until = self.now + RESTORE_PAUSE;
            return;
        }
        let Restoring { cluster, token, id, info, .. } = restoring.clone();
        process.restoring = None;
        let configuration = raft::Configuration {
            voters: [raft::MemberId(id.0)].into(),
            members: [(raft::MemberId(id.0), raft_info(&info))].into(),
            ..raft::Configuration::default()
        };
        let first = SnapshotMeta { configuration: Arc::new(configuration), ..SnapshotMeta::default() };
        // `adopt` refuses here only if the machine is lost. The restore then has no visible effect.
        let _ = self.adopt(pod, (cluster, &token), first, |own| own == id);
    }

    /// Makes a blank member wait for the leader of `cluster`, which is at this feature level.
    ///
    /// # Errors
    /// Returns the refusal if the member has another ID, belongs to another cluster, or does not support the level.
    /// Nothing was changed.
    pub fn join(
        &mut self,
        pod: &str,
        (cluster, token): (ClusterId, &str),
        expected: MemberId,
        level: u32,
    ) -> Result<(), CallError> {
        if self.processes.get(pod).is_some_and(|process| process.supports < level) {
            return Err(CallError::Refused(RefusalReason::TooOld));
        }
        self.adopt(pod, (cluster, token), SnapshotMeta::default(), |id| id == expected)
    }

    fn adopt(
        &mut self,
        pod: &str,
        (cluster, token): (ClusterId, &str),
        first: SnapshotMeta,
        is_expected: impl Fn(MemberId) -> bool,
    ) -> Result<(), CallError> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod)).ok_or(CallError::Unreachable)?;
        let volume = self.volumes.get_mut(&process.volume).expect("a process has a volume");
        if !is_expected(volume.id) {
            return Err(CallError::Refused(RefusalReason::Other));
        }
        match volume.cluster {
            Some(held) if held == cluster => Ok(()),
            Some(_) => Err(CallError::Refused(RefusalReason::Other)),
            None => {
                volume.cluster = Some(cluster);
                volume.token = Some(token.to_owned());
                volume.disk = fresh_disk(volume.id, first);
                self.start_core(pod);
                Ok(())
            }
        }
    }

    /// Returns the committed configuration if this pod's member can prove that it leads at this moment.
    #[must_use]
    pub fn configuration(&self, pod: &str) -> Option<Configuration> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod))?;
        let core = process.core.as_ref()?;
        let term = core.soft_state().term;
        let leads = core.soft_state().role == raft::Role::Leader;
        let volume = self.volumes.get(&process.volume)?;
        let commit = volume.disk.durable().log.iter().find(|entry| entry.id.index == core.commit());
        let current = commit.is_some_and(|entry| entry.id.term == term);
        let (in_force, _) = core.configuration();
        let supported =
            [&in_force.voters, &in_force.outgoing].into_iter().filter(|half| !half.is_empty()).all(|half| {
                let supporters =
                    half.iter().filter(|id| self.term_of(MemberId(id.0)).is_some_and(|at| at <= term.0)).count();
                supporters > half.len() / 2
            });
        let (configuration, index) = core.committed_configuration();
        (leads && current && supported).then(|| plain(configuration, index))
    }

    fn term_of(&self, id: MemberId) -> Option<u64> {
        let (_, process) = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod) && self.volumes.get(&process.volume).is_some_and(|volume| volume.id == id)
        })?;
        process.core.as_ref().map(|core| core.soft_state().term.0)
    }

    /// Proposes a membership change to this pod's member.
    ///
    /// # Errors
    /// Returns the core's refusal. Nothing was appended to the log.
    pub fn change(&mut self, pod: &str, change: &Change) -> Result<(), CallError> {
        let clock = self.clock();
        let ids = |ids: &[MemberId]| ids.iter().map(|id| raft::MemberId(id.0)).collect();
        let requested = raft::Change {
            expected: Index(change.expected),
            voters: ids(&change.voters),
            learners: ids(&change.learners),
            members: change.members.iter().map(|(id, info)| (raft::MemberId(id.0), raft_info(info))).collect(),
        };
        let (lost, is_too_old) = (self.lost.contains(pod), self.adds_too_old(pod, change));
        let process = self.processes.get_mut(pod).filter(|_| !lost).ok_or(CallError::Unreachable)?;
        let core = process.core.as_mut().ok_or(CallError::Refused(RefusalReason::NotServing))?;
        if is_too_old {
            return Err(CallError::Refused(RefusalReason::TooOld));
        }
        let outcome = core.change(clock, requested);
        self.carry_out(pod);
        outcome.map(|_| ()).map_err(|error| CallError::Refused(refusal(&error)))
    }

    /// Starts a leadership transfer at this pod's member.
    ///
    /// # Errors
    /// Returns the core's refusal. No transfer was started.
    pub fn transfer(&mut self, pod: &str, target: MemberId) -> Result<(), CallError> {
        let clock = self.clock();
        let lost = self.lost.contains(pod);
        let process = self.processes.get_mut(pod).filter(|_| !lost).ok_or(CallError::Unreachable)?;
        let core = process.core.as_mut().ok_or(CallError::Refused(RefusalReason::NotServing))?;
        let outcome = core.transfer(clock, Some(raft::MemberId(target.0)));
        self.carry_out(pod);
        outcome.map(|_| ()).map_err(|_| CallError::Refused(RefusalReason::Other))
    }

    /// Proposes a client's write to the leader. Does nothing if there is no leader.
    pub fn write(&mut self, number: u64) {
        let clock = self.clock();
        let leader = self.processes.iter().find(|(_, process)| {
            process.core.as_ref().is_some_and(|core| core.soft_state().role == raft::Role::Leader)
        });
        let Some(pod) = leader.map(|(pod, _)| pod.clone()) else { return };
        if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut()) {
            let payload = Payload::Normal(Bytes::copy_from_slice(&number.to_be_bytes()));
            // A refused proposal needs no check, because the write was not made and no client received an answer.
            let _ = core.propose(clock, vec![(ProposalId(number), payload)]);
        }
        self.carry_out(&pod);
    }
}
