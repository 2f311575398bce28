//! Builds observations from a short text. Owns the language of `testdata`:
//!
//! ```text
//! # comment
//! replicas 3            max-voters 5        paused            replacement off       retain-removed
//! max-concurrent 2
//! delete-volumes        whenDeleted: Delete
//! restore               the spec restores from a place in a bucket
//! take-up c1            the spec asks for the volumes of the cluster whose ID begins with c1
//! backup                spec.backup is set
//! storage-class fast    storage-size 2Gi
//! identity a1 b2 c3     the identity with the IDs of demo-1, demo-2, demo-3; `4=d4` is the ID of demo-4
//!   created              the pointer names the identity, and no first voters are chosen
//!   unlisted            a person deleted the list of the first voters
//!   taken-up            the pointer names the identity, and no member may be bootstrapped
//!   unpointed           the Secret exists, and the members' Service has no pointer and no first voters
//!   no-secret           the pointer exists, and the Secret does not
//!   early               an earlier version created the Secret, with the first voters; there is no pointer
//!   owned               the RaftCluster owns the Secret
//!   formed              an annotation of the members' Service records that the cluster had a leader
//!   formed-otherwise    this annotation names another cluster
//!   from-backup         the cluster began with a backup
//! refused LearnerBehind the leader refused the last membership change, for this reason
//! last-ordinal 5        the highest reserved ordinal, as an annotation of the members' Service records it
//! configuration 7 voters a1 b2 c3 learners d4 outgoing b2 removed e5
//!                       if absent and a member leads: the voters of the identity
//! member 1 is a1 [leader] [lags]      the member answers the operator and the leader
//! member 2 blank b2                   the member answers and its volume is empty
//! member 3 silent 20                  the member has not answered for 20 seconds
//! member 4 restoring a1 [failed Cause]
//! member 5 damaged e5 | removed e5 | foreign | too-new e5 | repairing e5 stalled 30
//! ... level 2 | supports 2 | low-disk | writes-refused | corrupt      what the member reports
//! ... announced d4                    the StatefulSet carries this ID; those of the identity's members always do
//! ... unscheduled | unbound           the pod fits no node; the volume is not bound
//! ... outdated                        the pod has other settings than the spec asks for
//! ... unwritten                       the StatefulSet has other settings than the spec asks for
//! ... ready                           the pod is ready although no leader receives the member's answers
//! ... former a1                       the claim holds another cluster's data
//! ... brought-back                    the StatefulSet was created for this claim
//! ... class slow | asks 1Gi | has 1Gi class and request of the claim; capacity of its volume, which is bound
//! ... copied                          the claim carries the UID of another claim
//! ... given-up                        the claim is labelled as that of a removed member
//! ... no-set | no-volume | volume-goes | volume-owned | labelled a1 | terminating
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use plan::desired::stateful_set::settings;
use plan::identity::{BackupPlace, ClusterIdentity, FirstVoter, Origin};
use plan::ids::{ClusterId, MemberId, Token};
use plan::names::{self, Ordinal};
use plan::observed::failure::FailureCause;
use plan::observed::member::{
    Answer, Configuration, MemberInfo, MemberPhase, Progress, RaftRole, RepairProgress, Report, RestoreProgress, Space,
};
use plan::observed::refusal::RefusalReason;
use plan::observed::{Entropy, Linearizable, Observed, ObservedMember, ObservedServices, OperatorSettings, Refusal};
use plan::validated::ValidatedCluster;
use serde_json::{Value, json};

pub(crate) const CLUSTER: ClusterId = ClusterId(0xc1 << 120);
pub(crate) const ANOTHER: ClusterId = ClusterId(0xdd << 120);
const LAST_INDEX: u64 = 10_000;

