//! What a room decided: actions, and what is to be told about them. Owns no decision itself.

use crds::Reason;
use crds::raft_cluster::PlanStatus;

use crate::action::Action;

/// Longest message of a condition that is worth storing, in characters.
const MESSAGE_MAX: usize = 1024;

/// What one look led to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// What is going on, if anything is.
    pub activity: Option<Note>,
    /// Why nothing goes on until a person acts.
    pub stalled: Option<Note>,
    /// What the next step waits for.
    pub blocked: Option<Note>,
    /// The change of membership under way.
    pub membership: Option<PlanStatus>,
    /// Why nobody can write, if nobody can.
    pub outage: Option<Note>,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// In one word.
    pub reason: Reason,
    /// What it is and, where a person can help, what to do.
    pub message: String,
}

impl Note {
    /// A note.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Decision {
    /// Nothing to do until a person acts.
    pub(crate) fn stall(reason: Reason, message: impl Into<String>) -> Self {
        Self { stalled: Some(Note::new(reason, message)), ..Self::default() }
    }

    /// Takes over what another room decided; what this one said first stands.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.actions.extend(other.actions);
        self.activity = self.activity.or(other.activity);
        self.stalled = self.stalled.or(other.stalled);
        self.blocked = self.blocked.or(other.blocked);
        self.membership = self.membership.or(other.membership);
        self.outage = self.outage.or(other.outage);
        self
    }
}

/// At most as much as is worth storing.
pub(crate) fn shortened(message: &str) -> String {
    if message.chars().count() <= MESSAGE_MAX {
        return message.to_owned();
    }
    message.chars().take(MESSAGE_MAX - 1).chain(['…']).collect()
}
