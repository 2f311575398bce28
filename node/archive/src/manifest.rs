//! The manifest of a backup: a small object, written once, after the image, with the name and the checksums of the
//! image. Owns the manifest's format, which `node/docs/archive_layout.md` documents, and its checks. Does not own its
//! transfer (`backup.rs`, `download.rs`).

use mvcc::FeatureLevel;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::ClusterId;

use crate::error::ArchiveError;

/// Version of the format of the manifest and of the image.
const FORMAT_VERSION: u32 = 1;
/// Bytes of a chunk, the part of the image that one checksum covers. A restore requests the image chunk by chunk.
pub(super) const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Largest chunk in bytes that a restore accepts. It holds some chunks in memory.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Maximum size in bytes of a manifest that a restore accepts. It is enough for an image of several TiB.
pub(super) const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Manifest of a backup. The order of fields is part of the format, because the checksum covers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    pub(super) kind: Kind,
    /// ID of the cluster, 32 hexadecimal digits.
    pub(super) cluster_id: String,
    pub(super) name: String,
    /// Name of the image, relative to the cluster's folder.
    pub(super) object: String,
    pub(super) size_bytes: u64,
    /// SHA-256 of the image, 64 hexadecimal digits.
    pub(super) sha256: String,
    pub(super) chunk_bytes: u64,
    /// CRC-32C of each chunk of the image, 8 hexadecimal digits each. The last chunk may be shorter than the others.
    pub(super) chunk_crc32c: Vec<String>,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) revision: i64,
    pub(super) compact_revision: i64,
    /// Hash of the keyspace at the backup's revision, computed as by etcd, 8 hexadecimal digits.
    pub(super) keyspace_hash: String,
    /// Time stamp of the newest command in the image, in milliseconds since the Unix epoch.
    pub(super) time_ms: u64,
    /// Time of the backup according to the member's clock, in milliseconds since the Unix epoch.
    pub(super) created_ms: u64,
    /// ID of the member that wrote the backup, in hexadecimal.
    pub(super) member_id: String,
    /// Version of the program of the member that wrote the backup.
    pub(super) version: String,
    /// Feature level of the cluster at the backup, if it is above the first: a program of the first level refuses a manifest
    /// with this field, and can read no image of a higher level anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) feature_level: Option<u32>,
    /// SHA-256 of this manifest, encoded as compact JSON with an empty `checksum`; 64 hexadecimal digits.
    pub(super) checksum: String,
}

/// Kind of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// The whole store at one revision.
    Full,
}

/// The fields of a manifest that show whether this program can read the other fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    format_version: u32,
    feature_level: Option<u32>,
}

