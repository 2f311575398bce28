//! Owns the store that is filled from an image, and the checks that all formats share. Does not own the layout of a
//! format (`full`, `sections`).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::ReadError;
use super::summary::{ImageSummary, LoadedImage};
use crate::apply::Store;
use crate::command::{Alarm, AlarmKind};
use crate::hash;
use crate::key_value::Fields;
use crate::keyspace::Keyspace;
use crate::revision::{FullRevision, Revision};

/// Reason why a chunk is refused although its checksum matches.
pub(super) enum Wrong {
    Version(u16),
    Section(u8),
    Base(Revision),
    Content(&'static str),
}

/// The rest of an image after its header, in one format.
pub(super) trait Layout {
    /// Takes one chunk.
    fn take(&mut self, loading: &mut Loading, kind: u8, payload: &mut Payload<'_>) -> Result<(), Wrong>;

    /// Kind of the last chunk.
    fn end(&self) -> u8;
}

/// A store that is being filled from an image.
pub(super) struct Loading {
    pub(super) space: Keyspace,
    applied_index: u64,
    newest: FullRevision,
    version_count: u64,
    version_bytes: u64,
    claimed_hash: u32,
    scratch: Vec<u8>,
}

impl Loading {
    /// Reads the fields with which the header of every format begins, after the version.
    pub(super) fn begin(payload: &mut Payload<'_>) -> Result<Loading, Wrong> {
        let applied_index = u64::from_le_bytes(payload.array()?);
        let mut space = Keyspace::new();
        space.revision = Revision(i64::from_le_bytes(payload.array()?));
        space.compacted = Revision(i64::from_le_bytes(payload.array()?));
        space.time_ms = u64::from_le_bytes(payload.array()?);
        if !are_revisions_sound(&space) {
            return Err(Wrong::Content("its revisions contradict each other"));
        }
        Ok(Loading {
            space,
            applied_index,
            newest: FullRevision { main: Revision(0), sub: 0 },
            version_count: 0,
            version_bytes: 0,
            claimed_hash: 0,
            scratch: Vec::new(),
        })
    }

    pub(super) fn read_alarms(&mut self, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        let alarm_count = u32::from_le_bytes(payload.array()?);
        let mut alarms = BTreeSet::new();
        for _ in 0..alarm_count {
            let [code] = payload.array()?;
            let kind = AlarmKind::from_code(code).ok_or(Wrong::Content("an alarm's kind is unknown"))?;
            alarms.insert(Alarm { kind, member: u64::from_le_bytes(payload.array()?) });
        }
        self.space.alarms = Arc::new(alarms);
        Ok(())
    }

    /// Adds the next version. A tombstone has only a key.
    pub(super) fn add(&mut self, revision: FullRevision, is_tombstone: bool, encoded: &[u8]) -> Result<(), Wrong> {
        if revision <= self.newest || revision.main > self.space.revision {
            return Err(Wrong::Content("a revision is out of order"));
        }
        let fields = Fields::parse(encoded).ok_or(Wrong::Content("a version does not parse"))?;
        check_version(&fields, revision, is_tombstone)?;
        self.space.restore(&mut self.scratch, revision, &fields);
        self.newest = revision;
        self.version_count += 1;
        self.version_bytes += encoded.len() as u64;
        Ok(())
    }

    /// Reads the fields with which the end of every format begins.
    pub(super) fn read_totals(&mut self, payload: &mut Payload<'_>) -> Result<(), Wrong> {
        let version_count = u64::from_le_bytes(payload.array()?);
        let version_bytes = u64::from_le_bytes(payload.array()?);
        self.claimed_hash = u32::from_le_bytes(payload.array()?);
        if (version_count, version_bytes) != (self.version_count, self.version_bytes) {
            return Err(Wrong::Content("versions are missing"));
        }
        Ok(())
    }

    pub(super) fn finish(self, image_bytes: u64) -> Result<LoadedImage, ReadError> {
        let found = hash::of_all(&self.space);
        if found != self.claimed_hash {
            return Err(ReadError::WrongHash { claimed: self.claimed_hash, found });
        }
        debug_assert_eq!(
            self.space.history.len() as u64,
            self.version_count,
            "a store holds every version of its image"
        );
        let summary = ImageSummary {
            applied_index: self.applied_index,
            revision: self.space.revision,
            compact_revision: self.space.compacted,
            time_ms: self.space.time_ms,
            version_count: self.version_count,
            hash: found,
            image_bytes,
        };
        Ok(LoadedImage { store: Store::holding(self.space), summary })
    }
}

/// Returns whether the revision and the compaction mark are valid. Both the writer and the reader check them.
pub(super) fn are_revisions_sound(space: &Keyspace) -> bool {
    (Revision::FIRST..=Revision::MAX).contains(&space.revision)
        && (Revision::NEVER..=space.revision).contains(&space.compacted)
}

pub(super) fn check_version(fields: &Fields<'_>, revision: FullRevision, is_tombstone: bool) -> Result<(), Wrong> {
    let sound = if is_tombstone {
        *fields == Fields { key: fields.key, ..Fields::default() }
    } else {
        (1..=Revision::MAX.0).contains(&fields.version)
            && fields.mod_revision == revision.main.0
            && (1..=fields.mod_revision).contains(&fields.create_revision)
    };
    if sound && !fields.key.is_empty() { Ok(()) } else { Err(Wrong::Content("a version contradicts itself")) }
}

/// The part of a payload that is not read yet.
pub(super) struct Payload<'a>(pub(super) &'a [u8]);

impl<'a> Payload<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Wrong::Content("it ends inside a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    /// Reads a number in its shortest form, little-endian in base 128.
    pub(super) fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Wrong::Content("a number is not in its shortest form"))
    }

    pub(super) fn end(&self) -> Result<(), Wrong> {
        if self.0.is_empty() { Ok(()) } else { Err(Wrong::Content("it holds more than it should")) }
    }
}