/// Builds the observation that the text describes.
pub(crate) fn parse(text: &str) -> Observed {
    let mut spec = json!({
        "replicas": 3, "storage": { "size": "1Gi" }, "replacement": { "delay": "60s" },
        "tls": { "client": "Plaintext", "peer": "Plaintext" },
    });
    let mut draft = Draft::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["replicas", count] => spec["replicas"] = json!(number(count)),
            ["max-voters", count] => spec["maxVoters"] = json!(number(count)),
            ["max-concurrent", count] => spec["replacement"]["maxConcurrent"] = json!(number(count)),
            ["paused"] => spec["paused"] = json!(true),
            ["replacement", "off"] => spec["replacement"]["enabled"] = json!(false),
            ["retain-removed"] => spec["storage"]["retention"]["whenScaled"] = json!("Retain"),
            ["delete-volumes"] => spec["storage"]["retention"]["whenDeleted"] = json!("Delete"),
            ["storage-class", class] => spec["storage"]["storageClassName"] = json!(class),
            ["storage-size", size] => spec["storage"]["size"] = json!(size),
            ["backup"] => spec["backup"] = json!({ "objectStore": store() }),
            ["restore"] => spec["bootstrap"] = restore(),
            ["take-up", digits] => spec["bootstrap"] = json!({ "takeUp": { "clusterID": format!("{digits:0<32}") } }),
            ["identity", ids @ ..] => draft.identity(ids),
            ["refused", name] => {
                let (reason, message) = (RefusalReason::from_name(name), "the leader refused".to_owned());
                draft.refusal = Some(Refusal { reason: Some(reason), message });
            }
            ["last-ordinal", last] => draft.last_ordinal = Some((*last).to_owned()),
            ["configuration", index, rest @ ..] => draft.configuration = Some(configuration(number(index), rest)),
            ["member", ordinal, rest @ ..] => {
                draft.member(Ordinal(u32::try_from(number(ordinal)).expect("small")), rest)
            }
            _ => panic!("{line:?} is not in the language of testdata"),
        }
    }
    draft.finish(spec)
}

#[derive(Default)]
struct Draft {
    identity: Vec<(Ordinal, MemberId)>,
    /// Words of the line `identity` that are no IDs.
    words: Vec<String>,
    formed: Option<ClusterId>,
    last_ordinal: Option<String>,
    refusal: Option<Refusal>,
    configuration: Option<Configuration>,
    members: BTreeMap<Ordinal, ObservedMember>,
    leader: Option<Ordinal>,
    serving: BTreeMap<MemberId, Progress>,
}

impl Draft {
    fn identity(&mut self, words: &[&str]) {
        self.formed = match (words.contains(&"formed"), words.contains(&"formed-otherwise")) {
            (true, _) => Some(CLUSTER),
            (false, true) => Some(ANOTHER),
            (false, false) => None,
        };
        let is_id = |word: &&&str| word.contains('=') || word.parse::<MemberId>().is_ok();
        self.words = words.iter().filter(|word| !is_id(word)).map(|word| (*word).to_owned()).collect();
        let ids = words.iter().filter(is_id);
        self.identity = ids
            .zip(1..)
            .map(|(word, place)| match word.split_once('=') {
                Some((ordinal, who)) => (Ordinal(u32::try_from(number(ordinal)).expect("small")), id(who)),
                None => (Ordinal(place), id(word)),
            })
            .collect();
    }

