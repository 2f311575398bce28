//! Owns the raise of the feature level: its conditions, its proposal and its answer, the refusal of new members that
//! are too old, and the switch of the log's format. Does not own the effect of the command (`mvcc`) or the formats
//! (`crate::level`).
//!
//! Check and proposal happen in one turn of the core's thread, so that no change of the members comes in between.

use std::collections::BTreeMap;
use std::time::Duration;

use mvcc::{Command, FeatureLevel};
use raft::{Change, ChangeRefusal, Configuration, Index, MemberId, Now, Payload, ProposalId, Term};
use tokio::sync::oneshot;

use super::calls::PendingRaise;
use super::run::Driver;
use crate::error::{ChangeError, RaiseError};
use crate::level::Formats;
use crate::log_thread::LogJob;

/// Time within which a raise must be applied.
const RAISE_TIMEOUT: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn raise_level(
        &mut self,
        now: Now,
        to: Option<FeatureLevel>,
        reply: oneshot::Sender<Result<FeatureLevel, RaiseError>>,
    ) {
        match self.propose_raise(now, to) {
            Ok((to, index)) => {
                tracing::info!(level = %to, %index, "raising the feature level");
                let term = self.raft.soft_state().term;
                let deadline = now.monotonic + RAISE_TIMEOUT;
                self.controls.raise = Some(PendingRaise { to, index, term, deadline, reply: Some(reply) });
            }
            Err(NotProposed::Holds(level)) => drop(reply.send(Ok(level))),
            Err(NotProposed::Refused(reason)) => drop(reply.send(Err(reason))),
        }
    }

    /// Proposes a raise. Returns its level and the index of its entry.
    fn propose_raise(&mut self, now: Now, to: Option<FeatureLevel>) -> Result<(FeatureLevel, Index), NotProposed> {
        let state = self.raft.soft_state();
        if !self.leads() {
            return Err(RaiseError::NotLeader { leader: state.leader }.into());
        }
        let level = self.level_of_term(state.term).ok_or(RaiseError::TermNotCommitted)?;
        if to.is_some_and(|to| to <= level) {
            return Err(NotProposed::Holds(level));
        }
        if self.controls.raise.is_some() || self.raft.configuration().1 > self.raft.commit() {
            return Err(RaiseError::InFlight.into());
        }
        let to = self.supported_by_all(to)?;
        if to <= level {
            return Err(NotProposed::Holds(level));
        }
        let payload = Payload::Normal(self.batcher.alone(&Command::RaiseFeatureLevel { to }));
        let name = ProposalId(self.next_proposal);
        self.next_proposal = self.next_proposal.wrapping_add(1);
        self.raft.propose(now, vec![(name, payload)]).map_err(RaiseError::from)?;
        Ok((to, self.raft.last().index))
    }

    /// The level, if everything of earlier terms is applied, a raise of a predecessor too.
    fn level_of_term(&self, term: Term) -> Option<FeatureLevel> {
        (self.published.term == term).then(|| self.published.view.level())
    }

    /// Checks that every member of both halves of the configuration supports `to`. If `to` is `None`, returns the
    /// highest level that all of them support.
    fn supported_by_all(&self, to: Option<FeatureLevel>) -> Result<FeatureLevel, RaiseError> {
        let own = self.shared.supports;
        if let Some(to) = to.filter(|to| *to > own) {
            return Err(RaiseError::TooOld { supports: own, to });
        }
        let (configuration, _) = self.raft.configuration();
        let (stated, progress) = (self.shared.stated.load(), self.raft.progress());
        let mut highest = own;
        for member in everyone(configuration).filter(|member| *member != self.shared.member) {
            // A member that does not answer may have ended, and may be started next with an older program.
            let is_active = progress.get(&member).is_some_and(|progress| progress.active);
            let supports = stated.get(&member).copied().filter(|_| is_active);
            match supports {
                Some(supports) if to.is_none_or(|to| supports >= to) => highest = highest.min(supports),
                supports => {
                    let name = name_of(configuration, member);
                    return Err(RaiseError::LevelHeld { member, name, supports });
                }
            }
        }
        Ok(to.unwrap_or(highest))
    }

    /// Refuses a change that adds a member which is known to be too old. While the level is being raised, refuses every
    /// change that adds a member, because a new member was not asked whether it supports that level.
    ///
    /// # Errors
    /// Returns the refusal; nothing entered the log.
    pub(super) fn check_newcomers(
        &self,
        change: &Change,
        supports: &BTreeMap<MemberId, FeatureLevel>,
    ) -> Result<(), ChangeError> {
        let (configuration, _) = self.raft.configuration();
        let wanted = change.voters.iter().chain(&change.learners);
        let newcomers: Vec<MemberId> = wanted.filter(|id| !configuration.contains(**id)).copied().collect();
        if newcomers.is_empty() || !self.leads() {
            return Ok(());
        }
        if let Some(raise) = &self.controls.raise {
            return Err(ChangeRefusal::InFlight { pending: raise.index }.into());
        }
        let level = self.level_of_term(self.raft.soft_state().term).ok_or(ChangeRefusal::TermNotCommitted)?;
        for member in newcomers {
            if let Some(&supports) = supports.get(&member)
                && supports < level
            {
                let name = change.members.get(&member).map(|info| info.name.clone()).unwrap_or_default();
                return Err(ChangeError::TooOld { member, name, supports, level });
            }
        }
        Ok(())
    }

    /// Ends the raise in progress if its outcome is known, and answers its caller at the latest at its deadline.
    pub(super) fn answer_raise(&mut self, now: Now) {
        let Some(raise) = &mut self.controls.raise else { return };
        let level = self.published.view.level();
        let is_over = if level >= raise.to {
            Some(Ok(level))
        } else if self.raft.soft_state().term != raise.term {
            // Another leader may have overwritten the entry.
            Some(Err(RaiseError::Unknown))
        } else {
            None
        };
        debug_assert!(
            is_over.is_some() || self.published.applied < raise.index,
            "an applied raise has raised the level"
        );
        if let Some(outcome) = is_over {
            let reply = self.controls.raise.take().and_then(|raise| raise.reply);
            reply.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
        } else if raise.deadline <= now.monotonic {
            // The entry may still be committed, so no other raise may begin.
            raise.reply.take().into_iter().for_each(|reply| drop(reply.send(Err(RaiseError::Unknown))));
        }
    }

    /// Lets the log and new entries continue in the formats of the level that is applied.
    pub(super) fn follow_level(&mut self, now: Now) {
        let level = self.published.view.level();
        if level > self.level {
            tracing::info!(%level, "the cluster's feature level");
            self.level = level;
            let formats = Formats::of(level);
            self.log_jobs.push(LogJob::Format(formats.log));
            self.batcher.build_as(formats.batch);
            self.tell_standing(now);
        }
    }
}

