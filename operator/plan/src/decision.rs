//! A module's decision: actions, and the reports about them. Owns the merging of two decisions. Does not own any
//! decision.

use crds::Reason;
use crds::raft_cluster::{PlanStatus, RolloutStatus};

use crate::action::Action;

/// Maximum length of a condition's message, in characters.
const MESSAGE_MAX: usize = 1024;

/// Actions and reports that one observation led to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Actions, in order.
    pub actions: Vec<Action>,
    /// The change in progress; `None` if there is none.
    pub activity: Option<Note>,
    /// The reason why nothing happens until a person acts.
    pub stalled: Option<Note>,
    /// The reason why the next step cannot be taken yet; `None` if no step has to wait.
    pub blocked: Option<Note>,
    /// The membership change in progress.
    pub membership: Option<PlanStatus>,
    /// The reason why no client can write; `None` if clients can.
    pub outage: Option<Note>,
    /// The rollout in progress.
    pub rollout: Option<RolloutStatus>,
    /// The members that failed the rollout; `None` if none did.
    pub rollout_failed: Option<Note>,
}

/// A reason with its explanation, to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The reason that the condition reports.
    pub reason: Reason,
    /// The problem and, if a person can help, the remedy.
    pub message: String,
}

impl Note {
    /// Creates a note from a reason and its explanation.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Decision {
    /// A decision to do nothing until a person acts.
    pub(crate) fn stall(reason: Reason, message: impl Into<String>) -> Self {
        Self { stalled: Some(Note::new(reason, message)), ..Self::default() }
    }

    /// Adds the decision of another module. If both decisions contain a report of the same kind, the report of `self`
    /// is kept.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.actions.extend(other.actions);
        self.activity = self.activity.or(other.activity);
        self.stalled = self.stalled.or(other.stalled);
        self.blocked = self.blocked.or(other.blocked);
        self.membership = self.membership.or(other.membership);
        self.outage = self.outage.or(other.outage);
        self.rollout = self.rollout.or(other.rollout);
        self.rollout_failed = self.rollout_failed.or(other.rollout_failed);
        self
    }
}

/// The message, cut to the maximum length of a condition's message.
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
