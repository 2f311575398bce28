//! Owns the bytes of one stored version: etcd's marshalled `mvccpb.KeyValue`, preceded by a link to older versions of its key.
//! The bytes are in one allocation of exactly their size, which all clones share. Does not own the storage of versions
//! (`history`).
//!
//! ```text
//! stored    := flags u8, sub, main, link, KeyValue
//! flags     := 1 has a previous version | 2 has a jump | 4 sub is not 0 | 8 tombstone
//! sub       := sub revision u32 LE                          only if not 0
//! main      := main revision i64 LE                         only in a tombstone; otherwise it is mod_revision
//! link      := previous u64 LE                              if there is one
//!              jump u64 LE, its depth u32 LE                if there is one
//! KeyValue (protobuf): 1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value, 6 lease; zeroes and empties omitted
//! ```
//!
//! A tombstone is a KeyValue with only a key, as in etcd. A link holds places in the history. The links turn the versions of a
//! key into a skip list: finding the previous version takes one lookup, and finding the newest version at revision R takes a
//! number of lookups that is logarithmic in the number of newer versions.

use std::fmt;
use std::sync::Arc;

use crate::revision::{FullRevision, Revision};
use crate::sequence::Place;

const HAS_PREVIOUS: u8 = 1;
const HAS_JUMP: u8 = 2;
const HAS_SUB: u8 = 4;
const TOMBSTONE: u8 = 8;

const SUB_BYTES: usize = 4;
const MAIN_BYTES: usize = 8;
const PREVIOUS_BYTES: usize = 8;
const JUMP_BYTES: usize = 12;

const KEY: u8 = 0x0a;
const CREATE_REVISION: u8 = 0x10;
const MOD_REVISION: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// One version of a key. Clones share the bytes of the version.
#[derive(Clone)]
pub struct KeyValue(Arc<[u8]>);

/// The fields of a [`KeyValue`]. An absent field is 0 or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Revision of the latest creation of the key.
    pub create_revision: i64,
    /// Revision of the change that made this version.
    pub mod_revision: i64,
    /// Counter of puts: 1 at the creation of the key, higher by one after each further put. 0 in a tombstone.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The attached lease; 0 if there is none.
    pub lease: i64,
}

impl KeyValue {
    /// The protobuf encoding of `mvccpb.KeyValue`, as etcd marshals it. In a response, a tag and the length precede this
    /// encoding.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0[link_at(self.flags()) + link_size(self.flags())..]
    }

    /// All fields, parsed in one pass.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields::parse(self.encoded()).expect("a KeyValue is built only from bytes that parse")
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.fields().key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.fields().value
    }

    /// Encodes a version that is not part of the store and has no link.
    pub(crate) fn detached(fields: &Fields<'_>) -> KeyValue {
        let revision = FullRevision { main: Revision(fields.mod_revision), sub: 0 };
        KeyValue::build(&mut Vec::new(), revision, Link::NONE, fields)
    }

    /// Encodes a version for the store. The version is a tombstone if `fields.version` is 0. `scratch` is working memory, so that
    /// the version is allocated once, with its exact size. The version is not a slice of a network buffer, because a slice would
    /// keep the whole buffer alive.
    pub(crate) fn build(scratch: &mut Vec<u8>, revision: FullRevision, link: Link, fields: &Fields<'_>) -> KeyValue {
        debug_assert!(link.previous.is_some() || link.jump.is_none(), "a version with a jump has a previous version");
        scratch.clear();
        scratch.push(0);
        let mut flags = 0;
        if revision.sub != 0 {
            flags |= HAS_SUB;
            scratch.extend_from_slice(&revision.sub.to_le_bytes());
        }
        if fields.version == 0 {
            flags |= TOMBSTONE;
            scratch.extend_from_slice(&revision.main.0.to_le_bytes());
        }
        if let Some(previous) = link.previous {
            flags |= HAS_PREVIOUS;
            scratch.extend_from_slice(&previous.0.to_le_bytes());
        }
        if let Some(jump) = link.jump {
            flags |= HAS_JUMP;
            scratch.extend_from_slice(&jump.to.0.to_le_bytes());
            scratch.extend_from_slice(&jump.depth.to_le_bytes());
        }
        scratch[0] = flags;
        fields.encode_into(scratch);
        let built = KeyValue(Arc::from(scratch.as_slice()));
        debug_assert_eq!(Fields::parse(built.encoded()).as_ref(), Some(fields), "fields are read as they were written");
        debug_assert_eq!(built.link(), link, "a link is read as it was written");
        debug_assert_eq!(built.encoded().len(), fields.encoded_len(), "a version has the size that was measured");
        built
    }

    fn flags(&self) -> u8 {
        self.0[0]
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags() & TOMBSTONE != 0
    }

    /// Main revision of the change that made the version.
    pub(crate) fn main(&self) -> Revision {
        if self.is_tombstone() {
            Revision(self.word(main_at(self.flags())) as i64)
        } else {
            Revision(self.fields().mod_revision)
        }
    }

    /// Full revision of the change that made the version.
    pub(crate) fn revision(&self) -> FullRevision {
        let sub = if self.flags() & HAS_SUB == 0 { 0 } else { self.half_word(1) };
        FullRevision { main: self.main(), sub }
    }

    pub(crate) fn link(&self) -> Link {
        let at = link_at(self.flags());
        let previous = (self.flags() & HAS_PREVIOUS != 0).then(|| Place(self.word(at)));
        let jump_at = at + PREVIOUS_BYTES;
        let jump = (self.flags() & HAS_JUMP != 0)
            .then(|| Jump { to: Place(self.word(jump_at)), depth: self.half_word(jump_at + 8) });
        Link { previous, jump }
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("8 bytes"))
    }

    fn half_word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4 bytes"))
    }
}

