//! The members together: their formation, their roles, and what must be equal on all of them at the end. Does not own
//! a member's process (`member.rs`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use proto::admin as wire;
use proto::etcdserverpb::HashKvRequest;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tokio::time::{Instant, sleep};

use crate::member::{Member, Settings, TOKEN, with_token};
use crate::schedule::View;

/// Number of members, of which the first [`VOTERS`] are voters at the beginning and the others learners.
pub(crate) const MEMBERS: usize = 5;
const VOTERS: usize = 3;
const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";
/// Pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(100);
/// Limit of a call that waits for a commit.
const CALL: Duration = Duration::from_secs(10);

/// All members and their IDs.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    ids: Vec<String>,
}

/// Polls until `poll` returns a value.
///
/// # Errors
/// Returns an error after `limit`, with the last error of `poll`.
pub(crate) async fn until<T>(limit: Duration, mut poll: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match poll().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => {
                return Err(reason.context(format!("not within {} s", limit.as_secs())));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

impl Cluster {
    /// Starts all members and makes them one cluster.
    ///
    /// # Errors
    /// Returns an error if a member does not start or answer, or if the cluster does not form.
    pub(crate) async fn form(settings: &Arc<Settings>) -> Result<Self> {
        let members = (0..MEMBERS).map(|number| Member::new(number, settings)).collect::<Result<Vec<_>>>()?;
        let mut ids = Vec::new();
        for member in &members {
            member.start(&mut *member.process().await)?;
            let start = async || member.describe().await.context("it does not answer");
            let described = until(CALL, start).await.with_context(|| format!("{} starts", member.name()))?;
            ids.push(described.member_id);
        }
        let cluster = Self { members, ids };
        let infos: Vec<_> = (0..MEMBERS).map(|place| cluster.info(place)).collect();
        for member in &cluster.members[..VOTERS] {
            let (cluster_id, token, voters) = (CLUSTER.into(), TOKEN.into(), infos[..VOTERS].to_vec());
            let request = wire::BootstrapRequest { cluster_id, token, voters, name: member.name() };
            member.admin(CALL).await?.bootstrap(with_token(request)).await?;
        }
        for (member, info) in cluster.members.iter().zip(&infos).skip(VOTERS) {
            let (cluster_id, token) = (CLUSTER.into(), TOKEN.into());
            let request = wire::JoinRequest { cluster_id, token, self_: Some(info.clone()), feature_level: 1 };
            member.admin(CALL).await?.join(with_token(request)).await?;
        }
        let (voters, learners): (Vec<_>, Vec<_>) = (0..MEMBERS).partition(|place| *place < VOTERS);
        until(Duration::from_secs(60), async || cluster.change(&voters, &learners).await).await?;
        Ok(cluster)
    }

    fn info(&self, place: usize) -> wire::MemberInfo {
        let member = &self.members[place];
        let (name, peer_url, client_url) = (member.name(), member.peer_url(), member.client_url());
        wire::MemberInfo { id: self.ids[place].clone(), name, peer_url, client_url }
    }

    pub(crate) fn id(&self, place: usize) -> &str {
        &self.ids[place]
    }

    async fn describe(&self) -> Vec<Option<wire::DescribeResponse>> {
        join_all(self.members.iter().map(Member::describe)).await
    }

    /// The roles as the leader of the highest term reports them; without a leader, as any member does.
    pub(crate) async fn view(&self) -> View {
        let described = self.describe().await;
        let all = described.iter().enumerate().filter_map(|(place, said)| Some((place, said.as_ref()?)));
        let rank = |(_, said): &(usize, &wire::DescribeResponse)| {
            let index = said.configuration.as_ref().map_or(0, |configuration| configuration.index);
            (said.role() == wire::Role::Leader, said.term, index)
        };
        let Some((place, said)) = all.max_by_key(rank) else {
            return View { leader: None, voters: (0..VOTERS).collect(), learners: (VOTERS..MEMBERS).collect() };
        };
        let configuration = said.configuration.clone().unwrap_or_default();
        let (voters, learners) = (0..MEMBERS).partition(|place| configuration.voters.contains(&self.ids[*place]));
        View { leader: (said.role() == wire::Role::Leader).then_some(place), voters, learners }
    }

    /// Changes the roles of all members.
    ///
    /// # Errors
    /// Returns an error if there is no leader, or if it refuses the change or does not answer.
    pub(crate) async fn change(&self, voters: &[usize], learners: &[usize]) -> Result<()> {
        let leader = self.view().await.leader.context("no leader")?;
        let mut admin = self.members[leader].admin(CALL).await?;
        let known = admin.configuration(with_token(wire::ConfigurationRequest {})).await?.into_inner();
        let ids = |places: &[usize]| places.iter().map(|place| self.ids[*place].clone()).collect();
        let request = wire::ChangeMembershipRequest {
            expected_index: known.configuration.context("a configuration")?.index,
            voters: ids(voters),
            learners: ids(learners),
            members: (0..MEMBERS).map(|place| self.info(place)).collect(),
        };
        admin.change_membership(with_token(request)).await?;
        Ok(())
    }

    /// Raises the feature level to the highest one that the members support.
    ///
    /// # Errors
    /// Returns an error if there is no leader, or if a member does not answer it, which holds the level back.
    pub(crate) async fn raise_level(&self) -> Result<u32> {
        let leader = self.view().await.leader.context("no leader")?;
        let mut admin = self.members[leader].admin(CALL).await?;
        let raised = admin.raise_feature_level(with_token(wire::RaiseFeatureLevelRequest { to: 0 })).await?;
        Ok(raised.into_inner().level)
    }

    /// Waits until there is one leader that all members follow, and all have applied the same entries.
    ///
    /// # Errors
    /// Returns an error that names the difference if that is not so within `limit`.
    pub(crate) async fn await_whole(&self, limit: Duration) -> Result<u64> {
        until(limit, async || {
            let described = self.describe().await;
            let mut all = Vec::new();
            for (said, member) in described.iter().zip(&self.members) {
                let said = said.as_ref().with_context(|| format!("{} does not answer", member.name()))?;
                ensure!(said.phase() == wire::Phase::Member, "{} is {:?}: {}", member.name(), said.phase(), said.error);
                all.push((member.name(), said.role(), &said.leader, said.term, said.commit_index, said.applied_index));
            }
            let leaders = all.iter().filter(|(_, role, ..)| *role == wire::Role::Leader).count();
            let (_, _, leader, term, commit, applied) = all[0];
            let is_equal = all.iter().all(|said| (said.2, said.3, said.4, said.5) == (leader, term, commit, applied));
            ensure!(leaders == 1 && is_equal && commit == applied, "members differ: {all:?}");
            Ok(applied)
        })
        .await
    }

    /// Compares the hashes of all keys and their history. Returns false if members have the same revision and another
    /// hash, and the hashes with their revision and compacted revision.
    ///
    /// # Errors
    /// Returns an error if a member does not answer or has another revision. A put that was given up by its client is
    /// committed late, between two answers.
    pub(crate) async fn compare_hashes(&self) -> Result<(bool, Vec<(u32, i64, i64)>)> {
        let mut hashes = Vec::new();
        for member in &self.members {
            let mut client = MaintenanceClient::connect(member.client_url()).await?;
            let answer = client.hash_kv(HashKvRequest { revision: 0 }).await?.into_inner();
            hashes.push((answer.hash, answer.hash_revision, answer.compact_revision));
        }
        ensure!(
            hashes.iter().all(|hash| (hash.1, hash.2) == (hashes[0].1, hashes[0].2)),
            "revisions differ: {hashes:?}"
        );
        Ok((hashes.iter().all(|hash| hash.0 == hashes[0].0), hashes))
    }
}
