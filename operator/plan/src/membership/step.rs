//! The next actions of a membership plan, each safe by itself: create, announce, join, change, delete. Does not own
//! which members are wanted (`plan.rs`), nor whether a change may be requested (`safety.rs`).

use crds::Reason;
use crds::raft_cluster::{Blocker, PlanStatus, PlanStep, StepState};

use crate::action::{Action, Change, MemberAction, ObjectAction};
use crate::decision::{Decision, Note, shortened};
use crate::desired::stateful_set::SetOrigin;
use crate::identity::ClusterIdentity;
use crate::ids::MemberId;
use crate::membership::moving::Moving;
use crate::membership::ordinals;
use crate::membership::plan::{Leaving, MembershipPlan, Target};
use crate::membership::safety::{self, Hazard};
use crate::membership::wanted::Wanted;
use crate::names::{self, Ordinal, Role};
use crate::observed::member::{Configuration, MemberPhase};
use crate::observed::refusal::RefusalReason;
use crate::observed::{Linearizable, Observed, Seen, annotation, volume_goes_with};
use crate::roster::{Health, Roster, Seat, is_going, is_of_removed, stays};
use crate::troubles;
use crate::validated::{ValidatedCluster, info};
use crate::volume::never_fits;

/// The decision about membership when a leader has confirmed the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Stepped {
    /// The actions, and what is reported about them.
    pub(crate) decision: Decision,
    /// Number of voters after the change that is requested now, for the disruption budget.
    pub(crate) voters_next: usize,
    /// New members that are not needed.
    pub(crate) surplus: Vec<Ordinal>,
    /// What is reported about members that are to move, if nothing else is in progress.
    pub(crate) waiting: Decision,
}

/// Maximum number of steps in the status; the schema sets the limit.
const STEPS_MAX: usize = 64;

/// Everything on which a step depends.
struct View<'v> {
    valid: &'v ValidatedCluster<'v>,
    observed: &'v Observed,
    roster: &'v Roster<'v>,
    identity: &'v ClusterIdentity,
    read: &'v Linearizable,
}

/// The next actions that bring the membership closer to the desired one.
pub(crate) fn next(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    identity: &ClusterIdentity,
    read: &Linearizable,
) -> Stepped {
    let view = View { valid, observed, roster, identity, read };
    let configuration = &read.configuration;
    let mut decision = Decision { actions: view.bring_back(), ..Decision::default() };
    if configuration.is_joint() {
        let hazard = Hazard::InFlight { index: configuration.index };
        decision.activity = Some(finishing(configuration));
        decision.blocked = Some(hazard.note());
        decision.membership = Some(view.status(&Target::of(configuration), Vec::new(), decision.blocked.as_ref()));
        decision.actions.extend(view.remove(&[]));
        let (voters_next, waiting) = (configuration.voters.len(), Decision::default());
        return Stepped { decision, voters_next, surplus: Vec::new(), waiting };
    }
    let moving = Moving::of(valid, configuration, roster, identity.origin.store());
    let wanted = Wanted {
        voters: valid.voters,
        learners: valid.learners,
        replacements_max: valid.replacements_max,
        moved: moving.now,
    };
    let plan = MembershipPlan::of(wanted, configuration, roster, identity.cluster);
    decision.actions.extend(view.create(&plan));
    decision.actions.extend(view.admit(&plan));
    let voters_next = view.change(&plan, &mut decision);
    let leaves = |ordinal: &Ordinal| !plan.candidates.contains(ordinal);
    debug_assert!(plan.surplus.iter().all(leaves), "a newcomer is added or not needed");
    decision.actions.extend(view.remove(&plan.surplus));
    view.report(&plan, &moving, &mut decision);
    Stepped { decision, voters_next, surplus: plan.surplus, waiting: moving.waiting() }
}

