//! The actions that a plan may contain: writes of Kubernetes objects and calls to members. Owns the parameters of each
//! write, the kind of request that writes each object ([`ObjectAction::write`]), and a table with one row per write:
//! its name, words and subject. Does not own the calls (`action/call.rs`), the preconditions of each kind of request
//! (`action/write.rs`), nor how an action is carried out (the shell's `raft_cluster/apply.rs`).
//!
//! Each action is safe by itself: it may be carried out late, repeatedly, and by several operators.

mod call;
mod change;
mod object;
mod prerequisite;
mod write;

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use kube_core::Resource;
use serde_json::json;

use crate::identity::FirstVoter;
use crate::ids::{ClusterId, MemberId};
use crate::names::{self, Ordinal, Role};
use crate::observed::Seen;

pub use call::MemberAction;
pub use change::Change;
pub use object::Object;
pub use prerequisite::Prerequisite;
pub use write::{Apply, Compare, Create, Delete, Evict, IfExists, MergePatch, Replace, Write};

/// An action that the planner decided.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A write to the Kubernetes API.
    Write(ObjectAction),
    /// A call to a member.
    Call(MemberAction),
}

/// A write to the Kubernetes API: what is written and why. [`ObjectAction::write`] is the request.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectAction {
    /// Applies an object on the server side, under the UID of the observed object.
    Apply(Box<Apply>),
    /// Replaces a live StatefulSet as a whole, so that a field that the spec no longer sets leaves the pods, too. It is
    /// never an apply, because an apply removes only what the same field manager applied before.
    ReplaceSet(Box<Replace>),
    /// Reserves the ordinals up to `last` by compare-and-swap on the members' Service. Only the operator that wins the
    /// compare-and-swap may create StatefulSets with these ordinals.
    ReserveOrdinals {
        /// The Service as observed.
        service: Seen,
        /// First reserved ordinal.
        first: Ordinal,
        /// Last reserved ordinal.
        last: Ordinal,
    },
    /// Creates a member's StatefulSet. Either this process reserved the member's ordinal, or the member's volume exists
    /// without a StatefulSet. The action succeeds if the StatefulSet exists already. It is never an apply, because an
    /// apply could re-create a deleted StatefulSet.
    CreateSet {
        /// The member.
        ordinal: Ordinal,
        /// The StatefulSet to create.
        set: Box<StatefulSet>,
    },
    /// Creates a Secret with the cluster's identity. It counts only once the pointer names it. If the Secret exists
    /// already, this pass ends, and the next pass reads it.
    CreateIdentity(Box<Secret>),
    /// Writes the pointer onto the members' Service, by compare-and-swap: of several identities, the one counts whose
    /// operator wins.
    PointToIdentity {
        /// The Service as observed.
        service: Seen,
        /// Name of the Secret with the identity.
        secret: String,
        /// The first voters; `None` while they are not chosen.
        voters: Option<Vec<FirstVoter>>,
        /// The highest ordinal in use, if the Service does not note it, because it was created again.
        last: Option<Ordinal>,
    },
    /// Writes the first voters onto the members' Service, by compare-and-swap. Only they are bootstrapped.
    ChooseFirstVoters {
        /// The Service as observed. It names no first voters yet.
        service: Seen,
        /// The first voters.
        voters: Vec<FirstVoter>,
    },
    /// Annotates the members' Service to record that this cluster had a leader. Later reports depend on this
    /// annotation.
    NoteFormed {
        /// The Service as observed.
        service: Seen,
        /// The cluster.
        cluster: ClusterId,
    },
    /// Records on the members' Service what every member runs, by compare-and-swap. Settings are taken back to this
    /// record.
    NoteRollout {
        /// The Service as observed.
        service: Seen,
        /// The record, as the value of the annotation.
        record: String,
    },
    /// Writes a member's ID onto its StatefulSet, by compare-and-swap. The member may then enter the configuration
    /// under this ID.
    Announce {
        /// The StatefulSet as observed. It has no annotation with a member ID yet.
        set: Seen,
        /// The ID that the member's disk generated.
        id: MemberId,
    },
    /// Labels a volume claim with the cluster and member whose data the volume holds, and annotates it with its own UID.
    LabelVolume {
        /// The claim as observed.
        volume: Seen,
        /// The cluster to which the data on the volume belongs.
        cluster: ClusterId,
        /// The member to which the data on the volume belongs.
        id: MemberId,
    },
    /// Writes the labels of a volume claim that do not depend on its data.
    RelabelVolume {
        /// The claim as observed.
        volume: Seen,
        /// The labels to write; `None` takes a label off.
        labels: BTreeMap<String, Option<String>>,
        /// Digest of the labels, which is written as an annotation.
        stamp: String,
    },
    /// Asks Kubernetes to expand the volume of a claim, by compare-and-swap: a late request could otherwise take a larger
    /// size back that another operator asked for.
    GrowVolume {
        /// The claim as observed. It asks for less.
        volume: Seen,
        /// The size that the spec asks for.
        size: Quantity,
    },
    /// Labels a pod with its member's role, for Services and the disruption budget.
    LabelPod {
        /// The pod as observed.
        pod: Seen,
        /// The role.
        role: Role,
    },
    /// Annotates a pod that was restarted with new settings once its member has served with them.
    NoteServed {
        /// The pod as observed.
        pod: Seen,
        /// Time of the observation.
        at: Timestamp,
    },
    /// Deletes a member's StatefulSet in one of two cases. In the first case, a linearizable read showed that the
    /// member's ID was removed and is in neither half of the configuration; a removed ID never returns. In the second
    /// case, no ID was announced, therefore the member cannot have been admitted.
    DeleteSet {
        /// The StatefulSet as observed. Its resource version is a precondition, because the version changes when an ID
        /// is announced, and when another operator changes the retention policy of the volume.
        set: Seen,
    },
    /// Evicts a pod; its StatefulSet then creates a pod with new settings. The disruption budget may refuse the
    /// eviction, so that two operators together never stop two voters.
    EvictPod {
        /// The pod as observed; its UID is a precondition.
        pod: Seen,
    },
    /// Deletes a pod whose member serves nothing; its StatefulSet then creates a pod with new settings.
    DeletePod {
        /// The pod as observed. Its resource version is a precondition, because it changes when the pod starts or becomes
        /// ready.
        pod: Seen,
    },
}

