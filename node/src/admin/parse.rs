//! Owns the translation of admin.proto's requests to the engine's types, and the errors of malformed requests. Does not
//! own the decision whether a request can be carried out (`engine`).

use std::collections::{BTreeMap, BTreeSet};

use crate::peer::level;
use archive::ObjectStoreConfig;
use engine::parameters::{BootstrapParameters, ClusterId, JoinParameters, Token};
use mvcc::FeatureLevel;
use proto::admin as wire;
use raft::{Change, Index, MemberId, MemberInfo};
use tonic::Status;

/// Error of a malformed request: the field, what is wrong with it, and what to give instead. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(super) struct Invalid {
    field: &'static str,
    problem: String,
}

impl Invalid {
    fn new(field: &'static str, problem: impl Into<String>) -> Invalid {
        Invalid { field, problem: problem.into() }
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Status {
        Status::invalid_argument(invalid.to_string())
    }
}

pub(super) fn member_id(field: &'static str, text: &str) -> Result<MemberId, Invalid> {
    let problem =
        || Invalid::new(field, format!("{text:?} is not a member ID: give 1 to 16 hexadecimal digits, not all zero"));
    if text.is_empty() || text.len() > 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(problem());
    }
    match u64::from_str_radix(text, 16) {
        Ok(id) if id != 0 => Ok(MemberId(id)),
        _ => Err(problem()),
    }
}

pub(super) fn cluster_id(field: &'static str, text: &str) -> Result<ClusterId, Invalid> {
    ClusterId::parse(text)
        .ok_or_else(|| Invalid::new(field, format!("{text:?} is not a cluster ID: give 32 hexadecimal digits")))
}

fn token(text: String) -> Result<Token, Invalid> {
    if text.is_empty() { Err(Invalid::new("token", "is empty: give the cluster's token")) } else { Ok(Token(text)) }
}

/// Parses one member: ID, name and URLs, all of which are required.
fn member(field: &'static str, info: wire::MemberInfo) -> Result<(MemberId, MemberInfo), Invalid> {
    let id = member_id(field, &info.id)?;
    for (what, text) in [("name", &info.name), ("peer_url", &info.peer_url), ("client_url", &info.client_url)] {
        if text.is_empty() {
            return Err(Invalid::new(field, format!("member {id} has no {what}: give one")));
        }
    }
    Ok((id, MemberInfo { name: info.name, peer_url: info.peer_url, client_url: info.client_url }))
}

fn members(field: &'static str, infos: Vec<wire::MemberInfo>) -> Result<BTreeMap<MemberId, MemberInfo>, Invalid> {
    let mut members = BTreeMap::new();
    for info in infos {
        let (id, info) = member(field, info)?;
        if members.insert(id, info).is_some() {
            return Err(Invalid::new(field, format!("member {id} is listed twice: list it once")));
        }
    }
    Ok(members)
}

fn ids(field: &'static str, texts: &[String]) -> Result<BTreeSet<MemberId>, Invalid> {
    let mut ids = BTreeSet::new();
    for text in texts {
        let id = member_id(field, text)?;
        if !ids.insert(id) {
            return Err(Invalid::new(field, format!("member {id} is listed twice: list it once")));
        }
    }
    Ok(ids)
}

pub(super) fn bootstrap(request: wire::BootstrapRequest) -> Result<BootstrapParameters, Invalid> {
    let order = BootstrapParameters {
        cluster: cluster_id("cluster_id", &request.cluster_id)?,
        token: token(request.token)?,
        voters: members("voters", request.voters)?,
        name: request.name,
    };
    if order.voters.is_empty() {
        return Err(Invalid::new("voters", "is empty: list the first voters"));
    }
    if order.name.is_empty() {
        return Err(Invalid::new("name", "is empty: give the receiver's name"));
    }
    Ok(order)
}

pub(super) fn join(request: wire::JoinRequest) -> Result<JoinParameters, Invalid> {
    let receiver =
        request.self_.ok_or_else(|| Invalid::new("self", "is missing: give the receiver's ID, name and URLs"))?;
    let (member, info) = member("self", receiver)?;
    Ok(JoinParameters {
        cluster: cluster_id("cluster_id", &request.cluster_id)?,
        token: token(request.token)?,
        member,
        info,
        level: level(request.feature_level),
    })
}

/// Request to start a new cluster from a backup.
pub(super) struct RestoreOrder {
    /// The new cluster, and the ID of the receiving member in it.
    pub(super) join: JoinParameters,
    /// Object store that holds the backup.
    pub(super) store: ObjectStoreConfig,
    /// Cluster that wrote the backup.
    pub(super) source: ClusterId,
    /// Key of the backup's manifest.
    pub(super) manifest: String,
}

pub(super) fn restore(request: wire::RestoreRequest) -> Result<RestoreOrder, Invalid> {
    let source = cluster_id("source_cluster_id", &request.source_cluster_id)?;
    if request.backup.is_empty() {
        return Err(Invalid::new("backup", "is empty: give the key of the backup's manifest"));
    }
    let store = store(request.store)?;
    // The level of the new cluster is that of the backup.
    let join = join(wire::JoinRequest {
        cluster_id: request.cluster_id,
        token: request.token,
        self_: request.self_,
        feature_level: 0,
    })?;
    Ok(RestoreOrder { join, store, source, manifest: request.backup })
}

