//! Tests of a blank member, in this process, that starts a new cluster from a backup. Does not use an object store: the
//! tests supply the function that fetches the backup.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use dev_cluster::{PATIENCE, own_address};
use engine::error::AdoptError;
use engine::handle::Handle;
use engine::parameters::{
    BootstrapParameters, ClusterId, Fetch, JoinParameters, RestoreFailure, RestoreParameters, Token,
};
use engine::status::Phase;
use mvcc::{Command, Put, Store};
use raft::{Configuration, EntryId, Index, MemberId, MemberInfo, SnapshotMeta, Term};
use raft_node::config::{Config, RunArgs};
use raft_node::member::Running;
use storage::Snapshots;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
}

/// A directory that is removed when this value is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A blank member on an address that only this process uses.
fn blank() -> (Running, Scratch) {
    let address = own_address();
    let scratch = Scratch(std::env::temp_dir().join(format!("raft-node-restore-{}-{address}", std::process::id())));
    // The directory may be left from an earlier run: that process may have been killed, and the system reuses process
    // IDs.
    let _ = std::fs::remove_dir_all(&scratch.0);
    let ports = [("--client-addr", 2379), ("--peer-addr", 2380), ("--http-addr", 2381)];
    let ports = ports.into_iter().flat_map(|(flag, port)| [flag.to_owned(), format!("{address}:{port}")]);
    let flags = ["raft-node".to_owned(), "--data-dir".to_owned(), scratch.0.display().to_string()];
    let args = Cli::parse_from(flags.into_iter().chain(ports)).run;
    (Running::start(Config::check(args).unwrap()).unwrap(), scratch)
}

fn info() -> MemberInfo {
    MemberInfo {
        name: "m-1".to_owned(),
        peer_url: "http://127.0.0.1:2380".to_owned(),
        client_url: "http://127.0.0.1:2379".to_owned(),
    }
}

fn order(member: MemberId, backup: &str, fetch: Fetch) -> RestoreParameters {
    let (cluster, token) = (ClusterId([5; 16]), Token("token".to_owned()));
    let join = JoinParameters { cluster, token, member, info: info(), level: mvcc::FeatureLevel::FIRST };
    RestoreParameters { join, backup: backup.to_owned(), fetch, progress: Arc::new(|| (1, 2)) }
}

fn failing() -> Fetch {
    Box::new(|_| {
        let failure = RestoreFailure { cause: "BucketMissing".to_owned(), reason: "there is no bucket".to_owned() };
        Box::pin(std::future::ready(Err(failure)))
    })
}

fn endless() -> Fetch {
    Box::new(|_| Box::pin(std::future::pending()))
}

/// A fetch function that delivers a backup with one key.
fn of_one_key(member: MemberId) -> Fetch {
    Box::new(move |snapshots| Box::pin(std::future::ready(Ok(receive(member, &snapshots)))))
}