    fn member(&mut self, ordinal: Ordinal, words: &[&str]) {
        let has = |word| words.contains(&word);
        let after = |word| words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1)).copied();
        let mut member = ObservedMember::default();
        let name = names::member("demo", ordinal);
        if !has("no-set") {
            let fate = if has("volume-goes") { "Delete" } else { "Retain" };
            member.set = Some(set(&name, after("announced"), fate));
            if let Some(set) = member.set.as_mut().filter(|_| has("unwritten")) {
                settings_of(set).insert(names::ANNOTATION_SETTINGS.to_owned(), "others".to_owned());
            }
            if let Some(set) = member.set.as_mut().filter(|_| has("brought-back")) {
                let notes = set.metadata.annotations.get_or_insert_default();
                let uid = format!("PersistentVolumeClaim/data-{name}-0");
                notes.insert(names::ANNOTATION_VOLUME.to_owned(), uid);
            }
            member.pod = Some(pod(&name, words));
        }
        if !has("no-volume") {
            let holds = after("labelled").map(|id| (CLUSTER, id)).or(after("former").map(|id| (ANOTHER, id)));
            let mut claim = volume(&name, holds, has("volume-owned"));
            sized(&mut claim, after("class"), after("asks"), after("has"));
            if has("copied") {
                let notes = claim.metadata.annotations.get_or_insert_default();
                notes.insert(names::ANNOTATION_CLAIM_UID.to_owned(), "of another claim".to_owned());
            }
            if has("given-up") {
                let labels = claim.metadata.labels.get_or_insert_default();
                labels.insert(names::LABEL_REMOVED.to_owned(), "true".to_owned());
            }
            member.volume = Some(claim);
        }
        member.answer = self.answer(ordinal, words).filter(|_| !has("no-set"));
        self.members.insert(ordinal, member);
    }

    fn answer(&mut self, ordinal: Ordinal, words: &[&str]) -> Option<Answer> {
        let mut report = match words {
            ["is", who, ..] => {
                let lag = if words.contains(&"lags") { 5_000 } else { 0 };
                let progress = Progress { matched: LAST_INDEX - lag, active: true, snapshotting: false };
                let mut report = report(id(who), MemberPhase::Member, Some(CLUSTER));
                if words.contains(&"leader") {
                    self.leader = Some(ordinal);
                    report.role = RaftRole::Leader;
                } else {
                    self.serving.insert(id(who), progress);
                }
                report
            }
            ["alone", who, ..] => report(id(who), MemberPhase::Member, Some(CLUSTER)),
            ["joined", who, ..] => report(id(who), MemberPhase::Member, Some(CLUSTER)),
            ["blank", who, ..] => report(id(who), MemberPhase::Blank, None),
            ["restoring", who, rest @ ..] => {
                let mut report = report(id(who), MemberPhase::Restoring, Some(CLUSTER));
                if let ["failed", cause, ..] = rest {
                    report.error = Some("the store refused".to_owned());
                    let cause = Some(FailureCause::from_name(cause));
                    report.restore = Some(RestoreProgress { cause, ..RestoreProgress::default() });
                }
                report
            }
            ["damaged", who, ..] => report(id(who), MemberPhase::Damaged, Some(CLUSTER)),
            ["too-new", who, ..] => report(id(who), MemberPhase::TooNew, Some(CLUSTER)),
            ["repairing", who, ..] => report(id(who), MemberPhase::Repairing, Some(CLUSTER)),
            ["removed", who, ..] => report(id(who), MemberPhase::Removed, Some(CLUSTER)),
            ["foreign", ..] => report(MemberId(0xffff), MemberPhase::Member, Some(ANOTHER)),
            ["silent", seconds, ..] => {
                let since = ago(SignedDuration::from_secs(i64::try_from(number(seconds)).expect("small")));
                return Some(Answer::Silent { since, error: "no answer".to_owned() });
            }
            _ => return None,
        };
        say(&mut report, words);
        Some(Answer::Report(Box::new(report)))
    }

    fn finish(mut self, spec: Value) -> Observed {
        let secret = self.secret();
        for (ordinal, id) in &self.identity {
            if let Some(set) = self.members.get_mut(ordinal).and_then(|member| member.set.as_mut()) {
                let notes = set.metadata.annotations.get_or_insert_default();
                notes.entry(names::ANNOTATION_MEMBER_ID.to_owned()).or_insert_with(|| id.to_string());
            }
        }
        let configuration = self.configuration.take().unwrap_or_else(|| Configuration {
            index: 1,
            voters: self.identity.iter().map(|(_, id)| *id).collect(),
            members: self.identity.iter().map(|(ordinal, id)| (*id, info(*ordinal))).collect(),
            ..Configuration::default()
        });
        let configuration = self.named(configuration);
        if let Some(Answer::Report(leader)) =
            self.leader.and_then(|leader| self.members.get_mut(&leader)?.answer.as_mut())
        {
            leader.progress.clone_from(&self.serving);
        }
        for member in self.members.values_mut() {
            if let Some(Answer::Report(report)) = &mut member.answer
                && report.phase == MemberPhase::Member
                && report.cluster == Some(CLUSTER)
            {
                report.configuration = Some(configuration.clone());
            }
        }
        let mut service: Service = made("Service", "demo-members", &json!({}));
        let notes = service.metadata.annotations.get_or_insert_default();
        notes.extend(self.pointer(secret.as_ref()));
        notes.extend(self.last_ordinal.map(|last| (names::ANNOTATION_LAST_ORDINAL.to_owned(), last)));
        notes.extend(self.formed.map(|cluster| (names::ANNOTATION_FORMED.to_owned(), cluster.to_string())));
        let mut observed = Observed {
            now: now(),
            operator: OperatorSettings { node_image: "raft-node:1".to_owned(), node_image_pull_policy: None },
            cluster: serde_json::from_value(json!({
                "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster",
                "metadata": {
                    "name": "demo", "namespace": "default", "uid": "owner", "generation": 1,
                    "creationTimestamp": Time(ago(SignedDuration::from_hours(2))),
                },
                "spec": spec,
            }))
            .expect("a RaftCluster"),
            members: self.members,
            services: ObservedServices { members: Some(service), ..ObservedServices::default() },
            budget: None,
            identities: BTreeMap::new(),
            configuration: self.leader.map(|leader| Linearizable { leader, configuration }),
            zones: BTreeMap::new(),
            unready_nodes: BTreeMap::new(),
            restore_from: None,
            probe: None,
            refusal: self.refusal,
            reserved: BTreeSet::new(),
            entropy: Entropy { cluster_id: CLUSTER.0, token: [7; 32] },
        };
        let secret = secret.filter(|_| !self.words.iter().any(|word| word == "no-secret"));
        read_secrets(&mut observed, secret.as_ref());
        let settings = settings(&ValidatedCluster::parse(&observed).expect("the words make a valid spec"), None);
        for pod in observed.members.values_mut().filter_map(|member| member.pod.as_mut()) {
            let notes = pod.metadata.annotations.get_or_insert_default();
            notes.entry(names::ANNOTATION_SETTINGS.to_owned()).or_insert_with(|| settings.clone());
        }
        for set in observed.members.values_mut().filter_map(|member| member.set.as_mut()) {
            settings_of(set).entry(names::ANNOTATION_SETTINGS.to_owned()).or_insert_with(|| settings.clone());
        }
        observed
    }

    /// Adds names and addresses for members of which the configuration lists only the ID.
    fn named(&self, mut configuration: Configuration) -> Configuration {
        for (ordinal, member) in &self.members {
            let said = match &member.answer {
                Some(Answer::Report(report)) => report.id,
                _ => None,
            };
            let announced = member
                .set
                .as_ref()
                .and_then(|set| set.metadata.annotations.as_ref()?.get(names::ANNOTATION_MEMBER_ID).cloned());
            for id in said.into_iter().chain(announced.map(|text| text.parse().expect("an ID"))) {
                if configuration.contains(id) {
                    configuration.members.entry(id).or_insert_with(|| info(*ordinal));
                }
            }
        }
        for (ordinal, id) in &self.identity {
            if configuration.contains(*id) {
                configuration.members.insert(*id, info(*ordinal));
            }
        }
        configuration
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|found| found == word)
    }

    fn first_voters(&self) -> String {
        let name = |ordinal| names::member("demo", ordinal);
        let voters = self.identity.iter().map(|(ordinal, id)| FirstVoter { name: name(*ordinal), id: *id });
        serde_json::to_string(&voters.collect::<Vec<_>>()).expect("plain text")
    }

    /// The Secret with the identity, unless only the note about the first leader is left of it.
    fn secret(&self) -> Option<Secret> {
        let exists =
            !self.identity.is_empty() || ["created", "taken-up", "unpointed"].iter().any(|word| self.has(word));
        let place = || {
            let store = serde_json::from_value(store()).expect("a store");
            Box::new(BackupPlace { store, source: ClusterId(0xaa), manifest: "aa/manifest".to_owned() })
        };
        let (origin, bootstrap) = if self.has("from-backup") {
            (Origin::Backup(place()), Some(serde_json::from_value(restore()).expect("a bootstrap")))
        } else {
            (Origin::Empty, None)
        };
        let identity = ClusterIdentity::new(CLUSTER, Token::of([7; 32]), origin, bootstrap);
        let owner = || serde_json::from_value(owner("RaftCluster", "demo", "owner")).expect("an owner");
        let owned = self.has("owned") || self.has("early");
        let mut secret = identity.to_secret("demo", "default", owned.then(owner));
        if self.has("early") {
            secret.metadata.name = Some("demo-identity".to_owned());
            let data = secret.data.get_or_insert_default();
            data.remove("generation");
            data.remove("bootstrap");
            data.insert("voters".to_owned(), ByteString(self.first_voters().into_bytes()));
        }
        exists.then_some(secret)
    }

    /// The pointer and the first voters, as annotations of the members' Service.
    fn pointer(&self, secret: Option<&Secret>) -> Vec<(String, String)> {
        let Some(secret) = secret.filter(|_| !self.has("unpointed") && !self.has("early")) else { return Vec::new() };
        let name = secret.metadata.name.clone().expect("it has a name");
        let pointer = (names::ANNOTATION_IDENTITY.to_owned(), name);
        let voters = if self.has("created") { "null".to_owned() } else { self.first_voters() };
        let voters = (names::ANNOTATION_FIRST_VOTERS.to_owned(), voters);
        if self.has("unlisted") { vec![pointer] } else { vec![pointer, voters] }
    }
}

