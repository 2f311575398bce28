//! Tests of the time since which a member is silent, over the passes of a stop and a start.

use k8s_openapi::api::apps::v1::StatefulSet;
use plan::ids::MemberId;
use plan::names::Ordinal;
use plan::observed::member::{Answer, Configuration, MemberInfo, MemberPhase, Progress, RaftRole, Report};
use plan::observed::{Linearizable, Observed, ObservedMember};
use serde_json::json;
use tokio::time::Instant;

use super::{ask_members, remember_heard};
use crate::answering::{AnsweringServer, accepted};
use crate::context::Context;
use crate::planning::tests::cluster;

const MEMBER: Ordinal = Ordinal(1);
const LEADER: Ordinal = Ordinal(2);

/// Observes a member without a pod. Returns since when it is silent.
async fn silent_since(stopped: bool, replicas: i32, observed: &mut Observed, context: &Context) -> Option<Instant> {
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": { "name": "demo-1" },
        "spec": { "replicas": replicas, "selector": {}, "serviceName": "demo-members", "template": {} },
    }))
    .expect("a StatefulSet");
    observed.cluster.spec.stopped = stopped;
    observed.members.insert(MEMBER, ObservedMember { set: Some(set), ..ObservedMember::default() });
    ask_members(observed, None, context).await;
    let since = context.remember(observed.uid(), |memory| memory.silent.get(&MEMBER).copied());
    let is_silent = matches!(observed.members[&MEMBER].answer, Some(Answer::Silent { .. }));
    assert_eq!(is_silent, since.is_some(), "what is remembered is what is observed");
    since
}

/// Every member is silent while the cluster is stopped. If that counted, all would be replaced at the start.
#[tokio::test]
async fn silence_counts_from_the_start() {
    let context = AnsweringServer::start(|_| accepted()).await.context();
    let mut observed = cluster("demo");
    let before = silent_since(false, 1, &mut observed, &context).await.expect("it has no pod");
    assert_eq!(silent_since(false, 1, &mut observed, &context).await, Some(before), "it goes on");
    assert_eq!(silent_since(true, 1, &mut observed, &context).await, Some(before), "its pod has not ended yet");
    assert_eq!(silent_since(true, 0, &mut observed, &context).await, None);
    let start = silent_since(false, 0, &mut observed, &context).await.expect("it is to start");
    assert!(start > before, "the stop does not count");
    assert_eq!(silent_since(false, 1, &mut observed, &context).await, Some(start), "a slow start counts");
}

/// A person or a program scales the StatefulSet to 0 after each write of the operator. The member has to be replaced.
#[tokio::test]
async fn a_member_that_another_program_keeps_at_0_replicas_is_silent() {
    let context = AnsweringServer::start(|_| accepted()).await.context();
    let mut observed = cluster("demo");
    let since = silent_since(false, 0, &mut observed, &context).await.expect("it does not answer");
    assert_eq!(silent_since(false, 0, &mut observed, &context).await, Some(since), "its silence grows");
}

/// A member leads, and receives the answers of the other one.
fn lead(observed: &mut Observed) {
    let progress = Progress { matched: 1, active: true, snapshotting: false };
    let report = Report {
        id: Some(MemberId(2)),
        role: RaftRole::Leader,
        leader: Some(MemberId(2)),
        term: 1,
        commit: 1,
        last: 1,
        progress: [(MemberId(1), progress)].into(),
        version: "1".to_owned(),
        ..Report::of_phase(MemberPhase::Member)
    };
    let answer = Some(Answer::Report(Box::new(report)));
    observed.members.insert(LEADER, ObservedMember { answer, ..ObservedMember::default() });
    let info = MemberInfo { name: "demo-1".to_owned(), peer_url: String::new(), client_url: String::new() };
    let configuration = Configuration { members: [(MemberId(1), info)].into(), ..Configuration::default() };
    observed.configuration = Some(Linearizable { leader: LEADER, configuration });
}

/// The operator may be unable to reach a member that serves. The member was then replaced as soon as the leader missed it
/// for a moment.
#[tokio::test]
async fn a_member_whose_answers_the_leader_receives_is_not_silent() {
    let context = AnsweringServer::start(|_| accepted()).await.context();
    let mut observed = cluster("demo");
    let before = silent_since(false, 1, &mut observed, &context).await.expect("it has no pod");
    assert_eq!(observed.members[&MEMBER].heard, None);
    remember_heard(&observed, &context);
    assert_eq!(silent_since(false, 1, &mut observed, &context).await, Some(before), "no leader receives its answers");
    lead(&mut observed);
    remember_heard(&observed, &context);
    let since = silent_since(false, 1, &mut observed, &context).await.expect("it still has no pod");
    assert!(since > before, "the leader heard it");
    let heard = observed.members[&MEMBER].heard.expect("the leader heard it");
    assert!(heard <= observed.now);
    observed.members.remove(&MEMBER);
    observed.configuration = None;
    remember_heard(&observed, &context);
    assert!(context.remember(observed.uid(), |memory| !memory.heard.contains_key(&MEMBER)), "it is forgotten");
}
