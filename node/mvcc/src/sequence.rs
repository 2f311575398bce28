//! Owns the persistent sequence under the history. It holds items in the order in which they were appended, finds an item by its
//! place, and can remove any item. Does not own the items.
//!
//! The sequence is a radix tree over places, at most six nodes deep for a hundred million items. A node holds only the children
//! that exist, and a bit for each of them, so that few items between many removed items cost little memory. The writer and the
//! views share nodes. The writer copies a shared node before changing it.

use std::fmt;
use std::sync::Arc;

/// Number of bits of a place that select a child of a node.
const BITS: u32 = if cfg!(test) { 2 } else { 5 };
/// Maximum number of children of a node.
const WIDTH: u64 = 1 << BITS;

/// Position of an item: the number of items that were appended before the item, including removed items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u64);

impl Place {
    pub(crate) fn next(self) -> Place {
        Place(self.0 + 1)
    }
}

/// A list of items. Items are only appended or removed, and a removed item leaves a hole. Cloning the list is cheap, and the
/// clone never changes.
pub(crate) struct Sequence<T> {
    root: Node<T>,
    /// Number of levels of branches above the leaves.
    height: u32,
    end: Place,
    len: usize,
}

enum Node<T> {
    Leaf(Arc<Slots<T>>),
    Branch(Arc<Slots<Node<T>>>),
}

/// Up to `WIDTH` items. Each item has a slot number below `WIDTH`.
struct Slots<T> {
    /// Bit N is set if slot N has an item.
    present: u32,
    /// Items in the order of their slot numbers. Only the root may have no items.
    items: Vec<T>,
}

const _: () = assert!(WIDTH <= u32::BITS as u64, "a bit for each slot");

impl<T> Slots<T> {
    fn empty() -> Self {
        Slots { present: 0, items: Vec::new() }
    }

    /// Position of the slot's item in `items`, or the position at which the item would be inserted.
    fn rank(&self, slot: u32) -> usize {
        // Most nodes have all items. Counting bits takes longer than the rest of a step.
        if self.items.len() as u64 == WIDTH {
            return slot as usize;
        }
        (self.present & ((1 << slot) - 1)).count_ones() as usize
    }

    fn has(&self, slot: u32) -> bool {
        self.present & (1 << slot) != 0
    }

    fn get(&self, slot: u32) -> Option<&T> {
        self.has(slot).then(|| &self.items[self.rank(slot)])
    }

    fn insert(&mut self, slot: u32, item: T) {
        debug_assert!(!self.has(slot), "a slot is filled once");
        let rank = self.rank(slot);
        self.present |= 1 << slot;
        self.items.insert(rank, item);
        if self.items.len() as u64 == WIDTH {
            self.items.shrink_to_fit();
        }
        debug_assert_eq!(self.present.count_ones() as usize, self.items.len(), "a node has a bit for each item");
    }

    fn remove(&mut self, slot: u32) -> T {
        debug_assert!(self.has(slot), "a slot is emptied once");
        let rank = self.rank(slot);
        self.present &= !(1 << slot);
        let removed = self.items.remove(rank);
        if self.items.len() <= self.items.capacity() / 2 {
            self.items.shrink_to_fit();
        }
        debug_assert_eq!(self.present.count_ones() as usize, self.items.len(), "a node has a bit for each item");
        removed
    }
}

impl<T: Clone> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Slots { present: self.present, items: self.items.clone() }
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(slots) => Node::Leaf(Arc::clone(slots)),
            Node::Branch(slots) => Node::Branch(Arc::clone(slots)),
        }
    }
}

impl<T> Clone for Sequence<T> {
    fn clone(&self) -> Self {
        Sequence { root: self.root.clone(), height: self.height, end: self.end, len: self.len }
    }
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Sequence { root: Node::empty(0), height: 0, end: Place(0), len: 0 }
    }
}

impl<T> fmt::Debug for Sequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence").field("end", &self.end).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Number of the slot that leads to `place` in a node at `level`.
fn slot(place: Place, level: u32) -> u32 {
    (place.0 >> (level * BITS)) as u32 & (WIDTH as u32 - 1)
}

