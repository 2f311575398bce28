//! What the planner may ask for: each safe by itself, whenever and however late it is carried out, by however many
//! operators. Carrying out is the shell's.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::identity::{BackupPlace, Record};
use crate::ids::{ClusterId, MemberId, Token};
use crate::names::{Ordinal, Role};
use crate::observed::Seen;
use crate::observed::member::MemberInfo;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Server-side apply. An object that was seen carries its UID, so that applying never brings a deleted one back.
    Apply(Box<Object>),
    /// Give away ordinals up to `last`, by compare-and-swap on the members' Service: whoever wins, and nobody else, may
    /// create StatefulSets of these ordinals.
    ReserveOrdinals {
        /// The Service as seen.
        service: Seen,
        /// First ordinal given away.
        first: Ordinal,
        /// Last ordinal given away.
        last: Ordinal,
    },
    /// Create a member's StatefulSet: of an ordinal this process reserved, or of a member whose ID is announced in it.
    /// That it exists already is success. Never an apply.
    CreateSet {
        /// The member.
        ordinal: Ordinal,
        /// What to create.
        set: Box<StatefulSet>,
    },
    /// Create the record. That it exists already ends this pass: look again and go on with what is there.
    CreateRecord(Box<Secret>),
    /// Note on the members' Service that this cluster had a leader, for the words of later reports.
    NoteFormed {
        /// The Service as seen.
        service: Seen,
        /// The cluster.
        cluster: ClusterId,
    },
    /// Write the ID under which a member may enter the configuration onto its StatefulSet, by compare-and-swap.
    Announce {
        /// The StatefulSet as seen: without an ID.
        set: Seen,
        /// What its disk minted.
        id: MemberId,
    },
    /// Label a volume claim with what it holds.
    LabelVolume {
        /// The claim as seen.
        volume: Seen,
        /// Whose data.
        cluster: ClusterId,
        /// Which member's.
        id: MemberId,
    },
    /// Label a pod with what its member is, for Services and the disruption budget.
    LabelPod {
        /// The pod as seen.
        pod: Seen,
        /// What it is.
        role: Role,
    },
    /// Make a blank member part of the new cluster.
    Bootstrap {
        /// Whom to call.
        member: Ordinal,
        /// The record, whole.
        record: Box<Record>,
        /// Everyone in it, in the record's order, with addresses.
        voters: Vec<(MemberId, MemberInfo)>,
    },
    /// Make a blank member the only voter of a cluster that starts from a backup.
    Restore {
        /// Whom to call.
        member: Ordinal,
        /// The new cluster.
        cluster: ClusterId,
        /// Its token.
        token: Token,
        /// Who it will be.
        id: MemberId,
        /// Its name and addresses.
        info: MemberInfo,
        /// What to restore.
        place: Box<BackupPlace>,
    },
    /// Tell a blank member which cluster it is to be added to.
    Join {
        /// Whom to call.
        member: Ordinal,
        /// The cluster.
        cluster: ClusterId,
        /// Its token.
        token: Token,
        /// Who it will be.
        id: MemberId,
        /// Its name and addresses.
        info: MemberInfo,
    },
    /// Change membership, compare-and-swapped on the configuration index.
    ChangeMembership {
        /// The leader.
        leader: Ordinal,
        /// From where to where.
        change: Change,
    },
    /// Hand leadership over.
    TransferLeadership {
        /// The leader.
        leader: Ordinal,
        /// To whom.
        target: MemberId,
    },
    /// Delete the StatefulSet of a member that is gone for good (a linearizable read showed its ID as removed and in neither
    /// half of the configuration; IDs never return), or that can never have been anybody: no ID was announced on it.
    DeleteSet {
        /// The StatefulSet as seen; its resource version is a precondition. Announcing an ID changes that, and so does what
        /// another operator says of the volume's fate.
        set: Seen,
    },
    /// Evict a pod so that it comes back with new settings: the disruption budget has the last word, so that two operators
    /// together take no more than one.
    EvictPod {
        /// The pod as seen; its UID is a precondition.
        pod: Seen,
    },
    /// Delete a pod that never started, so that it tries with new settings.
    DeletePod {
        /// The pod as seen; its UID is a precondition.
        pod: Seen,
    },
}

/// An object to apply.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Box<Service>),
    /// The voters' disruption budget.
    Budget(Box<PodDisruptionBudget>),
    /// A member that exists.
    Set(Box<StatefulSet>),
}

/// A wanted configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the configuration it was computed from.
    pub expected: u64,
    /// Who is to vote.
    pub voters: Vec<MemberId>,
    /// Who is to follow without a vote.
    pub learners: Vec<MemberId>,
    /// Name and addresses of all of them.
    pub members: Vec<(MemberId, MemberInfo)>,
}

/// What to do with the rest of the pass when an action fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The others do not rest on it.
    GoOn,
    /// Those after it may rest on it.
    Stop,
}

impl Action {
    /// What to do with the rest of the pass when this fails.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        match self {
            Self::LabelVolume { .. }
            | Self::LabelPod { .. }
            | Self::NoteFormed { .. }
            | Self::Bootstrap { .. }
            | Self::Restore { .. }
            | Self::Join { .. }
            | Self::CreateSet { .. }
            | Self::Announce { .. } => OnFailure::GoOn,
            Self::Apply(_)
            | Self::ReserveOrdinals { .. }
            | Self::CreateRecord(_)
            | Self::ChangeMembership { .. }
            | Self::TransferLeadership { .. }
            | Self::DeleteSet { .. }
            | Self::EvictPod { .. }
            | Self::DeletePod { .. } => OnFailure::Stop,
        }
    }
}
