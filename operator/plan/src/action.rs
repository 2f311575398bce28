//! What the planner may ask for: writes of Kubernetes objects and calls to members. Owns the parameters of each action and,
//! one row each in two tables ([`ObjectAction::describe`], [`MemberAction::describe`]), its name, words and subject. Does not
//! own how an action is carried out (the shell's `raft_cluster/apply.rs`).
//!
//! Each action is safe by itself: however late it is carried out, however often, and by however many operators.

mod object;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;

use crate::identity::{BackupPlace, ClusterIdentity};
use crate::ids::{ClusterId, MemberId, Token};
use crate::names::{Ordinal, Role};
use crate::observed::Seen;
use crate::observed::member::MemberInfo;

pub use object::Object;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A write to the Kubernetes API.
    Write(ObjectAction),
    /// A call to a member.
    Call(MemberAction),
}

/// A write to the Kubernetes API.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectAction {
    /// Server-side apply. An object that was observed carries its UID, so that applying never brings a deleted one back.
    Apply(Box<Object>),
    /// Reserves ordinals up to `last` by compare-and-swap on the members' Service: only the operator that wins may create
    /// StatefulSets of these ordinals.
    ReserveOrdinals {
        /// The Service as observed.
        service: Seen,
        /// First reserved ordinal.
        first: Ordinal,
        /// Last reserved ordinal.
        last: Ordinal,
    },
    /// Creates a member's StatefulSet: of an ordinal that this process reserved, or of a member whose ID is announced in it.
    /// It succeeds if the StatefulSet exists already. Never an apply, which could bring back a deleted one.
    CreateSet {
        /// The member.
        ordinal: Ordinal,
        /// The StatefulSet to create.
        set: Box<StatefulSet>,
    },
    /// Creates the Secret with the cluster's identity. If it exists already, this pass ends and the next one reads it.
    CreateIdentity(Box<Secret>),
    /// Notes on the members' Service that this cluster had a leader, which later reports rely on.
    NoteFormed {
        /// The Service as observed.
        service: Seen,
        /// The cluster.
        cluster: ClusterId,
    },
    /// Writes the ID under which a member may enter the configuration onto its StatefulSet, by compare-and-swap.
    Announce {
        /// The StatefulSet as observed, without an ID.
        set: Seen,
        /// The ID that the member's disk generated.
        id: MemberId,
    },
    /// Labels a volume claim with the data that it holds.
    LabelVolume {
        /// The claim as observed.
        volume: Seen,
        /// The cluster that the data belongs to.
        cluster: ClusterId,
        /// The member that the data belongs to.
        id: MemberId,
    },
    /// Labels a pod with its member's role, for Services and the disruption budget.
    LabelPod {
        /// The pod as observed.
        pod: Seen,
        /// The role.
        role: Role,
    },
    /// Deletes the StatefulSet of a member that is gone for good (a linearizable read showed its ID as removed and in neither
    /// half of the configuration; IDs never return), or of one that can never have been admitted, as no ID was announced.
    DeleteSet {
        /// The StatefulSet as observed. Its resource version is a precondition: it changes when an ID is announced, and when
        /// another operator changes what becomes of the volume.
        set: Seen,
    },
    /// Evicts a pod so that it comes back with new settings. The disruption budget may refuse, so that two operators together
    /// never stop two voters.
    EvictPod {
        /// The pod as observed; its UID is a precondition.
        pod: Seen,
    },
    /// Deletes a pod that never started, so that it is made anew with new settings.
    DeletePod {
        /// The pod as observed; its UID is a precondition.
        pod: Seen,
    },
}

/// A call to a member.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberAction {
    /// Makes a blank member part of the new cluster.
    Bootstrap {
        /// The member to call.
        member: Ordinal,
        /// The whole identity.
        identity: Box<ClusterIdentity>,
        /// Every first voter, in the identity's order, with addresses.
        voters: Vec<(MemberId, MemberInfo)>,
    },
    /// Makes a blank member the only voter of a cluster that starts from a backup.
    Restore {
        /// The member to call.
        member: Ordinal,
        /// The new cluster.
        cluster: ClusterId,
        /// Its token.
        token: Token,
        /// The ID that the member will have.
        id: MemberId,
        /// The member's name and addresses.
        info: MemberInfo,
        /// The backup to restore.
        place: Box<BackupPlace>,
    },
    /// Tells a blank member which cluster will add it.
    Join {
        /// The member to call.
        member: Ordinal,
        /// The cluster.
        cluster: ClusterId,
        /// Its token.
        token: Token,
        /// The ID that the member will have.
        id: MemberId,
        /// The member's name and addresses.
        info: MemberInfo,
    },
    /// Changes membership, compare-and-swapped on the configuration index.
    ChangeMembership {
        /// The leader.
        leader: Ordinal,
        /// The change.
        change: Change,
    },
    /// Transfers leadership.
    TransferLeadership {
        /// The leader.
        leader: Ordinal,
        /// The member that takes over.
        target: MemberId,
    },
}

