//! Owns the translation of a member's status to admin.proto's `DescribeResponse`. Does not own the status (`engine`).

use engine::published::Published;
use engine::status::{Phase, RepairStatus, RestoreStatus, Space, Status};
use mvcc::AlarmKind;
use proto::admin as wire;
use raft::{Configuration, Index, MemberId, Role};

use super::refusal;
use crate::version;

/// Returns the whole status. Callers with the cluster's token receive this answer, and so do all callers of a blank
/// member.
pub(super) fn everything(status: &Status, published: &Published) -> wire::DescribeResponse {
    wire::DescribeResponse {
        member_id: status.member.to_string(),
        phase: phase(status.phase) as i32,
        cluster_id: status.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
        name: status.name.clone(),
        role: role(status) as i32,
        leader: status.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        term: status.term.0,
        commit_index: status.commit.0,
        applied_index: status.applied.0,
        last_index: status.last.0,
        revision: published.view.revision().0,
        size_bytes: published.view.size_bytes(),
        configuration: Some(configuration(&status.configuration, status.configuration_index)),
        progress: progress(status),
        version: version::NODE.to_owned(),
        error: status.error.clone(),
        restore: status.restore.as_ref().map(restore),
        snapshot_index: status.snapshot.0,
        feature_level: published.view.level().0,
        feature_level_supported: status.supports.0,
        space: status.space.map(space),
        repair: status.repair.as_ref().map(repair),
        corrupt: published.view.alarms().any(|alarm| alarm.kind == AlarmKind::Corrupt),
    }
}

fn restore(restore: &RestoreStatus) -> wire::RestoreProgress {
    let (bytes_done, bytes_total) = (restore.progress)();
    wire::RestoreProgress {
        backup: restore.backup.clone(),
        bytes_done,
        bytes_total,
        cause: restore.cause.clone(),
        cause_code: refusal::cause_code(&restore.cause) as i32,
    }
}

fn space(space: Space) -> wire::Space {
    wire::Space {
        total_bytes: space.total_bytes,
        free_bytes: space.free_bytes,
        reserve_bytes: space.reserve_bytes,
        below: space.below,
        writes_refused: space.writes_refused,
    }
}

fn repair(repair: &RepairStatus) -> wire::Repair {
    wire::Repair {
        bytes_done: repair.bytes_done,
        bytes_total: repair.bytes_total,
        stalled_ms: u64::try_from(repair.stalled.as_millis()).unwrap_or(u64::MAX),
        what: repair.what.clone(),
    }
}

/// Returns only the phase. A member that is not blank gives this answer to a caller without the token.
pub(super) fn phase_only(status: &Status) -> wire::DescribeResponse {
    wire::DescribeResponse { phase: phase(status.phase) as i32, ..wire::DescribeResponse::default() }
}

pub(super) fn configuration(configuration: &Configuration, index: Index) -> wire::Configuration {
    let ids = |ids: &std::collections::BTreeSet<MemberId>| ids.iter().map(MemberId::to_string).collect();
    let members = configuration.members.iter().map(|(id, info)| wire::MemberInfo {
        id: id.to_string(),
        name: info.name.clone(),
        peer_url: info.peer_url.clone(),
        client_url: info.client_url.clone(),
    });
    wire::Configuration {
        index: index.0,
        voters: ids(&configuration.voters),
        outgoing: ids(&configuration.outgoing),
        learners: ids(&configuration.learners),
        learners_next: ids(&configuration.learners_next),
        members: members.collect(),
        removed: ids(&configuration.removed),
    }
}

fn progress(status: &Status) -> Vec<wire::Progress> {
    let report = status.progress.iter().map(|(id, progress)| wire::Progress {
        member_id: id.to_string(),
        matched_index: progress.matched.0,
        active: progress.active,
        snapshotting: progress.snapshotting,
    });
    report.collect()
}

fn phase(phase: Phase) -> wire::Phase {
    match phase {
        Phase::Blank => wire::Phase::Blank,
        Phase::Restoring => wire::Phase::Restoring,
        Phase::Member => wire::Phase::Member,
        Phase::Removed => wire::Phase::Removed,
        Phase::Damaged => wire::Phase::Damaged,
        Phase::TooNew => wire::Phase::TooNew,
        Phase::Repairing => wire::Phase::Repairing,
    }
}

