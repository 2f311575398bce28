//! Owns the persistent ordered tree of the index: a B+ tree whose nodes the writer and the views share. The writer copies a
//! shared node before changing it. Does not own the nodes (`node`) or the lookups that requests need (`index`).
//!
//! A clone copies one reference. The first change of a leaf after a clone copies the nodes from the root to the leaf; later
//! changes of the same leaf copy nothing, because the nodes are not shared any more. Each branch keeps a summary of each child,
//! so that a whole subtree can be counted or skipped without visiting its nodes.
//!
//! Leaves hold plain values, so that copying a leaf changes no reference count except the count of its page of keys.

use std::sync::Arc;

use super::key::{KeyEntry, Subtree};
use super::node::Node;
use super::scan::Scan;

/// Keys in order, with an entry for each key. Cloning the tree is cheap, and the clone never changes.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { root: Arc::new(Node::empty()) }
    }
}

impl Tree {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&KeyEntry> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.search(key).ok().map(|at| &leaf.items[at]),
                Node::Branch(branch) => node = &branch.items[branch.child_at(key)].node,
            }
        }
    }

    /// Sets the entry of a key to the result of `update`, which receives the old entry. Returns the old entry.
    pub(crate) fn upsert(
        &mut self,
        key: &[u8],
        update: impl FnOnce(Option<&KeyEntry>) -> KeyEntry,
    ) -> Option<KeyEntry> {
        let (old, right) = Node::upsert(&mut self.root, key, update);
        if let Some(right) = right {
            self.root = Arc::new(Node::above(Arc::clone(&self.root), right));
        }
        debug_assert!(self.get(key).is_some(), "a key that was set is found");
        old
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<KeyEntry> {
        // The key is looked up first, so that no node is copied if there is nothing to remove.
        self.get(key)?;
        let removed = Node::remove(&mut self.root, key);
        while let Node::Branch(branch) = &*self.root {
            match &branch.items[..] {
                [] => *self = Tree::default(),
                [only] => self.root = Arc::clone(&only.node),
                _ => break,
            }
        }
        debug_assert!(self.get(key).is_none(), "a key that was removed is not found");
        removed
    }

    /// The entries at or after `from` and before `to`, in order. If `to` is `None`, the entries continue to the last key.
    pub(crate) fn scan<'a>(&'a self, from: &[u8], to: Option<&'a [u8]>) -> Scan<'a> {
        debug_assert!(to.is_none_or(|to| from <= to), "an interval ends where it begins or later");
        Scan::new(&self.root, from, to, false)
    }

    /// The live entries among those of [`Self::scan`]. The cost does not depend on the number of subtrees without one.
    pub(crate) fn scan_live<'a>(&'a self, from: &[u8], to: Option<&'a [u8]>) -> Scan<'a> {
        debug_assert!(to.is_none_or(|to| from <= to), "an interval ends where it begins or later");
        Scan::new(&self.root, from, to, true)
    }

    /// Visits the entries that `scan` returns, in the same order, except the entries of skipped subtrees. A subtree inside
    /// the interval is skipped if `whole` returns true for the subtree's summary.
    pub(crate) fn visit(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        whole: &mut impl FnMut(&Subtree) -> bool,
        each: &mut impl FnMut(&KeyEntry),
    ) {
        debug_assert!(to.is_none_or(|to| from <= to), "an interval ends where it begins or later");
        self.root.visit(Some(from), to, whole, each);
    }

    /// Asserts the invariants of the whole tree. The cost grows with the number of keys.
    pub(crate) fn assert_sound(&self) {
        self.root.assert_sound(b"", None);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::revision::Revision;
    use crate::sequence::Place;

    fn entry(number: u64) -> KeyEntry {
        let live = i64::from(!number.is_multiple_of(3));
        KeyEntry { place: Place(number), modified: Revision(number as i64), created: Revision(live), version: live }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>),
        Remove(Vec<u8>),
        RemoveFrom(Vec<u8>, usize),
        Keep,
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            20 => prop::collection::vec(0..6u8, 1..4),
            1 => prop::collection::vec(0..2u8, 3).prop_map(|key| key.repeat(3000)),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => key().prop_map(Step::Put),
            4 => key().prop_map(Step::Remove),
            1 => (key(), 1..20usize).prop_map(|(key, count)| Step::RemoveFrom(key, count)),
            1 => Just(Step::Keep),
        ]
    }

    fn assert_same(tree: &Tree, model: &BTreeMap<Vec<u8>, KeyEntry>) {
        tree.assert_sound();
        let all: Vec<_> = tree.scan(b"", None).map(|(key, entry)| (key.to_vec(), *entry)).collect();
        assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
        for bounds in [[&b"\x01"[..], &b"\x04"[..]], [b"\x02\x02", b"\x02\x03\x01"], [b"\x03", b"\x03"]] {
            let [from, to] = bounds;
            let found: Vec<_> = tree.scan(from, Some(to)).map(|(key, _)| key.to_vec()).collect();
            let inside: Vec<_> = model.range(from.to_vec()..to.to_vec()).collect();
            assert_eq!(found, inside.iter().map(|(key, _)| (*key).clone()).collect::<Vec<_>>());
            let found: Vec<_> = tree.scan_live(from, Some(to)).map(|(key, _)| key.to_vec()).collect();
            let live = inside.iter().filter(|(_, entry)| entry.is_live());
            assert_eq!(found, live.map(|(key, _)| (*key).clone()).collect::<Vec<_>>());
            let (mut whole, mut each) = (0, 0);
            tree.visit(
                from,
                Some(to),
                &mut |subtree| {
                    whole += subtree.live;
                    true
                },
                &mut |entry| {
                    each += u64::from(entry.is_live());
                },
            );
            assert_eq!(whole + each, inside.iter().filter(|(_, entry)| entry.is_live()).count() as u64);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn tree_behaves_as_an_ordered_map_and_clones_never_change(steps in prop::collection::vec(step(), 0..300)) {
            let mut tree = Tree::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let entry = entry(number as u64);
                match step {
                    Step::Put(key) => {
                        prop_assert_eq!(tree.upsert(&key, |_| entry), model.insert(key, entry));
                    }
                    Step::Remove(key) => prop_assert_eq!(tree.remove(&key), model.remove(&key)),
                    Step::RemoveFrom(key, count) => {
                        let doomed: Vec<_> = model.range(key..).map(|(key, _)| key.clone()).take(count).collect();
                        for key in doomed {
                            prop_assert_eq!(tree.remove(&key), model.remove(&key));
                        }
                    }
                    Step::Keep => kept.push((tree.clone(), model.clone())),
                }
            }
            kept.push((tree, model));
            for (tree, model) in &kept {
                assert_same(tree, model);
            }
        }
    }

    #[test]
    #[should_panic(expected = "summaries agree with their subtrees")]
    fn summary_that_missed_a_key_is_noticed() {
        let mut tree = Tree::default();
        for number in 1..20 {
            tree.upsert(&[number], |_| entry(u64::from(number)));
        }
        let Node::Branch(root) = Arc::make_mut(&mut tree.root) else { panic!("20 keys do not fit into one leaf") };
        root.items[0].summary.live += 1;
        tree.assert_sound();
    }
}
