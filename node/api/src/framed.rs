//! Encoded messages on their way to a client. Owns how a large one refers to the stored versions of keys instead of
//! copying them. Does not own what is encoded (`answer.rs`), nor the pace of sending (`transport`).

use bytes::{BufMut, Bytes, BytesMut};
use mvcc::KeyValue;

/// An encoded message with its frame header.
pub(super) enum Framed {
    /// The bytes themselves.
    Whole(Bytes),
    /// A large message.
    Pinned(Pinned),
}

/// A message that is encoded piece by piece as it is sent. It keeps the versions that it contains alive, so it counts
/// as large as its encoding even though the store usually holds them as well.
pub(super) struct Pinned {
    /// Everything except the versions.
    literal: Bytes,
    /// Number of bytes of `literal` that were taken.
    taken: usize,
    versions: std::vec::IntoIter<Version>,
    /// Number of bytes of the next version that were taken.
    taken_of_version: usize,
    remaining: usize,
}

/// A version in a message.
pub(super) struct Version {
    /// Number of literal bytes before the version.
    pub(super) at: usize,
    pub(super) version: KeyValue,
}

impl Pinned {
    pub(super) fn new(literal: Bytes, versions: Vec<Version>) -> Self {
        let remaining = literal.len() + versions.iter().map(|one| one.version.encoded().len()).sum::<usize>();
        Self { literal, taken: 0, versions: versions.into_iter(), taken_of_version: 0, remaining }
    }

    /// Number of bytes that were not taken yet.
    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    fn take(&mut self, bytes: usize) -> Bytes {
        let mut out = BytesMut::with_capacity(bytes.min(self.remaining));
        while out.len() < bytes {
            let missing = bytes - out.len();
            let next = self.versions.as_slice().first();
            let literal = &self.literal[self.taken..next.map_or(self.literal.len(), |next| next.at)];
            if !literal.is_empty() {
                let part = &literal[..missing.min(literal.len())];
                out.put_slice(part);
                self.taken += part.len();
                continue;
            }
            let Some(next) = next else { break };
            let encoded = next.version.encoded();
            let rest = &encoded[self.taken_of_version..];
            let part = &rest[..missing.min(rest.len())];
            out.put_slice(part);
            self.taken_of_version += part.len();
            if self.taken_of_version == encoded.len() {
                self.versions.next();
                self.taken_of_version = 0;
            }
        }
        self.remaining -= out.len();
        out.freeze()
    }
}

impl Framed {
    /// Number of bytes that were not taken yet.
    pub(super) fn remaining(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Pinned(pinned) => pinned.remaining,
        }
    }

    /// Takes the next bytes, at most this number.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        match self {
            Self::Whole(whole) => whole.split_to(bytes.min(whole.len())),
            Self::Pinned(pinned) => pinned.take(bytes),
        }
    }
}

#[cfg(test)]
impl Framed {
    /// The rest of the message.
    pub(super) fn whole(mut self) -> Bytes {
        self.take(usize::MAX)
    }
}
