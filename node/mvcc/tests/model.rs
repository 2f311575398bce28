//! Compares the store with a naive model after each request: answers, errors, history, compaction, hashes and old
//! views.

#[path = "model/commands.rs"]
mod commands;
#[path = "model/naive.rs"]
mod naive;

use mvcc::image::{self, ImageFormat};
use mvcc::{Command, FeatureLevel, Range, Store, Txn, View};
use naive::{Answer, Model, seen};
use proptest::prelude::*;

/// One step of a test run.
#[derive(Clone, Debug)]
enum Step {
    Apply(Command),
    Read(Range),
    ReadTxn(Txn),
    /// Removes compacted versions in one slice. The number is the maximum number of versions that the slice visits.
    CompactSlice(usize),
    Hash(i64),
    /// Keeps a view. The view is compared with the model again at the end.
    KeepView,
    /// Writes an image, and continues with a store that is loaded from the image. An image of version 1 has no place
    /// for a feature level above the first one.
    Reload(ImageFormat),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => commands::command().prop_map(Step::Apply),
        6 => commands::range().prop_map(Step::Read),
        2 => commands::read_txn().prop_map(Step::ReadTxn),
        3 => (1..5usize).prop_map(Step::CompactSlice),
        2 => (0..40i64).prop_map(Step::Hash),
        1 => Just(Step::KeepView),
        1 => prop_oneof![Just(ImageFormat::V1), Just(ImageFormat::V2)].prop_map(Step::Reload),
    ]
}

fn everything() -> Range {
    Range { key: "\0".into(), range_end: "\0".into(), ..Range::default() }
}

fn assert_same_reads(view: &View, model: &Model, range: &Range) {
    let real = view.range(range).map(|result| Answer::from(&result));
    assert_eq!(real, model.range(range, model.revision), "{range:?}");
}

/// Compares the whole content of view and model, and its hash, at every readable revision.
fn assert_same_history(view: &View, model: &Model) {
    for revision in model.compacted.max(1)..=model.revision {
        assert_same_reads(view, model, &Range { revision, ..everything() });
        assert_same_reads(view, model, &Range { revision, count_only: true, ..everything() });
        let hash = view.hash_kv(revision).map(|result| result.hash);
        assert_eq!(hash, model.hash(revision), "hash at {revision}");
    }
}

fn run(steps: Vec<Step>) {
    let mut store = Store::new();
    let mut model = Model::new();
    let mut kept = Vec::new();
    for step in steps {
        match step {
            Step::Apply(command) => {
                let real = store.apply(0, &command).map(|outcome| seen(&outcome));
                assert_eq!(real, model.apply(&command), "{command:?}");
            }
            Step::Read(range) => assert_same_reads(&store.view(), &model, &range),
            Step::ReadTxn(txn) => {
                assert!(txn.is_read_only());
                let real = store.view().txn(&txn).map(|result| Answer::from(&result));
                assert_eq!(real, model.read_txn(&txn), "{txn:?}");
            }
            Step::CompactSlice(versions_max) => {
                store.compact_slice(versions_max);
            }
            Step::Hash(revision) => {
                let real = store.view().hash_kv(revision).map(|result| result.hash);
                assert_eq!(real, model.hash(revision), "hash at {revision}");
            }
            Step::KeepView => kept.push((store.view(), model.clone())),
            Step::Reload(format) => {
                let format = if model.level == FeatureLevel::FIRST { format } else { ImageFormat::V2 };
                let mut bytes = Vec::new();
                image::write(&store.view(), 5, format, &mut bytes).expect("memory can be written");
                store = image::read(&mut &bytes[..]).expect("an image just written is sound").store;
            }
        }
        assert_eq!(store.view().revision().0, model.revision);
        assert_eq!(store.view().compact_revision().0, model.compacted);
        assert_eq!(store.view().level(), model.level);
    }
    assert_same_history(&store.view(), &model);
    for (view, model) in kept {
        assert_same_history(&view, &model);
    }
    store.compact_slice(usize::MAX);
    assert_eq!(store.view().version_count(), model.change_count() as u64, "removal leaves what compaction keeps");
    assert_same_history(&store.view(), &model);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// All sections of `node/mvcc/docs/etcd_rules.md`: every answer of the store equals the model's answer.
    #[test]
    fn store_answers_as_the_model(steps in prop::collection::vec(step(), 0..60)) {
        run(steps);
    }
}
