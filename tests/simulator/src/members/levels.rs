//! The feature level of a cluster of members: what the program of each start supports, what connected members have said
//! of it, and when the operator asks for a raise. Does not own the conditions of a raise (`engine`).
//!
//! Members run programs that support the first level only, or the second one too. Once the operator has asked for a
//! raise, every start is of a program that supports both, as after a rollout. So a member must never meet what it does
//! not support: a start that reports it, and an entry that cannot be applied, violate an invariant.

use std::collections::BTreeMap;

use mvcc::FeatureLevel;
use raft::{Change, Index, MemberId};

use crate::fault::Fault;
use crate::invariant::{Checked, ensure};
use crate::members::MemberCluster;
use crate::members::process::Member;

/// Probability that the operator asks for a raise in one pass, per million.
const RAISE: u32 = 150_000;

/// The level that the newer of two programs supports.
pub(super) const NEWER: FeatureLevel = FeatureLevel(2);

/// Whether the operator has asked for a raise, and the levels that members have applied.
#[derive(Debug, Default)]
pub(super) struct Levels {
    is_asked: bool,
    /// For each index, the level of the first member whose state was checked at that index.
    applied: BTreeMap<Index, FeatureLevel>,
    is_raised: bool,
}

impl MemberCluster {
    /// Chooses what the program of a start supports.
    pub(super) fn draw_support(&mut self) -> FeatureLevel {
        let is_mixed = self.profile.faults.include(Fault::MixedVersions) && !self.levels.is_asked;
        if is_mixed && self.random.coin() { FeatureLevel::FIRST } else { NEWER }
    }

    /// Asks a leader for a raise, now and then. After all faults are lifted, asks only if the older programs were
    /// replaced.
    pub(super) fn ask_for_level(&mut self, leader: MemberId) -> Checked {
        let asks = if self.is_healing { self.levels.is_asked } else { self.random.chance(RAISE) };
        if !asks {
            return Ok(());
        }
        let to = if self.random.coin() { Some(NEWER) } else { None };
        let Some(process) = self.members[&leader].process() else { return Ok(()) };
        let handle = process.handle();
        self.levels.is_asked = true;
        self.note(|| format!("{leader} is asked to raise the feature level to {to:?}"));
        super::start_call(async move { handle.raise_level(to).await });
        self.plan_threads(leader)
    }

    /// What new members answer to a leader that asks them what they support. It asks nothing at the first level.
    pub(super) fn support_of_newcomers(
        &mut self,
        leader: MemberId,
        change: &Change,
    ) -> BTreeMap<MemberId, FeatureLevel> {
        let Some(process) = self.members[&leader].process() else { return BTreeMap::new() };
        if process.handle().published().view.level() == FeatureLevel::FIRST {
            return BTreeMap::new();
        }
        let known = process.raft().configuration().0.clone();
        let wanted = change.voters.iter().chain(&change.learners).filter(|id| !known.contains(**id));
        let newcomers: Vec<MemberId> = wanted.copied().collect();
        let mut supports = BTreeMap::new();
        for id in newcomers {
            let is_linked = self.network.passes(leader, id) && self.network.passes(id, leader);
            if is_linked && self.random.coin() && self.members[&id].is_up() {
                supports.insert(id, self.members[&id].supports);
            }
        }
        supports
    }

    /// Returns whether a member is too old for the level of the sender, which then ends the connection.
    pub(super) fn is_too_old(&self, from: MemberId, to: MemberId) -> bool {
        let level = self.members[&from].process().map(|process| process.handle().published().view.level());
        self.members.get(&to).is_some_and(|member| level.is_some_and(|level| member.supports < level))
    }

    /// Notes that `from` is connected to `to`.
    pub(super) fn connect(&mut self, from: MemberId, to: MemberId) {
        let Some(supports) = self.members.get(&from).filter(|from| from.is_up()).map(|from| from.supports) else {
            return;
        };
        if let Some(member) = self.members.get_mut(&to)
            && member.stated.insert(from, supports) != Some(supports)
        {
            state(member);
        }
    }

    /// Ends the connections of a member whose process has ended.
    pub(super) fn disconnect(&mut self, id: MemberId) {
        for member in self.members.values_mut() {
            let is_own = member.id == id;
            if is_own {
                member.stated.clear();
            } else if member.stated.remove(&id).is_some() {
                state(member);
            }
        }
    }

    /// Checks that members agree on the level at one index.
    pub(super) fn check_level(&mut self, id: MemberId, applied: Index, level: FeatureLevel) -> Checked {
        let expected = *self.levels.applied.entry(applied).or_insert(level);
        self.coverage.raises += u64::from(level > FeatureLevel::FIRST && !self.levels.is_raised);
        self.levels.is_raised |= level > FeatureLevel::FIRST;
        ensure(level == expected, "members agree on the feature level", || {
            format!("{id} is at level {level} at {applied}, another member at {expected}")
        })
    }

    /// Replaces the program of a member that is too old, once the operator has asked for a raise.
    pub(super) fn upgrade(&mut self, id: MemberId) -> Checked {
        let member = &self.members[&id];
        if self.levels.is_asked && member.is_up() && member.supports < NEWER { self.crash(id) } else { Ok(()) }
    }

    /// Says that the level is to be raised; `None` if it is, or if the operator has not asked.
    pub(super) fn missing_level(&self, leader: MemberId) -> Option<String> {
        let level = self.members[&leader].process()?.handle().published().view.level();
        (self.levels.is_asked && level < NEWER).then(|| format!("feature level {NEWER}, not {level}"))
    }
}

fn state(member: &Member) {
    if let Some(process) = member.process() {
        process.state_levels(member.stated.clone());
    }
}
