//! Owns the traversal of the nodes in key order. Does not own the nodes (`node`).

use super::key::KeyEntry;
use super::node::{Child, Node, Row};

/// Entries of the tree, in order.
pub(crate) struct Scan<'a> {
    /// For each branch above the leaf, starting at the root: the children that the scan has not entered yet.
    above: Vec<std::slice::Iter<'a, Child>>,
    leaf: Option<&'a Row<KeyEntry>>,
    /// Positions in `leaf`: `at` is the position of the next entry, and `end` is the position of the first entry after
    /// the interval.
    at: usize,
    end: usize,
    to: Option<&'a [u8]>,
    /// Whether entries whose newest version is a tombstone are left out. Subtrees without a live entry are not entered.
    only_live: bool,
    #[cfg(test)]
    leaves: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(root: &'a Node, from: &[u8], to: Option<&'a [u8]>, only_live: bool) -> Self {
        let mut scan = Scan {
            above: Vec::new(),
            leaf: None,
            at: 0,
            end: 0,
            to,
            only_live,
            #[cfg(test)]
            leaves: 0,
        };
        scan.descend(root, Some(from));
        scan
    }

    /// Descends to the leaf that contains or would contain `from`. If `from` is `None`, descends to the first leaf that
    /// the scan enters.
    fn descend(&mut self, mut node: &'a Node, from: Option<&[u8]>) {
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = from.map_or(0, |from| branch.child_at(from));
                    let mut children = branch.items[at..].iter();
                    let only_live = self.only_live && from.is_none();
                    let Some(child) = children.find(|child| !only_live || child.summary.live > 0) else { return };
                    self.above.push(children);
                    node = &child.node;
                }
                Node::Leaf(leaf) => {
                    self.at = from.map_or(0, |from| leaf.keys.position(from));
                    self.end = self.to.map_or(leaf.items.len(), |to| leaf.keys.position(to));
                    debug_assert!(self.end <= leaf.items.len(), "an interval ends inside a leaf or after it");
                    self.leaf = Some(leaf);
                    #[cfg(test)]
                    {
                        self.leaves += 1;
                    }
                    return;
                }
            }
        }
    }

    /// Moves to the next leaf. Returns `None` if the interval ends in the present leaf, or if the present leaf is the
    /// last leaf.
    fn next_leaf(&mut self) -> Option<()> {
        let leaf = self.leaf.take()?;
        if self.end < leaf.items.len() {
            return None;
        }
        while let Some(children) = self.above.last_mut() {
            if let Some(child) = children.find(|child| !self.only_live || child.summary.live > 0) {
                self.descend(&child.node, None);
                return Some(());
            }
            self.above.pop();
        }
        None
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = (&'a [u8], &'a KeyEntry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.leaf?;
            if self.at < self.end {
                let at = self.at;
                self.at += 1;
                if self.only_live && !leaf.items[at].is_live() {
                    continue;
                }
                return Some((leaf.keys.get(at), &leaf.items[at]));
            }
            self.next_leaf()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;
    use crate::revision::Revision;
    use crate::sequence::Place;

    /// A read with a limit must not pay for all the keys that were deleted before the ones that it returns.
    #[test]
    fn a_scan_of_live_entries_enters_no_subtree_without_one() {
        const KEYS: u16 = 5_000;
        let mut tree = Tree::default();
        for number in 0..KEYS {
            let live = i64::from(number == KEYS / 2 || number == KEYS - 1);
            let place = Place(u64::from(number));
            tree.upsert(&number.to_be_bytes(), |_| KeyEntry {
                place,
                modified: Revision(1),
                created: Revision(live),
                version: live,
            });
        }
        let mut scan = tree.scan_live(b"", None);
        let found: Vec<_> = scan.by_ref().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(found, [(KEYS / 2).to_be_bytes(), (KEYS - 1).to_be_bytes()]);
        assert!(scan.leaves <= 3, "{} leaves", scan.leaves);
        let (from, to) = (10u16.to_be_bytes(), (KEYS / 2).to_be_bytes());
        let mut scan = tree.scan_live(&from, Some(&to));
        assert!(scan.next().is_none() && scan.leaves <= 2, "{} leaves", scan.leaves);
    }
}
