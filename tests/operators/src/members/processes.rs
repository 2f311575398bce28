//! Disks and the processes on them: started, stopped, killed, wiped, cut off. Owns what of a member ends with its process and what
//! ends with its disk. Does not own what it answers (`admin_service.rs`).

use plan::ids::{ClusterId, MemberId};
use raft::{Config, HardState, Index, Raft, Restored, SnapshotMeta};

use crate::members::{Disk, Members, Process};

impl Members {
    /// A process runs for this pod, on this claim's disk.
    pub fn ensure(&mut self, pod: &str, claim: &str) {
        if !self.disks.contains_key(claim) {
            let id = MemberId(self.random.number() | 1);
            let disk = Disk {
                id,
                cluster: None,
                tombstone: false,
                former: false,
                hard: HardState::default(),
                first: SnapshotMeta::default(),
                log: Vec::new(),
            };
            self.disks.insert(claim.to_owned(), disk);
        }
        if !self.processes.contains_key(pod) && !self.lost.contains(pod) {
            let process = Process { disk: claim.to_owned(), core: None, applied: Index(0), restoring: None };
            self.processes.insert(pod.to_owned(), process);
            self.start_core(pod);
        }
    }

    pub(super) fn start_core(&mut self, pod: &str) {
        let clock = self.clock();
        self.starts += 1;
        let seed = self.random.number() ^ self.starts;
        let Some(process) = self.processes.get_mut(pod) else { return };
        let Some(disk) = self.disks.get(&process.disk) else { return };
        if disk.cluster.is_none() || disk.tombstone || disk.former {
            return;
        }
        let config = Config { snapshot_threshold: u64::MAX / 2, ..Config::new(raft::MemberId(disk.id.0), seed) };
        let restored = Restored { hard_state: disk.hard, snapshot: disk.first.clone(), entries: disk.log.clone() };
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

    /// The process ends without a word and is started again by the next look of its kubelet.
    pub fn kill(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// A claim is gone, and its disk with it.
    pub fn destroy(&mut self, claim: &str) {
        self.disks.remove(claim);
        self.processes.retain(|_, process| process.disk != claim);
    }

    /// The disk is emptied under its process, which starts anew.
    pub fn wipe(&mut self, claim: &str) {
        self.destroy(claim);
    }

    /// A disk that an earlier cluster of this name left under a claim. Whoever is started on it is no member of ours.
    pub fn leave(&mut self, claim: &str, cluster: ClusterId) {
        let disk = Disk {
            id: MemberId(self.random.number() | 1),
            cluster: Some(cluster),
            tombstone: false,
            former: true,
            hard: HardState::default(),
            first: SnapshotMeta::default(),
            log: Vec::new(),
        };
        self.disks.insert(claim.to_owned(), disk);
    }

    /// Whether a pod passes its readiness probe: by how far its member is, whether or not it hears a leader.
    #[must_use]
    pub fn is_ready(&self, pod: &str) -> bool {
        self.processes.get(pod).filter(|_| !self.lost.contains(pod)).is_some_and(|process| process.core.is_some())
    }

    /// Two members do not reach each other any more.
    pub fn cut(&mut self, one: MemberId, other: MemberId) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Everybody reaches everybody.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        let leads = |core: &Raft| core.soft_state().role == raft::Role::Leader;
        let process = self.processes.values().find(|process| process.core.as_ref().is_some_and(leads))?;
        self.disks.get(&process.disk).map(|disk| disk.id)
    }

    /// The disk under a claim.
    #[must_use]
    pub fn disk(&self, claim: &str) -> Option<&Disk> {
        self.disks.get(claim)
    }

    /// Claims whose disk has this ID.
    #[must_use]
    pub fn claim_of(&self, id: MemberId) -> Option<&str> {
        self.disks.iter().find(|(_, disk)| disk.id == id).map(|(claim, _)| claim.as_str())
    }

    /// Whether a member's process runs where others can hear it.
    #[must_use]
    pub fn is_up(&self, id: MemberId) -> bool {
        self.processes.iter().any(|(pod, process)| {
            !self.lost.contains(pod)
                && process.core.is_some()
                && self.disks.get(&process.disk).is_some_and(|disk| disk.id == id)
        })
    }

    /// Whether a member's data can still come back: its disk is there, and not on a machine that is gone.
    #[must_use]
    pub fn is_sound(&self, id: MemberId) -> bool {
        let Some(claim) = self.claim_of(id) else { return false };
        !self.processes.iter().any(|(pod, process)| process.disk == claim && self.lost.contains(pod))
            && self.disks.get(claim).is_some_and(|disk| disk.cluster.is_some())
    }
}
