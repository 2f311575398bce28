//! Tests of passes in which an object changed since it was observed, or a webhook does not answer: the other actions go
//! on. Also tests what each request carries against such changes.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use plan::action::{Action, Apply, MemberAction, ObjectAction, Replace};
use plan::names::{Ordinal, Role};
use plan::observed::{Observed, Seen};
use serde_json::json;

use super::{Applied, in_order};
use crate::answering::{Answer, AnsweringServer, Request, accepted, refused};
use crate::context::Context;
use crate::planning::tests::cluster;
use crate::raft_cluster::events::tests::restore;

const CHANGED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// An operator and an API server that answers by a rule.
struct Setup {
    server: AnsweringServer,
    context: Context,
    observed: Observed,
}

impl Setup {
    async fn answering(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let server = AnsweringServer::start(answer).await;
        Self { context: server.context(), observed: cluster("demo"), server }
    }

    async fn pass(&self, actions: &[Action]) -> (Applied, Vec<String>) {
        let applied = in_order(actions, &self.observed, &self.context).await;
        let requests = self.server.requests().into_iter();
        let names = requests.map(|request| request.path.rsplit('/').next().unwrap_or_default().to_owned());
        (applied, names.collect())
    }
}

fn replace(name: &str) -> Action {
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "default", "uid": "u", "resourceVersion": "1" },
    }))
    .expect("a StatefulSet");
    ObjectAction::ReplaceSet(Box::new(Replace::of(&set, &set))).into()
}

fn pod() -> Seen {
    Seen { name: "demo-1-0".to_owned(), uid: "u".to_owned(), version: "7".to_owned() }
}

/// Another controller that writes one StatefulSet all the time once ended every pass there: no member was replaced, and
/// nothing was reported.
#[tokio::test]
async fn an_object_that_another_program_changed_stops_no_other_action() {
    let setup =
        Setup::answering(|request| if request.path.ends_with("/demo-1") { refused(409, CHANGED) } else { accepted() });
    let setup = setup.await;
    let label = ObjectAction::LabelPod { pod: pod(), role: Role::Voter };
    let actions = [replace("demo-1"), replace("demo-2"), label.into()];
    for _ in 0..4 {
        let (applied, requests) = setup.pass(&actions).await;
        assert_eq!(requests, ["demo-1", "demo-2", "demo-1-0"]);
        assert!(applied.did_something, "the next pass observes again soon");
        assert_eq!((applied.failures.len(), applied.refused.len()), (0, 0), "once or twice is no trouble");
    }
    let (applied, _) = setup.pass(&actions).await;
    let [refused] = applied.refused.as_slice() else { panic!("it is reported: {:?}", applied.refused) };
    assert_eq!(refused.write, "updating StatefulSet demo-1");
    assert!(refused.message.contains("another program changed it before each of the last 5"), "{}", refused.message);
    assert_eq!(applied.news.len(), 1, "an event reports it");
    let (_, requests) = setup.pass(&actions).await;
    assert_eq!(requests, ["demo-2", "demo-1-0"], "it is not sent ten times a second");
}

/// To a patch or an apply that names another UID, the API server answers that the UID cannot be changed. A pod that was
/// replaced meanwhile was once reported as refused, and its successor got no role until the refusal expired.
#[tokio::test]
async fn an_object_that_was_replaced_by_another_one_is_observed_again() {
    let (code, mut answer) = refused(422, "Pod \"demo-1-0\" is invalid: metadata.uid: field is immutable");
    let cause = json!({ "reason": "FieldValueInvalid", "message": "field is immutable", "field": "metadata.uid" });
    answer["details"] = json!({ "name": "demo-1-0", "kind": "Pod", "causes": [cause] });
    let setup = Setup::answering(move |_| (code, answer.clone())).await;
    let label = ObjectAction::LabelPod { pod: pod(), role: Role::Voter }.into();
    for _ in 0..2 {
        let (applied, requests) = setup.pass(std::slice::from_ref(&label)).await;
        assert_eq!(requests, ["demo-1-0"]);
        assert!(applied.did_something, "the next pass observes again soon");
        assert_eq!((applied.failures.len(), applied.refused.len()), (0, 0), "it is no refusal");
    }
}

#[tokio::test]
async fn an_action_that_needs_the_changed_object_waits() {
    let setup = Setup::answering(|_| refused(409, CHANGED)).await;
    let (_, requests) = setup.pass(&[replace("demo-1"), ObjectAction::EvictPod { pod: pod() }.into()]).await;
    assert_eq!(requests, ["demo-1"], "the pod would come back with its old settings");
}

/// Later actions were decided from the identity that did not exist.
#[tokio::test]
async fn a_pass_ends_if_another_operator_created_the_identity() {
    let exists = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": "",
    });
    let setup = Setup::answering(move |_| (409, exists.clone())).await;
    let secret = serde_json::from_value(json!({ "metadata": { "name": "demo-identity" } })).expect("a Secret");
    let (applied, requests) =
        setup.pass(&[ObjectAction::CreateIdentity(Box::new(secret)).into(), replace("demo-1")]).await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(applied.did_something);
    let MemberAction::Restore { .. } = restore() else { panic!("it is a call") };
    assert!(super::ends_pass(&restore().into()), "a member that refuses a stale call ends the pass, too");
}

