//! Owns the persistent ordered tree of the index: a B+ tree whose nodes are shared between the writer and the views, and
//! copied when the writer changes a shared one. Does not own what requests ask of it (`index`).
//!
//! A clone is one reference. A change copies the nodes from the root to one leaf, once per clone: the next change of the
//! same leaf finds it unshared. Each branch keeps a summary of each child, so that whole subtrees can be counted, or
//! passed over, without being entered.
//!
//! What stands in a leaf is plain: copying one touches no reference counts but that of its keys' page.

use std::sync::Arc;

use super::key::{KeyEntry, Subtree};
use super::page::KeyPage;
use super::scan::Scan;

/// The most entries of a leaf, and of a branch. Measured with `examples/cost.rs`: larger ones make a write copy more,
/// smaller ones make the tree deeper. Unit tests have them tiny, so that few keys make a deep tree.
const LEAF_MAX: usize = if cfg!(test) { 4 } else { 32 };
const BRANCH_MAX: usize = if cfg!(test) { 4 } else { 16 };
/// How much room a growing node takes at a time; doubling would leave most nodes half empty.
const ROOM: usize = 8;

/// Keys in order, with an entry for each. Cloning it is cheap, and the clone never changes.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Arc<Node>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Row<KeyEntry>),
    /// For each child but the first, a key that none of its own is below, and none of those before it reaches. The first
    /// child's is not looked at: what is below the second child's goes there.
    Branch(Row<Child>),
}

/// Keys in ascending order, and what belongs to each.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) keys: KeyPage,
    pub(super) items: Vec<T>,
}

#[derive(Clone, Debug)]
pub(super) struct Child {
    summary: Subtree,
    pub(super) node: Arc<Node>,
}

impl<T: Clone> Clone for Row<T> {
    /// With room for a few more: a node is mostly copied in order to grow.
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(self.items.len().next_multiple_of(ROOM));
        items.extend_from_slice(&self.items);
        Row { keys: self.keys.clone(), items }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree { root: Arc::new(Node::Leaf(Row { keys: KeyPage::default(), items: Vec::new() })) }
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