fn receive(member: MemberId, snapshots: &Snapshots) -> SnapshotMeta {
    let mut store = Store::new();
    let put = Put { key: "key".into(), value: "kept".into(), ..Put::default() };
    store.apply(7, &Command::Put(put)).unwrap();
    let meta = SnapshotMeta {
        last: EntryId { term: Term(3), index: Index(9) },
        time_ms: 7,
        configuration: Arc::new(Configuration {
            voters: [member].into(),
            members: [(member, info())].into(),
            ..Configuration::default()
        }),
        configuration_index: Index(9),
    };
    let mut receiver = snapshots.receive(meta.clone()).unwrap();
    mvcc::image::write(&store.view(), 9, mvcc::image::ImageFormat::V1, &mut receiver).unwrap();
    receiver.finish_verified().unwrap();
    meta
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

/// Runs an attempt that fails, and asserts that the member stays in phase Restoring. Returns the time at which the
/// attempt began.
async fn a_failed_attempt_leaves_the_member_restoring(handle: &Handle) -> Instant {
    let (begun, began) = tokio::sync::oneshot::channel();
    let fetch: Fetch = Box::new(move |snapshots| {
        let _ = begun.send(Instant::now());
        failing()(snapshots)
    });
    handle.restore(order(handle.member(), "backup", fetch)).await.unwrap();
    until("the failure is reported", || !handle.status().error.is_empty()).await;
    let status = handle.status();
    assert_eq!(status.phase, Phase::Restoring);
    assert_eq!(status.restore.as_ref().unwrap().cause, "BucketMissing");
    assert_eq!((status.restore.as_ref().unwrap().progress)(), (1, 2));
    assert!(handle.token_sha256().is_some(), "the operator can query its progress");
    began.await.expect("the attempt began")
}

/// The operator sends the same restore request in each pass. Repeated requests must not change the pause between
/// attempts. The test measures the pause from the beginning of the failed attempt, because the time of its failure is
/// not known exactly.
async fn the_next_attempt_waits(handle: &Handle, failed: Instant) {
    let (begun, began) = tokio::sync::oneshot::channel();
    let begun = Arc::new(Mutex::new(Some(begun)));
    let ordering = async {
        loop {
            let (begun, good) = (Arc::clone(&begun), of_one_key(handle.member()));
            let fetch: Fetch = Box::new(move |snapshots| {
                let first = begun.lock().unwrap().take();
                let _ = first.map(|begun| begun.send(Instant::now()));
                good(snapshots)
            });
            handle.restore(order(handle.member(), "backup", fetch)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let began = tokio::select! {
        () = ordering => unreachable!("the loop has no end"),
        began = tokio::time::timeout(PATIENCE, began) => began.expect("a second attempt begins").unwrap(),
    };
    let waited = began - failed;
    assert!(
        waited >= Duration::from_secs(1),
        "the pause is too short, a large backup would be fetched repeatedly: {waited:?}"
    );
}

async fn a_running_attempt_accepts_only_the_same_order(handle: &Handle) {
    handle.restore(order(handle.member(), "other", endless())).await.unwrap();
    handle.restore(order(handle.member(), "other", failing())).await.unwrap();
    let another = handle.restore(order(handle.member(), "third", failing())).await;
    assert!(matches!(another, Err(AdoptError::AnotherIdentity { .. })), "{another:?}");
    let record = BootstrapParameters {
        cluster: ClusterId([5; 16]),
        token: Token("token".to_owned()),
        voters: [(handle.member(), info())].into(),
        name: "m-1".to_owned(),
    };
    let bootstrap = handle.bootstrap(record).await;
    assert_eq!(bootstrap, Err(AdoptError::NotBlank { phase: Phase::Restoring }));
}

#[tokio::test]
async fn a_failed_restore_is_repeated_and_a_successful_one_starts_the_cluster() {
    let (running, _scratch) = blank();
    let handle = running.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let living = running.until(async {
        let _ = stopped.await;
    });
    let scenario = async {
        let failed = a_failed_attempt_leaves_the_member_restoring(&handle).await;
        the_next_attempt_waits(&handle, failed).await;
        until("the member serves", || handle.status().phase == Phase::Member && handle.status().leader.is_some()).await;
        let read = handle.linearizable().await.unwrap();
        assert_eq!(read.view.get(b"key").unwrap().value(), b"kept");
        assert!(handle.status().restore.is_none() && handle.status().error.is_empty());
        handle.restore(order(handle.member(), "backup", failing())).await.unwrap();
        let put = Put { key: "new".into(), value: "written".into(), ..Put::default() };
        let committed = handle.propose(Command::Put(put)).await.unwrap();
        assert!(committed.entry.index > Index(9), "the log continues after the backup");
        let _ = stop.send(());
    };
    let (ended, ()) = tokio::join!(living, scenario);
    ended.unwrap();
}

#[tokio::test]
async fn while_a_backup_is_fetched_only_the_same_order_is_accepted() {
    let (running, _scratch) = blank();
    let handle = running.handle();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let living = running.until(async {
        let _ = stopped.await;
    });
    let scenario = async {
        a_running_attempt_accepts_only_the_same_order(&handle).await;
        let _ = stop.send(());
    };
    let (ended, ()) = tokio::join!(living, scenario);
    ended.unwrap();
}
