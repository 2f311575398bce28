//! The raise of the cluster's feature level. Owns when it is requested: once what all members run is recorded, so never
//! during a rollout, which can be taken back until then. Does not own whether the members support the level, which the
//! leader checks again (`node/engine`).

use super::Rollout;
use crate::action::{Action, MemberAction};
use crate::observed::{Linearizable, settings_of_pod};
use crate::roster::Seat;

impl Rollout<'_> {
    /// Raises the feature level to the highest one that every member supports, if it is not in force yet.
    pub(crate) fn raise(&self, read: &Linearizable) -> Option<Action> {
        let is_complete = self.valid.completed.as_ref().is_some_and(|completed| completed.digest == self.wanted);
        if !is_complete || self.refused.is_some() || !self.failures.is_empty() || read.configuration.is_joint() {
            return None;
        }
        let supports = |seat: &Seat<'_>| {
            let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
            let is_updated = settings_of_pod(pod) == Some(self.wanted.as_str());
            seat.report.filter(|_| is_updated && self.has_served(seat)).map(|report| report.supports)
        };
        let everyone = read.configuration.everyone();
        let supported: Option<Vec<u32>> = everyone.iter().map(|id| supports(self.roster.by_id(*id)?)).collect();
        let to = supported?.into_iter().min()?;
        let level = self.observed.leader_report()?.level;
        debug_assert!(to > 0 && level > 0, "levels begin at 1");
        (to > level).then(|| MemberAction::RaiseFeatureLevel { leader: read.leader, to }.into())
    }
}
