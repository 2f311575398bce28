//! The course of one pass while its actions are carried out: an action is withheld if something that it needs failed;
//! all other actions go on. Owns this rule, and what is kept about refusals for the report. Does not own what an action
//! needs (`action.rs`), nor how it is carried out (the shell's `raft_cluster/apply.rs`).

use crate::action::{Action, Description, MemberAction, ObjectAction, OnFailure, Prerequisite};

/// The actions of a pass that were not carried out so far, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    unmet: Vec<Unmet>,
    refused: Vec<RefusedWrite>,
}

/// A write that the API server refused. The same write would be refused again until a person or another program
/// changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedWrite {
    /// The write, such as "applying StatefulSet demo-1".
    pub write: String,
    /// The API server's explanation.
    pub message: String,
    /// Whether the membership change in progress cannot go on without the write.
    pub stops_membership: bool,
    /// Whether the cluster lacks something without the write that its spec asks for or that its members need. If not, the
    /// cluster is as Ready as without the refusal.
    pub is_needed: bool,
}

impl RefusedWrite {
    /// The refusal of an action.
    #[must_use]
    pub fn of(action: &Action, about: &Description, message: &str) -> Self {
        let write = format!("{} {}", about.words, about.subject);
        let (stops_membership, is_needed) = (is_membership_step(action), is_needed(action));
        Self { write, message: message.to_owned(), stops_membership, is_needed }
    }
}

/// A prerequisite that was not established in this pass.
#[derive(Clone, Debug)]
struct Unmet {
    prerequisite: Prerequisite,
    /// Place in the list of refused writes, if it was a refusal.
    refused: Option<usize>,
}

impl Pass {
    /// Returns whether the action must not be carried out in this pass, because something that it needs is missing.
    pub fn withholds(&mut self, action: &Action, about: &Description) -> bool {
        let missing = |unmet: &&Unmet| about.needs.iter().any(|needed| unmet.prerequisite.overlaps(needed));
        let Some(cause) = self.unmet.iter().find(missing).map(|unmet| unmet.refused) else { return false };
        self.lacks(about, cause);
        if let Some(refused) = cause.and_then(|place| self.refused.get_mut(place)) {
            refused.stops_membership |= is_membership_step(action);
        }
        true
    }

    /// Notes that an action failed, or that its outcome is unknown.
    pub fn failed(&mut self, about: &Description) {
        self.lacks(about, None);
    }

    /// Notes that the API server refused an action.
    pub fn refused(&mut self, action: &Action, about: &Description, message: &str) {
        self.lacks(about, Some(self.refused.len()));
        self.refused.push(RefusedWrite::of(action, about, message));
    }

    /// The refused writes of the pass, in order.
    #[must_use]
    pub fn into_refused(self) -> Vec<RefusedWrite> {
        self.refused
    }

    fn lacks(&mut self, about: &Description, refused: Option<usize>) {
        match &about.on_failure {
            OnFailure::GoOn => {}
            OnFailure::Withhold(prerequisite) => {
                self.unmet.push(Unmet { prerequisite: prerequisite.clone(), refused });
            }
        }
    }
}

/// Returns whether an action belongs to a membership change, so that `status.plan` waits for it.
fn is_membership_step(action: &Action) -> bool {
    match action {
        Action::Write(write) => match write {
            ObjectAction::ReserveOrdinals { .. }
            | ObjectAction::CreateSet { .. }
            | ObjectAction::Announce { .. }
            | ObjectAction::DeleteSet { .. } => true,
            ObjectAction::Apply(_)
            | ObjectAction::ReplaceSet(_)
            | ObjectAction::CreateIdentity(_)
            | ObjectAction::PointToIdentity { .. }
            | ObjectAction::ChooseFirstVoters { .. }
            | ObjectAction::NoteFormed { .. }
            | ObjectAction::NoteRollout { .. }
            | ObjectAction::NoteServed { .. }
            | ObjectAction::LabelVolume { .. }
            | ObjectAction::RelabelVolume { .. }
            | ObjectAction::GrowVolume { .. }
            | ObjectAction::LabelPod { .. }
            | ObjectAction::EvictPod { .. }
            | ObjectAction::DeletePod { .. } => false,
        },
        Action::Call(call) => match call {
            MemberAction::Join { .. }
            | MemberAction::ChangeMembership { .. }
            | MemberAction::TransferLeadership { .. } => true,
            MemberAction::Bootstrap { .. } | MemberAction::Restore { .. } | MemberAction::RaiseFeatureLevel { .. } => {
                false
            }
        },
    }
}

/// Returns whether a cluster lacks something without this action. It lacks nothing without labels and notes that only
/// later reports read, nor without a StatefulSet's new stamp.
fn is_needed(action: &Action) -> bool {
    match action {
        Action::Write(write) => match write {
            ObjectAction::ReplaceSet(replace) => replace.changes_spec(),
            ObjectAction::NoteFormed { .. }
            | ObjectAction::NoteRollout { .. }
            | ObjectAction::NoteServed { .. }
            | ObjectAction::LabelVolume { .. }
            | ObjectAction::RelabelVolume { .. } => false,
            ObjectAction::Apply(_)
            | ObjectAction::ReserveOrdinals { .. }
            | ObjectAction::CreateSet { .. }
            | ObjectAction::CreateIdentity(_)
            | ObjectAction::PointToIdentity { .. }
            | ObjectAction::ChooseFirstVoters { .. }
            | ObjectAction::Announce { .. }
            | ObjectAction::GrowVolume { .. }
            | ObjectAction::LabelPod { .. }
            | ObjectAction::DeleteSet { .. }
            | ObjectAction::EvictPod { .. }
            | ObjectAction::DeletePod { .. } => true,
        },
        Action::Call(_) => true,
    }
}
