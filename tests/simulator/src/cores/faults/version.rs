//! Members of an older and a newer version in one cluster: members restart one after another, and each start draws the
//! version, which may be newer or older than before.

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