impl<T> Sequence<T> {
    /// Number of items that are not removed.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Place of the next item that will be appended.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        if place >= self.end {
            return None;
        }
        let mut node = &self.root;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(slots) => return slots.get(slot(place, 0)),
                Node::Branch(slots) => node = slots.get(slot(place, level))?,
            }
            level -= 1;
        }
    }

    /// The items at or after a place, in order.
    pub(crate) fn scan(&self, from: Place) -> Scan<'_, T> {
        let mut scan = Scan { nodes: Vec::new(), leaf: None };
        if from < self.end {
            scan.enter(&self.root, self.height, 0, Some(from));
        }
        scan
    }

    /// Returns a place such that `reached` is false for every item before the place, and true for every item at or after the
    /// place. Such a place must exist.
    pub(crate) fn first_where(&self, reached: impl Fn(&T) -> bool) -> Place {
        let (mut node, mut level, mut base) = (&self.root, self.height, 0);
        loop {
            match node {
                Node::Leaf(slots) => {
                    let before = slots.items.partition_point(|item| !reached(item));
                    let first = (0..WIDTH as u32).filter(|&slot| slots.has(slot)).nth(before);
                    return first
                        .map_or_else(|| Place((base + WIDTH).min(self.end.0)), |slot| Place(base + u64::from(slot)));
                }
                Node::Branch(slots) => {
                    // Descend into the last child that begins with an unreached item (`reached` returns false), or into
                    // the first child if no child does. The result is in this child or right after it.
                    let before = slots.items.partition_point(|child| child.first().is_none_or(|item| !reached(item)));
                    let child = before.saturating_sub(1);
                    let Some(number) = (0..WIDTH as u32).filter(|&slot| slots.has(slot)).nth(child) else {
                        return self.end;
                    };
                    base += u64::from(number) << (level * BITS);
                    node = &slots.items[child];
                    level -= 1;
                }
            }
        }
    }
}

impl<T: Clone> Sequence<T> {
    /// Appends an item.
    pub(crate) fn push(&mut self, item: T) -> Place {
        let place = self.end;
        debug_assert!(self.get(place).is_none(), "no item has the place of the next one");
        if place.0 >> (BITS * (self.height + 1)) != 0 {
            let mut slots = Slots::empty();
            if !self.root.is_empty() {
                slots.insert(0, self.root.clone());
            }
            self.root = Node::Branch(Arc::new(slots));
            self.height += 1;
        }
        self.root.insert(place, self.height, item);
        self.end = place.next();
        self.len += 1;
        debug_assert!(self.len as u64 <= self.end.0, "there are at most as many items as places");
        place
    }

    /// Removes the item at a place, if the item was not removed before.
    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        // The item is looked up first, so that no node is copied if there is nothing to remove.
        self.get(place)?;
        debug_assert!(self.len > 0, "an item that is there is counted");
        let removed = self.root.remove(place, self.height);
        self.len -= 1;
        Some(removed)
    }
}

impl<T> Node<T> {
    fn empty(level: u32) -> Self {
        if level == 0 { Node::Leaf(Arc::new(Slots::empty())) } else { Node::Branch(Arc::new(Slots::empty())) }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Leaf(slots) => slots.items.is_empty(),
            Node::Branch(slots) => slots.items.is_empty(),
        }
    }

    fn first(&self) -> Option<&T> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(slots) => return slots.items.first(),
                Node::Branch(slots) => node = slots.items.first()?,
            }
        }
    }
}

impl<T: Clone> Node<T> {
    fn insert(&mut self, place: Place, level: u32, item: T) {
        let slot = slot(place, level);
        match self {
            Node::Leaf(slots) => Arc::make_mut(slots).insert(slot, item),
            Node::Branch(slots) => {
                let slots = Arc::make_mut(slots);
                if !slots.has(slot) {
                    slots.insert(slot, Node::empty(level - 1));
                }
                let rank = slots.rank(slot);
                slots.items[rank].insert(place, level - 1, item);
            }
        }
    }

    /// Removes the item at a place. The item must exist.
    fn remove(&mut self, place: Place, level: u32) -> T {
        let slot = slot(place, level);
        match self {
            Node::Leaf(slots) => Arc::make_mut(slots).remove(slot),
            Node::Branch(slots) => {
                let slots = Arc::make_mut(slots);
                let rank = slots.rank(slot);
                let removed = slots.items[rank].remove(place, level - 1);
                if slots.items[rank].is_empty() {
                    slots.remove(slot);
                }
                removed
            }
        }
    }
}

/// The children of a node that a scan has not returned yet.
struct Walk<'a, T> {
    /// Bits of the slots whose children were not returned yet.
    left: u32,
    items: std::slice::Iter<'a, T>,
    /// Place of the node's slot 0.
    base: u64,
}

