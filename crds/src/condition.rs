//! Owns the condition types and reasons, each with its meaning: the planner sets them, `kubectl` prints them and the
//! reference page explains them. Does not own the rules for when a condition holds (`operator/plan/src/status.rs`).

use std::fmt;

/// Declares an enum whose documentation is also data, so that the reference page cannot differ from the code.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[doc = $doc:literal])+ $word:ident,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $word,)+
        }

        impl $name {
            /// All values, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// The word as it is written in a resource.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)+
                }
            }

            /// The documentation of the value, as one paragraph.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$word => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The value that is written as `word`; `None` if this version does not know it.
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
        /// True when the object matches its spec and serves: a cluster has a leader and all wanted members, a backup is
        /// complete.
        Ready,
        /// True while the operator changes something, or waits for something that can still happen by itself.
        Reconciling,
        /// True when the operator can do nothing more until a person acts; the message says what to do. `kubectl wait`,
        /// Helm and Argo CD then stop waiting and report a failure.
        Stalled,
        /// True when a cluster lacks healthy members, whether it still serves or not, or when a member that serves
        /// needs attention; the message names them.
        Degraded,
        /// True when members can write to and read from the object store. Absent without `spec.backup`.
        BackupReady,
        /// True when all traffic is encrypted and authenticated. Always False in this version, with the reason Plaintext.
        Secured,
    }
}

