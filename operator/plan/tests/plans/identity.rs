//! Histories of the identity: who writes it, what is lost, and what comes back. Each is carried out on a small model of the
//! API server that knows Secrets and the members' Service.

use k8s_openapi::api::core::v1::{Secret, Service};
use plan::Plan;
use plan::action::{Action, MemberAction, ObjectAction, Write};
use plan::ids::ClusterId;
use plan::names;
use plan::observed::{Observed, annotation};
use plan::pointer;

use crate::observed::{CLUSTER, parse, read_secrets};

const BLANK: &str = "member 1 blank a1\nmember 2 blank b2\nmember 3 blank c3";
const SERVING: &str = "member 1 is a1 leader labelled a1\nmember 2 is b2 labelled b2\nmember 3 is c3 labelled c3\nconfiguration 1 voters a1 b2 c3";

/// Secrets and the members' Service, as the API server has them.
pub(crate) struct Api {
    pub(crate) service: Option<Service>,
    pub(crate) secrets: Vec<Secret>,
}

impl Api {
    /// The state that the observation shows.
    pub(crate) fn of(text: &str) -> Self {
        let observed = parse(text);
        Self { service: observed.services.members, secrets: observed.identities.into_values().flatten().collect() }
    }

    /// An observation of everything else that the text describes, by an operator that would create `cluster`.
    pub(crate) fn observe(&self, text: &str, cluster: ClusterId) -> Observed {
        let mut observed = parse(text);
        observed.services.members.clone_from(&self.service);
        observed.entropy.cluster_id = cluster.0;
        read_secrets(&mut observed, &self.secrets);
        observed
    }

    pub(crate) fn plan(&self, text: &str) -> Plan {
        plan::plan(&self.observe(text, CLUSTER))
    }

    /// Carries out a write of a Secret, or of annotations of the Service. Returns whether it succeeded.
    pub(crate) fn write(&mut self, action: &Action) -> bool {
        let Action::Write(write) = action else { panic!("{action:?} is no write") };
        match write.write() {
            Write::Create(create) => {
                let secret: Secret = create.object().parse().expect("a Secret");
                let is_free = self.secrets.iter().all(|found| found.metadata.name != secret.metadata.name);
                if is_free {
                    self.secrets.push(secret);
                }
                is_free
            }
            Write::Patch(patch) => {
                let Some(service) = &mut self.service else { return false };
                let (sent, live) = (&patch.body()["metadata"], &mut service.metadata);
                // A precondition that a patch lacks does not hinder it.
                let holds = |wanted: &serde_json::Value, live: &Option<String>| {
                    wanted.is_null() || wanted.as_str() == live.as_deref()
                };
                let is_current =
                    holds(&sent["uid"], &live.uid) && holds(&sent["resourceVersion"], &live.resource_version);
                if is_current {
                    let notes = live.annotations.get_or_insert_default();
                    for (key, value) in sent["annotations"].as_object().expect("annotations") {
                        notes.insert(key.clone(), value.as_str().expect("a text").to_owned());
                    }
                    let version: u64 = live.resource_version.as_ref().and_then(|it| it.parse().ok()).expect("a number");
                    live.resource_version = Some((version + 1).to_string());
                }
                is_current
            }
            other => panic!("{other:?}"),
        }
    }

    /// Plans a pass and carries out its writes of Secrets and pointer. Returns their number.
    pub(crate) fn pass(&mut self, text: &str) -> usize {
        let writes = writes(&self.plan(text));
        writes.iter().for_each(|action| assert!(self.write(action), "{action:?}"));
        writes.len()
    }

    pub(crate) fn note(&self, key: &str) -> Option<String> {
        annotation(&self.service.as_ref()?.metadata, key).map(str::to_owned)
    }

    fn pointer(&self) -> String {
        self.note(names::ANNOTATION_IDENTITY).expect("the pointer is written")
    }

    /// A person deletes the members' Service, and the operator applies a new one.
    fn replace_service(&mut self) {
        let service = self.service.as_mut().expect("it exists");
        service.metadata.annotations = None;
        service.metadata.uid = Some("Service/demo-members of later".to_owned());
        service.metadata.resource_version = Some("1000".to_owned());
    }
}

