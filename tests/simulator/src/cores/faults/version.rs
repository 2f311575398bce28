//! Members of an older and a newer version side by side: one after the other is restarted, and runs from then on what
//! its start draws, forwards and back.

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::invariant::Checked;

/// Strikes once: a member is restarted.
///
/// # Errors
/// Returns a violation if its disk holds something wrong afterwards.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) -> Checked {
    let up: Vec<MemberId> = cluster.members.values().filter(|member| member.is_up()).map(|member| member.id).collect();
    if up.is_empty() {
        return Ok(());
    }
    let id = *cluster.random.pick(&up);
    cluster.coverage.rolls += 1;
    cluster.crash(id)
}
