//! Plans of which one write is refused: everything that does not depend on that write goes on, and the status names the
//! refusal.

use crds::RaftClusterStatus;
use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::apps::v1::StatefulSet;
use plan::action::{Action, Description, MemberAction, ObjectAction};
use plan::desired::stateful_set::{SetOrigin, Shape};
use plan::names::{self, Ordinal, Role};
use plan::observed::Observed;
use plan::pass::{Pass, RefusedWrite};
use plan::status::with_refusals;

use crate::observed::parse;

const SERVING: &str = "identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\n";

/// What became of a plan.
pub(crate) struct Outcome {
    /// Names and subjects of the actions that were carried out.
    pub(crate) done: Vec<String>,
    refused: Vec<RefusedWrite>,
    status: RaftClusterStatus,
}

impl Outcome {
    pub(crate) fn did(&self, action: &str) -> bool {
        self.done.iter().any(|done| done.starts_with(action))
    }

    pub(crate) fn condition(&self, kind: &str) -> (&str, &str, &str) {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == kind).expect("it is reported");
        (&found.status, &found.reason, &found.message)
    }
}

/// Plans a pass and carries it out. The API server refuses the writes whose name and subject are `refused`.
pub(crate) fn pass(observed: &Observed, refused: &str) -> Outcome {
    let plan = plan::plan(observed);
    let (mut pass, mut done) = (Pass::default(), Vec::new());
    let name = |about: &Description| format!("{} {}", about.name, about.subject);
    for action in &plan.actions {
        let about = action.describe();
        if pass.withholds(action, &about) {
            continue;
        }
        if name(&about).starts_with(refused) {
            pass.refused(action, &about, "exceeded quota");
        } else {
            done.push(name(&about));
        }
    }
    let refused = pass.into_refused();
    assert!(!refused.is_empty(), "the plan has such a write: {done:?}");
    let status = with_refusals(plan.status, &refused, observed.now);
    Outcome { done, refused, status }
}

/// A typing error in the spec once ended every pass at the first StatefulSet, and no lost member was replaced any more.
#[test]
fn a_refused_stateful_set_stops_no_replacement() {
    let text = format!(
        "{}configuration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 announced d4",
        SERVING.replace("member 3 is c3", "member 3 silent 100")
    );
    let outcome = pass(&parse(&text), "ReplaceSet");
    assert!(outcome.did("ChangeMembership"), "{:?}", outcome.done);
    assert!(outcome.did("Apply PodDisruptionBudget"), "{:?}", outcome.done);
    assert!(outcome.refused.iter().all(|refused| !refused.stops_membership), "{:?}", outcome.refused);
    let (status, reason, message) = outcome.condition("Ready");
    assert_eq!((status, reason), ("False", "Refused"), "{message}");
    assert!(message.contains("the API server refuses updating StatefulSet demo-1"), "{message}");
    assert!(message.contains("exceeded quota"), "{message}");
    let blocked = outcome.status.plan.as_ref().and_then(|plan| plan.blocked_by.as_ref());
    assert_ne!(blocked.map(|blocker| blocker.reason.as_str()), Some("Refused"), "the change goes on");
}

/// If the eviction went on, the pod would come back with its old settings, and would be evicted again in every pass.
#[test]
fn a_pod_is_restarted_only_once_its_stateful_set_is_accepted() {
    let text = SERVING.replace("member 2 is b2", "member 2 is b2 outdated");
    assert!(pass(&parse(&text), "ReplaceSet demo-3").did("EvictPod demo-2-0"), "another StatefulSet");
    assert!(!pass(&parse(&text), "ReplaceSet demo-2").did("EvictPod"));
    assert!(!pass(&parse(&text), "Apply PodDisruptionBudget").did("EvictPod"), "the budget protects the quorum");
    let pending = "identity created\nmember 1 silent 9 unscheduled outdated\nmember 2 blank b2\nmember 3 blank c3";
    let pending = |refused| {
        let mut observed = parse(pending);
        for member in observed.members.values_mut() {
            let status = member.pod.as_mut().and_then(|pod| pod.status.as_mut()).expect("it has a status");
            status.phase = Some("Pending".to_owned());
        }
        pass(&observed, refused)
    };
    assert!(pending("ReplaceSet demo-2").did("DeletePod demo-1-0"));
    assert!(!pending("ReplaceSet demo-1").did("DeletePod"));
}

