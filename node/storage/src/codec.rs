//! Binary form of entries, configurations and snapshot metas. The form is the same on disk and between members. Owns
//! the layout and its bounds. Does not own the meaning of a value: a configuration that no cluster could use is
//! decoded, too.
//!
//! All numbers are little-endian. Decoding never panics, and never reserves more memory than the length of the input. Decoding
//! returns exactly the value that was encoded. Sets must be strictly ascending, therefore each value has exactly one encoding.
//! Payloads are slices of the input, not copies.
//!
//! ```text
//! entry          term u64, index u64, time_ms u64, kind u8, length u32, payload
//! payload kinds  0 no-op (empty), 1 normal (opaque), 2 configuration, 3 barrier (empty)
//! configuration  version u8 = 1, then voters, outgoing, learners, learners_next, removed (each: count u32, u64 ...),
//!                then members: count u32, each: id u64 and three texts
//! text           length u16, UTF-8
//! snapshot meta  version u8 = 1, last term u64, last index u64, time_ms u64, configuration index u64, configuration
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use raft::{Configuration, Entry, EntryId, HardState, Index, MemberId, MemberInfo, Payload, SnapshotMeta, Term};

/// Version byte of configurations and snapshot metas.
const VERSION: u8 = 1;

/// Kind bytes of payloads.
const NOOP: u8 = 0;
const NORMAL: u8 = 1;
const CONFIGURATION: u8 = 2;
const BARRIER: u8 = 3;
/// Payload kinds are below this number, and the log's frame kinds are at or above it. A WAL record holds its payload
/// kind in the byte in which every other frame holds its frame kind. This byte therefore shows whether a frame is a WAL
/// record.
pub(crate) const PAYLOAD_KINDS_END: u8 = 0x80;
const _: () = assert!(BARRIER < PAYLOAD_KINDS_END, "a payload kind is no frame kind of the log");

/// Maximum length of a payload that is written or read, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX <= u32::MAX as usize, "the length of a payload is a u32");

/// Number of bytes of an encoded entry ID (term and index).
const ENTRY_ID_BYTES: usize = 16;

/// Why bytes are not an encoded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("the input ends too early")]
    Truncated,
    /// The input has this number of bytes after the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// This program does not know the version or kind. A newer program may know it.
    #[error("{what} {found} is not known to this version")]
    Unknown {
        /// Name of the field.
        what: &'static str,
        /// Value of the field.
        found: u8,
    },
    /// The named part of the input has a value that no encoder writes.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// Why a value has no binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The value exceeds a limit of the format.
    #[error("{0} is too large to be encoded")]
    TooLarge(&'static str),
}

/// Reads values from the front of a buffer.
#[derive(Clone, Debug)]
pub struct Reader(Bytes);

