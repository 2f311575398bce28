//! Term and vote on disk, in two slots with checksums, so that neither a torn write nor damage to one slot loses a
//! vote. Owns the file of term and vote, and the rule that the term never decreases and the vote of a term never
//! changes.
//!
//! A write changes one slot and syncs it, then writes the same bytes to the other slot without a sync. The next write starts with
//! the unsynced slot, so the synced slot is whole until the next write is synced.
//!
//! ```text
//! offset size  a slot; the first stands at 0, the second at 4096
//!      0    4  crc32c of bytes 4..512
//!      4    4  "HARD"
//!      8    4  format version, 1
//!     12    4  0
//!     16    8  sequence: the larger one is newer
//!     24    8  ID of the member that voted
//!     32    8  term
//!     40    8  vote: member ID, 0 for none
//!     48  464  0
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft::{HardState, MemberId};

use crate::checksum;
use crate::codec::{DecodeError, Reader, put_hard_state};
use crate::disk::{Disk, DiskFile, SECTOR, read_settled};
use crate::error::{Damage, DamageKind, Failure, Latch, Newer, OpenError, StorageError};
use crate::replace::replace;

const MAGIC: &[u8; 4] = b"HARD";
const VERSION: u32 = 1;
const CRC: Range<usize> = 0..4;
const FIELDS_END: usize = 48;
const SLOT_SIZE: usize = SECTOR;
const SLOT_OFFSETS: [usize; 2] = [0, 4096];
const FILE_SIZE: usize = SLOT_OFFSETS[1] + SLOT_SIZE;
const _: () = assert!(CRC.end + MAGIC.len() + 2 * 4 + 4 * 8 == FIELDS_END, "the fields leave no gap");
const _: () = assert!(FIELDS_END <= SLOT_SIZE, "a slot is one sector, so a torn write damages one slot");
const _: () = assert!(SLOT_OFFSETS[0] + SLOT_SIZE <= SLOT_OFFSETS[1], "slots do not overlap");
const _: () = assert!(SLOT_OFFSETS[1].is_multiple_of(SECTOR), "slots share no sector");

/// Term and vote of one member, on disk.
#[derive(Debug)]
pub(crate) struct HardStateFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    member: MemberId,
    latch: Latch,
    state: HardState,
    sequence: u64,
    /// Number of the slot with which the next write starts.
    next_slot: usize,
}

