//! Tests of etcd's `KV.RangeStream` over a real connection.

use proto::etcdserverpb as pb;
use tonic::Code;

use crate::member::{Member, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_merged_chunks_equal_the_plain_range() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    for number in 0..100 {
        member.put(&format!("k{number:03}"), "v").await;
    }
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..pb::RangeRequest::default() };
    let plain = kv.range(all.clone()).await.unwrap().into_inner();

    let mut chunks = kv.range_stream(all).await.unwrap().into_inner();
    let mut merged = pb::RangeResponse::default();
    let mut sizes = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        let chunk = chunk.range_response.unwrap();
        sizes.push(chunk.kvs.len());
        merged.kvs.extend(chunk.kvs);
        (merged.header, merged.count, merged.more) = (chunk.header, chunk.count, chunk.more);
    }
    assert_eq!(merged, plain);
    assert_eq!(sizes, [10, 20, 40, 30]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_refuses_sort_orders_and_revision_filters() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let request = pb::RangeRequest { key: "k".into(), ..pb::RangeRequest::default() };
    let descending = pb::range_request::SortOrder::Descend as i32;
    assert_eq!(
        refusal(kv.range_stream(pb::RangeRequest { sort_order: descending, ..request.clone() }).await),
        (Code::Unimplemented, "RangeStream does not support custom sort orders".to_owned())
    );
    assert_eq!(
        refusal(kv.range_stream(pb::RangeRequest { min_mod_revision: 1, ..request.clone() }).await),
        (Code::Unimplemented, "RangeStream does not support revision filters".to_owned())
    );
    let mut future = kv.range_stream(pb::RangeRequest { revision: 9, ..request }).await.unwrap().into_inner();
    assert_eq!(
        refusal(future.message().await),
        (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned())
    );
}
