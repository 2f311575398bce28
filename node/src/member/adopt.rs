//! A record from a door, made this disk's identity. Owns the checks; writing it whole or not at all is `storage`'s.

use std::collections::BTreeSet;

use engine::error::AdoptError;
use engine::record::{BootstrapRecord, JoinRecord};
use raft::{Configuration, MemberId, MemberInfo};
use sha2::{Digest, Sha256};
use storage::{ClusterIdentity, Recovered, Start, Storage, StorageError};

use crate::config::is_url;

/// A record that names this member and makes sense.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    record: ClusterIdentity,
}

impl Adoption {
    /// One of the first voters.
    pub(super) fn of_bootstrap(member: MemberId, record: BootstrapRecord) -> Result<Self, AdoptError> {
        let BootstrapRecord { cluster, token, voters, name } = record;
        let own = voters.get(&member).ok_or(AdoptError::NotNamed { member })?.clone();
        if own.name != name {
            let reason = format!("it calls member {member} {:?} among the voters, but {name:?} on its own", own.name);
            return Err(AdoptError::Invalid { reason });
        }
        let names: BTreeSet<&str> = voters.values().map(|info| info.name.as_str()).collect();
        if names.len() != voters.len() {
            return Err(AdoptError::Invalid { reason: "two voters have the same name".to_owned() });
        }
        voters.values().try_for_each(check_info)?;
        check_token(&token)?;
        let first_configuration =
            Configuration { voters: voters.keys().copied().collect(), members: voters, ..Configuration::default() };
        Ok(Self {
            record: ClusterIdentity { cluster_id: cluster, token_sha256: digest(&token), own, first_configuration },
        })
    }

    /// To be added to a running cluster, or to be the first of one that starts from a backup.
    pub(super) fn of_join(member: MemberId, record: JoinRecord) -> Result<Self, AdoptError> {
        let JoinRecord { cluster, token, member: named, info } = record;
        if named != member {
            return Err(AdoptError::NotNamed { member });
        }
        check_info(&info)?;
        check_token(&token)?;
        Ok(Self {
            record: ClusterIdentity {
                cluster_id: cluster,
                token_sha256: digest(&token),
                own: info,
                first_configuration: Configuration::default(),
            },
        })
    }

    /// Makes a blank disk's identity of it.
    pub(super) fn write(
        self,
        mut storage: Storage,
        start: &Start,
    ) -> Result<Box<Recovered>, (AdoptError, Box<Storage>)> {
        match storage.bootstrap(self.record, start) {
            // `None`: the volume held this record already, which a blank one never does.
            Ok(raft) => {
                let raft = raft.unwrap_or_default();
                let identity = storage.identity().clone();
                let snapshot = storage.snapshots().newest();
                Ok(Box::new(Recovered { storage, identity, raft, snapshot, quarantined: Vec::new() }))
            }
            Err(StorageError::AlreadyMember { cluster }) => {
                Err((AdoptError::AnotherRecord { cluster: cluster.to_string() }, Box::new(storage)))
            }
            Err(reason) => Err((AdoptError::Disk { reason: reason.to_string() }, Box::new(storage))),
        }
    }

    /// What it would write.
    pub(super) fn record(&self) -> &ClusterIdentity {
        &self.record
    }

    /// The same record again is fine.
    pub(super) fn compare(&self, taken: &ClusterIdentity) -> Result<(), AdoptError> {
        if self.record == *taken {
            return Ok(());
        }
        Err(AdoptError::AnotherRecord { cluster: taken.cluster_id.to_string() })
    }
}

fn check_info(info: &MemberInfo) -> Result<(), AdoptError> {
    let refuse = |reason| Err(AdoptError::Invalid { reason });
    if info.name.is_empty() {
        return refuse("a member has no name".to_owned());
    }
    if !is_url(&info.peer_url) {
        return refuse(format!(
            "{:?}, the peer URL of {}, is no address such as http://host:2380",
            info.peer_url, info.name
        ));
    }
    if !is_url(&info.client_url) {
        return refuse(format!(
            "{:?}, the client URL of {}, is no address such as http://host:2379",
            info.client_url, info.name
        ));
    }
    Ok(())
}

fn check_token(token: &str) -> Result<(), AdoptError> {
    if token.is_empty() {
        return Err(AdoptError::Invalid { reason: "the token is empty".to_owned() });
    }
    Ok(())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
