//! The plan from the present members to the wanted ones. Owns which members stay, leave and are added, and which
//! configuration is requested now. Does not own whether the request is safe (`safety.rs`). The plan depends on the
//! observation alone, so that a new operator continues where another one stopped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ClusterId, MemberId};
use crate::membership::replace::{is_usable, replaced};
use crate::membership::wanted::Wanted;
use crate::names::Ordinal;
use crate::observed::member::{Configuration, MemberPhase};
use crate::roster::{Health, Roster, Seat};

/// A plan that was computed from one observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipPlan {
    /// Configured members that stay.
    pub keep: BTreeSet<MemberId>,
    /// Configured members that leave, each with the reason.
    pub leaving: BTreeMap<MemberId, Leaving>,
    /// Existing members that are outside the configuration and will be added to it.
    pub candidates: Vec<Ordinal>,
    /// Number of members to create.
    pub create: usize,
    /// Members outside the configuration that are not needed.
    pub surplus: Vec<Ordinal>,
    /// The configuration to request now; equal to the present one if no change is possible yet.
    pub target: Target,
    /// Learners that stay but are not caught up, and all members in `candidates`.
    pub lagging: Vec<Ordinal>,
}

/// The reason why a member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The spec asks for fewer members.
    Excess,
    /// The member is replaced.
    Replaced,
    /// The member serves, and a member with another volume takes its place.
    Moved,
}

/// A configuration to request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The voters.
    pub voters: BTreeSet<MemberId>,
    /// The learners.
    pub learners: BTreeSet<MemberId>,
}

impl Target {
    /// The present configuration as a target.
    #[must_use]
    pub fn of(configuration: &Configuration) -> Self {
        let mut learners = configuration.learners.clone();
        learners.extend(&configuration.learners_next);
        Self { voters: configuration.voters.clone(), learners }
    }

    /// Returns whether a member is a voter or a learner.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }
}

impl MembershipPlan {
    /// The plan for a configuration that is not joint.
    #[must_use]
    pub fn of(wanted: Wanted, configuration: &Configuration, roster: &Roster<'_>, cluster: ClusterId) -> Self {
        let everyone = configuration.everyone();
        let replaced = replaced(wanted, configuration, roster);
        // A lost member is replaced first, by the member that was to take the place of the moved one.
        let moved = wanted.moved.filter(|id| replaced.is_empty() && everyone.contains(id));
        let given_up: BTreeSet<MemberId> = replaced.iter().copied().chain(moved).collect();
        let keep = kept(wanted, configuration, roster, &everyone, &given_up);
        let leaving = everyone
            .iter()
            .filter(|id| !keep.contains(id))
            .map(|id| match *id {
                id if replaced.contains(&id) => (id, Leaving::Replaced),
                id if moved == Some(id) => (id, Leaving::Moved),
                id => (id, Leaving::Excess),
            })
            .collect::<BTreeMap<_, _>>();
        let short = (wanted.voters + wanted.learners).saturating_sub(keep.len());
        let (candidates, surplus) = outside(configuration, roster, short);
        assert!(candidates.len() <= short, "no more members are added than are missing");
        let create = short - candidates.len();
        // A member that serves leaves only when all that stay have caught up.
        let is_whole = keep.len() == wanted.voters + wanted.learners;
        let is_ready = is_whole && keep.iter().all(|id| roster.health(*id).caught_up());
        let waiting = moved.filter(|_| !is_ready);
        let voters = voters(wanted, configuration, roster, &keep).filter(|_| waiting.is_none());
        let lagging = lagging(roster, configuration, &keep, &candidates);
        let mut target = target(configuration, roster, cluster, &keep, voters, &candidates, &surplus);
        target.learners.extend(waiting.filter(|id| !target.voters.contains(id)));
        // Leadership can be transferred only to a voter, so the only voter leaves after the transfer.
        if let Some(moved) = moved.filter(|id| configuration.is_voter(*id))
            && configuration.voters.is_disjoint(&target.voters)
        {
            target.voters.insert(moved);
        }
        debug_assert!(keep.iter().all(|id| !leaving.contains_key(id)), "a member stays or leaves");
        assert_eq!(keep.len() + leaving.len(), everyone.len(), "each member stays or leaves");
        debug_assert!(keep.is_disjoint(&given_up), "a member that is replaced does not stay");
        Self { keep, leaving, candidates, create, surplus, target, lagging }
    }
}

/// The members that stay, at most as many as are wanted. The leader is preferred, then healthy members, then voters,
/// then low ordinals.
fn kept(
    wanted: Wanted,
    configuration: &Configuration,
    roster: &Roster<'_>,
    everyone: &BTreeSet<MemberId>,
    given_up: &BTreeSet<MemberId>,
) -> BTreeSet<MemberId> {
    let mut others: Vec<MemberId> = everyone.iter().copied().filter(|id| !given_up.contains(id)).collect();
    others.sort_by_key(|id| (preference(roster, *id), Reverse(configuration.is_voter(*id)), ordinal(roster, *id)));
    others.into_iter().take(wanted.voters + wanted.learners).collect()
}

