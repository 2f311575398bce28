//! Owns the records that make a blank member part of a cluster. Does not own writing them: the program makes them durable, once.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use raft::{MemberId, MemberInfo, SnapshotMeta};
pub use storage::ClusterId;
use storage::Snapshots;

/// The immutable record of a new cluster (admin.proto `BootstrapRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapRecord {
    /// The new cluster.
    pub cluster: ClusterId,
    /// What administrative calls must carry from now on; only its SHA-256 is kept.
    pub token: String,
    /// The first voters; the receiver must be one of them.
    pub voters: BTreeMap<MemberId, MemberInfo>,
    /// The receiver's own name; must be the one among `voters`.
    pub name: String,
}

/// Which running cluster a blank member is to be added to (admin.proto `JoinRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRecord {
    /// The running cluster.
    pub cluster: ClusterId,
    /// As in [`BootstrapRecord::token`].
    pub token: String,
    /// Whom the sender takes the receiver for; must be the receiver's own ID.
    pub member: MemberId,
    /// The receiver's name and addresses.
    pub info: MemberInfo,
}

/// A backup that is being fetched.
pub type Fetching = Pin<Box<dyn Future<Output = Result<SnapshotMeta, RestoreFailure>> + Send>>;

/// Fetches a backup as a received snapshot, whose configuration has the member as its only voter. Dropped at any time, it
/// leaves the volume as blank as before.
pub type Fetch = Box<dyn FnOnce(Snapshots) -> Fetching + Send>;

/// Bytes done, and bytes there are.
pub type FetchProgress = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// From which backup a blank member is to start a new cluster as its only voter (admin.proto `RestoreRequest`).
pub struct RestoreRecord {
    /// The new cluster, and who the receiver is in it.
    pub join: JoinRecord,
    /// Which backup, for reports and to tell one order from another.
    pub backup: String,
    /// How it is fetched.
    pub fetch: Fetch,
    /// How far that is.
    pub progress: FetchProgress,
}

impl fmt::Debug for RestoreRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreRecord").field("backup", &self.backup).finish_non_exhaustive()
    }
}

/// Why a backup was not fetched. The volume is as blank as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreFailure {
    /// One word for machines (admin.proto `RestoreProgress.cause`).
    pub cause: String,
    /// What happened and what to do.
    pub reason: String,
}
