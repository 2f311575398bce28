//! Disks and their processes: start, stop, kill, wipe, cut off. Owns which state of a member is lost with its process,
//! and which with its disk. Does not own answers to calls (`admin_service.rs`).

use plan::ids::{ClusterId, MemberId};
use raft::{Config, Index, Raft};
use world::disk::Reading;

use crate::members::levels::raised;
use crate::members::{Members, Process, Volume};

impl Members {
    /// Ensures that the pod has a process, which runs on the disk of the claim and supports this feature level. Does
    /// nothing if the pod's machine is lost.
    pub fn ensure(&mut self, pod: &str, claim: &str, supports: u32) {
        if !self.volumes.contains_key(claim) {
            let id = MemberId(self.random.number() | 1);
            self.volumes.insert(claim.to_owned(), Volume::new(id, None, false));
            if self.newcomers_are_outdated {
                self.outdated.insert(claim.to_owned());
            }
        }
        if !self.processes.contains_key(pod) && !self.lost.contains(pod) {
            let process = Process {
                volume: claim.to_owned(),
                core: None,
                applied: Index(0),
                restoring: None,
                supports: if self.outdated.contains(claim) { 1 } else { supports },
                level: 1,
                is_too_old: false,
                repairs_until: None,
            };
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
        let newest = volume.disk.durable().log.iter().filter_map(raised).max();
        process.is_too_old = newest > Some(process.supports);
        if process.is_too_old {
            return;
        }
        let config = Config { snapshot_threshold: u64::MAX / 2, ..Config::new(raft::MemberId(volume.id.0), seed) };
        let restored = volume.disk.recover(Reading::Sound).expect("this disk is never damaged");
        process.core = Some(Raft::new(config, restored, clock).expect("a core accepts the disk that it wrote"));
        (process.applied, process.level) = (Index(0), 1);
    }

    /// Returns whether a pod's process can be stopped. A process on a lost machine cannot be stopped.
    #[must_use]
    pub fn can_stop(&self, pod: &str) -> bool {
        !self.lost.contains(pod)
    }

    /// Ends the process and keeps its disk.
    pub fn stop(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// Kills the process. The kubelet starts it again in its next step.
    pub fn kill(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// Destroys the disk of a deleted claim, and ends the process that uses it.
    pub fn destroy(&mut self, claim: &str) {
        self.volumes.remove(claim);
        self.processes.retain(|_, process| process.volume != claim);
    }

    /// Empties the disk of a claim. The process that uses the disk ends, and starts again on a blank disk.
    pub fn wipe(&mut self, claim: &str) {
        self.destroy(claim);
    }

    /// Stores a volume of an earlier cluster as the volume of this claim. A process on this volume starts no core.
    pub fn leave(&mut self, claim: &str, cluster: ClusterId) {
        let id = MemberId(self.random.number() | 1);
        self.volumes.insert(claim.to_owned(), Volume::new(id, Some(cluster), true));
    }

    /// Returns whether a pod passes its readiness probe. It does if its core runs, whether or not the core receives
    /// messages from a leader.
    #[must_use]
    pub fn is_ready(&self, pod: &str) -> bool {
        self.processes.get(pod).filter(|_| !self.lost.contains(pod)).is_some_and(|process| process.core.is_some())
    }

    /// Cuts the links between two members, in both directions.
    pub fn cut(&mut self, one: MemberId, other: MemberId) {
        let (one, other) = (raft::MemberId(one.0), raft::MemberId(other.0));
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    /// Restores all links.
    pub fn mend(&mut self) {
        self.network.mend();
    }

    /// Returns the leader.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        let leads = |core: &Raft| core.soft_state().role == raft::Role::Leader;
        let process = self.processes.values().find(|process| process.core.as_ref().is_some_and(leads))?;
        self.volumes.get(&process.volume).map(|disk| disk.id)
    }

    /// Returns the volume of a claim.
    #[must_use]
    pub fn volume(&self, claim: &str) -> Option<&Volume> {
        self.volumes.get(claim)
    }

    /// Returns the claim whose disk has this member ID.
    #[must_use]
    pub fn claim_of(&self, id: MemberId) -> Option<&str> {
        self.volumes.iter().find(|(_, disk)| disk.id == id).map(|(claim, _)| claim.as_str())
    }

    /// Returns whether a member's core runs on a machine that is not lost.
    #[must_use]
    pub fn is_up(&self, id: MemberId) -> bool {
        self.processes.iter().any(|(pod, process)| {
            !self.lost.contains(pod)
                && process.core.is_some()
                && self.volumes.get(&process.volume).is_some_and(|disk| disk.id == id)
        })
    }

    /// Returns whether a member's data are still usable: its disk exists, belongs to a cluster, and is not on a lost
    /// machine.
    #[must_use]
    pub fn is_sound(&self, id: MemberId) -> bool {
        let Some(claim) = self.claim_of(id) else { return false };
        !self.is_on_lost_machine(claim) && self.volumes.get(claim).is_some_and(|disk| disk.cluster.is_some())
    }

    /// Returns whether the disk of a claim is on a lost machine.
    #[must_use]
    pub fn is_on_lost_machine(&self, claim: &str) -> bool {
        self.processes.iter().any(|(pod, process)| process.volume == claim && self.lost.contains(pod))
    }
}