/// An action's row in the table: its name, its text for reports, what it depends on, and what its failure stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the action in metrics, logs and events. It never changes, because it is a label value of metrics.
    pub name: &'static str,
    /// First words of a failure report, such as "creating StatefulSet". The subject follows these words.
    pub words: &'static str,
    /// The object, member or configuration that the action changes. It contains no secret.
    pub subject: String,
    /// What must not have failed earlier in the pass. Every other action is independent of earlier ones.
    pub needs: Vec<Prerequisite>,
    /// What a failure of this action stops.
    pub on_failure: OnFailure,
    /// When the effect of the action becomes visible.
    pub timing: Timing,
    /// Text of the event that reports the action. `None` if no event reports the action.
    pub event: Option<String>,
}

/// What a failed action stops. The rest of the pass goes on, so that one refused object never stops healing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing: no other action of the pass depends on this one.
    GoOn,
    /// The later actions that need this.
    Withhold(Prerequisite),
}

/// When the effect of an action becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// The next observation shows the effect, therefore the next step may be possible immediately.
    AtOnce,
    /// The effect becomes visible in a later observation: the member accepts every repetition of the call and does the
    /// work in the background.
    Later {
        /// The member.
        member: Ordinal,
    },
}

impl Action {
    /// The action's row in the table of its kind.
    #[must_use]
    pub fn describe(&self) -> Description {
        match self {
            Self::Write(write) => write.describe(),
            Self::Call(call) => call.describe(),
        }
    }
}

