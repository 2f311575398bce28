//! Who this volume is: member, cluster, tombstone. Owns that file, written whole or not at all; it is the last thing
//! written when a member is made, so what it says is complete.
//!
//! ```text
//! offset size
//!      0    8  "RAFTNODE"
//!      8    4  crc32c of the rest of the file
//!     12    4  format version of the whole directory, 1
//!     16    8  member ID, never 0
//!     24    1  1: a cluster record follows
//!              the cluster's ID, 16 bytes
//!              SHA-256 of its token, 32 bytes
//!              own name, peer URL, client URL: each length u16 and UTF-8
//!              the first configuration, as in `codec`
//!           1  1: removed; the index follows
//!           8  where it was removed
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use bytes::Bytes;
use raft::{Configuration, Index, MemberId, MemberInfo};

use crate::checksum;
use crate::codec::{DecodeError, EncodeError, Reader, put_configuration, put_member_info};
use crate::disk::Disk;
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};
use crate::replace::replace;

const MAGIC: &[u8; 8] = b"RAFTNODE";
const CRC_END: usize = 12;

/// Format version of a directory.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// A cluster, for ever: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Reads 32 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// The first 64 bits, as a number: what etcd's response header carries.
    #[must_use]
    pub fn short(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> 64) as u64
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Which cluster a member belongs to, and what it was told at its start. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRecord {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// SHA-256 of the token that the operator shows; the token itself is not kept.
    pub token_sha256: [u8; 32],
    /// How this member is known and reached.
    pub own: MemberInfo,
    /// The configuration before any that the log holds; empty for a member that is to be added to a running cluster.
    pub first_configuration: Configuration,
}

/// What a volume says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member, as long as the volume lives.
    pub member: MemberId,
    /// Its cluster; none while it is blank.
    pub cluster: Option<ClusterRecord>,
    /// Where a committed configuration removed it: it must never take part again.
    pub removed: Option<Index>,
}

impl Identity {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let Self { member, cluster, removed } = self;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&member.0.to_le_bytes());
        bytes.push(u8::from(cluster.is_some()));
        if let Some(ClusterRecord { cluster_id, token_sha256, own, first_configuration }) = cluster {
            bytes.extend_from_slice(&cluster_id.0);
            bytes.extend_from_slice(token_sha256);
            put_member_info(&mut bytes, own)?;
            put_configuration(&mut bytes, first_configuration)?;
        }
        bytes.push(u8::from(removed.is_some()));
        if let Some(index) = removed {
            bytes.extend_from_slice(&index.0.to_le_bytes());
        }
        let crc = checksum::of(&bytes[CRC_END..]);
        bytes[MAGIC.len()..CRC_END].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the file's fields behind the version.
    fn decode(mut reader: Reader) -> Result<Self, DecodeError> {
        let member = MemberId(reader.u64()?);
        if member.0 == 0 {
            return Err(DecodeError::Malformed("member ID"));
        }
        let cluster = match reader.u8()? {
            0 => None,
            _ => Some(ClusterRecord {
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
        Ok(Self { member, cluster, removed })
    }

    /// Reads the identity of a directory; `None` if it has none.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, OpenError> {
        let bytes = match disk.read_settled(path) {
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
            return Err(OpenError::TooNew { path: path.to_owned(), found, supported: FORMAT_VERSION });
        }
        Self::decode(reader).map(Some).map_err(|_| damaged(DamageKind::Contents("an identity")))
    }

    /// Makes it the identity of a directory, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path, name: &str, latch: &Latch) -> Result<(), StorageError> {
        replace(disk, dir, name, &self.encode()?, latch)
    }
}
