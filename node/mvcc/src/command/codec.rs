//! Owns the encoding of a command. The decoder refuses bytes that are not the encoding of exactly one command. Does not own the
//! checks of a command's content (`command::validate`).
//!
//! ```text
//! command  := version u8 = 1, kind u8, body
//! kind     := 1 put | 2 delete range | 3 transaction | 4 compact | 5 alarm | 8 raise feature level
//! put      := flags u8 (1 prev_kv, 2 ignore_value, 4 ignore_lease), key bytes, value bytes, lease int
//! delete   := flags u8 (1 prev_kv), key bytes, range_end bytes
//! txn      := compares list, success list of op, failure list of op
//! compare  := relation int, target u8 (1 version, 2 create, 3 mod, 4 value, 5 lease, 6 unrecognized), key bytes,
//!             range_end bytes, operand (bytes for a value, else int)
//! op       := kind u8 (1 put, 2 delete range, 3 txn, 6 range, 7 empty), body
//! range    := flags u8 (1 keys_only, 2 count_only), key bytes, range_end bytes, limit int, revision int, sort order int,
//!             sort target int, min mod int, max mod int, min create int, max create int
//! compact  := flags u8 (1 physical), revision int
//! alarm    := action u8 (1 activate, 2 deactivate), kind u8 (1 no space, 2 corrupt), member varint
//! raise    := level u32 LE
//!
//! list     := count varint, items          bytes := length varint, content
//! int      := zigzag varint                varint := little-endian base 128, shortest form, at most 10 bytes
//! ```
//!
//! Each command has exactly one encoding, so equal commands have equal bytes on every member.

use bytes::{BufMut, Bytes};

use crate::level::FeatureLevel;

use super::{
    Alarm, AlarmAction, AlarmChange, AlarmKind, Command, Compact, Compare, DeleteRange, MAX_TXN_OPS, Op, Operand, Put,
    Range, Txn,
};

const VERSION: u8 = 1;

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const ALARM: u8 = 5;
const RANGE: u8 = 6;
const EMPTY: u8 = 7;
const RAISE_FEATURE_LEVEL: u8 = 8;

/// Maximum number of levels of nested transactions in an encoding. No valid transaction is deeper, because the maximum
/// number of operations is smaller at each level than at the level above.
const DEPTH_MAX: usize = MAX_TXN_OPS + 1;

/// Why bytes are not a command. Nothing was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("the command ends inside a field")]
    Truncated,
    /// This number of bytes follows the command.
    #[error("{0} bytes follow the command")]
    TrailingBytes(usize),
    /// A newer version of this program wrote the command.
    #[error("command encoding version {0} is unknown: upgrade this member")]
    UnknownVersion(u8),
    /// A kind, flag or other choice has a value that encoding version 1 does not define.
    #[error("{what} {value} does not exist in command encoding version 1: upgrade this member")]
    UnknownChoice {
        /// Name of the choice.
        what: &'static str,
        /// The value that was found.
        value: u64,
    },
    /// A number has more bytes than it needs, or more than 64 bits.
    #[error("a number is not in its shortest form")]
    BadNumber,
    /// Transactions are nested deeper than in any valid command.
    #[error("transactions nest deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

impl DecodeError {
    /// Returns whether a newer version of this program wrote the bytes. Otherwise they are damaged.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            DecodeError::UnknownVersion(_) | DecodeError::UnknownChoice { .. } => true,
            DecodeError::Truncated | DecodeError::TrailingBytes(_) | DecodeError::BadNumber | DecodeError::TooDeep => {
                false
            }
        }
    }
}

