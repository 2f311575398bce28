//! A simulated operator that changes the membership all the time: it adds, promotes, demotes, replaces and removes
//! members, each by a compare-and-swapped change. Owns the choice of the next change. Does not decide whether a change
//! is legal and safe, because the leader does.

use std::collections::BTreeSet;

use raft::{Configuration, Index, MemberId, MemberInfo};
use world::seed::Random;

use crate::fault::Fault;
use crate::profile::Profile;

/// Maximum number of members that one run ever creates.
const MEMBERS_MAX: u64 = 24;
/// Maximum number of learners at a time.
const LEARNERS_MAX: usize = 3;

/// The simulated operator. It keeps only this state. Like the real operator, it reads everything else from the
/// cluster's configuration.
#[derive(Debug)]
pub struct Operator {
    sizes: (u64, u64),
    target: u64,
    next_id: u64,
    /// Index of a configuration that the operator read earlier.
    pub(crate) stale: Option<Index>,
    pub(crate) changes_members: bool,
}

/// State of the cluster as the operator observes it.
pub(crate) struct Seen<'a> {
    pub(crate) current: &'a Configuration,
    /// Members that are destroyed.
    pub(crate) dead: BTreeSet<MemberId>,
}

/// The next change: a configuration, and the number of blank members to create for it as learners.
pub(crate) struct NextChange {
    pub(crate) voters: BTreeSet<MemberId>,
    pub(crate) learners: BTreeSet<MemberId>,
    pub(crate) fresh: u64,
}

impl Operator {
    /// Creates an operator. If churn is not among the faults, the operator only replaces destroyed members.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        Self {
            sizes: profile.sizes,
            target: profile.voters,
            next_id: profile.voters + 1,
            stale: None,
            changes_members: profile.faults.include(Fault::Churn),
        }
    }

    /// Makes the operator do nothing from now on except replace destroyed members.
    pub fn heal(&mut self) {
        self.changes_members = false;
    }

    /// Reserves the ID of one more member.
    pub(crate) fn fresh_id(&mut self) -> MemberId {
        self.next_id += 1;
        MemberId(self.next_id - 1)
    }

    /// The next change to request, if there is one.
    pub(crate) fn next_change(&mut self, random: &mut Random, seen: &Seen<'_>) -> Option<NextChange> {
        let Seen { current, dead } = seen;
        let alive: Vec<MemberId> = current.voters.difference(dead).copied().collect();
        let mut spares: Vec<MemberId> = current.learners.difference(dead).copied().collect();
        if self.changes_members && random.chance(300_000) {
            self.target = random.between(self.sizes.0, self.sizes.1);
        }
        let replaced = u64::from(self.changes_members && random.chance(200_000)).min(alive.len() as u64);
        let missing = self.target.saturating_sub(alive.len() as u64) + replaced;
        if missing > spares.len() as u64 {
            let fresh = (missing - spares.len() as u64).min(MEMBERS_MAX.saturating_sub(self.next_id));
            if fresh > 0 {
                let learners = spares.into_iter().collect();
                return Some(NextChange { voters: current.voters.clone(), learners, fresh });
            }
        }
        random.shuffle(&mut spares);
        let promoted: BTreeSet<MemberId> = spares.iter().copied().take(missing as usize).collect();
        let mut kept = alive;
        random.shuffle(&mut kept);
        let kept_max = (self.target as usize).saturating_sub(promoted.len()).max(usize::from(promoted.is_empty()));
        let dropped = kept.split_off(kept_max.min(kept.len()));
        let voters: BTreeSet<MemberId> = kept.into_iter().chain(promoted.iter().copied()).collect();
        let mut learners: BTreeSet<MemberId> = spares.into_iter().filter(|id| !promoted.contains(id)).collect();
        if self.changes_members {
            learners.retain(|_| !random.chance(150_000));
            learners.extend(dropped.into_iter().filter(|_| random.chance(250_000)));
            if random.chance(100_000) && learners.len() < LEARNERS_MAX && self.next_id < MEMBERS_MAX {
                return Some(NextChange { voters, learners, fresh: 1 });
            }
        }
        let is_new = voters != current.voters || learners != current.learners;
        (is_new && !voters.is_empty()).then_some(NextChange { voters, learners, fresh: 0 })
    }
}

/// Addresses of a simulated member.
#[must_use]
pub fn info(id: MemberId) -> MemberInfo {
    MemberInfo {
        name: format!("demo-{id}"),
        peer_url: format!("http://demo-{id}:2380"),
        client_url: format!("http://demo-{id}:2379"),
    }
}
