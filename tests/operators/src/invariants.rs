//! Invariants that are checked after every step, each with its source. The checks read the whole world and change
//! nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crds::Reason;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::action::Change;
use plan::completed::CompletedRollout;
use plan::identity::FirstVoter;
use plan::ids::{ClusterId, MemberId};
use plan::names::{self, Ordinal};
use plan::observed::annotation;
use plan::observed::member::Configuration;

use crate::api_server::http::{ApiRequest, Target, Verb};
use crate::api_server::{ApiServer, CLUSTER, Kind};
use crate::controllers::supported_by;
use crate::members::Members;

/// Maximum number of lines in the trace.
const HISTORY_MAX: usize = 5_000;
/// Maximum age of the spec on which a request may depend: an operator may read an old one, and pause.
const WANTED_LATELY: Duration = Duration::from_secs(60);
/// Time after a fault within which the leader may not have noticed the fault yet.
const UNNOTICED: Duration = Duration::from_millis(2_500);

/// The invariants of one run, and the facts about the run that they need.
#[derive(Debug, Default)]
pub struct OperatorInvariants {
    /// First voters that were chosen last; empty while none were chosen.
    pub first_voters: Vec<MemberId>,
    /// The pointer as it was last seen, of which a person keeps a copy.
    pub pointer: Option<String>,
    /// Time of the latest fault that killed a process or took away a member.
    pub last_fault: Option<Duration>,
    /// The first violation.
    pub violated: Option<String>,
    /// UIDs of claims that belong to an earlier cluster of this name.
    pub former: BTreeSet<String>,
    /// UIDs of claims that stay because their members left before they had served with new settings.
    pub kept_on_trial: BTreeSet<String>,
    /// For each RaftCluster that ever existed, by UID: the first digits of the cluster IDs to which a pointer pointed.
    pointed: BTreeMap<String, BTreeSet<String>>,
    /// For each RaftCluster that ever existed, by UID: the clusters of which a member got data while it existed.
    formed: BTreeMap<String, BTreeSet<ClusterId>>,
    /// Disks that belong to a cluster: the member's ID, by the claim's UID.
    joined: BTreeMap<String, BTreeSet<MemberId>>,
    /// UID of the newest RaftCluster.
    raft_cluster: String,
    /// Index from which a name belongs to one ID: before it, the note of the highest ordinal was lost.
    names_from: u64,
    /// That index, and the index of the newest configuration whose names were checked.
    checked_names: (u64, Option<u64>),
    /// Number of voters that the spec wanted in the last minute, each with the last time.
    wanted: VecDeque<(Duration, usize)>,
    /// Number of voters that the disruption budget kept in the last minute, each with the last time.
    budgets: VecDeque<(Duration, usize)>,
    /// IDs that were ever announced on a StatefulSet, and those in the identity.
    announced: BTreeSet<MemberId>,
    /// The record of the last completed rollout, as it was last seen. A person may have deleted it since.
    record: String,
    /// Version of the objects that were remembered.
    seen: u64,
    history: VecDeque<String>,
    created: BTreeMap<Ordinal, String>,
    pending: Option<MemberId>,
    pending_on_trial: Option<String>,
    deleted: BTreeSet<MemberId>,
}

impl OperatorInvariants {
    fn violate(&mut self, what: String) {
        self.violated.get_or_insert(what);
    }

