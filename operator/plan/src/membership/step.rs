//! The next actions of a membership plan, each safe by itself: create, announce, join, change, delete. What is wanted is
//! decided in `plan`, whether a change may be asked for in `safety`.

use crds::Reason;
use crds::raft_cluster::{Blocker, PlanStatus, PlanStep, StepState};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::action::{Action, Change};
use crate::decision::{Decision, Note, shortened};
use crate::desired::stateful_set::Origin;
use crate::identity::Record;
use crate::ids::MemberId;
use crate::membership::ordinals;
use crate::membership::plan::{Leaving, MembershipPlan, Target};
use crate::membership::safety::{self, Hazard};
use crate::membership::wanted::Wanted;
use crate::names::{Ordinal, Role};
use crate::observed::member::{Configuration, Phase};
use crate::observed::{Linearizable, Observed, Seen, volume_goes_with};
use crate::roster::{Roster, Seat, Standing};
use crate::troubles;
use crate::validated::{ValidatedCluster, info};

/// What is decided about membership while there is a leader to ask.
#[derive(Clone, Debug)]
pub(crate) struct Stepped {
    /// Actions and what to tell.
    pub(crate) decision: Decision,
    /// The electorate after the change that is asked for now, for the disruption budget.
    pub(crate) voters_next: usize,
    /// Newcomers that nobody needs.
    pub(crate) surplus: Vec<Ordinal>,
}

/// Everything that one step rests on.
struct View<'v> {
    valid: &'v ValidatedCluster<'v>,
    observed: &'v Observed,
    roster: &'v Roster<'v>,
    record: &'v Record,
    read: &'v Linearizable,
}

/// The next actions.
pub(crate) fn next(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    record: &Record,
    read: &Linearizable,
) -> Stepped {
    let view = View { valid, observed, roster, record, read };
    let configuration = &read.configuration;
    let mut decision = Decision { actions: view.bring_back(), ..Decision::default() };
    if configuration.is_joint() {
        let hazard = Hazard::InFlight { index: configuration.index };
        decision.activity = Some(finishing(configuration));
        decision.blocked = Some(hazard.note());
        decision.membership = Some(view.status(&Target::of(configuration), Vec::new(), decision.blocked.as_ref()));
        decision.actions.extend(view.remove(&[]));
        return Stepped { decision, voters_next: configuration.voters.len(), surplus: Vec::new() };
    }
    let wanted = Wanted { voters: valid.voters, learners: valid.learners, replacements_max: valid.replacements_max };
    let plan = MembershipPlan::of(wanted, configuration, roster, record.cluster);
    decision.actions.extend(view.create(&plan));
    decision.actions.extend(view.admit(&plan));
    let voters_next = view.change(&plan, &mut decision);
    decision.actions.extend(view.remove(&plan.surplus));
    view.tell(&plan, &mut decision);
    Stepped { decision, voters_next, surplus: plan.surplus }
}

/// A volume that belongs to a StatefulSet which is gone is collected: whoever came back to it would wait for it for ever.
fn stays(volume: &PersistentVolumeClaim) -> bool {
    let mut owners = volume.metadata.owner_references.iter().flatten();
    volume.metadata.deletion_timestamp.is_none() && !owners.any(|owner| owner.kind == "StatefulSet")
}

