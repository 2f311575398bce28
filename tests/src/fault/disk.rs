//! Disks go wrong: a sync takes very long, or a disk is lost for good with its member. Owns the limit of what may be lost: as
//! little as Raft is built to survive, so never a majority of any configuration that may still decide.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::{Configuration, MemberId};

use crate::cluster::simulated::Simulated;

/// A disk stalls.
pub fn stall(cluster: &mut Simulated) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    let span = cluster.random.long_tailed(Duration::from_millis(50), Duration::from_secs(12));
    let until = cluster.now() + span;
    if let Some(member) = cluster.members.get_mut(&id) {
        member.stalled_until = until;
    }
    cluster.note_line(|| format!("the disk of {id} stalls for {span:?}"));
}

/// A disk is lost for good, if the cluster can bear it.
pub fn wipe(cluster: &mut Simulated) {
    let Some((_, committed)) = cluster.invariants.ledger.committed_configuration() else { return };
    let candidates: Vec<MemberId> = committed.voters.iter().chain(&committed.learners).copied().collect();
    let id = *cluster.random.pick(&candidates);
    let mut dead = cluster.dead();
    if !dead.insert(id) || !can_bear(cluster, &dead) {
        return;
    }
    cluster.totals.wipes += 1;
    cluster.destroy(id);
}

/// Whether every configuration that may still decide keeps a majority without the dead.
fn can_bear(cluster: &Simulated, dead: &BTreeSet<MemberId>) -> bool {
    let ledger = &cluster.invariants.ledger;
    let since = ledger.committed_configuration().map_or(raft::Index(0), |(index, _)| index);
    let keeps = |configuration: &Configuration| {
        [&configuration.voters, &configuration.outgoing]
            .into_iter()
            .all(|half| half.is_empty() || half.difference(dead).count() > half.len() / 2)
    };
    cluster.members.keys().all(|id| {
        let logged = ledger.ghost(*id).configurations().iter();
        logged.filter(|(index, _)| *index >= since).all(|(_, configuration)| keeps(configuration))
    })
}
