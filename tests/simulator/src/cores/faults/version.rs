//! Members of an older and a newer version in one cluster. Members restart one after another. Each start chooses the
//! version at random, so that a member may change to the newer or to the older version.

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::invariant::Checked;

/// Restarts a member.
///
/// # Errors
/// Returns a violation if the content of its disk is wrong after the restart.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) -> Checked {
    let up: Vec<MemberId> = cluster.members.values().filter(|member| member.is_up()).map(|member| member.id).collect();
    if up.is_empty() {
        return Ok(());
    }
    let id = *cluster.random.pick(&up);
    cluster.coverage.rolls += 1;
    cluster.crash(id)
}
