//! Which faults strike which members, and for how long. Owns the draw from the seed, and the choice of members for a
//! round. Does not cause a fault (`fault.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use world::seed::{Random, Seed};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL; started again after a while.
    Kill,
    /// SIGKILL of all members at once.
    KillAll,
    /// SIGTERM; started again after a while.
    Terminate,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// What one member sends to another is dropped; the other direction works.
    CutOneWay,
    /// Reaches neither members nor clients.
    CutOff,
    /// Reaches clients, but no member.
    Isolate,
    /// Its disk is full.
    Fill,
    /// Its next sync fails, so that it must end.
    SyncError,
    /// Each sync takes 300 ms longer.
    SlowSync,
    /// Leadership is transferred.
    Transfer,
    /// The history is compacted.
    Compact,
    /// A voter and a learner exchange their roles.
    Swap,
}

/// All faults, each with its weight in the draw.
const FAULTS: [(Fault, u64); 13] = [
    (Fault::Kill, 4),
    (Fault::KillAll, 1),
    (Fault::Terminate, 2),
    (Fault::Stop, 4),
    (Fault::CutOneWay, 4),
    (Fault::CutOff, 3),
    (Fault::Isolate, 3),
    (Fault::Fill, 2),
    (Fault::SyncError, 3),
    (Fault::SlowSync, 2),
    (Fault::Transfer, 2),
    (Fault::Compact, 2),
    (Fault::Swap, 2),
];

impl Fault {
    /// Returns whether the struck member may be unable to serve.
    fn disables(self) -> bool {
        !matches!(self, Fault::Transfer | Fault::Compact | Fault::Swap)
    }

    /// Range of the fault's duration in seconds. It is the time until the restart for faults that end a process.
    fn seconds(self) -> (u64, u64) {
        match self {
            Fault::Kill | Fault::KillAll | Fault::Terminate | Fault::SyncError => (0, 6),
            Fault::Stop | Fault::CutOneWay | Fault::CutOff | Fault::Isolate => (1, 15),
            Fault::Fill => (5, 20),
            Fault::SlowSync => (5, 10),
            Fault::Transfer | Fault::Compact | Fault::Swap => (0, 0),
        }
    }
}

/// The member that a drawn fault strikes. Numbers count modulo the members of the kind, whose roles change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Leader,
    Voter(u64),
    Learner(u64),
}

/// A drawn fault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Draw {
    fault: Fault,
    target: Target,
    other: u64,
    time: Duration,
}

/// One or two faults that strike at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Time without a fault before the round.
    pub(crate) idle: Duration,
    draws: Vec<Draw>,
}

/// Roles of the members when a round begins, as indices.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) leader: Option<usize>,
    pub(crate) voters: Vec<usize>,
    pub(crate) learners: Vec<usize>,
}

/// A fault with its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) member: usize,
    /// Second member of a one-way cut or exchange, or the target of a transfer; differs from `member`.
    pub(crate) other: usize,
    pub(crate) time: Duration,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, member, other) = (self.fault, self.member + 1, self.other + 1);
        match fault {
            Fault::KillAll => write!(f, "{fault:?}")?,
            Fault::CutOneWay => write!(f, "{fault:?} m{other} to m{member}")?,
            Fault::Swap => write!(f, "{fault:?} m{member} with m{other}")?,
            Fault::Transfer => return write!(f, "{fault:?} to m{other}"),
            Fault::Compact => return write!(f, "{fault:?} through m{member}"),
            _ => write!(f, "{fault:?} m{member}")?,
        }
        write!(f, " {:.1} s", self.time.as_secs_f64())
    }
}

/// The endless sequence of rounds of a seed.
pub(crate) struct Schedule(Random);

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(Seed(seed)))
    }

    /// Draws the next round.
    pub(crate) fn next(&mut self) -> Round {
        let random = &mut self.0;
        let idle = random.time(Duration::from_secs(1), Duration::from_secs(8));
        let mut draws = vec![draw(random)];
        if draws[0].fault != Fault::KillAll && random.percent(40) {
            let second = draw(random);
            draws.extend((second.fault != Fault::KillAll).then_some(second));
        }
        Round { idle, draws }
    }
}

fn draw(random: &mut Random) -> Draw {
    let mut place = random.below(FAULTS.iter().map(|(_, weight)| weight).sum());
    let drawn = FAULTS.iter().find(|(_, weight)| {
        let is_drawn = place < *weight;
        place = place.saturating_sub(*weight);
        is_drawn
    });
    let (fault, _) = drawn.expect("the number is below the sum of the weights");
    let target = match random.below(10) {
        0..=3 => Target::Leader,
        4..=7 => Target::Voter(random.number()),
        _ => Target::Learner(random.number()),
    };
    let (low, high) = fault.seconds();
    let time = random.time(Duration::from_secs(low), Duration::from_secs(high));
    Draw { fault: *fault, target, other: random.number(), time }
}