    /// Number of cluster identities to which a pointer pointed.
    #[must_use]
    pub fn identities(&self) -> usize {
        self.pointed.values().flatten().collect::<BTreeSet<_>>().len()
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
    pub(super) fn creates(&mut self, ordinal: Option<Ordinal>, set: &StatefulSet, reserved: bool, api: &ApiServer) {
        let Some(ordinal) = ordinal else {
            self.violate(format!("{:?} is no member of the cluster", set.metadata.name));
            return;
        };
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

    /// Remembers the member whose StatefulSet a request would delete.
    pub(super) fn about_to_delete(&mut self, set: &str, api: &ApiServer, members: &Members) {
        let claim = api.now().volumes.get(&format!("data-{set}-0"));
        let disk = claim.and_then(|claim| members.volume(claim.metadata.uid.as_deref()?));
        self.pending = disk.map(|disk| disk.id);
        let changed = |set: &Arc<StatefulSet>| annotation(&set.metadata, names::ANNOTATION_SETTINGS_SINCE).is_some();
        let served = |pod: &Arc<Pod>| annotation(&pod.metadata, names::ANNOTATION_SERVED).is_some();
        let on_trial = api.now().sets.get(set).is_some_and(changed)
            && !api.now().pods.get(&format!("{set}-0")).is_some_and(served);
        self.pending_on_trial = claim.filter(|_| on_trial).and_then(|claim| claim.metadata.uid.clone());
    }

    /// Records that the pending deletion succeeded.
    pub(super) fn deleted(&mut self) {
        self.deleted.extend(self.pending.take());
        self.kept_on_trial.extend(self.pending_on_trial.take());
    }

    /// Checks a membership change that the leader accepted (`operator/docs/membership.md`).
    pub(super) fn changed(&mut self, change: &Change, members: &Members, now: Duration) {
        self.changed_members_are_announced(change, members);
        self.enough_voters_remain(change, members);
        self.budget_covers_the_change(change, members);
        if self.last_fault.is_some_and(|at| now < at + UNNOTICED) {
            return;
        }
        let up = change.voters.iter().filter(|id| members.is_up(**id)).count();
        if up <= change.voters.len() / 2 {
            self.violate(format!("only {up} of the voters of {change:?} are up"));
        }
    }

    /// Checks that a member is admitted only under an ID that was announced on a StatefulSet or is in the identity.
    fn changed_members_are_announced(&mut self, change: &Change, members: &Members) {
        let known = members.newest_committed();
        let is_known = |id: &MemberId| {
            self.announced.contains(id) || known.as_ref().is_some_and(|configuration| configuration.contains(*id))
        };
        if let Some(id) = change.voters.iter().chain(&change.learners).find(|id| !is_known(id)) {
            self.violate(format!("{id} is admitted, but its ID was never announced"));
        }
    }

    /// Checks that a change takes votes away only if fewer voters are wanted.
    fn enough_voters_remain(&mut self, change: &Change, members: &Members) {
        let present = members.newest_committed().map_or(0, |configuration| configuration.voters.len());
        let least = self.wanted.iter().map(|(_, voters)| *voters).min().unwrap_or(0).min(present);
        let least = if least.is_multiple_of(2) { least.saturating_sub(1) } else { least };
        if change.voters.len() < least {
            self.violate(format!("{} of {present} voters remain, and {least} are wanted", change.voters.len()));
        }
    }

    /// Checks that the disruption budget was raised to a majority of the voters before a change adds voters. Another
    /// operator that wants fewer voters may have lowered it since: no precondition ties the change to the budget, and
    /// the next pass raises it again.
    fn budget_covers_the_change(&mut self, change: &Change, members: &Members) {
        let present = members.newest_committed().map_or(0, |configuration| configuration.voters.len());
        let most = self.budgets.iter().map(|(_, least)| *least).max().unwrap_or(0);
        let needed = change.voters.len() / 2 + 1;
        if change.voters.len() > present && most < needed {
            self.violate(format!("the budget keeps {most} voters, and {needed} of {change:?} are a majority"));
        }
    }

    /// Checks that a write of an existing object names the incarnation for which it was decided, and that a deletion of
    /// a StatefulSet and a replacement name its version, too. `found` tells whether the operator read the object in
    /// this pass. An apply of an object that was not found names none, even if another operator was faster. A
    /// StatefulSet is never applied, because an apply can create it again.
    pub(super) fn writes(&mut self, request: &ApiRequest, found: bool) {
        let expected = request.expected();
        let (needs_uid, needs_version) = match request.verb {
            Verb::Get | Verb::List | Verb::Create => (false, false),
            Verb::Apply => (found || request.target == Target::Stored(Kind::StatefulSet), false),
            Verb::Patch | Verb::Evict => (true, false),
            Verb::Delete => (true, request.target == Target::Stored(Kind::StatefulSet)),
            Verb::Replace => (true, true),
        };
        if (needs_uid && expected.uid.is_none()) || (needs_version && expected.version.is_none()) {
            self.violate(format!("{request} does not name what it was decided for: {expected:?}"));
        }
    }

    /// Checks that the feature level rises only to what the image of the last completed rollout supports: until a
    /// rollout is recorded it can be taken back (`operator/docs/decisions/rollouts.md`).
    pub(super) fn raised(&mut self, to: u32, api: &ApiServer) {
        self.remember_identity(api);
        let record = serde_json::from_str::<CompletedRollout>(&self.record).ok();
        let supported = record.as_ref().map(|record| supported_by(&record.image));
        if supported < Some(to) {
            let image = record.map(|record| record.image);
            self.violate(format!("the level is raised to {to}, and the last completed rollout is of {image:?}"));
        }
    }

    /// Checks that an eviction leaves a majority of voters.
    pub(super) fn evicts(&mut self, pod: &str, members: &Members, now: Duration) {
        let Some(committed) = members.newest_committed() else { return };
        if self.last_fault.is_some_and(|at| now < at + UNNOTICED) {
            return;
        }
        let name = pod.strip_suffix("-0").unwrap_or_default();
        let stays =
            |id: &&MemberId| members.is_up(**id) && committed.members.get(*id).is_none_or(|info| info.name != name);
        let up = committed.voters.iter().filter(stays).count();
        if committed.voters.len() > 1 && up <= committed.voters.len() / 2 {
            self.violate(format!("{pod} is evicted, and only {up} of {:?} stay up", committed.voters));
        }
    }

    /// Remembers what changes over time: how many voters are wanted, and which IDs were announced.
    fn remember(&mut self, api: &ApiServer, now: Duration) {
        if let Some(cluster) = &api.now().cluster {
            let replicas = usize::try_from(cluster.spec.replicas).unwrap_or(0);
            let voters = if replicas.is_multiple_of(2) { replicas.saturating_sub(1) } else { replicas };
            note_lately(&mut self.wanted, now, voters);
            // A stop takes members away, and the leader may not have noticed it yet.
            if cluster.spec.stopped {
                self.last_fault = Some(now);
            }
        }
        let least = api.now().budgets.values().next().and_then(|budget| budget.spec.as_ref()?.min_available.clone());
        if let Some(IntOrString::Int(least)) = least {
            note_lately(&mut self.budgets, now, usize::try_from(least).unwrap_or(0));
        }
        if self.seen == api.version() {
            return;
        }
        self.seen = api.version();
        let ids = api.now().sets.values().filter_map(|set| annotation(&set.metadata, names::ANNOTATION_MEMBER_ID));
        self.announced.extend(ids.filter_map(|id| id.parse::<MemberId>().ok()));
        if let Some(uid) = api.now().cluster.as_ref().and_then(|cluster| cluster.metadata.uid.clone()) {
            self.raft_cluster = uid;
        }
        self.remember_identity(api);
    }

    /// Remembers what the annotations of the members' Service say. A pointer never changes to another cluster while the
    /// RaftCluster exists (`operator/docs/decisions/identity.md`).
    fn remember_identity(&mut self, api: &ApiServer) {
        let Some(service) = api.now().services.get(&names::member_service(CLUSTER)) else { return };
        let owner = service.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.clone());
        let pointer = annotation(&service.metadata, names::ANNOTATION_IDENTITY);
        if let (Some(owner), Some(pointer)) = (owner, pointer) {
            self.pointer = Some(pointer.to_owned());
            let digits = names::digits_of_identity(CLUSTER, pointer).unwrap_or(pointer).to_owned();
            let pointed = self.pointed.entry(owner).or_default();
            pointed.insert(digits);
            if pointed.len() > 1 {
                let violated = format!("the pointer of one RaftCluster named several clusters: {pointed:?}");
                self.violate(violated);
            }
        }
        if let Some(record) = annotation(&service.metadata, names::ANNOTATION_COMPLETED_ROLLOUT)
            && record != self.record
        {
            record.clone_into(&mut self.record);
        }
        let voters = annotation(&service.metadata, names::ANNOTATION_FIRST_VOTERS);
        let voters = voters.and_then(|text| serde_json::from_str::<Option<Vec<FirstVoter>>>(text).ok().flatten());
        let voters: Vec<MemberId> = voters.into_iter().flatten().map(|voter| voter.id).collect();
        self.announced.extend(&voters);
        if !voters.is_empty() {
            self.first_voters = voters;
        }
    }

    /// Checks everything that must hold at any time.
    pub fn check(&mut self, api: &ApiServer, members: &Members, now: Duration) {
        self.remember(api, now);
        if let Some(broken) = &members.broken {
            self.violate(broken.clone());
        }
        // A failed assertion of the planner is reported in the status instead of ending the run.
        let conditions = api.now().cluster.iter().flat_map(|cluster| &cluster.status).flat_map(|it| &it.conditions);
        if let Some(failed) = conditions.into_iter().find(|it| it.reason == Reason::InternalError.as_str()) {
            self.violate(failed.message.clone());
        }
        self.check_disks(api, members);
        let committed = members.newest_committed();
        if !notes_ordinals(api, committed.as_deref()) {
            self.created.clear();
            self.names_from = committed.as_ref().map_or(0, |committed| committed.index + 1);
        }
        let Some(committed) = committed else { return };
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
        let newest = members.all_committed().next_back().map(|newest| newest.index);
        let present = (self.names_from, newest);
        if std::mem::replace(&mut self.checked_names, present) == present {
            return;
        }
        let from = self.names_from;
        let all = members.all_committed().filter(|it| it.index >= from);
        for (id, info) in all.flat_map(|configuration| &configuration.members) {
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
        let mut new = Vec::new();
        for claim in api.now().volumes.values() {
            let uid = claim.metadata.uid.as_deref().unwrap_or_default();
            let disk = members.volume(uid).filter(|disk| !disk.former);
            if let Some((id, cluster)) = disk.and_then(|disk| Some((disk.id, disk.cluster?)))
                && !self.joined.get(uid).is_some_and(|ids| ids.contains(&id))
            {
                self.joined.entry(uid.to_owned()).or_default().insert(id);
                new.push((claim.metadata.name.clone().unwrap_or_default(), cluster));
            }
        }
        new.into_iter().for_each(|(claim, cluster)| self.check_new_data(&claim, cluster));
    }

    /// Checks that a member got data of the cluster to which a pointer points, and that no other cluster is formed under
    /// one RaftCluster (`operator/docs/decisions/identity.md`).
    fn check_new_data(&mut self, claim: &str, cluster: ClusterId) {
        if !self.pointed.values().any(|digits| digits.contains(&cluster.digits())) {
            self.violate(format!("{claim} belongs to cluster {cluster}, to which no pointer ever pointed"));
        }
        let formed = self.formed.entry(self.raft_cluster.clone()).or_default();
        formed.insert(cluster);
        if formed.len() > 1 {
            let violated = format!("several clusters were formed under one RaftCluster: {formed:?}");
            self.violate(violated);
        }
    }
}

/// Returns whether the members' Service notes the highest ordinal. After a person deleted the Service, and the claim of a
/// member, it may not.
fn notes_ordinals(api: &ApiServer, committed: Option<&Configuration>) -> bool {
    let service = api.now().services.get(&names::member_service(CLUSTER));
    let noted = service.and_then(|service| annotation(&service.metadata, names::ANNOTATION_LAST_ORDINAL)?.parse().ok());
    let members = committed.iter().flat_map(|committed| committed.members.values());
    let ordinals = members.filter_map(|info| names::ordinal_of_member(CLUSTER, &info.name));
    noted.map(Ordinal) >= ordinals.max() && noted.is_some()
}

/// Notes a value, and drops the values that no longer held in the last minute.
fn note_lately(values: &mut VecDeque<(Duration, usize)>, now: Duration, value: usize) {
    if values.back().is_some_and(|(_, before)| *before == value) {
        values.pop_back();
    }
    values.push_back((now, value));
    while values.len() > 1 && values.front().is_some_and(|(at, _)| *at + WANTED_LATELY < now) {
        values.pop_front();
    }
}