/// Rank of a member: a member with a lower rank is kept first.
fn preference(roster: &Roster<'_>, id: MemberId) -> u8 {
    match roster.health(id) {
        Health::Serving { leads: true, .. } => 0,
        Health::Serving { .. } => 1,
        Health::Alone | Health::TooNew | Health::Joined | Health::Restoring | Health::Blank => 2,
        Health::Silent { .. } => 3,
        Health::Unreachable { .. } => 4,
        Health::Lost(_) | Health::Removed => 5,
    }
}

fn ordinal(roster: &Roster<'_>, id: MemberId) -> Ordinal {
    roster.by_id(id).map_or(Ordinal(u32::MAX), |seat| seat.ordinal)
}

/// Members outside the configuration, in two lists: the members that are added, and the rest. Members that answer are
/// added first.
fn outside(configuration: &Configuration, roster: &Roster<'_>, short: usize) -> (Vec<Ordinal>, Vec<Ordinal>) {
    let seats = roster.seats.values().filter(|seat| {
        seat.set.is_some() && seat.health != Health::Removed && !seat.id.is_some_and(|id| configuration.contains(id))
    });
    let (mut usable, useless): (Vec<&Seat<'_>>, Vec<&Seat<'_>>) = seats.partition(|seat| is_usable(seat));
    usable.sort_by_key(|seat| (seat.report.is_none(), seat.ordinal));
    let surplus = usable.split_off(short.min(usable.len()));
    let ordinals = |seats: Vec<&Seat<'_>>| seats.into_iter().map(|seat| seat.ordinal).collect::<Vec<_>>();
    let mut rest = ordinals(surplus);
    rest.extend(ordinals(useless));
    rest.sort();
    (ordinals(usable), rest)
}

/// The largest set with an odd number of voters that is possible now. The set is smaller than the present one only if
/// fewer voters are wanted. `None` if no such set is possible.
fn voters(
    wanted: Wanted,
    configuration: &Configuration,
    roster: &Roster<'_>,
    keep: &BTreeSet<MemberId>,
) -> Option<BTreeSet<MemberId>> {
    debug_assert!(wanted.voters % 2 == 1, "an odd number of voters is wanted");
    let mut steady: Vec<_> = keep.iter().copied().filter(|id| configuration.voters.contains(id)).collect();
    steady.sort_by_key(|id| (preference(roster, *id), ordinal(roster, *id)));
    let mut ready: Vec<_> = keep
        .iter()
        .copied()
        .filter(|id| configuration.learners.contains(id) && roster.health(*id).caught_up())
        .collect();
    ready.sort_by_key(|id| ordinal(roster, *id));
    let least = odd_at_most(wanted.voters.min(configuration.voters.len()));
    let mut size = wanted.voters;
    while size >= least {
        if steady.len() + ready.len() >= size {
            let voters: BTreeSet<MemberId> = steady.iter().chain(&ready).copied().take(size).collect();
            assert_eq!(voters.len(), size, "each voter is counted once");
            assert!(voters.is_subset(keep), "a member that leaves does not vote");
            return Some(voters);
        }
        size = size.checked_sub(2)?;
    }
    None
}

fn odd_at_most(count: usize) -> usize {
    if count.is_multiple_of(2) { count.saturating_sub(1) } else { count }
}

fn target(
    configuration: &Configuration,
    roster: &Roster<'_>,
    cluster: ClusterId,
    keep: &BTreeSet<MemberId>,
    voters: Option<BTreeSet<MemberId>>,
    candidates: &[Ordinal],
    surplus: &[Ordinal],
) -> Target {
    let mut target = match voters {
        Some(voters) => Target { learners: keep - &voters, voters },
        // The voters cannot change yet, but the learners can.
        None => Target { voters: configuration.voters.clone(), learners: keep - &configuration.voters },
    };
    let joined = candidates.iter().filter_map(|ordinal| roster.seats.get(ordinal)).filter(|seat| {
        seat.report.is_some_and(|report| report.phase == MemberPhase::Member && report.cluster == Some(cluster))
    });
    target.learners.extend(joined.filter_map(|seat| seat.id));
    // Another operator may be adding an announced surplus member at this moment. The objects of such a member are
    // therefore deleted only after a linearizable read has confirmed the member's removal. The target adds the member
    // as a learner, so that a later change can remove the member.
    let announced = surplus.iter().filter_map(|ordinal| roster.seats.get(ordinal)).filter_map(|seat| seat.id);
    target.learners.extend(announced);
    assert!(target.learners.is_disjoint(&target.voters), "a member is a voter or a learner");
    target
}

/// Learners that stay but are not caught up, and all members in `candidates`.
fn lagging(
    roster: &Roster<'_>,
    configuration: &Configuration,
    keep: &BTreeSet<MemberId>,
    candidates: &[Ordinal],
) -> Vec<Ordinal> {
    let learners = keep.iter().filter(|id| configuration.learners.contains(id));
    let mut lagging: Vec<Ordinal> = learners
        .filter(|id| !roster.health(**id).caught_up())
        .filter_map(|id| roster.by_id(*id))
        .map(|seat| seat.ordinal)
        .chain(candidates.iter().copied())
        .collect();
    lagging.sort();
    lagging
}
