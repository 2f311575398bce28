//! Owns the bytes of one stored version: etcd's marshalled `mvccpb.KeyValue`, behind a link to the versions of its key
//! before it, in one exact allocation that is shared by reference. Does not own where versions are kept (`history`).
//!
//! ```text
//! stored := kind u8, link, KeyValue
//! kind   := link kind (low bits), 0x80 if a tombstone
//! link   := nothing                                        if 0: the first version that is remembered
//!           previous full revision, depth u32 LE           if 1
//!           previous and jump full revision, depth u32 LE  if 2
//! full revision := main i64 LE, sub u32 LE
//! KeyValue (protobuf): 1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value, 6 lease; zeroes and empties omitted
//! ```
//!
//! A tombstone is a KeyValue with a key alone, as in etcd. The links make a skip list of the versions of one key: "the
//! newest version at revision R" costs the logarithm of the versions in between, and "the one before" a single look-up.

use std::fmt;
use std::sync::Arc;

use crate::revision::{FullRevision, Revision};

const LINK_NONE: u8 = 0;
const LINK_PREVIOUS: u8 = 1;
const LINK_JUMP: u8 = 2;
const LINK_KIND_MASK: u8 = 0x7f;
const TOMBSTONE: u8 = 0x80;
const FULL_REVISION_BYTES: usize = 12;

const KEY: u8 = 0x0a;
const CREATE_REVISION: u8 = 0x10;
const MOD_REVISION: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// One version of a key. Cloning shares it.
#[derive(Clone)]
pub struct KeyValue(Arc<[u8]>);

/// The fields of a [`KeyValue`]; 0 and empty where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The revision at which the key was created, last time it was.
    pub create_revision: i64,
    /// The revision of this version.
    pub mod_revision: i64,
    /// 1 at creation, then counting; 0 in a tombstone.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The attached lease, or 0.
    pub lease: i64,
}

impl KeyValue {
    /// The protobuf encoding of `mvccpb.KeyValue`, as etcd marshals it: ready to be copied into a response, after a tag and
    /// its length.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0[link_size(self.0[0])..]
    }

    /// All fields, read in one pass.
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

    /// Encodes a version that stands alone: not in the store, linked to nothing.
    pub(crate) fn detached(fields: &Fields<'_>) -> KeyValue {
        KeyValue::build(&mut Vec::new(), Link::NONE, fields)
    }

    /// Encodes a version to be stored. `scratch` is working memory, so that the version itself is allocated once and
    /// exactly: a slice of a network buffer would keep all of that buffer alive.
    pub(crate) fn build(scratch: &mut Vec<u8>, link: Link, fields: &Fields<'_>) -> KeyValue {
        scratch.clear();
        link.encode_into(scratch);
        fields.encode_into(scratch);
        if fields.version == 0 {
            scratch[0] |= TOMBSTONE;
        }
        KeyValue(Arc::from(scratch.as_slice()))
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.0[0] & TOMBSTONE != 0
    }

    pub(crate) fn link(&self) -> Link {
        Link::decode(&self.0)
    }
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

    /// Accepts exactly what `encode_into` writes: fields in order, each at most once, none of them zero or empty.
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

/// A varint in its shortest form.
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

/// Where the versions before this one are.
///
/// The jump goes to the jump of the previous version's jump whenever the two distances are equal, else to the previous
/// version: so that from any version any older one is reached in steps logarithmic in their distance (Myers, "An
/// applicative random-access stack", 1983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// How many versions this one stands on.
    pub(crate) depth: u32,
    pub(crate) previous: Option<FullRevision>,
    /// Never newer than `previous`.
    pub(crate) jump: Option<FullRevision>,
}

impl Link {
    pub(crate) const NONE: Link = Link { depth: 0, previous: None, jump: None };

    /// The link of a version that follows `previous`, whose own link is `of_previous`. `find` gives the link of an older
    /// version, unless it is compacted away.
    pub(crate) fn after(
        previous: FullRevision,
        of_previous: Link,
        find: impl Fn(FullRevision) -> Option<Link>,
    ) -> Link {
        let depth = of_previous.depth.saturating_add(1);
        let jump = of_previous.jump.and_then(|near| {
            let of_near = find(near)?;
            let far = of_near.jump?;
            let of_far = find(far)?;
            (of_previous.depth - of_near.depth == of_near.depth - of_far.depth).then_some(far)
        });
        Link { depth, previous: Some(previous), jump: Some(jump.unwrap_or(previous)) }
    }

    fn encode_into(self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, revision: FullRevision| {
            out.extend_from_slice(&revision.main.0.to_le_bytes());
            out.extend_from_slice(&revision.sub.to_le_bytes());
        };
        let Some(previous) = self.previous else {
            out.push(LINK_NONE);
            return;
        };
        match self.jump.filter(|&jump| jump != previous) {
            None => {
                out.push(LINK_PREVIOUS);
                put(out, previous);
            }
            Some(jump) => {
                out.push(LINK_JUMP);
                put(out, previous);
                put(out, jump);
            }
        }
        out.extend_from_slice(&self.depth.to_le_bytes());
    }

    fn decode(stored: &[u8]) -> Link {
        let revision = |at: usize| FullRevision {
            main: Revision(i64::from_le_bytes(stored[at..at + 8].try_into().expect("8 bytes"))),
            sub: u32::from_le_bytes(stored[at + 8..at + 12].try_into().expect("4 bytes")),
        };
        let kind = stored[0] & LINK_KIND_MASK;
        let size = link_size(kind);
        if kind == LINK_NONE {
            return Link::NONE;
        }
        let previous = revision(1);
        let jump = if kind == LINK_JUMP { revision(1 + FULL_REVISION_BYTES) } else { previous };
        let depth = u32::from_le_bytes(stored[size - 4..size].try_into().expect("4 bytes"));
        Link { depth, previous: Some(previous), jump: Some(jump) }
    }
}

fn link_size(kind: u8) -> usize {
    match kind & LINK_KIND_MASK {
        LINK_NONE => 1,
        LINK_PREVIOUS => 1 + FULL_REVISION_BYTES + 4,
        _ => 1 + 2 * FULL_REVISION_BYTES + 4,
    }
}
