//! Makes the cluster identity in an admin call the identity of this disk. Owns the checks of that identity. Does not
//! own the atomic write (`storage`).

use std::collections::BTreeSet;

use engine::error::AdoptError;
use engine::parameters::{BootstrapParameters, JoinParameters, Token};
use mvcc::FeatureLevel;
use raft::{Configuration, MemberId, MemberInfo};
use sha2::{Digest, Sha256};
use storage::{ClusterIdentity, LogOutline, Recovered, Start, Storage, StorageError};

use crate::config::is_url;

/// Checked cluster identity that names this member.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    cluster: ClusterIdentity,
}

impl Adoption {
    /// Checks the identity of a new cluster that has this member as one of its first voters.
    pub(super) fn of_bootstrap(member: MemberId, order: BootstrapParameters) -> Result<Self, AdoptError> {
        let BootstrapParameters { cluster, token, voters, name } = order;
        let own = voters.get(&member).ok_or(AdoptError::NotNamed { member })?.clone();
        if own.name != name {
            let reason =
                format!("member {member} is named {:?} among the voters, but {name:?} in the field name", own.name);
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
            cluster: ClusterIdentity { cluster_id: cluster, token_sha256: digest(&token), own, first_configuration },
        })
    }

    /// Checks the identity of a running cluster that will add this member, or of a cluster that starts from a backup.
    /// `supports` is the highest feature level that this program supports.
    pub(super) fn of_join(member: MemberId, supports: FeatureLevel, order: JoinParameters) -> Result<Self, AdoptError> {
        let JoinParameters { cluster, token, member: named, info, level } = order;
        if named != member {
            return Err(AdoptError::NotNamed { member });
        }
        if level > supports {
            return Err(AdoptError::TooOld { supports, level });
        }
        check_info(&info)?;
        check_token(&token)?;
        Ok(Self {
            cluster: ClusterIdentity {
                cluster_id: cluster,
                token_sha256: digest(&token),
                own: info,
                first_configuration: Configuration::default(),
            },
        })
    }

    /// Writes the identity to a blank disk.
    ///
    /// # Errors
    /// Returns why the identity was not written, and the storage, which is still blank.
    pub(super) fn write(
        self,
        mut storage: Storage,
        start: &Start,
    ) -> Result<Box<Recovered>, (AdoptError, Box<Storage>)> {
        match storage.bootstrap(self.cluster, start) {
            // `None` means that the volume already held this identity. That cannot happen here, because the volume is
            // blank.
            Ok(raft) => {
                let raft = raft.unwrap_or_default();
                let identity = storage.identity().clone();
                let snapshot = storage.snapshots().newest();
                let log = LogOutline { floor: raft.snapshot.last, ..LogOutline::default() };
                let (quarantined, given_up) = (Vec::new(), Vec::new());
                Ok(Box::new(Recovered { storage, identity, raft, log, snapshot, quarantined, given_up }))
            }
            Err(StorageError::AlreadyMember { cluster }) => {
                Err((AdoptError::AnotherIdentity { cluster: cluster.to_string() }, Box::new(storage)))
            }
            Err(reason) => Err((AdoptError::Disk { reason: reason.to_string() }, Box::new(storage))),
        }
    }

    /// Returns the identity.
    pub(super) fn cluster(&self) -> &ClusterIdentity {
        &self.cluster
    }

    /// Accepts an identity that equals the member's present one, so that the operator can repeat a call.
    ///
    /// # Errors
    /// Returns [`AdoptError::AnotherIdentity`] if the member has another identity.
    pub(super) fn compare(&self, adopted: &ClusterIdentity) -> Result<(), AdoptError> {
        if self.cluster == *adopted {
            return Ok(());
        }
        Err(AdoptError::AnotherIdentity { cluster: adopted.cluster_id.to_string() })
    }
}

fn check_info(info: &MemberInfo) -> Result<(), AdoptError> {
    let refuse = |reason| Err(AdoptError::Invalid { reason });
    if info.name.is_empty() {
        return refuse("a member has no name".to_owned());
    }
    if !is_url(&info.peer_url) {
        return refuse(format!(
            "{:?}, the peer URL of {}, is not a URL such as http://host:2380",
            info.peer_url, info.name
        ));
    }
    if !is_url(&info.client_url) {
        return refuse(format!(
            "{:?}, the client URL of {}, is not a URL such as http://host:2379",
            info.client_url, info.name
        ));
    }
    Ok(())
}

fn check_token(Token(token): &Token) -> Result<(), AdoptError> {
    if token.is_empty() {
        return Err(AdoptError::Invalid { reason: "the token is empty".to_owned() });
    }
    Ok(())
}

fn digest(Token(token): &Token) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
