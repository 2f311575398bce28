//! Converts between messages of the admin service and the planner's types. A message that cannot be read is an error;
//! its meaning is never guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use plan::action::Change;
use plan::identity::{BackupPlace, ClusterIdentity};
use plan::ids::{ClusterId, MemberId, NotAnId};
use plan::observed::member::{
    Configuration, MemberInfo, MemberPhase, Progress, RaftRole, RepairProgress, Report, RestoreProgress, Space,
};
use proto::admin as wire;

use super::reasons;

/// The reason why a member's message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// An ID is malformed.
    #[error("the member sent a malformed ID: {0}")]
    Id(#[from] NotAnId),
    /// A member is both voter and learner. No valid configuration contains such a member.
    #[error("the member sent a configuration in which {0} is both voter and learner")]
    Overlap(MemberId),
    /// The phase has a number that this version does not know.
    #[error("the member is in phase {0}, which this version does not know")]
    Phase(i32),
}

/// Converts a member's report about itself.
pub(super) fn report(said: wire::DescribeResponse) -> Result<Report, Unreadable> {
    let phase = match said.phase() {
        wire::Phase::Blank => MemberPhase::Blank,
        wire::Phase::Restoring => MemberPhase::Restoring,
        wire::Phase::Member => MemberPhase::Member,
        wire::Phase::Removed => MemberPhase::Removed,
        wire::Phase::Damaged => MemberPhase::Damaged,
        wire::Phase::TooNew => MemberPhase::TooNew,
        wire::Phase::Repairing => MemberPhase::Repairing,
        wire::Phase::Unspecified => return Err(Unreadable::Phase(said.phase)),
    };
    let role = match said.role() {
        wire::Role::Unspecified => RaftRole::Unknown,
        wire::Role::Follower => RaftRole::Follower,
        wire::Role::Learner => RaftRole::Learner,
        wire::Role::PreCandidate => RaftRole::PreCandidate,
        wire::Role::Candidate => RaftRole::Candidate,
        wire::Role::Leader => RaftRole::Leader,
        wire::Role::ShuttingDown => RaftRole::ShuttingDown,
    };
    let progress = said.progress.iter().map(|progress| {
        let about =
            Progress { matched: progress.matched_index, active: progress.active, snapshotting: progress.snapshotting };
        Ok((progress.member_id.parse()?, about))
    });
    Ok(Report {
        id: optional(&said.member_id)?,
        phase,
        cluster: if said.cluster_id.is_empty() { None } else { Some(said.cluster_id.parse()?) },
        role,
        leader: optional(&said.leader)?,
        term: said.term,
        commit: said.commit_index,
        last: said.last_index,
        progress: progress.collect::<Result<_, NotAnId>>()?,
        configuration: said.configuration.map(configuration).transpose()?,
        version: said.version,
        error: (!said.error.is_empty()).then_some(said.error),
        restore: said.restore.map(|restore| RestoreProgress {
            bytes_done: restore.bytes_done,
            bytes_total: restore.bytes_total,
            cause: reasons::cause(restore.cause_code, &restore.cause),
        }),
        // A former member says nothing of levels: it supports only the first one.
        level: said.feature_level.max(1),
        supports: said.feature_level_supported.max(1),
        space: said.space.map(|space| Space {
            total: space.total_bytes,
            free: space.free_bytes,
            reserve: space.reserve_bytes,
            below: space.below,
            writes_refused: space.writes_refused,
        }),
        repair: said.repair.map(|repair| RepairProgress {
            bytes_done: repair.bytes_done,
            bytes_total: repair.bytes_total,
            stalled: Duration::from_millis(repair.stalled_ms),
            what: repair.what,
        }),
        corrupt: said.corrupt,
    })
}

/// Converts a configuration.
pub(super) fn configuration(said: wire::Configuration) -> Result<Configuration, Unreadable> {
    let members = said.members.into_iter().map(|member| {
        let info = MemberInfo { name: member.name, peer_url: member.peer_url, client_url: member.client_url };
        Ok((member.id.parse()?, info))
    });
    let configuration = Configuration {
        index: said.index,
        voters: ids(&said.voters)?,
        outgoing: ids(&said.outgoing)?,
        learners: ids(&said.learners)?,
        learners_next: ids(&said.learners_next)?,
        members: members.collect::<Result<_, NotAnId>>()?,
        removed: ids(&said.removed)?,
    };
    match configuration.learners.iter().find(|id| configuration.is_voter(**id)) {
        Some(id) => Err(Unreadable::Overlap(*id)),
        None => Ok(configuration),
    }
}

/// Builds the call that makes a member one of the first voters of a new cluster.
pub(super) fn bootstrap(
    identity: &ClusterIdentity,
    voters: &[(MemberId, MemberInfo)],
    name: String,
) -> wire::BootstrapRequest {
    wire::BootstrapRequest {
        cluster_id: identity.cluster.to_string(),
        token: identity.token.reveal().to_owned(),
        voters: voters.iter().map(|(id, info)| member(*id, info)).collect(),
        name,
    }
}

/// Builds the call that makes a member restore a backup.
pub(super) fn restore(
    cluster: ClusterId,
    token: &str,
    id: MemberId,
    info: &MemberInfo,
    place: &BackupPlace,
) -> wire::RestoreRequest {
    wire::RestoreRequest {
        cluster_id: cluster.to_string(),
        token: token.to_owned(),
        self_: Some(member(id, info)),
        store: Some(store(&place.store)),
        source_cluster_id: place.source.to_string(),
        backup: place.manifest.clone(),
    }
}

