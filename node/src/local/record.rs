//! The identity of a local cluster, in its directory. Owns one small file, written before any member hears of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use storage::ClusterId;

use crate::local::{LocalError, system};
use crate::random;

/// The file's name.
const FILE: &str = "record";

/// Cluster and token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) cluster: ClusterId,
    /// Hexadecimal digits.
    pub(super) token: String,
}

impl Record {
    /// The directory's record; a new one if it has none.
    pub(super) fn open(dir: &Path) -> Result<Self, LocalError> {
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(LocalError::Record { path }),
            Err(reason) if reason.kind() == ErrorKind::NotFound => Self::make(dir),
            Err(reason) => Err(system(format!("read {}", path.display()))(reason)),
        }
    }

    fn make(dir: &Path) -> Result<Self, LocalError> {
        let high = u128::from(random::number()) << 64;
        let cluster = ClusterId((high | u128::from(random::number())).to_be_bytes());
        let record = Self { cluster, token: format!("{:016x}{:016x}", random::number(), random::number()) };
        let (draft, path) = (dir.join("record.tmp"), dir.join(FILE));
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let written = written.and_then(|mut file| {
            writeln!(file, "{} {}", record.cluster, record.token)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()
        });
        written.map_err(system(format!("write {}", path.display())))?;
        Ok(record)
    }

    fn parse(text: &str) -> Option<Self> {
        let (cluster, token) = text.trim_end().split_once(' ')?;
        let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then_some(Self { cluster: ClusterId::parse(cluster)?, token: token.to_owned() })
    }
}
