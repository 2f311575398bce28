//! Every bug that is planted in storage or engine, and the runs that must detect it. Owns the budgets. A budget is
//! about four times the number of seeds needed when the bug was planted, and at least twenty.

/// Kind of run in which the bug must be detected.
#[derive(Clone, Copy)]
pub(crate) enum Hunt {
    /// Clusters of whole members, each drawn from one seed.
    Members,
    /// One random history of a directory, with a power loss after each of its operations.
    PowerLoss,
    /// One random directory, with a flipped bit in many of its bytes.
    BitFlip,
}

/// A planted bug, and the kind of run in which it must be detected.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) hunt: Hunt,
    /// Number of seeds within which the bug must be detected.
    pub(crate) budget: u64,
}

const fn members(name: &'static str, budget: u64) -> Mutant {
    Mutant { name, hunt: Hunt::Members, budget }
}

const fn power_loss(name: &'static str, budget: u64) -> Mutant {
    Mutant { name, hunt: Hunt::PowerLoss, budget }
}

const fn bit_flip(name: &'static str, budget: u64) -> Mutant {
    Mutant { name, hunt: Hunt::BitFlip, budget }
}

/// All planted bugs.
pub(crate) const MUTANTS: &[Mutant] = &[
    power_loss("SkipsSync", 20),
    power_loss("VotesWithoutSync", 20),
    power_loss("WritesBothSlots", 20),
    bit_flip("TrustsEverySlot", 24),
    power_loss("SegmentNameNotSynced", 20),
    power_loss("SegmentHeaderNotSynced", 20),
    power_loss("OneSaltForAll", 20),
    power_loss("RecyclesUnderOldName", 20),
    power_loss("SnapshotNotSynced", 20),
    power_loss("SnapshotNameNotSynced", 20),
    bit_flip("TrustsEveryChunk", 20),
    power_loss("IdentityNotSynced", 20),
    power_loss("InstallKeepsLog", 20),
    members("TombstoneFirst", 32),
    members("WritesAheadOfLevel", 20),
    members("PurgesAtCapture", 20),
    members("ReadDoesNotWait", 20),
    members("ReadJoinsRound", 24),
    members("InstallKeepsStore", 20),
    members("AcknowledgesBeforeWriting", 84),
    members("ProposesAgain", 20),
];
