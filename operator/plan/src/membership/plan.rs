//! From members held to members wanted: who stays, who goes, who comes, and which configuration can be had now. Judges
//! from one look and remembers nothing, so that a new operator goes on where an old one stopped. Calls nothing and
//! decides nothing about safety.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ClusterId, MemberId};
use crate::membership::replace::{is_usable, replaced};
use crate::membership::wanted::Wanted;
use crate::names::Ordinal;
use crate::observed::member::{Configuration, Phase};
use crate::roster::{Roster, Seat, Standing};

/// A plan, as of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipPlan {
    /// Configured members that stay.
    pub keep: BTreeSet<MemberId>,
    /// Configured members that go, and why.
    pub leaving: BTreeMap<MemberId, Leaving>,
    /// Members outside the configuration that come in; they exist.
    pub candidates: Vec<Ordinal>,
    /// Members still to be created.
    pub create: usize,
    /// Members outside the configuration that nobody needs.
    pub surplus: Vec<Ordinal>,
    /// The configuration to ask for now; the present one if nothing can be changed yet.
    pub target: Target,
    /// Learners that stay but are not caught up, and everyone who comes.
    pub behind: Vec<Ordinal>,
}

/// Why a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Fewer are wanted.
    Excess,
    /// It is replaced.
    Replaced,
}

/// A configuration that could be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Who is to vote.
    pub voters: BTreeSet<MemberId>,
    /// Who is to follow without a vote.
    pub learners: BTreeSet<MemberId>,
}

impl Target {
    /// The configuration that is, as a target.
    #[must_use]
    pub fn of(configuration: &Configuration) -> Self {
        let mut learners = configuration.learners.clone();
        learners.extend(&configuration.learners_next);
        Self { voters: configuration.voters.clone(), learners }
    }

    /// Whether a member takes part in any way.
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
        let keep = kept(wanted, configuration, roster, &everyone, &replaced);
        let leaving = everyone
            .iter()
            .filter(|id| !keep.contains(id))
            .map(|id| (*id, if replaced.contains(id) { Leaving::Replaced } else { Leaving::Excess }))
            .collect::<BTreeMap<_, _>>();
        let short = (wanted.voters + wanted.learners).saturating_sub(keep.len());
        let (candidates, surplus) = outside(configuration, roster, short);
        let create = short - candidates.len();
        let voters = voters(wanted, configuration, roster, &keep);
        let behind = behind(roster, configuration, &keep, &candidates);
        let target = target(configuration, roster, cluster, &keep, voters, &candidates, &surplus);
        Self { keep, leaving, candidates, create, surplus, target, behind }
    }
}

/// As many of the others as are wanted: healthy before unhealthy, the leader before all, old before new.
fn kept(
    wanted: Wanted,
    configuration: &Configuration,
    roster: &Roster<'_>,
    everyone: &BTreeSet<MemberId>,
    replaced: &BTreeSet<MemberId>,
) -> BTreeSet<MemberId> {
    let mut others: Vec<MemberId> = everyone.iter().copied().filter(|id| !replaced.contains(id)).collect();
    others.sort_by_key(|id| (preference(roster, *id), Reverse(configuration.is_voter(*id)), ordinal(roster, *id)));
    others.into_iter().take(wanted.voters + wanted.learners).collect()
}

/// Less is better.
fn preference(roster: &Roster<'_>, id: MemberId) -> u8 {
    match roster.standing(id) {
        Standing::Serving { leads: true, .. } => 0,
        Standing::Serving { .. } => 1,
        Standing::Alone | Standing::Joined | Standing::Restoring | Standing::Blank => 2,
        Standing::Silent { .. } => 3,
        Standing::Unreachable { .. } => 4,
        Standing::Lost(_) | Standing::Removed => 5,
    }
}

fn ordinal(roster: &Roster<'_>, id: MemberId) -> Ordinal {
    roster.by_id(id).map_or(Ordinal(u32::MAX), |seat| seat.ordinal)
}

/// Members outside the configuration: as many as are needed, the readiest first; and the rest.
fn outside(configuration: &Configuration, roster: &Roster<'_>, short: usize) -> (Vec<Ordinal>, Vec<Ordinal>) {
    let seats = roster.seats.values().filter(|seat| {
        seat.set.is_some()
            && seat.standing != Standing::Removed
            && !seat.id.is_some_and(|id| configuration.contains(id))
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

/// The largest odd electorate that can be had now, no smaller than the present one but for what is wanted. `None` if not
/// even that can be had.
fn voters(
    wanted: Wanted,
    configuration: &Configuration,
    roster: &Roster<'_>,
    keep: &BTreeSet<MemberId>,
) -> Option<BTreeSet<MemberId>> {
    let mut steady: Vec<_> = keep.iter().copied().filter(|id| configuration.voters.contains(id)).collect();
    steady.sort_by_key(|id| (preference(roster, *id), ordinal(roster, *id)));
    let mut ready: Vec<_> = keep
        .iter()
        .copied()
        .filter(|id| configuration.learners.contains(id) && roster.standing(*id).caught_up())
        .collect();
    ready.sort_by_key(|id| ordinal(roster, *id));
    let least = odd_at_most(wanted.voters.min(configuration.voters.len()));
    let mut size = wanted.voters;
    while size >= least {
        if steady.len() + ready.len() >= size {
            return Some(steady.iter().chain(&ready).copied().take(size).collect());
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
        // Nobody's vote can change yet; learners can.
        None => Target { voters: configuration.voters.clone(), learners: keep - &configuration.voters },
    };
    let joined = candidates.iter().filter_map(|ordinal| roster.seats.get(ordinal)).filter(|seat| {
        seat.report.is_some_and(|report| report.phase == Phase::Member && report.cluster == Some(cluster))
    });
    target.learners.extend(joined.filter_map(|seat| seat.id));
    // What was announced may be on its way into the configuration by somebody else's hand: it goes in, and out again, so
    // that its removal is a fact before anything of it is deleted.
    let announced = surplus.iter().filter_map(|ordinal| roster.seats.get(ordinal)).filter_map(|seat| seat.id);
    target.learners.extend(announced);
    target
}

/// Learners that stay but are not caught up, and everyone who comes.
fn behind(
    roster: &Roster<'_>,
    configuration: &Configuration,
    keep: &BTreeSet<MemberId>,
    candidates: &[Ordinal],
) -> Vec<Ordinal> {
    let learners = keep.iter().filter(|id| configuration.learners.contains(id));
    let mut behind: Vec<Ordinal> = learners
        .filter(|id| !roster.standing(**id).caught_up())
        .filter_map(|id| roster.by_id(*id))
        .map(|seat| seat.ordinal)
        .chain(candidates.iter().copied())
        .collect();
    behind.sort();
    behind
}
