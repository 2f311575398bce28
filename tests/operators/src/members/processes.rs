//! Disks and the processes on them: started, stopped, killed, wiped, cut off. Owns what of a member ends with its
//! process and what ends with its disk. Does not own what it answers (`admin_service.rs`).

use plan::ids::{ClusterId, MemberId};
use raft::{Config, Index, Raft};
use world::disk::Reading;

use crate::members::{Members, Process, Volume};

impl Members {
    /// A process runs for this pod, on this claim's disk.
    pub fn ensure(&mut self, pod: &str, claim: &str) {
        if !self.volumes.contains_key(claim) {
            let id = MemberId(self.random.number() | 1);
            self.volumes.insert(claim.to_owned(), Volume::new(id, None, false));
        }
        if !self.processes.contains_key(pod) && !self.lost.contains(pod) {
            let process = Process { volume: claim.to_owned(), core: None, applied: Index(0), restoring: None };
            self.processes.insert(pod.to_owned(), process);
            self.start_core(pod);
        }
    }

    pub(super) fn start_core(&mut self, pod: &str) {
        let clock = self.clock();
        self.starts += 1;
        let seed = self.random.number() ^ self.starts;
        let Some(process) = self.processes.get_mut(pod) else { return };
        let Some(volume) = self.volumes.get_mut(&process.volume) else { return };
        if volume.cluster.is_none() || volume.tombstone || volume.former {
            return;
        }
        let config = Config { snapshot_threshold: u64::MAX / 2, ..Config::new(raft::MemberId(volume.id.0), seed) };
        let restored = volume.disk.recover(Reading::Sound).expect("no record is damaged here");
        process.core = Some(Raft::new(config, restored, clock).expect("a disk written by a core is one's own"));
        process.applied = Index(0);
    }

    /// Whether a pod's process can be told to stop: not on a machine that is gone.
    #[must_use]
    pub fn can_stop(&self, pod: &str) -> bool {
        !self.lost.contains(pod)
    }

    /// The process ends; its disk stays.
    pub fn stop(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// The process is killed, and started again by its kubelet's next pass.
    pub fn kill(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// A claim is gone, and its disk with it.
    pub fn destroy(&mut self, claim: &str) {
        self.volumes.remove(claim);
        self.processes.retain(|_, process| process.volume != claim);
    }

    /// The disk is emptied under its process, which starts anew.
    pub fn wipe(&mut self, claim: &str) {
        self.destroy(claim);
    }

    /// A volume that an earlier cluster of this name left under a claim. A process on it is no member of ours.
    pub fn leave(&mut self, claim: &str, cluster: ClusterId) {
        let id = MemberId(self.random.number() | 1);
        self.volumes.insert(claim.to_owned(), Volume::new(id, Some(cluster), true));
    }

    /// Whether a pod passes its readiness probe: by how far its member is, whether or not it hears a leader.
    #[must_use]
    pub fn is_ready(&self, pod: &str) -> bool {
        self.processes.get(pod).filter(|_| !self.lost.contains(pod)).is_some_and(|process| process.core.is_some())
    }

    /// Two members do not reach each other any more.
    pub fn cut(&mut self, one: MemberId, other: MemberId) {
        let (one, other) = (raft::MemberId(one.0), raft::MemberId(other.0));
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    /// Everybody reaches everybody.
    pub fn mend(&mut self) {
        self.network.mend();
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        let leads = |core: &Raft| core.soft_state().role == raft::Role::Leader;
        let process = self.processes.values().find(|process| process.core.as_ref().is_some_and(leads))?;
        self.volumes.get(&process.volume).map(|disk| disk.id)
    }

    /// The volume of a claim.
    #[must_use]
    pub fn volume(&self, claim: &str) -> Option<&Volume> {
        self.volumes.get(claim)
    }

    /// Claims whose disk has this ID.
    #[must_use]
    pub fn claim_of(&self, id: MemberId) -> Option<&str> {
        self.volumes.iter().find(|(_, disk)| disk.id == id).map(|(claim, _)| claim.as_str())
    }

    /// Whether a member's process runs where others can hear it.
    #[must_use]
    pub fn is_up(&self, id: MemberId) -> bool {
        self.processes.iter().any(|(pod, process)| {
            !self.lost.contains(pod)
                && process.core.is_some()
                && self.volumes.get(&process.volume).is_some_and(|disk| disk.id == id)
        })
    }

    /// Whether a member's data can still come back: its disk is there, and not on a machine that is gone.
    #[must_use]
    pub fn is_sound(&self, id: MemberId) -> bool {
        let Some(claim) = self.claim_of(id) else { return false };
        !self.processes.iter().any(|(pod, process)| process.volume == claim && self.lost.contains(pod))
            && self.volumes.get(claim).is_some_and(|disk| disk.cluster.is_some())
    }
}
