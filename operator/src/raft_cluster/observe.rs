//! Observes a cluster: its objects, its members' answers, its configuration. Owns the order of reading: the members'
//! Service, volumes, StatefulSets, the RaftCluster, the Service again, members, the configuration. The Service is read
//! first: if a write of its annotations succeeds, it did not change after the volumes and StatefulSets were read. The
//! RaftCluster is read after the StatefulSets: if these were scaled to 0 because the spec stops the cluster, the spec that
//! is read says so, and a write of a StatefulSet that was read before it was scaled down fails. The Service must still be
//! the same after the RaftCluster was read: otherwise new settings could be read without the record of the settings that
//! worked before, and a new member would get the new ones. The configuration is read last. If a member is removed during
//! the reading, the configuration therefore shows the removal. Does not own any judgement (`plan`).
//!
//! Reads go to the API server instead of a cache, because a decision that is based on an old observation costs more
//! than a read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::{RaftBackup, RaftCluster};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client};
use plan::desired::stateful_set;
use plan::ids::Token;
use plan::names::{self, Ordinal};
use plan::observed::failure::FailureCause;
use plan::observed::member::{Answer, MemberPhase};
use plan::observed::{Linearizable, Observed, ObservedMember, ObservedServices, Probe, Warning};
use plan::pointer;
use tokio::time::Instant;

use super::ReconcileError;
use crate::cluster_object::ClusterObject;
use crate::context::{Context, wall_clock};
use crate::member::client::{CallError, Member};
use crate::memory::Probed;
use crate::readable;

/// Maximum number of attempts to read a cluster whose members' Service changes meanwhile.
const ATTEMPTS_MAX: usize = 3;
/// Interval between reads of warnings while a member does not answer.
const WARNINGS_EVERY: Duration = Duration::from_secs(5);
/// Interval between reads of the nodes of members that do not answer.
const NODES_EVERY: Duration = Duration::from_secs(5);
/// Maximum number of warnings that are read for one object.
const WARNINGS_MAX: u32 = 20;
/// Interval between probes while the object store can be used.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Interval between probes while the object store cannot be used.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// Observes the cluster with this name and namespace; `None` if the RaftCluster does not exist.
///
/// # Errors
/// Returns an error if an object could not be read, or if the members' Service changed during each attempt. Nothing is
/// decided in this pass.
pub(crate) async fn world(cluster: &ObjectMeta, context: &Context) -> Result<Option<Observed>, ReconcileError> {
    for _ in 0..ATTEMPTS_MAX {
        match attempt(cluster, context).await? {
            Attempt::Observed(observed) => return Ok(Some(*observed)),
            Attempt::NoCluster => return Ok(None),
            Attempt::Changed => {}
        }
    }
    Err(ReconcileError::Restless)
}

/// Result of one attempt to observe a cluster.
enum Attempt {
    Observed(Box<Observed>),
    /// The RaftCluster does not exist.
    NoCluster,
    /// The members' Service changed during the reading.
    Changed,
}

