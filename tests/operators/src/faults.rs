//! Faults of machines and disks, and changes by users. Owns the choice of faults and its limit: faults alone never
//! destroy a majority. If a majority is destroyed, the operator is therefore the cause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crds::RaftCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plan::ids::{ClusterId, MemberId};
use plan::names::{self, Ordinal};
use plan::observed::{Seen, annotation, label};
use serde_json::json;

use crate::api_server::{CLUSTER, Compare, Deletion, Expected, Kind, Refused, wall_clock};
use crate::controllers;
use crate::world::World;

/// ID of the earlier cluster that has the same name.
const FORMER: ClusterId = ClusterId(0xdead);

/// A field of a member's container that a former version of the operator wrote.
const FORMER_FIELD: &str = "terminationMessagePath";
const FORMER_VALUE: &str = "/former";

/// Whether the volumes of the earlier cluster carry labels with their cluster and member ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The earlier operator labelled the volumes while their members served, and when the members were removed.
    Written,
    /// The earlier operator had not labelled the volumes yet.
    Missing,
}

/// Minimum time between two faults that kill a process or take away a member. The leader thus notices one fault before
/// the next one strikes.
const APART: Duration = Duration::from_secs(4);

impl World {
    /// Makes the cluster begin with a restore of a backup. `former` is the number of labelled volumes that an earlier
    /// cluster of the same name left.
    #[must_use]
    pub fn to_restore(mut self, former: u32) -> Self {
        let bootstrap = serde_json::from_value(json!({ "restore": { "source": {
            "objectStore": { "bucket": "backups", "credentialsSecretRef": { "name": "keys" } },
            "clusterID": "0000000000000000000000000000dead", "manifest": "dead/manifest",
        }}}));
        self.edit(|spec| spec.bootstrap = Some(bootstrap.expect("the restore is valid")));
        self.leave_former_volumes(former, Labels::Written);
        self
    }

    /// Injects at most one random fault or change.
    pub(super) fn disturb(&mut self) {
        match self.random.below(1_000) {
            0..=3 => self.rescale(),
            4..=5 => self.erase_status(),
            6..=9 => self.kill_process(),
            10..=11 => self.change_settings(),
            12..=15 => self.take_member(),
            16 => self.delete_what_carries_the_identity(),
            17..=19 => self.put_identity_back(),
            20 => self.members.store_is_broken = !self.members.store_is_broken,
            21 => self.delete_cluster_now_and_then(),
            22..=25 => self.create_cluster_again(),
            26 => self.fill_machines(),
            27..=29 => self.drain(),
            30 => self.orphan_pod(),
            31 => self.refuse_kind(),
            32 => self.change_image(),
            33 => self.age_program(),
            34 => self.repair_member(),
            _ => {}
        }
    }

    /// Makes at most one random change by users.
    pub(super) fn change(&mut self) {
        match self.random.below(1_000) {
            0..=3 => self.rescale(),
            4..=5 => self.erase_status(),
            6..=9 => self.change_settings(),
            _ => {}
        }
    }

    /// Deletes the Secret with the identity, the pointer to it, or the Service that carries the pointer, as a person may do
    /// by mistake.
    fn delete_what_carries_the_identity(&mut self) {
        match self.random.below(3) {
            0 => self.delete_identity(),
            1 => self.delete_pointer(),
            _ => self.delete_members_service(),
        }
    }

    /// Deletes the Secret to which the pointer points. Keeps a copy.
    pub fn delete_identity(&mut self) {
        let Some(secret) = self.pointer().and_then(|pointer| self.api.now().secrets.get(&pointer)).cloned() else {
            return;
        };
        let now = wall_clock(self.now);
        let deleted = self.api.delete::<Secret>(&Seen::of(&secret.metadata), Compare::Uid, Deletion::AtOnce, now);
        deleted.expect("the Secret exists");
        self.invariants.note(self.now, "the identity is deleted".to_owned());
        self.kept.secrets.push(secret);
    }

    /// Deletes the pointer of a cluster of which claims are labelled.
    pub fn delete_pointer(&mut self) {
        let Some(service) = self.members_service().filter(|_| self.is_labelled()).cloned() else { return };
        let patch = json!({ "metadata": { "annotations": { names::ANNOTATION_IDENTITY: null } } });
        if self.api.patch::<Service>(&Seen::of(&service.metadata), Compare::Uid, &patch).is_ok() {
            self.invariants.note(self.now, "the pointer is deleted".to_owned());
        }
    }

