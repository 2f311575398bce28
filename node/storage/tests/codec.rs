//! Binary form of values: decoding returns the encoded value, and no bytes make a reader panic. Owns the generators of
//! values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memory_disk::MemoryDisk;
use proptest::prelude::*;
use raft::{Configuration, Entry, EntryId, Index, MemberId, MemberInfo, Payload, SnapshotMeta, Term};
use storage::codec::{self, DecodeError, Reader};
use storage::{Disk, OpenError, Options, Storage};

fn ids() -> impl Strategy<Value = BTreeSet<MemberId>> {
    prop::collection::btree_set(any::<u64>().prop_map(MemberId), 0..5)
}

fn info() -> impl Strategy<Value = MemberInfo> {
    (".{0,20}", ".{0,40}", ".{0,40}").prop_map(|(name, peer_url, client_url)| MemberInfo { name, peer_url, client_url })
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let members = prop::collection::btree_map(any::<u64>().prop_map(MemberId), info(), 0..5);
    (ids(), ids(), ids(), ids(), members, ids()).prop_map(
        |(voters, outgoing, learners, learners_next, members, removed): (_, _, _, _, BTreeMap<_, _>, _)| {
            Configuration { voters, outgoing, learners, learners_next, members, removed }
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Noop),
        Just(Payload::Barrier),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Payload::Normal(bytes.into())),
        configuration().prop_map(|c| Payload::Configuration(Arc::new(c))),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (any::<u64>(), any::<u64>(), any::<u64>(), payload()).prop_map(|(term, index, time_ms, payload)| Entry {
        id: EntryId { term: Term(term), index: Index(index) },
        time_ms,
        payload,
    })
}

fn snapshot_meta() -> impl Strategy<Value = SnapshotMeta> {
    (any::<[u64; 4]>(), configuration()).prop_map(|([term, index, time_ms, at], configuration)| SnapshotMeta {
        last: EntryId { term: Term(term), index: Index(index) },
        time_ms,
        configuration: Arc::new(configuration),
        configuration_index: Index(at),
    })
}

proptest! {
    #[test]
    fn entries_are_decoded_one_after_another(entries in prop::collection::vec(entry(), 0..6)) {
        let mut bytes = Vec::new();
        for entry in &entries {
            codec::put_entry(&mut bytes, entry).expect("small enough");
        }
        let mut reader = Reader::new(bytes.into());
        for entry in &entries {
            prop_assert_eq!(&reader.entry().expect("what was encoded"), entry);
        }
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_snapshot_meta_is_decoded_as_it_was_encoded(meta in snapshot_meta()) {
        let mut bytes = Vec::new();
        codec::put_snapshot_meta(&mut bytes, &meta).expect("small enough");
        let mut reader = Reader::new(bytes.into());
        prop_assert_eq!(reader.snapshot_meta(), Ok(meta));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_cut_off_entry_is_truncated(entry in entry(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        codec::put_entry(&mut bytes, &entry).expect("small enough");
        let cut = cut.index(bytes.len());
        prop_assert_eq!(Reader::new(Bytes::from(bytes).slice(..cut)).entry(), Err(DecodeError::Truncated));
    }

    /// A value has exactly one encoding, so a reader accepts only bytes that an encoder writes.
    #[test]
    fn arbitrary_bytes_are_refused_or_are_an_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let input = Bytes::from(bytes);
        let mut reader = Reader::new(input.clone());
        if let Ok(entry) = reader.entry() {
            let mut again = Vec::new();
            codec::put_entry(&mut again, &entry).expect("it was encoded once");
            prop_assert_eq!(&again[..], &input[..again.len()]);
        }
        let _ = Reader::new(input.clone()).snapshot_meta();
        let _ = Reader::new(input).configuration();
    }

    #[test]
    fn a_damaged_configuration_is_refused_or_is_an_encoding(
        configuration in configuration(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        codec::put_configuration(&mut bytes, &configuration).expect("small enough");
        let at = at.index(bytes.len());
        bytes[at] = value;
        let mut reader = Reader::new(bytes.clone().into());
        if let Ok(read) = reader.configuration() {
            let mut again = Vec::new();
            codec::put_configuration(&mut again, &read).expect("it was encoded once");
            prop_assert_eq!(&again[..], &bytes[..again.len()]);
        }
    }

    /// If a file holds arbitrary bytes, opening the directory succeeds or returns an error, but never panics.
    #[test]
    fn a_start_over_arbitrary_files_does_not_panic(
        name in prop::sample::select(vec![
            "identity", "hard_state", "wal/0000000000000001.wal", "snap/0000000000000001-0000000000000001.snap",
        ]),
        head in prop::sample::select(vec![&b""[..], b"RAFTWAL\n", b"RAFTNODE", b"RAFTSNAP"]),
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let disk = MemoryDisk::new();
        let options = Options::new(MemberId(1), 2);
        let dir = Path::new("/data");
        let opened = Storage::open(Arc::new(disk.clone()), dir, options.clone()).expect("a blank disk opens");
        drop(opened);
        disk.create_dir(&dir.join("wal")).expect("a folder");
        disk.overwrite(&dir.join(name), Some([head, &bytes[..]].concat()));
        match Storage::open(Arc::new(disk), dir, options) {
            // The directory opens only if the identity file is intact. The volume is then still blank.
            Ok(found) => prop_assert!(name != "identity" && found.identity.cluster.is_none()),
            Err(OpenError::Damaged { .. } | OpenError::TooNew { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn payloads_are_slices_of_the_input() {
    let payload = Bytes::from(vec![5; 100]);
    let entry = Entry { id: EntryId::default(), time_ms: 1, payload: Payload::Normal(payload) };
    let mut bytes = Vec::new();
    codec::put_entry(&mut bytes, &entry).expect("small enough");
    let input = Bytes::from(bytes);
    let Payload::Normal(read) = Reader::new(input.clone()).entry().expect("what was encoded").payload else {
        panic!("a normal payload was written")
    };
    let inside = input.as_ptr_range();
    assert!(inside.contains(&read.as_ptr()), "not a copy");
}

#[test]
fn a_count_beyond_the_input_reserves_no_memory() {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Reader::new(bytes.into()).configuration(), Err(DecodeError::Truncated));
}