async fn attempt(cluster: &ObjectMeta, context: &Context) -> Result<Attempt, ReconcileError> {
    let read = Read::of(cluster, context);
    let naming = read.naming().await?;
    let mut members = BTreeMap::new();
    let volumes: Vec<PersistentVolumeClaim> = read.list("listing volume claims").await?;
    place(
        &mut members,
        volumes,
        |name| names::ordinal_of_volume(&read.name, name),
        |member, it| member.volume = Some(it),
    );
    let sets: Vec<StatefulSet> = read.list("listing StatefulSets").await?;
    place(&mut members, sets, |name| names::ordinal_of_member(&read.name, name), |member, it| member.set = Some(it));
    let found = readable::get::<RaftCluster>(&read.client, &read.namespace, &read.name).await;
    let found = found.map_err(|error| ReconcileError::Api { what: "reading the RaftCluster", error })?;
    let Some(found) = found else {
        context.forget(cluster.uid.as_deref().unwrap_or_default());
        return Ok(Attempt::NoCluster);
    };
    let cluster = found?;
    let version = |naming: &Option<Service>| naming.as_ref().and_then(|it| it.metadata.resource_version.clone());
    if version(&read.naming().await?) != version(&naming) {
        return Ok(Attempt::Changed);
    }
    let uid = cluster.metadata.uid.clone().unwrap_or_default();
    let (pods, client, reading, budget) = tokio::try_join!(
        read.list::<Pod>("listing pods"),
        read.get::<Service>("reading the clients' Service", names::client_service(&read.name)),
        read.get::<Service>("reading the readers' Service", names::read_service(&read.name)),
        read.get::<PodDisruptionBudget>("reading the disruption budget", names::budget(&read.name)),
    )?;
    place(&mut members, pods, |name| names::ordinal_of_pod(&read.name, name), |member, it| member.pod = Some(it));
    let mut observed = Observed {
        now: context.machine.wall_clock(),
        operator: context.settings.clone(),
        members,
        services: ObservedServices { client, read: reading, members: naming },
        budget,
        identities: BTreeMap::new(),
        configuration: None,
        zones: BTreeMap::new(),
        unready_nodes: BTreeMap::new(),
        restore_from: read.restore_from(&cluster).await?,
        probe: None,
        refusal: context.remember(&uid, |memory| memory.refusal.clone()),
        reserved: context.remember(&uid, |memory| memory.reserved.clone()),
        entropy: context.machine.entropy()?,
        cluster,
    };
    let (bootstrap, has_pointer) = (observed.cluster.spec.bootstrap.as_ref(), pointer::pointer(&observed).is_some());
    observed.entropy = context.remember(&uid, |memory| memory.entropy(bootstrap, has_pointer, observed.entropy));
    read.identities(&mut observed).await?;
    let token = token(&observed);
    ask_members(&mut observed, token.as_ref(), context).await;
    observed.configuration = ask_leader(&observed, token.as_ref(), context).await;
    remember_heard(&observed, context);
    observed.probe = probe(&observed, token.as_ref(), context).await;
    read.warnings(&mut observed, context).await;
    zones(&mut observed, context).await;
    observed.unready_nodes = unready_nodes(&observed, context).await;
    Ok(Attempt::Observed(Box::new(observed)))
}

/// Reads objects in the cluster's namespace.
struct Read {
    client: Client,
    namespace: String,
    name: String,
}

