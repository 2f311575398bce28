//! The report on a RaftCluster or RaftBackup that this version cannot decode, written to the object itself. Owns the
//! write. Does not own the decoding (`readable.rs`), nor the report's content (`plan::status`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::api::{DynamicObject, Patch, PatchParams};
use plan::names::FIELD_MANAGER;
use serde_json::{Value, json};

use super::{ReconcileError, events};
use crate::cluster_object::ClusterObject;
use crate::context::Context;
use crate::readable::{self, Unreadable};

/// Reports on an object itself that it cannot be decoded. Writes nothing if the same is reported already, or if this
/// process has reported it for this generation: an operator of another version, which can read the object, may replace
/// the report, and the two would otherwise write in turn without end.
///
/// # Errors
/// Returns an error if the status could not be written.
pub(crate) async fn report<K: ClusterObject>(unreadable: &Unreadable, context: &Context) -> Result<(), ReconcileError> {
    let object = &unreadable.object;
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let (generation, former) = (object.metadata.generation, conditions_of(object));
    let conditions = plan::status::unreadable(&former, &unreadable.error, context.machine.wall_clock(), generation);
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if former == conditions && observed == generation {
        return Ok(());
    }
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    if context.remember(uid, |memory| memory.unreadable) == Some(generation) {
        return Ok(());
    }
    let (name, namespace) = (object.metadata.name.as_deref(), object.metadata.namespace.as_deref());
    tracing::error!(kind = &*K::kind(&()), name, namespace, error = unreadable.error, "an object cannot be read");
    // A merge patch, because an apply would remove the rest of the status. It replaces all conditions, therefore it
    // carries the resource version.
    let patch = json!({
        "metadata": { "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version },
        "status": { "observedGeneration": generation, "conditions": conditions },
    });
    let (all, kind) = readable::all::<K>(&context.client, namespace);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match all.patch_status(name.unwrap_or_default(), &parameters, &Patch::Merge(&patch)).await {
        Ok(_) => {
            context.remember(uid, |memory| memory.unreadable = Some(generation));
            events::publish_changes(&former, &conditions, &object.object_ref(&kind), context).await;
        }
        // The object was deleted or changed meanwhile. The change triggers another pass.
        Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => {}
        Err(error) => return Err(ReconcileError::Api { what: "reporting an object that cannot be read", error }),
    }
    Ok(())
}

/// The conditions in the status of an object, as far as they can be decoded.
fn conditions_of(object: &DynamicObject) -> Vec<Condition> {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crds::RaftCluster;
    use kube::runtime::controller::Action;

    use super::*;
    use crate::answering::{Answer, AnsweringServer, Request, accepted, refused};
    use crate::raft_cluster::reconcile;

    /// A RaftCluster with a value that this version does not know, and with the status of an earlier pass.
    fn odd() -> Value {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 3,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster",
            "metadata": { "name": "odd", "namespace": "default", "uid": "u", "resourceVersion": "9", "generation": 4 },
            "spec": {
                "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
                "imagePullPolicy": "Sometimes",
            },
            "status": { "observedGeneration": 3, "leader": "odd-1", "conditions": [
                condition("Ready", "True", "Healthy"), condition("Stalled", "False", "NotStalled"),
                condition("Degraded", "False", "Healthy"),
            ]},
        })
    }

    /// The answer of an API server that has this RaftCluster and nothing else, and accepts every write.
    fn answer(request: &Request, object: Value) -> Answer {
        if request.method != "GET" {
            return accepted();
        }
        if request.path.contains("/raftclusters") {
            return (200, object);
        }
        if request.path.contains("/services/") {
            let (code, mut body) = refused(404, "there is none");
            body["reason"] = json!("NotFound");
            return (code, body);
        }
        (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": [] }))
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_reported_on_itself_once() {
        let reads = |object: Value| AnsweringServer::start(move |request| answer(request, object.clone()));
        let object: Arc<DynamicObject> = Arc::new(serde_json::from_value(odd()).expect("a dynamic object"));
        let server = reads(odd()).await;
        let next = reconcile(Arc::clone(&object), Arc::new(server.context())).await;
        assert_eq!(next.expect("it is reported"), Action::await_change());
        let requests = server.requests();
        let write = requests.iter().find(|request| request.path.ends_with("/raftclusters/odd/status"));
        let write = write.expect("the status is written");
        assert_eq!(
            write.body["metadata"]["resourceVersion"], "9",
            "the write replaces all conditions as they were read"
        );
        assert_eq!(write.body["status"]["observedGeneration"], 4);
        assert!(write.body["status"].get("leader").is_none(), "the rest of the status stays as it was");
        let conditions = write.body["status"]["conditions"].as_array().expect("a list");
        let found = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind).expect("it is reported");
        assert_eq!((&found("Stalled")["status"], &found("Stalled")["reason"]), (&json!("True"), &json!("Unreadable")));
        assert_eq!(found("Ready")["status"], "Unknown");
        assert_eq!(found("Degraded")["reason"], "Healthy", "other conditions stay");
        let message = found("Stalled")["message"].as_str().expect("a text");
        assert!(message.contains("spec.imagePullPolicy") && message.contains("Sometimes"), "{message}");
        let events = requests.iter().filter(|request| request.path.ends_with("/events"));
        assert!(events.clone().any(|event| event.body["reason"] == "Unreadable"), "{requests:?}");

        let mut reported = odd();
        reported["status"]["conditions"] = write.body["status"]["conditions"].clone();
        reported["status"]["observedGeneration"] = json!(4);
        let server = reads(reported).await;
        reconcile(object, Arc::new(server.context())).await.expect("nothing is to be reported");
        assert!(server.requests().iter().all(|request| request.method == "GET"), "it is reported already");
    }

    /// An operator of another version can read the object and writes the status, which triggers this one.
    #[tokio::test]
    async fn an_object_is_reported_once_for_each_generation() {
        let generation = Arc::new(AtomicI64::new(4));
        let now = Arc::clone(&generation);
        let server = AnsweringServer::start(move |request| {
            let mut object = odd();
            object["metadata"]["generation"] = json!(now.load(Ordering::Relaxed));
            answer(request, object)
        })
        .await;
        let object: Arc<DynamicObject> = Arc::new(serde_json::from_value(odd()).expect("a dynamic object"));
        let context = Arc::new(server.context());
        for (current, writes) in [(4, 1), (4, 0), (4, 0), (5, 1), (5, 0)] {
            generation.store(current, Ordering::Relaxed);
            reconcile(Arc::clone(&object), Arc::clone(&context)).await.expect("it is reported");
            let requests = server.requests();
            let reports = requests.iter().filter(|request| request.path.ends_with("/status")).count();
            assert_eq!(reports, writes, "generation {current}: {requests:?}");
        }
    }

    /// A watch that decoded all objects would fail as a whole.
    #[tokio::test]
    async fn a_watch_delivers_objects_next_to_one_that_cannot_be_read() {
        use futures::StreamExt;
        use kube::runtime::watcher::{self, Event};

        let server = AnsweringServer::start(|_| {
            let mut good = odd();
            good["metadata"]["name"] = json!("good");
            good["spec"]["imagePullPolicy"] = json!("Always");
            let list = json!({ "resourceVersion": "9" });
            let kind = json!("RaftClusterList");
            (
                200,
                json!({ "apiVersion": "raftoperator.io/v1alpha1", "kind": kind, "metadata": list, "items": [odd(), good] }),
            )
        });
        let server = server.await;
        let (all, _) = readable::all::<RaftCluster>(&server.client, None);
        let mut events = Box::pin(kube::runtime::watcher(all, watcher::Config::default()));
        let mut names = Vec::new();
        while names.len() < 2 {
            match events.next().await.expect("a watch does not end").expect("the list can be read") {
                Event::InitApply(object) => names.push(object.metadata.name.unwrap_or_default()),
                Event::Init => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names, ["odd", "good"]);
    }

    #[test]
    fn conditions_of_a_newer_version_are_kept_as_far_as_they_can_be_read() {
        let good = json!({
            "type": "Degraded", "status": "False", "reason": "Healthy", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let object = serde_json::from_value(json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster", "metadata": { "name": "demo" },
            "status": { "conditions": [good, { "type": 7 }] },
        }));
        let conditions = conditions_of(&object.expect("any custom resource is a dynamic object"));
        let kinds: Vec<_> = conditions.into_iter().map(|condition| condition.type_).collect();
        assert_eq!(kinds, ["Degraded"]);
    }
}