impl View<'_> {
    fn configuration(&self) -> &Configuration {
        &self.read.configuration
    }

    /// Members whose StatefulSet somebody deleted come back to their volumes: those in the configuration to serve, the
    /// others so that they leave in the ordinary way, their volumes with them.
    fn bring_back(&self) -> Vec<Action> {
        let missing =
            self.roster.seats.values().filter(|seat| seat.set.is_none() && seat.standing != Standing::Removed);
        missing.filter_map(|seat| self.bring_back_one(seat)).collect()
    }

    fn bring_back_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let volume = seat.volume.filter(|volume| stays(volume))?;
        // An earlier cluster of this name left it: nobody but a person touches it.
        if seat.holds_data_of_another(self.record.cluster) {
            return None;
        }
        let configured = seat.id.filter(|id| self.configuration().contains(*id));
        if configured.is_none() && !self.valid.removed_volumes_go() {
            return None;
        }
        let origin = match seat.id {
            Some(id) => Origin::Announced(id),
            None => Origin::OfVolume(volume.metadata.uid.as_deref()?),
        };
        let role = configured.map_or(Role::Learner, |id| self.configuration().role(id));
        let store = self.record.origin.store();
        Some(ordinals::create_set(self.valid, seat.ordinal, role, origin, store))
    }

    fn create(&self, plan: &MembershipPlan) -> Vec<Action> {
        let store = self.record.origin.store();
        let roles = vec![Role::Learner; plan.create];
        ordinals::create(self.valid, self.observed, self.roster, store, &roles)
    }

    /// Newcomers: their ID is announced, then they are told which cluster to wait for. So are learners that came into the
    /// configuration only to leave it again, before they were told, and are wanted after all.
    fn admit(&self, plan: &MembershipPlan) -> Vec<Action> {
        let newcomers = plan.candidates.iter().filter_map(|ordinal| self.roster.seats.get(ordinal));
        let untold = self.roster.seats.values().filter(|seat| {
            let learns = |id| plan.keep.contains(&id) && !self.configuration().is_voter(id);
            seat.standing == Standing::Blank && seat.id.is_some_and(learns)
        });
        let told = newcomers.chain(untold).filter_map(|seat| self.admit_one(seat));
        told.chain(self.roster.seats.values().filter_map(|seat| self.name_again(seat))).collect()
    }

    /// A member of this cluster whose announcement went with its StatefulSet, before its volume was labelled: with its ID it
    /// can serve, or leave in the ordinary way.
    fn name_again(&self, seat: &Seat<'_>) -> Option<Action> {
        let report = seat.report.filter(|report| matches!(report.phase, Phase::Member | Phase::Removed))?;
        let id = report.id.filter(|_| seat.id.is_none() && report.cluster == Some(self.record.cluster))?;
        let is_free = self.roster.by_id(id).is_none() && !self.configuration().contains(id);
        let set = seat.set.filter(|set| is_free && set.metadata.deletion_timestamp.is_none())?;
        Some(Action::Announce { set: Seen::of(&set.metadata), id })
    }

    fn admit_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let blank = seat.blank_id()?;
        match seat.id {
            None => Some(Action::Announce { set: Seen::of(&seat.set?.metadata), id: blank }),
            Some(id) if id == blank => Some(Action::Join {
                member: seat.ordinal,
                cluster: self.record.cluster,
                token: self.record.token.clone(),
                id,
                info: info(self.valid, seat.ordinal),
            }),
            Some(_) => None,
        }
    }

    /// Asks for the target if it differs and is safe. Returns the size of the electorate to be.
    fn change(&self, plan: &MembershipPlan, decision: &mut Decision) -> usize {
        let configuration = self.configuration();
        if plan.target == Target::of(configuration) {
            return configuration.voters.len();
        }
        match safety::check(configuration, &plan.target, self.roster) {
            Ok(()) => decision
                .actions
                .push(Action::ChangeMembership { leader: self.read.leader, change: self.change_to(&plan.target) }),
            Err(hazard) => {
                if let Hazard::LeaderLeaves { heir_id, .. } = hazard {
                    let action = Action::TransferLeadership { leader: self.read.leader, target: heir_id };
                    decision.actions.push(action);
                }
                decision.blocked = Some(hazard.note());
            }
        }
        plan.target.voters.len()
    }

    fn change_to(&self, target: &Target) -> Change {
        let everyone = target.voters.iter().chain(&target.learners);
        let members = everyone.filter_map(|id| {
            let replicated = self.configuration().members.get(id).cloned();
            let known = || self.roster.by_id(*id).map(|seat| info(self.valid, seat.ordinal));
            Some((*id, replicated.or_else(known)?))
        });
        Change {
            expected: self.configuration().index,
            voters: target.voters.iter().copied().collect(),
            learners: target.learners.iter().copied().collect(),
            members: members.collect(),
        }
    }

    /// Deletes what removed members left, and newcomers that nobody needs and nobody can have admitted.
    fn remove(&self, surplus: &[Ordinal]) -> Vec<Action> {
        let removed = self.roster.seats.values().filter(|seat| seat.standing == Standing::Removed);
        let needless = surplus.iter().filter_map(|ordinal| self.roster.seats.get(ordinal));
        let needless = needless.filter(|seat| seat.is_needless());
        removed.chain(needless).filter_map(|seat| self.remove_one(seat)).collect()
    }

    /// The StatefulSet goes when its volume is sure to share its fate: the volume's owner is set by Kubernetes, a moment
    /// after the policy that asks for it.
    fn remove_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let set = seat.set?;
        if set.metadata.deletion_timestamp.is_some() || !self.is_volume_fate_settled(seat) {
            return None;
        }
        Some(Action::DeleteSet { set: Seen::of(&set.metadata) })
    }

    fn is_volume_fate_settled(&self, seat: &Seat<'_>) -> bool {
        let (Some(set), Some(volume)) = (seat.set, seat.volume) else { return true };
        let owners = volume.metadata.owner_references.iter().flatten();
        let owned = owners.into_iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
        let goes = seat.removed_volume_goes(self.valid, self.record.cluster);
        goes == volume_goes_with(set) && goes == owned
    }

    fn tell(&self, plan: &MembershipPlan, decision: &mut Decision) {
        let done = plan.target == Target::of(self.configuration())
            && plan.leaving.is_empty()
            && plan.candidates.is_empty()
            && plan.create == 0
            && plan.behind.is_empty()
            && self.counts_hold();
        if done {
            return;
        }
        decision.activity = Some(activity(plan, self.roster));
        // A refusal is remembered until a change succeeds: it says nothing while none is asked for.
        let asks = plan.target != Target::of(self.configuration());
        let refused = || if asks { self.refused() } else { None };
        let waits = decision.blocked.take().or_else(refused).or_else(|| self.waits_for(plan));
        let steps = self.steps(plan);
        decision.membership = Some(self.status(&self.finally(plan), steps, waits.as_ref()));
        decision.blocked = waits;
    }

    fn counts_hold(&self) -> bool {
        let configuration = self.configuration();
        configuration.voters.len() == self.valid.voters && configuration.learners.len() == self.valid.learners
    }

    /// What the leader itself refused last.
    fn refused(&self) -> Option<Note> {
        let refusal = self.observed.refusal.as_ref()?;
        let reason = match refusal.name.as_deref() {
            Some("LearnerBehind") => Reason::LearnerBehind,
            Some("QuorumAtRisk") => Reason::UnsafeChange,
            _ => Reason::ChangeInFlight,
        };
        Some(Note::new(reason, refusal.message.clone()))
    }

    /// Whom the next step waits for.
    fn waits_for(&self, plan: &MembershipPlan) -> Option<Note> {
        let seat = plan.behind.iter().filter_map(|ordinal| self.roster.seats.get(ordinal)).next()?;
        if let Some(trouble) = troubles::of(seat) {
            return Some(Note::new(trouble.reason, format!("{}: {}", seat.name, trouble.message)));
        }
        let is_member = seat.id.is_some_and(|id| self.configuration().contains(id));
        Some(if is_member {
            Note::new(Reason::LearnerBehind, format!("{} catches up with the leader", seat.name))
        } else {
            Note::new(Reason::MembersNotReady, format!("{} starts", seat.name))
        })
    }

    /// Who votes and who follows in the end: the target, with newcomers given the votes that are still missing.
    fn finally(&self, plan: &MembershipPlan) -> Target {
        let mut end = Target { voters: plan.target.voters.clone(), learners: plan.target.learners.clone() };
        end.voters.retain(|id| plan.keep.contains(id));
        end.learners.retain(|id| plan.keep.contains(id));
        let newcomers = plan.candidates.iter().filter_map(|ordinal| self.roster.seats.get(ordinal)?.id);
        end.learners.extend(newcomers);
        let mut waiting: Vec<MemberId> = end.learners.iter().copied().collect();
        waiting.sort_by_key(|id| self.roster.by_id(*id).map(|seat| seat.ordinal));
        for id in waiting {
            if end.voters.len() < self.valid.voters {
                end.learners.remove(&id);
                end.voters.insert(id);
            }
        }
        end
    }

    fn steps(&self, plan: &MembershipPlan) -> Vec<PlanStep> {
        let configuration = self.configuration();
        let mut steps = Vec::new();
        let mut step = |action: String, state| steps.push(PlanStep { action, state: Some(state) });
        if plan.create > 0 {
            step(format!("create {} members", plan.create), StepState::Active);
        }
        for seat in plan.candidates.iter().filter_map(|ordinal| self.roster.seats.get(ordinal)) {
            step(format!("add learner {}", seat.name), StepState::Active);
        }
        let end = self.finally(plan);
        for id in end.voters.difference(&configuration.voters) {
            let state = if configuration.learners.contains(id) { StepState::Active } else { StepState::Pending };
            step(format!("give {} a vote", self.roster.name(*id)), state);
        }
        let names = plan.leaving.keys().map(|id| self.roster.name(*id));
        for name in names {
            step(format!("remove {name}"), StepState::Pending);
        }
        steps.truncate(64);
        steps
    }

    fn status(&self, end: &Target, steps: Vec<PlanStep>, waits: Option<&Note>) -> PlanStatus {
        let names = |ids: &std::collections::BTreeSet<MemberId>| {
            let mut seats: Vec<_> =
                ids.iter().map(|id| (self.roster.by_id(*id).map(|seat| seat.ordinal), self.roster.name(*id))).collect();
            seats.sort();
            seats.into_iter().map(|(_, name)| name).collect()
        };
        PlanStatus {
            target_voters: names(&end.voters),
            target_learners: names(&end.learners),
            steps,
            blocked_by: waits
                .map(|note| Blocker { reason: note.reason.as_str().to_owned(), message: shortened(&note.message) }),
        }
    }
}