/// Reads Secrets as the shell does, from an API server that has these.
pub(crate) fn read_secrets<'s>(observed: &mut Observed, secrets: impl IntoIterator<Item = &'s Secret>) {
    let secrets: Vec<&Secret> = secrets.into_iter().collect();
    observed.identities.clear();
    while let Some(name) = plan::pointer::unread(observed) {
        let found = secrets.iter().find(|secret| secret.metadata.name.as_ref() == Some(&name));
        observed.identities.insert(name, found.map(|secret| (*secret).clone()));
    }
    assert!(observed.identities.len() <= 25, "the number of reads is bounded");
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("within range")
}

fn ago(time: SignedDuration) -> Timestamp {
    now().checked_sub(time).expect("long after the epoch")
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

fn id(word: &str) -> MemberId {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no ID"))
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid })
}

fn info(ordinal: Ordinal) -> MemberInfo {
    MemberInfo {
        name: names::member("demo", ordinal),
        peer_url: names::peer_url("demo", "default", ordinal),
        client_url: names::client_url("demo", "default", ordinal),
    }
}

fn configuration(index: u64, words: &[&str]) -> Configuration {
    let mut configuration = Configuration { index, ..Configuration::default() };
    let mut half = "";
    for word in words {
        match *word {
            "voters" | "learners" | "outgoing" | "removed" => half = word,
            who => {
                let set = match half {
                    "voters" => &mut configuration.voters,
                    "learners" => &mut configuration.learners,
                    "outgoing" => &mut configuration.outgoing,
                    _ => &mut configuration.removed,
                };
                set.insert(id(who));
            }
        }
    }
    configuration
}