words! {
    /// The `reason` of a condition: one word for its cause.
    Reason {
        /// All wanted members serve.
        Healthy,
        /// The object matches its spec; no change is under way.
        UpToDate,
        /// Nothing requires a person to act.
        NotStalled,

        /// Members start for the first time; the cluster is not formed yet.
        Bootstrapping,
        /// The first member restores a backup into its volume; the other members join afterwards.
        Restoring,
        /// Members are being added.
        ScalingUp,
        /// Members are being removed.
        ScalingDown,
        /// A lost or unreachable member is being replaced.
        ReplacingMember,
        /// Members are restarted with new settings, one at a time.
        RollingOut,
        /// Volumes are expanded to `spec.storage.size`.
        GrowingVolumes,
        /// Members are replaced one at a time by members whose volumes are of the StorageClass
        /// `spec.storage.storageClassName`.
        MovingVolumes,
        /// A member that was restarted with new settings ended, refused its disk, or did not serve within
        /// `spec.rollout.progressDeadline`. No further member restarts, and the member keeps its volume. Take the change
        /// back, or correct it: the operator then restarts the member.
        RolloutFailed,
        /// The image of the spec does not support the feature level of the cluster, so that its members could not
        /// start; or it has a lower version than that of the last completed rollout, and may not be able to read what
        /// that one wrote. No member restarts. Set another image, or, because of a lower version only, annotate the
        /// RaftCluster with `raftoperator.io/allow-downgrade: "true"`.
        DowngradeRefused,
        /// `spec.stopped` is true, and the pods of members end.
        Stopping,
        /// `spec.stopped` is true, and no member runs.
        Stopped,
        /// The cluster is stopped, and deleting the RaftCluster would not do with the volumes that the message names what
        /// `spec.storage.retention.whenDeleted` says, because Kubernetes changes the fate of a volume only while its pod
        /// exists. Set `spec.stopped` to false, wait until the cluster is Ready, and stop it again; do not delete the
        /// RaftCluster before.
        RetentionPending,
        /// `spec.paused` is true: the operator changes nothing.
        Paused,
        /// The object is being deleted.
        Deleting,

        /// Fewer voters than a majority answer, so writes are impossible. Bring machines or volumes back; the operator
        /// never forms a new cluster over an existing one.
        QuorumLost,
        /// A majority answers or starts, but no leader is elected at the moment.
        NoLeader,
        /// Pods of members are not ready yet.
        MembersNotReady,
        /// A member does not answer; it is replaced once it has been unreachable for `spec.replacement.delay`.
        MemberUnreachable,
        /// A member answers the operator, but the leader receives no answer from it. Remove what separates the members
        /// from each other, such as a NetworkPolicy. Until then the operator does not restart other members.
        MemberCutOff,
        /// A member lost its data: its volume is empty or missing, or holds data of another member. The member is
        /// replaced.
        MemberBlank,
        /// A member's volume is damaged beyond repair, or its keyspace differs from that of a majority of the voters.
        /// It neither votes nor serves, and is replaced.
        MemberDamaged,
        /// A member runs a program that is too old: its volume holds what only a newer program reads, or it does not
        /// support the feature level of the cluster. Nothing is lost, its volume is kept, and the member is not
        /// replaced. Set `spec.image` to a newer image.
        MemberTooOld,
        /// A member fetches from the others what its disk has lost, and serves again by itself. It is replaced only if
        /// the repair makes no progress for `spec.replacement.delay`.
        MemberRepairing,
        /// The volume of a member has less free space than the member's reserve, which is kept for snapshots and
        /// deletions. The member does not lead. If no quorum of voters has more, puts are refused, and the cluster is
        /// not Ready. Both end by themselves: raise `spec.storage.size`, compact the history, or delete keys.
        DiskSpaceLow,
        /// A client has raised the alarm CORRUPT. Until a client clears it, writes and compactions are refused, and
        /// no member is ready. Members do not raise it: one whose keyspace differs from that of a majority serves
        /// nothing and is replaced.
        MembersDisagree,
        /// A member's process exits repeatedly; see its log.
        MemberCrashing,
        /// A learner has not caught up with the leader yet.
        LearnerBehind,
        /// A membership change is in the log but not committed yet.
        ChangeInFlight,
        /// A membership change would leave fewer healthy voters than a majority; it waits.
        UnsafeChange,
        /// The leader refused a membership change; the message has the leader's reason. The operator repeats the change with
        /// growing delays.
        ChangeRefused,
        /// A member is lost or unreachable, and is not replaced because `spec.replacement.enabled` is false.
        ReplacementDisabled,
        /// Every member number was used, so that no member can be created. A number is never used twice. Most often a person
        /// wrote a large number into an annotation or a name.
        OrdinalsExhausted,
        /// A pod fits no node: CPU or memory is insufficient, or taints and affinity exclude every node.
        Unschedulable,
        /// A volume is not bound: its StorageClass does not exist, there is no default one, or the provisioner failed.
        VolumePending,
        /// A node cannot pull the image.
        ImagePullFailed,
        /// Something that a pod needs, such as a Secret or a PriorityClass, does not exist or is forbidden.
        PodRejected,
        /// An object with a name that the cluster needs exists and belongs to another owner.
        NameTaken,
        /// The API server refuses to write an object that the cluster needs: a field is invalid, a quota is used up, or an
        /// admission policy forbids the write. The message quotes the API server. Correct the spec, or what forbids the
        /// write. Meanwhile everything that does not depend on this write goes on. The write is repeated with growing
        /// delays, at least twice a minute, and at once after a change of the spec.
        Refused,

        /// The spec contradicts itself in a way that the API server could not check; the message names the field.
        InvalidSpec,
        /// This version of the operator cannot read the object, for example because a newer version wrote it; the message
        /// names the field. Members continue to serve, the operator does nothing for this object, and other objects are
        /// not affected. Upgrade the operator, or correct the field.
        Unreadable,
        /// Voters of the first configuration lost their volumes before the cluster was formed, and no majority of them is
        /// left. No data is lost, because all remaining members report that they are empty. Delete the RaftCluster with
        /// its volumes and create it again.
        BootstrapIncomplete,
        /// Volumes of an earlier cluster of this name exist and are not taken up, because it is not certain that they belong
        /// together; the message lists the claims by cluster ID and says why. Set `bootstrap.takeUp.clusterID` to the cluster
        /// whose volumes to take up, restore a backup under a new name, or delete the claims.
        RetainedVolumes,
        /// The cluster was formed, but all its members are blank: its data is lost. Restore a backup into a RaftCluster
        /// with a new name.
        AwaitingRestore,
        /// The cluster was formed, but the Secret with its identity is missing, or its members refuse it. Members keep
        /// serving; the operator replaces and deletes none of them. Restore the Secret from a copy; without a copy, read
        /// the data with a client and write it into a new RaftCluster.
        IdentityLost,
        /// The backup named in `bootstrap.restore` cannot be restored; the message says why.
        RestoreFailed,
        /// The operator found a contradiction in its own plan, which is a defect of the operator. It does nothing for this
        /// cluster. Its members continue to serve, and other clusters are not affected. Report it with the operator's
        /// log.
        InternalError,

        /// Members can write to and read from the object store.
        StoreReachable,
        /// The cluster has no `spec.backup.objectStore`.
        NoObjectStore,
        /// No member has checked the object store yet.
        StoreUnknown,
        /// The object store does not answer at its endpoint.
        StoreUnreachable,
        /// The object store refuses requests, and no other reason in this list describes the cause; the message quotes
        /// the store.
        StoreRefused,
        /// The credentials Secret does not exist, or lacks a key.
        CredentialsMissing,
        /// The object store refuses the credentials, or does not grant them the rights that a backup needs.
        CredentialsRefused,
        /// The bucket does not exist.
        BucketMissing,

        /// The backup is complete and can be restored.
        Completed,
        /// A member is uploading the backup.
        Uploading,
        /// The backup waits; the message says for what.
        Waiting,
        /// The RaftCluster to back up does not exist.
        ClusterNotFound,
        /// The RaftCluster to back up is stopped (`spec.stopped`).
        ClusterStopped,
        /// The last attempt failed, and the operator will try again; the message says why it failed.
        BackupFailed,
        /// The RaftBackup does not exist, or the bucket has no manifest under the given key.
        BackupNotFound,
        /// The RaftBackup to restore is not complete.
        BackupIncomplete,
        /// The objects in the bucket do not match their checksums, or the backup is of a feature level that the
        /// program of the member does not support; the message says which.
        BackupCorrupt,
        /// The manifest belongs to another cluster than the requested one.
        BackupForeign,

        /// Traffic is not encrypted and clients are not authenticated, because this version has no TLS.
        Plaintext,
    }
}
