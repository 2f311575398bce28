//! Tests of answers that last: what a member keeps of the requests meanwhile. Owns the clients. Does not own the meaning of the
//! answers (`tests/services`).

use http::uri::PathAndQuery;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::cluster::{Cluster, connect};
use crate::heavy::resident_bytes;
use crate::until::in_time;

/// grpc.health.v1.HealthCheckRequest.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// grpc.health.v1.HealthCheckResponse.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A watch of the health of a service lasts as long as its client likes, and the name of the service may have megabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_does_not_keep_its_request() {
    const WATCHES: usize = 64;
    const NAME_BYTES: usize = 1_500_000;
    const SERVICE_UNKNOWN: i32 = 3;
    let cluster = Cluster::bootstrapped("streams", 1, &[]).await;
    let member = &cluster.members[0];
    let mut client = Grpc::new(connect(&member.client_url()).await.expect("the port is served"));
    let before = resident_bytes(member).await;
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        client.ready().await.expect("it is connected");
        let request = Request::new(CheckRequest { service: "s".repeat(NAME_BYTES) });
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
        let codec: ProstCodec<CheckRequest, CheckResponse> = ProstCodec::default();
        let watch = in_time("a watch", client.server_streaming(request, path, codec)).await.expect("it begins");
        let mut watch = watch.into_inner();
        let first = in_time("an answer", watch.message()).await.expect("no error").expect("the health");
        assert_eq!(first.status, SERVICE_UNKNOWN);
        watches.push(watch);
    }
    let more = resident_bytes(member).await.saturating_sub(before);
    println!("{WATCHES} watches with names of {NAME_BYTES} bytes keep {more} bytes");
    assert!(more < WATCHES * NAME_BYTES / 3, "{more} bytes");
}
