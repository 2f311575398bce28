//! Disk faults: a sync takes long or fails, the disk is full or short of space, reads fail for a while, a record is damaged, or a disk is
//! destroyed with its member. Owns the limit of the losses: in every configuration that may be in force, a majority of
//! the voters keep their disks, because Raft does not survive the loss of a majority.

use std::time::Duration;

use raft::{MemberId, Standing};
use world::disk::Misdirection;

use crate::cores::CoreCluster;
use crate::cores::driver_state::Input;
use crate::cores::sabotage::Sabotage;
use crate::invariant::Checked;

/// Stalls a disk.
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

/// Makes the next sync of a disk fail.
pub(in crate::cores) fn fail_sync(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    if let Some(member) = cluster.members.get_mut(&id) {
        member.sync_fails = true;
    }
    cluster.note_line(|| format!("the next sync of {id} fails"));
}

/// Fills a disk for a while.
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

/// Changes the space of a volume: it may become short, or be enough again.
pub(in crate::cores) fn change_standing(cluster: &mut CoreCluster) {
    let ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    let id = *cluster.random.pick(&ids);
    let standing = *cluster.random.pick(&[Standing::Above, Standing::Below, Standing::Below, Standing::Exhausted]);
    cluster.stand(id, standing);
}

impl CoreCluster {
    /// Sets the space of a volume. Its member learns it at once, or when it starts.
    pub(crate) fn stand(&mut self, id: MemberId, standing: Standing) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if std::mem::replace(&mut member.standing, standing) == standing {
            return;
        }
        self.coverage.standings += 1;
        self.note_line(|| format!("the volume of {id} is now {standing:?}"));
        self.input_now(id, Input::Standing(standing));
    }
}

/// Makes reads of a disk fail for a while; nothing on the disk is lost. With a probability of 1/2 the disk's member
/// restarts, so that it must read the disk.
///
/// # Errors
/// Returns a violation if the content of the disk is wrong after the restart.
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

/// Destroys the disk of a random member, if the cluster can lose that member.
///
/// # Errors
/// Returns a violation if a planted bug restarts the member with an empty disk and an invariant detects this.
pub(in crate::cores) fn wipe(cluster: &mut CoreCluster) -> Checked {
    let Some(id) = expendable(cluster) else { return Ok(()) };
    cluster.coverage.wipes += 1;
    if cluster.sabotage() == Some(Sabotage::RejoinsWithEmptyDisk) {
        return cluster.restart_empty(id);
    }
    cluster.destroy(id);
    Ok(())
}

/// Damages a synced record, if the cluster can lose the member. The member restarts immediately and refuses its disk.
///
/// # Errors
/// Returns a violation if a planted bug accepts the damaged record and an invariant detects this.
pub(in crate::cores) fn damage(cluster: &mut CoreCluster, misdirection: Misdirection) -> Checked {
    let Some(id) = expendable(cluster) else { return Ok(()) };
    let Some(disk) = cluster.disks.get_mut(&id) else { return Ok(()) };
    if disk.is_lost() || !disk.damage(&mut cluster.random, misdirection) {
        return Ok(());
    }
    cluster.coverage.ailments += 1;
    if let Some(member) = cluster.members.get_mut(&id) {
        // Reads of this disk must not fail, so that the restart below detects the damage. If the damage stayed
        // undetected, more disks could be damaged than the cluster can lose.
        member.unreadable_until = Duration::ZERO;
    }
    cluster.crash(id)?;
    cluster.start(id)
}

/// Chooses a random member. Returns the member if the cluster can lose it, otherwise `None`.
fn expendable(cluster: &mut CoreCluster) -> Option<MemberId> {
    let (_, committed) = cluster.invariants.ledger.committed_configuration()?;
    let candidates: Vec<MemberId> = committed.voters.iter().chain(&committed.learners).copied().collect();
    let id = *cluster.random.pick(&candidates);
    let mut dead = cluster.dead();
    (dead.insert(id) && cluster.invariants.ledger.can_bear(&dead)).then_some(id)
}