fn role(status: &Status) -> wire::Role {
    match status.role {
        _ if status.draining => wire::Role::ShuttingDown,
        Role::Follower => wire::Role::Follower,
        Role::Learner => wire::Role::Learner,
        Role::PreCandidate => wire::Role::PreCandidate,
        Role::Candidate => wire::Role::Candidate,
        Role::Leader => wire::Role::Leader,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mvcc::Store;
    use raft::{MemberInfo, ProgressReport, Term};

    use super::*;
    use engine::level::SUPPORTED;
    use engine::parameters::ClusterId;

    fn leader() -> Status {
        let mut status = Status::idle(MemberId(0xa1), "demo-1".to_owned(), Phase::Member);
        status.cluster = ClusterId::parse("00112233445566778899aabbccddeeff");
        status.role = Role::Leader;
        status.leader = Some(MemberId(0xa1));
        status.term = Term(3);
        status.configuration = Arc::new(Configuration {
            voters: [MemberId(0xa1)].into(),
            learners: [MemberId(0xb2)].into(),
            members: [(MemberId(0xa1), MemberInfo { name: "demo-1".to_owned(), ..MemberInfo::default() })].into(),
            removed: [MemberId(0xc3)].into(),
            ..Configuration::default()
        });
        status.configuration_index = Index(9);
        let report = ProgressReport { matched: Index(8), next: Index(9), active: true, snapshotting: false };
        status.progress = [(MemberId(0xb2), report)].into();
        status
    }

    #[test]
    fn ids_have_the_format_of_the_resources_status() {
        let published = Published { view: Store::new().view(), applied: Index(8), term: Term(3), time_ms: 0 };
        let described = everything(&leader(), &published);
        assert_eq!((described.member_id.as_str(), described.leader.as_str()), ("a1", "a1"));
        assert_eq!(described.cluster_id, "00112233445566778899aabbccddeeff");
        assert_eq!((described.phase(), described.role()), (wire::Phase::Member, wire::Role::Leader));
        assert_eq!((described.revision, described.term), (1, 3));
        assert_eq!((described.feature_level, described.feature_level_supported), (1, SUPPORTED.0));
        let configuration = described.configuration.unwrap();
        assert_eq!((configuration.index, configuration.voters), (9, vec!["a1".to_owned()]));
        assert_eq!((configuration.learners, configuration.removed), (vec!["b2".to_owned()], vec!["c3".to_owned()]));
        assert_eq!(described.progress[0].member_id, "b2");
        assert_eq!(described.progress[0].matched_index, 8);
    }

    #[test]
    fn the_space_of_the_volume_is_reported_and_the_repair_while_there_is_one() {
        let mut status = leader();
        status.space =
            Some(Space { total_bytes: 9, free_bytes: 4, reserve_bytes: 5, below: true, writes_refused: true });
        status.phase = Phase::Repairing;
        let what = "entries 4 to 9 from a1".to_owned();
        status.repair = Some(RepairStatus { bytes_done: 1, bytes_total: 3, stalled: Duration::from_secs(2), what });
        let published = Published { view: Store::new().view(), applied: Index(8), term: Term(3), time_ms: 0 };
        let described = everything(&status, &published);
        assert_eq!(described.phase(), wire::Phase::Repairing);
        let space = wire::Space { total_bytes: 9, free_bytes: 4, reserve_bytes: 5, below: true, writes_refused: true };
        assert_eq!(described.space, Some(space));
        let repair = described.repair.expect("the repair is reported");
        assert_eq!((repair.bytes_done, repair.bytes_total, repair.stalled_ms), (1, 3, 2000));
        assert_eq!(repair.what, "entries 4 to 9 from a1");
    }

    #[test]
    fn a_caller_without_token_gets_only_the_phase() {
        let described = phase_only(&leader());
        let expected =
            wire::DescribeResponse { phase: wire::Phase::Member as i32, ..wire::DescribeResponse::default() };
        assert_eq!(described, expected);
    }
}