/// Returns the bytes in hexadecimal.
pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Manifest {
    pub(super) const VERSION: u32 = FORMAT_VERSION;

    fn compute_checksum(&self) -> Result<String, ArchiveError> {
        let without_checksum = Self { checksum: String::new(), ..self.clone() };
        let bytes = serde_json::to_vec(&without_checksum).map_err(ArchiveError::member)?;
        Ok(hex(&Sha256::digest(&bytes)))
    }

    /// Encodes the manifest with its checksum.
    pub(super) fn encode(mut self) -> Result<Vec<u8>, ArchiveError> {
        self.checksum = self.compute_checksum()?;
        let mut bytes = serde_json::to_vec_pretty(&self).map_err(ArchiveError::member)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Decodes a manifest and verifies its checksum. `supports` is the highest feature level of which this program can read a
    /// backup.
    ///
    /// # Errors
    /// Returns [`ArchiveError::BackupCorrupt`] if the manifest is damaged, or has an unknown version, and
    /// [`ArchiveError::BackupTooNew`] if it is of a higher level.
    pub(super) fn decode(key: &str, bytes: &[u8], supports: FeatureLevel) -> Result<Self, ArchiveError> {
        let version: Version = serde_json::from_slice(bytes)
            .map_err(|reason| ArchiveError::corrupt(key, format!("it is not a manifest: {reason}")))?;
        if version.format_version != FORMAT_VERSION {
            let found = version.format_version;
            return Err(ArchiveError::corrupt(
                key,
                format!(
                    "format version {found} is unknown to this version of raft-node, which reads version {FORMAT_VERSION}"
                ),
            ));
        }
        // A higher level may add fields, so the level comes first.
        if let Some(level) = version.feature_level.map(FeatureLevel).filter(|level| *level > supports) {
            return Err(ArchiveError::BackupTooNew { key: key.to_owned(), level, supports });
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|reason| ArchiveError::corrupt(key, format!("it is not a manifest: {reason}")))?;
        if manifest.compute_checksum()? != manifest.checksum {
            return Err(ArchiveError::corrupt(key, "the manifest does not match its own checksum"));
        }
        if manifest.chunk_bytes > CHUNK_BYTES_MAX {
            return Err(ArchiveError::corrupt(key, format!("its chunks are larger than {CHUNK_BYTES_MAX} bytes")));
        }
        let chunks = manifest.size_bytes.div_ceil(manifest.chunk_bytes.max(1));
        if manifest.chunk_bytes == 0 || manifest.chunk_crc32c.len() as u64 != chunks {
            return Err(ArchiveError::corrupt(key, "the number of its chunks contradicts its size"));
        }
        Ok(manifest)
    }

    /// Checks that the manifest belongs to the expected cluster.
    ///
    /// # Errors
    /// Returns [`ArchiveError::BackupForeign`] if the manifest belongs to another cluster.
    pub(super) fn require_cluster(&self, key: &str, expected: ClusterId) -> Result<(), ArchiveError> {
        if self.cluster_id == expected.to_string() {
            return Ok(());
        }
        Err(ArchiveError::BackupForeign { key: key.to_owned(), found: self.cluster_id.clone(), expected })
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
            feature_level: None,
            checksum: String::new(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Manifest, ArchiveError> {
        Manifest::decode("k", bytes, FeatureLevel(2))
    }

    /// A program of the first level refuses unknown fields.
    #[test]
    fn the_level_is_written_only_above_the_first() {
        let text = |feature_level| {
            let bytes = Manifest { feature_level, ..manifest() }.encode().expect("a manifest can be encoded");
            String::from_utf8(bytes).expect("JSON")
        };
        assert!(!text(None).contains("featureLevel"), "{}", text(None));
        assert_eq!(decode(text(Some(2)).as_bytes()).expect("it is supported").feature_level, Some(2));
    }

    #[test]
    fn a_backup_of_a_higher_level_is_refused_by_name_whatever_else_it_holds() {
        let text = r#"{"formatVersion": 1, "featureLevel": 3, "other": true}"#;
        let error = decode(text.as_bytes()).expect_err("it is too new");
        let expected = "k is a backup at feature level 3, this program supports 2: restore it with a newer version";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_manifest_decodes_to_what_was_encoded() {
        let bytes = manifest().encode().expect("a manifest can be encoded");
        let read = decode(&bytes).expect("what was written");
        assert_eq!(Manifest { checksum: String::new(), ..read }, manifest());
    }

    #[test]
    fn chunks_that_memory_might_not_hold_are_refused() {
        let huge = |chunk_bytes| Manifest { size_bytes: 2 * chunk_bytes, chunk_bytes, ..manifest() }.encode();
        let read = |chunk_bytes| decode(&huge(chunk_bytes).expect("it can be encoded"));
        assert!(read(CHUNK_BYTES_MAX).is_ok());
        let refusal = read(CHUNK_BYTES_MAX + 1).unwrap_err().to_string();
        assert!(refusal.contains("larger than 67108864 bytes"), "{refusal}");
    }

    #[test]
    fn any_changed_byte_is_detected_or_changes_nothing() {
        let bytes = manifest().encode().expect("a manifest can be encoded");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            if let Ok(read) = decode(&damaged) {
                assert_eq!(Manifest { checksum: String::new(), ..read }, manifest(), "byte {at}: white space only");
            }
        }
    }

    #[test]
    fn the_error_of_an_unknown_format_names_the_version() {
        let text = r#"{"formatVersion": 2, "other": true}"#;
        let error = decode(text.as_bytes()).expect_err("unknown");
        assert!(error.to_string().contains("format version 2"), "{error}");
        assert_eq!(error.cause(), "BackupCorrupt");
    }

    #[test]
    fn another_clusters_manifest_is_foreign() {
        let expected = ClusterId([1; 16]);
        assert_eq!(manifest().require_cluster("k", expected).expect_err("foreign").cause(), "BackupForeign");
        assert!(manifest().require_cluster("k", ClusterId([0xAB; 16])).is_ok());
    }
}
