//! Tests of probes, versions and metrics over HTTP, and of gRPC's health service.

use std::time::Duration;

use proto::admin as wire;
use proto::etcdserverpb as pb;
use tokio::io::AsyncWriteExt;

use crate::member::{Member, TOKEN, eventually, with_token};

const SERVING: u8 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheck {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthAnswer {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn health(member: &Member, service: &str) -> Result<HealthAnswer, tonic::Status> {
    let channel = tonic::transport::Endpoint::from_shared(member.client_url()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheck, HealthAnswer>::default();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthCheck { service: service.to_owned() });
    client.unary(request, path, codec).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_blank_member_is_alive_and_not_ready() {
    let member = Member::blank("demo-1");
    assert_eq!(member.probe("GET", "/livez").await.body, "ok\n");
    let ready = member.probe("GET", "/readyz?exclude=linearizable_read&exclude=non_learner").await;
    let text = "raft-node: this member belongs to no cluster yet: connect to another member";
    let expected = format!("[-]serving failed: {text}\n[+]data_corruption ok\n[-]serializable_read failed: {text}\n\n");
    assert_eq!((ready.code, ready.body), (503, expected));
    let version = member.probe("GET", "/version").await;
    assert_eq!(version.body, "{\"etcdserver\":\"3.7.3\",\"etcdcluster\":\"not_decided\",\"storage\":\"3.7.0\"}");

    member.bootstrap_alone().await;
    let ready = member.probe("GET", "/readyz?verbose").await;
    let checks = ["serving", "data_corruption", "serializable_read", "linearizable_read", "non_learner"];
    let expected: String = checks.iter().map(|check| format!("[+]{check} ok\n")).collect();
    assert_eq!((ready.code, ready.body), (200, expected + "ok\n"));
}

/// A kubelet restarts a member whose probes fail, so nothing that others do on the port may delay them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probes_are_answered_whatever_else_is_connected() {
    let member = Member::alone().await;
    let mut others = Vec::new();
    for sent in ["", "GET /livez HTTP/1.1\r\nHost:", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] {
        for _ in 0..200 {
            let mut other = member.connect_to_probes().await;
            // Fails if the member has closed the connection already.
            let _ = other.write_all(sent.as_bytes()).await;
            others.push(other);
        }
        let answer = tokio::time::timeout(Duration::from_secs(5), member.probe("GET", "/livez")).await;
        assert_eq!(answer.expect("it is answered at once").body, "ok\n", "beside 200 more that sent {sent:?}");
    }
}

/// Readiness waits for a quorum. That must not delay the answer that the member is alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_member_without_a_quorum_says_at_once_that_it_is_alive() {
    let member = Member::blank_with("demo-1", &["--commit-timeout=60s"]);
    let absent = wire::MemberInfo { id: "abcdef".to_owned(), name: "demo-2".to_owned(), ..member.info().await };
    let record = member.record(vec![member.info().await, absent]);
    member.admin().await.bootstrap(with_token(record, TOKEN)).await.expect("a blank member accepts an identity");
    let mut others = Vec::new();
    for path in ["/readyz", "/health"] {
        for _ in 0..100 {
            let mut other = member.connect_to_probes().await;
            let _ = other.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            others.push(other);
        }
        let answer =
            tokio::time::timeout(Duration::from_secs(5), member.probe("GET", "/livez/serializable_read")).await;
        assert_eq!(answer.expect("it is answered at once").code, 200, "beside 100 more that asked for {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn http_pages_are_those_of_etcd() {
    let member = Member::alone().await;
    for page in [member.probe("GET", "/version").await, member.page("/version").await] {
        assert_eq!(page.body, "{\"etcdserver\":\"3.7.3\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}");
        assert!(page.headers.contains("content-type: application/json"), "{page:?}");
    }
    assert_eq!(member.page("/health").await.body, "{\"health\":\"true\",\"reason\":\"\"}");
    let livez = member.probe("GET", "/livez/serializable_read").await;
    assert_eq!((livez.code, livez.body.as_str()), (200, "ok\n"));
    assert!(livez.headers.contains("x-content-type-options: nosniff"), "{livez:?}");
    let verbose = member.probe("GET", "/livez?verbose").await;
    assert_eq!(verbose.body, "[+]serializable_read ok\nok\n");
    let posted = member.probe("POST", "/readyz").await;
    assert_eq!((posted.code, posted.body.as_str()), (405, "Method Not Allowed\n"));
    assert!(posted.headers.contains("allow: get"), "{posted:?}");
    for path in ["/", "/nothing", "/readyz/nothing", "/livez/linearizable_read", "/health/x"] {
        let page = member.probe("GET", path).await;
        assert_eq!((page.code, page.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
    assert_eq!(member.page("/v3/kv/range").await.code, 404, "this version has no JSON gateway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn metrics_count_what_happened() {
    let member = Member::alone().await;
    member.put("k", "v").await;
    let lines = [
        "etcd_server_has_leader 1.0",
        "etcd_server_is_leader 1.0",
        "etcd_mvcc_put_total 1",
        "etcd_debugging_mvcc_current_revision 2.0",
        "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\",grpc_code=\"OK\"} 1",
        "etcd_server_request_duration_seconds_count{type=\"Put\",success=\"true\"} 1",
        "raft_phase{phase=\"member\"} 1.0",
    ];
    eventually("all lines are there", async || {
        let page = member.probe("GET", "/metrics").await.body;
        let missing: Vec<_> = lines.iter().filter(|line| page.lines().all(|found| found != **line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing from:\n{page}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_health_knows_one_service() {
    let member = Member::alone().await;
    assert_eq!(health(&member, "").await.unwrap().status, i32::from(SERVING));
    let unknown = health(&member, "etcdserverpb.KV").await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (tonic::Code::NotFound, "unknown service"));
    // A client that first calls the health service can use the other services on the same port.
    member.kv().await.range(pb::RangeRequest { key: "health".into(), ..pb::RangeRequest::default() }).await.unwrap();
}
