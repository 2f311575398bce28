//! Pauses members, as if their processes were stopped or got no processor time.

use std::time::Duration;

use raft::MemberId;

use crate::cores::CoreCluster;

/// Pauses one member.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) {
    let leaders = cluster.leaders();
    let all: Vec<MemberId> = cluster.members.keys().copied().collect();
    let chosen = if !leaders.is_empty() && cluster.random.coin() { leaders } else { all };
    let id = *cluster.random.pick(&chosen);
    let election = cluster.profile.config.election_timeout;
    let span = cluster.random.long_tailed(Duration::from_millis(5), election * 6);
    cluster.pause(id, span);
}