impl HardStateFile {
    /// Creates the file and makes it durable. Replaces a file that an unfinished bootstrap left.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        name: &str,
        member: MemberId,
        state: HardState,
        latch: Latch,
    ) -> Result<Self, StorageError> {
        let path = dir.join(name);
        let sequence = 1;
        let slot = encode(member, sequence, state);
        let mut bytes = vec![0; FILE_SIZE];
        for offset in SLOT_OFFSETS {
            bytes[offset..offset + SLOT_SIZE].copy_from_slice(&slot);
        }
        replace(disk, dir, name, &bytes, &latch)?;
        let file = latch.guard("open", &path, disk.open(&path))?;
        Ok(Self { file, path, member, latch, state, sequence, next_slot: 0 })
    }

    /// Reads term and vote from the file, and repairs a slot that is damaged or older than the other slot.
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf, member: MemberId, latch: Latch) -> Result<Self, OpenError> {
        let damaged =
            |kind| OpenError::Damaged { identity: None, damage: Damage { path: path.clone(), offset: 0, kind } };
        let bytes = match read_settled(disk, &path, FILE_SIZE) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(damaged(DamageKind::Missing)),
            other => other.map_err(Failure::of("read", &path))?,
        };
        let slots = SLOT_OFFSETS.map(|offset| bytes.get(offset..offset + SLOT_SIZE).and_then(|slot| decode(slot).ok()));
        let newest = slots.iter().flatten().max_by_key(|slot| slot.sequence).ok_or(damaged(DamageKind::Checksum))?;
        if newest.version != VERSION {
            return Err(Newer::at_start(&path, "format version", newest.version));
        }
        if newest.member != member {
            return Err(damaged(DamageKind::Foreign));
        }
        let file = disk.open(&path).map_err(Failure::of("open", &path))?;
        let (state, sequence) = (newest.state, newest.sequence);
        let stale = slots.iter().position(|slot| slot.as_ref() != Some(newest));
        if let Some(stale) = stale {
            // The good slot may have been read from a cache. It must be durable before the other slot is overwritten.
            file.sync().map_err(Failure::of("sync", &path))?;
            let slot = encode(member, sequence, state);
            file.write_at(SLOT_OFFSETS[stale] as u64, &slot).map_err(Failure::of("write", &path))?;
        }
        file.sync().map_err(Failure::of("sync", &path))?;
        Ok(Self { file, path, member, latch, state, sequence, next_slot: 0 })
    }

    /// Term and vote that were last made durable.
    pub(crate) fn state(&self) -> HardState {
        self.state
    }

    /// Makes term and vote durable. Writes nothing if they did not change.
    pub(crate) fn write(&mut self, state: HardState) -> Result<(), StorageError> {
        self.latch.check()?;
        if state == self.state {
            return Ok(());
        }
        hard_state_never_goes_back(self.state, state);
        let slot = encode(self.member, self.sequence + 1, state);
        let (first, second) = (self.next_slot, 1 - self.next_slot);
        self.latch.guard("write", &self.path, self.file.write_at(SLOT_OFFSETS[first] as u64, &slot))?;
        self.latch.guard("sync", &self.path, self.file.sync())?;
        self.latch.guard("write", &self.path, self.file.write_at(SLOT_OFFSETS[second] as u64, &slot))?;
        self.state = state;
        self.sequence += 1;
        self.next_slot = second;
        Ok(())
    }
}

/// Asserts that the term never decreases and that the vote of a term never changes. Otherwise a member could vote twice in one
/// term.
fn hard_state_never_goes_back(old: HardState, new: HardState) {
    assert!(new.term >= old.term, "the term goes back from {} to {}", old.term.0, new.term.0);
    assert!(
        new.term > old.term || old.vote.is_none() || new.vote == old.vote,
        "the vote of term {} changes from {:?} to {:?}",
        old.term.0,
        old.vote,
        new.vote
    );
}

#[derive(Debug, PartialEq, Eq)]
struct Slot {
    version: u32,
    sequence: u64,
    member: MemberId,
    state: HardState,
}

fn encode(member: MemberId, sequence: u64, state: HardState) -> [u8; SLOT_SIZE] {
    debug_assert_ne!(sequence, 0, "a slot of zeros is older than every written one");
    let mut fields = Vec::with_capacity(FIELDS_END);
    fields.extend_from_slice(&[0; CRC.end]);
    fields.extend_from_slice(MAGIC);
    fields.extend_from_slice(&VERSION.to_le_bytes());
    fields.extend_from_slice(&[0; 4]);
    fields.extend_from_slice(&sequence.to_le_bytes());
    fields.extend_from_slice(&member.0.to_le_bytes());
    put_hard_state(&mut fields, state);
    let mut slot = [0; SLOT_SIZE];
    slot[..FIELDS_END].copy_from_slice(&fields);
    let crc = checksum::of(&slot[CRC.end..]);
    slot[CRC].copy_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(
        decode(&slot),
        Ok(Slot { version: VERSION, sequence, member, state }),
        "a slot reads back as it was written"
    );
    slot
}

fn decode(slot: &[u8]) -> Result<Slot, DecodeError> {
    let mut reader = Reader::new(Bytes::copy_from_slice(slot));
    let crc = reader.u32()?;
    if crc != checksum::of(&slot[CRC.end..]) || reader.array()? != *MAGIC {
        return Err(DecodeError::Malformed("slot"));
    }
    let version = reader.u32()?;
    reader.u32()?;
    Ok(Slot { version, sequence: reader.u64()?, member: MemberId(reader.u64()?), state: reader.hard_state()? })
}
