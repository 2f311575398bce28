//! How much space a member's volume has left, as far as consensus is concerned. Owns the three grades. Does not own how
//! space is measured, or the limits between the grades (the driver), nor what follows from a grade
//! (`election/reserve.rs`).

/// Space that is left on the volume that holds a member's log and snapshots. A greater value means more space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// There is hardly space for the log itself. The volume takes no more proposals of any kind.
    Exhausted,
    /// The member's reserve is in use. It is kept for what frees space: deletions, compactions and snapshots.
    Below,
    /// The member's reserve is free. Members that say nothing are counted as this.
    #[default]
    Above,
}
