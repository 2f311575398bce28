//! Owns the metrics that are read from the member when the page is requested. Does not own the member's status
//! (`engine`).

use std::sync::Arc;

use engine::published::Published;
use engine::status::{Phase, Space, Status};
use prometheus_client::metrics::gauge::ConstGauge;
use raft::Role;

use super::Page;
use super::labelled::ByLabel;
use crate::version;

/// State of a member at one point in time.
#[derive(Clone, Debug)]
pub struct State {
    /// Status of the member.
    pub status: Arc<Status>,
    /// Published view of the member's store.
    pub published: Arc<Published>,
    /// Maximum bytes of live keys and history.
    pub quota_bytes: u64,
}

pub(super) fn register(page: &mut Page, state: &State) {
    let mut gauges = Gauges(page);
    consensus(&mut gauges, &state.status);
    content(&mut gauges, state);
    space(&mut gauges, state.status.space.as_ref());
    gauges.one("etcd_server_version", "Version of etcd's API that is served", "server_version", api::version::API);
    gauges.one(
        "etcd_cluster_version",
        "Version of etcd's API that the cluster serves",
        "cluster_version",
        api::version::CLUSTER,
    );
    gauges.one("raft_node_info", "Version of this program", "version", version::NODE);
}

fn consensus(gauges: &mut Gauges<'_>, status: &Status) {
    let leads = status.leader == Some(status.member);
    gauges.one("etcd_server_id", "This member's ID", "server_id", &status.member.to_string());
    gauges.number("etcd_server_has_leader", "Whether a leader is known", u64::from(status.leader.is_some()));
    gauges.number("etcd_server_is_leader", "Whether this member leads", u64::from(leads));
    gauges.number(
        "etcd_server_is_learner",
        "Whether this member is a learner",
        u64::from(status.role == Role::Learner),
    );
    gauges.number(
        "etcd_server_proposals_committed_total",
        "Index of the last entry known to be committed",
        status.commit.0,
    );
    gauges.number("etcd_server_proposals_applied_total", "Index of the last entry applied", status.applied.0);
    gauges.number("raft_term", "The member's term", status.term.0);
    gauges.number("raft_last_index", "Index of the last entry of the log", status.last.0);
    gauges.number("raft_snapshot_index", "Index of the last entry in the newest durable snapshot", status.snapshot.0);
    gauges.number(
        "raft_configuration_index",
        "Index of the entry of the current configuration",
        status.configuration_index.0,
    );
    gauges.number(
        "raft_voters",
        "Voters of the current configuration, of the incoming half while it is joint",
        status.configuration.voters.len() as u64,
    );
    gauges.number("raft_learners", "Learners of the current configuration", status.configuration.learners.len() as u64);
    gauges.number(
        "raft_joint",
        "Whether the current configuration is joint",
        u64::from(status.configuration.is_joint()),
    );
    gauges.number(
        "raft_feature_level_supported",
        "Highest feature level that this program supports",
        u64::from(status.supports.0),
    );
    gauges.number("raft_draining", "Whether this member is about to stop", u64::from(status.draining));
    let values = Phase::ALL.map(|phase| (label(phase).to_owned(), u64::from(phase == status.phase)));
    gauges.by_label(
        "raft_phase",
        "Phase of the member: 1 for the current phase, 0 for the others",
        "phase",
        values.into(),
    );
    let others = status.progress.iter().filter(|(id, _)| **id != status.member);
    let lags = others.map(|(id, progress)| (id.to_string(), status.last.0.saturating_sub(progress.matched.0)));
    gauges.by_label(
        "raft_follower_behind_entries",
        "Entries that another member has not acknowledged to this leader as durable",
        "member",
        lags.collect(),
    );
}

fn content(gauges: &mut Gauges<'_>, state: &State) {
    let view = &state.published.view;
    gauges.number("etcd_server_quota_backend_bytes", "Limit on the bytes of live keys and history", state.quota_bytes);
    gauges.number("etcd_mvcc_db_total_size_in_bytes", "Bytes of live keys and history", view.size_bytes());
    gauges.number(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Bytes of live keys and history; there is no fragmentation",
        view.size_bytes(),
    );
    gauges.number("etcd_debugging_mvcc_current_revision", "The store's revision", view.revision().0.max(0) as u64);
    gauges.number(
        "etcd_debugging_mvcc_compact_revision",
        "Revision of the last compaction, 0 before the first",
        view.compact_revision().0.max(0) as u64,
    );
    gauges.number("raft_versions", "Versions of keys in the store, including tombstones", view.version_count());
    gauges.number("raft_feature_level", "Feature level of the cluster", u64::from(view.level().0));
    gauges.number("raft_alarms", "Alarms that are raised", view.alarms().len() as u64);
}