/// Why no raise was proposed.
enum NotProposed {
    /// The level holds already.
    Holds(FeatureLevel),
    Refused(RaiseError),
}

impl From<RaiseError> for NotProposed {
    fn from(reason: RaiseError) -> Self {
        Self::Refused(reason)
    }
}

/// Every voter and learner of both halves of a configuration. A member in two sets is returned twice.
fn everyone(configuration: &Configuration) -> impl Iterator<Item = MemberId> {
    let Configuration { voters, outgoing, learners, learners_next, .. } = configuration;
    voters.iter().chain(outgoing).chain(learners).chain(learners_next).copied()
}

fn name_of(configuration: &Configuration, member: MemberId) -> String {
    configuration.members.get(&member).map(|info| info.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member that leaves may still be part of a quorum, and one that becomes a learner applies the raise.
    #[test]
    fn everyone_is_in_one_of_both_halves() {
        let [voters, outgoing, learners, learners_next] =
            [[1, 2], [2, 3], [4, 5], [3, 6]].map(|ids| ids.map(MemberId).into());
        let joint = Configuration { voters, outgoing, learners, learners_next, ..Configuration::default() };
        let mut found: Vec<u64> = everyone(&joint).map(|id| id.0).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [1, 2, 3, 4, 5, 6]);
    }
}