/// Builds the call that requests a membership change.
pub(super) fn change(change: &Change) -> wire::ChangeMembershipRequest {
    let texts = |ids: &[MemberId]| ids.iter().map(MemberId::to_string).collect();
    wire::ChangeMembershipRequest {
        expected_index: change.expected,
        voters: texts(&change.voters),
        learners: texts(&change.learners),
        members: change.members.iter().map(|(id, info)| member(*id, info)).collect(),
    }
}

/// Converts the name and addresses of a member.
pub(super) fn member(id: MemberId, info: &MemberInfo) -> wire::MemberInfo {
    wire::MemberInfo {
        id: id.to_string(),
        name: info.name.clone(),
        peer_url: info.peer_url.clone(),
        client_url: info.client_url.clone(),
    }
}

/// Converts an object store.
pub(super) fn store(store: &crds::ObjectStore) -> wire::ObjectStore {
    wire::ObjectStore {
        endpoint: store.endpoint.clone().unwrap_or_default(),
        region: store.region.clone(),
        bucket: store.bucket.clone(),
        prefix: store.prefix.clone().unwrap_or_default(),
    }
}

fn optional(text: &str) -> Result<Option<MemberId>, NotAnId> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn ids(texts: &[String]) -> Result<BTreeSet<MemberId>, NotAnId> {
    texts.iter().map(|text| text.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_completely() {
        let said = wire::DescribeResponse {
            member_id: "a1".to_owned(),
            phase: wire::Phase::Member as i32,
            cluster_id: "00112233445566778899aabbccddeeff".to_owned(),
            role: wire::Role::Leader as i32,
            leader: "a1".to_owned(),
            last_index: 9,
            progress: vec![wire::Progress {
                member_id: "b2".to_owned(),
                matched_index: 8,
                active: true,
                snapshotting: false,
            }],
            configuration: Some(wire::Configuration {
                index: 4,
                voters: vec!["a1".to_owned()],
                learners: vec!["b2".to_owned()],
                ..wire::Configuration::default()
            }),
            ..wire::DescribeResponse::default()
        };
        let report = report(said).expect("well-formed");
        assert_eq!((report.id, report.role, report.last), (Some(MemberId(0xa1)), RaftRole::Leader, 9));
        assert_eq!(report.progress[&MemberId(0xb2)].matched, 8);
        let configuration = report.configuration.expect("sent");
        assert_eq!((configuration.index, configuration.learners), (4, BTreeSet::from([MemberId(0xb2)])));
        assert_eq!(report.error, None);
    }

    #[test]
    fn a_former_member_that_says_nothing_of_levels_supports_the_first() {
        let said = wire::DescribeResponse { phase: wire::Phase::Member as i32, ..wire::DescribeResponse::default() };
        let report = report(said).expect("well-formed");
        assert_eq!((report.level, report.supports, report.space, report.corrupt), (1, 1, None, false));
    }

    #[test]
    fn levels_space_and_repairs_are_read() {
        let space = wire::Space { total_bytes: 9, free_bytes: 2, reserve_bytes: 3, below: true, writes_refused: true };
        let repair = wire::Repair { bytes_done: 4, bytes_total: 5, stalled_ms: 6_000, what: "from b2".to_owned() };
        let said = wire::DescribeResponse {
            phase: wire::Phase::Repairing as i32,
            feature_level: 2,
            feature_level_supported: 3,
            space: Some(space),
            repair: Some(repair),
            corrupt: true,
            ..wire::DescribeResponse::default()
        };
        let report = report(said).expect("well-formed");
        assert_eq!((report.phase, report.level, report.supports), (MemberPhase::Repairing, 2, 3));
        assert_eq!(report.space.map(|space| (space.free, space.below, space.writes_refused)), Some((2, true, true)));
        assert_eq!(report.repair.map(|it| (it.bytes_done, it.stalled)), Some((4, Duration::from_secs(6))));
        assert!(report.corrupt);
        let too_new = wire::DescribeResponse { phase: wire::Phase::TooNew as i32, ..Default::default() };
        assert_eq!(super::report(too_new).expect("well-formed").phase, MemberPhase::TooNew);
    }

    #[test]
    fn a_member_that_shuts_down_is_reported_so() {
        let said = wire::DescribeResponse {
            phase: wire::Phase::Member as i32,
            role: wire::Role::ShuttingDown as i32,
            ..wire::DescribeResponse::default()
        };
        assert_eq!(report(said).expect("well-formed").role, RaftRole::ShuttingDown);
    }

    #[test]
    fn a_malformed_message_is_an_error() {
        let said = wire::DescribeResponse {
            phase: wire::Phase::Blank as i32,
            member_id: "0".to_owned(),
            ..Default::default()
        };
        assert!(matches!(report(said), Err(Unreadable::Id(_))));
        assert!(matches!(report(wire::DescribeResponse::default()), Err(Unreadable::Phase(0))));
        let both = vec!["a1".to_owned()];
        let said = wire::Configuration { voters: both.clone(), learners: both, ..wire::Configuration::default() };
        assert!(matches!(configuration(said), Err(Unreadable::Overlap(MemberId(0xa1)))));
    }
}
