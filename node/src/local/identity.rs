//! The identity of a local cluster. Owns one small file in the cluster's directory. The file is durable before any
//! member receives the identity, so that a start after a crash uses the same cluster ID and token.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use storage::ClusterId;

use crate::local::{LocalError, system};
use crate::random;

/// Name of the identity file in the cluster's directory.
const FILE: &str = "record";

/// Cluster ID and token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LocalIdentity {
    pub(super) cluster: ClusterId,
    /// Token of the cluster: 32 hexadecimal digits.
    pub(super) token: String,
}

impl LocalIdentity {
    /// Reads the identity in the directory, or writes a new one if there is none.
    pub(super) fn open(dir: &Path) -> Result<Self, LocalError> {
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(LocalError::Identity { path }),
            Err(reason) if reason.kind() == ErrorKind::NotFound => Self::create(dir),
            Err(reason) => Err(system(format!("read {}", path.display()))(reason)),
        }
    }

    fn create(dir: &Path) -> Result<Self, LocalError> {
        let high = u128::from(random::number()) << 64;
        let cluster = ClusterId((high | u128::from(random::number())).to_be_bytes());
        let identity = Self { cluster, token: format!("{:016x}{:016x}", random::number(), random::number()) };
        let (draft, path) = (dir.join("record.tmp"), dir.join(FILE));
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let written = written.and_then(|mut file| {
            writeln!(file, "{} {}", identity.cluster, identity.token)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()
        });
        written.map_err(system(format!("write {}", path.display())))?;
        Ok(identity)
    }

    fn parse(text: &str) -> Option<Self> {
        let (cluster, token) = text.trim_end().split_once(' ')?;
        let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then_some(Self { cluster: ClusterId::parse(cluster)?, token: token.to_owned() })
    }
}