/// Each write waits for the webhook's timeout of 10 to 30 seconds. With nine StatefulSets, a lost member was replaced only
/// minutes later.
#[tokio::test]
async fn a_webhook_that_does_not_answer_is_waited_for_once_a_pass() {
    const SILENT: &str = "Internal error occurred: failed calling webhook \"policy.example.com\": deadline exceeded";
    for (code, message) in [(500, SILENT), (504, "the server was unable to return a response in time")] {
        let answer = move |request: &Request| {
            if request.path.contains("/statefulsets/") { refused(code, message) } else { accepted() }
        };
        let setup = Setup::answering(answer).await;
        let label = ObjectAction::LabelPod { pod: pod(), role: Role::Voter };
        let (applied, requests) =
            setup.pass(&[replace("demo-1"), replace("demo-2"), replace("demo-3"), label.into()]).await;
        assert_eq!(requests, ["demo-1", "demo-1-0"], "{code}");
        assert_eq!(applied.refused.len() + applied.failures.len(), 3, "all three are reported");
        assert!(applied.news.len() <= 1, "one event is enough: {:?}", applied.news);
    }
}

/// Kubernetes ignores a precondition in any other field, and would evict the pod's successor.
#[tokio::test]
async fn an_eviction_carries_the_uid_where_kubernetes_reads_it() {
    let setup = Setup::answering(|_| accepted()).await;
    in_order(&[ObjectAction::EvictPod { pod: pod() }.into()], &setup.observed, &setup.context).await;
    let requests = setup.server.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(request.path.ends_with("/pods/demo-1-0/eviction"), "{}", request.path);
    assert_eq!(request.method, "POST");
    assert_eq!(request.body["kind"], "Eviction", "{}", request.body);
    assert_eq!(request.body["deleteOptions"]["preconditions"]["uid"], "u", "{}", request.body);
}

/// If a person creates a Service of this name between the observation and the write, its fields must not be taken over.
#[tokio::test]
async fn only_an_observed_object_is_applied_by_force() {
    let setup = Setup::answering(|_| refused(409, "Apply failed with 1 conflict")).await;
    let service = |uid: Option<&str>| -> Service {
        let version = uid.map(|_| "1");
        let metadata = json!({ "name": "demo", "namespace": "default", "uid": uid, "resourceVersion": version });
        serde_json::from_value(json!({ "metadata": metadata })).expect("a Service")
    };
    let apply = |live: Option<&Service>| ObjectAction::Apply(Box::new(Apply::of(&service(None), live))).into();
    let applied = in_order(&[apply(None)], &setup.observed, &setup.context).await;
    assert!(applied.did_something && applied.failures.is_empty(), "the next pass sees whose it is: {applied:?}");
    let applied = in_order(&[apply(Some(&service(Some("u"))))], &setup.observed, &setup.context).await;
    assert!(applied.did_something, "{applied:?}");
    let forced: Vec<bool> =
        setup.server.requests().iter().map(|request| request.query.contains("force=true")).collect();
    assert_eq!(forced, [false, true]);
}

#[tokio::test]
async fn an_ordinal_is_kept_if_admission_refused_its_member() {
    const BROKEN: [(u16, &str); 3] = [
        (401, "statefulsets.apps \"demo-4\" is forbidden: ValidatingAdmissionPolicy 'owned' denied request: no owner"),
        (500, "Internal error occurred: jsonpatch add operation does not apply: doc is missing path"),
        (500, "Internal error occurred: admission plugin \"MutatingAdmissionWebhook\" failed to complete mutation"),
    ];
    for (code, message) in BROKEN {
        let setup = Setup::answering(move |_| refused(code, message)).await;
        setup.context.remember(setup.observed.uid(), |memory| memory.reserved.insert(Ordinal(4)));
        let set = serde_json::from_value(json!({ "metadata": { "name": "demo-4" } })).expect("a StatefulSet");
        let create = ObjectAction::CreateSet { ordinal: Ordinal(4), set: Box::new(set) };
        let (applied, _) = setup.pass(&[create.into()]).await;
        assert_eq!((applied.refused.len(), applied.failures.len()), (1, 0), "{message}: {:?}", applied.failures);
        let kept = setup.context.remember(setup.observed.uid(), |memory| memory.reserved.contains(&Ordinal(4)));
        assert!(kept, "{message}: another attempt uses the same ordinal");
    }
    let expired = Setup::answering(|_| refused(401, "Unauthorized")).await;
    let (applied, _) = expired.pass(&[replace("demo-1")]).await;
    assert_eq!((applied.refused.len(), applied.failures.len()), (0, 1), "the operator's own token is no policy");
}