#[test]
fn voters_are_added_only_once_the_budget_is_raised() {
    let grows = format!(
        "{SERVING}replicas 5\nconfiguration 7 voters a1 b2 c3 learners d4 e5\nmember 4 is d4 announced d4\nmember 5 is e5 announced e5"
    );
    let outcome = pass(&parse(&grows), "Apply PodDisruptionBudget");
    assert!(!outcome.did("ChangeMembership"), "{:?}", outcome.done);
    assert!(outcome.refused[0].stops_membership);
    let blocked = outcome.status.plan.as_ref().and_then(|plan| plan.blocked_by.as_ref()).expect("the change waits");
    assert_eq!(blocked.reason, "Refused");
    assert!(blocked.message.contains("PodDisruptionBudget"), "{}", blocked.message);
    assert!(pass(&parse(&grows), "ReplaceSet").did("ChangeMembership"), "StatefulSets are no prerequisite");

    let swap = format!(
        "{}configuration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 announced d4",
        SERVING.replace("member 3 is c3", "member 3 silent 100")
    );
    let outcome = pass(&parse(&swap), "Apply PodDisruptionBudget");
    assert!(outcome.did("ChangeMembership"), "an exchanged voter needs no higher budget: {:?}", outcome.done);
}

#[test]
fn a_member_is_created_only_under_a_reserved_ordinal() {
    let outcome = pass(&parse(&format!("{SERVING}replicas 5")), "ReserveOrdinals");
    assert!(!outcome.did("CreateSet"), "{:?}", outcome.done);
    let blocked = outcome.status.plan.as_ref().and_then(|plan| plan.blocked_by.as_ref()).expect("the change waits");
    assert_eq!(blocked.reason, "Refused");
    let outcome = pass(&parse(&format!("{SERVING}replicas 5")), "CreateSet demo-4");
    assert!(outcome.did("CreateSet demo-5"), "each member is created by itself: {:?}", outcome.done);
}

#[test]
fn a_removed_member_is_deleted_although_other_writes_are_refused() {
    let text = format!(
        "{SERVING}configuration 7 voters a1 b2 c3 removed d4\nmember 4 removed d4 announced d4 given-up volume-goes volume-owned"
    );
    assert!(pass(&parse(&text), "ReplaceSet demo-1").did("DeleteSet demo-4"));
    assert!(pass(&parse(&text), "Apply Service").did("DeleteSet demo-4"));
    assert!(!pass(&parse(&text), "ReplaceSet demo-4").did("DeleteSet"), "its volume may have the wrong fate");
}

/// Returns whether an action must not be carried out after another one was refused.
fn stops(refused: &Action, later: &Action) -> bool {
    match (refused, later) {
        (
            Action::Write(ObjectAction::ReserveOrdinals { first, last, .. }),
            Action::Write(ObjectAction::CreateSet { ordinal, .. }),
        ) => (first..=last).contains(&ordinal),
        (
            Action::Write(ObjectAction::ReplaceSet(set)),
            Action::Write(ObjectAction::EvictPod { pod } | ObjectAction::DeletePod { pod }),
        ) => pod.name == format!("{}-0", set.seen().name),
        (Action::Write(ObjectAction::ReplaceSet(replace)), Action::Write(ObjectAction::DeleteSet { set })) => {
            set.name == replace.seen().name
        }
        (
            Action::Write(ObjectAction::CreateIdentity(identity)),
            Action::Write(ObjectAction::PointToIdentity { secret, .. }),
        ) => identity.metadata.name.as_ref() == Some(secret),
        (Action::Write(ObjectAction::Apply(apply)), later) if apply.object().kind() == "PodDisruptionBudget" => {
            match later {
                Action::Write(ObjectAction::EvictPod { .. }) => true,
                Action::Call(MemberAction::ChangeMembership { change, .. }) => {
                    change.voters.len() > change.present_voters
                }
                Action::Write(_) | Action::Call(_) => false,
            }
        }
        (Action::Write(_) | Action::Call(_), _) => false,
    }
}

