//! What users, machines and disks do to a cluster. Owns the choice and its bound: faults alone never take a majority, so
//! that whatever is lost beyond that was lost by the operator.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use plan::ids::MemberId;
use plan::observed::Seen;

use super::api_server::{Compare, Deletion};
use super::world::{World, wall_clock};

/// Faults that take a member come at least this far apart, so that the leader notices each.
const APART: Duration = Duration::from_secs(4);

impl World {
    /// Now and then, something happens.
    pub(super) fn disturb(&mut self) {
        match self.random.below(1_000) {
            0..=3 => self.rescale(),
            4..=5 => self.erase_status(),
            6..=9 => self.kill_somebody(),
            10..=11 => self.change_settings(),
            12..=15 => self.take_somebody(),
            _ => {}
        }
    }

    fn rescale(&mut self) {
        let replicas = i32::try_from(self.random.between(1, 6)).expect("small");
        self.watch.note(self.now, format!("replicas: {replicas}"));
        self.set_replicas(replicas);
    }

    fn erase_status(&mut self) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.status = None;
            self.api.put_cluster(cluster);
        }
    }

    fn change_settings(&mut self) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.spec.snapshots.threshold = i32::try_from(self.random.between(100, 105)).expect("small");
            self.api.put_cluster(cluster);
        }
    }

    /// A process ends and is started again; at most one at a time is down by this.
    fn kill_somebody(&mut self) {
        let pods: Vec<String> = self.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        if pods.is_empty() || self.is_too_soon() {
            return;
        }
        let pod = self.random.pick(&pods).clone();
        self.members.kill(&pod);
        self.watch.last_fault = Some(self.now);
    }

    /// A member loses its volume or its machine for good, if the others are enough.
    fn take_somebody(&mut self) {
        let claims: Vec<PersistentVolumeClaim> = self.api.now().volumes.values().cloned().collect();
        if claims.is_empty() || self.is_too_soon() {
            return;
        }
        let claim = self.random.pick(&claims).clone();
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        let Some(id) = self.members.disk(&uid).map(|disk| disk.id) else { return };
        if !self.is_spare(id) {
            return;
        }
        self.watch.last_fault = Some(self.now);
        let pod_name = claim.metadata.name.as_deref().and_then(|name| name.strip_prefix("data-")).unwrap_or_default();
        let pod = self.api.now().pods.get(pod_name).cloned();
        let fault = self.random.below(4);
        let name = ["its disk is wiped", "its claim is deleted", "its StatefulSet is deleted", "its machine is lost"];
        self.watch.note(self.now, format!("{pod_name} {id}: {}", name[usize::try_from(fault).expect("small")]));
        match fault {
            0 => self.members.wipe(&uid),
            1 => self.delete_claim_and_pod(&claim, pod),
            2 => self.delete_set(pod_name),
            _ => {
                if let Some(uid) = pod.and_then(|pod| pod.metadata.uid) {
                    self.members.lost.insert(uid);
                }
            }
        }
    }

    fn delete_claim_and_pod(&mut self, claim: &PersistentVolumeClaim, pod: Option<Pod>) {
        let now = wall_clock(self.now);
        let _ = self.api.delete::<PersistentVolumeClaim>(
            &Seen::of(&claim.metadata),
            Compare::Incarnation,
            Deletion::Marked,
            now,
        );
        if let Some(pod) = pod {
            let _ = self.api.delete::<Pod>(&Seen::of(&pod.metadata), Compare::Incarnation, Deletion::Marked, now);
        }
    }

    fn delete_set(&mut self, pod_name: &str) {
        let set = pod_name.strip_suffix("-0").and_then(|name| self.api.now().sets.get(name)).cloned();
        if let Some(set) = set {
            let seen = Seen::of(&set.metadata);
            self.deleted_by_hand.insert(seen.name.clone());
            let _ = self.api.delete::<StatefulSet>(&seen, Compare::Incarnation, Deletion::AtOnce, wall_clock(self.now));
        }
    }

    fn is_too_soon(&self) -> bool {
        self.watch.last_fault.is_some_and(|at| self.now < at + APART)
    }

    /// Whether every configuration in force, and the record before there is one, has a majority of sound members without
    /// this one.
    pub(super) fn is_spare(&self, id: MemberId) -> bool {
        let mut electorates: Vec<Vec<MemberId>> = Vec::new();
        for configuration in self.members.in_force() {
            electorates.push(configuration.voters.iter().copied().collect());
            electorates.push(configuration.outgoing.iter().copied().collect());
        }
        let record = self.api.now().secrets.values().next();
        let record = record.and_then(|secret| plan::identity::Record::from_secret(secret).ok());
        let Some(record) = record else { return true };
        if electorates.iter().all(Vec::is_empty) {
            // Recorded but not formed: blank disks of the record count as sound.
            let left = record.voters.iter().filter(|voter| voter.id != id && self.members.claim_of(voter.id).is_some());
            return left.count() > record.voters.len() / 2;
        }
        let formed = self.members.newest_committed().is_some_and(|configuration| configuration.index > 0);
        let sound = |voter: &MemberId| {
            *voter != id && (self.members.is_sound(*voter) || (!formed && self.members.claim_of(*voter).is_some()))
        };
        electorates
            .iter()
            .filter(|voters| !voters.is_empty())
            .all(|voters| voters.iter().filter(|voter| sound(voter)).count() > voters.len() / 2)
    }
}
