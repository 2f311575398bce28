//! Crashes of one member, of some members, or of all members simultaneously.

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::invariant::Checked;

/// Crashes one member, several or all.
///
/// # Errors
/// Returns a violation if the content of a disk is wrong after the crash.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) -> Checked {
    let up: Vec<MemberId> = cluster.members.values().filter(|member| member.is_up()).map(|member| member.id).collect();
    if up.is_empty() {
        return Ok(());
    }
    let leaders = cluster.leaders();
    let chosen = match cluster.random.below(8) {
        0 => up,
        1..=3 if !leaders.is_empty() => leaders,
        4 => up.into_iter().filter(|_| cluster.random.coin()).collect(),
        _ => vec![*cluster.random.pick(&up)],
    };
    chosen.into_iter().try_for_each(|id| cluster.crash(id))
}
