//! Owns the encoding of messages between members, protocol version 1. Does not own the encoding of entries, IDs and
//! configurations, which are encoded as on disk (`storage::codec`).
//!
//! Decoding never panics. A message of an unknown kind is skipped, which is safe because Raft tolerates lost messages.
//! A newer member may therefore send kinds of messages that an older member does not know.
//!
//! ```text
//! frame    one or more messages
//! message  length u32 of what follows, kind u8, term u64, body
//!
//! kind  body (numbers are little-endian; an entry ID is term u64, index u64)
//!    1  PreVote         last: entry ID
//!    2  PreVoteReply    granted u8
//!    3  Vote            last: entry ID, transfer u8
//!    4  VoteReply       granted u8
//!    5  Append          prev: entry ID, commit u64, round u64, count u32, entries
//!    6  Accepted        matched u64, round u64
//!    7  Rejected        prev u64, hint: entry ID, round u64
//!    8  Heartbeat       commit u64, round u64
//!    9  HeartbeatReply  round u64
//!   10  ReadIndex       context u64
//!   11  ReadIndexReply  context u64, found u8, index u64
//!   12  Propose         count u32, each: name u64, payload
//!   13  ProposeRefused  reason u8, count u32, each: name u64
//!   14  TimeoutNow      last: entry ID
//!   15  Removed         index u64
//!   16  Standing        standing u8
//! ```
//!
//! `InstallSnapshot` has no encoding: a member creates this message itself once it has received a snapshot on a
//! separate connection, and accepts the message from no other source.

use bytes::Bytes;
use raft::{Append, AppendReply, Body, DropReason, Index, Message, ProposalId, ReadContext, Standing, Term};
use storage::codec::{DecodeError, EncodeError, Reader, put_entry, put_entry_id, put_payload};

/// Version of this layout. A member sends the version in the greeting of a connection.
pub const PROTOCOL: u32 = 1;

mod kind {
    pub(super) const PRE_VOTE: u8 = 1;
    pub(super) const PRE_VOTE_REPLY: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const VOTE_REPLY: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const ACCEPTED: u8 = 6;
    pub(super) const REJECTED: u8 = 7;
    pub(super) const HEARTBEAT: u8 = 8;
    pub(super) const HEARTBEAT_REPLY: u8 = 9;
    pub(super) const READ_INDEX: u8 = 10;
    pub(super) const READ_INDEX_REPLY: u8 = 11;
    pub(super) const PROPOSE: u8 = 12;
    pub(super) const PROPOSE_REFUSED: u8 = 13;
    pub(super) const TIMEOUT_NOW: u8 = 14;
    pub(super) const REMOVED: u8 = 15;
    pub(super) const STANDING: u8 = 16;
}

mod reason {
    pub(super) const NO_LEADER: u8 = 1;
    pub(super) const LEADER_CHANGED: u8 = 2;
    pub(super) const TRANSFERRING: u8 = 3;
    pub(super) const OVERLOADED: u8 = 4;
    pub(super) const NO_SPACE: u8 = 5;
}

mod standing {
    pub(super) const ABOVE: u8 = 0;
    pub(super) const BELOW: u8 = 1;
    pub(super) const EXHAUSTED: u8 = 2;
}

/// Number of bytes of the length field that precedes each message.
const LENGTH_BYTES: usize = 4;

