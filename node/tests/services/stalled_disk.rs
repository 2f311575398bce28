//! Tests of members whose disk stalls: a sync does not return, but the member still answers heartbeats. Owns the
//! stalling disk. Does not own the test of how soon a leader with a stalled disk must be replaced (tests of the core,
//! with simulated time).

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use proto::admin as wire;
use proto::etcdserverpb as pb;
use storage::disk::{DiskLock, DiskReader, VolumeSpace};
use storage::{Disk, DiskFile, FileDisk};
use tonic::{Request, Status};

use crate::member::{Member, TOKEN, eventually, with_token};

/// A real disk. While it is set to stall, its syncs do not return.
#[derive(Clone, Debug, Default)]
struct StallingDisk(Arc<(Mutex<bool>, Condvar)>);

impl StallingDisk {
    fn set(&self, stalls: bool) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = stalls;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut stalls = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *stalls {
            stalls = self.0.1.wait(stalls).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(StallingFile { file, disk: self.clone() })
    }
}

impl Disk for StallingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileDisk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        FileDisk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        FileDisk.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        FileDisk.open(path).map(|file| self.wrap(file))
    }

    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        FileDisk.open_settled(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.wait();
        FileDisk.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<VolumeSpace> {
        FileDisk.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        FileDisk.lock(path)
    }
}

#[derive(Debug)]
struct StallingFile {
    file: Box<dyn DiskFile>,
    disk: StallingDisk,
}

impl DiskReader for StallingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
}

impl DiskFile for StallingFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.wait();
        self.file.sync()
    }
}

/// Ends the stall when dropped, even after a panic, because otherwise the member could not stop.
struct Stall<'a>(&'a StallingDisk);

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Raft thesis §10.2.1 lets a leader commit without its own disk, so the stall shows only in the age of the leader's
/// own unfinished write (hashicorp/raft#503, etcd#15247). The leader transfers leadership, and the cluster serves while
/// that disk still stalls.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_whose_disk_stalls_is_replaced() {
    let disks = [StallingDisk::default(), StallingDisk::default(), StallingDisk::default()];
    let names = ["demo-1", "demo-2", "demo-3"];
    // The timeouts are long, so that a busy machine does not elect another leader.
    let flags = ["--election-timeout=1s", "--heartbeat-interval=100ms", "--commit-timeout=2s"];
    let start = |(name, disk): (&&str, &StallingDisk)| Member::blank_on(name, &flags, Arc::new(disk.clone()));
    let members: Vec<Member> = names.iter().zip(&disks).map(start).collect();
    bootstrap(&members).await;
    let first = leader(&members, None).await;
    eventually("the first write succeeds", async || put(&members[first], "before").await).await;

    let stall = Stall(&disks[first]);
    disks[first].set(true);
    // The other members commit this write, while the leader's own disk does not finish it. The test does not need the
    // outcome of the write.
    let _ = put(&members[first], "during").await;
    let second = leader(&members, Some(first)).await;
    eventually("the cluster serves while the disk hangs", async || put(&members[second], "after").await).await;

    drop(stall);
    eventually("the member catches up once its disk is back", async || get(&members[first], "after").await).await;
}

/// The dashboards of etcd show such calls as failed ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_write_whose_client_gave_it_too_little_time_is_counted() {
    let disk = StallingDisk::default();
    let member = Member::blank_on("demo-1", &[], Arc::new(disk.clone()));
    member.bootstrap_alone().await;
    let stall = Stall(&disk);
    disk.set(true);
    let mut late = Request::new(pb::PutRequest { key: "late".into(), ..pb::PutRequest::default() });
    late.set_timeout(Duration::from_millis(50));
    member.kv().await.put(late).await.expect_err("nothing is written");
    eventually("the write is counted", async || {
        let page = member.probe("GET", "/metrics").await.body;
        let counted = [
            "etcd_server_request_duration_seconds_count{type=\"Put\",success=\"false\"} 1",
            "etcd_server_proposals_failed_total 1",
            "etcd_server_proposals_pending 0",
        ];
        let missing = counted.into_iter().find(|line| !page.lines().any(|found| found == *line));
        missing.map_or(Ok(()), Err)
    })
    .await;
    drop(stall);
}

async fn bootstrap(members: &[Member]) {
    let mut voters = Vec::new();
    for member in members {
        voters.push(member.info().await);
    }
    for member in members {
        let record = member.record(voters.clone());
        let mut admin = member.admin().await;
        eventually("a blank member accepts its identity", async || {
            admin.bootstrap(with_token(record.clone(), TOKEN)).await
        })
        .await;
    }
}

/// Index of the leader in `members`; the leader must not be `former`.
async fn leader(members: &[Member], former: Option<usize>) -> usize {
    eventually("a leader", async || {
        for (place, member) in members.iter().enumerate() {
            if Some(place) != former && member.describe().await.role() == wire::Role::Leader {
                return Ok(place);
            }
        }
        Err("there is no leader")
    })
    .await
}

async fn put(member: &Member, key: &str) -> Result<(), Status> {
    let request = pb::PutRequest { key: key.to_owned().into(), ..pb::PutRequest::default() };
    let call = member.kv().await.put(request).await;
    call.map(drop)
}

/// Succeeds if the member's own store holds the key.
async fn get(member: &Member, key: &str) -> Result<(), Status> {
    let request = pb::RangeRequest { key: key.to_owned().into(), serializable: true, ..pb::RangeRequest::default() };
    let held = member.kv().await.range(request).await?.into_inner().count;
    if held == 1 { Ok(()) } else { Err(Status::not_found(key)) }
}
