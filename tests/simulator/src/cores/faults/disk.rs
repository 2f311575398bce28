//! Disks go wrong: a sync takes very long or fails, the disk is full, nothing can be read for a while, a record is
//! damaged, or a disk is lost for good with its member. Owns the limit of what may be lost: as little as Raft is built
//! to survive, so never a majority of any configuration that may still decide.

use std::time::Duration;

use raft::MemberId;
use world::disk::Misdirection;

use crate::cores::CoreCluster;
use crate::cores::sabotage::Sabotage;
use crate::invariant::Checked;

/// A disk stalls.
pub(in crate::cores) fn stall(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    let span = cluster.random.long_tailed(Duration::from_millis(50), Duration::from_secs(12));
    let until = cluster.now() + span;
    if let Some(member) = cluster.members.get_mut(&id) {
        member.stalled_until = until;
    }
    cluster.note_line(|| format!("the disk of {id} stalls for {span:?}"));
}

/// The next sync of some disk fails.
pub(in crate::cores) fn fail_sync(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    if let Some(member) = cluster.members.get_mut(&id) {
        member.sync_fails = true;
    }
    cluster.note_line(|| format!("the next sync of {id} fails"));
}

/// A disk is full for a while.
pub(in crate::cores) fn fill(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    let span = cluster.random.long_tailed(Duration::from_millis(5), Duration::from_secs(6));
    let until = cluster.now() + span;
    if let Some(member) = cluster.members.get_mut(&id) {
        member.full_until = until;
    }
    cluster.note_line(|| format!("the disk of {id} is full for {span:?}"));
}

/// A disk answers reads with errors for a while; nothing on it is lost. Every other time its member restarts, and so
/// must read.
///
/// # Errors
/// Returns a violation if the disk holds something wrong after the restart.
pub(in crate::cores) fn fail_reads(cluster: &mut CoreCluster) -> Checked {
    let leaders = cluster.leaders();
    let all: Vec<MemberId> = cluster.members.keys().copied().collect();
    let chosen = if !leaders.is_empty() && cluster.random.coin() { leaders } else { all };
    let id = *cluster.random.pick(&chosen);
    let span = cluster.random.long_tailed(Duration::from_millis(5), Duration::from_secs(6));
    let until = cluster.now() + span;
    if let Some(member) = cluster.members.get_mut(&id) {
        member.unreadable_until = until;
    }
    cluster.note_line(|| format!("the disk of {id} cannot be read for {span:?}"));
    if cluster.random.coin() { cluster.crash(id) } else { Ok(()) }
}

/// A disk is lost for good, if the cluster can bear it.
///
/// # Errors
/// Returns a violation if a careless member finds something wrong afterwards.
pub(in crate::cores) fn wipe(cluster: &mut CoreCluster) -> Checked {
    let Some(id) = expendable(cluster) else { return Ok(()) };
    cluster.coverage.wipes += 1;
    if cluster.sabotage() == Some(Sabotage::RejoinsWithEmptyDisk) {
        return cluster.restart_empty(id);
    }
    cluster.destroy(id);
    Ok(())
}

/// A synced record goes bad, if the cluster can bear to lose its member; that notices at its next start, which is now.
///
/// # Errors
/// Returns a violation if a careless member finds something wrong afterwards.
pub(in crate::cores) fn ail(cluster: &mut CoreCluster, misdirection: Misdirection) -> Checked {
    let Some(id) = expendable(cluster) else { return Ok(()) };
    let Some(disk) = cluster.disks.get_mut(&id) else { return Ok(()) };
    if disk.is_lost() || !disk.ail(&mut cluster.random, misdirection) {
        return Ok(());
    }
    cluster.coverage.ailments += 1;
    if let Some(member) = cluster.members.get_mut(&id) {
        // It is found at once, or others could go bad that the cluster cannot bear to lose as well.
        member.unreadable_until = Duration::ZERO;
    }
    cluster.crash(id)?;
    cluster.start(id)
}

/// A member that the cluster can bear to lose.
fn expendable(cluster: &mut CoreCluster) -> Option<MemberId> {
    let (_, committed) = cluster.invariants.ledger.committed_configuration()?;
    let candidates: Vec<MemberId> = committed.voters.iter().chain(&committed.learners).copied().collect();
    let id = *cluster.random.pick(&candidates);
    let mut dead = cluster.dead();
    (dead.insert(id) && cluster.invariants.ledger.can_bear(&dead)).then_some(id)
}
