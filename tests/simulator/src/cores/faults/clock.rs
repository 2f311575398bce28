//! Clock faults: the rate of a clock changes, or a wall clock jumps.

use raft::MemberId;
use world::clock::TRUE_RATE;

use crate::cores::CoreCluster;

/// Maximum deviation of a clock's rate from the true rate, in millionths.
const DRIFT_MAX: u64 = 200_000;
/// Maximum jump of a wall clock, in milliseconds.
const JUMP_MS_MAX: u64 = 3 * 24 * 3_600 * 1_000;

/// Changes the rate of a member's clock, or makes the member's wall clock jump.
pub(in crate::cores) fn strike(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    let now = cluster.now();
    let drift = cluster.random.between(0, 2 * DRIFT_MAX) as u32;
    let jump = cluster.random.between(0, 2 * JUMP_MS_MAX) as i64 - JUMP_MS_MAX as i64;
    let jumps = cluster.random.coin();
    let Some(member) = cluster.members.get_mut(&id) else { return };
    if jumps {
        member.clock.jump_wall(jump);
        cluster.note_line(|| format!("the wall clock of {id} jumps by {jump} ms"));
    } else {
        let rate = TRUE_RATE - DRIFT_MAX as u32 + drift;
        member.clock.set_rate(now, rate);
        cluster.note_line(|| format!("the clock of {id} now runs at {rate} us per second"));
    }
}
