//! Owns the encoding of a log entry's payload: a list of commands, each with the ID of its request. Does not own the log or the
//! callers that wait for answers.
//!
//! ```text
//! batch := version u8 = 1, items to the end
//! item  := request id u64 LE, length u32 LE, command
//! ```

use bytes::{BufMut, Bytes};

use super::{Command, DecodeError, codec::Reader};

const VERSION: u8 = 1;
const ITEM_HEADER_BYTES: usize = 12;

/// The commands of one log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Request ID and command, in the order in which they are applied.
    pub commands: Vec<(u64, Command)>,
}

impl Batch {
    /// Encodes the batch as the payload of a log entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut builder = BatchBuilder::new();
        for (request_id, command) in &self.commands {
            builder.push(*request_id, command);
        }
        builder.finish()
    }

    /// Returns whether the payload of a log entry holds a command that may put a version ([`Command::adds_content`]). A payload
    /// that cannot be decoded counts as one that does.
    #[must_use]
    pub fn adds_content(payload: &Bytes) -> bool {
        let batch = Batch::decode(payload.clone());
        batch.map_or(true, |batch| batch.commands.iter().any(|(_, command)| command.adds_content()))
    }

    /// Decodes the payload of a log entry. Keys and values are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// Returns [`BatchError`] if the bytes are not a batch of this version. No command of the batch may be applied.
    pub fn decode(bytes: Bytes) -> Result<Batch, BatchError> {
        let mut reader = Reader { bytes, at: 0 };
        let version = reader.byte().map_err(|_| BatchError::Truncated)?;
        if version != VERSION {
            return Err(BatchError::UnknownVersion(version));
        }
        let mut commands = Vec::new();
        while reader.at < reader.bytes.len() {
            let header = reader.take(ITEM_HEADER_BYTES as u64).map_err(|_| BatchError::Truncated)?;
            let (id, length) = header.split_at(8);
            let request_id = u64::from_le_bytes(id.try_into().expect("8 bytes were taken for the id"));
            let length = u32::from_le_bytes(length.try_into().expect("4 bytes were taken for the length"));
            let command = reader.take(u64::from(length)).map_err(|_| BatchError::Truncated)?;
            let command = Command::decode(command).map_err(|source| BatchError::Command {
                position: commands.len(),
                request_id,
                source,
            })?;
            commands.push((request_id, command));
        }
        Ok(Batch { commands })
    }
}

/// Why the payload of an entry is not a batch. Nothing was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside an item.
    #[error("the batch ends inside an item")]
    Truncated,
    /// A newer version of this program wrote the batch.
    #[error("batch encoding version {0} is unknown: upgrade this member")]
    UnknownVersion(u8),
    /// A command of the batch could not be decoded.
    #[error("command {position} of the batch (request {request_id}): {source}")]
    Command {
        /// Position of the command in the batch, from 0.
        position: usize,
        /// ID of the command's request.
        request_id: u64,
        /// Error in the command.
        source: DecodeError,
    },
}

impl BatchError {
    /// Returns whether a newer version of this program wrote the batch. Otherwise it is damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            BatchError::Truncated => false,
            BatchError::UnknownVersion(_) => true,
            BatchError::Command { source, .. } => source.is_newer(),
        }
    }
}

/// Collects commands into the payload of one log entry. Each command is encoded when it is added.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// Creates a builder without commands.
    #[must_use]
    pub fn new() -> Self {
        BatchBuilder { bytes: vec![VERSION], count: 0 }
    }

    /// Adds a command.
    pub fn push(&mut self, request_id: u64, command: &Command) {
        let start = self.open_item(request_id);
        command.encode_into(&mut self.bytes);
        debug_assert_eq!(
            Command::decode(Bytes::copy_from_slice(&self.bytes[start..])).as_ref(),
            Ok(command),
            "a command is read from the log as it was written"
        );
        self.close_item(start);
    }

    /// Adds an encoded command. The caller guarantees that [`Command::decode`] accepts it.
    pub fn push_encoded(&mut self, request_id: u64, command: &[u8]) {
        let start = self.open_item(request_id);
        self.bytes.put_slice(command);
        self.close_item(start);
    }

    /// Number of commands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the batch has no commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the payload so far, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the payload.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }

    fn open_item(&mut self, request_id: u64) -> usize {
        self.bytes.put_u64_le(request_id);
        self.bytes.put_u32_le(0);
        self.bytes.len()
    }

    fn close_item(&mut self, start: usize) {
        let length = u32::try_from(self.bytes.len() - start).expect("the service limits requests to megabytes");
        debug_assert!(length > 0, "an encoded command has at least its version");
        self.bytes[start - 4..start].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }
}