    /// Sets the entry of a key to what `update` makes of the present one. Returns the one that was there.
    pub(crate) fn upsert(
        &mut self,
        key: &[u8],
        update: impl FnOnce(Option<&KeyEntry>) -> KeyEntry,
    ) -> Option<KeyEntry> {
        let (old, right) = Node::upsert(&mut self.root, key, update);
        if let Some(right) = right {
            let mut grown = Row { keys: KeyPage::default(), items: Vec::with_capacity(ROOM) };
            grown.insert(0, b"", Child::of(Arc::clone(&self.root)));
            grown.insert(1, right.first_key(), Child::of(Arc::clone(&right)));
            self.root = Arc::new(Node::Branch(grown));
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<KeyEntry> {
        // Looked up first, so that nothing is copied in vain.
        self.get(key)?;
        let removed = Node::remove(&mut self.root, key);
        while let Node::Branch(branch) = &*self.root {
            match &branch.items[..] {
                [] => *self = Tree::default(),
                [only] => self.root = Arc::clone(&only.node),
                _ => break,
            }
        }
        removed
    }

    /// The entries from a key on, up to and without another or to the last, in order.
    pub(crate) fn scan<'a>(&'a self, from: &[u8], to: Option<&'a [u8]>) -> Scan<'a> {
        Scan::new(&self.root, from, to)
    }

    /// Visits the same entries in the same order, but passes over a whole subtree where `whole` says, of its summary, that
    /// it needs no closer look.
    pub(crate) fn visit(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        whole: &mut impl FnMut(&Subtree) -> bool,
        each: &mut impl FnMut(&KeyEntry),
    ) {
        self.root.visit(Some(from), to, whole, each);
    }
}

impl<T> Row<T> {
    fn insert(&mut self, at: usize, key: &[u8], item: T) {
        self.keys.insert(at, key);
        if self.items.len() == self.items.capacity() {
            self.items.reserve_exact(ROOM);
        }
        self.items.insert(at, item);
    }

    fn remove(&mut self, at: usize) -> T {
        self.keys.remove(at);
        self.items.remove(at)
    }

    /// Where to split after an insertion, if it has grown too large. What grows at its end is left full, as more is
    /// likely to come there.
    fn split_point(&self, max: usize, inserted: usize) -> Option<usize> {
        let len = self.items.len();
        let too_large = len > max || (len > 1 && self.keys.are_bulky());
        too_large.then(|| if inserted == len - 1 { len - 1 } else { len / 2 })
    }

    fn split_off(&mut self, at: usize) -> Self {
        let right = Row { keys: self.keys.split_off(at), items: self.items.split_off(at) };
        self.items.shrink_to_fit();
        right
    }
}

impl<T: Clone> Row<T> {
    fn append_items(&mut self, right: &Self) {
        self.items.reserve_exact(right.items.len());
        self.items.extend_from_slice(&right.items);
    }
}

impl Child {
    fn of(node: Arc<Node>) -> Self {
        Child { summary: node.summary(), node }
    }
}

impl Node {
    fn summary(&self) -> Subtree {
        let mut summary = Subtree::EMPTY;
        match self {
            Node::Leaf(leaf) => leaf.items.iter().for_each(|entry| summary.add_entry(entry)),
            Node::Branch(branch) => branch.items.iter().for_each(|child| summary.add(&child.summary)),
        }
        summary
    }

    fn keys(&self) -> &KeyPage {
        match self {
            Node::Leaf(leaf) => &leaf.keys,
            Node::Branch(branch) => &branch.keys,
        }
    }

    fn first_key(&self) -> &[u8] {
        self.keys().get(0)
    }

    fn len(&self) -> usize {
        self.keys().len()
    }

    /// Returns the entry that was there, and a new right neighbour if the node had to be split.
    fn upsert(
        node: &mut Arc<Node>,
        key: &[u8],
        update: impl FnOnce(Option<&KeyEntry>) -> KeyEntry,
    ) -> (Option<KeyEntry>, Option<Arc<Node>>) {
        match Arc::make_mut(node) {
            Node::Leaf(leaf) => match leaf.keys.search(key) {
                Ok(at) => {
                    let entry = update(Some(&leaf.items[at]));
                    (Some(std::mem::replace(&mut leaf.items[at], entry)), None)
                }
                Err(at) => {
                    leaf.insert(at, key, update(None));
                    let right = leaf.split_point(LEAF_MAX, at).map(|at| Arc::new(Node::Leaf(leaf.split_off(at))));
                    (None, right)
                }
            },
            Node::Branch(branch) => {
                let at = branch.child_at(key);
                let child = &mut branch.items[at];
                let (old, right) = Node::upsert(&mut child.node, key, update);
                child.summary = child.node.summary();
                let Some(right) = right else {
                    return (old, None);
                };
                branch.insert(at + 1, right.first_key(), Child::of(Arc::clone(&right)));
                let right = branch.split_point(BRANCH_MAX, at + 1);
                (old, right.map(|at| Arc::new(Node::Branch(branch.split_off(at)))))
            }
        }
    }

    fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<KeyEntry> {
        match Arc::make_mut(node) {
            Node::Leaf(leaf) => leaf.keys.search(key).ok().map(|at| leaf.remove(at)),
            Node::Branch(branch) => {
                let at = branch.child_at(key);
                let child = &mut branch.items[at];
                let removed = Node::remove(&mut child.node, key);
                child.summary = child.node.summary();
                if child.node.len() == 0 {
                    branch.remove(at);
                } else {
                    branch.merge_around(at);
                }
                removed
            }
        }
    }

    fn visit(
        &self,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        whole: &mut impl FnMut(&Subtree) -> bool,
        each: &mut impl FnMut(&KeyEntry),
    ) {
        match self {
            Node::Leaf(leaf) => {
                let start = from.map_or(0, |from| leaf.keys.position(from));
                let end = to.map_or(leaf.items.len(), |to| leaf.keys.position(to));
                leaf.items.get(start..end).unwrap_or_default().iter().for_each(each);
            }
            Node::Branch(branch) => {
                let first = from.map_or(0, |from| branch.child_at(from));
                let last = to.map_or(branch.items.len() - 1, |to| branch.child_at(to));
                for at in first..=last {
                    let child = &branch.items[at];
                    let from = from.filter(|_| at == first);
                    let to = to.filter(|_| at == last);
                    if from.is_some() || to.is_some() || !whole(&child.summary) {
                        child.node.visit(from, to, whole, each);
                    }
                }
            }
        }
    }
}

impl Row<Child> {
    /// The child whose subtree holds the key, if any does.
    pub(super) fn child_at(&self, key: &[u8]) -> usize {
        match self.keys.search_from(1, key) {
            Ok(at) => at,
            Err(after) => after - 1,
        }
    }

    /// Merges a child that has become small with a neighbour, if the two make one that has room left.
    fn merge_around(&mut self, at: usize) {
        let node = &self.items[at].node;
        let merged_max = match **node {
            Node::Leaf(_) => LEAF_MAX * 3 / 4,
            Node::Branch(_) => BRANCH_MAX * 3 / 4,
        };
        if node.len() > merged_max / 3 {
            return;
        }
        for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            let Some(right) = self.items.get(left + 1) else { continue };
            if self.items[left].node.len() + right.node.len() > merged_max {
                continue;
            }
            let bound = self.keys.get(left + 1).to_vec();
            let right = self.remove(left + 1);
            let child = &mut self.items[left];
            match (Arc::make_mut(&mut child.node), &*right.node) {
                (Node::Leaf(leaf), Node::Leaf(right)) => {
                    leaf.keys.append(&right.keys);
                    leaf.append_items(right);
                }
                (Node::Branch(branch), Node::Branch(right)) => {
                    branch.keys.append_bounded(&right.keys, &bound);
                    branch.append_items(right);
                }
                _ => unreachable!("all leaves are equally deep"),
            }
            child.summary.add(&right.summary);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::revision::Revision;
    use crate::sequence::Place;

    impl Tree {
        /// Panics where the tree breaks its own rules.
        fn assert_sound(&self) {
            fn walk(node: &Node, low: &[u8], high: Option<&[u8]>) -> usize {
                let keys = node.keys();
                let first = match node {
                    Node::Leaf(_) => 0,
                    Node::Branch(_) => 1,
                };
                for at in first + 1..keys.len() {
                    assert!(keys.get(at - 1) < keys.get(at), "keys ascend");
                }
                match node {
                    Node::Leaf(leaf) => {
                        assert_eq!(keys.len(), leaf.items.len());
                        assert!(leaf.items.len() <= LEAF_MAX);
                        for at in 0..keys.len() {
                            assert!(keys.get(at) >= low && high.is_none_or(|high| keys.get(at) < high));
                        }
                        1
                    }
                    Node::Branch(branch) => {
                        assert_eq!(keys.len(), branch.items.len());
                        assert!((1..=BRANCH_MAX).contains(&branch.items.len()));
                        let depths: Vec<usize> = (0..keys.len())
                            .map(|at| {
                                let child = &branch.items[at];
                                assert_eq!(child.summary, child.node.summary());
                                let low = if at == 0 { low } else { keys.get(at) };
                                let high = if at + 1 < keys.len() { Some(keys.get(at + 1)) } else { high };
                                walk(&child.node, low, high)
                            })
                            .collect();
                        assert!(depths.iter().all(|depth| *depth == depths[0]), "all leaves are equally deep");
                        depths[0] + 1
                    }
                }
            }
            walk(&self.root, b"", None);
        }
    }

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
}
