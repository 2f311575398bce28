//! What an action of a pass needs from an earlier action of the same pass. Owns the dependencies between actions that
//! the table of actions names. Does not own which actions need what (`action.rs`), nor what happens to an action whose
//! prerequisite is missing (`pass.rs`).

use crate::names::Ordinal;

/// A state that one action of a pass establishes and that later actions of the same pass need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// These ordinals are reserved. Without the reservation, another operator may use them.
    Ordinals {
        /// First ordinal.
        first: Ordinal,
        /// Last ordinal.
        last: Ordinal,
    },
    /// The disruption budget has the planned floor. With a lower floor, two voters could be stopped at the same time.
    Budget,
    /// The StatefulSet of this name is as planned. Otherwise a restarted pod would come back with its old settings and
    /// be restarted again, and the volume of a deleted StatefulSet could have another fate than the planned one.
    Set(String),
    /// The Secret of this name exists. Otherwise the pointer would name an identity that is not known.
    Identity(String),
}

impl Prerequisite {
    /// The StatefulSet of a pod, as a prerequisite.
    #[must_use]
    pub(crate) fn set_of_pod(pod: &str) -> Self {
        Self::Set(pod.strip_suffix("-0").unwrap_or(pod).to_owned())
    }

    /// Returns whether the state that one action establishes is a part of the state that another action needs.
    #[must_use]
    pub fn overlaps(&self, needed: &Self) -> bool {
        match (self, needed) {
            (Self::Ordinals { first, last }, Self::Ordinals { first: from, last: to }) => first <= to && from <= last,
            (Self::Budget, Self::Budget) => true,
            (Self::Set(name), Self::Set(needed)) | (Self::Identity(name), Self::Identity(needed)) => name == needed,
            (Self::Ordinals { .. } | Self::Budget | Self::Set(_) | Self::Identity(_), _) => false,
        }
    }
}
