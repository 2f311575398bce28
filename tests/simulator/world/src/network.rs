//! The fate of a message: lost, late, doubled, overtaken. Owns links and the network profile. Does not look into messages.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::MemberId;

use crate::seed::Random;

/// How a network treats messages.
#[derive(Clone, Copy, Debug)]
pub struct NetworkProfile {
    /// Lost, per million.
    pub loss: u32,
    /// Delivered twice, per million.
    pub duplication: u32,
    /// Held up for long, per million: what comes later overtakes.
    pub hold: u32,
    /// Shortest and longest usual delay.
    pub delay: (Duration, Duration),
    /// Longest delay of a message that is held up.
    pub hold_max: Duration,
}

impl NetworkProfile {
    /// Nothing is lost or held up.
    pub const UNDISTURBED: Self = Self {
        loss: 0,
        duplication: 0,
        hold: 0,
        delay: (Duration::from_micros(200), Duration::from_millis(2)),
        hold_max: Duration::from_millis(2),
    };
}

/// All links between members.
#[derive(Debug)]
pub struct Network {
    /// How messages are treated now.
    pub profile: NetworkProfile,
    /// Cut in this direction.
    cut: BTreeSet<(MemberId, MemberId)>,
}

impl Network {
    /// Nothing is cut.
    #[must_use]
    pub fn new(profile: NetworkProfile) -> Self {
        Self { profile, cut: BTreeSet::new() }
    }

    /// Whether anything passes.
    #[must_use]
    pub fn passes(&self, from: MemberId, to: MemberId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: MemberId, to: MemberId) {
        self.cut.insert((from, to));
    }

    /// Which links are cut.
    #[must_use]
    pub fn describe(&self) -> String {
        let cuts: Vec<String> = self.cut.iter().map(|(from, to)| format!("{from}>{to}")).collect();
        format!("cut {}", cuts.join(" "))
    }

    /// Mends everything.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// When each copy of a message arrives; none: it is lost. A message under way arrives even if the link is cut
    /// meanwhile.
    pub fn fate(&self, random: &mut Random, from: MemberId, to: MemberId) -> Fate {
        if !self.passes(from, to) || random.chance(self.profile.loss) {
            return Fate { first: None, second: None };
        }
        let first = Some(self.delay(random));
        let second = random.chance(self.profile.duplication).then(|| self.delay(random));
        Fate { first, second }
    }

    /// How long one message takes.
    pub fn delay(&self, random: &mut Random) -> Duration {
        let NetworkProfile { delay: (low, high), hold, hold_max, .. } = self.profile;
        if random.chance(hold) { random.time(high, hold_max.max(high)) } else { random.long_tailed(low, high) }
    }
}

/// Delays of a message's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Of the first copy.
    pub first: Option<Duration>,
    /// Of the second.
    pub second: Option<Duration>,
}
