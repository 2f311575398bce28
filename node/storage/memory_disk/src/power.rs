//! A power loss. Owns the choice of the unsynced writes and names that survive it, which is drawn from a seed. Does not own the
//! contents of the disk (`state.rs`).

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use crate::choice::Choice;
use crate::state::{Inode, Names, State, write_into};

/// Which of a file's pending writes survive a power loss.
#[derive(Clone, Copy)]
enum Kept {
    Nothing,
    Everything,
    /// Each tear unit that a pending write touches is decided for itself.
    AnyUnits,
}

impl State {
    pub(crate) fn lose_power(&mut self, seed: u64) {
        let mut choice = Choice(seed);
        // The oldest name changes survive and the later ones are lost, as after the replay of a journal.
        let kept = choice.below(self.pending.len() as u64 + 1) as usize;
        for change in self.pending.drain(..).take(kept) {
            self.durable.apply(&change);
        }
        self.durable.drop_unreachable();
        for inode in self.inodes.values_mut() {
            let kept = match choice.below(3) {
                0 => Kept::Nothing,
                1 => Kept::Everything,
                _ => Kept::AnyUnits,
            };
            inode.lose_power(kept, self.tear_unit, &mut choice);
        }
        self.restart();
    }

    /// Makes everything durable except the last write, of which only the first `bytes` bytes survive.
    pub(crate) fn keep_of_last_write(&mut self, bytes: usize) {
        if let Some(inode) = self.last_write
            && let Some((_, data)) = self.inodes.get_mut(&inode).and_then(|inode| inode.pending.last_mut())
        {
            data.truncate(bytes);
        }
        for change in std::mem::take(&mut self.pending) {
            self.durable.apply(&change);
        }
        for inode in self.inodes.values_mut() {
            inode.durable = inode.settled();
            inode.live = inode.durable.clone();
            inode.pending.clear();
        }
        self.restart();
    }

    /// Starts the machine again with the durable names.
    fn restart(&mut self) {
        self.live = self.durable.clone();
        self.last_write = None;
        let named = &self.live.files;
        self.inodes.retain(|inode, _| named.values().any(|named| named == inode));
        self.end_life();
    }
}

impl Names {
    /// Drops each name below a directory that does not exist.
    fn drop_unreachable(&mut self) {
        let dirs = self.dirs.clone();
        let is_reachable =
            |path: &Path| path.ancestors().skip(1).all(|dir| dir.parent().is_none() || dirs.contains(dir));
        self.dirs.retain(|path| is_reachable(path));
        self.files.retain(|path, _| is_reachable(path));
    }
}

impl Inode {
    fn lose_power(&mut self, kept: Kept, tear_unit: usize, choice: &mut Choice) {
        let pending = std::mem::take(&mut self.pending);
        match kept {
            Kept::Nothing => {}
            Kept::Everything => {
                for (offset, data) in &pending {
                    write_into(&mut self.durable, *offset, data);
                }
            }
            Kept::AnyUnits => {
                let touched = pending.iter().filter(|(_, data)| !data.is_empty());
                let touched =
                    touched.flat_map(|(offset, data)| offset / tear_unit..=(offset + data.len() - 1) / tear_unit);
                for unit in touched.collect::<BTreeSet<usize>>() {
                    self.tear(unit * tear_unit..(unit + 1) * tear_unit, &pending, choice);
                }
            }
        }
        self.live = self.durable.clone();
    }

    /// Decides what a power loss leaves of one tear unit: none of the pending writes, the oldest of them, all of them, or garbage.
    fn tear(&mut self, unit: Range<usize>, pending: &[(usize, Vec<u8>)], choice: &mut Choice) {
        let parts = pending.iter().filter_map(|(offset, data)| part_inside(&unit, *offset, data));
        let parts: Vec<(usize, &[u8])> = parts.collect();
        let survivors = match choice.below(4) {
            0 => 0,
            1 => choice.below(parts.len() as u64) as usize,
            2 => parts.len(),
            _ => {
                // The power failed while the unit was written. The medium writes a whole unit, so durable bytes turn to garbage
                // too.
                let end = unit.end.min(self.live.len());
                let mut garbage = Vec::with_capacity(unit.len());
                while garbage.len() < end - unit.start {
                    garbage.extend_from_slice(&choice.next().to_le_bytes());
                }
                garbage.truncate(end - unit.start);
                return write_into(&mut self.durable, unit.start, &garbage);
            }
        };
        for (offset, data) in &parts[..survivors] {
            write_into(&mut self.durable, *offset, data);
        }
    }
}

/// The part of a write that lies in `unit`: its offset in the file and its bytes.
fn part_inside<'a>(unit: &Range<usize>, offset: usize, data: &'a [u8]) -> Option<(usize, &'a [u8])> {
    let (start, end) = (unit.start.max(offset), unit.end.min(offset + data.len()));
    (start < end).then(|| (start, &data[start - offset..end - offset]))
}
