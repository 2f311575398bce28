//! Calls to members. Owns the parameters of each call, and a table ([`MemberAction::describe`]) with one row per call.
//! Does not own how a call is carried out (the shell's `member/client.rs`).

use super::{Change, Description, OnFailure, Prerequisite};
use crate::identity::{BackupPlace, ClusterIdentity};
use crate::ids::{ClusterId, MemberId, Token};
use crate::names::Ordinal;
use crate::observed::member::MemberInfo;

/// A call to a member.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberAction {
    /// Makes a blank member part of the new cluster.
    Bootstrap {
        /// The member to call.
        member: Ordinal,
        /// The whole identity.
        identity: Box<ClusterIdentity>,
        /// The first voters with their names and addresses, in the order of the identity.
        voters: Vec<(MemberId, MemberInfo)>,
    },
    /// Makes a blank member the only voter of a cluster that starts from a backup.
    Restore {
        /// The member to call.
        member: Ordinal,
        /// The new cluster.
        cluster: ClusterId,
        /// The token of the new cluster.
        token: Token,
        /// The ID that the member will have.
        id: MemberId,
        /// The member's name and addresses.
        info: MemberInfo,
        /// The backup to restore.
        place: Box<BackupPlace>,
    },
    /// Informs a blank member which cluster will add it.
    Join {
        /// The member to call.
        member: Ordinal,
        /// The cluster.
        cluster: ClusterId,
        /// The token of the cluster.
        token: Token,
        /// The ID that the member will have.
        id: MemberId,
        /// The member's name and addresses.
        info: MemberInfo,
        /// The cluster's feature level. A member that does not support it refuses the call.
        level: u32,
    },
    /// Changes the membership, if the index of the configuration is still `change.expected`.
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
        /// The member that becomes the leader.
        target: MemberId,
    },
    /// Raises the feature level of the cluster. The leader refuses unless every member states that it supports the
    /// level. A level that holds already succeeds.
    RaiseFeatureLevel {
        /// The leader.
        leader: Ordinal,
        /// The level.
        to: u32,
    },
}

impl MemberAction {
    /// The table of calls, with one row per action.
    #[must_use]
    pub fn describe(&self) -> Description {
        use OnFailure::GoOn;
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
                let adds_voters = change.voters.len() > change.present_voters;
                row("ChangeMembership", "changing membership", subject, GoOn)
                    .needing(adds_voters.then_some(Prerequisite::Budget))
                    .with_event(format!("membership changes to {counts}"))
            }
            Self::TransferLeadership { leader, target } => {
                let subject = format!("member {leader}");
                row("TransferLeadership", "transferring leadership from", subject, GoOn)
                    .with_event(format!("leadership is transferred to {target}"))
            }
            Self::RaiseFeatureLevel { to, .. } => {
                let event = format!(
                    "feature level {to} is in force: images that support only a lower one can no longer run this cluster"
                );
                row("RaiseFeatureLevel", "raising the feature level to", to.to_string(), GoOn).with_event(event)
            }
        }
    }

    /// The member to call.
    #[must_use]
    pub fn member(&self) -> Ordinal {
        match self {
            Self::Bootstrap { member, .. } | Self::Restore { member, .. } | Self::Join { member, .. } => *member,
            Self::ChangeMembership { leader, .. }
            | Self::TransferLeadership { leader, .. }
            | Self::RaiseFeatureLevel { leader, .. } => *leader,
        }
    }
}