fn activity(plan: &MembershipPlan, roster: &Roster<'_>) -> Note {
    let of = |why: Leaving| {
        let mut names: Vec<String> =
            plan.leaving.iter().filter(|(_, leaving)| **leaving == why).map(|(id, _)| roster.name(*id)).collect();
        names.sort();
        names.join(", ")
    };
    let (replaced, excess) = (of(Leaving::Replaced), of(Leaving::Excess));
    if !replaced.is_empty() {
        Note::new(Reason::ReplacingMember, format!("replaces {replaced}"))
    } else if !excess.is_empty() || !plan.surplus.is_empty() {
        Note::new(
            Reason::ScalingDown,
            if excess.is_empty() { "removes members".to_owned() } else { format!("removes {excess}") },
        )
    } else {
        Note::new(Reason::ScalingUp, "adds members")
    }
}

/// What a joint configuration is about.
fn finishing(configuration: &Configuration) -> Note {
    let comes = configuration.voters.difference(&configuration.outgoing).next().is_some();
    let goes = configuration.outgoing.difference(&configuration.voters).next().is_some();
    let reason = match (comes, goes) {
        (true, true) => Reason::ReplacingMember,
        (false, true) => Reason::ScalingDown,
        (_, false) => Reason::ScalingUp,
    };
    Note::new(reason, "a change of membership is being finished")
}