impl Reader {
    /// Creates a reader that starts at the first byte.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Number of bytes that are not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading, and checks that the whole input was read.
    ///
    /// # Errors
    /// Returns [`DecodeError::Trailing`] if bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// Reads `length` bytes. The result is a slice of the input, not a copy.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn bytes(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if self.0.len() < length {
            return Err(DecodeError::Truncated);
        }
        Ok(self.0.split_to(length))
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.0.get(..N).ok_or(DecodeError::Truncated)?);
        self.0.advance(N);
        Ok(array)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Reads a number of two bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Reads a number of four bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a number of eight bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a text in UTF-8.
    ///
    /// # Errors
    /// Returns [`DecodeError`] if the input ends first or is not UTF-8.
    pub fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.u16()?;
        let bytes = self.bytes(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Malformed("text"))
    }

    /// Reads term and index.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn entry_id(&mut self) -> Result<EntryId, DecodeError> {
        Ok(EntryId { term: Term(self.u64()?), index: Index(self.u64()?) })
    }

    /// Reads an entry, whose payload is a slice of the input.
    ///
    /// # Errors
    /// Returns any [`DecodeError`] except [`DecodeError::Trailing`].
    pub fn entry(&mut self) -> Result<Entry, DecodeError> {
        let id = self.entry_id()?;
        let time_ms = self.u64()?;
        let payload = self.payload()?;
        Ok(Entry { id, time_ms, payload })
    }

    /// Reads the payload of an entry. The payload is a slice of the input.
    ///
    /// # Errors
    /// Returns any [`DecodeError`] except [`DecodeError::Trailing`].
    pub fn payload(&mut self) -> Result<Payload, DecodeError> {
        let kind = self.u8()?;
        let length = self.u32()? as usize;
        let body = self.bytes(length)?;
        payload_from(kind, body)
    }

    /// Reads the name and the URLs of a member.
    ///
    /// # Errors
    /// Returns [`DecodeError`] if the input ends first or is not UTF-8.
    pub fn member_info(&mut self) -> Result<MemberInfo, DecodeError> {
        Ok(MemberInfo { name: self.text()?, peer_url: self.text()?, client_url: self.text()? })
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Returns any [`DecodeError`] except [`DecodeError::Trailing`].
    pub fn configuration(&mut self) -> Result<Configuration, DecodeError> {
        self.version("configuration version")?;
        let voters = self.member_ids()?;
        let outgoing = self.member_ids()?;
        let learners = self.member_ids()?;
        let learners_next = self.member_ids()?;
        let removed = self.member_ids()?;
        let mut members = BTreeMap::new();
        let count = self.u32()?;
        for _ in 0..count {
            let id = MemberId(self.u64()?);
            if members.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(DecodeError::Malformed("order of members"));
            }
            members.insert(id, self.member_info()?);
        }
        Ok(Configuration { voters, outgoing, learners, learners_next, members, removed })
    }

    /// Reads a snapshot's meta.
    ///
    /// # Errors
    /// Returns any [`DecodeError`] except [`DecodeError::Trailing`].
    pub fn snapshot_meta(&mut self) -> Result<SnapshotMeta, DecodeError> {
        self.version("snapshot meta version")?;
        let last = self.entry_id()?;
        let time_ms = self.u64()?;
        let configuration_index = Index(self.u64()?);
        let configuration = Arc::new(self.configuration()?);
        Ok(SnapshotMeta { last, time_ms, configuration, configuration_index })
    }

    /// Reads term and vote. Member ID 0 means that there is no vote.
    ///
    /// # Errors
    /// Returns [`DecodeError::Truncated`] if the input ends first.
    pub fn hard_state(&mut self) -> Result<HardState, DecodeError> {
        let term = Term(self.u64()?);
        let vote = self.u64()?;
        Ok(HardState { term, vote: (vote != 0).then_some(MemberId(vote)) })
    }

    fn version(&mut self, what: &'static str) -> Result<(), DecodeError> {
        match self.u8()? {
            VERSION => Ok(()),
            found => Err(DecodeError::Unknown { what, found }),
        }
    }

    fn member_ids(&mut self) -> Result<BTreeSet<MemberId>, DecodeError> {
        let count = self.u32()?;
        let mut ids = BTreeSet::new();
        for _ in 0..count {
            let id = MemberId(self.u64()?);
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(DecodeError::Malformed("order of member IDs"));
            }
            ids.insert(id);
        }
        Ok(ids)
    }
}

/// Appends term and index.
pub fn put_entry_id(into: &mut Vec<u8>, id: EntryId) {
    let start = into.len();
    into.extend_from_slice(&id.term.0.to_le_bytes());
    into.extend_from_slice(&id.index.0.to_le_bytes());
    debug_assert_eq!(into.len() - start, ENTRY_ID_BYTES, "a reader takes as many bytes as were written");
}

/// Appends an entry.
///
/// # Errors
/// Returns [`EncodeError`] if the payload or a part of it is too large. The caller must then discard `into`, because an
/// incomplete entry was appended.
pub fn put_entry(into: &mut Vec<u8>, entry: &Entry) -> Result<(), EncodeError> {
    put_entry_id(into, entry.id);
    into.extend_from_slice(&entry.time_ms.to_le_bytes());
    put_payload(into, &entry.payload)
}

/// Appends the payload of an entry.
///
/// # Errors
/// Returns [`EncodeError`] if the payload or a part of it is too large. Nothing was appended.
pub fn put_payload(into: &mut Vec<u8>, payload: &Payload) -> Result<(), EncodeError> {
    let (kind, body) = payload_parts(payload)?;
    into.push(kind);
    debug_assert!(body.len() <= PAYLOAD_BYTES_MAX, "no reader accepts a payload of {} bytes", body.len());
    // The cast loses nothing, because the length limit of payloads is far below 2^32.
    into.extend_from_slice(&(body.len() as u32).to_le_bytes());
    into.extend_from_slice(&body);
    Ok(())
}