fn report(id: MemberId, phase: MemberPhase, cluster: Option<ClusterId>) -> Report {
    Report {
        id: Some(id),
        cluster,
        role: RaftRole::Follower,
        term: 1,
        commit: LAST_INDEX,
        last: LAST_INDEX,
        version: "1".to_owned(),
        ..Report::of_phase(phase)
    }
}

/// What a member says of its program and its volume.
fn say(report: &mut Report, words: &[&str]) {
    let after = |word| words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1)).copied();
    let level = |word| after(word).map_or(1, |level| u32::try_from(number(level)).expect("small"));
    (report.level, report.supports) = (level("level"), level("supports"));
    let stalled = after("stalled").map(|seconds| Duration::from_secs(number(seconds)));
    report.repair =
        stalled.map(|stalled| RepairProgress { stalled, bytes_done: 5, bytes_total: 9, what: String::new() });
    let (below, writes_refused) = (words.contains(&"low-disk"), words.contains(&"writes-refused"));
    let space = Space { total: 1 << 30, free: 41 << 20, reserve: 120 << 20, below, writes_refused };
    report.space = (below || writes_refused).then_some(space);
    report.corrupt = words.contains(&"corrupt");
}

fn made<T: serde::de::DeserializeOwned>(kind: &str, name: &str, rest: &Value) -> T {
    let mut object = json!({ "metadata": {
        "name": name, "namespace": "default", "uid": format!("{kind}/{name}"), "resourceVersion": "1",
        "ownerReferences": [owner("RaftCluster", "demo", "owner")],
    }});
    if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object()) {
        object.extend(rest.clone());
    }
    serde_json::from_value(object).unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
}