impl Read {
    fn of(cluster: &ObjectMeta, context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            namespace: cluster.namespace.clone().unwrap_or_default(),
            name: cluster.name.clone().unwrap_or_default(),
        }
    }

    fn api<K: ClusterObject>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn get<K: ClusterObject>(&self, what: &'static str, name: String) -> Result<Option<K>, ReconcileError> {
        self.api::<K>().get_opt(&name).await.map_err(|error| ReconcileError::Api { what, error })
    }

    /// Reads the members' Service.
    async fn naming(&self) -> Result<Option<Service>, ReconcileError> {
        self.get("reading the members' Service", names::member_service(&self.name)).await
    }

    async fn list<K: ClusterObject>(&self, what: &'static str) -> Result<Vec<K>, ReconcileError> {
        let ours = ListParams::default().labels(&format!("{}={}", names::LABEL_CLUSTER, self.name));
        let list = self.api::<K>().list(&ours).await.map_err(|error| ReconcileError::Api { what, error })?;
        Ok(list.items)
    }

    /// Reads the Secrets that may hold the identity, each by its name.
    async fn identities(&self, observed: &mut Observed) -> Result<(), ReconcileError> {
        while let Some(name) = pointer::unread(observed) {
            let secret = self.get::<Secret>("reading the identity", name.clone()).await?;
            observed.identities.insert(name, secret);
        }
        Ok(())
    }

    /// The RaftBackup to restore; `None` if it does not exist or cannot be read. An unreadable RaftBackup is reported on
    /// itself, and must not stop a cluster that was restored from it long ago.
    async fn restore_from(&self, cluster: &RaftCluster) -> Result<Option<RaftBackup>, ReconcileError> {
        let restore = cluster.spec.bootstrap.as_ref().and_then(|bootstrap| bootstrap.restore.as_ref());
        let Some(name) = restore.and_then(|restore| restore.backup_name.as_deref()) else {
            return Ok(None);
        };
        let found = readable::get::<RaftBackup>(&self.client, &self.namespace, name).await;
        let found = found.map_err(|error| ReconcileError::Api { what: "reading the RaftBackup to restore", error })?;
        Ok(found.and_then(Result::ok))
    }

    /// Reads warnings about members that do not answer. Without permission to read events, the operator reports causes
    /// with less detail.
    async fn warnings(&self, observed: &mut Observed, context: &Context) {
        let uid = observed.uid().to_owned();
        let silent: Vec<Ordinal> = observed
            .members
            .iter()
            .filter(|(_, member)| member.set.is_some() && !matches!(member.answer, Some(Answer::Report(_))))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        if silent.is_empty() {
            return;
        }
        let kept = context.remember(&uid, |memory| {
            memory.warnings.as_ref().filter(|(read, _)| read.elapsed() < WARNINGS_EVERY).map(|(_, kept)| kept.clone())
        });
        let warnings = match kept {
            Some(kept) => kept,
            None => {
                let mut warnings = BTreeMap::new();
                for ordinal in silent {
                    warnings.insert(ordinal, self.warnings_of(ordinal).await);
                }
                let stored = warnings.clone();
                context.remember(&uid, |memory| memory.warnings = Some((Instant::now(), stored)));
                warnings
            }
        };
        for (ordinal, found) in warnings {
            if let Some(member) = observed.members.get_mut(&ordinal) {
                member.warnings = found;
            }
        }
    }

    async fn warnings_of(&self, ordinal: Ordinal) -> Vec<Warning> {
        let events: Api<Event> = self.api();
        let mut found = Vec::new();
        for object in [names::member(&self.name, ordinal), names::volume(&self.name, ordinal)] {
            let about =
                ListParams::default().fields(&format!("involvedObject.name={object},type=Warning")).limit(WARNINGS_MAX);
            match events.list(&about).await {
                Ok(list) => found.extend(list.items),
                Err(error) => tracing::debug!(%error, object, "events were not read"),
            }
        }
        found.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
        found
            .into_iter()
            .map(|event| Warning {
                kind: event.involved_object.kind.unwrap_or_default(),
                reason: event.reason.unwrap_or_default(),
                message: event.message.unwrap_or_default(),
            })
            .collect()
    }
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    series.or(last).or(event.event_time.as_ref().map(|time| time.0))
}

/// Assigns each object to the member whose ordinal is in the object's name.
fn place<K: ClusterObject>(
    members: &mut BTreeMap<Ordinal, ObservedMember>,
    objects: Vec<K>,
    ordinal: impl Fn(&str) -> Option<Ordinal>,
    put: impl Fn(&mut ObservedMember, K),
) {
    for object in objects {
        if let Some(ordinal) = object.meta().name.as_deref().and_then(&ordinal) {
            put(members.entry(ordinal).or_default(), object);
        }
    }
}

/// The cluster's token; `None` if the cluster has no readable identity.
pub(crate) fn token(observed: &Observed) -> Option<Token> {
    pointer::find(observed).ok()?.identity().map(|identity| identity.token.clone())
}

/// IP address of a member's pod.
fn address(member: &ObservedMember) -> Option<&str> {
    let pod = member.pod.as_ref()?;
    pod.status.as_ref()?.pod_ip.as_deref().filter(|address| !address.is_empty())
}

