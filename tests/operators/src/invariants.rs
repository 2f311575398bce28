//! Invariants that are checked after every step, each with its source. The checks read the whole world and change
//! nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use plan::action::Change;
use plan::ids::{ClusterId, MemberId};
use plan::names::{self, Ordinal};
use plan::observed::Seen;

use crate::api_server::ApiServer;
use crate::members::Members;

/// Maximum number of lines in the trace.
const HISTORY_MAX: usize = 5_000;
/// Time after a fault within which the leader may not have noticed the fault yet.
const UNNOTICED: Duration = Duration::from_millis(2_500);

/// The invariants of one run, and the facts about the run that they need.
#[derive(Debug, Default)]
pub struct OperatorInvariants {
    /// Number of cluster identities that were created.
    pub identities_created: u32,
    /// Time of the latest fault that killed a process or took away a member.
    pub last_fault: Option<Duration>,
    /// The first violation.
    pub violated: Option<String>,
    /// UIDs of claims that belong to an earlier cluster of this name.
    pub former: BTreeSet<String>,
    /// Cluster ID in the identity Secret. It is remembered because the Secret may be deleted and restored.
    identity_cluster: Option<ClusterId>,
    history: VecDeque<String>,
    created: BTreeMap<Ordinal, String>,
    pending: Option<MemberId>,
    deleted: BTreeSet<MemberId>,
}

impl OperatorInvariants {
    fn violate(&mut self, what: String) {
        self.violated.get_or_insert(what);
    }

    /// Adds a line to the trace, which is printed after a violation.
    pub(super) fn note(&mut self, now: Duration, line: String) {
        self.history.push_back(format!("{now:?} {line}"));
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    /// Returns the recent lines of the trace.
    #[must_use]
    pub fn history(&self) -> String {
        self.history.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Checks that the StatefulSet of an ordinal is created only once, by the operator that reserved the ordinal. It
    /// may be created again only for the same member or volume (`operator/docs/membership.md`).
    pub(super) fn creates(&mut self, ordinal: Ordinal, set: &StatefulSet, reserved: bool, api: &ApiServer) {
        let announced = set.metadata.annotations.as_ref().and_then(|it| it.get(names::ANNOTATION_MEMBER_ID)).cloned();
        let exists = set.metadata.name.as_ref().is_some_and(|name| api.now().sets.contains_key(name));
        let of_volume = set.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(names::ANNOTATION_VOLUME));
        if exists || announced.is_some() || of_volume {
            return;
        }
        if !reserved {
            self.violate(format!("ordinal {ordinal} was used by an operator that had not reserved it"));
        }
        if let Some(before) = self.created.insert(ordinal, format!("{ordinal}")) {
            self.violate(format!("ordinal {before} was used for two members"));
        }
    }

    /// Remembers the member whose StatefulSet is about to be deleted.
    pub(super) fn about_to_delete(&mut self, set: &Seen, api: &ApiServer, members: &Members) {
        self.pending = None;
        if api.now().sets.get(&set.name).is_none_or(|live| live.metadata.uid.as_deref() != Some(set.uid.as_str())) {
            return;
        }
        let claim = api.now().volumes.get(&format!("data-{}-0", set.name));
        let disk = claim.and_then(|claim| members.volume(claim.metadata.uid.as_deref()?));
        self.pending = disk.map(|disk| disk.id);
    }

    /// Records that the pending deletion succeeded.
    pub(super) fn deleted(&mut self) {
        self.deleted.extend(self.pending.take());
    }

    /// Checks a requested membership change: a majority of the voters after the change must be running
    /// (`operator/docs/membership.md`).
    pub(super) fn changed(&mut self, change: &Change, members: &Members, now: Duration) {
        if self.last_fault.is_some_and(|at| now < at + UNNOTICED) {
            return;
        }
        let up = change.voters.iter().filter(|id| members.is_up(**id)).count();
        if up <= change.voters.len() / 2 {
            self.violate(format!("only {up} of the voters of {change:?} are up"));
        }
    }

    /// Checks everything that must hold at any time.
    pub fn check(&mut self, api: &ApiServer, members: &Members) {
        if let Some(broken) = &members.broken {
            self.violate(broken.clone());
        }
        // A second identity must never exist (`operator/docs/decisions/identity.md`).
        if self.identities_created > 1 {
            self.violate(format!("{} cluster identities were created", self.identities_created));
        }
        self.check_disks(api, members);
        let Some(committed) = members.newest_committed() else { return };
        // A member whose StatefulSet the operator deleted is in neither half of the committed configuration, and never
        // enters a configuration again.
        if let Some(id) = self.deleted.iter().find(|id| committed.contains(**id)) {
            self.violate(format!(
                "{id} is in the configuration at {}, but its StatefulSet was deleted",
                committed.index
            ));
        }
        // A name belongs to one ID permanently, because otherwise a member could get the old disk of another member.
        let mut names: BTreeMap<&str, MemberId> = BTreeMap::new();
        let all: Vec<_> = members.all_committed().collect();
        for (id, info) in all.iter().flat_map(|configuration| &configuration.members) {
            if let Some(before) = names.insert(&info.name, *id)
                && before != *id
            {
                self.violate(format!("{} was {before} and is {id}", info.name));
            }
        }
    }

    fn check_disks(&mut self, api: &ApiServer, members: &Members) {
        // The operator never deletes a claim with another cluster's data: only a person may delete it.
        for uid in &self.former {
            let claim = api.now().volumes.values().find(|claim| claim.metadata.uid.as_ref() == Some(uid));
            if claim.is_none_or(|claim| claim.metadata.deletion_timestamp.is_some()) {
                self.violated.get_or_insert(format!("claim {uid} of an earlier cluster was deleted"));
            }
        }
        // Every disk belongs to the cluster that the identity Secret names.
        let record = api
            .now()
            .secrets
            .values()
            .next()
            .and_then(|secret| plan::identity::ClusterIdentity::from_secret(secret).ok());
        self.identity_cluster = record.map(|record| record.cluster).or(self.identity_cluster);
        for claim in api.now().volumes.values() {
            let disk = claim.metadata.uid.as_deref().and_then(|uid| members.volume(uid)).filter(|disk| !disk.former);
            if let Some(cluster) = disk.and_then(|disk| disk.cluster)
                && self.identity_cluster != Some(cluster)
            {
                self.violated.get_or_insert(format!(
                    "{:?} belongs to cluster {cluster}, which has no identity Secret",
                    claim.metadata.name
                ));
            }
        }
    }
}
