//! Condition types and reasons, each with its meaning, as one list: the planner sets them, `kubectl` prints them and
//! the reference page explains them. Which of them holds when is decided in the planner.

use std::fmt;

/// Declares an enum of words whose documentation is also data, so that the reference page cannot drift from the code.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[doc = $doc:literal])+ $word:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $word,)+
        }

        impl $name {
            /// Every one of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// The word as it stands in a resource.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)+
                }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$word => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The one with this word, if there is one.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The `type` of a condition.
    ConditionType {
        /// True when the object is what its spec asks for and serves: a cluster has a leader and its wanted members, a
        /// backup is complete.
        Ready,
        /// True while the operator is changing something, or waits for something that can still come.
        Reconciling,
        /// True when nothing more will happen until a person acts; the message says what to do. `kubectl wait`, Helm
        /// and Argo CD give up on it.
        Stalled,
        /// True when a cluster serves with less than it should have; the message names the members.
        Degraded,
        /// True when members can write and read the object store. Absent without `spec.backup`.
        BackupReady,
        /// True when all traffic is protected. In this version always False, with the reason Plaintext.
        Secured,
    }
}

words! {
    /// The `reason` of a condition: what is so, in one word.
    Reason {
        /// All wanted members serve, and nothing is to be done.
        Healthy,
        /// The spec is carried out.
        UpToDate,
        /// Nothing stands in the way.
        NotStalled,

        /// Members are being started for the first time, and have no cluster yet.
        Bootstrapping,
        /// A member fills its volume from a backup; the others join afterwards.
        Restoring,
        /// Members are being added.
        ScalingUp,
        /// Members are being removed.
        ScalingDown,
        /// A member that is lost or stayed away is being replaced.
        ReplacingMember,
        /// A change to how members run is being rolled out, one member at a time.
        RollingOut,
        /// `spec.paused` is true: nothing is changed.
        Paused,
        /// The object is being deleted.
        Deleting,

        /// Fewer voters than a majority answer: nothing can be written. Bring machines or volumes back; the operator
        /// never forms a new cluster over an old one.
        QuorumLost,
        /// A majority answers, but no leader is elected at this moment.
        NoLeader,
        /// Pods have not become ready yet.
        MembersNotReady,
        /// A member does not answer; it is replaced after `spec.replacement.delay`.
        MemberUnreachable,
        /// A member answers the operator, but the leader does not hear it: look for what cuts members off from each other,
        /// such as a NetworkPolicy. Until then it votes on nothing, and no other member is restarted.
        MemberCutOff,
        /// A member came back with an empty volume; it is replaced.
        MemberBlank,
        /// A member's volume holds damage that it cannot mend; it is replaced.
        MemberDamaged,
        /// A member's program ends again and again; see its log.
        MemberCrashing,
        /// A new member, or one that was away, has not caught up with the leader yet.
        LearnerBehind,
        /// A change of membership is in the log but not committed yet.
        ChangeInFlight,
        /// The change would leave fewer healthy voters than a majority.
        UnsafeChange,
        /// A member is lost or stays away, and is not replaced, as `spec.replacement.enabled` is false.
        ReplacementDisabled,
        /// A pod fits no node: not enough processor or memory, or taints and affinity exclude all.
        Unschedulable,
        /// A volume is not bound: no such StorageClass, no default one, or its provisioner cannot provide it.
        VolumePending,
        /// A node cannot pull the image.
        ImagePullFailed,
        /// Something that a pod needs, such as a Secret or a PriorityClass, does not exist or is not allowed.
        PodRejected,
        /// An object of a name that the cluster needs belongs to somebody else.
        NameTaken,

        /// The spec contradicts itself in a way that admission could not see; the message names the field.
        InvalidSpec,
        /// Voters of the first configuration lost their volumes before the cluster was formed, no majority is left, and all
        /// that are left say that they are empty: nothing is lost. Delete the RaftCluster with its volumes and create it again.
        BootstrapIncomplete,
        /// Volumes that hold data exist under names that a new, empty cluster would use, most often those of an earlier
        /// one. They are never taken up again by this version: delete them, or create the RaftCluster with
        /// `bootstrap.restore`, which starts beside them.
        RetainedVolumes,
        /// The cluster existed, but all its members are blank: its data is lost. Restore a backup into a RaftCluster
        /// with a new name.
        AwaitingRestore,
        /// The cluster was formed, but the Secret with its identity is gone, or is one that its members refuse: none of them
        /// is replaced or deleted. Members go on serving. Restore the Secret from a copy; without one, copy the data out with a client into a
        /// new RaftCluster.
        IdentityLost,
        /// The backup to start from cannot be restored; the message tells why.
        RestoreFailed,

        /// Members can write and read the object store.
        StoreReachable,
        /// The cluster has no `spec.backup.objectStore`.
        NoObjectStore,
        /// No member is there to look at the object store.
        StoreUnknown,
        /// The object store does not answer at its endpoint.
        StoreUnreachable,
        /// The object store answers, and refuses for a reason of its own, which the message tells.
        StoreRefused,
        /// The credentials Secret does not exist, or lacks a key.
        CredentialsMissing,
        /// The object store refuses the credentials, or what they may do.
        CredentialsRefused,
        /// The bucket does not exist.
        BucketMissing,

        /// The backup is complete and can be restored.
        Completed,
        /// A member uploads the backup.
        Uploading,
        /// The backup waits for something; the message tells what.
        Waiting,
        /// The RaftCluster to back up does not exist.
        ClusterNotFound,
        /// The last attempt failed and another one follows; the message tells why.
        BackupFailed,
        /// There is no such RaftBackup, or nothing under that key in the bucket.
        BackupNotFound,
        /// The RaftBackup to restore is not complete.
        BackupIncomplete,
        /// What is in the bucket does not match its checksums.
        BackupCorrupt,
        /// The manifest names another cluster than the one asked for.
        BackupForeign,

        /// Traffic is not encrypted and clients are not authenticated: this version has no TLS.
        Plaintext,
    }
}
