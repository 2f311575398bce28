//! Leadership is handed over without need; changes of membership are the operator's.

use raft::MemberId;

use crate::cluster::simulated::Simulated;
use crate::cluster::simulated::member::Input;

/// Asks whoever leads to hand over, to somebody or to anybody.
pub fn transfer(cluster: &mut Simulated) {
    let leaders = cluster.leaders();
    if leaders.is_empty() {
        return;
    }
    let leader = *cluster.random.pick(&leaders);
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let target = cluster.random.coin().then(|| *cluster.random.pick(&ids));
    cluster.ask(leader, Input::Transfer { target });
}
