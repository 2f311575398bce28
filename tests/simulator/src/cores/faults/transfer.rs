//! Leadership is handed over without need; changes of membership are the operator's.

use raft::MemberId;

use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;

/// Asks whoever leads to hand over, to somebody or to anybody.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) {
    let leaders = cluster.leaders();
    if leaders.is_empty() {
        return;
    }
    let leader = *cluster.random.pick(&leaders);
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let target = cluster.random.coin().then(|| *cluster.random.pick(&ids));
    cluster.ask(leader, Input::Transfer { target });
}