fn set(name: &str, announced: Option<&str>, fate: &str) -> StatefulSet {
    let mut set: StatefulSet = made(
        "StatefulSet",
        name,
        &json!({ "spec": {
            "selector": {}, "serviceName": "demo-members", "template": {},
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": fate },
        }}),
    );
    if let Some(id) = announced {
        set.metadata.annotations.get_or_insert_default().insert(names::ANNOTATION_MEMBER_ID.to_owned(), id.to_owned());
    }
    set
}

/// The annotations of a StatefulSet's pod template.
fn settings_of(set: &mut StatefulSet) -> &mut BTreeMap<String, String> {
    let template = &mut set.spec.get_or_insert_default().template;
    template.metadata.get_or_insert_default().annotations.get_or_insert_default()
}

fn pod(name: &str, words: &[&str]) -> Pod {
    let ready = if matches!(words, ["is", ..]) || words.contains(&"ready") { "True" } else { "False" };
    let mut pod: Pod = made(
        "Pod",
        &format!("{name}-0"),
        &json!({ "status": {
            "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }],
        }}),
    );
    let message = if words.contains(&"unbound") {
        Some("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    } else {
        words.contains(&"unscheduled").then_some("0/3 nodes are available: 3 Insufficient cpu.")
    };
    if let Some(message) = message {
        let condition = json!({ "type": "PodScheduled", "status": "False", "message": message });
        let condition = serde_json::from_value(condition).expect("a condition");
        pod.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    }
    if words.contains(&"outdated") {
        let notes = pod.metadata.annotations.get_or_insert_default();
        notes.insert(names::ANNOTATION_SETTINGS.to_owned(), "others".to_owned());
    }
    if words.contains(&"terminating") {
        pod.metadata.deletion_timestamp = Some(Time(now()));
    }
    pod
}

fn volume(name: &str, holds: Option<(ClusterId, &str)>, owned: bool) -> PersistentVolumeClaim {
    let mut volume: PersistentVolumeClaim = made("PersistentVolumeClaim", &format!("data-{name}-0"), &json!({}));
    volume.metadata.creation_timestamp = Some(Time(ago(SignedDuration::from_hours(3))));
    let owner = serde_json::from_value(owner("StatefulSet", name, &format!("StatefulSet/{name}"))).expect("an owner");
    volume.metadata.owner_references = owned.then(|| vec![owner]);
    if let Some((cluster, id)) = holds {
        let labels = volume.metadata.labels.get_or_insert_default();
        labels.insert(names::LABEL_CLUSTER_ID.to_owned(), cluster.to_string());
        labels.insert(names::LABEL_MEMBER_ID.to_owned(), id.to_owned());
        let own = volume.metadata.uid.clone().expect("it has one");
        volume.metadata.annotations = Some([(names::ANNOTATION_CLAIM_UID.to_owned(), own)].into());
    }
    volume
}

fn sized(claim: &mut PersistentVolumeClaim, class: Option<&str>, asks: Option<&str>, has: Option<&str>) {
    let spec = claim.spec.get_or_insert_default();
    spec.storage_class_name = class.map(str::to_owned);
    let amount = |size: &str| BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))]);
    spec.resources.get_or_insert_default().requests = asks.or(has).map(amount);
    if let Some(size) = has {
        let status = claim.status.get_or_insert_default();
        (status.phase, status.capacity) = (Some("Bound".to_owned()), Some(amount(size)));
    }
}

fn store() -> Value {
    json!({ "bucket": "backups", "credentialsSecretRef": { "name": "keys" } })
}

fn restore() -> Value {
    json!({ "restore": { "source": {
        "objectStore": store(), "clusterID": "000000000000000000000000000000aa", "manifest": "aa/manifest",
    }}})
}