fn main_at(flags: u8) -> usize {
    1 + if flags & HAS_SUB == 0 { 0 } else { SUB_BYTES }
}

fn link_at(flags: u8) -> usize {
    main_at(flags) + if flags & TOMBSTONE == 0 { 0 } else { MAIN_BYTES }
}

fn link_size(flags: u8) -> usize {
    let previous = if flags & HAS_PREVIOUS == 0 { 0 } else { PREVIOUS_BYTES };
    previous + if flags & HAS_JUMP == 0 { 0 } else { JUMP_BYTES }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl Eq for KeyValue {}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

impl<'a> Fields<'a> {
    /// Number of bytes that the encoding takes.
    pub(crate) fn encoded_len(&self) -> usize {
        let bytes = |bytes: &[u8]| if bytes.is_empty() { 0 } else { 1 + varint_len(bytes.len() as u64) + bytes.len() };
        let number = |number: i64| if number == 0 { 0 } else { 1 + varint_len(number as u64) };
        let numbers = [self.create_revision, self.mod_revision, self.version, self.lease];
        bytes(self.key) + bytes(self.value) + numbers.into_iter().map(number).sum::<usize>()
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        for (tag, bytes, number) in [
            (KEY, self.key, 0),
            (CREATE_REVISION, &[][..], self.create_revision),
            (MOD_REVISION, &[], self.mod_revision),
            (VERSION, &[], self.version),
            (VALUE, self.value, 0),
            (LEASE, &[], self.lease),
        ] {
            if !bytes.is_empty() {
                out.push(tag);
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            } else if number != 0 {
                out.push(tag);
                put_varint(out, number as u64);
            }
        }
    }

    /// Parses the bytes that `encode_into` writes and no others: the fields are in order, each occurs at most once, and no field
    /// is 0 or empty.
    pub(crate) fn parse(encoded: &'a [u8]) -> Option<Fields<'a>> {
        let mut fields = Fields::default();
        let mut rest = encoded;
        let mut last_tag = 0;
        while let Some((&tag, after)) = rest.split_first() {
            rest = after;
            if tag <= last_tag {
                return None;
            }
            last_tag = tag;
            let number = take_varint(&mut rest).filter(|&number| number != 0)?;
            match tag {
                KEY => fields.key = take_bytes(&mut rest, number)?,
                CREATE_REVISION => fields.create_revision = number as i64,
                MOD_REVISION => fields.mod_revision = number as i64,
                VERSION => fields.version = number as i64,
                VALUE => fields.value = take_bytes(&mut rest, number)?,
                LEASE => fields.lease = number as i64,
                _ => return None,
            }
        }
        Some(fields)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Number of bytes of a varint.
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads a varint. Returns `None` if the varint is incomplete or not in its shortest form.
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return (bits != 0 || shift == 0).then_some(value);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(taken)
}

/// Places of older versions of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Place of the version that this version replaced.
    pub(crate) previous: Option<Place>,
    /// Link to a much older version. Present only together with `previous`.
    pub(crate) jump: Option<Jump>,
}

/// A link to an older version of the key. The link usually skips versions in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) to: Place,
    /// Number of the key's versions that have a jump, up to and including the version with this jump.
    pub(crate) depth: u32,
}

impl Link {
    pub(crate) const NONE: Link = Link { previous: None, jump: None };
}