/// A wanted configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the configuration that it was computed from.
    pub expected: u64,
    /// The voters.
    pub voters: Vec<MemberId>,
    /// The learners.
    pub learners: Vec<MemberId>,
    /// Name and addresses of each of them.
    pub members: Vec<(MemberId, MemberInfo)>,
}

/// How an action is named, reported and treated: its row in the table of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name in metrics, logs and events. A label value of metrics: it never changes.
    pub name: &'static str,
    /// Words that report a failure when the subject follows, such as "creating StatefulSet".
    pub words: &'static str,
    /// The object, member or configuration that it is about. Never anything secret.
    pub subject: String,
    /// How the pass goes on when it fails.
    pub on_failure: OnFailure,
    /// When its effect shows.
    pub timing: Timing,
    /// Text of the event that reports it, if it changes who is in the cluster or which member runs.
    pub event: Option<String>,
}

/// How the pass goes on when an action fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// With the next action, which does not depend on this one.
    GoOn,
    /// Not at all: the actions after it may depend on it.
    Stop,
}

/// When an action's effect shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// In the next observation, so that the next step may be possible at once.
    AtOnce,
    /// After a while: the member accepts the order each time that it is repeated and carries it out in its own time.
    Later {
        /// The member.
        member: Ordinal,
    },
}

impl Action {
    /// Its row in the table of its kind.
    #[must_use]
    pub fn describe(&self) -> Description {
        match self {
            Self::Write(write) => write.describe(),
            Self::Call(call) => call.describe(),
        }
    }
}

impl ObjectAction {
    /// The table of writes: one row an action.
    #[must_use]
    pub fn describe(&self) -> Description {
        use OnFailure::{GoOn, Stop};
        let row = Description::new;
        match self {
            Self::Apply(object) => row("Apply", "applying", object.to_string(), Stop),
            Self::ReserveOrdinals { first, last, .. } => {
                row("ReserveOrdinals", "reserving ordinals", format!("{first} to {last}"), Stop)
            }
            Self::CreateSet { set, .. } => row("CreateSet", "creating StatefulSet", named(&set.metadata), GoOn),
            Self::CreateIdentity(secret) => row("CreateRecord", "creating the identity", named(&secret.metadata), Stop)
                .with_event("the cluster has its identity".to_owned()),
            Self::NoteFormed { service, .. } => {
                row("NoteFormed", "noting that the cluster was formed", service.name.clone(), GoOn)
            }
            Self::Announce { set, .. } => row("Announce", "announcing the ID of", set.name.clone(), GoOn),
            Self::LabelVolume { volume, .. } => row("LabelVolume", "labelling volume claim", volume.name.clone(), GoOn),
            Self::LabelPod { pod, .. } => row("LabelPod", "labelling pod", pod.name.clone(), GoOn),
            Self::DeleteSet { set } => row("DeleteSet", "deleting StatefulSet", set.name.clone(), Stop)
                .with_event(format!("{} is removed", set.name)),
            Self::EvictPod { pod } => row("EvictPod", "evicting pod", pod.name.clone(), Stop)
                .with_event(format!("{} restarts with new settings", pod.name)),
            Self::DeletePod { pod } => row("DeletePod", "deleting pod", pod.name.clone(), Stop),
        }
    }
}

impl MemberAction {
    /// The table of calls: one row an action.
    #[must_use]
    pub fn describe(&self) -> Description {
        use OnFailure::{GoOn, Stop};
        let row = Description::new;
        match self {
            Self::Bootstrap { member, .. } => row("Bootstrap", "bootstrapping", format!("member {member}"), GoOn),
            Self::Restore { member, info, place, .. } => row("Restore", "restoring", info.name.clone(), GoOn)
                .with_event(format!("{} restores {}", info.name, place.manifest))
                .in_own_time(*member),
            Self::Join { info, .. } => row("Join", "joining", info.name.clone(), GoOn),
            Self::ChangeMembership { change, .. } => {
                let counts = format!("{} voters and {} learners", change.voters.len(), change.learners.len());
                let subject = format!("from index {} to {counts}", change.expected);
                row("ChangeMembership", "changing membership", subject, Stop)
                    .with_event(format!("membership changes to {counts}"))
            }
            Self::TransferLeadership { leader, target } => {
                let subject = format!("member {leader}");
                row("TransferLeadership", "transferring leadership from", subject, Stop)
                    .with_event(format!("leadership is transferred to {target}"))
            }
        }
    }

    /// The member to call.
    #[must_use]
    pub fn member(&self) -> Ordinal {
        match self {
            Self::Bootstrap { member, .. } | Self::Restore { member, .. } | Self::Join { member, .. } => *member,
            Self::ChangeMembership { leader, .. } | Self::TransferLeadership { leader, .. } => *leader,
        }
    }
}

impl Description {
    fn new(name: &'static str, words: &'static str, subject: String, on_failure: OnFailure) -> Self {
        Self { name, words, subject, on_failure, timing: Timing::AtOnce, event: None }
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

fn named(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}
