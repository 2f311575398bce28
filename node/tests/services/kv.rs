//! Tests of etcd's KV service: values, headers, and every documented refusal.

use bytes::Bytes;
use dev_cluster::own_address;
use proto::etcdserverpb as pb;
use proto::mvccpb::KeyValue;
use tonic::{Code, Request};

use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request as Op;

use crate::member::{Member, TOKEN, eventually, refusal, with_token};

fn key(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..pb::RangeRequest::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..pb::PutRequest::default() }
}

fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.to_owned().into(), ..pb::DeleteRangeRequest::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn stored(key: &str, value: &str, created: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        create_revision: created,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn puts_gets_and_deletes_answer_with_their_revision() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let header = kv.put(put("k", "1")).await.unwrap().into_inner().header.unwrap();
    assert_eq!((header.cluster_id, header.revision), (0x0011_2233_4455_6677, 2));
    assert_eq!(format!("{:x}", header.member_id), member.describe().await.member_id);
    assert!(header.raft_term > 0);

    let second = kv.put(pb::PutRequest { prev_kv: true, ..put("k", "2") }).await.unwrap().into_inner();
    assert_eq!(second.header.unwrap().revision, 3);
    assert_eq!(second.prev_kv, Some(stored("k", "1", 2, 2, 1)));

    let now = kv.range(key("k")).await.unwrap().into_inner();
    assert_eq!((now.header.unwrap().revision, now.count, now.more), (3, 1, false));
    assert_eq!(now.kvs, [stored("k", "2", 2, 3, 2)]);
    let before = kv.range(pb::RangeRequest { revision: 2, ..key("k") }).await.unwrap().into_inner();
    assert_eq!((before.header.unwrap().revision, before.kvs), (3, vec![stored("k", "1", 2, 2, 1)]));

    let gone = kv.delete_range(pb::DeleteRangeRequest { prev_kv: true, ..delete("k") }).await.unwrap().into_inner();
    assert_eq!((gone.header.unwrap().revision, gone.deleted), (4, 1));
    assert_eq!(gone.prev_kvs, [stored("k", "2", 2, 3, 2)]);
    let nothing = kv.delete_range(delete("k")).await.unwrap().into_inner();
    assert_eq!((nothing.header.unwrap().revision, nothing.deleted), (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_transaction_takes_one_branch() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let txn = |expected| pb::TxnRequest {
        compare: vec![pb::Compare {
            key: "k".into(),
            result: CompareResult::Equal as i32,
            target: CompareTarget::Version as i32,
            target_union: Some(TargetUnion::Version(expected)),
            ..pb::Compare::default()
        }],
        success: vec![op(Op::RequestPut(put("k", "new"))), op(Op::RequestRange(key("k")))],
        failure: vec![op(Op::RequestRange(key("k")))],
    };
    let first = kv.txn(txn(0)).await.unwrap().into_inner();
    assert!(first.succeeded);
    assert_eq!((first.header.unwrap().revision, first.responses.len()), (2, 2));
    let second = kv.txn(txn(0)).await.unwrap().into_inner();
    assert!(!second.succeeded);
    let Some(pb::response_op::Response::ResponseRange(range)) = &second.responses[0].response else {
        panic!("a range answers with a range: {second:?}");
    };
    assert_eq!(range.kvs, [stored("k", "new", 2, 2, 1)]);
    assert_eq!(range.header, Some(pb::ResponseHeader { revision: 2, ..pb::ResponseHeader::default() }));

    let read_only = pb::TxnRequest { success: vec![op(Op::RequestRange(key("k")))], ..pb::TxnRequest::default() };
    let read = kv.txn(read_only).await.unwrap().into_inner();
    assert_eq!((read.succeeded, read.header.unwrap().revision), (true, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn compacted_revisions_are_refused() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.unwrap();
    }
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    assert_eq!(kv.compact(compact(3)).await.unwrap().into_inner().header.unwrap().revision, 4);
    let compacted = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".to_owned());
    let future = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned());
    assert_eq!(refusal(kv.compact(compact(3)).await), compacted);
    assert_eq!(refusal(kv.compact(compact(5)).await), future);
    let at = |revision| pb::RangeRequest { revision, ..key("k") };
    assert_eq!(refusal(kv.range(at(2)).await), compacted);
    assert_eq!(refusal(kv.range(at(5)).await), future);
    assert_eq!(kv.range(at(3)).await.unwrap().into_inner().kvs, [stored("k", "2", 2, 3, 2)]);
}

/// Clients check the size right after the call, to see whether the alarm NOSPACE can be cleared. Writers that never pause must
/// not delay the removal without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_physical_compaction_answers_after_the_versions_are_removed() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let value = "v".repeat(100);
    let puts = || (0..125).map(|number| op(Op::RequestPut(put(&format!("k{number}"), &value)))).collect();
    for _ in 0..400 {
        kv.txn(pb::TxnRequest { success: puts(), ..pb::TxnRequest::default() }).await.unwrap();
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let mut kv = member.kv().await;
        writers.spawn(async move {
            loop {
                kv.put(put(&format!("w{writer}"), "v")).await.unwrap();
            }
        });
    }
    let mut maintenance = member.maintenance().await.unwrap();
    let mut size = async || maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner().db_size;
    let before = size().await;
    let revision = kv.range(key("k1")).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    let after = size().await;
    writers.shutdown().await;
    assert!(before > 5_000_000 && after < before / 10, "{before} bytes before, {after} after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn history_is_compacted_after_the_retention_without_a_request() {
    let member = Member::blank_with("demo-1", &["--auto-compaction-retention=1s"]);
    member.bootstrap_alone().await;
    let mut kv = member.kv().await;
    for value in ["1", "2", "3"] {
        kv.put(put("k", value)).await.unwrap();
    }
    let compacted = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".to_owned());
    let at = |revision| pb::RangeRequest { revision, ..key("k") };
    eventually("the history is compacted", async || match kv.clone().range(at(2)).await {
        Ok(_) => Err(tonic::Status::unavailable("it is readable")),
        refused => {
            assert_eq!(refusal(refused), compacted);
            Ok(())
        }
    })
    .await;
    assert_eq!(kv.range(at(4)).await.unwrap().into_inner().kvs, [stored("k", "3", 2, 4, 3)], "the present is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn invalid_requests_are_refused_with_the_texts_of_etcd() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let invalid = |text: &str| (Code::InvalidArgument, text.to_owned());
    let empty_key = invalid("etcdserver: key is not provided");
    assert_eq!(refusal(kv.range(key("")).await), empty_key);
    assert_eq!(refusal(kv.put(put("", "v")).await), empty_key);
    assert_eq!(refusal(kv.delete_range(delete("")).await), empty_key);

    let sort = invalid("etcdserver: invalid sort option");
    assert_eq!(refusal(kv.range(pb::RangeRequest { sort_order: 9, ..key("k") }).await), sort);
    assert_eq!(refusal(kv.range(pb::RangeRequest { sort_target: 9, ..key("k") }).await), sort);

    let keep_value = pb::PutRequest { ignore_value: true, ..put("k", "") };
    let keep_lease = pb::PutRequest { ignore_lease: true, ..put("k", "v") };
    assert_eq!(
        refusal(kv.put(pb::PutRequest { value: "v".into(), ..keep_value.clone() }).await),
        invalid("etcdserver: value is provided")
    );
    assert_eq!(
        refusal(kv.put(pb::PutRequest { lease: 1, ..keep_lease.clone() }).await),
        invalid("etcdserver: lease is provided")
    );
    let missing = invalid("etcdserver: key not found");
    assert_eq!(refusal(kv.put(keep_value).await), missing);
    assert_eq!(refusal(kv.put(keep_lease).await), missing);
    assert_eq!(
        refusal(kv.put(pb::PutRequest { lease: 7, ..put("k", "v") }).await),
        (Code::NotFound, "etcdserver: requested lease not found".to_owned())
    );

    let mut txn = async |success| kv.txn(pb::TxnRequest { success, ..pb::TxnRequest::default() }).await;
    let puts = (0..129).map(|number| op(Op::RequestPut(put(&format!("k{number}"), "")))).collect();
    assert_eq!(refusal(txn(puts).await), invalid("etcdserver: too many operations in txn request"));
    let twice = vec![op(Op::RequestPut(put("k", "1"))), op(Op::RequestPut(put("k", "2")))];
    assert_eq!(refusal(txn(twice).await), invalid("etcdserver: duplicate key given in txn request"));
    let both = vec![op(Op::RequestPut(put("k", "1"))), op(Op::RequestDeleteRange(delete("k")))];
    assert_eq!(refusal(txn(both).await), invalid("etcdserver: duplicate key given in txn request"));
    assert_eq!(refusal(txn(vec![pb::RequestOp { request: None }]).await), missing);
    assert_eq!(refusal(txn(vec![op(Op::RequestPut(put("", "v")))]).await), empty_key);

    let after = kv.range(pb::RangeRequest { range_end: "\0".into(), ..key("\0") }).await.unwrap().into_inner();
    assert_eq!((after.count, after.header.unwrap().revision), (0, 1), "no refused request wrote anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn transactions_that_visit_too_many_keys_are_refused() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let txn = |compare, success| pb::TxnRequest { compare, success, ..pb::TxnRequest::default() };
    for round in 0..40 {
        let puts = (0..125).map(|number| op(Op::RequestPut(put(&format!("k{round:02}-{number:03}"), "v"))));
        kv.txn(txn(Vec::new(), puts.collect())).await.unwrap();
    }

    // Each comparison reads the values of 5,000 keys, because none is as given. 103 of them reach the limit.
    let compares = |count| {
        let compare = pb::Compare {
            key: "k".into(),
            range_end: "l".into(),
            result: CompareResult::NotEqual as i32,
            target: CompareTarget::Value as i32,
            target_union: Some(TargetUnion::Value("w".into())),
        };
        vec![compare; count]
    };
    let expensive = (Code::ResourceExhausted, "raft-node: the transaction visits too many keys: split it".to_owned());
    let write = || vec![op(Op::RequestPut(put("a", "")))];
    let read = || vec![op(Op::RequestRange(key("a")))];
    assert_eq!(refusal(kv.txn(txn(compares(104), write())).await), expensive);
    assert_eq!(refusal(kv.txn(txn(compares(104), read())).await), expensive);
    let whole = || pb::RangeRequest { range_end: "\0".into(), ..key("\0") };
    let passes = (0..3).map(|_| op(Op::RequestRange(whole()))).collect();
    assert_eq!(kv.txn(txn(Vec::new(), passes)).await.unwrap().into_inner().responses.len(), 3);
    let admitted = kv.txn(txn(compares(102), write())).await.unwrap().into_inner();
    assert!(admitted.succeeded);
    assert_eq!(admitted.header.unwrap().revision, 42, "the refused transactions wrote nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_requests_are_refused_by_the_request_limit_and_by_the_transport_limit() {
    let member = Member::alone().await;
    let mut kv = member.kv().await;
    let put_of = |bytes: usize| pb::PutRequest {
        key: "k".into(),
        value: Bytes::from(vec![b'v'; bytes]),
        ..pb::PutRequest::default()
    };
    assert_eq!(
        refusal(kv.put(put_of(1_572_864)).await),
        (Code::InvalidArgument, "etcdserver: request is too large".to_owned())
    );
    // In the encoded request, the key takes 3 bytes, and the tag and the length of the value take 4 bytes.
    assert_eq!(
        refusal(kv.put(put_of(2_097_152)).await),
        (Code::ResourceExhausted, "grpc: received message larger than max (2097160 vs. 2097152)".to_owned())
    );
    kv.put(put_of(1_572_800)).await.expect("the largest allowed request is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_quota_still_admits_deletes_and_compactions() {
    let member = Member::blank_with("demo-1", &["--quota-bytes=20000"]);
    member.bootstrap_alone().await;
    let mut kv = member.kv().await;
    let no_space = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_owned());
    let large = pb::PutRequest { value: vec![b'v'; 15_000].into(), ..put("k", "") };
    kv.put(large.clone()).await.unwrap();
    assert_eq!(refusal(kv.put(large).await), no_space);
    assert_eq!(refusal(kv.put(put("small", "")).await), no_space, "the alarm refuses small puts too");

    let mut maintenance = member.maintenance().await.unwrap();
    let raised = maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms;
    assert_eq!(raised.len(), 1);
    assert_eq!(raised[0].alarm, pb::AlarmType::Nospace as i32);

    kv.delete_range(delete("k")).await.expect("deletes are admitted");
    kv.compact(pb::CompactionRequest { revision: 3, physical: true }).await.expect("compactions are admitted");
    let disarm = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Deactivate as i32,
        member_id: raised[0].member_id,
        alarm: raised[0].alarm,
    };
    assert_eq!(maintenance.alarm(disarm).await.unwrap().into_inner().alarms, raised);
    kv.put(put("small", "")).await.expect("puts are admitted again");
}

/// One of the two voters never starts, so there is no leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_quorum_only_local_requests_are_answered() {
    let member = Member::blank_with("demo-1", &["--commit-timeout=500ms"]);
    let mut absent = member.info().await;
    let unserved = format!("http://{}:2380", own_address());
    (absent.id, absent.name, absent.peer_url) = ("ab".to_owned(), "demo-2".to_owned(), unserved);
    let record = member.record(vec![member.info().await, absent]);
    member.admin().await.bootstrap(with_token(record, TOKEN)).await.unwrap();

    let mut kv = member.kv().await;
    let serializable = pb::RangeRequest { serializable: true, ..key("k") };
    // Consensus starts shortly after the member has its identity, so the first reads may be refused.
    let answer = eventually("a local read is answered", async || kv.range(serializable.clone()).await).await;
    assert_eq!(answer.into_inner().count, 0);
    let timed_out = (Code::Unavailable, "etcdserver: request timed out".to_owned());
    assert_eq!(refusal(kv.put(put("k", "v")).await), timed_out);
    assert_eq!(refusal(kv.range(key("k")).await), timed_out);

    let mut impatient = Request::new(put("k", "v"));
    impatient.metadata_mut().insert("hasleader", "true".parse().unwrap());
    assert_eq!(refusal(kv.put(impatient).await), (Code::Unavailable, "etcdserver: no leader".to_owned()));

    let status = member.maintenance().await.unwrap().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
    let ready = member.probe("GET", "/readyz").await;
    assert_eq!(ready.code, 503);
    assert!(ready.body.contains("[-]linearizable_read failed: etcdserver: request timed out\n"), "{ready:?}");
    let kubelet = member.probe("GET", "/readyz?exclude=linearizable_read&exclude=non_learner").await;
    assert_eq!((kubelet.code, kubelet.body.as_str()), (200, "ok\n"));
    let health = member.probe("GET", "/health").await;
    assert_eq!((health.code, health.body.as_str()), (503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"));
    assert_eq!(member.probe("GET", "/health?serializable=true").await.code, 200);
}
