//! Tests of many large writes at once, over real connections. Owns the burst. Does not own how memory is shared, which
//! the tests of the `api` crate show.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;

use crate::member::Member;

/// etcd refuses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hundred_connections_write_a_megabyte_each_at_once() {
    let member = Member::alone().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(KvClient::connect(member.client_url()).await.expect("the port is served"));
    }
    let writes = clients.into_iter().enumerate().map(async |(number, mut client)| {
        let (key, value) = (format!("key-{number}").into(), vec![7; 1_000_000].into());
        client.put(pb::PutRequest { key, value, ..pb::PutRequest::default() }).await
    });
    let refused: Vec<_> = futures::future::join_all(writes).await.into_iter().filter_map(Result::err).collect();
    assert!(refused.is_empty(), "{} of 100 failed: {:?}", refused.len(), refused[0]);

    let range =
        pb::RangeRequest { key: "key".into(), range_end: "kez".into(), limit: 3, ..pb::RangeRequest::default() };
    let found = member.kv().await.range(range).await.expect("a large answer arrives").into_inner();
    assert_eq!((found.count, found.kvs.len()), (100, 3));
    assert!(found.kvs.iter().all(|kv| kv.value == vec![7; 1_000_000]), "the answer refers to the stored values");
}