impl ObjectAction {
    /// The table of writes, with one row per action.
    #[must_use]
    pub fn describe(&self) -> Description {
        use OnFailure::{GoOn, Withhold};
        let row = Description::new;
        match self {
            Self::Apply(apply) => row("Apply", "applying", apply.object().to_string(), awaited(apply.object())),
            Self::ReplaceSet(replace) => {
                let name = replace.seen().name.clone();
                row("ReplaceSet", "updating StatefulSet", name.clone(), Withhold(Prerequisite::Set(name)))
            }
            Self::ReserveOrdinals { first, last, .. } => {
                let reserved = Prerequisite::Ordinals { first: *first, last: *last };
                row("ReserveOrdinals", "reserving ordinals", format!("{first} to {last}"), Withhold(reserved))
            }
            Self::CreateSet { ordinal, set } => row("CreateSet", "creating StatefulSet", named(&set.metadata), GoOn)
                .needing([Prerequisite::Ordinals { first: *ordinal, last: *ordinal }]),
            Self::CreateIdentity(secret) => {
                let name = named(&secret.metadata);
                row("CreateRecord", "creating the identity", name.clone(), Withhold(Prerequisite::Identity(name)))
            }
            Self::PointToIdentity { secret, .. } => row("PointToIdentity", "pointing at", secret.clone(), GoOn)
                .needing([Prerequisite::Identity(secret.clone())])
                .with_event(format!("the cluster has its identity, in Secret {secret}")),
            Self::ChooseFirstVoters { service, .. } => {
                row("ChooseFirstVoters", "noting the first voters on", service.name.clone(), GoOn)
            }
            Self::NoteFormed { service, .. } => {
                row("NoteFormed", "noting that the cluster was formed", service.name.clone(), GoOn)
            }
            Self::NoteRollout { service, .. } => {
                row("NoteRollout", "recording the completed rollout on", service.name.clone(), GoOn)
            }
            Self::Announce { set, .. } => row("Announce", "announcing the ID of", set.name.clone(), GoOn),
            Self::LabelVolume { volume, .. } => row("LabelVolume", "labelling volume claim", volume.name.clone(), GoOn),
            Self::RelabelVolume { volume, .. } => {
                row("RelabelVolume", "updating labels of volume claim", volume.name.clone(), GoOn)
            }
            Self::GrowVolume { volume, size } => row("GrowVolume", "growing volume claim", volume.name.clone(), GoOn)
                .with_event(format!("volume claim {} grows to {}", volume.name, size.0)),
            Self::LabelPod { pod, .. } => row("LabelPod", "labelling pod", pod.name.clone(), GoOn),
            Self::NoteServed { pod, .. } => row("NoteServed", "annotating pod", pod.name.clone(), GoOn),
            Self::DeleteSet { set } => row("DeleteSet", "deleting StatefulSet", set.name.clone(), GoOn)
                .needing([Prerequisite::Set(set.name.clone())])
                .with_event(format!("{} is removed", set.name)),
            Self::EvictPod { pod } => row("EvictPod", "evicting pod", pod.name.clone(), GoOn)
                .needing([Prerequisite::Budget, Prerequisite::set_of_pod(&pod.name)])
                .with_event(format!("{} restarts with new settings", pod.name)),
            Self::DeletePod { pod } => {
                row("DeletePod", "deleting pod", pod.name.clone(), GoOn).needing([Prerequisite::set_of_pod(&pod.name)])
            }
        }
    }

