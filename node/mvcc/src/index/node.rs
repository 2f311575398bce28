//! Owns the nodes of the index's tree, and how nodes grow, split, merge and are counted. Does not own the root or the order in
//! which callers visit entries (`tree`, `scan`).

use std::sync::Arc;

use super::key::{KeyEntry, Subtree};
use super::page::KeyPage;

/// Maximum number of entries of a leaf, and of children of a branch. The numbers were chosen by measurement with
/// `examples/cost.rs`: with larger nodes a write copies more bytes, with smaller nodes the tree is deeper. Unit tests use tiny
/// nodes, so that few keys make a deep tree.
const LEAF_MAX: usize = if cfg!(test) { 4 } else { 32 };
const BRANCH_MAX: usize = if cfg!(test) { 4 } else { 16 };
/// Number of items by which the capacity of a node grows. Doubling would leave most nodes half empty.
const CAPACITY_STEP: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Row<KeyEntry>),
    /// Children and their separator keys. All keys in a child are at or above the child's separator, and all keys in
    /// the earlier children are below the separator. The first child's separator is not used, because all keys below
    /// the second child's separator are in the first child.
    Branch(Row<Child>),
}

/// Keys in ascending order, with one item for each key.
#[derive(Debug)]
pub(super) struct Row<T> {
    pub(super) keys: KeyPage,
    pub(super) items: Vec<T>,
}

#[derive(Clone, Debug)]
pub(super) struct Child {
    /// Always equals `node.summary()`.
    pub(super) summary: Subtree,
    pub(super) node: Arc<Node>,
}

impl<T: Clone> Clone for Row<T> {
    /// Reserves space for a few more items, because a node is usually copied just before an item is added to it.
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(self.items.len().next_multiple_of(CAPACITY_STEP));
        items.extend_from_slice(&self.items);
        Row { keys: self.keys.clone(), items }
    }
}

impl<T> Row<T> {
    fn empty() -> Self {
        Row { keys: KeyPage::default(), items: Vec::new() }
    }

    fn insert(&mut self, at: usize, key: &[u8], item: T) {
        // The first key of a branch is not used, so only the later keys must be in order.
        debug_assert!(at < 2 || self.keys.get(at - 1) < key, "keys of a node ascend");
        debug_assert!(at == 0 || at == self.keys.len() || key < self.keys.get(at), "keys of a node ascend");
        self.keys.insert(at, key);
        if self.items.len() == self.items.capacity() {
            self.items.reserve_exact(CAPACITY_STEP);
        }
        self.items.insert(at, item);
        debug_assert_eq!(self.keys.len(), self.items.len(), "each key of a node has one item");
    }

    fn remove(&mut self, at: usize) -> T {
        debug_assert_eq!(self.keys.len(), self.items.len(), "each key of a node has one item");
        self.keys.remove(at);
        self.items.remove(at)
    }

    /// Position at which to split the node after an insertion; `None` if the node is not too large. If the node grew at its end,
    /// all items except the new one stay in the node, because further insertions at the end are likely.
    fn split_point(&self, max: usize, inserted: usize) -> Option<usize> {
        let len = self.items.len();
        let too_large = len > max || (len > 1 && self.keys.are_bulky());
        too_large.then(|| if inserted == len - 1 { len - 1 } else { len / 2 })
    }

    fn split_off(&mut self, at: usize) -> Self {
        debug_assert!((1..self.items.len()).contains(&at), "both halves of a split node hold something");
        let right = Row { keys: self.keys.split_off(at), items: self.items.split_off(at) };
        self.items.shrink_to_fit();
        right
    }
}

impl<T: Clone> Row<T> {
    fn append_items(&mut self, right: &Self) {
        self.items.reserve_exact(right.items.len());
        self.items.extend_from_slice(&right.items);
        debug_assert_eq!(self.keys.len(), self.items.len(), "each key of a node has one item");
    }
}

impl Child {
    fn of(node: Arc<Node>) -> Self {
        Child { summary: node.summary(), node }
    }
}

impl Node {
    pub(super) fn empty() -> Self {
        Node::Leaf(Row::empty())
    }

    /// Creates a root with two children.
    pub(super) fn above(left: Arc<Node>, right: Arc<Node>) -> Self {
        let mut row = Row { keys: KeyPage::default(), items: Vec::with_capacity(CAPACITY_STEP) };
        row.insert(0, b"", Child::of(left));
        row.insert(1, right.first_key(), Child::of(Arc::clone(&right)));
        Node::Branch(row)
    }

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

    /// Sets the entry of a key to the result of `update`. Returns the old entry, and a new right neighbour if the node was split.
    pub(super) fn upsert(
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

    pub(super) fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<KeyEntry> {
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

    pub(super) fn visit(
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

    /// Asserts the invariants of a subtree whose keys are at or above `low` and below `high`. Returns its depth.
    pub(super) fn assert_sound(&self, low: &[u8], high: Option<&[u8]>) -> usize {
        let keys = self.keys();
        let first_used = match self {
            Node::Leaf(_) => 0,
            Node::Branch(_) => 1,
        };
        for at in first_used..keys.len() {
            assert!(keys.get(at) >= low, "keys of a subtree are at or above its lower bound");
            assert!(high.is_none_or(|high| keys.get(at) < high), "keys of a subtree are below its upper bound");
            assert!(at == first_used || keys.get(at - 1) < keys.get(at), "keys of a node ascend");
        }
        let branch = match self {
            Node::Leaf(leaf) => {
                assert_eq!(keys.len(), leaf.items.len(), "each key of a node has one item");
                assert!(leaf.items.len() <= LEAF_MAX, "a leaf is split when it is full");
                return 1;
            }
            Node::Branch(branch) => branch,
        };
        assert_eq!(keys.len(), branch.items.len(), "each key of a node has one item");
        assert!((1..=BRANCH_MAX).contains(&branch.items.len()), "a branch has children and is split when it is full");
        let mut depth = None;
        for (at, child) in branch.items.iter().enumerate() {
            assert_eq!(child.summary, child.node.summary(), "summaries agree with their subtrees");
            let low = if at == 0 { low } else { keys.get(at) };
            let high = if at + 1 < keys.len() { Some(keys.get(at + 1)) } else { high };
            let child_depth = child.node.assert_sound(low, high);
            assert_eq!(*depth.get_or_insert(child_depth), child_depth, "all leaves are equally deep");
        }
        depth.map_or(1, |depth| depth + 1)
    }
}

impl Row<Child> {
    /// Position of the only child whose subtree can hold the key.
    pub(super) fn child_at(&self, key: &[u8]) -> usize {
        debug_assert!(!self.items.is_empty(), "a branch has children");
        match self.keys.search_from(1, key) {
            Ok(at) => at,
            Err(after) => after - 1,
        }
    }

    /// If the child at `at` has become small, merges it with a neighbour, unless the merged node would have no space to
    /// grow.
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
            debug_assert_eq!(child.summary, child.node.summary(), "summaries agree with their subtrees");
            return;
        }
    }
}