impl Command {
    /// Appends the encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u8(VERSION);
        match self {
            Command::Put(put) => {
                out.put_u8(PUT);
                encode_put(out, put);
            }
            Command::DeleteRange(delete) => {
                out.put_u8(DELETE_RANGE);
                encode_delete(out, delete);
            }
            Command::Txn(txn) => {
                out.put_u8(TXN);
                encode_txn(out, txn);
            }
            Command::Compact(compact) => {
                out.put_u8(COMPACT);
                out.put_u8(u8::from(compact.physical));
                put_int(out, compact.revision);
            }
            Command::Alarm(change) => {
                out.put_u8(ALARM);
                out.put_u8(match change.action {
                    AlarmAction::Activate => 1,
                    AlarmAction::Deactivate => 2,
                });
                out.put_u8(change.alarm.kind.code());
                put_varint(out, change.alarm.member);
            }
            Command::RaiseFeatureLevel { to } => {
                out.put_u8(RAISE_FEATURE_LEVEL);
                out.put_u32_le(to.0);
            }
        }
    }

    /// Encodes the command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out.into()
    }

    /// Decodes exactly one command. The command's keys and values are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// Returns [`DecodeError`] if the bytes are not the encoding of exactly one command. Nothing was decoded.
    pub fn decode(bytes: Bytes) -> Result<Command, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion(version));
        }
        let command = match reader.byte()? {
            PUT => Command::Put(reader.put()?),
            DELETE_RANGE => Command::DeleteRange(reader.delete()?),
            TXN => Command::Txn(reader.txn(DEPTH_MAX)?),
            COMPACT => {
                let flags = reader.flags("compact flag", 1)?;
                Command::Compact(Compact { physical: flags & 1 != 0, revision: reader.int()? })
            }
            ALARM => {
                let action = match reader.byte()? {
                    1 => AlarmAction::Activate,
                    2 => AlarmAction::Deactivate,
                    other => return Err(unknown("alarm action", other)),
                };
                let code = reader.byte()?;
                let kind = AlarmKind::from_code(code).ok_or(unknown("alarm kind", code))?;
                Command::Alarm(AlarmChange { action, alarm: Alarm { kind, member: reader.varint()? } })
            }
            RAISE_FEATURE_LEVEL => Command::RaiseFeatureLevel { to: FeatureLevel(reader.word()?) },
            other => return Err(unknown("command kind", other)),
        };
        match reader.bytes.len() - reader.at {
            0 => Ok(command),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

impl AlarmKind {
    /// Number that encodes the kind.
    pub(crate) fn code(self) -> u8 {
        match self {
            AlarmKind::NoSpace => 1,
            AlarmKind::Corrupt => 2,
        }
    }

    /// Kind that a number encodes; `None` if the number is not defined.
    pub(crate) fn from_code(code: u8) -> Option<AlarmKind> {
        match code {
            1 => Some(AlarmKind::NoSpace),
            2 => Some(AlarmKind::Corrupt),
            _ => None,
        }
    }
}

fn unknown(what: &'static str, value: u8) -> DecodeError {
    DecodeError::UnknownChoice { what, value: u64::from(value) }
}

fn encode_put(out: &mut Vec<u8>, put: &Put) {
    out.reserve(put.key.len() + put.value.len() + 16);
    out.put_u8(u8::from(put.prev_kv) | u8::from(put.ignore_value) << 1 | u8::from(put.ignore_lease) << 2);
    put_bytes(out, &put.key);
    put_bytes(out, &put.value);
    put_int(out, put.lease);
}

fn encode_delete(out: &mut Vec<u8>, delete: &DeleteRange) {
    out.put_u8(u8::from(delete.prev_kv));
    put_bytes(out, &delete.key);
    put_bytes(out, &delete.range_end);
}

fn encode_txn(out: &mut Vec<u8>, txn: &Txn) {
    put_varint(out, txn.compare.len() as u64);
    for compare in &txn.compare {
        encode_compare(out, compare);
    }
    for branch in [&txn.success, &txn.failure] {
        put_varint(out, branch.len() as u64);
        for op in branch {
            encode_op(out, op);
        }
    }
}

fn encode_compare(out: &mut Vec<u8>, compare: &Compare) {
    put_int(out, i64::from(i32::from(compare.relation)));
    let (target, number) = match &compare.operand {
        Operand::Version(number) => (1, Some(*number)),
        Operand::CreateRevision(number) => (2, Some(*number)),
        Operand::ModRevision(number) => (3, Some(*number)),
        Operand::Value(_) => (4, None),
        Operand::Lease(number) => (5, Some(*number)),
        Operand::Unrecognized(number) => (6, Some(i64::from(*number))),
    };
    out.put_u8(target);
    put_bytes(out, &compare.key);
    put_bytes(out, &compare.range_end);
    match (&compare.operand, number) {
        (Operand::Value(value), _) => put_bytes(out, value),
        (_, number) => put_int(out, number.unwrap_or(0)),
    }
}

fn encode_op(out: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Range(range) => {
            out.put_u8(RANGE);
            encode_range(out, range);
        }
        Op::Put(put) => {
            out.put_u8(PUT);
            encode_put(out, put);
        }
        Op::DeleteRange(delete) => {
            out.put_u8(DELETE_RANGE);
            encode_delete(out, delete);
        }
        Op::Txn(txn) => {
            out.put_u8(TXN);
            encode_txn(out, txn);
        }
        Op::Empty => out.put_u8(EMPTY),
    }
}

