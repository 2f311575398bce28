//! The part of Kubernetes' disruption controller that an eviction needs. Owns the status of each disruption budget on
//! the real server. Does not own evictions; the simulated server counts by itself at each of them.

use kube::api::{ListParams, Patch, PatchParams};
use operators::api_server::Kind;
use serde_json::{Value, json};

use crate::server::Server;

/// Writes the status of every budget.
pub(crate) async fn publish(server: &mut Server) {
    let (budgets, pods) = (list(server, Kind::Budget).await, list(server, Kind::Pod).await);
    for budget in budgets {
        let selector = budget["spec"]["selector"]["matchLabels"].as_object();
        let covers =
            |pod: &&Value| selector.into_iter().flatten().all(|(key, value)| pod["metadata"]["labels"][key] == *value);
        let covered: Vec<&Value> = pods.iter().filter(covers).collect();
        let healthy = covered.iter().filter(|pod| is_healthy(pod)).count();
        let least = budget["spec"]["minAvailable"].as_u64().and_then(|least| usize::try_from(least).ok()).unwrap_or(0);
        let status = json!({ "status": {
            "observedGeneration": budget["metadata"]["generation"],
            "currentHealthy": healthy,
            "desiredHealthy": least,
            "expectedPods": covered.len(),
            "disruptionsAllowed": healthy.saturating_sub(least),
            "disruptedPods": null,
        }});
        let name = budget["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams { field_manager: Some("controllers".to_owned()), ..PatchParams::default() };
        let requests = server.requests(Kind::Budget);
        let request = requests.patch_subresource("status", name, &parameters, &Patch::Merge(status));
        let (code, answer) = server.send(request.expect("a request")).await;
        assert_eq!(code, 200, "{answer}");
    }
}

async fn list(server: &Server, kind: Kind) -> Vec<Value> {
    let request = server.requests(kind).list(&ListParams::default()).expect("a request");
    let (_, body) = server.send(request).await;
    body["items"].as_array().cloned().unwrap_or_default()
}

fn is_healthy(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    pod["metadata"]["deletionTimestamp"].is_null() && ready.any(|condition| condition["status"] == "True")
}
