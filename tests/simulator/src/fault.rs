//! Kinds of faults. Owns their names. Does not own how they strike (`cores/faults.rs`, `members/faults.rs`) or how
//! often (`profile.rs`).

pub mod forgery;
pub mod partition;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages are lost.
    Loss,
    /// Messages are delayed, and overtake each other.
    Delay,
    /// Messages are delivered twice.
    Duplication,
    /// Links are cut (one way, both ways, some, all) and restored.
    Partition,
    /// Members crash after any output and restart. Of the writes that are not synced, only a prefix survives.
    Crash,
    /// Syncs take seconds.
    Stall,
    /// Members are paused while time passes.
    Pause,
    /// Clocks run too fast or too slow; wall clocks jump.
    Clock,
    /// Members are added, promoted, demoted, removed.
    Churn,
    /// A disk is destroyed, and the disk's member is replaced.
    Wipe,
    /// Leadership is transferred.
    Transfer,
    /// A sync fails. The writes that the sync covered may be durable or not, and the member stops.
    SyncError,
    /// A disk is full for a while. Every write of its member fails.
    NoSpace,
    /// A synced record is damaged. The member refuses its disk and is replaced.
    Damage,
    /// A record overwrites another record. The member refuses its disk and is replaced.
    Misdirect,
    /// A disk cannot be read for a while. A start fails and is tried again; a snapshot is not sent or not installed.
    ReadError,
    /// Members run an older and a newer version at the same time; a restart may change a member's version.
    MixedVersions,
    /// A member receives a forged notice of its removal.
    Forgery,
    /// A volume is short of space, or has space again. Its member learns it. Drawn apart from the other kinds, so that the
    /// runs of most seeds stay as they were ([`crate::profile::Profile::may_lack_space`]).
    BelowReserve,
}

impl Fault {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 19] = [
        Self::Loss,
        Self::Delay,
        Self::Duplication,
        Self::Partition,
        Self::Crash,
        Self::Stall,
        Self::Pause,
        Self::Clock,
        Self::Churn,
        Self::Wipe,
        Self::Transfer,
        Self::SyncError,
        Self::NoSpace,
        Self::Damage,
        Self::Misdirect,
        Self::ReadError,
        Self::MixedVersions,
        Self::Forgery,
        Self::BelowReserve,
    ];

    /// Name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Duplication => "duplication",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::Stall => "stall",
            Self::Pause => "pause",
            Self::Clock => "clock",
            Self::Churn => "churn",
            Self::Wipe => "wipe",
            Self::Transfer => "transfer",
            Self::SyncError => "sync-error",
            Self::NoSpace => "no-space",
            Self::Damage => "damage",
            Self::Misdirect => "misdirect",
            Self::ReadError => "read-error",
            Self::MixedVersions => "mixed-versions",
            Self::Forgery => "forgery",
            Self::BelowReserve => "below-reserve",
        }
    }
}

/// A set of kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// The set of all kinds.
    #[must_use]
    pub fn all() -> Self {
        Self(Fault::ALL.into())
    }

    /// The empty set.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// The set without [`Fault::BelowReserve`].
    #[must_use]
    pub fn without_space(&self) -> Self {
        self.filter(|fault| fault != Fault::BelowReserve)
    }

    /// Adds a kind.
    pub fn add(&mut self, fault: Fault) {
        self.0.insert(fault);
    }

    /// Whether the set contains this kind.
    #[must_use]
    pub fn include(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// The kinds for which `chosen` returns true.
    #[must_use]
    pub fn filter(&self, mut chosen: impl FnMut(Fault) -> bool) -> Self {
        Self(self.0.iter().copied().filter(|fault| chosen(*fault)).collect())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|fault| fault.name()).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

/// The name of a fault is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown fault {:?}; use all, none, or any of {}", self.0, Faults::all())
    }
}

impl std::error::Error for UnknownFault {}

impl FromStr for Faults {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        match text {
            "all" => Ok(Self::all()),
            "none" => Ok(Self::none()),
            _ => text.split(',').map(by_name).collect::<Result<_, _>>().map(Self),
        }
    }
}

fn by_name(name: &str) -> Result<Fault, UnknownFault> {
    Fault::ALL.into_iter().find(|fault| fault.name() == name.trim()).ok_or_else(|| UnknownFault(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_asked_for() {
        for faults in [Faults::all(), Faults::none(), Faults([Fault::Crash, Fault::Wipe].into())] {
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        assert!("crash,flood".parse::<Faults>().is_err());
    }
}
