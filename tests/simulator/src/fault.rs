//! Kinds of faults. Owns their names. Does not own how they strike (`cores/faults.rs`, `members/faults.rs`) or how
//! often (`profile.rs`).

pub mod partition;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Messages get lost.
    Loss,
    /// Messages are late, and overtake each other.
    Delay,
    /// Messages arrive twice.
    Duplication,
    /// Links are cut: one way, both ways, some, all; and mended.
    Partition,
    /// Members crash, after any output, losing what is not synced (some prefix of it survives); and start again.
    Crash,
    /// Syncs take seconds.
    Stall,
    /// Members stand still while time passes.
    Pause,
    /// Clocks run too fast or too slow; wall clocks jump.
    Clock,
    /// Members are added, promoted, demoted, removed.
    Churn,
    /// A disk is lost for good, and its member replaced.
    Wipe,
    /// Leadership is transferred.
    Transfer,
    /// A sync fails: what it covered may be there or not, and its member ends.
    SyncError,
    /// A disk is full for a while: its member ends at every write.
    NoSpace,
    /// A record that was synced is damaged; its member refuses the disk and is replaced.
    Damage,
    /// A record is written over another one; likewise.
    Misdirect,
    /// A disk cannot be read for a while: a start fails and is tried again, a snapshot is not sent or not taken.
    ReadError,
    /// Members run an older and a newer version side by side, and change between them at restarts.
    MixedVersions,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
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
    ];

    /// As it is called on a command line.
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
        }
    }
}

/// Some kinds of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// Every kind there is.
    #[must_use]
    pub fn all() -> Self {
        Self(Fault::ALL.into())
    }

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Whether this kind is among them.
    #[must_use]
    pub fn include(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    /// Those for which `chosen` says so.
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

/// A fault that does not exist was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFault(String);

impl fmt::Display for UnknownFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no fault is called {:?}; there are all, none, {}", self.0, Faults::all())
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