/// A member that has not measured its volume yet, or that belongs to no cluster, has no gauges of it.
fn space(gauges: &mut Gauges<'_>, space: Option<&Space>) {
    let Some(space) = space else { return };
    gauges.number("raft_volume_total_bytes", "Size of the volume", space.total_bytes);
    gauges.number("raft_volume_free_bytes", "Bytes that the member may still write to its volume", space.free_bytes);
    gauges.number(
        "raft_volume_reserve_bytes",
        "Bytes that the member keeps free for a snapshot and for deletions",
        space.reserve_bytes,
    );
    gauges.number(
        "raft_volume_below_reserve",
        "Whether less than the reserve is free, so that this member does not lead if another can",
        u64::from(space.below),
    );
    gauges.number(
        "raft_volume_writes_refused",
        "Whether this leader refuses puts, because no quorum of voters is above its reserve",
        u64::from(space.writes_refused),
    );
}

fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Blank => "blank",
        Phase::Restoring => "restoring",
        Phase::Member => "member",
        Phase::Removed => "removed",
        Phase::Damaged => "damaged",
        Phase::TooNew => "too_new",
        Phase::Repairing => "repairing",
    }
}

struct Gauges<'a>(&'a mut Page);

impl Gauges<'_> {
    fn number(&mut self, name: &str, help: &str, value: u64) {
        // A float is precise enough for graphs of these numbers.
        self.0.0.register(name, help, ConstGauge::new(value as f64));
    }

    /// Registers a gauge that is always 1 and whose label holds the text `value`.
    fn one(&mut self, name: &str, help: &str, label: &'static str, value: &str) {
        self.by_label(name, help, label, vec![(value.to_owned(), 1)]);
    }

    fn by_label(&mut self, name: &str, help: &str, label: &'static str, values: Vec<(String, u64)>) {
        self.0.0.register(name, help, ByLabel(label, values));
    }
}

#[cfg(test)]
mod tests {
    use mvcc::Store;
    use raft::{Index, MemberId, Term};

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_page_shows_the_state_of_the_member() {
        let mut status = Status::idle(MemberId(0xab), "demo-1".to_owned(), Phase::Member);
        status.leader = Some(MemberId(0xab));
        status.role = Role::Leader;
        status.commit = Index(7);
        let (total_bytes, free_bytes, reserve_bytes) = (9_000, 4_000, 5_000);
        status.space = Some(Space { total_bytes, free_bytes, reserve_bytes, below: true, writes_refused: false });
        let published = Published { view: Store::new().view(), applied: Index(7), term: Term(1), time_ms: 0 };
        let state = State { status: Arc::new(status), published: Arc::new(published), quota_bytes: 2 << 30 };
        let page = Metrics::new().page(&state);
        for line in [
            "etcd_server_has_leader 1.0",
            "etcd_server_is_leader 1.0",
            "etcd_server_is_learner 0.0",
            "etcd_server_id{server_id=\"ab\"} 1.0",
            "etcd_server_proposals_committed_total 7.0",
            "etcd_server_quota_backend_bytes 2147483648.0",
            "etcd_debugging_mvcc_current_revision 1.0",
            "etcd_debugging_mvcc_compact_revision 0.0",
            "raft_phase{phase=\"member\"} 1.0",
            "raft_phase{phase=\"blank\"} 0.0",
            "raft_volume_total_bytes 9000.0",
            "raft_volume_free_bytes 4000.0",
            "raft_volume_reserve_bytes 5000.0",
            "raft_volume_below_reserve 1.0",
            "raft_volume_writes_refused 0.0",
            "raft_feature_level 1.0",
            "raft_feature_level_supported 2.0",
            "etcd_cluster_version{cluster_version=\"3.7\"} 1.0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing from:\n{page}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
