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
}

impl<'a> Scan<'a> {
    pub(super) fn new(root: &'a Node, from: &[u8], to: Option<&'a [u8]>) -> Self {
        let mut scan = Scan { above: Vec::new(), leaf: None, at: 0, end: 0, to };
        scan.descend(root, Some(from));
        scan
    }

    /// Descends to the leaf that contains or would contain `from`. If `from` is `None`, descends to the first leaf.
    fn descend(&mut self, mut node: &'a Node, from: Option<&[u8]>) {
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = from.map_or(0, |from| branch.child_at(from));
                    let mut children = branch.items[at..].iter();
                    let Some(child) = children.next() else { return };
                    self.above.push(children);
                    node = &child.node;
                }
                Node::Leaf(leaf) => {
                    self.at = from.map_or(0, |from| leaf.keys.position(from));
                    self.end = self.to.map_or(leaf.items.len(), |to| leaf.keys.position(to));
                    debug_assert!(self.end <= leaf.items.len(), "an interval ends inside a leaf or after it");
                    self.leaf = Some(leaf);
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
            if let Some(child) = children.next() {
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
                return Some((leaf.keys.get(at), &leaf.items[at]));
            }
            self.next_leaf()?;
        }
    }
}
