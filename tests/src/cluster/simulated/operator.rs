//! A restless operator: adds, promotes, demotes, replaces and removes members, one compare-and-swapped change after another.
//! Owns what is wanted next; whether a change is legal and safe is the leader's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use raft::{Change, Configuration, Index, MemberId, Role};

use crate::cluster::simulated::member::{Input, State};
use crate::cluster::simulated::profile::Profile;
use crate::cluster::simulated::{Event, Simulated, info};
use crate::fault::Fault;
use crate::invariant::Checked;
use crate::world::seed::Random;

/// Members that one run ever has, at most.
const MEMBERS_MAX: u64 = 24;
/// Learners that are kept, at most.
const LEARNERS_MAX: usize = 3;
/// The operator's pace once everything is healed.
const CALM: Duration = Duration::from_millis(250);

/// What the operator remembers; its real memory is the cluster's configuration.
#[derive(Debug)]
pub struct Operator {
    sizes: (u64, u64),
    target: u64,
    next_id: u64,
    /// A configuration index that it saw some time ago.
    stale: Option<Index>,
    is_restless: bool,
}

/// What it sees of the cluster.
pub(crate) struct Seen<'a> {
    pub(crate) current: &'a Configuration,
    /// Members that are no more.
    pub(crate) dead: BTreeSet<MemberId>,
}

/// The next change: a configuration, and how many empty members to create for it as learners.
pub(crate) struct Wish {
    pub(crate) voters: BTreeSet<MemberId>,
    pub(crate) learners: BTreeSet<MemberId>,
    pub(crate) fresh: u64,
}

impl Operator {
    /// It looks for trouble only if churn is among the faults.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        Self {
            sizes: profile.sizes,
            target: profile.voters,
            next_id: profile.voters + 1,
            stale: None,
            is_restless: profile.faults.include(Fault::Churn),
        }
    }

    /// From now on it only replaces what is dead.
    pub fn heal(&mut self) {
        self.is_restless = false;
    }

    /// The ID of one more member.
    pub(crate) fn fresh_id(&mut self) -> MemberId {
        self.next_id += 1;
        MemberId(self.next_id - 1)
    }

    /// What to ask for next, if anything.
    pub(crate) fn wish(&mut self, random: &mut Random, seen: &Seen<'_>) -> Option<Wish> {
        let Seen { current, dead } = seen;
        let alive: Vec<MemberId> = current.voters.difference(dead).copied().collect();
        let mut spares: Vec<MemberId> = current.learners.difference(dead).copied().collect();
        if self.is_restless && random.chance(300_000) {
            self.target = random.between(self.sizes.0, self.sizes.1);
        }
        let replaced = u64::from(self.is_restless && random.chance(200_000)).min(alive.len() as u64);
        let missing = self.target.saturating_sub(alive.len() as u64) + replaced;
        if missing > spares.len() as u64 {
            let fresh = (missing - spares.len() as u64).min(MEMBERS_MAX.saturating_sub(self.next_id));
            if fresh > 0 {
                let learners = spares.into_iter().collect();
                return Some(Wish { voters: current.voters.clone(), learners, fresh });
            }
        }
        random.shuffle(&mut spares);
        let promoted: BTreeSet<MemberId> = spares.iter().copied().take(missing as usize).collect();
        let mut kept = alive;
        random.shuffle(&mut kept);
        let room = (self.target as usize).saturating_sub(promoted.len()).max(usize::from(promoted.is_empty()));
        let dropped = kept.split_off(room.min(kept.len()));
        let voters: BTreeSet<MemberId> = kept.into_iter().chain(promoted.iter().copied()).collect();
        let mut learners: BTreeSet<MemberId> = spares.into_iter().filter(|id| !promoted.contains(id)).collect();
        if self.is_restless {
            learners.retain(|_| !random.chance(150_000));
            learners.extend(dropped.into_iter().filter(|_| random.chance(250_000)));
            if random.chance(100_000) && learners.len() < LEARNERS_MAX && self.next_id < MEMBERS_MAX {
                return Some(Wish { voters, learners, fresh: 1 });
            }
        }
        let is_new = voters != current.voters || learners != current.learners;
        (is_new && !voters.is_empty()).then_some(Wish { voters, learners, fresh: 0 })
    }
}

impl Simulated {
    /// The operator looks at some leader's configuration and asks for the next change.
    pub(super) fn operator_looks(&mut self) -> Checked {
        self.destroy_removed();
        let leaders = self.leaders();
        if !leaders.is_empty() {
            let leader = *self.random.pick(&leaders);
            self.operator_asks(leader)?;
        }
        let pace = if self.is_healing { CALM } else { self.random.time(self.profile.calm / 8, self.profile.calm) };
        self.agenda.after(pace, Event::Operator);
        Ok(())
    }

    /// A leader was elected; a hasty operator asks it at once, and again.
    pub(super) fn operator_hears_of(&mut self, leader: MemberId) {
        if self.operator.is_restless && self.random.coin() {
            for _ in 0..3 {
                let delay = self.random.long_tailed(Duration::from_micros(100), Duration::from_millis(200));
                self.agenda.after(delay, Event::Hasty(leader));
            }
        }
    }

    pub(super) fn operator_asks(&mut self, leader: MemberId) -> Checked {
        let Some(process) = self.members[&leader].process() else { return Ok(()) };
        if process.raft.soft_state().role != Role::Leader {
            return Ok(());
        }
        let (in_force, index) = process.raft.configuration();
        let current = in_force.clone();
        let settled = !current.is_joint() && process.raft.committed_configuration().1 == index;
        let is_hasty = self.operator.is_restless && self.random.chance(100_000);
        if !settled && !is_hasty {
            return Ok(());
        }
        let dead = self.dead();
        let seen = Seen { current: &current, dead };
        let Some(wish) = self.operator.wish(&mut self.random, &seen) else { return Ok(()) };
        let mut learners = wish.learners;
        for _ in 0..wish.fresh {
            let id = self.operator.fresh_id();
            self.add_member(id, Arc::new(Configuration::default()))?;
            learners.insert(id);
        }
        let expected = match self.operator.stale {
            Some(stale) if self.operator.is_restless && self.random.chance(100_000) => stale,
            _ => index,
        };
        self.operator.stale = Some(index);
        let members: BTreeMap<_, _> = wish.voters.iter().chain(&learners).map(|id| (*id, info(*id))).collect();
        self.ask(leader, Input::Change(Change { expected, voters: wish.voters, learners, members }));
        Ok(())
    }

    /// Members that are no more.
    pub(crate) fn dead(&self) -> BTreeSet<MemberId> {
        let gone = self.members.values().filter(|member| matches!(member.state, State::Gone));
        gone.map(|member| member.id).collect()
    }

    /// Takes away some of the members that a committed configuration removed; others go on as long as they like.
    fn destroy_removed(&mut self) {
        if !self.operator.is_restless {
            return;
        }
        let removed: Vec<MemberId> = match self.invariants.ledger.committed_configuration() {
            Some((_, configuration)) => configuration.removed.iter().copied().collect(),
            None => return,
        };
        for id in removed {
            let is_there = matches!(self.members[&id].state, State::Up(_) | State::Down);
            if is_there && self.random.chance(150_000) {
                self.destroy(id);
            }
        }
    }
}
