//! Headers of a batch's items: known bytes, fields that are skipped, fields that must be understood, and damage.

use bytes::Bytes;
use mvcc::{Batch, BatchError, BatchFormat, Command, Compact, FeatureLevel, HeaderError, Put};
use proptest::prelude::*;

/// A field of a header: number, whether it must be understood, content.
type Field = (u64, bool, Vec<u8>);

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn encoded(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, must, content) in fields {
        put_varint(&mut out, number << 1 | u64::from(*must));
        put_varint(&mut out, content.len() as u64);
        out.extend_from_slice(content);
    }
    out
}

fn compact() -> Command {
    Command::Compact(Compact { revision: 7, physical: true })
}

/// Appends an item whose header has these bytes.
fn put_item(out: &mut Vec<u8>, request_id: u64, header: &[u8], command: &Command) {
    out.extend_from_slice(&request_id.to_le_bytes());
    put_varint(out, header.len() as u64);
    out.extend_from_slice(header);
    let command = command.encode();
    out.extend_from_slice(&(command.len() as u32).to_le_bytes());
    out.extend_from_slice(&command);
}

/// A batch of one item whose header has these bytes.
fn with_header(header: &[u8]) -> Bytes {
    let mut out = vec![2];
    put_item(&mut out, 9, header, &compact());
    out.into()
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let field = (1..1u64 << 20, any::<bool>(), prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(field, 0..6).prop_map(|mut fields| {
        let mut number = 0;
        for field in &mut fields {
            number += field.0;
            field.0 = number;
        }
        fields
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn fields_are_skipped_unless_they_must_be_understood(mut fields in fields()) {
        let batch = Batch { commands: vec![(9, compact())] };
        let must = fields.iter().find(|field| field.1).map(|field| field.0 << 1 | 1);
        match must {
            None => prop_assert_eq!(Batch::decode(with_header(&encoded(&fields))), Ok(batch.clone())),
            Some(tag) => {
                let error = Batch::decode(with_header(&encoded(&fields))).unwrap_err();
                let source = HeaderError::UnknownField(tag);
                prop_assert_eq!(error, BatchError::Header { position: 0, request_id: 9, source });
                prop_assert!(error.is_newer());
            }
        }
        fields.iter_mut().for_each(|field| field.1 = false);
        prop_assert_eq!(Batch::decode(with_header(&encoded(&fields))), Ok(batch));
    }

    /// A damaged header is not newer, whatever else is in it.
    #[test]
    fn fields_out_of_order_are_damage(mut fields in fields(), again in any::<prop::sample::Index>(), must in any::<bool>()) {
        prop_assume!(!fields.is_empty());
        let number = fields[again.index(fields.len())].0;
        fields.push((number, must, Vec::new()));
        let error = Batch::decode(with_header(&encoded(&fields))).unwrap_err();
        prop_assert!(!error.is_newer(), "{error}");
    }

    #[test]
    fn arbitrary_headers_are_decoded_or_refused(header in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(decoded) = Batch::decode(with_header(&header)) {
            prop_assert_eq!(decoded, Batch { commands: vec![(9, compact())] });
        }
    }

    #[test]
    fn arbitrary_batches_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), short in any::<bool>()) {
        let start: &[u8] = if short { &[2] } else { &[2, 1, 0, 0, 0, 0, 0, 0, 0] };
        let bytes: Bytes = start.iter().chain(&bytes).copied().collect();
        if let Ok(batch) = Batch::decode(bytes.clone()) {
            let again = batch.encode_as(BatchFormat::V2);
            prop_assert!(again.len() <= bytes.len());
            prop_assert_eq!(Batch::decode(again), Ok(batch));
        }
    }
}

/// Logs on disk contain this encoding, so the bytes must not change.
#[test]
fn the_encoding_of_version_2_does_not_change() {
    let put = Put { key: "k".into(), value: "v".into(), lease: 3, prev_kv: true, ..Put::default() };
    let raise = Command::RaiseFeatureLevel { to: FeatureLevel(3) };
    let batch = Batch { commands: vec![(5, Command::Put(put)), (6, raise)] };
    let first = [5, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 1, 1, 1, b'k', 1, b'v', 6];
    let second = [6, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1, 8, 3, 0, 0, 0];
    assert_eq!(batch.encode_as(BatchFormat::V2), [&[2][..], &first, &second].concat());
}

/// A batch that a later program wrote: its first item has two fields, its second one none.
#[test]
fn a_header_of_a_later_program_is_read() {
    let user = [0x06, 3, b'a', b'n', b'n'];
    let batch = [
        &[2, 5, 0, 0, 0, 0, 0, 0, 0, 10][..],
        &user,
        &[0x80, 0x01, 2, 7, 7],
        &[4, 0, 0, 0, 1, 4, 1, 14],
        &[6, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 4, 1, 14],
    ];
    let expected = Batch { commands: vec![(5, compact()), (6, compact())] };
    assert_eq!(Batch::decode(batch.concat().into()), Ok(expected));
}

#[test]
fn every_truncation_is_damage() {
    let mut whole = vec![2];
    let mut boundaries = vec![1];
    for fields in [vec![], vec![(1, false, vec![1, 2, 3]), (300, false, vec![0; 130])]] {
        put_item(&mut whole, 9, &encoded(&fields), &compact());
        boundaries.push(whole.len());
    }
    for length in 0..whole.len() {
        let decoded = Batch::decode(Bytes::copy_from_slice(&whole[..length]));
        match boundaries.iter().position(|boundary| *boundary == length) {
            Some(items) => assert_eq!(decoded.map(|batch| batch.commands.len()), Ok(items)),
            None => assert_eq!(decoded, Err(BatchError::Truncated), "{length} bytes"),
        }
    }
    assert_eq!(Batch::decode(whole.into()).map(|batch| batch.commands.len()), Ok(2));
}

#[test]
fn a_header_cut_off_inside_its_item_is_damage() {
    let whole = encoded(&[(1, true, vec![1, 2, 3]), (300, false, vec![0; 130])]);
    for length in (1..whole.len()).filter(|length| *length != 5) {
        let error = Batch::decode(with_header(&whole[..length])).unwrap_err();
        assert!(matches!(error, BatchError::Header { source: HeaderError::Malformed(_), .. }), "{length}: {error}");
        assert!(!error.is_newer(), "{length}: {error}");
    }
}

#[test]
fn numbers_are_in_their_shortest_form() {
    // Number 0, tag of two bytes for one, length of two bytes for one, more than 64 bits.
    let long = [&[0xff; 9][..], &[2, 0]].concat();
    for header in [&[0, 0][..], &[1, 0], &[0x82, 0, 0], &[2, 0x80, 0], &long] {
        let error = Batch::decode(with_header(header)).unwrap_err();
        assert!(matches!(error, BatchError::Header { .. }) && !error.is_newer(), "{header:?}: {error}");
    }
    let long_length: Bytes = [&[2, 9, 0, 0, 0, 0, 0, 0, 0, 0x80, 0][..], &[4, 0, 0, 0, 1, 4, 1, 14]].concat().into();
    let error = Batch::decode(long_length).unwrap_err();
    assert!(matches!(error, BatchError::Header { .. }) && !error.is_newer(), "{error}");
}

/// The largest tag, and a length that would end after the largest address.
#[test]
fn a_length_without_its_bytes_allocates_nothing() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let field = [&huge[..], &huge].concat();
    assert!(!Batch::decode(with_header(&field)).unwrap_err().is_newer());
    let header = [&[2, 9, 0, 0, 0, 0, 0, 0, 0][..], &huge].concat();
    assert_eq!(Batch::decode(header.into()), Err(BatchError::Truncated));
}