/// Appends the encoding of one message to `into`.
///
/// # Errors
/// Returns an error if the message has no encoding or is too large. Nothing was appended.
pub fn put_message(into: &mut Vec<u8>, message: &Message) -> Result<(), EncodeError> {
    let start = into.len();
    let encoded = put_unchecked(into, message).and_then(|()| {
        let length = into.len() - start - LENGTH_BYTES;
        let length = u32::try_from(length).map_err(|_| EncodeError::TooLarge("message"))?;
        into[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        Ok(())
    });
    if encoded.is_err() {
        into.truncate(start);
    }
    encoded
}

fn put_unchecked(into: &mut Vec<u8>, message: &Message) -> Result<(), EncodeError> {
    let mut open = |kind: u8| {
        into.extend_from_slice(&[0; LENGTH_BYTES]);
        into.push(kind);
        put_u64(into, message.term.0);
    };
    match &message.body {
        Body::PreVote { last } => {
            open(kind::PRE_VOTE);
            put_entry_id(into, *last);
        }
        Body::PreVoteReply { granted } => {
            open(kind::PRE_VOTE_REPLY);
            into.push(u8::from(*granted));
        }
        Body::Vote { last, transfer } => {
            open(kind::VOTE);
            put_entry_id(into, *last);
            into.push(u8::from(*transfer));
        }
        Body::VoteReply { granted } => {
            open(kind::VOTE_REPLY);
            into.push(u8::from(*granted));
        }
        Body::Append(append) => {
            open(kind::APPEND);
            put_append(into, append)?;
        }
        Body::AppendReply(AppendReply::Accepted { matched, round }) => {
            open(kind::ACCEPTED);
            put_u64(into, matched.0);
            put_u64(into, *round);
        }
        Body::AppendReply(AppendReply::Rejected { prev, hint, round }) => {
            open(kind::REJECTED);
            put_u64(into, prev.0);
            put_entry_id(into, *hint);
            put_u64(into, *round);
        }
        Body::Heartbeat { commit, round } => {
            open(kind::HEARTBEAT);
            put_u64(into, commit.0);
            put_u64(into, *round);
        }
        Body::HeartbeatReply { round } => {
            open(kind::HEARTBEAT_REPLY);
            put_u64(into, *round);
        }
        Body::ReadIndex { context } => {
            open(kind::READ_INDEX);
            put_u64(into, context.0);
        }
        Body::ReadIndexReply { context, index } => {
            open(kind::READ_INDEX_REPLY);
            put_u64(into, context.0);
            into.push(u8::from(index.is_some()));
            put_u64(into, index.unwrap_or_default().0);
        }
        Body::Propose { proposals } => {
            open(kind::PROPOSE);
            put_count(into, proposals.len())?;
            for (name, payload) in proposals {
                put_u64(into, name.0);
                put_payload(into, payload)?;
            }
        }
        Body::ProposeRefused { proposals, reason } => {
            open(kind::PROPOSE_REFUSED);
            into.push(reason_byte(*reason));
            put_count(into, proposals.len())?;
            proposals.iter().for_each(|name| put_u64(into, name.0));
        }
        Body::TimeoutNow { last } => {
            open(kind::TIMEOUT_NOW);
            put_entry_id(into, *last);
        }
        Body::Removed { index } => {
            open(kind::REMOVED);
            put_u64(into, index.0);
        }
        Body::Standing(standing) => {
            open(kind::STANDING);
            into.push(standing_byte(*standing));
        }
        Body::InstallSnapshot(_) => {
            return Err(EncodeError::TooLarge("a snapshot's arrival, which is not sent between members"));
        }
    }
    Ok(())
}

fn put_append(into: &mut Vec<u8>, append: &Append) -> Result<(), EncodeError> {
    let Append { prev, entries, commit, round } = append;
    put_entry_id(into, *prev);
    put_u64(into, commit.0);
    put_u64(into, *round);
    put_count(into, entries.len())?;
    entries.iter().try_for_each(|entry| put_entry(into, entry))
}

fn put_u64(into: &mut Vec<u8>, number: u64) {
    into.extend_from_slice(&number.to_le_bytes());
}

fn put_count(into: &mut Vec<u8>, count: usize) -> Result<(), EncodeError> {
    let count = u32::try_from(count).map_err(|_| EncodeError::TooLarge("list"))?;
    into.extend_from_slice(&count.to_le_bytes());
    Ok(())
}

fn reason_byte(why: DropReason) -> u8 {
    match why {
        DropReason::NoLeader => reason::NO_LEADER,
        DropReason::LeaderChanged => reason::LEADER_CHANGED,
        DropReason::Transferring => reason::TRANSFERRING,
        DropReason::Overloaded => reason::OVERLOADED,
        DropReason::NoSpace => reason::NO_SPACE,
    }
}

fn standing_byte(standing: Standing) -> u8 {
    match standing {
        Standing::Above => standing::ABOVE,
        Standing::Below => standing::BELOW,
        Standing::Exhausted => standing::EXHAUSTED,
    }
}

/// Decodes all messages of a frame. Payloads are slices of the frame.
///
/// # Errors
/// Returns an error if any message is malformed. Then no message of the frame is returned.
pub fn messages(frame: Bytes) -> Result<Vec<Message>, DecodeError> {
    let mut frame = Reader::new(frame);
    let mut messages = Vec::new();
    while frame.remaining() > 0 {
        let length = frame.u32()? as usize;
        let mut reader = Reader::new(frame.bytes(length)?);
        let kind = reader.u8()?;
        let term = Term(reader.u64()?);
        if let Some(body) = body(kind, &mut reader)? {
            reader.finish()?;
            messages.push(Message { term, body });
        }
    }
    Ok(messages)
}

fn body(kind: u8, reader: &mut Reader) -> Result<Option<Body>, DecodeError> {
    Ok(Some(match kind {
        kind::PRE_VOTE => Body::PreVote { last: reader.entry_id()? },
        kind::PRE_VOTE_REPLY => Body::PreVoteReply { granted: flag(reader)? },
        kind::VOTE => Body::Vote { last: reader.entry_id()?, transfer: flag(reader)? },
        kind::VOTE_REPLY => Body::VoteReply { granted: flag(reader)? },
        kind::APPEND => Body::Append(append(reader)?),
        kind::ACCEPTED => {
            Body::AppendReply(AppendReply::Accepted { matched: Index(reader.u64()?), round: reader.u64()? })
        }
        kind::REJECTED => Body::AppendReply(AppendReply::Rejected {
            prev: Index(reader.u64()?),
            hint: reader.entry_id()?,
            round: reader.u64()?,
        }),
        kind::HEARTBEAT => Body::Heartbeat { commit: Index(reader.u64()?), round: reader.u64()? },
        kind::HEARTBEAT_REPLY => Body::HeartbeatReply { round: reader.u64()? },
        kind::READ_INDEX => Body::ReadIndex { context: ReadContext(reader.u64()?) },
        kind::READ_INDEX_REPLY => {
            let context = ReadContext(reader.u64()?);
            let found = flag(reader)?;
            let index = Index(reader.u64()?);
            Body::ReadIndexReply { context, index: found.then_some(index) }
        }
        kind::PROPOSE => {
            let count = reader.u32()?;
            let mut proposals = Vec::new();
            for _ in 0..count {
                proposals.push((ProposalId(reader.u64()?), reader.payload()?));
            }
            Body::Propose { proposals }
        }
        kind::PROPOSE_REFUSED => {
            let reason = drop_reason(reader.u8()?)?;
            let count = reader.u32()?;
            let mut proposals = Vec::new();
            for _ in 0..count {
                proposals.push(ProposalId(reader.u64()?));
            }
            Body::ProposeRefused { proposals, reason }
        }
        kind::TIMEOUT_NOW => Body::TimeoutNow { last: reader.entry_id()? },
        kind::REMOVED => Body::Removed { index: Index(reader.u64()?) },
        kind::STANDING => Body::Standing(standing(reader.u8()?)?),
        _ => return Ok(None),
    }))
}

fn append(reader: &mut Reader) -> Result<Append, DecodeError> {
    let prev = reader.entry_id()?;
    let commit = Index(reader.u64()?);
    let round = reader.u64()?;
    let count = reader.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(reader.entry()?);
    }
    Ok(Append { prev, entries, commit, round })
}

