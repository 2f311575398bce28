//! Planted violations of the named invariants that a caller can break. Each violation makes an assertion fail before
//! anything is written. Violations of the other invariants are planted next to the assertions in `src`.

#[path = "support/history.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod history;

use history::{entry, meta, open, options, record};
use memory_disk::MemoryDisk;
use raft::{Entry, EntryId, HardState, Index, IoId, MemberId, Persist, Term};
use storage::{Options, Start, Storage};

/// Returns a member whose term, vote and first two entries are durable.
fn member() -> Storage {
    let mut storage = open(&MemoryDisk::new(), 1).expect("a blank disk opens").storage;
    storage.bootstrap(record(), &Start::Empty).expect("a blank volume");
    append(&mut storage, Some((3, 7)), vec![entry(1, 2, 10), entry(2, 3, 10)]);
    storage
}

fn append(storage: &mut Storage, hard_state: Option<(u64, u64)>, entries: Vec<Entry>) {
    let hard_state = hard_state.map(|(term, vote)| HardState { term: Term(term), vote: Some(MemberId(vote)) });
    storage.append(&[Persist { io: IoId(1), hard_state, entries }]).expect("no fault");
}

fn receive(storage: &Storage, last: EntryId) {
    let receiver = storage.snapshots().receive(meta(last)).expect("a draft");
    receiver.finish_verified().expect("a received snapshot");
}

#[test]
fn a_member_that_keeps_all_invariants_is_not_stopped() {
    let mut storage = member();
    append(&mut storage, Some((3, 7)), vec![entry(3, 3, 10)]);
    append(&mut storage, Some((4, 9)), vec![entry(3, 3, 10), entry(4, 4, 10)]);
    let last = EntryId { term: Term(4), index: Index(9) };
    receive(&storage, last);
    storage.install_snapshot(&meta(last), None).expect("no fault");
    storage.purge(Index(10)).expect("no fault");
}

/// Violates `hard_state_never_goes_back`.
#[test]
#[should_panic(expected = "the term goes back from 3 to 2")]
fn a_planted_older_term_is_caught() {
    append(&mut member(), Some((2, 7)), Vec::new());
}

/// Violates `hard_state_never_goes_back`.
#[test]
#[should_panic(expected = "the vote of term 3 changes")]
fn a_planted_second_vote_in_a_term_is_caught() {
    append(&mut member(), Some((3, 8)), Vec::new());
}

/// Violates `no_entry_ahead_of_the_term`.
#[test]
#[should_panic(expected = "entry 3 has term 4, ahead of the durable term 3")]
fn a_planted_entry_of_a_later_term_is_caught() {
    append(&mut member(), None, vec![entry(3, 4, 10)]);
}

/// Violates `no_entry_ahead_of_the_term`.
#[test]
#[should_panic(expected = "entry 9 has term 4, ahead of the durable term 3")]
fn a_planted_snapshot_of_a_later_term_is_caught() {
    let mut storage = member();
    let last = EntryId { term: Term(4), index: Index(9) };
    receive(&storage, last);
    let _ = storage.install_snapshot(&meta(last), None);
}

/// Violates `terms_never_decrease`.
#[test]
#[should_panic(expected = "the term of entry 3 decreases from 3 to 2")]
fn a_planted_entry_of_an_earlier_term_is_caught() {
    append(&mut member(), None, vec![entry(3, 2, 10)]);
}

/// Violates `log_reaches_back_to_the_snapshot`.
#[test]
#[should_panic(expected = "does not reach back to the newest snapshot, which ends at 1")]
fn a_planted_purge_beyond_the_snapshot_is_caught() {
    let mut storage = member();
    let last = EntryId { term: Term(2), index: Index(1) };
    storage.snapshots().begin(meta(last)).expect("a draft").finish().expect("a snapshot");
    let _ = storage.purge(Index(3));
}

/// Part of `identity_is_written_once`: the member ID 0 would mean that there is no member.
#[test]
#[should_panic(expected = "a member ID is never 0")]
fn a_planted_blank_volume_without_a_member_id_is_caught() {
    let disk = std::sync::Arc::new(MemoryDisk::new());
    let _ = Storage::open(disk, &history::dir(), Options { blank_member_id: MemberId(0), ..options(1) });
}
