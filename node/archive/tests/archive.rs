//! Tests of backups with a real S3 server. A backup can be restored; damaged, foreign and missing backups are
//! distinguished; an outage leaves no incomplete backup. Each test has its own server on loopback.

#[path = "../../tests/s3/gate.rs"]
mod gate;
#[path = "../../tests/s3/server.rs"]
mod s3;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use archive::{
    Access, ArchiveError, Backup, ObjectStoreConfig, Progress, REVISION_BUMP, Restore, Restored, Timeouts, backup,
    find, probe, restore,
};
use dev_cluster::PATIENCE;
use gate::Gate;
use mvcc::{FeatureLevel, Put, Range, RangeError, Revision, Store, View};
use raft::{EntryId, HardState, Index, IoId, MemberId, MemberInfo, Persist, Term};
use s3::Server;
use storage::{ClusterId, ClusterIdentity, FileDisk, Options, Start, Storage};

const CLUSTER: ClusterId = ClusterId([0xC1; 16]);
/// Above the level of every backup of these tests.
const SUPPORTS: FeatureLevel = FeatureLevel(2);
const MEMBER: MemberId = MemberId(0xA11CE);
const APPLIED: EntryId = EntryId { term: Term(3), index: Index(77) };

fn access(server: &Server) -> Access {
    Access {
        store: ObjectStoreConfig {
            endpoint: server.endpoint(),
            bucket: s3::BUCKET.into(),
            prefix: "prod/raft".into(),
            ..ObjectStoreConfig::default()
        },
        credentials: Some(server.credentials()),
        timeouts: Timeouts { request: PATIENCE, ..Timeouts::PROBE },
    }
}

/// Files of the bucket whose path contains `part`.
fn files(server: &Server, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![server.folder.join("s3").join(s3::BUCKET)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(part) {
                found.push(path);
            }
        }
    }
    found
}

/// Parts of uploads that were neither completed nor aborted.
fn unfinished_parts(server: &Server) -> Vec<PathBuf> {
    files(server, "/.sgwtmp/multipart/")
}

fn put(key: &str, value: Vec<u8>) -> mvcc::Command {
    mvcc::Command::Put(Put { key: key.to_owned().into(), value: value.into(), ..Put::default() })
}

/// A store with some history: `count` keys of `size` bytes, and one key with three versions.
fn content(count: usize, size: usize) -> View {
    let mut store = Store::new();
    for number in 0..count {
        let value = (0..size).map(|at| ((at * 31 + number * 7) % 251) as u8).collect();
        store.apply(1_000 + number as u64, &put(&format!("key-{number:05}"), value)).expect("a put");
    }
    for version in 0..3u8 {
        store.apply(900_000 + u64::from(version), &put("versions", vec![version])).expect("a put");
    }
    store.view()
}

fn monday(view: &View) -> Backup {
    Backup { name: "monday".into(), cluster: CLUSTER, member: MEMBER, view: view.clone(), applied: APPLIED }
}

fn own() -> MemberInfo {
    MemberInfo { name: "new-1".into(), peer_url: "http://new-1:2380".into(), client_url: "http://new-1:2379".into() }
}

/// A blank volume that receives a restored backup.
struct Volume {
    folder: PathBuf,
    storage: Storage,
}

impl Volume {
    fn blank(server: &Server, name: &str) -> Self {
        let folder = server.folder.join(name);
        let options = Options::new(MemberId(0xB0B), 5);
        let storage = Storage::open(Arc::new(FileDisk), &folder, options).expect("a blank volume").storage;
        Self { folder, storage }
    }

    async fn restore(&self, access: &Access, manifest: &str, source: ClusterId) -> Result<Restored, ArchiveError> {
        let request =
            Restore { manifest: manifest.into(), source, member: MemberId(0xB0B), own: own(), supports: SUPPORTS };
        restore(access, request, self.storage.snapshots(), &Progress::default()).await
    }

