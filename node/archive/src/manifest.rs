//! What a backup is: one small object, written last and once, that names and sums up the large one. Owns its form and the
//! checks of a manifest against itself; documented in `node/docs/archive_layout.md`.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::ClusterId;

use crate::error::ArchiveError;

/// Version of the manifest's form and of what it names.
const FORMAT_VERSION: u32 = 1;
/// Payload bytes under one checksum; also what one request of a restore asks for.
pub(super) const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// A manifest larger than this is not read, bytes: enough for the chunks of an image of some TiB.
pub(super) const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A backup's manifest. Field order is part of the form: the checksum is over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    pub(super) kind: Kind,
    /// 32 hexadecimal digits.
    pub(super) cluster_id: String,
    pub(super) name: String,
    /// Name of the image, relative to the cluster's folder.
    pub(super) object: String,
    pub(super) size_bytes: u64,
    /// Of the image, 64 hexadecimal digits.
    pub(super) sha256: String,
    pub(super) chunk_bytes: u64,
    /// Of each chunk of the image, 8 hexadecimal digits; the last chunk may be shorter.
    pub(super) chunk_crc32c: Vec<String>,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    /// Of the keyspace at the revision, as etcd computes it, 8 hexadecimal digits.
    pub(super) keyspace_hash: String,
    /// Stamp of the newest command in it, milliseconds since the Unix epoch.
    pub(super) time_ms: u64,
    /// When the backup was made, by the member's clock, milliseconds since the Unix epoch.
    pub(super) created_ms: u64,
    /// Who made it: a member's ID in hexadecimal.
    pub(super) member_id: String,
    /// The member's version.
    pub(super) version: String,
    /// SHA-256 of this document as compact JSON with an empty checksum, 64 hexadecimal digits.
    pub(super) checksum: String,
}

/// What a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Everything at one revision.
    Full,
}

/// Just enough to tell whether the rest can be understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    format_version: u32,
}

/// SHA-256 in hexadecimal.
pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Manifest {
    pub(super) const VERSION: u32 = FORMAT_VERSION;

    fn sum(&self) -> Result<String, ArchiveError> {
        let unsummed = Self { checksum: String::new(), ..self.clone() };
        let bytes = serde_json::to_vec(&unsummed).map_err(ArchiveError::member)?;
        Ok(hex(&Sha256::digest(&bytes)))
    }

    /// As it lies in the bucket, checksum included.
    pub(super) fn encode(mut self) -> Result<Vec<u8>, ArchiveError> {
        self.checksum = self.sum()?;
        let mut bytes = serde_json::to_vec_pretty(&self).map_err(ArchiveError::member)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest and checks it against itself.
    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, ArchiveError> {
        let version: Version = serde_json::from_slice(bytes)
            .map_err(|reason| ArchiveError::corrupt(key, format!("no manifest: {reason}")))?;
        if version.format_version != FORMAT_VERSION {
            let found = version.format_version;
            return Err(ArchiveError::corrupt(
                key,
                format!(
                    "format version {found} is not known to this version of raft-node, which reads {FORMAT_VERSION}"
                ),
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|reason| ArchiveError::corrupt(key, format!("no manifest: {reason}")))?;
        if manifest.sum()? != manifest.checksum {
            return Err(ArchiveError::corrupt(key, "the manifest does not match its own checksum"));
        }
        let chunks = manifest.size_bytes.div_ceil(manifest.chunk_bytes.max(1));
        if manifest.chunk_bytes == 0 || manifest.chunk_crc32c.len() as u64 != chunks {
            return Err(ArchiveError::corrupt(key, "its chunks do not make up its size"));
        }
        Ok(manifest)
    }

    /// Refuses a manifest of another cluster.
    pub(super) fn require_cluster(&self, key: &str, asked: ClusterId) -> Result<(), ArchiveError> {
        if self.cluster_id == asked.to_string() {
            return Ok(());
        }
        Err(ArchiveError::BackupForeign { key: key.to_owned(), found: self.cluster_id.clone(), asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            kind: Kind::Full,
            cluster_id: "ab".repeat(16),
            name: "monday".into(),
            object: "base/1-2-3.snap".into(),
            size_bytes: CHUNK_BYTES + 1,
            sha256: "00".repeat(32),
            chunk_bytes: CHUNK_BYTES,
            chunk_crc32c: vec!["00000001".into(), "00000002".into()],
            index: 7,
            term: 2,
            revision: 5,
            compact_revision: -1,
            keyspace_hash: "deadbeef".into(),
            time_ms: 1,
            created_ms: 2,
            member_id: "a".into(),
            version: "0.1.0".into(),
            checksum: String::new(),
        }
    }

    #[test]
    fn a_manifest_comes_back() {
        let bytes = manifest().encode().expect("it has a form");
        let read = Manifest::decode("k", &bytes).expect("what was written");
        assert_eq!(Manifest { checksum: String::new(), ..read }, manifest());
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed_or_changes_nothing() {
        let bytes = manifest().encode().expect("it has a form");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            if let Ok(read) = Manifest::decode("k", &damaged) {
                assert_eq!(Manifest { checksum: String::new(), ..read }, manifest(), "byte {at}: white space only");
            }
        }
    }

    #[test]
    fn a_manifest_from_the_future_says_so() {
        let text = r#"{"formatVersion": 2, "other": true}"#;
        let error = Manifest::decode("k", text.as_bytes()).expect_err("unknown");
        assert!(error.to_string().contains("format version 2"), "{error}");
        assert_eq!(error.cause(), "BackupCorrupt");
    }

    #[test]
    fn another_clusters_manifest_is_foreign() {
        let asked = ClusterId([1; 16]);
        assert_eq!(manifest().require_cluster("k", asked).expect_err("foreign").cause(), "BackupForeign");
        assert!(manifest().require_cluster("k", ClusterId([0xAB; 16])).is_ok());
    }
}
