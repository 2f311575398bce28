//! What a module decided: actions, and what is reported about them. Owns how two decisions are joined. Does not own any decision.

use crds::Reason;
use crds::raft_cluster::PlanStatus;

use crate::action::Action;

/// Longest message of a condition that is worth storing, in characters.
const MESSAGE_MAX: usize = 1024;

/// What one observation led to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Actions, in order.
    pub actions: Vec<Action>,
    /// The change in progress, if there is one.
    pub activity: Option<Note>,
    /// Why nothing goes on until a person acts.
    pub stalled: Option<Note>,
    /// Cause that the next step waits for.
    pub blocked: Option<Note>,
    /// The membership change in progress.
    pub membership: Option<PlanStatus>,
    /// Why no client can write, if none can.
    pub outage: Option<Note>,
}

/// A reason with its explanation, to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The reason, as conditions print it.
    pub reason: Reason,
    /// What is wrong and, where a person can help, what to do.
    pub message: String,
}

impl Note {
    /// A note.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Decision {
    /// A decision that nothing goes on until a person acts.
    pub(crate) fn stall(reason: Reason, message: impl Into<String>) -> Self {
        Self { stalled: Some(Note::new(reason, message)), ..Self::default() }
    }

    /// Adds the decision of another module. Where both report, this one's report stays.
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

/// The message, cut to the length that a condition may have.
pub(crate) fn shortened(message: &str) -> String {
    if message.chars().count() <= MESSAGE_MAX {
        return message.to_owned();
    }
    let short: String = message.chars().take(MESSAGE_MAX - 1).chain(['…']).collect();
    debug_assert_eq!(
        short.chars().count(),
        MESSAGE_MAX,
        "the API server refuses a longer message and the whole status"
    );
    short
}