    /// Deletes the members' Service of a cluster of which claims are labelled.
    pub fn delete_members_service(&mut self) {
        let Some(service) = self.members_service().filter(|_| self.is_labelled()).cloned() else { return };
        let (seen, now) = (Seen::of(&service.metadata), wall_clock(self.now));
        self.api.delete::<Service>(&seen, Compare::Uid, Deletion::AtOnce, now).expect("the Service exists");
        self.invariants.note(self.now, "the members' Service is deleted".to_owned());
    }

    /// Deletes the record of the last completed rollout.
    pub fn delete_record(&mut self) {
        let Some(service) = self.members_service().cloned() else { return };
        let patch = json!({ "metadata": { "annotations": { names::ANNOTATION_COMPLETED_ROLLOUT: null } } });
        let patched = self.api.patch::<Service>(&Seen::of(&service.metadata), Compare::Uid, &patch);
        patched.expect("the Service exists");
        self.invariants.note(self.now, "the record of the last rollout is deleted".to_owned());
    }

    /// Returns whether the settings of the last completed rollout are recorded.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        let record = self.members_service().map(|service| &service.metadata);
        record.is_some_and(|metadata| annotation(metadata, names::ANNOTATION_COMPLETED_ROLLOUT).is_some())
    }

    /// Restores deleted Secrets from their copies. Writes the pointer again if the operator cannot.
    pub fn put_identity_back(&mut self) {
        for mut secret in std::mem::take(&mut self.kept.secrets) {
            // The owner in the copy may be a RaftCluster that was deleted since.
            let owner = self.api.now().cluster.as_ref().and_then(|cluster| cluster.metadata.uid.clone());
            for reference in secret.metadata.owner_references.iter_mut().flatten() {
                reference.uid = owner.clone().unwrap_or_default();
            }
            match self.api.create(&secret) {
                Ok(_) => self.invariants.note(self.now, "the identity is put back".to_owned()),
                Err(Refused::Forbidden) => self.kept.secrets.push(secret),
                // The operator may have copied it again from the Secret with the other fate.
                Err(_) => {}
            }
        }
        let is_lost = self.reason("Stalled").as_deref() == Some("IdentityLost") && self.pointer().is_none();
        if let (true, Some(service), Some(pointer)) = (is_lost, self.members_service(), self.invariants.pointer.clone())
        {
            let patch = json!({ "metadata": { "annotations": { names::ANNOTATION_IDENTITY: pointer } } });
            let _ = self.api.patch::<Service>(&Seen::of(&service.metadata.clone()), Compare::Uid, &patch);
            self.invariants.note(self.now, "a person points at the identity".to_owned());
        }
    }

    /// Deletes the RaftCluster, if each volume with data is labelled.
    fn delete_cluster_now_and_then(&mut self) {
        if self.random.below(3) != 0 {
            return;
        }
        let is_unlabelled = |claim: &PersistentVolumeClaim| {
            let uid = claim.metadata.uid.as_deref();
            let disk = uid.and_then(|uid| self.members.volume(uid)).filter(|disk| !disk.former);
            let labelled = annotation(&claim.metadata, names::ANNOTATION_CLAIM_UID) == uid;
            disk.is_some_and(|disk| disk.cluster.is_some()) && !labelled
        };
        let exists = self.api.now().cluster.is_some();
        if exists && self.is_labelled() && !self.api.now().volumes.values().any(|claim| is_unlabelled(claim)) {
            self.delete_cluster();
        }
    }

    /// Deletes the RaftCluster, as a person does. Kubernetes then collects what it owns; the volumes stay.
    ///
    /// # Panics
    /// Panics if it does not exist.
    pub fn delete_cluster(&mut self) {
        let cluster = self.api.now().cluster.clone().expect("it exists");
        let (seen, now) = (Seen::of(&cluster.metadata), wall_clock(self.now));
        self.api.delete::<RaftCluster>(&seen, Compare::Uid, Deletion::AtOnce, now).expect("it exists");
        self.invariants.last_fault = Some(self.now);
        self.invariants.note(self.now, "the RaftCluster is deleted".to_owned());
        self.kept.was_deleted = true;
        self.kept.cluster = Some(cluster);
    }

    /// Creates the deleted RaftCluster again, from the same manifest.
    pub fn create_cluster_again(&mut self) {
        let Some(mut cluster) = self.kept.cluster.take() else { return };
        cluster.status = None;
        (cluster.metadata.uid, cluster.metadata.resource_version) = (None, None);
        self.api.put_cluster(&cluster);
        self.invariants.last_fault = Some(self.now);
        self.invariants.note(self.now, "the RaftCluster is created again".to_owned());
    }

    fn members_service(&self) -> Option<&Service> {
        self.api.now().services.get(&names::member_service(CLUSTER))
    }

    /// The Secret to which the pointer of the present RaftCluster points.
    fn pointer(&self) -> Option<String> {
        let metadata = &self.members_service()?.metadata;
        annotation(metadata, names::ANNOTATION_IDENTITY).map(str::to_owned)
    }

    /// Returns whether claims of this cluster are labelled, so that its identity can be found again, and most voters' claims
    /// among them: a claim without a label is only started under an ID that another member reports.
    fn is_labelled(&self) -> bool {
        let labels = |claim: &PersistentVolumeClaim| {
            label(&claim.metadata, names::LABEL_CLUSTER_ID).filter(|_| !self.is_former(claim))?;
            label(&claim.metadata, names::LABEL_MEMBER_ID)?.parse().ok()
        };
        let labelled: BTreeSet<MemberId> = self.api.now().volumes.values().filter_map(|claim| labels(claim)).collect();
        self.members.newest_committed().is_some_and(|committed| {
            let halves = [&committed.voters, &committed.outgoing].into_iter().filter(|voters| !voters.is_empty());
            halves.into_iter().all(|voters| 2 * voters.intersection(&labelled).count() > voters.len())
        })
    }

    /// Creates volumes of an earlier cluster of the same name, with the ordinals 1 to `count`.
    pub fn leave_former_volumes(&mut self, count: u32, labels: Labels) {
        for ordinal in (1..=count).map(Ordinal) {
            let (member, mut own) = (names::member(CLUSTER, ordinal), names::member_labels(CLUSTER, ordinal));
            if labels == Labels::Written {
                own.insert(names::LABEL_CLUSTER_ID.to_owned(), FORMER.to_string());
                own.insert(names::LABEL_MEMBER_ID.to_owned(), MemberId(u64::from(ordinal.0)).to_string());
                own.insert(names::LABEL_REMOVED.to_owned(), "true".to_owned());
            }
            let metadata =
                ObjectMeta { name: Some(names::volume(CLUSTER, ordinal)), labels: Some(own), ..ObjectMeta::default() };
            let asked = json!({ "requests": { "storage": "1Gi" } });
            let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": asked });
            let spec = serde_json::from_value(spec).expect("the spec of a claim");
            let claim = self.api.create(&PersistentVolumeClaim { metadata, spec: Some(spec), status: None });
            let uid = claim.expect("no claim exists yet").metadata.uid.unwrap_or_default();
            self.members.leave(&uid, FORMER);
            self.invariants.note(self.now, format!("{member} left a volume: {uid}"));
            self.invariants.former.insert(uid);
        }
        // No operator can have read a state without these claims, because they are older than the RaftCluster.
        self.api.begin();
    }

    fn rescale(&mut self) {
        let replicas = i32::try_from(self.random.between(1, 6)).expect("small");
        self.invariants.note(self.now, format!("replicas: {replicas}"));
        self.set_replicas(replicas);
    }

    fn erase_status(&mut self) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.status = None;
            self.api.put_cluster(&cluster);
        }
    }

    /// Makes the StatefulSets look as if a former version of the operator had written them.
    pub fn age_sets(&mut self) {
        let sets: Vec<Arc<StatefulSet>> = self.api.now().sets.values().cloned().collect();
        for set in sets {
            let mut containers = json!(set.spec.as_ref().map(|spec| &spec.template.spec).map(|pod| json!(pod)));
            let container = &mut containers["containers"][0];
            container[FORMER_FIELD] = json!(FORMER_VALUE);
            let patch = json!({
                "metadata": { "annotations": { names::ANNOTATION_APPLIED: null } },
                "spec": { "template": { "spec": { "containers": containers["containers"] } } },
            });
            self.api.patch::<StatefulSet>(&Seen::of(&set.metadata), Compare::Uid, &patch).expect("it exists");
        }
    }

    /// Returns whether the pod templates of all StatefulSets are those of a former version.
    #[must_use]
    pub fn are_sets_aged(&self) -> bool {
        let is_aged = |set: &StatefulSet| {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            pod.is_some_and(|pod| json!(pod.containers)[0][FORMER_FIELD] == FORMER_VALUE)
        };
        self.api.now().sets.values().all(|set| is_aged(set))
    }

    /// Changes a setting of the members, as a person does.
    pub fn change_settings(&mut self) {
        if let Some(mut cluster) = self.api.now().cluster.clone() {
            cluster.spec.snapshots.threshold = i32::try_from(self.random.between(100, 105)).expect("small");
            self.api.put_cluster(&cluster);
        }
    }

    /// Changes a setting so that no member's program starts with it.
    pub fn break_settings(&mut self) {
        self.edit(|spec| spec.snapshots.threshold = controllers::BROKEN_THRESHOLD);
        self.invariants.note(self.now, "the settings are broken".to_owned());
    }

    /// Takes a broken setting back.
    pub fn take_settings_back(&mut self) {
        self.edit(|spec| spec.snapshots = crds::raft_cluster::Snapshots::default());
        self.invariants.note(self.now, "the settings are taken back".to_owned());
    }

    /// Kills the process of a random pod. The kubelet starts the process again. Faults are at least [`APART`] apart,
    /// therefore kills stop at most one process at a time.
    fn kill_process(&mut self) {
        let pods: Vec<String> = self.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        if pods.is_empty() || self.is_too_soon() {
            return;
        }
        let pod = self.random.pick(&pods).clone();
        self.members.kill(&pod);
        self.invariants.last_fault = Some(self.now);
    }

    /// Lets the API server refuse every write of one kind of object for a while, as an exhausted quota or a webhook does.
    fn refuse_kind(&mut self) {
        let kinds = [Kind::StatefulSet, Kind::Pod, Kind::Claim, Kind::Service, Kind::Budget, Kind::Secret];
        let kind = *self.random.pick(&kinds);
        self.api.refuses = vec![kind];
        self.refuses_until = self.now + self.random.time(Duration::ZERO, Duration::from_secs(20));
        self.invariants.note(self.now, format!("{kind:?} is refused until {:?}", self.refuses_until));
    }

    /// Leaves no free capacity for new pods on any machine for a while.
    fn fill_machines(&mut self) {
        self.full_until = self.now + self.random.time(Duration::ZERO, Duration::from_secs(20));
        self.invariants.note(self.now, format!("no machine has capacity until {:?}", self.full_until));
    }

    /// Evicts a pod, as `kubectl drain` does. The disruption budget may refuse it.
    fn drain(&mut self) {
        let pods: Vec<String> = self.api.now().pods.keys().cloned().collect();
        if pods.is_empty() || self.is_too_soon() {
            return;
        }
        let pod = self.random.pick(&pods).clone();
        if self.api.evict(&pod, &Expected::default(), wall_clock(self.now)).is_ok() {
            self.invariants.last_fault = Some(self.now);
            self.invariants.note(self.now, format!("{pod} is evicted by a drain"));
        }
    }

    /// Permanently takes away a member's disk, claim, StatefulSet or machine, if the remaining members keep a
    /// majority.
    fn take_member(&mut self) {
        let claims: Vec<Arc<PersistentVolumeClaim>> =
            self.api.now().volumes.values().filter(|claim| !self.is_former(claim)).cloned().collect();
        if claims.is_empty() || self.is_too_soon() {
            return;
        }
        let claim = self.random.pick(&claims).clone();
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        let Some(id) = self.members.volume(&uid).map(|disk| disk.id) else { return };
        if !self.is_spare(id) {
            return;
        }
        self.invariants.last_fault = Some(self.now);
        let pod_name = claim.metadata.name.as_deref().and_then(|name| name.strip_prefix("data-")).unwrap_or_default();
        let pod = self.api.now().pods.get(pod_name).cloned();
        let fault = self.random.below(4);
        let name = ["its disk is wiped", "its claim is deleted", "its StatefulSet is deleted", "its machine is lost"];
        self.invariants.note(self.now, format!("{pod_name} {id}: {}", name[usize::try_from(fault).expect("small")]));
        match fault {
            0 => self.members.wipe(&uid),
            1 => self.delete_claim_and_pod(&claim, pod),
            2 => self.delete_set(pod_name),
            _ => {
                if let Some(uid) = pod.and_then(|pod| pod.metadata.uid.clone()) {
                    self.members.lost.insert(uid);
                }
            }
        }
    }

    fn delete_claim_and_pod(&mut self, claim: &PersistentVolumeClaim, pod: Option<Arc<Pod>>) {
        let now = wall_clock(self.now);
        let _ =
            self.api.delete::<PersistentVolumeClaim>(&Seen::of(&claim.metadata), Compare::Uid, Deletion::Marked, now);
        if let Some(pod) = pod {
            let _ = self.api.delete::<Pod>(&Seen::of(&pod.metadata), Compare::Uid, Deletion::Marked, now);
        }
    }

    /// Deletes a StatefulSet and leaves its pod and claim, as `kubectl delete --cascade=orphan` does.
    fn orphan_pod(&mut self) {
        let sets: Vec<String> = self.api.now().sets.keys().cloned().collect();
        if sets.is_empty() {
            return;
        }
        let pod_name = format!("{}-0", self.random.pick(&sets));
        let patch = json!({ "metadata": { "ownerReferences": [] } });
        if let Some(pod) = self.api.now().pods.get(&pod_name).cloned() {
            let _ = self.api.patch::<Pod>(&Seen::of(&pod.metadata), Compare::Uid, &patch);
        }
        if let Some(claim) = self.api.now().volumes.get(&format!("data-{pod_name}")).cloned() {
            let _ = self.api.patch::<PersistentVolumeClaim>(&Seen::of(&claim.metadata), Compare::Uid, &patch);
        }
        self.delete_set(&pod_name);
        self.invariants.note(self.now, format!("the StatefulSet of {pod_name} is deleted, and the pod stays"));
    }

    /// Deletes the StatefulSet of a pod, as a person does.
    pub fn delete_set(&mut self, pod_name: &str) {
        let set = pod_name.strip_suffix("-0").and_then(|name| self.api.now().sets.get(name)).cloned();
        if let Some(set) = set {
            let seen = Seen::of(&set.metadata);
            self.deleted_by_hand.insert(seen.name.clone());
            let _ = self.api.delete::<StatefulSet>(&seen, Compare::Uid, Deletion::AtOnce, wall_clock(self.now));
        }
    }

    /// Returns whether a claim belongs to the earlier cluster of the same name.
    pub(super) fn is_former(&self, claim: &PersistentVolumeClaim) -> bool {
        claim.metadata.uid.as_ref().is_some_and(|uid| self.invariants.former.contains(uid))
    }

    pub(super) fn is_too_soon(&self) -> bool {
        self.invariants.last_fault.is_some_and(|at| self.now < at + APART)
    }

    /// Returns whether every configuration in force keeps a majority of intact members without this member. Before a
    /// configuration exists, the voters of the identity count instead.
    pub(super) fn is_spare(&self, id: MemberId) -> bool {
        let mut electorates: Vec<Vec<MemberId>> = Vec::new();
        for configuration in self.members.in_force() {
            electorates.push(configuration.voters.iter().copied().collect());
            electorates.push(configuration.outgoing.iter().copied().collect());
        }
        // The members of the newest configuration may all be stopped, while a member runs that it left out.
        if let Some(committed) = self.members.newest_committed() {
            electorates.push(committed.voters.iter().copied().collect());
            electorates.push(committed.outgoing.iter().copied().collect());
        }
        // A change to one voter may be accepted before the leader notices the fault, and this member may be that voter.
        if self.replicas() < 3 && electorates.iter().any(|voters| voters.len() > 1) {
            return false;
        }
        let voters = &self.invariants.first_voters;
        // While no first voters are chosen, no member is spare, because one that is about to be chosen may be the only
        // voter.
        if voters.is_empty() {
            return false;
        }
        if electorates.iter().all(Vec::is_empty) {
            // Voters are chosen, but no configuration is in force: the blank disks of these members count as intact.
            let left = voters.iter().filter(|voter| **voter != id && self.keeps_disk(**voter));
            return left.count() > voters.len() / 2;
        }
        let formed = self.members.has_formed();
        let sound =
            |voter: &MemberId| *voter != id && self.keeps_disk(*voter) && (!formed || self.members.is_sound(*voter));
        electorates
            .iter()
            .filter(|voters| !voters.is_empty())
            .all(|voters| voters.iter().filter(|voter| sound(voter)).count() > voters.len() / 2)
    }

    /// Returns whether a member's disk exists and stays: neither is its claim being deleted, nor its machine lost.
    fn keeps_disk(&self, id: MemberId) -> bool {
        let Some(uid) = self.members.claim_of(id) else { return false };
        let claims = &self.api.now().volumes;
        let claim = claims.values().find(|claim| claim.metadata.uid.as_deref() == Some(uid));
        claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()) && !self.members.is_on_lost_machine(uid)
    }
}
