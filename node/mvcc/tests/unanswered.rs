//! Commands whose answer no caller waits for change the store as other commands do: content, revision, errors and hash
//! are the same. Only the outcome lacks what is read for the answer alone.

#[path = "model/commands.rs"]
#[allow(dead_code, reason = "the model test uses the rest")]
mod commands;

use mvcc::image::{self, ImageFormat};
use mvcc::{DeleteRangeResult, OpResult, Outcome, PutResult, Range, RangeResult, Response, Store, TxnResult};
use proptest::prelude::*;

/// Removes from an outcome what an unanswered command does not read.
fn without_reads(outcome: Outcome) -> Outcome {
    let response = match outcome.response {
        Response::Put(put) => Response::Put(bare_put(put)),
        Response::DeleteRange(delete) => Response::DeleteRange(bare_delete(delete)),
        Response::Txn(txn) => Response::Txn(bare_txn(txn)),
        response @ (Response::Compact | Response::Alarm(_) | Response::RaiseFeatureLevel) => response,
    };
    Outcome { response, ..outcome }
}

fn bare_put(put: PutResult) -> PutResult {
    PutResult { prev_kv: None, ..put }
}

fn bare_delete(delete: DeleteRangeResult) -> DeleteRangeResult {
    DeleteRangeResult { prev_kvs: Vec::new(), ..delete }
}

fn bare_txn(txn: TxnResult) -> TxnResult {
    let responses = txn.responses.into_iter().map(|response| match response {
        OpResult::Range(range) => OpResult::Range(RangeResult { kvs: Vec::new(), count: 0, more: false, ..range }),
        OpResult::Put(put) => OpResult::Put(bare_put(put)),
        OpResult::DeleteRange(delete) => OpResult::DeleteRange(bare_delete(delete)),
        OpResult::Txn(nested) => OpResult::Txn(bare_txn(nested)),
    });
    TxnResult { succeeded: txn.succeeded, responses: responses.collect() }
}

fn image_of(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::write(&store.view(), 7, ImageFormat::V2, &mut bytes).expect("memory can be written");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// One store answers every command and one answers none. A third answers some, as a member does whose clients come
    /// and go.
    #[test]
    fn content_does_not_depend_on_whether_a_caller_waits(
        log in prop::collection::vec((0..1_000u64, commands::command(), any::<bool>()), 0..60),
    ) {
        let [mut answering, mut silent, mut mixed]: [Store; 3] = std::array::from_fn(|_| Store::new());
        for (time_ms, command, answers) in &log {
            let outcome = answering.apply(*time_ms, command);
            let bare = outcome.clone().map(without_reads);
            prop_assert_eq!(&silent.apply_unanswered(*time_ms, command), &bare, "{:?}", command);
            if *answers {
                prop_assert_eq!(mixed.apply(*time_ms, command), outcome, "{:?}", command);
            } else {
                prop_assert_eq!(mixed.apply_unanswered(*time_ms, command), bare, "{:?}", command);
            }
            let (revision, hash) = (answering.view().revision(), answering.view().hash_kv(0));
            for store in [&silent, &mixed] {
                prop_assert_eq!(store.view().revision(), revision);
                prop_assert_eq!(store.view().hash_kv(0), hash, "{:?}", command);
            }
        }
        let all = Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() };
        for store in [&silent, &mixed] {
            prop_assert_eq!(store.view().range(&all), answering.view().range(&all));
            prop_assert_eq!(image_of(store), image_of(&answering));
        }
    }
}