fn encode_range(out: &mut Vec<u8>, range: &Range) {
    out.put_u8(u8::from(range.keys_only) | u8::from(range.count_only) << 1);
    put_bytes(out, &range.key);
    put_bytes(out, &range.range_end);
    put_int(out, range.limit);
    put_int(out, range.revision);
    put_int(out, i64::from(i32::from(range.sort_order)));
    put_int(out, i64::from(i32::from(range.sort_target)));
    put_int(out, range.min_mod_revision);
    put_int(out, range.max_mod_revision);
    put_int(out, range.min_create_revision);
    put_int(out, range.max_create_revision);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Reads fields in order. Every read returns an error if the bytes end inside the field.
pub(super) struct Reader {
    pub(super) bytes: Bytes,
    /// Offset of the next field; at most the length of `bytes`.
    pub(super) at: usize,
}

impl Reader {
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn flags(&mut self, what: &'static str, known: u8) -> Result<u8, DecodeError> {
        let flags = self.byte()?;
        if flags & !known != 0 {
            return Err(unknown(what, flags));
        }
        Ok(flags)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::BadNumber);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = bits != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(DecodeError::BadNumber) };
            }
        }
        Err(DecodeError::BadNumber)
    }

    fn int(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn int32(&mut self) -> Result<i32, DecodeError> {
        i32::try_from(self.int()?).map_err(|_| DecodeError::BadNumber)
    }

    pub(super) fn take(&mut self, length: u64) -> Result<Bytes, DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or(DecodeError::Truncated)?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        debug_assert!(self.at <= self.bytes.len(), "a reader stays inside its bytes");
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, DecodeError> {
        let taken = self.take(4)?;
        Ok(u32::from_le_bytes(taken[..].try_into().expect("4 bytes were taken")))
    }

    fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.varint()?;
        self.take(length)
    }

    fn put(&mut self) -> Result<Put, DecodeError> {
        let flags = self.flags("put flag", 7)?;
        Ok(Put {
            prev_kv: flags & 1 != 0,
            ignore_value: flags & 2 != 0,
            ignore_lease: flags & 4 != 0,
            key: self.bytes()?,
            value: self.bytes()?,
            lease: self.int()?,
        })
    }

    fn delete(&mut self) -> Result<DeleteRange, DecodeError> {
        let flags = self.flags("delete flag", 1)?;
        Ok(DeleteRange { prev_kv: flags & 1 != 0, key: self.bytes()?, range_end: self.bytes()? })
    }

    fn txn(&mut self, depth_left: usize) -> Result<Txn, DecodeError> {
        let Some(depth_left) = depth_left.checked_sub(1) else {
            return Err(DecodeError::TooDeep);
        };
        Ok(Txn {
            compare: self.list(Reader::compare)?,
            success: self.list(|reader| reader.op(depth_left))?,
            failure: self.list(|reader| reader.op(depth_left))?,
        })
    }

    /// The list grows only as items are read. The encoded count alone allocates no memory, because a wrong count may be
    /// large.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
        let count = self.varint()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn compare(&mut self) -> Result<Compare, DecodeError> {
        let relation = self.int32()?.into();
        let target = self.byte()?;
        let key = self.bytes()?;
        let range_end = self.bytes()?;
        let operand = match target {
            1 => Operand::Version(self.int()?),
            2 => Operand::CreateRevision(self.int()?),
            3 => Operand::ModRevision(self.int()?),
            4 => Operand::Value(self.bytes()?),
            5 => Operand::Lease(self.int()?),
            6 => Operand::Unrecognized(self.int32()?),
            other => return Err(unknown("compare target", other)),
        };
        Ok(Compare { key, range_end, relation, operand })
    }

    fn op(&mut self, depth_left: usize) -> Result<Op, DecodeError> {
        match self.byte()? {
            RANGE => Ok(Op::Range(self.range()?)),
            PUT => Ok(Op::Put(self.put()?)),
            DELETE_RANGE => Ok(Op::DeleteRange(self.delete()?)),
            TXN => Ok(Op::Txn(self.txn(depth_left)?)),
            EMPTY => Ok(Op::Empty),
            other => Err(unknown("operation kind", other)),
        }
    }

    fn range(&mut self) -> Result<Range, DecodeError> {
        let flags = self.flags("range flag", 3)?;
        Ok(Range {
            keys_only: flags & 1 != 0,
            count_only: flags & 2 != 0,
            key: self.bytes()?,
            range_end: self.bytes()?,
            limit: self.int()?,
            revision: self.int()?,
            sort_order: self.int32()?.into(),
            sort_target: self.int32()?.into(),
            min_mod_revision: self.int()?,
            max_mod_revision: self.int()?,
            min_create_revision: self.int()?,
            max_create_revision: self.int()?,
        })
    }
}