/// The writes of a plan that concern the identity.
fn writes(plan: &Plan) -> Vec<Action> {
    let concerns = |action: &&Action| match action {
        Action::Write(write) => matches!(
            write,
            ObjectAction::CreateIdentity(_)
                | ObjectAction::PointToIdentity { .. }
                | ObjectAction::ChooseFirstVoters { .. }
        ),
        Action::Call(_) => false,
    };
    plan.actions.iter().filter(concerns).cloned().collect()
}

pub(crate) fn stalled(plan: &Plan) -> (String, String) {
    let found = plan.status.conditions.iter().find(|condition| condition.type_ == "Stalled").expect("it is reported");
    (found.reason.clone(), found.message.clone())
}

fn known(observed: &Observed) -> Option<ClusterId> {
    pointer::find(observed).expect("readable").identity().map(|identity| identity.cluster)
}

/// A plans the identity and pauses. B creates another one, and its cluster forms. A person deletes B's Secret. A resumes.
#[test]
fn a_late_identity_never_counts() {
    let mut api = Api::of("replicas 3");
    let late = writes(&plan::plan(&api.observe("replicas 3", ClusterId(0xaa << 120))));
    assert_eq!(late.len(), 2);
    assert_eq!(api.pass("replicas 3"), 2, "B");
    assert_eq!(api.pass(BLANK), 1, "the first voters");
    let copy = api.secrets.pop().expect("B's Secret");
    assert!(api.write(&late[0]), "nothing forbids the late creation");
    assert!(!api.write(&late[1]), "the pointer was written meanwhile");
    let lost = api.plan(SERVING);
    assert_eq!(stalled(&lost).0, "IdentityLost");
    assert!(stalled(&lost).1.contains("Secret demo-identity-c1000000 is gone"), "the right copy is known by its name");
    assert!(!stalled(&lost).1.contains("create it again"), "{}", stalled(&lost).1);
    assert!(writes(&lost).is_empty());
    api.secrets.push(copy);
    assert_eq!(known(&api.observe(SERVING, CLUSTER)), Some(CLUSTER));
    assert_eq!(stalled(&api.plan(SERVING)).0, "NotStalled");
}

/// The same with a plan that was made while the spec asked for one member: that one would form a cluster of its own.
#[test]
fn late_first_voters_never_form_a_second_cluster() {
    let mut api = Api::of("identity created");
    let late = writes(&api.plan("replicas 1\nmember 1 blank a1"));
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(api.pass(BLANK), 1);
    assert!(!api.write(&late[0]), "the first voters were chosen meanwhile");
    let bootstrapped: Vec<usize> = api
        .plan(BLANK)
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Call(MemberAction::Bootstrap { voters, .. }) => Some(voters.len()),
            Action::Write(_) | Action::Call(_) => None,
        })
        .collect();
    assert_eq!(bootstrapped, [3, 3, 3]);
}

#[test]
fn the_secret_of_an_operator_that_died_before_the_pointer_is_ignored() {
    let mut api = Api::of("replicas 3");
    let dies = writes(&plan::plan(&api.observe("replicas 3", ClusterId(0xaa << 120))));
    assert!(api.write(&dies[0]));
    assert_eq!(api.pass("replicas 3"), 2);
    assert_eq!(api.pointer(), "demo-identity-c1000000");
    assert_eq!(api.pass(BLANK), 1, "the cluster forms");
}

/// A policy of the cluster refuses every change of the members' Service. A Secret without an owner is never collected.
#[test]
fn a_pointer_that_is_refused_leaves_one_secret() {
    let mut api = Api::of("replicas 3");
    for _ in 1..=10 {
        let planned = writes(&api.plan("replicas 3"));
        assert!(planned.iter().any(|action| matches!(action, Action::Write(ObjectAction::PointToIdentity { .. }))));
        for action in planned.iter().filter(|action| matches!(action, Action::Write(ObjectAction::CreateIdentity(_)))) {
            assert!(api.write(action), "it is created once");
        }
    }
    assert_eq!(api.secrets.len(), 1);
}

