//! Encoding of commands and batches: decoding returns the encoded value, and no bytes cause a panic.

#[path = "model/commands.rs"]
#[allow(dead_code, reason = "the model test uses the rest")]
mod commands;

use bytes::Bytes;
use mvcc::{
    Batch, BatchBuilder, BatchError, BatchFormat, Command, DecodeError, FeatureLevel, MAX_TXN_OPS, Op, Put, Txn,
};
use proptest::prelude::*;

fn nested(depth: usize) -> Command {
    let txn = (0..depth).fold(Txn::default(), |inner, _| Txn { success: vec![Op::Txn(inner)], ..Txn::default() });
    Command::Txn(txn)
}

/// Generates commands, valid or not.
fn command() -> impl Strategy<Value = Command> {
    prop_oneof![commands::command(), commands::txn().prop_map(Command::Txn)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_command_survives_its_encoding(command in command()) {
        let encoded = command.encode();
        prop_assert_eq!(Command::decode(encoded), Ok(command));
    }

    #[test]
    fn a_damaged_command_is_refused_or_is_another_valid_encoding(
        command in command(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut encoded = command.encode().to_vec();
        let position = position.index(encoded.len());
        if cut {
            encoded.truncate(position);
            prop_assert!(Command::decode(encoded.into()).is_err());
        } else {
            encoded[position] = byte;
            if let Ok(other) = Command::decode(encoded.clone().into()) {
                prop_assert_eq!(other.encode(), encoded, "each command has exactly one encoding");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for start in [&[][..], &[1], &[1, 1], &[1, 3], &[1, 3, 1], &[1, 3, 0, 1, 3]] {
            let bytes: Bytes = start.iter().chain(&bytes).copied().collect();
            if let Ok(command) = Command::decode(bytes.clone()) {
                prop_assert_eq!(command.encode(), bytes.clone());
            }
            if let Ok(batch) = Batch::decode(bytes.clone()) {
                prop_assert_eq!(batch.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_batch_survives_its_encoding(commands in prop::collection::vec((any::<u64>(), command()), 0..8)) {
        for format in FORMATS {
            survives(&Batch { commands: commands.clone() }, format)?;
        }
    }
}

const FORMATS: [BatchFormat; 2] = [BatchFormat::V1, BatchFormat::V2];

fn survives(batch: &Batch, format: BatchFormat) -> Result<(), TestCaseError> {
    let mut builder = BatchBuilder::new(format);
    for (number, (request_id, command)) in batch.commands.iter().enumerate() {
        if number % 2 == 0 {
            builder.push(*request_id, command);
        } else {
            builder.push_encoded(*request_id, &command.encode());
        }
    }
    prop_assert_eq!(builder.len(), batch.commands.len());
    let size = builder.size_bytes();
    let encoded = builder.finish();
    prop_assert_eq!((&encoded, encoded.len()), (&batch.encode_as(format), size));
    prop_assert_eq!(Batch::decode(encoded.clone()), Ok(batch.clone()));
    let by_former = Batch::decode_up_to(BatchFormat::V1, encoded);
    let unknown = Err(BatchError::UnknownVersion(2));
    prop_assert_eq!(by_former, if format == BatchFormat::V1 { Ok(batch.clone()) } else { unknown });
    Ok(())
}

#[test]
fn keys_and_values_share_the_entry() {
    let put = Put { key: "key".into(), value: vec![b'v'; 1000].into(), ..Put::default() };
    let batch = Batch { commands: vec![(1, Command::Put(put))] };
    for format in FORMATS {
        let entry = batch.encode_as(format);
        let decoded = Batch::decode(entry.clone()).expect("a batch just encoded decodes");
        let [(1, Command::Put(put))] = &decoded.commands[..] else { panic!("one put was encoded") };
        let inside = entry.as_ptr_range();
        assert!(inside.contains(&put.key.as_ptr()) && inside.contains(&put.value.as_ptr()));
    }
}

#[test]
fn nesting_is_bounded() {
    let deepest = nested(MAX_TXN_OPS);
    assert_eq!(deepest.validate(), Ok(()));
    assert_eq!(Command::decode(deepest.encode()), Ok(deepest));
    assert_eq!(Command::decode(nested(MAX_TXN_OPS + 1).encode()), Err(DecodeError::TooDeep));
    let endless: Bytes = [1, 3].into_iter().chain([0, 1, 3].repeat(100_000)).collect();
    assert_eq!(Command::decode(endless), Err(DecodeError::TooDeep));
}

#[test]
fn a_count_or_length_without_its_bytes_allocates_nothing() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let compares: Bytes = [1, 3].into_iter().chain(huge).collect();
    assert_eq!(Command::decode(compares), Err(DecodeError::Truncated));
    let key: Bytes = [1, 1, 0].into_iter().chain(huge).collect();
    assert_eq!(Command::decode(key), Err(DecodeError::Truncated));
}

#[test]
fn unknown_versions_are_refused_with_their_number() {
    assert_eq!(Command::decode(Bytes::from_static(&[2, 1])), Err(DecodeError::UnknownVersion(2)));
    assert_eq!(Batch::decode(Bytes::from_static(&[9])), Err(BatchError::UnknownVersion(9)));
    assert_eq!(Batch::decode(Bytes::new()), Err(BatchError::Truncated));
}

/// A program that does not know an encoding must be told apart from a program that finds damage.
#[test]
fn unknown_bytes_are_newer_and_missing_bytes_are_damage() {
    let batch = |command: &[u8]| {
        let header = [1, 5, 0, 0, 0, 0, 0, 0, 0, command.len() as u8, 0, 0, 0];
        Batch::decode([&header, command].concat().into()).expect_err("it is no batch of this version").is_newer()
    };
    for newer in [&[2, 1][..], &[1, 9], &[1, 5, 1, 9, 0], &[1, 4, 2, 0]] {
        assert!(batch(newer), "{newer:?}");
    }
    for damaged in [&[1][..], &[1, 8, 2, 0, 0], &[1, 8, 2, 0, 0, 0, 0]] {
        assert!(!batch(damaged), "{damaged:?}");
    }
    assert!(BatchError::UnknownVersion(3).is_newer() && !BatchError::Truncated.is_newer());
}

/// A raise is the only thing above the level that is written at the former level. It is alone in its entry.
#[test]
fn the_encoding_of_a_raise_does_not_change() {
    let raise = Command::RaiseFeatureLevel { to: FeatureLevel(0x0102) };
    let batch = Batch { commands: vec![(5, raise)] };
    assert_eq!(&batch.encode()[..], [1, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1, 8, 2, 1, 0, 0]);
}

/// Logs on disk contain this encoding, so the bytes must not change.
#[test]
fn the_encoding_of_a_put_does_not_change() {
    let put = Put { key: "k".into(), value: "v".into(), lease: 3, prev_kv: true, ..Put::default() };
    let command = Command::Put(put);
    assert_eq!(&command.encode()[..], [1, 1, 1, 1, b'k', 1, b'v', 6]);
    let batch = Batch { commands: vec![(5, command)] };
    assert_eq!(&batch.encode()[..], [1, 5, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 1, 1, 1, b'k', 1, b'v', 6]);
}

/// A put in either branch counts, however deep it is nested, and whatever the other commands of the batch are.
#[test]
fn a_batch_adds_content_if_it_holds_a_put_anywhere() {
    let put = || Op::Put(Put { key: "k".into(), ..Put::default() });
    let free = || Op::DeleteRange(mvcc::DeleteRange { key: "k".into(), ..Default::default() });
    let success = |op| Command::Txn(Txn { success: vec![free(), op], ..Txn::default() });
    let failure = |op| Txn { failure: vec![op], ..Txn::default() };
    let adding = [
        Command::Put(Put { key: "k".into(), ..Put::default() }),
        success(put()),
        Command::Txn(failure(put())),
        success(Op::Txn(failure(put()))),
    ];
    let other = [
        Command::DeleteRange(mvcc::DeleteRange { key: "k".into(), ..Default::default() }),
        Command::Compact(mvcc::Compact { revision: 4, physical: true }),
        Command::RaiseFeatureLevel { to: FeatureLevel(2) },
        success(free()),
        success(Op::Txn(failure(free()))),
        nested(3),
    ];
    let batch = |commands: &[&Command]| {
        let commands = commands.iter().zip(1..).map(|(command, id)| (id, Command::clone(command))).collect();
        Batch { commands }.encode()
    };
    let frees: Vec<&Command> = other.iter().collect();
    assert!(!Batch::adds_content(&batch(&frees)));
    for command in &adding {
        assert!(
            command.adds_content() && Batch::adds_content(&batch(&[&frees[..], &[command]].concat())),
            "{command:?}"
        );
    }
    assert!(Batch::adds_content(&Bytes::from_static(b"no batch")));
}