/// Chooses the members of a round. No member is struck twice; a fault without a member that is left is dropped.
pub(crate) fn resolve(round: &Round, view: &View) -> Vec<Strike> {
    let mut taken = BTreeSet::new();
    let mut strikes: Vec<Strike> = Vec::new();
    for draw in &round.draws {
        let all: Vec<usize> = view.voters.iter().chain(&view.learners).copied().collect();
        let pick = |from: &[usize], taken: &BTreeSet<usize>, number: u64| {
            let left: Vec<usize> = from.iter().filter(|place| !taken.contains(*place)).copied().collect();
            usize::try_from(number % left.len().max(1) as u64).ok().and_then(|at| left.get(at).copied())
        };
        let member = match (draw.fault, draw.target) {
            (Fault::Swap, Target::Voter(number) | Target::Learner(number)) => pick(&view.voters, &taken, number),
            (_, Target::Leader) => view.leader.filter(|leader| !taken.contains(leader)),
            (_, Target::Voter(number)) => pick(&view.voters, &taken, number),
            (_, Target::Learner(number)) => pick(&view.learners, &taken, number),
        };
        let Some(member) = member.or_else(|| pick(&view.voters, &taken, draw.other)) else { continue };
        taken.insert(member);
        let others = match draw.fault {
            Fault::Swap => &view.learners,
            Fault::Transfer => &view.voters,
            _ => &all,
        };
        let Some(other) = pick(others, &taken, draw.other) else { continue };
        if matches!(draw.fault, Fault::CutOneWay | Fault::Swap) {
            taken.insert(other);
        }
        strikes.push(Strike { fault: draw.fault, member, other, time: draw.time });
    }
    strikes
}

/// Members that may be unable to serve during these strikes.
pub(crate) fn struck(strikes: &[Strike], view: &View) -> BTreeSet<usize> {
    let mut struck = BTreeSet::new();
    for strike in strikes.iter().filter(|strike| strike.fault.disables()) {
        match strike.fault {
            Fault::KillAll => struck.extend(view.voters.iter().chain(&view.learners)),
            Fault::CutOneWay => struck.extend([strike.member, strike.other]),
            _ => struck.extend([strike.member]),
        }
    }
    struck
}

/// Returns whether a majority of the voters can reach each other during these strikes. One end of a one-way cut counts
/// as lost, and none if the other end is a learner.
pub(crate) fn quorum_lives(strikes: &[Strike], view: &View) -> bool {
    let votes = |place: usize| usize::from(view.voters.contains(&place));
    let lost = strikes.iter().filter(|strike| strike.fault.disables()).map(|strike| match strike.fault {
        Fault::KillAll => view.voters.len(),
        Fault::CutOneWay => votes(strike.member).min(votes(strike.other)),
        _ => votes(strike.member),
    });
    // An exchange of roles at the same time may need every voter.
    let swaps = strikes.iter().any(|strike| strike.fault == Fault::Swap) && strikes.len() > 1;
    lost.sum::<usize>() <= (view.voters.len() - 1) / 2 && !swaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View { leader: Some(1), voters: vec![0, 1, 2], learners: vec![3, 4] }
    }

    fn rounds(seed: u64, count: usize) -> Vec<Round> {
        let mut schedule = Schedule::new(seed);
        (0..count).map(|_| schedule.next()).collect()
    }

    #[test]
    fn a_seed_repeats_its_schedule() {
        assert_eq!(rounds(7, 50), rounds(7, 50));
        assert_ne!(rounds(7, 50), rounds(8, 50));
    }

    #[test]
    fn every_fault_is_drawn_alone_and_in_pairs_and_strikes_different_members() {
        let (mut alone, mut paired) = (BTreeSet::new(), BTreeSet::new());
        for round in rounds(1, 2_000) {
            let strikes = resolve(&round, &view());
            assert!(!strikes.is_empty() && strikes.iter().all(|strike| strike.member != strike.other), "{strikes:?}");
            if let [one, two] = &strikes[..] {
                assert_ne!(one.member, two.member);
            }
            let drawn = if strikes.len() == 1 { &mut alone } else { &mut paired };
            drawn.extend(strikes.iter().map(|strike| strike.fault));
        }
        assert_eq!((alone.len(), paired.len()), (FAULTS.len(), FAULTS.len() - 1));
    }

    #[test]
    fn roles_are_exchanged_between_a_voter_and_a_learner() {
        for round in rounds(3, 2_000) {
            for strike in resolve(&round, &view()).iter().filter(|strike| strike.fault == Fault::Swap) {
                assert!(strike.member < 3 && strike.other >= 3, "{strike}");
            }
        }
    }

    #[test]
    fn one_voter_of_three_may_be_lost() {
        let strike = |fault, member, other| Strike { fault, member, other, time: Duration::ZERO };
        let lives = |strikes: &[Strike]| quorum_lives(strikes, &view());
        assert!(lives(&[strike(Fault::Kill, 0, 1), strike(Fault::Stop, 3, 1)]));
        assert!(lives(&[strike(Fault::Kill, 0, 1), strike(Fault::CutOneWay, 3, 1)]));
        assert!(!lives(&[strike(Fault::Kill, 0, 1), strike(Fault::CutOneWay, 1, 2)]));
        assert!(!lives(&[strike(Fault::KillAll, 0, 1)]));
        assert_eq!(struck(&[strike(Fault::CutOneWay, 0, 3)], &view()), BTreeSet::from([0, 3]));
    }
}