impl<'a, T> Walk<'a, T> {
    fn new(slots: &'a Slots<T>, base: u64, from: u32) -> Self {
        let left = slots.present & (u32::MAX << from);
        Walk { left, items: slots.items[slots.rank(from)..].iter(), base }
    }

    fn next(&mut self) -> Option<(u32, &'a T)> {
        let item = self.items.next()?;
        debug_assert!(self.left != 0, "a node has a bit for each item");
        let slot = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some((slot, item))
    }
}

/// Items of a sequence, in order.
pub(crate) struct Scan<'a, T> {
    /// The branches above the leaf, with their levels.
    nodes: Vec<(u32, Walk<'a, Node<T>>)>,
    leaf: Option<Walk<'a, T>>,
}

impl<'a, T> Scan<'a, T> {
    /// Descends to the leaf that contains or would contain `from`. If `from` is `None`, descends to the first leaf.
    fn enter(&mut self, mut node: &'a Node<T>, mut level: u32, mut base: u64, mut from: Option<Place>) {
        loop {
            let wanted = from.map_or(0, |from| slot(from, level));
            match node {
                Node::Leaf(slots) => {
                    self.leaf = Some(Walk::new(slots, base, wanted));
                    return;
                }
                Node::Branch(slots) => {
                    let mut walk = Walk::new(slots, base, wanted);
                    let child = walk.next();
                    self.nodes.push((level, walk));
                    let Some((slot, child)) = child else { return };
                    base += u64::from(slot) << (level * BITS);
                    from = from.filter(|_| slot == wanted);
                    node = child;
                    level -= 1;
                }
            }
        }
    }
}

impl<'a, T> Iterator for Scan<'a, T> {
    type Item = (Place, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(leaf) = &mut self.leaf
                && let Some((slot, item)) = leaf.next()
            {
                return Some((Place(leaf.base + u64::from(slot)), item));
            }
            let (level, walk) = self.nodes.last_mut()?;
            let level = *level;
            match walk.next() {
                Some((slot, child)) => {
                    let base = walk.base + (u64::from(slot) << (level * BITS));
                    self.enter(child, level - 1, base, None);
                }
                None => {
                    self.nodes.pop();
                    self.leaf = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        /// Removes the item with this number, counted from the oldest item that exists.
        Remove(usize),
        RemoveOldest(usize),
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..8usize).prop_map(Step::Push),
            8 => (0..200usize).prop_map(Step::Remove),
            1 => (0..40usize).prop_map(Step::RemoveOldest),
            1 => Just(Step::Keep),
        ]
    }

    fn assert_same(sequence: &Sequence<u64>, model: &BTreeMap<u64, u64>) {
        assert_eq!(sequence.len(), model.len());
        for from in 0..sequence.end().0 + 3 {
            let place = Place(from);
            assert_eq!(sequence.get(place), model.get(&from));
            let found: Vec<_> = sequence.scan(place).map(|(place, item)| (place.0, *item)).collect();
            assert_eq!(found, model.range(from..).map(|(place, item)| (*place, *item)).collect::<Vec<_>>());

            // The test appends items whose value is twice their place.
            let first = sequence.first_where(|item| *item >= from * 2);
            assert!(model.range(..first.0).all(|(place, _)| *place < from));
            assert!(model.range(first.0..).all(|(place, _)| *place >= from));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn sequence_behaves_as_a_list_with_holes_and_clones_never_change(steps in prop::collection::vec(step(), 0..80)) {
            let mut sequence = Sequence::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for step in steps {
                match step {
                    Step::Push(count) => {
                        for _ in 0..count {
                            let item = sequence.end().0 * 2;
                            model.insert(item / 2, item);
                            prop_assert_eq!(sequence.push(item), Place(item / 2));
                        }
                    }
                    Step::Remove(number) => {
                        let place = model.keys().nth(number).copied().unwrap_or(number as u64);
                        prop_assert_eq!(sequence.remove(Place(place)), model.remove(&place));
                        prop_assert_eq!(sequence.remove(Place(place)), None);
                    }
                    Step::RemoveOldest(count) => {
                        let doomed: Vec<u64> = model.keys().take(count).copied().collect();
                        for place in doomed {
                            prop_assert_eq!(sequence.remove(Place(place)), model.remove(&place));
                        }
                    }
                    Step::Keep => kept.push((sequence.clone(), model.clone())),
                }
            }
            kept.push((sequence, model));
            for (sequence, model) in &kept {
                assert_same(sequence, model);
            }
        }
    }
}
