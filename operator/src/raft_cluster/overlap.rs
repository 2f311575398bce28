//! Notes on each cluster which release manages it, and reports a second release that manages the same cluster. Owns the
//! write and the report. Does not own the judgement (`plan::overlap`).

use crds::RaftCluster;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource};
use plan::names::{ANNOTATION_OPERATOR, FIELD_MANAGER};
use plan::observed::{Observed, annotation};
use plan::overlap::{Reaction, react};
use serde_json::json;

use super::events;
use crate::context::Context;

/// Name of the event that reports a second release. It never changes.
const REASON: &str = "SeveralOperators";

/// Reads the note on the cluster's Service, and writes it or reports another release. Does nothing while the cluster is
/// paused or has no leader, because the operator must not change some of these clusters.
pub(super) async fn check(observed: &Observed, context: &Context) {
    if observed.cluster.spec.paused || observed.configuration.is_none() {
        return;
    }
    let service = observed.services.members.as_ref().map(|service| &service.metadata);
    if let Some(service) = service.filter(|service| observed.owns(service)) {
        check_note(&observed.cluster, service, context).await;
    }
}

async fn check_note(cluster: &RaftCluster, service: &ObjectMeta, context: &Context) {
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    let before = context.remember(uid, |memory| memory.note.clone());
    let (reaction, after) = react(annotation(service, ANNOTATION_OPERATOR), &context.release, &before);
    match reaction {
        Reaction::Nothing => {}
        Reaction::Write => {
            if let Err(error) = write(service, context).await {
                // The next pass tries again.
                tracing::debug!(%error, "the operator's release was not noted");
                return;
            }
        }
        Reaction::Report { other } => report(other, &cluster.object_ref(&()), context).await,
    }
    context.remember(uid, |memory| memory.note = after);
}

async fn write(service: &ObjectMeta, context: &Context) -> Result<(), kube::Error> {
    let (name, namespace) = (service.name.as_deref(), service.namespace.as_deref());
    let patch = json!({ "metadata": {
        "uid": service.uid, "annotations": { ANNOTATION_OPERATOR: context.release },
    }});
    let services: Api<Service> = Api::namespaced(context.client.clone(), namespace.unwrap_or_default());
    let parameters = PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-notes")), ..PatchParams::default() };
    services.patch(name.unwrap_or_default(), &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

async fn report(other: &str, cluster: &ObjectReference, context: &Context) {
    let namespace = cluster.namespace.as_deref().unwrap_or_default();
    let text = format!(
        "the operators of two releases manage this cluster, {} and {other}: let only one of them watch the namespace {namespace} (watch.namespaces), or uninstall the other",
        context.release
    );
    tracing::warn!(cluster = cluster.name, namespace, "{text}");
    context.metrics.overlaps();
    let event = Event {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(text),
        action: "Report".to_owned(),
        secondary: None,
    };
    events::write(&event, cluster, context).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;
    use plan::observed::OperatorSettings;
    use serde_json::Value;

    use super::*;
    use crate::machine::ThisMachine;
    use crate::member::client::Members;
    use crate::metrics::Metrics;

    type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

    /// A client whose requests are recorded and succeed.
    fn client(requests: &Requests) -> Client {
        let requests = Arc::clone(requests);
        let service = tower::service_fn(move |request: Request<Body>| {
            let requests = Arc::clone(&requests);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("the request is complete");
                let value: Value = serde_json::from_slice(&body).expect("JSON");
                requests.lock().expect("no check failed").push((head.method, head.uri.path().to_owned(), value));
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn the_release_is_noted_once_and_another_one_is_reported_once() {
        let requests = Requests::default();
        let settings = OperatorSettings { node_image: "raft-node:1".to_owned(), node_image_pull_policy: None };
        let (pod, release) = ("pod".to_owned(), "raft/a-raft-operator".to_owned());
        let (members, machine) = (Members::default(), Box::new(ThisMachine));
        let context = Context::new(client(&requests), members, machine, settings, Metrics::new(), pod, release);
        let cluster: RaftCluster = serde_json::from_value(json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster",
            "metadata": { "name": "demo", "namespace": "team-a", "uid": "u" },
            "spec": {
                "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
            },
        }))
        .expect("a RaftCluster");
        let service = |note: Option<&str>| ObjectMeta {
            name: Some("demo-members".to_owned()),
            namespace: Some("team-a".to_owned()),
            uid: Some("s".to_owned()),
            annotations: note.map(|note| [(ANNOTATION_OPERATOR.to_owned(), note.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let (own, other) = (Some("raft/a-raft-operator"), Some("raft/b-raft-operator"));
        for note in [None, own, own, other, other, other] {
            check_note(&cluster, &service(note), &context).await;
        }
        let requests = requests.lock().expect("no check failed");
        assert_eq!(requests.len(), 2, "{requests:?}");
        let (method, path, patch) = &requests[0];
        assert_eq!((method, path.as_str()), (&Method::PATCH, "/api/v1/namespaces/team-a/services/demo-members"));
        assert_eq!(patch["metadata"]["annotations"]["raftoperator.io/operator"], "raft/a-raft-operator");
        assert_eq!(patch["metadata"]["uid"], "s", "a later Service of this name is not changed");
        let (_, path, event) = &requests[1];
        assert!(path.ends_with("/namespaces/team-a/events"), "{path}");
        assert_eq!((&event["reason"], &event["type"]), (&json!("SeveralOperators"), &json!("Warning")));
        let note = event["note"].as_str().expect("the event says more");
        assert!(note.contains("raft/b-raft-operator") && note.contains("watch.namespaces"), "{note}");
        assert!(context.metrics.text().contains("raft_operator_overlaps_total 1"));
    }
}
