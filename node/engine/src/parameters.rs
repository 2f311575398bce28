//! Owns the requests that make a blank member part of a cluster. Does not own the execution of the requests. The
//! program executes them, and writes the cluster identity to the volume.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use mvcc::FeatureLevel;
use raft::{MemberId, MemberInfo, SnapshotMeta};
pub use storage::ClusterId;
use storage::Snapshots;

/// A secret that administrative calls carry. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Identity of a new cluster, which never changes (admin.proto `BootstrapRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapParameters {
    /// ID of the new cluster.
    pub cluster: ClusterId,
    /// Secret that administrative calls must carry from now on; only its SHA-256 is kept.
    pub token: Token,
    /// The first voters. The member that receives the request must be one of them.
    pub voters: BTreeMap<MemberId, MemberInfo>,
    /// Name of the member that receives the request. Must equal this member's name in `voters`.
    pub name: String,
}

/// The running cluster that is to add a blank member (admin.proto `JoinRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinParameters {
    /// ID of the running cluster.
    pub cluster: ClusterId,
    /// Secret, as [`BootstrapParameters::token`].
    pub token: Token,
    /// ID that the caller expects the called member to have. It must equal this member's ID.
    pub member: MemberId,
    /// Name and addresses of the called member.
    pub info: MemberInfo,
    /// Feature level of the running cluster.
    pub level: FeatureLevel,
}

/// Future that completes when the backup is fetched or the fetch has failed.
pub type Fetching = Pin<Box<dyn Future<Output = Result<SnapshotMeta, RestoreFailure>> + Send>>;

/// Function that fetches a backup and stores it as a received snapshot, in whose configuration the member is the only voter.
/// Dropping the future at any time leaves the volume blank.
pub type Fetch = Box<dyn FnOnce(Snapshots) -> Fetching + Send>;

/// Function that returns the number of bytes fetched so far and the total number of bytes.
pub type FetchProgress = Arc<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Request to a blank member to start a new cluster from a backup, as its only voter (admin.proto `RestoreRequest`).
pub struct RestoreParameters {
    /// ID of the new cluster, and the name and addresses of the called member in it.
    pub join: JoinParameters,
    /// Name of the backup. It appears in status reports and identifies a repeated request.
    pub backup: String,
    /// Fetches the backup.
    pub fetch: Fetch,
    /// Reports how much of the backup has been fetched.
    pub progress: FetchProgress,
}

impl fmt::Debug for RestoreParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreParameters").field("backup", &self.backup).finish_non_exhaustive()
    }
}

/// Why a backup was not fetched. The volume is still blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreFailure {
    /// The cause as one word that programs can evaluate (admin.proto `RestoreProgress.cause`).
    pub cause: String,
    /// Message for people: what happened and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        let record = BootstrapParameters {
            cluster: ClusterId([1; 16]),
            token: Token("secret".to_owned()),
            voters: BTreeMap::new(),
            name: "demo-1".to_owned(),
        };
        assert!(!format!("{record:?}").contains("secret"));
    }
}