/// Otherwise the volumes would stay without the identity if the RaftCluster were deleted then.
#[test]
fn volumes_go_until_a_secret_exists_that_stays() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    assert_eq!(api.pass(&format!("delete-volumes\n{SERVING}")), 2);
    api.secrets.retain(|secret| secret.metadata.owner_references.is_some());
    let owned = SERVING.replace(" labelled", " volume-goes volume-owned labelled");
    let fates = |api: &Api| -> Vec<String> {
        let planned = api.plan(&owned).actions;
        let sets = planned.iter().filter_map(|action| match action {
            Action::Write(ObjectAction::ReplaceSet(set)) => Some(set.object().body().data.clone()),
            Action::Write(_) | Action::Call(_) => None,
        });
        sets.map(|set| set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"].to_string()).collect()
    };
    assert_eq!(fates(&api).len(), 3);
    assert!(fates(&api).iter().all(|fate| fate.contains("Delete")), "{:?}", fates(&api));
    assert_eq!(api.pass(&owned), 2, "the Secret that stays is created");
    assert_eq!(fates(&api).len(), 3);
    assert!(fates(&api).iter().all(|fate| fate.contains("Retain")), "{:?}", fates(&api));
}

/// Two operators choose an identity from the same observation: the pointer of one of them is written.
#[test]
fn of_two_operators_one_chooses_the_identity() {
    let mut api = Api::of("replicas 3");
    let plans = [CLUSTER, ClusterId(0xaa << 120)].map(|id| writes(&plan::plan(&api.observe("replicas 3", id))));
    let created = plans.each_ref().map(|plan| api.write(&plan[0]));
    let pointed = plans.each_ref().map(|plan| api.write(&plan[1]));
    assert_eq!((created, pointed), ([true, true], [true, false]));
}

#[test]
fn the_members_service_comes_back_with_its_pointer() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    api.replace_service();
    assert_eq!(api.pass(SERVING), 1);
    assert_eq!(api.pointer(), "demo-identity-c1000000");
    assert_eq!(api.note(names::ANNOTATION_FIRST_VOTERS).as_deref(), Some("[]"), "no member is bootstrapped again");
    assert_eq!(api.note(names::ANNOTATION_LAST_ORDINAL).as_deref(), Some("3"), "no ordinal is used twice");
    assert_eq!(api.pass(SERVING), 0);
    let wiped = api.plan("member 1 blank a1\nmember 2 blank b2\nmember 3 blank c3");
    assert!(wiped.actions.iter().all(|action| matches!(action, Action::Write(_))), "{:?}", wiped.actions);
}

/// The list of the first voters told whom to bootstrap, and before the announcements also which StatefulSet is whose.
#[test]
fn without_the_list_members_are_announced_and_blank_voters_join() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    api.replace_service();
    let text = SERVING.replace("member 3 is c3 labelled c3", "member 3 blank c3");
    assert_eq!(api.pass(&text), 1);
    let plan = api.plan(&text);
    let announced: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(ObjectAction::Announce { set, .. }) => Some(set.name.as_str()),
            Action::Write(_) | Action::Call(_) => None,
        })
        .collect();
    assert_eq!(announced, ["demo-1", "demo-2", "demo-3"]);
    let joins = |action: &Action| matches!(action, Action::Call(MemberAction::Join { id, .. }) if id.0 == 0xc3);
    assert!(plan.actions.iter().any(joins), "{:?}", plan.actions);
}

/// The members' answers name the cluster only if they are asked with its token, to which only a label leads.
#[test]
fn a_person_points_again_if_nothing_names_the_cluster() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    api.replace_service();
    let lost = api.plan("member 1 foreign\nmember 2 foreign\nmember 3 foreign");
    assert_eq!(stalled(&lost).0, "IdentityLost");
    let command = "kubectl annotate --overwrite --namespace default service demo-members raftoperator.io/identity=NAME-OF-THE-SECRET";
    assert!(stalled(&lost).1.contains(command), "{}", stalled(&lost).1);
    let metadata = &mut api.service.as_mut().expect("it exists").metadata;
    let notes = metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_IDENTITY.to_owned(), "demo-identity-c1000000".to_owned());
    assert_eq!(stalled(&api.plan(SERVING)).0, "NotStalled");
}

