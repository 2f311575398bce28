//! Messages of the admin service ⇄ the planner's plain types. Decides nothing; what cannot be read is an error, never a
//! guess.

use std::collections::BTreeSet;

use plan::action::Change;
use plan::identity::{BackupPlace, Record};
use plan::ids::{ClusterId, MemberId, NotAnId};
use plan::observed::member::{Configuration, MemberInfo, Phase, Progress, Report, RestoreProgress, Role};
use proto::admin as wire;

/// A member's words make no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// An ID is none.
    #[error("the member sent an ID that is none: {0}")]
    Id(#[from] NotAnId),
    /// A phase that this version does not know.
    #[error("the member is in phase {0}, which this version does not know")]
    Phase(i32),
}

/// What a member said of itself.
pub(super) fn report(said: wire::DescribeResponse) -> Result<Report, Unreadable> {
    let phase = match said.phase() {
        wire::Phase::Blank => Phase::Blank,
        wire::Phase::Restoring => Phase::Restoring,
        wire::Phase::Member => Phase::Member,
        wire::Phase::Removed => Phase::Removed,
        wire::Phase::Damaged => Phase::Damaged,
        wire::Phase::Unspecified => return Err(Unreadable::Phase(said.phase)),
    };
    let role = match said.role() {
        wire::Role::Unspecified => Role::Unknown,
        wire::Role::Follower => Role::Follower,
        wire::Role::Learner => Role::Learner,
        wire::Role::PreCandidate => Role::PreCandidate,
        wire::Role::Candidate => Role::Candidate,
        wire::Role::Leader => Role::Leader,
        wire::Role::ShuttingDown => Role::ShuttingDown,
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
            cause: restore.cause,
        }),
    })
}

/// Who takes part.
pub(super) fn configuration(said: wire::Configuration) -> Result<Configuration, Unreadable> {
    let members = said.members.into_iter().map(|member| {
        let info = MemberInfo { name: member.name, peer_url: member.peer_url, client_url: member.client_url };
        Ok((member.id.parse()?, info))
    });
    Ok(Configuration {
        index: said.index,
        voters: ids(&said.voters)?,
        outgoing: ids(&said.outgoing)?,
        learners: ids(&said.learners)?,
        learners_next: ids(&said.learners_next)?,
        members: members.collect::<Result<_, NotAnId>>()?,
        removed: ids(&said.removed)?,
    })
}

/// The record, as one of its voters is told it.
pub(super) fn bootstrap(record: &Record, voters: &[(MemberId, MemberInfo)], name: String) -> wire::BootstrapRequest {
    wire::BootstrapRequest {
        cluster_id: record.cluster.to_string(),
        token: record.token.reveal().to_owned(),
        voters: voters.iter().map(|(id, info)| member(*id, info)).collect(),
        name,
    }
}

/// A backup's place, as the member that restores it is told.
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

/// A wanted configuration.
pub(super) fn change(change: &Change) -> wire::ChangeMembershipRequest {
    let texts = |ids: &[MemberId]| ids.iter().map(MemberId::to_string).collect();
    wire::ChangeMembershipRequest {
        expected_index: change.expected,
        voters: texts(&change.voters),
        learners: texts(&change.learners),
        members: change.members.iter().map(|(id, info)| member(*id, info)).collect(),
    }
}

/// Name and addresses of a member.
pub(super) fn member(id: MemberId, info: &MemberInfo) -> wire::MemberInfo {
    wire::MemberInfo {
        id: id.to_string(),
        name: info.name.clone(),
        peer_url: info.peer_url.clone(),
        client_url: info.client_url.clone(),
    }
}

/// A bucket.
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
    fn a_report_is_read_whole() {
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
        assert_eq!((report.id, report.role, report.last), (Some(MemberId(0xa1)), Role::Leader, 9));
        assert_eq!(report.progress[&MemberId(0xb2)].matched, 8);
        let configuration = report.configuration.expect("sent");
        assert_eq!((configuration.index, configuration.learners), (4, BTreeSet::from([MemberId(0xb2)])));
        assert_eq!(report.error, None);
    }

    #[test]
    fn a_member_that_shuts_down_says_so() {
        let said = wire::DescribeResponse {
            phase: wire::Phase::Member as i32,
            role: wire::Role::ShuttingDown as i32,
            ..wire::DescribeResponse::default()
        };
        assert_eq!(report(said).expect("well-formed").role, Role::ShuttingDown);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let said = wire::DescribeResponse {
            phase: wire::Phase::Blank as i32,
            member_id: "0".to_owned(),
            ..Default::default()
        };
        assert!(matches!(report(said), Err(Unreadable::Id(_))));
        assert!(matches!(report(wire::DescribeResponse::default()), Err(Unreadable::Phase(0))));
    }
}