    /// The request that carries out the action. Its type holds the precondition.
    #[must_use]
    pub fn write(&self) -> Write {
        match self {
            Self::Apply(apply) => Write::Apply(apply.as_ref().clone()),
            Self::ReplaceSet(replace) => Write::Replace(replace.as_ref().clone()),
            Self::CreateSet { set, .. } => Write::Create(Create::of(set.as_ref(), IfExists::Done)),
            Self::CreateIdentity(secret) => Write::Create(Create::of(secret.as_ref(), IfExists::ObserveAgain)),
            Self::ReserveOrdinals { service, last, .. } => {
                annotate::<Service>(service, names::ANNOTATION_LAST_ORDINAL, &last.to_string())
            }
            Self::PointToIdentity { service, secret, voters, last } => {
                // Both are written at once, so that a Service that lacks the list lost it.
                let voters = first_voters(voters.as_deref());
                let mut notes = json!({ names::ANNOTATION_IDENTITY: secret, names::ANNOTATION_FIRST_VOTERS: voters });
                if let Some(last) = last {
                    notes[names::ANNOTATION_LAST_ORDINAL] = json!(last.to_string());
                }
                Write::Patch(MergePatch::of::<Service>(service, Compare::Version, json!({ "annotations": notes })))
            }
            Self::ChooseFirstVoters { service, voters } => {
                annotate::<Service>(service, names::ANNOTATION_FIRST_VOTERS, &first_voters(Some(voters)))
            }
            Self::NoteFormed { service, cluster } => {
                annotate::<Service>(service, names::ANNOTATION_FORMED, &cluster.to_string())
            }
            Self::NoteRollout { service, record } => {
                annotate::<Service>(service, names::ANNOTATION_COMPLETED_ROLLOUT, record)
            }
            Self::Announce { set, id } => annotate::<StatefulSet>(set, names::ANNOTATION_MEMBER_ID, &id.to_string()),
            Self::LabelVolume { volume, cluster, id } => {
                let labels =
                    json!({ names::LABEL_CLUSTER_ID: cluster.to_string(), names::LABEL_MEMBER_ID: id.to_string() });
                let notes = json!({ names::ANNOTATION_CLAIM_UID: volume.uid });
                let metadata = json!({ "labels": labels, "annotations": notes });
                Write::Patch(MergePatch::of::<PersistentVolumeClaim>(volume, Compare::Uid, metadata))
            }
            Self::RelabelVolume { volume, labels, stamp } => {
                let metadata = json!({ "labels": labels, "annotations": { names::ANNOTATION_APPLIED: stamp } });
                Write::Patch(MergePatch::of::<PersistentVolumeClaim>(volume, Compare::Uid, metadata))
            }
            Self::GrowVolume { volume, size } => Write::Patch(MergePatch::growth(volume, size)),
            Self::LabelPod { pod, role } => {
                let metadata = json!({ "labels": { names::LABEL_ROLE: role.as_str() } });
                Write::Patch(MergePatch::of::<Pod>(pod, Compare::Uid, metadata))
            }
            Self::NoteServed { pod, at } => {
                let metadata = json!({ "annotations": { names::ANNOTATION_SERVED: at.to_string() } });
                Write::Patch(MergePatch::of::<Pod>(pod, Compare::Uid, metadata))
            }
            Self::DeleteSet { set } => Write::Delete(Delete::of::<StatefulSet>(set, Compare::Version)),
            Self::DeletePod { pod } => Write::Delete(Delete::of::<Pod>(pod, Compare::Version)),
            Self::EvictPod { pod } => Write::Evict(Evict::of(pod)),
        }
    }
}

/// Writes an annotation by compare-and-swap, because each annotation records a decision that is made once.
fn annotate<K>(seen: &Seen, key: &str, value: &str) -> Write
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Write::Patch(MergePatch::of::<K>(seen, Compare::Version, json!({ "annotations": { key: value } })))
}

/// The first voters as the text of an annotation; `null` while they are not chosen.
fn first_voters(voters: Option<&[FirstVoter]>) -> String {
    serde_json::to_string(&voters).expect("plain text always serializes")
}

impl Description {
    fn new(name: &'static str, words: &'static str, subject: String, on_failure: OnFailure) -> Self {
        Self { name, words, subject, needs: Vec::new(), on_failure, timing: Timing::AtOnce, event: None }
    }

    fn needing(self, needs: impl IntoIterator<Item = Prerequisite>) -> Self {
        Self { needs: needs.into_iter().collect(), ..self }
    }

    fn with_event(self, event: String) -> Self {
        Self { event: Some(event), ..self }
    }

    fn in_own_time(self, member: Ordinal) -> Self {
        Self { timing: Timing::Later { member }, ..self }
    }
}

impl From<ObjectAction> for Action {
    fn from(write: ObjectAction) -> Self {
        Self::Write(write)
    }
}

impl From<MemberAction> for Action {
    fn from(call: MemberAction) -> Self {
        Self::Call(call)
    }
}

/// What waits for an applied object.
fn awaited(object: &Object) -> OnFailure {
    match object.kind() {
        "PodDisruptionBudget" => OnFailure::Withhold(Prerequisite::Budget),
        _ => OnFailure::GoOn,
    }
}

fn named(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}
