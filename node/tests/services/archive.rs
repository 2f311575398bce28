//! Tests of backups through the admin service with a real S3 server: the progress and the failures of backups, and a
//! new cluster that starts from a backup.

use proto::admin as wire;
use proto::admin::backup_response::State;
use proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::member::{CLUSTER, Member, TOKEN, eventually, refusal, with_token};
use crate::s3::{self, Server};

/// Cluster ID of the restored cluster.
const NEW_CLUSTER: &str = "ffeeddccbbaa99887766554433221100";

fn store(server: &Server) -> wire::ObjectStore {
    wire::ObjectStore { endpoint: server.endpoint(), bucket: s3::BUCKET.to_owned(), ..wire::ObjectStore::default() }
}

fn blank(server: &Server, name: &str) -> Member {
    Member::blank_with(name, &[&format!("--object-store-credentials={}", server.credentials().display())])
}

/// Repeats the request for a backup until the backup is done or has failed.
async fn backed_up(member: &Member, name: &str, store: &wire::ObjectStore) -> wire::BackupResponse {
    let mut admin = member.admin().await;
    eventually("the backup ends", async || {
        let request = wire::BackupRequest { name: name.to_owned(), store: Some(store.clone()) };
        let said = admin.backup(with_token(request, TOKEN)).await.map_err(|status| status.to_string())?.into_inner();
        if said.state() == State::Running { Err(format!("{said:?}")) } else { Ok(said) }
    })
    .await
}

/// Returns the result of a probe. The store of a busy machine may not answer within the probe's few seconds; the probe
/// is then repeated.
async fn probed(member: &Member, store: &wire::ObjectStore) -> wire::ProbeObjectStoreResponse {
    let mut admin = member.admin().await;
    eventually("the store answers a probe", async || {
        let request = with_token(wire::ProbeObjectStoreRequest { store: Some(store.clone()) }, TOKEN);
        let said = admin.probe_object_store(request).await.expect("a probe answers").into_inner();
        if said.cause == "StoreUnreachable" { Err(said) } else { Ok(said) }
    })
    .await
}

fn restore_request(me: wire::MemberInfo, store: &wire::ObjectStore, manifest: &str) -> wire::RestoreRequest {
    wire::RestoreRequest {
        cluster_id: NEW_CLUSTER.to_owned(),
        token: TOKEN.to_owned(),
        self_: Some(me),
        store: Some(store.clone()),
        source_cluster_id: CLUSTER.to_owned(),
        backup: manifest.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_new_cluster_starts_from_a_backup() {
    let server = Server::start("service");
    let source = blank(&server, "demo-1");
    source.bootstrap_alone().await;
    source.put("kept", "1").await;
    let store = store(&server);
    assert_eq!(probed(&source, &store).await, wire::ProbeObjectStoreResponse::default());
    let done = backed_up(&source, "monday", &store).await;
    assert_eq!((done.state(), done.revision, done.bytes_done), (State::Done, 2, done.bytes_total), "{done:?}");
    assert_eq!(done.manifest, format!("v1/{CLUSTER}/manifest/monday.json"));
    source.put("late", "1").await;
    assert_eq!(backed_up(&source, "monday", &store).await, done, "the same name gives the same backup");

    let newcomer = blank(&server, "new-1");
    let request = restore_request(newcomer.info().await, &store, &done.manifest);
    newcomer.admin().await.restore(with_token(request.clone(), TOKEN)).await.expect("a blank member restores");
    newcomer.leads().await;
    newcomer.admin().await.restore(with_token(request, TOKEN)).await.expect("the same request again succeeds");
    let range = |key: &str| pb::RangeRequest { key: key.as_bytes().to_vec().into(), ..pb::RangeRequest::default() };
    let kept = newcomer.kv().await.range(range("kept")).await.expect("it serves").into_inner();
    assert_eq!((kept.count, &kept.kvs[0].value[..]), (1, &b"1"[..]));
    assert!(kept.header.expect("a header").revision > 1_000_000, "clients of the old cluster must list anew");
    let late = newcomer.kv().await.range(range("late")).await.expect("it serves").into_inner();
    assert_eq!(late.count, 0, "the key was put after the backup");
    assert_eq!(newcomer.describe().await.cluster_id, NEW_CLUSTER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failure_names_its_cause_and_ends_when_the_cause_is_gone() {
    let server = Server::start("service-causes");
    let member = blank(&server, "demo-1");
    member.bootstrap_alone().await;
    let store = store(&server);
    server.give_credentials("root-key", "another-secret");
    let said = probed(&member, &store).await;
    assert_eq!(said.cause, "CredentialsRefused", "{said:?}");
    let failed = backed_up(&member, "monday", &store).await;
    assert_eq!((failed.state(), failed.cause.as_str()), (State::Failed, "CredentialsRefused"), "{failed:?}");
    server.give_credentials("root-key", "root-secret");
    assert_eq!(probed(&member, &store).await.cause, "");
    assert_eq!(backed_up(&member, "monday", &store).await, failed, "the result under a name does not change");
    assert_eq!(backed_up(&member, "monday-2", &store).await.state(), State::Done);

    let newcomer = blank(&server, "new-1");
    let info = newcomer.info().await;
    let mut admin = newcomer.admin().await;
    let wrong = restore_request(info.clone(), &store, &format!("v1/{CLUSTER}/manifest/tuesday.json"));
    admin.restore(with_token(wrong, TOKEN)).await.expect("the request is accepted and fails later");
    let described = eventually("the failure is reported", async || {
        let described = newcomer.describe().await;
        let failed = described.restore.as_ref().is_some_and(|restore| !restore.cause.is_empty());
        if failed { Ok(described) } else { Err(described) }
    })
    .await;
    assert_eq!(described.restore.expect("a restore").cause, "BackupNotFound");
    let right = restore_request(info, &store, &format!("v1/{CLUSTER}/manifest/monday-2.json"));
    eventually("the corrected request is accepted", async || {
        admin.restore(with_token(right.clone(), TOKEN)).await.map_err(|status: Status| status.to_string())
    })
    .await;
    newcomer.leads().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn invalid_requests_are_refused_at_once() {
    let member = Member::alone().await;
    let mut admin = member.admin().await;
    let store = wire::ObjectStore { bucket: "backups".to_owned(), ..wire::ObjectStore::default() };
    for (request, text) in [
        (
            wire::BackupRequest { name: String::new(), store: Some(store.clone()) },
            "name: is empty: give the backup's name",
        ),
        (
            wire::BackupRequest { name: "monday".to_owned(), store: None },
            "store: is missing: give the object store and its bucket",
        ),
        (
            wire::BackupRequest { name: "monday".to_owned(), store: Some(wire::ObjectStore::default()) },
            "store: has no bucket: name one",
        ),
    ] {
        let refused = refusal(admin.backup(with_token(request, TOKEN)).await);
        assert_eq!(refused, (Code::InvalidArgument, text.to_owned()));
    }
    let request = restore_request(member.info().await, &store, "v1/manifest.json");
    let refused = refusal(admin.restore(with_token(request, TOKEN)).await);
    assert_eq!(refused.0, Code::FailedPrecondition, "{refused:?}");
    let said = probed(&member, &store).await;
    assert_eq!(said.cause, "CredentialsMissing", "{said:?}");
}