impl View<'_> {
    fn configuration(&self) -> &Configuration {
        &self.read.configuration
    }

    /// Recreates StatefulSets that a person deleted, for members whose volume exists. Members in the configuration
    /// then serve again; the others leave in the ordinary way, with their volumes.
    fn bring_back(&self) -> Vec<Action> {
        let missing = self.roster.seats.values().filter(|seat| seat.set.is_none() && seat.health != Health::Removed);
        missing.filter_map(|seat| self.bring_back_one(seat)).collect()
    }

    fn bring_back_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let volume = seat.volume.filter(|volume| stays(volume) && !is_of_removed(volume))?;
        // An earlier cluster of this name left the volume, therefore only a person may use or delete it.
        if seat.holds_data_of_another(self.identity.cluster) {
            return None;
        }
        let configured = seat.id.filter(|id| self.configuration().contains(*id));
        if seat.id.is_none() && never_fits(self.valid, volume) {
            return None;
        }
        if configured.is_none() && !self.valid.removed_volumes_go() {
            return None;
        }
        let origin = match seat.id {
            Some(id) => SetOrigin::Announced(id),
            None => SetOrigin::OfVolume(volume.metadata.uid.as_deref()?),
        };
        let role = configured.map_or(Role::Learner, |id| self.configuration().role(id));
        let store = self.identity.origin.store();
        Some(ordinals::create_set(self.valid, seat.ordinal, role, origin, store, seat.pod))
    }

    fn create(&self, plan: &MembershipPlan) -> Vec<Action> {
        let store = self.identity.origin.store();
        let roles = vec![Role::Learner; plan.create];
        ordinals::create(self.valid, self.observed, self.roster, store, &roles)
    }

    /// Announces the IDs of new members, then informs each of them which cluster will add it. Does the same for blank
    /// learners that are in the configuration, were about to leave, and are wanted again; and for blank voters if the list
    /// of the first voters is lost, because they are not bootstrapped then.
    fn admit(&self, plan: &MembershipPlan) -> Vec<Action> {
        let newcomers = plan.candidates.iter().filter_map(|ordinal| self.roster.seats.get(ordinal));
        let waiting = self.roster.seats.values().filter(|seat| {
            let is_bootstrapped = |id| self.configuration().is_voter(id) && !self.is_list_lost();
            let joins = |id| plan.keep.contains(&id) && !is_bootstrapped(id);
            seat.health == Health::Blank && seat.id.is_some_and(joins)
        });
        let admitted = newcomers.chain(waiting).filter_map(|seat| self.admit_one(seat));
        let unannounced = self.roster.seats.values().filter_map(|seat| self.announce_configured(seat));
        let unnamed = self.roster.seats.values().filter_map(|seat| self.name_again(seat));
        unannounced.chain(admitted).chain(unnamed).collect()
    }

    /// Returns whether the first voters are not known any more, because a person deleted the members' Service.
    fn is_list_lost(&self) -> bool {
        self.identity.first_voters().is_empty()
    }

    /// Announces the ID of a first voter once it is in the configuration. Otherwise nothing would say that its StatefulSet
    /// is that of this member after a person deleted the list of the first voters and the ID left the configuration; a
    /// member with an empty volume would then be admitted under its name.
    fn announce_configured(&self, seat: &Seat<'_>) -> Option<Action> {
        let id = seat.id.filter(|id| self.configuration().contains(*id))?;
        let set = seat.set.filter(|set| set.metadata.deletion_timestamp.is_none())?;
        let is_unannounced = annotation(&set.metadata, names::ANNOTATION_MEMBER_ID).is_none();
        is_unannounced.then(|| ObjectAction::Announce { set: Seen::of(&set.metadata), id }.into())
    }

    /// Announces the ID of a member again if the earlier announcement is lost. The announcement is lost if the
    /// StatefulSet is deleted before the volume is labelled with the ID. After the new announcement, the member can
    /// serve, or can leave in the ordinary way.
    fn name_again(&self, seat: &Seat<'_>) -> Option<Action> {
        let report = seat.report.filter(|report| matches!(report.phase, MemberPhase::Member | MemberPhase::Removed))?;
        let id = report.id.filter(|_| seat.id.is_none() && report.cluster == Some(self.identity.cluster))?;
        let is_free = self.roster.by_id(id).is_none() && !self.configuration().contains(id);
        let set = seat.set.filter(|set| is_free && set.metadata.deletion_timestamp.is_none())?;
        Some(ObjectAction::Announce { set: Seen::of(&set.metadata), id }.into())
    }

    fn admit_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let blank = seat.blank_id()?;
        if self.too_old(seat).is_some() {
            return None;
        }
        match seat.id {
            None => Some(ObjectAction::Announce { set: Seen::of(&seat.set?.metadata), id: blank }.into()),
            Some(id) if id == blank => {
                let join = MemberAction::Join {
                    member: seat.ordinal,
                    cluster: self.identity.cluster,
                    token: self.identity.token.clone(),
                    id,
                    info: info(self.valid, seat.ordinal),
                    level: self.level(),
                };
                Some(join.into())
            }
            Some(_) => None,
        }
    }

    /// The feature level of the cluster. A leader that has just been elected may not have applied the last raise yet.
    fn level(&self) -> u32 {
        let noted = self.valid.completed.as_ref().and_then(|completed| completed.level);
        self.observed.level().max(noted.unwrap_or(1))
    }

    /// The reason why a blank member is not admitted; `None` if its program supports the feature level of the cluster.
    fn too_old(&self, seat: &Seat<'_>) -> Option<Note> {
        let (level, report) = (self.level(), seat.report?);
        if report.phase != MemberPhase::Blank || report.supports >= level {
            return None;
        }
        let message = format!(
            "{}: its program supports feature level {}, and the cluster's data is at level {level}: set an image that supports level {level}",
            seat.name, report.supports
        );
        Some(Note::new(Reason::MemberTooOld, message))
    }

    /// Requests the target if it differs from the present configuration and is safe. Returns the number of voters
    /// after the change.
    fn change(&self, plan: &MembershipPlan, decision: &mut Decision) -> usize {
        let configuration = self.configuration();
        if plan.target == Target::of(configuration) {
            return configuration.voters.len();
        }
        match safety::check(configuration, &plan.target, self.roster) {
            Ok(()) => {
                let (leader, change) = (self.read.leader, self.change_to(&plan.target));
                decision.actions.push(MemberAction::ChangeMembership { leader, change }.into());
            }
            Err(hazard) => {
                if let Hazard::LeaderLeaves { successor_id, .. } = hazard {
                    let action = MemberAction::TransferLeadership { leader: self.read.leader, target: successor_id };
                    decision.actions.push(action.into());
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
        let members: Vec<_> = members.collect();
        debug_assert!(members.iter().all(|(id, _)| target.contains(*id)), "only wanted members are described");
        Change {
            expected: self.configuration().index,
            present_voters: self.configuration().voters.len(),
            voters: target.voters.iter().copied().collect(),
            learners: target.learners.iter().copied().collect(),
            members,
        }
    }

    /// Deletes the objects of removed members, and of new members that are not needed and cannot have been admitted.
    fn remove(&self, surplus: &[Ordinal]) -> Vec<Action> {
        let removed = self.roster.seats.values().filter(|seat| seat.health == Health::Removed);
        let discardable = surplus.iter().filter_map(|ordinal| self.roster.seats.get(ordinal));
        let discardable = discardable.filter(|seat| seat.is_discardable());
        removed.chain(discardable).filter_map(|seat| self.remove_one(seat)).collect()
    }

    /// Deletes a StatefulSet once Kubernetes has set or removed the volume's owner as the retention policy asks, and once
    /// the claim of a removed member says that the member was removed (`labels.rs`). Kubernetes changes the owner shortly
    /// after the policy changes; an earlier deletion could keep or delete the wrong volume.
    fn remove_one(&self, seat: &Seat<'_>) -> Option<Action> {
        let set = seat.set?;
        let given_up = seat.volume.filter(|volume| seat.gives_up_volume(self.identity.cluster) && !is_going(volume));
        let unlabelled = given_up.is_some_and(|volume| !is_of_removed(volume));
        if set.metadata.deletion_timestamp.is_some() || unlabelled || !self.is_volume_fate_settled(seat) {
            return None;
        }
        Some(ObjectAction::DeleteSet { set: Seen::of(&set.metadata) }.into())
    }

    fn is_volume_fate_settled(&self, seat: &Seat<'_>) -> bool {
        let goes = seat.removed_volume_goes(self.valid, self.identity.cluster);
        let is_written = seat.set.is_none_or(|set| goes == volume_goes_with(set));
        seat.volume.is_none() || (is_written && seat.is_volume_owned_for(goes))
    }

    fn report(&self, plan: &MembershipPlan, moving: &Moving, decision: &mut Decision) {
        let done = plan.target == Target::of(self.configuration())
            && plan.leaving.is_empty()
            && plan.candidates.is_empty()
            && plan.create == 0
            && plan.lagging.is_empty()
            && self.counts_hold();
        if done {
            return;
        }
        decision.activity = Some(activity(plan, moving, self.roster));
        // The shell keeps a refusal until a change succeeds, therefore a refusal is ignored while no change is
        // requested.
        let asks = plan.target != Target::of(self.configuration());
        let refused = || if asks { self.refused() } else { None };
        let exhausted = ordinals::exhausted(self.observed, self.roster, plan.create);
        let waits = exhausted.or(decision.blocked.take()).or_else(refused).or_else(|| self.waits_for(plan));
        let is_moving = plan.leaving.values().any(|leaving| *leaving == Leaving::Moved);
        let waits = waits.or_else(|| moving.blocked.clone().filter(|_| is_moving && !asks));
        let steps = self.steps(plan);
        decision.membership = Some(self.status(&self.final_target(plan), steps, waits.as_ref()));
        decision.blocked = waits;
    }

    fn counts_hold(&self) -> bool {
        let configuration = self.configuration();
        configuration.voters.len() == self.valid.voters && configuration.learners.len() == self.valid.learners
    }

    /// The leader's last refusal of a change.
    fn refused(&self) -> Option<Note> {
        let refusal = self.observed.refusal.as_ref()?;
        // If the refusal has no reason, the outcome is unknown: the change may be in the log.
        let reason = refusal.reason.map_or(Reason::ChangeInFlight, RefusalReason::condition_reason);
        Some(Note::new(reason, refusal.message.clone()))
    }

    /// The reason why the next step waits for a member; `None` if it waits for no member.
    fn waits_for(&self, plan: &MembershipPlan) -> Option<Note> {
        let mut seats = plan.lagging.iter().filter_map(|ordinal| self.roster.seats.get(ordinal));
        if let Some(note) = seats.clone().find_map(|seat| self.too_old(seat)) {
            return Some(note);
        }
        let seat = seats.next()?;
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

    /// Voters and learners after the last step: the members of the target that stay, and the new members. Learners
    /// count as voters until the desired number of voters is reached.
    fn final_target(&self, plan: &MembershipPlan) -> Target {
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
        debug_assert!(end.voters.is_disjoint(&end.learners), "a member is a voter or a learner");
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
        let end = self.final_target(plan);
        for id in end.voters.difference(&configuration.voters) {
            let state = if configuration.learners.contains(id) { StepState::Active } else { StepState::Pending };
            step(format!("give {} a vote", self.roster.name(*id)), state);
        }
        let names = plan.leaving.keys().map(|id| self.roster.name(*id));
        for name in names {
            step(format!("remove {name}"), StepState::Pending);
        }
        steps.truncate(STEPS_MAX);
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

fn activity(plan: &MembershipPlan, moving: &Moving, roster: &Roster<'_>) -> Note {
    let of = |why: Leaving| {
        let mut names: Vec<String> =
            plan.leaving.iter().filter(|(_, leaving)| **leaving == why).map(|(id, _)| roster.name(*id)).collect();
        names.sort();
        names.join(", ")
    };
    let (replaced, excess) = (of(Leaving::Replaced), of(Leaving::Excess));
    if !replaced.is_empty() {
        Note::new(Reason::ReplacingMember, format!("replaces {replaced}"))
    } else if !of(Leaving::Moved).is_empty() {
        Note::new(Reason::MovingVolumes, moving.message.clone())
    } else if !excess.is_empty() || !plan.surplus.is_empty() {
        Note::new(
            Reason::ScalingDown,
            if excess.is_empty() { "removes members".to_owned() } else { format!("removes {excess}") },
        )
    } else {
        Note::new(Reason::ScalingUp, "adds members")
    }
}

/// The reason that is reported while a change is in its joint configuration.
fn finishing(configuration: &Configuration) -> Note {
    let comes = configuration.voters.difference(&configuration.outgoing).next().is_some();
    let goes = configuration.outgoing.difference(&configuration.voters).next().is_some();
    let reason = match (comes, goes) {
        (true, true) => Reason::ReplacingMember,
        (false, true) => Reason::ScalingDown,
        (_, false) => Reason::ScalingUp,
    };
    Note::new(reason, "a membership change is being finished")
}