pub(super) fn backup(request: wire::BackupRequest) -> Result<(String, ObjectStoreConfig), Invalid> {
    if request.name.is_empty() {
        return Err(Invalid::new("name", "is empty: give the backup's name"));
    }
    Ok((request.name, store(request.store)?))
}

pub(super) fn store(store: Option<wire::ObjectStore>) -> Result<ObjectStoreConfig, Invalid> {
    let store = store.ok_or_else(|| Invalid::new("store", "is missing: give the object store and its bucket"))?;
    if store.bucket.is_empty() {
        return Err(Invalid::new("store", "has no bucket: name one"));
    }
    let wire::ObjectStore { endpoint, region, bucket, prefix } = store;
    Ok(ObjectStoreConfig { endpoint, region, bucket, prefix })
}

pub(super) fn change(request: wire::ChangeMembershipRequest) -> Result<Change, Invalid> {
    Ok(Change {
        expected: Index(request.expected_index),
        voters: ids("voters", &request.voters)?,
        learners: ids("learners", &request.learners)?,
        members: members("members", request.members)?,
    })
}

/// The level to which a request asks to raise the cluster; `None` for the highest that all members support.
pub(super) fn raise(request: &wire::RaiseFeatureLevelRequest) -> Option<FeatureLevel> {
    (request.to != 0).then_some(FeatureLevel(request.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str) -> wire::MemberInfo {
        wire::MemberInfo {
            id: id.to_owned(),
            name: "demo-1".to_owned(),
            peer_url: "http://demo-1:2380".to_owned(),
            client_url: "http://demo-1:2379".to_owned(),
        }
    }

    fn bootstrap_request() -> wire::BootstrapRequest {
        wire::BootstrapRequest {
            cluster_id: "00112233445566778899aabbccddeeff".to_owned(),
            token: "secret".to_owned(),
            voters: vec![info("a1"), info("b2")],
            name: "demo-1".to_owned(),
        }
    }

    #[test]
    fn ids_are_hexadecimal_and_never_zero() {
        assert_eq!(member_id("id", "a1").unwrap(), MemberId(0xa1));
        assert_eq!(member_id("id", "FFFFFFFFFFFFFFFF").unwrap(), MemberId(u64::MAX));
        for text in ["", "0", "0000", "g", "+1", "0x1", " 1", "11111111111111111"] {
            let message = member_id("target", text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("target: {text:?} is not a member ID")), "{message}");
        }
        assert!(cluster_id("cluster_id", "0011").is_err());
    }

    #[test]
    fn a_complete_request_is_translated() {
        let order = bootstrap(bootstrap_request()).unwrap();
        assert_eq!(order.cluster.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!((order.token.0.as_str(), order.name.as_str()), ("secret", "demo-1"));
        assert_eq!(order.voters.keys().copied().collect::<Vec<_>>(), [MemberId(0xa1), MemberId(0xb2)]);
        assert_eq!(order.voters[&MemberId(0xa1)].peer_url, "http://demo-1:2380");

        let request = wire::JoinRequest {
            cluster_id: "00112233445566778899aabbccddeeff".to_owned(),
            token: "secret".to_owned(),
            self_: Some(info("a1")),
            feature_level: 0,
        };
        let joining = join(request.clone()).unwrap();
        assert_eq!((joining.member, joining.level), (MemberId(0xa1), FeatureLevel::FIRST), "a former operator asks");
        assert_eq!(join(wire::JoinRequest { feature_level: 2, ..request }).unwrap().level, FeatureLevel(2));
    }

    #[test]
    fn an_error_names_the_missing_field() {
        type Mutation = fn(&mut wire::BootstrapRequest);
        let broken: [(Mutation, &str); 7] = [
            (|request| request.cluster_id.clear(), "cluster_id: \"\" is not a cluster ID: give 32 hexadecimal digits"),
            (|request| request.token.clear(), "token: is empty: give the cluster's token"),
            (|request| request.voters.clear(), "voters: is empty: list the first voters"),
            (|request| request.name.clear(), "name: is empty: give the receiver's name"),
            (|request| request.voters[1] = info("A1"), "voters: member a1 is listed twice: list it once"),
            (|request| request.voters[0].peer_url.clear(), "voters: member a1 has no peer_url: give one"),
            (|request| request.voters[0].name.clear(), "voters: member a1 has no name: give one"),
        ];
        for (mutate, text) in broken {
            let mut request = bootstrap_request();
            mutate(&mut request);
            assert_eq!(bootstrap(request).unwrap_err().to_string(), text);
        }
        let request = wire::JoinRequest { self_: None, ..wire::JoinRequest::default() };
        assert_eq!(join(request).unwrap_err().to_string(), "self: is missing: give the receiver's ID, name and URLs");
    }

    #[test]
    fn a_change_keeps_voters_learners_and_members_apart() {
        let request = wire::ChangeMembershipRequest {
            expected_index: 7,
            voters: vec!["a1".to_owned()],
            learners: vec!["b2".to_owned()],
            members: vec![info("a1"), info("b2")],
        };
        let change = change(request).unwrap();
        assert_eq!(change.expected, Index(7));
        assert_eq!(change.voters, [MemberId(0xa1)].into());
        assert_eq!(change.learners, [MemberId(0xb2)].into());
        assert_eq!(change.members.len(), 2);
    }
}
