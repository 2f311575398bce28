//! Leadership transfers at random times. Does not own membership changes (`crate::churn`).

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;

/// Sends a leadership transfer request to a random leader. The requested successor is a random member or any voter.
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