    /// Asserts that a restore fails and leaves the volume blank. Returns the error.
    async fn refuses(&self, access: &Access, manifest: &str, source: ClusterId) -> ArchiveError {
        let error = self.restore(access, manifest, source).await.expect_err("the restore must fail");
        assert_eq!(
            fs::read_dir(self.folder.join("snap")).expect("a folder").count(),
            0,
            "the volume must stay blank: {error}"
        );
        error
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_as_a_new_cluster_with_higher_revisions() {
    let server = Server::start("round-trip");
    let access = access(&server);
    probe(&access, CLUSTER, MEMBER).await.expect("the bucket can be used");
    assert_eq!(files(&server, "/probe/"), [] as [PathBuf; 0], "a probe leaves no object");

    let view = content(300, 100);
    let progress = Progress::default();
    let done = backup(&access, monday(&view), &progress).await.expect("a backup");
    assert_eq!((done.index, done.term, done.revision), (77, 3, view.revision().0));
    assert_eq!((progress.done(), progress.total()), (done.size_bytes, done.size_bytes));
    let manifest = format!("prod/raft/v1/{CLUSTER}/manifest/monday.json");
    assert_eq!(done.manifest, manifest);

    let mut volume = Volume::blank(&server, "volume");
    let restored = volume.restore(&access, &done.manifest, CLUSTER).await.expect("a restore");
    assert_eq!(restored.meta.last, APPLIED);
    assert_eq!(restored.meta.configuration.voters, [MemberId(0xB0B)].into());
    assert_eq!(restored.revision, Revision(view.revision().0 + REVISION_BUMP));
    let identity = ClusterIdentity {
        cluster_id: ClusterId([0xC2; 16]),
        token_sha256: [0; 32],
        own: own(),
        first_configuration: raft::Configuration::default(),
    };
    let start = Start::Snapshot(restored.meta.clone());
    volume.storage.bootstrap(identity, &start).expect("a blank volume").expect("the volume has no identity");
    let hard_state = Some(HardState { term: Term(4), vote: None });
    let noop = raft::Entry {
        id: EntryId { term: Term(4), index: Index(78) },
        time_ms: 1_000_000,
        payload: raft::Payload::Noop,
    };
    volume
        .storage
        .append(&[Persist { io: IoId(1), hard_state, entries: vec![noop] }])
        .expect("the log continues after the snapshot");
    let folder = volume.folder.clone();
    drop(volume);

    let found = Storage::open(Arc::new(FileDisk), &folder, Options::new(MemberId(1), 6)).expect("it opens");
    assert_eq!((&found.raft.snapshot, found.raft.log.tail.len()), (&restored.meta, 1));
    let info = found.snapshot.expect("the restored snapshot");
    let mut reader = std::io::BufReader::new(found.storage.snapshots().open(&info).expect("it opens"));
    let loaded = mvcc::image::read(&mut reader).expect("it is an image");
    assert_eq!(loaded.summary.applied_index, 77);
    let now = loaded.store.view();
    for number in 0..300 {
        let key = format!("key-{number:05}");
        let (old, new) = (view.get(key.as_bytes()).expect("old"), now.get(key.as_bytes()).expect("restored"));
        assert_eq!(old.value(), new.value(), "{key}");
    }
    assert_eq!(now.get(b"versions").expect("restored").value(), [2]);
    let past = Range { key: "versions".into(), revision: view.revision().0, ..Range::default() };
    assert!(matches!(now.range(&past), Err(RangeError::Compacted)), "clients of the old cluster must list again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_under_one_name_is_the_first_one() {
    let server = Server::start("one-name");
    let access = access(&server);
    assert_eq!(find(&access, CLUSTER, "monday").await.expect("an answer"), None);
    let first = backup(&access, monday(&content(10, 10)), &Progress::default()).await.expect("a backup");
    let before = files(&server, "/v1/");
    // This backup has the name of the first backup, but the content of the store has changed in between.
    let again = backup(&access, monday(&content(20, 10)), &Progress::default()).await.expect("the same backup");
    assert_eq!(again, first);
    assert_eq!(files(&server, "/v1/"), before, "nothing was written");
    assert_eq!(find(&access, CLUSTER, "monday").await.expect("an answer"), Some(first));
    let bad = Backup { name: "../monday".into(), ..monday(&content(1, 1)) };
    assert!(matches!(backup(&access, bad, &Progress::default()).await, Err(ArchiveError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_is_distinguished_and_backups_succeed_when_it_is_gone() {
    let server = Server::start("causes");
    let access = access(&server);
    let view = content(5, 10);
    let causes = async |access: &Access| {
        let of = |result: Result<(), ArchiveError>| result.expect_err("there is a cause").cause();
        let probed = of(probe(access, CLUSTER, MEMBER).await);
        let backed_up = of(backup(access, monday(&view), &Progress::default()).await.map(drop));
        assert_eq!(probed, backed_up, "a probe and a backup report the same cause");
        probed
    };
    server.give_credentials("root-key", "another-secret");
    assert_eq!(causes(&access).await, "CredentialsRefused");
    server.give_credentials("another-key", "root-secret");
    assert_eq!(causes(&access).await, "CredentialsRefused");
    server.give_credentials("root-key", "");
    assert_eq!(causes(&access).await, "CredentialsMissing");
    fs::remove_file(server.folder.join("credentials/access-key-id")).expect("it is there");
    assert_eq!(causes(&access).await, "CredentialsMissing");
    assert_eq!(causes(&Access { credentials: None, ..access.clone() }).await, "CredentialsMissing");
    server.give_credentials("root-key", "root-secret");

    let elsewhere = ObjectStoreConfig { bucket: "no-such-bucket".into(), ..access.store.clone() };
    assert_eq!(causes(&Access { store: elsewhere, ..access.clone() }).await, "BucketMissing");

    let closed = ObjectStoreConfig { endpoint: "http://127.0.0.1:1".into(), ..access.store.clone() };
    assert_eq!(causes(&Access { store: closed, ..access.clone() }).await, "StoreUnreachable");
    let unknown = ObjectStoreConfig { endpoint: "http://no-such-host.invalid".into(), ..access.store.clone() };
    assert_eq!(causes(&Access { store: unknown, ..access.clone() }).await, "StoreUnreachable");
    // The listener accepts connections but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    let timeouts = Timeouts { request: Duration::from_millis(200), retries: 1, ..Timeouts::PROBE };
    let silent = ObjectStoreConfig { endpoint, ..access.store.clone() };
    assert_eq!(causes(&Access { store: silent, timeouts, ..access.clone() }).await, "StoreUnreachable");

    probe(&access, CLUSTER, MEMBER).await.expect("all causes are gone");
    backup(&access, monday(&view), &Progress::default()).await.expect("all causes are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_foreign_and_missing_backups_are_not_restored() {
    let server = Server::start("damage");
    let access = access(&server);
    // This image is large enough for several chunks and several parts.
    let done = backup(&access, monday(&content(10, 1_000_000)), &Progress::default()).await.expect("a backup");
    assert!(done.size_bytes > 9_000_000);
    let volume = Volume::blank(&server, "volume");

    let foreign = volume.refuses(&access, &done.manifest, ClusterId([9; 16])).await;
    assert_eq!(foreign.cause(), "BackupForeign");
    assert!(foreign.to_string().contains(&CLUSTER.to_string()), "{foreign}");
    let missing = volume.refuses(&access, &done.manifest.replace("monday", "tuesday"), CLUSTER).await;
    assert_eq!(missing.cause(), "BackupNotFound");
    assert_eq!(volume.refuses(&access, "some/other/key.json", CLUSTER).await.cause(), "Invalid");

    let base = files(&server, "/base/").pop().expect("the image is a file");
    let intact = fs::read(&base).expect("it can be read");
    for at in [0, 4 * 1024 * 1024 - 1, intact.len() / 2, intact.len() - 1] {
        damage(&base, |bytes| bytes[at] ^= 1);
        let error = volume.refuses(&access, &done.manifest, CLUSTER).await;
        assert_eq!(error.cause(), "BackupCorrupt", "byte {at}: {error}");
        fs::write(&base, &intact).expect("it is repaired");
    }
    for length in [0, 100, intact.len() / 2, intact.len() - 1] {
        fs::write(&base, &intact[..length]).expect("it can be truncated");
        let error = volume.refuses(&access, &done.manifest, CLUSTER).await;
        assert_eq!(error.cause(), "BackupCorrupt", "truncated to {length}: {error}");
    }
    fs::remove_file(&base).expect("it can be removed");
    assert_eq!(volume.refuses(&access, &done.manifest, CLUSTER).await.cause(), "BackupCorrupt");
    fs::write(&base, &intact).expect("it is repaired");

    let manifest = files(&server, "/manifest/").pop().expect("the manifest is a file");
    let text = fs::read_to_string(&manifest).expect("it is text");
    fs::write(&manifest, text.replace("\"index\": 77", "\"index\": 78")).expect("it can be changed");
    assert_eq!(volume.refuses(&access, &done.manifest, CLUSTER).await.cause(), "BackupCorrupt");
    fs::write(&manifest, "{}").expect("it can be changed");
    assert_eq!(volume.refuses(&access, &done.manifest, CLUSTER).await.cause(), "BackupCorrupt");
    fs::write(&manifest, text).expect("it is repaired");
    volume.restore(&access, &done.manifest, CLUSTER).await.expect("the repaired backup is restored");
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it can be read");
    change(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

/// Polls a condition until it holds. Polls often, because some conditions hold only briefly.
async fn soon(what: &str, holds: impl Fn() -> bool) {
    let polling = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// Number of bytes that a [`Gate`], a proxy in front of the server, lets through before it stops: enough for some parts
/// or chunks of the largest image in these tests, but not for all.
const MIDDLE: usize = 30_000_000;

/// Returns a gate that stops after [`MIDDLE`] bytes, and access through the gate to the same bucket as `access`.
async fn halfway(access: &Access, server: &Server) -> (Gate, Access) {
    let gate = Gate::before(server.address, MIDDLE).await;
    let store = ObjectStoreConfig { endpoint: gate.endpoint(), ..access.store.clone() };
    (gate, Access { store, ..access.clone() })
}

async fn under_way(progress: &Progress) {
    soon("a part has arrived", || progress.done() > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_or_download_that_a_server_failure_interrupts_can_be_repeated() {
    let mut server = Server::start("outage");
    let access = access(&server);
    let view = content(120, 1_000_000);
    let progress = Progress::default();
    let (gate, half) = halfway(&access, &server).await;
    let attempt = tokio::spawn({
        let (access, backup_, progress) = (half, monday(&view), progress.clone());
        async move { backup(&access, backup_, &progress).await }
    });
    under_way(&progress).await;
    server.kill();
    drop(gate);
    let error = attempt.await.expect("no panic").expect_err("the server is gone");
    assert_eq!(error.cause(), "StoreUnreachable", "{error}");
    assert!(progress.done() < progress.total());
    assert_eq!(files(&server, "/manifest/"), [] as [PathBuf; 0], "an incomplete backup has no manifest");

    server.run();
    assert_eq!(find(&access, CLUSTER, "monday").await.expect("it answers again"), None);
    let done = backup(&access, monday(&view), &progress).await.expect("the next attempt");
    let volume = Volume::blank(&server, "volume");
    volume.restore(&access, &done.manifest, CLUSTER).await.expect("the backup is intact");

    // The server now fails in the middle of a download.
    let volume = Volume::blank(&server, "other-volume");
    let progress = Progress::default();
    let (gate, half) = halfway(&access, &server).await;
    let attempt = tokio::spawn({
        let (access, progress, manifest) = (half, progress.clone(), done.manifest.clone());
        let snapshots = volume.storage.snapshots().clone();
        let request = Restore { manifest, source: CLUSTER, member: MemberId(0xB0B), own: own(), supports: SUPPORTS };
        async move { restore(&access, request, &snapshots, &progress).await }
    });
    under_way(&progress).await;
    server.kill();
    drop(gate);
    let error = attempt.await.expect("no panic").expect_err("the server is gone");
    assert_eq!(error.cause(), "StoreUnreachable", "{error}");
    server.run();
    volume.restore(&access, &done.manifest, CLUSTER).await.expect("the next attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_is_aborted_in_the_bucket() {
    let server = Server::start("dropped");
    let access = access(&server);
    let progress = Progress::default();
    let attempt = tokio::spawn({
        let (access, backup_, progress) = (access.clone(), monday(&content(120, 1_000_000)), progress.clone());
        async move { backup(&access, backup_, &progress).await }
    });
    under_way(&progress).await;
    assert!(!unfinished_parts(&server).is_empty(), "this server keeps parts in the folder that this test reads");
    attempt.abort();
    assert!(attempt.await.expect_err("it was cancelled").is_cancelled());
    soon("the parts are gone", || unfinished_parts(&server).is_empty()).await;
    assert_eq!(find(&access, CLUSTER, "monday").await.expect("an answer"), None);
}
