//! The simulated network. Messages are lost, delayed, duplicated, or overtaken by later messages. Owns the links and
//! the network profile. Does not read messages.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::MemberId;

use crate::seed::Random;

/// A network profile: how messages are delayed and lost.
#[derive(Clone, Copy, Debug)]
pub struct NetworkProfile {
    /// Probability of loss, per million.
    pub loss: u32,
    /// Probability of a second delivery, per million.
    pub duplication: u32,
    /// Probability of a long delay, per million. Later messages overtake a message with a long delay.
    pub hold: u32,
    /// Minimum and maximum of the normal delay. A long delay may exceed the maximum.
    pub delay: (Duration, Duration),
    /// Maximum of a long delay.
    pub hold_max: Duration,
}

impl NetworkProfile {
    /// A network that loses no message, and delays no message for long.
    pub const UNDISTURBED: Self = Self {
        loss: 0,
        duplication: 0,
        hold: 0,
        delay: (Duration::from_micros(200), Duration::from_millis(2)),
        hold_max: Duration::from_millis(2),
    };
}

/// The links between all members.
#[derive(Debug)]
pub struct Network {
    /// The current network profile.
    pub profile: NetworkProfile,
    /// Links that are cut, each in one direction.
    cut: BTreeSet<(MemberId, MemberId)>,
}

impl Network {
    /// A network without cut links.
    #[must_use]
    pub fn new(profile: NetworkProfile) -> Self {
        Self { profile, cut: BTreeSet::new() }
    }

    /// Returns whether messages pass from `from` to `to`.
    #[must_use]
    pub fn passes(&self, from: MemberId, to: MemberId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts the link from `from` to `to`.
    pub fn cut(&mut self, from: MemberId, to: MemberId) {
        self.cut.insert((from, to));
    }

    /// Describes the cut links.
    #[must_use]
    pub fn describe(&self) -> String {
        let cuts: Vec<String> = self.cut.iter().map(|(from, to)| format!("{from}>{to}")).collect();
        format!("cut {}", cuts.join(" "))
    }

    /// Restores all links.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Returns the delay of each copy of a message; a lost message has no copy. A message that is on its way arrives
    /// even if the link is cut meanwhile.
    pub fn fate(&self, random: &mut Random, from: MemberId, to: MemberId) -> Fate {
        if !self.passes(from, to) || random.chance(self.profile.loss) {
            return Fate { first: None, second: None };
        }
        let first = Some(self.delay(random));
        let second = random.chance(self.profile.duplication).then(|| self.delay(random));
        Fate { first, second }
    }

    /// Delay of one message.
    pub fn delay(&self, random: &mut Random) -> Duration {
        let NetworkProfile { delay: (low, high), hold, hold_max, .. } = self.profile;
        if random.chance(hold) { random.time(high, hold_max.max(high)) } else { random.long_tailed(low, high) }
    }
}

/// Delays of the copies of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Delay of the first copy; `None` if the message is lost.
    pub first: Option<Duration>,
    /// Delay of the second copy; `None` if there is only one copy.
    pub second: Option<Duration>,
}