fn flag(reader: &mut Reader) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Malformed("flag")),
    }
}

fn drop_reason(byte: u8) -> Result<DropReason, DecodeError> {
    match byte {
        reason::NO_LEADER => Ok(DropReason::NoLeader),
        reason::LEADER_CHANGED => Ok(DropReason::LeaderChanged),
        reason::TRANSFERRING => Ok(DropReason::Transferring),
        reason::OVERLOADED => Ok(DropReason::Overloaded),
        reason::NO_SPACE => Ok(DropReason::NoSpace),
        found => Err(DecodeError::Unknown { what: "reason", found }),
    }
}

fn standing(byte: u8) -> Result<Standing, DecodeError> {
    match byte {
        standing::ABOVE => Ok(Standing::Above),
        standing::BELOW => Ok(Standing::Below),
        standing::EXHAUSTED => Ok(Standing::Exhausted),
        found => Err(DecodeError::Unknown { what: "standing", found }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use raft::{Configuration, Entry, EntryId, MemberId, MemberInfo, Payload, SnapshotMeta};

    use super::*;

    fn id() -> impl Strategy<Value = EntryId> {
        (any::<u64>(), any::<u64>()).prop_map(|(term, index)| EntryId { term: Term(term), index: Index(index) })
    }

    fn payload() -> impl Strategy<Value = Payload> {
        let configuration = Configuration {
            voters: [MemberId(1), MemberId(2)].into(),
            learners: [MemberId(3)].into(),
            members: [(MemberId(1), MemberInfo { name: "m-1".into(), ..MemberInfo::default() })].into(),
            ..Configuration::default()
        };
        prop_oneof![
            Just(Payload::Noop),
            Just(Payload::Barrier),
            Just(Payload::Configuration(Arc::new(configuration))),
            vec(any::<u8>(), 0..300).prop_map(|bytes| Payload::Normal(bytes.into())),
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (id(), any::<u64>(), payload()).prop_map(|(id, time_ms, payload)| Entry { id, time_ms, payload })
    }

    fn reason() -> impl Strategy<Value = DropReason> {
        prop_oneof![
            Just(DropReason::NoLeader),
            Just(DropReason::LeaderChanged),
            Just(DropReason::Transferring),
            Just(DropReason::Overloaded),
            Just(DropReason::NoSpace),
        ]
    }

    fn some_body() -> impl Strategy<Value = Body> {
        let number = any::<u64>;
        let index = || any::<u64>().prop_map(Index);
        let name = || any::<u64>().prop_map(ProposalId);
        prop_oneof![
            id().prop_map(|last| Body::PreVote { last }),
            any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
            (id(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
            any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
            (id(), vec(entry(), 0..5), index(), number())
                .prop_map(|(prev, entries, commit, round)| Body::Append(Append { prev, entries, commit, round })),
            (index(), number())
                .prop_map(|(matched, round)| Body::AppendReply(AppendReply::Accepted { matched, round })),
            (index(), id(), number()).prop_map(|(prev, hint, round)| Body::AppendReply(AppendReply::Rejected {
                prev,
                hint,
                round
            })),
            (index(), number()).prop_map(|(commit, round)| Body::Heartbeat { commit, round }),
            number().prop_map(|round| Body::HeartbeatReply { round }),
            number().prop_map(|context| Body::ReadIndex { context: ReadContext(context) }),
            (number(), proptest::option::of(index()))
                .prop_map(|(context, index)| Body::ReadIndexReply { context: ReadContext(context), index }),
            vec((name(), payload()), 0..4).prop_map(|proposals| Body::Propose { proposals }),
            (vec(name(), 0..4), reason()).prop_map(|(proposals, reason)| Body::ProposeRefused { proposals, reason }),
            id().prop_map(|last| Body::TimeoutNow { last }),
            index().prop_map(|index| Body::Removed { index }),
            prop_oneof![Just(Standing::Above), Just(Standing::Below), Just(Standing::Exhausted)]
                .prop_map(Body::Standing),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        (any::<u64>(), some_body()).prop_map(|(term, body)| Message { term: Term(term), body })
    }

    fn frame(messages: &[Message]) -> Vec<u8> {
        let mut frame = Vec::new();
        messages.iter().for_each(|message| put_message(&mut frame, message).unwrap());
        frame
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(sent in vec(message(), 0..8)) {
            prop_assert_eq!(messages(frame(&sent).into()).unwrap(), sent);
        }

        #[test]
        fn decoding_any_bytes_does_not_panic(bytes in vec(any::<u8>(), 0..600)) {
            let _ = messages(bytes.into());
        }

        #[test]
        fn decoding_a_damaged_frame_does_not_panic(
            sent in vec(message(), 1..4), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut bytes = frame(&sent);
            let at = at.index(bytes.len());
            bytes[at] = with;
            if cut {
                bytes.truncate(at);
            }
            let _ = messages(bytes.into());
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_skipped() {
        let known = Message { term: Term(3), body: Body::HeartbeatReply { round: 9 } };
        let mut bytes = vec![12, 0, 0, 0, 200];
        bytes.extend_from_slice(&[0; 11]);
        bytes.extend_from_slice(&frame(std::slice::from_ref(&known)));
        assert_eq!(messages(bytes.into()).unwrap(), [known]);
    }

    #[test]
    fn the_arrival_of_a_snapshot_cannot_be_encoded() {
        let message = Message { term: Term(1), body: Body::InstallSnapshot(SnapshotMeta::default()) };
        let mut bytes = vec![7];
        put_message(&mut bytes, &message).unwrap_err();
        assert_eq!(bytes, [7], "bytes of the failed message are left");
    }

    /// The layout must not change, because members of other versions depend on it.
    #[test]
    fn the_layout_of_an_append_is_unchanged() {
        let entry = Entry {
            id: EntryId { term: Term(2), index: Index(5) },
            time_ms: 7,
            payload: Payload::Normal(Bytes::from_static(b"ab")),
        };
        let append = Append {
            prev: EntryId { term: Term(1), index: Index(4) },
            entries: vec![entry],
            commit: Index(3),
            round: 6,
        };
        let bytes = frame(&[Message { term: Term(2), body: Body::Append(append) }]);
        let mut expected = vec![76, 0, 0, 0, 5];
        for number in [2_u64, 1, 4, 3, 6] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&1_u32.to_le_bytes());
        for number in [2_u64, 5, 7] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&[1, 2, 0, 0, 0, b'a', b'b']);
        assert_eq!(bytes, expected);
    }
}