/// Appends a text.
///
/// # Errors
/// Returns [`EncodeError`] if the text is longer than 65,535 bytes. Nothing was appended.
pub fn put_text(into: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    let length = u16::try_from(text.len()).map_err(|_| EncodeError::TooLarge("text"))?;
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends the name and the URLs of a member.
///
/// # Errors
/// Returns [`EncodeError`] if the name or a URL is longer than 65,535 bytes. The caller must then discard `into`,
/// because an incomplete encoding may have been appended.
pub fn put_member_info(into: &mut Vec<u8>, info: &MemberInfo) -> Result<(), EncodeError> {
    put_text(into, &info.name)?;
    put_text(into, &info.peer_url)?;
    put_text(into, &info.client_url)
}

/// Appends a configuration.
///
/// # Errors
/// Returns [`EncodeError`] if a part of the configuration is too large. The caller must then discard `into`, because an
/// incomplete configuration was appended.
pub fn put_configuration(into: &mut Vec<u8>, configuration: &Configuration) -> Result<(), EncodeError> {
    let Configuration { voters, outgoing, learners, learners_next, members, removed } = configuration;
    let start = into.len();
    into.push(VERSION);
    for ids in [voters, outgoing, learners, learners_next, removed] {
        put_count(into, ids.len())?;
        for id in ids {
            into.extend_from_slice(&id.0.to_le_bytes());
        }
    }
    put_count(into, members.len())?;
    for (id, info) in members {
        into.extend_from_slice(&id.0.to_le_bytes());
        put_member_info(into, info)?;
    }
    debug_assert_eq!(
        Reader::new(Bytes::copy_from_slice(&into[start..])).configuration().as_ref(),
        Ok(configuration),
        "a configuration reads back as it was written"
    );
    Ok(())
}

/// Appends a snapshot's meta.
///
/// # Errors
/// Returns [`EncodeError`] if a part of the configuration is too large. The caller must then discard `into`, because an
/// incomplete snapshot meta was appended.
pub fn put_snapshot_meta(into: &mut Vec<u8>, meta: &SnapshotMeta) -> Result<(), EncodeError> {
    let SnapshotMeta { last, time_ms, configuration, configuration_index } = meta;
    into.push(VERSION);
    put_entry_id(into, *last);
    into.extend_from_slice(&time_ms.to_le_bytes());
    into.extend_from_slice(&configuration_index.0.to_le_bytes());
    put_configuration(into, configuration)
}

/// Appends term and vote.
pub fn put_hard_state(into: &mut Vec<u8>, state: HardState) {
    debug_assert_ne!(state.vote, Some(MemberId(0)), "a vote for member 0 would read back as no vote");
    into.extend_from_slice(&state.term.0.to_le_bytes());
    into.extend_from_slice(&state.vote.map_or(0, |id| id.0).to_le_bytes());
}

fn put_count(into: &mut Vec<u8>, count: usize) -> Result<(), EncodeError> {
    let count = u32::try_from(count).map_err(|_| EncodeError::TooLarge("configuration"))?;
    into.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

/// Kind byte and body of a payload.
pub(crate) fn payload_parts(payload: &Payload) -> Result<(u8, Cow<'_, [u8]>), EncodeError> {
    let (kind, body) = match payload {
        Payload::Noop => (NOOP, Cow::Borrowed(&[][..])),
        Payload::Barrier => (BARRIER, Cow::Borrowed(&[][..])),
        Payload::Normal(bytes) => (NORMAL, Cow::Borrowed(&bytes[..])),
        Payload::Configuration(configuration) => {
            let mut body = Vec::new();
            put_configuration(&mut body, configuration)?;
            (CONFIGURATION, Cow::Owned(body))
        }
    };
    if body.len() > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::TooLarge("payload"));
    }
    debug_assert!(kind < PAYLOAD_KINDS_END, "{kind:#x} is a frame kind of the log");
    Ok((kind, body))
}

/// Builds a payload from its kind byte and its body.
pub(crate) fn payload_from(kind: u8, body: Bytes) -> Result<Payload, DecodeError> {
    if body.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::Malformed("payload length"));
    }
    match kind {
        NOOP | BARRIER if !body.is_empty() => Err(DecodeError::Malformed("payload of a no-op or barrier")),
        NOOP => Ok(Payload::Noop),
        BARRIER => Ok(Payload::Barrier),
        NORMAL => Ok(Payload::Normal(body)),
        CONFIGURATION => {
            let mut reader = Reader::new(body);
            let configuration = reader.configuration()?;
            reader.finish()?;
            Ok(Payload::Configuration(Arc::new(configuration)))
        }
        found => Err(DecodeError::Unknown { what: "payload kind", found }),
    }
}
