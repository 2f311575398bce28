//! The file `identity`, which a write replaces whole or not at all. Owns the layout of the file. Does not own the
//! values (`identity.rs`).
//!
//! A bootstrap writes this file last. Therefore every file that the identity refers to is complete.
//!
//! ```text
//! offset size
//!      0    8  "RAFTNODE"
//!      8    4  crc32c of the rest of the file
//!     12    4  format version of the whole directory, 1
//!     16    8  member ID, never 0
//!     24    1  1: the member belongs to a cluster, whose identity follows
//!              the cluster's ID, 16 bytes
//!              SHA-256 of its token, 32 bytes
//!              own name, peer URL, client URL: each length u16 and UTF-8
//!              the first configuration, as in `codec`
//!           1  1: the member was removed, at the index that follows
//!           8  that index
//! ```

use std::io;
use std::path::Path;

use bytes::Bytes;
use raft::{Index, MemberId};

use crate::checksum;
use crate::codec::{DecodeError, EncodeError, Reader, put_configuration, put_member_info};
use crate::disk::{Disk, read_settled};
use crate::error::{Damage, DamageKind, Failure, Latch, Newer, OpenError, StorageError};
use crate::identity::{ClusterId, ClusterIdentity, Identity};
use crate::replace::replace;

const MAGIC: &[u8; 8] = b"RAFTNODE";
const CRC_END: usize = 12;
const VERSION_END: usize = 16;
const _: () = assert!(MAGIC.len() + 4 == CRC_END && CRC_END + 4 == VERSION_END, "the fields leave no gap");

/// Maximum length of the file in bytes.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Format version of the whole directory.
const FORMAT_VERSION: u32 = 1;

fn encode(identity: &Identity) -> Result<Vec<u8>, EncodeError> {
    let Identity { member, cluster, removed } = identity;
    assert_ne!(*member, MemberId(0), "a member ID is never 0: no start would read this identity");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&member.0.to_le_bytes());
    bytes.push(u8::from(cluster.is_some()));
    if let Some(ClusterIdentity { cluster_id, token_sha256, own, first_configuration }) = cluster {
        bytes.extend_from_slice(&cluster_id.0);
        bytes.extend_from_slice(token_sha256);
        put_member_info(&mut bytes, own)?;
        put_configuration(&mut bytes, first_configuration)?;
    }
    bytes.push(u8::from(removed.is_some()));
    if let Some(index) = removed {
        bytes.extend_from_slice(&index.0.to_le_bytes());
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(EncodeError::TooLarge("identity"));
    }
    let crc = checksum::of(&bytes[CRC_END..]);
    bytes[MAGIC.len()..CRC_END].copy_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(
        decode(Reader::new(Bytes::copy_from_slice(&bytes[VERSION_END..]))).as_ref(),
        Ok(identity),
        "an identity reads back as it was written"
    );
    Ok(bytes)
}

/// Decodes the fields that follow the version.
fn decode(mut reader: Reader) -> Result<Identity, DecodeError> {
    let member = MemberId(reader.u64()?);
    if member.0 == 0 {
        return Err(DecodeError::Malformed("member ID"));
    }
    let cluster = match reader.u8()? {
        0 => None,
        _ => Some(ClusterIdentity {
            cluster_id: ClusterId(reader.array()?),
            token_sha256: reader.array()?,
            own: reader.member_info()?,
            first_configuration: reader.configuration()?,
        }),
    };
    let removed = match reader.u8()? {
        0 => None,
        _ => Some(Index(reader.u64()?)),
    };
    reader.finish()?;
    Ok(Identity { member, cluster, removed })
}

/// Reads the identity of a directory. Returns `None` if the directory has no identity.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>, OpenError> {
    let bytes = match read_settled(disk, path, FILE_BYTES_MAX) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Failure::of("read", path))?,
    };
    let damaged =
        |kind| OpenError::Damaged { identity: None, damage: Damage { path: path.to_owned(), offset: 0, kind } };
    let rest = bytes.get(CRC_END..).ok_or_else(|| damaged(DamageKind::Checksum))?;
    if !bytes.starts_with(MAGIC) || bytes[MAGIC.len()..CRC_END] != checksum::of(rest).to_le_bytes() {
        return Err(damaged(DamageKind::Checksum));
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(rest));
    let found = reader.u32().map_err(|_| damaged(DamageKind::Checksum))?;
    if found != FORMAT_VERSION {
        return Err(Newer::at_start(path, "format version", found));
    }
    decode(reader).map(Some).map_err(|reason| damaged(DamageKind::undecodable("an identity", reason)))
}

/// Durably writes `identity` as the identity of a directory.
pub(crate) fn write(
    identity: &Identity,
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    latch: &Latch,
) -> Result<(), StorageError> {
    replace(disk, dir, name, &encode(identity)?, latch)
}
