//! Every planted bug, and the runs that must detect it: runs drawn from seeds, or enumerated cases. Owns the budgets. A
//! budget is about four times the number of seeds needed when the bug was planted, and at least twenty.

use planted_bugs::cores::sabotage::Sabotage;

use crate::small_worlds::bounds::Bounds;
use crate::small_worlds::worlds;

/// Place where a bug is planted.
#[derive(Clone, Copy)]
pub(crate) enum Plant {
    /// The core.
    Core,
    /// The driver, the disk or the messages around the core.
    Around(Sabotage),
}

/// Kind of run in which the bug must be detected.
#[derive(Clone, Copy)]
pub(crate) enum Hunt {
    /// Runs of clusters, each drawn from one seed.
    Life,
    /// Clusters in which random links are cut in one direction, except within a quorum.
    Links,
    /// Clusters in which the leader's disk stalls.
    StalledDisk,
    /// Clusters in which volumes are short of space.
    BelowReserve,
    /// Clusters in which a leader does not know that it was deposed.
    Deposed,
    /// Clusters in which the lease and the election timeout of the leader differ from those of its followers.
    RolledLease,
    /// Every order of events in a small world.
    SmallWorld(SmallWorld),
}

/// A small world (`node/raft/tests/small_worlds`), in which the search must find a violation.
#[derive(Clone, Copy)]
pub(crate) struct SmallWorld {
    pub(crate) bounds: Bounds,
    /// Text that the description of the violation contains.
    pub(crate) part: &'static str,
    /// The property that is violated.
    pub(crate) invariant: &'static str,
}

/// A planted bug, and the kind of run in which it must be detected.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) plant: Plant,
    pub(crate) hunt: Hunt,
    /// Number of seeds, cases or states of a small world within which the bug must be detected.
    pub(crate) budget: u64,
}

impl Mutant {
    const fn hunted_by(self, hunt: Hunt) -> Self {
        Self { hunt, ..self }
    }
}

const fn core(name: &'static str, budget: u64) -> Mutant {
    Mutant { name, plant: Plant::Core, hunt: Hunt::Life, budget }
}

const fn around(name: &'static str, sabotage: Sabotage, budget: u64) -> Mutant {
    Mutant { name, plant: Plant::Around(sabotage), hunt: Hunt::Life, budget }
}

const fn in_removals() -> Hunt {
    let invariant = "a member that is cut off does not campaign";
    Hunt::SmallWorld(SmallWorld { bounds: worlds::REMOVAL, part: "reaches no voter", invariant })
}

const fn in_read_backs() -> Hunt {
    let invariant = "state machine safety";
    Hunt::SmallWorld(SmallWorld { bounds: worlds::READ_BACK, part: "is applied at the index where", invariant })
}

/// All planted bugs. The bugs that other implementations had are listed first.
pub(crate) const MUTANTS: &[Mutant] = &[
    core("TwoOwnersOfTheTerm", 20),
    core("SnapshotKeepsStaleConfiguration", 88),
    core("InstallKeepsOldConfiguration", 36),
    core("ObeysAnyNotice", 20),
    core("HalfIsEnough", 20),
    core("CountsAnswersOfOlderTerms", 1080),
    around("AcknowledgesOneTooMany", Sabotage::AcknowledgesOneTooMany, 20),
    core("ReusesReadRound", 20).hunted_by(Hunt::Deposed),
    core("LeaseSurvivesTransfer", 20).hunted_by(Hunt::Deposed),
    core("TransferNeverEnds", 1_300),
    core("ReadsBeforeOwnCommit", 20),
    core("CountsUnsyncedSelfAppend", 20),
    around("AcknowledgesBeforeDurable", Sabotage::AcknowledgesBeforeDurable, 20),
    core("SendsVoteBeforeDurable", 20),
    core("ForgetsVoteOnStepDown", 396),
    around("ForgetsHardState", Sabotage::ForgetsHardState, 20),
    core("VotersConsultTheirConfiguration", 640),
    core("OnlyTheProposerLeavesJoint", 284),
    core("SingleServerChangeBeforeOwnCommit", 20),
    core("LeadsOnAStalledDisk", 20).hunted_by(Hunt::StalledDisk),
    core("LeadsBelowItsReserve", 20).hunted_by(Hunt::BelowReserve),
    core("NeverCampaignsBelowItsReserve", 20).hunted_by(Hunt::BelowReserve),
    core("CountsItsOwnSpaceForAll", 20).hunted_by(Hunt::BelowReserve),
    core("LeadsWithoutAQuorum", 20).hunted_by(Hunt::Links),
    core("ElectsBesideALeader", 20).hunted_by(Hunt::Links),
    around("InstallsWithoutState", Sabotage::InstallsWithoutState, 20),
    around("SnapshotsOlderState", Sabotage::SnapshotsOlderState, 20),
    around("RetriesFailedSync", Sabotage::RetriesFailedSync, 20),
    around("LosesNewestFile", Sabotage::LosesNewestFile, 28),
    around("PurgesBeforeSnapshotIsDurable", Sabotage::PurgesBeforeSnapshotIsDurable, 20),
    around("TruncatesOnDamage", Sabotage::TruncatesOnDamage, 56),
    around("RejoinsWithEmptyDisk", Sabotage::RejoinsWithEmptyDisk, 32),
    around("ResurrectsTruncated", Sabotage::ResurrectsTruncated, 112).hunted_by(Hunt::Deposed),
    // Bugs that break a rule of Raft or of its driver.
    around("TrustsThePlace", Sabotage::TrustsThePlace, 36),
    around("IgnoresFullDisk", Sabotage::IgnoresFullDisk, 20),
    around("StartsEmptyWhenUnreadable", Sabotage::StartsEmptyWhenUnreadable, 48),
    around("EntriesBeforeHardState", Sabotage::EntriesBeforeHardState, 136).hunted_by(Hunt::Deposed),
    around("RollsLeaseAheadOfTimeout", Sabotage::RollsLeaseAheadOfTimeout, 20).hunted_by(Hunt::RolledLease),
    around("DropsSyncedEntry", Sabotage::DropsSyncedEntry, 20),
    around("ExpiresWithoutComparing", Sabotage::ExpiresWithoutComparing, 40),
    around("ReadsRegistersApart", Sabotage::ReadsRegistersApart, 40),
    around("AppliesOutOfOrder", Sabotage::AppliesOutOfOrder, 20),
    around("ReadsWithoutAsking", Sabotage::ReadsWithoutAsking, 20),
    around("GrantsEveryVote", Sabotage::GrantsEveryVote, 20),
    around("AcceptsEveryAppend", Sabotage::AcceptsEveryAppend, 20),
    around("TellsCommitToEverybody", Sabotage::TellsCommitToEverybody, 200).hunted_by(Hunt::Deposed),
    core("SkipsJointMajority", 36),
    core("AppliesConfigurationLate", 64),
    core("ChangesInOneStep", 20),
    core("CommitsOlderTermsByCounting", 80),
    core("TruncatesWhatAgrees", 20),
    core("StampsFollowTheWallClock", 20),
    core("EvictsUndurable", 20),
    core("DoubledProposalsHappenTwice", 20),
    core("CampaignsCutOff", 20_000).hunted_by(in_removals()),
    core("SendsWhatItRead", 150_000).hunted_by(in_read_backs()),
];
