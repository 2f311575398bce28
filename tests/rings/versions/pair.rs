//! A cluster of three members under writes, whose members change their programs. Owns what a change of the program must keep.

use std::path::Path;

use proto::admin as wire;
use proto::etcdserverpb::HashKvRequest;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Status;

use crate::cluster::{Cluster, Member, connect, with_token};
use crate::until::until;
use crate::writes::Writes;

/// Snapshots are taken and logs are purged often, so that both programs read and send what the other one wrote.
const FLAGS: [&str; 6] = ["--snapshot-threshold", "4", "--snapshot-trailing", "10", "--snapshots-retain", "1"];

/// The cluster and its clients.
pub(crate) struct Pair {
    pub(crate) cluster: Cluster,
    pub(crate) writes: Writes,
}

impl Pair {
    /// Three members that run `program`, with content.
    pub(crate) async fn of(name: &str, program: &Path) -> Self {
        let mut cluster = Cluster::new(name, &FLAGS);
        cluster.program = program.to_owned();
        cluster.form(3).await;
        let writes = Writes::start(&cluster.members);
        writes.more(300).await;
        Self { cluster, writes }
    }

    /// Stops a member as the kubelet does, and starts it with another program. Waits until it has caught up.
    pub(crate) async fn switch(&mut self, place: usize, program: &Path) {
        let member = &mut self.cluster.members[place];
        member.terminate();
        assert_eq!(member.ended().await, Some(0));
        member.program = program.to_owned();
        member.start().await;
        self.has_caught_up(place).await;
    }

    /// Changes the program of all members, one after the other.
    pub(crate) async fn switch_all(&mut self, program: &Path) {
        for place in 0..self.cluster.members.len() {
            self.switch(place, program).await;
        }
    }

    /// Kills all members at once, and starts them again.
    pub(crate) async fn kill_all(&mut self) {
        for member in &mut self.cluster.members {
            member.kill().await;
        }
        for member in &mut self.cluster.members {
            member.start().await;
        }
        for place in 0..self.cluster.members.len() {
            self.has_caught_up(place).await;
        }
    }

    /// Waits until a member has applied what was committed when this was called.
    pub(crate) async fn has_caught_up(&self, place: usize) {
        // A new leader knows what is committed only once it has committed an entry of its own term, as every read that it
        // confirms shows.
        let committed = until("a leader confirms a read", async || {
            let leader = &self.cluster.members[self.cluster.leader().await];
            leader.get("any", false).await.ok()?;
            leader.describe().await.ok()
        });
        let committed = committed.await.commit_index;
        let member = &self.cluster.members[place];
        until(&format!("{} has applied {committed}", member.name), async || {
            let said = member.describe().await.ok()?;
            (said.phase() == wire::Phase::Member && said.applied_index >= committed).then_some(())
        })
        .await;
    }

    /// Makes a member the leader.
    pub(crate) async fn lead(&self, place: usize) {
        let target = self.cluster.members[place].id().await;
        until(&format!("{} leads", self.cluster.members[place].name), async || {
            let leader = self.cluster.leader().await;
            if leader == place {
                return Some(());
            }
            let request = wire::TransferLeadershipRequest { target: target.clone() };
            let mut admin = self.cluster.members[leader].admin().await.ok()?;
            // Fails while the target lags; the next attempt asks again who leads.
            let _ = admin.transfer_leadership(with_token(request)).await;
            None
        })
        .await;
    }

    /// Shows that a member votes and acknowledges: without another member, every commit needs it.
    pub(crate) async fn is_needed(&mut self, place: usize) {
        let other = (place + 1) % self.cluster.members.len();
        self.cluster.members[other].kill().await;
        self.writes.more(50).await;
        self.lead(place).await;
        self.writes.more(50).await;
        self.cluster.members[other].start().await;
        self.has_caught_up(other).await;
    }

    /// Waits until a member has written a snapshot of entries that are not committed yet.
    pub(crate) async fn takes_a_snapshot(&self, place: usize) {
        let member = &self.cluster.members[place];
        let begun = until("the member answers", async || member.describe().await.ok()).await.last_index;
        until(&format!("{} takes a snapshot", member.name), async || {
            (member.describe().await.ok()?.snapshot_index > begun).then_some(())
        })
        .await;
    }

    /// Stops the clients. Panics unless each member holds every acknowledged write, and all have the same keys with the same
    /// history.
    pub(crate) async fn check(self) {
        let Self { cluster, writes } = self;
        writes.check(&cluster.members).await;
        until("equal hashes", async || {
            let mut hashes = Vec::new();
            for member in &cluster.members {
                let mut client = MaintenanceClient::new(connect(&member.client_url()).await.ok()?);
                let answer = client.hash_kv(HashKvRequest { revision: 0 }).await.ok()?.into_inner();
                hashes.push((answer.hash_revision, answer.hash));
            }
            let is_one_revision = hashes.iter().all(|hash| hash.0 == hashes[0].0);
            assert!(!is_one_revision || hashes.iter().all(|hash| hash == &hashes[0]), "members differ: {hashes:?}");
            is_one_revision.then_some(())
        })
        .await;
    }
}

/// Asks a member for a raise of the feature level.
pub(crate) async fn raise(member: &Member, to: u32) -> Result<u32, Status> {
    let mut admin = member.admin().await?;
    Ok(admin.raise_feature_level(with_token(wire::RaiseFeatureLevelRequest { to })).await?.into_inner().level)
}

/// Name of the reason for which a call was refused.
pub(crate) fn reason(status: &Status) -> &str {
    status.metadata().get("raft-refusal").map_or("", |reason| reason.to_str().expect("a word"))
}
