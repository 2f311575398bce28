//! Deep trees: compares a store of tens of thousands of keys and versions with an ordered map, and checks that old
//! views do not change.

#[path = "rules/requests.rs"]
mod requests;

use std::collections::BTreeMap;

use mvcc::{Range, Store, View};
use requests::{all, apply, compact, delete, delete_range, put, range_of};

/// Generator of pseudo-random numbers, which are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// For each key, the revisions at which it changed, and whether it was live after the change.
type Model = BTreeMap<String, Vec<(i64, bool)>>;

fn live_at(changes: &[(i64, bool)], revision: i64) -> Option<i64> {
    let (modified, live) = changes.iter().rfind(|(modified, _)| *modified <= revision)?;
    live.then_some(*modified)
}

fn assert_same(view: &View, model: &Model, revision: i64, range: &Range) {
    let range = Range { revision, ..range.clone() };
    let end = String::from_utf8(range.range_end.to_vec()).expect("keys are text");
    let start = String::from_utf8(range.key.to_vec()).expect("keys are text");
    let expected: Vec<(&str, i64)> = model
        .range(start..)
        .take_while(|(key, _)| end == "\0" || **key < end)
        .filter_map(|(key, changes)| Some((&key[..], live_at(changes, revision)?)))
        .collect();
    let result = view.range(&range).expect("it can be read");
    assert_eq!(result.count, expected.len() as u64, "{range:?}");
    let found: Vec<(&str, i64)> = result
        .kvs
        .iter()
        .map(|kv| (std::str::from_utf8(kv.key()).expect("keys are text"), kv.fields().mod_revision))
        .collect();
    assert_eq!(found, expected, "{range:?}");
    let counted = view.range(&Range { count_only: true, ..range }).expect("it can be read");
    assert_eq!(counted.count, expected.len() as u64);
}

fn assert_same_everywhere(view: &View, model: &Model, dice: &mut Dice) {
    let (newest, oldest) = (view.revision().0, view.compact_revision().0.max(1));
    for revision in [newest, oldest, oldest + dice.roll((newest - oldest + 1) as u64) as i64] {
        assert_same(view, model, revision, &all());
        for _ in 0..5 {
            let start = format!("k{:05}", dice.roll(20_000));
            let end = format!("k{:05}", dice.roll(20_000));
            if start < end {
                assert_same(view, model, revision, &range_of(&start, &end));
            }
        }
    }
}

#[test]
fn deep_trees_answer_as_an_ordered_map() {
    let mut dice = Dice(42);
    let mut store = Store::new();
    let mut model = Model::new();
    let mut kept: Vec<(View, Model)> = Vec::new();
    for step in 0..60_000 {
        let key = format!("k{:05}", dice.roll(20_000));
        let revision = store.view().revision().0 + 1;
        let mut change = |key: &str, live: bool| {
            let changes = model.entry(key.to_owned()).or_default();
            let was_live = live_at(changes, i64::MAX).is_some();
            if live || was_live {
                changes.push((revision, live));
            }
        };
        match dice.roll(100) {
            0..70 => {
                apply(&mut store, put(&key, "v"));
                change(&key, true);
            }
            70..98 => {
                apply(&mut store, delete(&key));
                change(&key, false);
            }
            98 => {
                let end = format!("k{:05}", dice.roll(20_000));
                apply(&mut store, delete_range(&key, &end));
                let doomed: Vec<String> =
                    if key < end { model.range(key..end).map(|(key, _)| key.clone()).collect() } else { Vec::new() };
                for key in doomed {
                    let changes = model.entry(key).or_default();
                    if live_at(changes, i64::MAX).is_some() {
                        changes.push((revision, false));
                    }
                }
            }
            _ => {
                store.compact_slice(dice.roll(500) as usize);
            }
        }
        if step % 10_000 == 9_000 {
            apply(&mut store, compact(revision - 1 - dice.roll(2_000) as i64));
        }
        if step % 15_000 == 14_000 {
            kept.push((store.view(), model.clone()));
        }
    }
    store.compact_slice(usize::MAX);
    kept.push((store.view(), model));
    for (view, model) in &kept {
        assert_same_everywhere(view, model, &mut dice);
    }
}