/// A late write to the former Service never reaches its successor.
#[test]
fn a_write_to_the_former_service_fails() {
    let mut api = Api::of("identity created");
    let late = writes(&api.plan(BLANK));
    api.replace_service();
    assert!(!api.write(&late[0]));
    let (reason, message) = stalled(&api.plan(BLANK));
    assert_eq!(reason, "IdentityLost", "it is not known whether the cluster was formed");
    assert!(message.contains("never served a client, delete the RaftCluster and create it again"), "{message}");
}

#[test]
fn the_fate_of_the_volumes_may_change_twice() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    let goes = format!("delete-volumes\n{SERVING}");
    assert_eq!(api.pass(&goes), 2);
    assert_eq!(api.pointer(), "demo-identity-c1000000-owned");
    let owned =
        api.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some("demo-identity-c1000000-owned"));
    assert!(owned.is_some_and(|secret| secret.metadata.owner_references.is_some()));
    assert_eq!(api.pass(&goes), 0);
    assert_eq!(api.pass(SERVING), 1, "the Secret without an owner exists still");
    assert_eq!(api.pointer(), "demo-identity-c1000000");
    assert_eq!(api.pass(SERVING), 0);
    assert_eq!(api.pass(&goes), 1);
    assert_eq!(api.secrets.len(), 2);
    assert!(api.note(names::ANNOTATION_FIRST_VOTERS).is_some_and(|voters| voters.contains("demo-3")), "they stay");
}

#[test]
fn an_identity_of_an_earlier_version_is_copied_once() {
    let mut api = Api::of("identity a1 b2 c3 early formed");
    assert_eq!(known(&api.observe(SERVING, CLUSTER)), Some(CLUSTER));
    assert_eq!(api.pass(SERVING), 2);
    assert_eq!(api.pointer(), "demo-identity-c1000000");
    assert!(api.note(names::ANNOTATION_FIRST_VOTERS).is_some_and(|voters| voters.contains("demo-3")));
    assert_eq!(api.pass(SERVING), 0);
    api.secrets.retain(|secret| secret.metadata.name.as_deref() == Some("demo-identity"));
    assert_eq!(api.pass(SERVING), 1, "a deleted copy is made again");
}

/// Nothing names the cluster yet except the Secret itself, and the operator died between the copy and the pointer.
#[test]
fn a_copy_that_was_made_before_a_crash_is_pointed_at() {
    let mut api = Api::of("identity a1 b2 c3 early");
    let first = writes(&api.plan(BLANK));
    assert_eq!(first.len(), 2);
    assert!(api.write(&first[0]), "the copy");
    assert_eq!(api.pass(BLANK), 1);
    assert_eq!(api.pointer(), "demo-identity-c1000000");
}

/// A Secret that belongs to another cluster, or to an earlier RaftCluster, never takes the place of the identity.
#[test]
fn a_secret_in_the_way_changes_nothing() {
    let mut api = Api::of("identity a1 b2 c3 formed");
    let mut other = api.secrets[0].clone();
    other.metadata.name = Some("demo-identity-c1000000-owned".to_owned());
    api.secrets.push(other);
    assert_eq!(api.pass(&format!("delete-volumes\n{SERVING}")), 0, "it has not the owner that its name says");
    assert_eq!(api.pointer(), "demo-identity-c1000000");
}

/// Secrets cannot be listed. Usually one is read, and the number is bounded whatever claims there are.
#[test]
fn few_secrets_are_read() {
    let reads = |text: &str| Api::of(text).observe(text, CLUSTER).identities.len();
    assert_eq!(reads(&format!("identity a1 b2 c3 formed\n{SERVING}")), 1);
    assert_eq!(reads("replicas 3"), 2, "the second one is that of an earlier pass whose pointer was refused");
    assert_eq!(reads(SERVING), 3);
    let many: Vec<String> = (1..=40).map(|at| format!("member {at} no-set former a{at}")).collect();
    let mut observed = parse(&many.join("\n"));
    for (at, member) in observed.members.values_mut().enumerate() {
        let labels = member.volume.as_mut().and_then(|volume| volume.metadata.labels.as_mut()).expect("labels");
        labels.insert(names::LABEL_CLUSTER_ID.to_owned(), ClusterId((at as u128 + 1) << 112).to_string());
    }
    read_secrets(&mut observed, []);
    assert!(observed.identities.len() <= 26, "{} Secrets are read", observed.identities.len());
}