/// Calls every member that is to run, and stores the members' answers. The calls run concurrently. Forgets since when the
/// members of a stopped cluster are silent, so that no delay counts from before their start. A member that another program
/// keeps at 0 replicas is silent like a lost one.
async fn ask_members(observed: &mut Observed, token: Option<&Token>, context: &Context) {
    let uid = observed.uid().to_owned();
    let is_stopped = observed.cluster.spec.stopped;
    let is_to_run =
        |member: &ObservedMember| member.set.as_ref().is_some_and(|set| !is_stopped || stateful_set::runs(set));
    context.remember(&uid, |memory| {
        memory.silent.retain(|ordinal, _| observed.members.get(ordinal).is_some_and(is_to_run));
    });
    let calls = observed.members.iter().filter(|(_, member)| is_to_run(member)).map(|(ordinal, member)| async move {
        let answer = match address(member) {
            None => Err("it has no pod with an address".to_owned()),
            Some(address) => match context.members.at(address, token) {
                Ok(mut member) => member.describe().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
        };
        (*ordinal, answer)
    });
    let answers = join_all(calls).await;
    observed.now = context.machine.wall_clock();
    for (ordinal, answer) in answers {
        let answer = match answer {
            Ok(report) => Answer::Report(Box::new(report)),
            Err(error) => {
                let since = context.remember(&uid, |memory| *memory.silent.entry(ordinal).or_insert_with(Instant::now));
                Answer::Silent { since: wall_clock(since, observed.now), error }
            }
        };
        let heard = context.remember(&uid, |memory| memory.heard.get(&ordinal).copied());
        if let Some(member) = observed.members.get_mut(&ordinal) {
            member.answer = Some(answer);
            member.heard = heard.map(|heard| wall_clock(heard, observed.now));
        }
    }
}

/// Remembers which members were heard in this pass. A member that does not answer the operator, but the leader, is not
/// silent: otherwise it would be replaced as soon as the leader misses it, too.
fn remember_heard(observed: &Observed, context: &Context) {
    let heard = observed.heard();
    context.remember(observed.uid(), |memory| {
        memory.silent.retain(|ordinal, _| !heard.contains_key(ordinal));
        memory.heard.retain(|ordinal, _| observed.members.contains_key(ordinal));
        for (ordinal, ago) in heard {
            // The clock does not reach back before the start of the machine.
            let Some(at) = Instant::now().checked_sub(ago) else { continue };
            memory.heard.entry(ordinal).and_modify(|last| *last = at.max(*last)).or_insert(at);
        }
    });
}

/// Reads the configuration from a member that reports that it leads. Members with higher terms are called first. A
/// member answers only if a quorum confirms that it leads.
async fn ask_leader(observed: &Observed, token: Option<&Token>, context: &Context) -> Option<Linearizable> {
    let mut leaders: Vec<_> = observed
        .members
        .iter()
        .filter_map(|(ordinal, member)| match &member.answer {
            Some(Answer::Report(report)) if report.reports_to_lead() => Some((report.term, *ordinal)),
            _ => None,
        })
        .collect();
    leaders.sort_unstable_by_key(|(term, _)| std::cmp::Reverse(*term));
    for (_, leader) in leaders {
        let Some(mut member) = reach(observed, leader, token, context) else { continue };
        match member.configuration().await {
            Ok(configuration) => return Some(Linearizable { leader, configuration }),
            Err(error) => tracing::debug!(%error, %leader, "the configuration was not confirmed"),
        }
    }
    None
}

/// The connection to a member; `None` if the member has no pod with an address.
pub(crate) fn reach(observed: &Observed, ordinal: Ordinal, token: Option<&Token>, context: &Context) -> Option<Member> {
    let address = address(observed.members.get(&ordinal)?)?;
    context.members.at(address, token).ok()
}

/// The report of a member about the object store. A recent report is reused from memory, otherwise a member is called.
async fn probe(observed: &Observed, token: Option<&Token>, context: &Context) -> Option<Probe> {
    let store = &observed.cluster.spec.backup.as_ref()?.object_store;
    let kept = context.remember(observed.uid(), |memory| memory.probe.clone());
    let kept = kept.filter(|kept| kept.is_about(store));
    if let Some(kept) = kept.as_ref().filter(|kept| is_fresh(kept)) {
        return Some(kept.probe.clone());
    }
    let leader = observed.configuration.as_ref()?.leader;
    let other = observed.members.iter().find(|(ordinal, member)| {
        let Some(Answer::Report(report)) = &member.answer else { return false };
        **ordinal != leader && report.phase == MemberPhase::Member && report.cluster.is_some()
    });
    let probing = other.map_or(leader, |(ordinal, _)| *ordinal);
    let outcome: Result<_, CallError> = match reach(observed, probing, token, context) {
        Some(mut member) => member.probe_object_store(store).await,
        None => return kept.map(|kept| kept.probe),
    };
    let probe = match outcome {
        Ok(None) => Probe { cause: None, error: String::new() },
        Ok(Some((cause, error))) => Probe { cause: Some(cause), error },
        Err(error) => {
            tracing::debug!(%error, "no member accessed the object store");
            // A missing answer is remembered like an answer, because otherwise every pass would wait for the call.
            let last = kept.map(|kept| kept.probe).filter(|probe| probe.cause.is_some());
            last.unwrap_or_else(|| Probe {
                cause: Some(FailureCause::StoreUnknown),
                error: format!("no member answered: {error}"),
            })
        }
    };
    let probed = Probed { at: Instant::now(), store: store.clone(), probe: probe.clone() };
    context.remember(observed.uid(), |memory| memory.probe = Some(probed));
    Some(probe)
}

fn is_fresh(probed: &Probed) -> bool {
    let every = if probed.probe.cause.is_none() { PROBE_EVERY } else { PROBE_AGAIN };
    probed.at.elapsed() < every
}

/// Reads the zones of the nodes that run members. Without permission to read nodes, no zones are reported.
async fn zones(observed: &mut Observed, context: &Context) {
    let nodes: Vec<String> =
        observed.members.values().filter_map(|member| member.pod.as_ref()?.spec.as_ref()?.node_name.clone()).collect();
    for node in nodes {
        let zone = match context.zone(&node) {
            Some(zone) => zone,
            None => {
                let found = Api::<Node>::all(context.client.clone()).get_opt(&node).await.ok().flatten();
                let zone = found.and_then(|node| node.metadata.labels?.remove("topology.kubernetes.io/zone"));
                context.keep_zone(node.clone(), zone.clone());
                zone
            }
        };
        if let Some(zone) = zone {
            observed.zones.insert(node, zone);
        }
    }
}

/// Reads which nodes of members that do not answer are not Ready, and since when, or do not exist. Without permission to
/// read nodes, none is reported.
async fn unready_nodes(observed: &Observed, context: &Context) -> BTreeMap<String, Option<Timestamp>> {
    let silent = observed.members.values().filter(|member| matches!(member.answer, Some(Answer::Silent { .. })));
    let nodes: BTreeSet<String> =
        silent.filter_map(|member| member.pod.as_ref()?.spec.as_ref()?.node_name.clone()).collect();
    if nodes.is_empty() {
        return BTreeMap::new();
    }
    let kept = context.remember(observed.uid(), |memory| {
        memory.unready_nodes.as_ref().filter(|(read, _)| read.elapsed() < NODES_EVERY).map(|(_, kept)| kept.clone())
    });
    if let Some(kept) = kept {
        return kept;
    }
    let mut unready = BTreeMap::new();
    for name in nodes {
        match Api::<Node>::all(context.client.clone()).get_opt(&name).await {
            Ok(Some(node)) if is_ready(&node) => {}
            Ok(node) => {
                unready.insert(name, node.map(|node| unready_since(&node).unwrap_or(observed.now)));
            }
            Err(error) => tracing::debug!(%error, name, "a node was not read"),
        }
    }
    let stored = unready.clone();
    context.remember(observed.uid(), |memory| memory.unready_nodes = Some((Instant::now(), stored)));
    unready
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Time since which a node that is not Ready has not been; `None` if it was never Ready.
fn unready_since(node: &Node) -> Option<Timestamp> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod silence;