/// Every write of every reviewed plan is refused once. The actions that are then left out are those that need it.
#[test]
fn a_refusal_stops_only_what_the_table_names() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut refused = 0;
    for file in folder.read_dir().expect("testdata exists") {
        let cases = std::fs::read_to_string(file.expect("readable").path()).expect("readable");
        for case in cases.split("\n\n").filter(|case| !case.trim().is_empty()) {
            let observed = parse(case.split_once("\n----").map_or(case, |(text, _)| text));
            let actions = plan::plan(&observed).actions;
            for write in &actions {
                let text = |action: &Action| format!("{} {}", action.describe().name, action.describe().subject);
                let outcome = pass(&observed, &text(write));
                let is_refused = |action: &&Action| text(action).starts_with(&text(write));
                let expected = actions.iter().enumerate().filter(|(place, action)| {
                    !is_refused(action)
                        && !actions[..*place].iter().filter(is_refused).any(|refused| stops(refused, action))
                });
                let expected: Vec<String> = expected.map(|(_, action)| text(action)).collect();
                assert_eq!(outcome.done, expected, "{case}\n{} is refused", text(write));
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "only {refused} writes were refused");
}

/// A policy that forbids a label on claims once made every serving cluster unready.
#[test]
fn a_refused_write_that_no_member_needs_leaves_the_cluster_ready() {
    let mut observed = parse(SERVING);
    observed.members.values_mut().for_each(|member| member.set = None);
    let valid = plan::validated::ValidatedCluster::parse(&observed).expect("valid");
    let sets: Vec<_> = [1, 2, 3].map(|ordinal| written(&valid, Ordinal(ordinal))).into();
    for (member, set) in observed.members.values_mut().zip(sets) {
        let settings = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.annotations.clone());
        member.pod.as_mut().expect("a pod").metadata.annotations = settings;
        member.set = Some(set);
    }
    for refused in ["RelabelVolume", "LabelVolume"] {
        let outcome = pass(&observed, refused);
        assert_eq!(outcome.condition("Ready").0, "True", "{refused}: {}", outcome.condition("Ready").2);
        let (status, reason, message) = outcome.condition("Reconciling");
        assert_eq!((status, reason), ("True", "Refused"));
        assert!(message.contains("exceeded quota"), "{message}");
    }
    for member in observed.members.values_mut() {
        let notes = member.set.as_mut().expect("a set").metadata.annotations.get_or_insert_default();
        notes.insert(names::ANNOTATION_APPLIED.to_owned(), "of another version".to_owned());
    }
    assert_eq!(pass(&observed, "ReplaceSet").condition("Ready").0, "True", "only the stamp differs");
    let spec = |member: &mut plan::observed::ObservedMember| member.set.as_mut().and_then(|set| set.spec.take());
    let mut policy = observed.members.get_mut(&Ordinal(2)).and_then(spec).expect("it has one");
    policy.persistent_volume_claim_retention_policy = None;
    observed.members.get_mut(&Ordinal(2)).and_then(|member| member.set.as_mut()).expect("a set").spec = Some(policy);
    let outcome = pass(&observed, "ReplaceSet");
    let (status, reason, message) = outcome.condition("Ready");
    assert_eq!((status, reason), ("False", "Refused"), "the volume has another fate");
    assert!(message.contains("updating StatefulSet demo-2:"), "the other two are not needed: {message}");
}

/// The StatefulSet of a voter as this version writes it.
fn written(valid: &plan::validated::ValidatedCluster<'_>, ordinal: Ordinal) -> StatefulSet {
    let (role, volume_fate) = (Role::Voter, VolumeFate::Retain);
    let shape = Shape { ordinal, runs: true, role, volume_fate, origin: SetOrigin::Plain, restore_store: None };
    let mut set = plan::desired::stateful_set::of(valid, &shape, None);
    set.metadata.uid = Some(format!("StatefulSet/demo-{ordinal}"));
    set.metadata.resource_version = Some("1".to_owned());
    set
}

/// A cause that a person can remove, and an election, explain more than a refused write.
#[test]
fn a_more_severe_cause_stays_the_reason_of_ready() {
    let text = "identity a1 b2 c3 formed\nmember 1 alone a1\nmember 2 silent 100\nmember 3 silent 100";
    let outcome = pass(&parse(text), "Apply Service demo");
    assert_eq!(outcome.condition("Ready").1, "QuorumLost");
    let (status, reason, message) = outcome.condition("Reconciling");
    assert_eq!((status, reason), ("True", "Refused"));
    assert!(message.contains("exceeded quota"), "{message}");
}
