//! Leadership transfers at random times. Does not own membership changes (`crate::churn`).

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;

/// Requests that a leader transfers its leadership, to a random member or to any voter.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) {
    let leaders = cluster.leaders();
    if leaders.is_empty() {
        return;
    }
    let leader = *cluster.random.pick(&leaders);
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let target = cluster.random.coin().then(|| *cluster.random.pick(&ids));
    cluster.input_now(leader, Input::Transfer { target });
}
