//! Tests of etcd's Maintenance service, and of the calls that this version does not serve.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_client::LeaseClient;
use tonic::Code;

use crate::member::{Member, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn status_reports_version_leader_indexes_and_sizes() {
    let member = Member::alone().await;
    let empty = member.maintenance().await.unwrap().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(empty.db_size > 0 && empty.db_size_in_use > 0, "etcdctl divides by the size: {empty:?}");
    member.put("k", "v").await;
    let status = member.maintenance().await.unwrap().status(pb::StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.3", "3.7.0"));
    assert_eq!((status.leader, header.revision), (header.member_id, 2));
    assert_eq!((status.raft_term, status.is_learner), (header.raft_term, false));
    assert!(status.raft_applied_index > 0 && status.db_size > 0 && status.db_size_in_use > 0, "{status:?}");
    assert_eq!((status.db_size_quota, status.errors), (2 << 30, vec![]));
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hashes_change_with_the_content() {
    let member = Member::alone().await;
    let mut maintenance = member.maintenance().await.unwrap();
    member.put("k", "1").await;
    let first = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((first.hash_revision, first.compact_revision), (2, -1));
    member.put("k", "2").await;
    let second = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_ne!(first.hash, second.hash);
    let again = maintenance.hash_kv(pb::HashKvRequest { revision: 2 }).await.unwrap().into_inner();
    assert_eq!((again.hash, again.hash_revision, again.header.unwrap().revision), (first.hash, 2, 3));
    assert_eq!(maintenance.hash(pb::HashRequest {}).await.unwrap().into_inner().hash, second.hash);
    assert_eq!(
        refusal(maintenance.hash_kv(pb::HashKvRequest { revision: 9 }).await),
        (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned())
    );
}

/// Every write looks at all alarms, and a client can raise one for any member ID.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_number_of_alarms_is_limited() {
    let member = Member::alone().await;
    let mut maintenance = member.maintenance().await.unwrap();
    let request = |action: pb::alarm_request::AlarmAction, member_id| pb::AlarmRequest {
        action: action as i32,
        member_id,
        alarm: pb::AlarmType::Nospace as i32,
    };
    use pb::alarm_request::AlarmAction::{Activate, Deactivate};
    let at_once = (1..=100).map(|id| {
        let mut maintenance = maintenance.clone();
        async move { maintenance.alarm(request(Activate, id)).await }
    });
    let (raised, refused): (Vec<_>, Vec<_>) =
        futures::future::join_all(at_once).await.into_iter().partition(Result::is_ok);
    assert_eq!((raised.len(), refused.len()), (64, 36));
    assert!(refused.into_iter().all(|refused| refusal(refused).0 == Code::ResourceExhausted));
    let list = maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms;
    let first = list[0].member_id;
    maintenance.alarm(request(Activate, first)).await.expect("it is raised already");
    maintenance.alarm(request(Deactivate, first)).await.unwrap();
    maintenance.alarm(request(Activate, 101)).await.expect("one was cleared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn raising_or_clearing_an_alarm_again_changes_nothing() {
    let member = Member::alone().await;
    let mut maintenance = member.maintenance().await.unwrap();
    let corrupt = pb::AlarmMember { member_id: 7, alarm: pb::AlarmType::Corrupt as i32 };
    let mut alarm = async |action: pb::alarm_request::AlarmAction, alarm: pb::AlarmType| {
        let request = pb::AlarmRequest { action: action as i32, member_id: 7, alarm: alarm as i32 };
        maintenance.alarm(request).await.unwrap().into_inner().alarms
    };
    use pb::AlarmType::{Corrupt, None, Nospace};
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    assert_eq!(alarm(Get, None).await, []);
    assert_eq!(alarm(Activate, Corrupt).await, [corrupt]);
    assert_eq!(alarm(Activate, Corrupt).await, [corrupt]);
    assert_eq!(alarm(Activate, None).await, []);
    assert_eq!(alarm(Get, None).await, [corrupt]);
    assert_eq!(alarm(Get, Nospace).await, []);

    let put = pb::PutRequest { key: "k".into(), ..pb::PutRequest::default() };
    let mut kv = member.kv().await;
    assert_eq!(refusal(kv.put(put).await), (Code::DataLoss, "etcdserver: corrupt cluster".to_owned()));
    let ready = member.probe("GET", "/readyz/data_corruption").await;
    assert_eq!((ready.code, ready.body.as_str()), (503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"));
    let health = member.page("/health").await;
    assert_eq!((health.code, health.body.as_str()), (503, "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n"));

    assert_eq!(alarm(Deactivate, Corrupt).await, [corrupt]);
    assert_eq!(alarm(Deactivate, Corrupt).await, []);
    assert_eq!(member.page("/health").await.body, "{\"health\":\"true\",\"reason\":\"\"}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn leadership_moves_only_to_voters() {
    let member = Member::alone().await;
    let mut maintenance = member.maintenance().await.unwrap();
    assert_eq!(
        refusal(maintenance.move_leader(pb::MoveLeaderRequest { target_id: 99 }).await),
        (Code::FailedPrecondition, "etcdserver: bad leader transferee".to_owned())
    );
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    maintenance
        .move_leader(pb::MoveLeaderRequest { target_id: status.leader })
        .await
        .expect("a transfer to the leader itself succeeds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn absent_services_and_calls_are_unimplemented() {
    let member = Member::alone().await;
    let mut maintenance = member.maintenance().await.unwrap();
    maintenance.defragment(pb::DefragmentRequest {}).await.expect("defragmentation succeeds and does nothing");
    let snapshot = maintenance.snapshot(pb::SnapshotRequest {}).await.map(|_| ());
    assert_eq!(refusal(snapshot).0, Code::Unimplemented);
    let downgrade = pb::DowngradeRequest { version: "3.6".to_owned(), ..pb::DowngradeRequest::default() };
    assert_eq!(refusal(maintenance.downgrade(downgrade).await).0, Code::Unimplemented);
    let mut lease = LeaseClient::connect(member.client_url()).await.unwrap();
    let (code, text) = refusal(lease.lease_grant(pb::LeaseGrantRequest { ttl: 10, id: 0 }).await);
    assert_eq!(code, Code::Unimplemented);
    assert_eq!(text, "raft-node: this version serves KV, Cluster and Maintenance of etcd's API, no more");
}
