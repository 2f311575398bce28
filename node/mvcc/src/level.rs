//! Owns the feature level as a number. Does not own what a level means (`engine::level`) or who raises it.

use std::fmt;

/// The replicated feature level of a cluster: which formats its members may write and which messages they may send. A
/// number of its own, independent of the version of the program and of etcd's version. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureLevel(pub u32);

impl FeatureLevel {
    /// The level of every new cluster. Every program supports it.
    pub const FIRST: FeatureLevel = FeatureLevel(1);
}

impl Default for FeatureLevel {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
