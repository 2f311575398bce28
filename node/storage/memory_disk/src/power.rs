//! A power loss. Owns the choice of the unsynced writes that survive it, which is drawn from a seed. Does not own the
//! contents of the disk (`state.rs`).

use storage::disk::SECTOR;

use crate::state::{Inode, State, write_into};

/// SplitMix64 (Steele, Lea, Flood 2014). It is good enough for choices in tests, and gives the same numbers on every platform.
struct Choice(u64);

impl Choice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Which of a file's pending writes survive a power loss.
#[derive(Clone, Copy)]
enum Kept {
    Nothing,
    Everything,
    /// Each sector of each write survives, is lost, or turns to garbage.
    AnySectors,
}

impl State {
    pub(crate) fn lose_power(&mut self, seed: u64) {
        let mut choice = Choice(seed);
        // The oldest name changes survive and the later ones are lost, as after the replay of a journal.
        let kept = choice.below(self.pending.len() as u64 + 1) as usize;
        for change in self.pending.drain(..).take(kept) {
            self.durable.apply(&change);
        }
        self.live = self.durable.clone();
        for inode in self.inodes.values_mut() {
            let kept = match choice.below(3) {
                0 => Kept::Nothing,
                1 => Kept::Everything,
                _ => Kept::AnySectors,
            };
            inode.lose_power(kept, &mut choice);
        }
        let named = &self.live.files;
        self.inodes.retain(|inode, _| named.values().any(|named| named == inode));
        self.end_life();
    }
}

impl Inode {
    fn lose_power(&mut self, kept: Kept, choice: &mut Choice) {
        for (offset, data) in std::mem::take(&mut self.pending) {
            match kept {
                Kept::Nothing => {}
                Kept::Everything => write_into(&mut self.durable, offset, &data),
                Kept::AnySectors => {
                    let mut at = 0;
                    while at < data.len() {
                        let sector_end = (offset + at) / SECTOR * SECTOR + SECTOR - offset;
                        let end = sector_end.min(data.len());
                        match choice.below(3) {
                            0 => {}
                            1 => write_into(&mut self.durable, offset + at, &data[at..end]),
                            // The power failed while this sector was written, so the sector holds garbage.
                            _ => {
                                let garbage: Vec<u8> = data[at..end].iter().map(|_| choice.next() as u8).collect();
                                write_into(&mut self.durable, offset + at, &garbage);
                            }
                        }
                        at = end;
                    }
                }
            }
        }
        self.live = self.durable.clone();
    }
}
