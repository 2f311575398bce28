//! Owns what the driver knows of its volume, and when the volume is measured. Does not own what follows from a measurement (`space.rs`).

use std::time::Duration;

use raft::Standing;

use crate::space::SpaceJudgement;

/// Interval between two measurements of the volume.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// The volume as the driver knows it.
#[derive(Debug, Default)]
pub(super) struct SpaceWatch {
    pub(super) judgement: SpaceJudgement,
    /// Time of the next measurement.
    pub(super) due: Duration,
    /// Whether the log thread has a measurement to do.
    pub(super) is_asked: bool,
    /// Whether the last measurement failed.
    pub(super) is_failing: bool,
}

impl SpaceWatch {
    /// Time at which a measurement is due even if no event arrives.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.is_asked).then_some(self.due)
    }

    /// Whether the member is below its reserve.
    pub(super) fn is_short(&self) -> bool {
        self.judgement.standing < Standing::Above
    }

    /// Makes a measurement due.
    pub(super) fn hasten(&mut self) {
        self.due = Duration::ZERO;
    }
}
