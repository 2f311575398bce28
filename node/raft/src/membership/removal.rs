//! Permanent removal of members. Owns the notice to a removed member, and how this member learns of its own removal.
//! Only a committed configuration proves a removal. An unknown sender is never notified, because it may be a new member
//! that this member's outdated configuration does not contain.
//!
//! A notice is only a hint, because its sender is not authenticated: a forged one would otherwise end a healthy member
//! for good. This member therefore asks a voter of its own configuration. While it holds a hint and reaches no other
//! voter it does not campaign, so that it neither disturbs a cluster that removed it nor answers in a cluster that has
//! replaced it. It could not win an election without them in any case.

use crate::configuration::Configuration;
use crate::ids::{Index, MemberId, NUMBER_MAX};
use crate::message::{Body, Message};
use crate::output::Output;
use crate::raft::Raft;
use crate::state::removal::Hint;

/// What the other voters of the configuration in force say of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalVerdict {
    /// A voter's committed configuration lists this member as removed.
    Removed {
        /// Index of that configuration.
        index: Index,
    },
    /// A voter's committed configuration contains this member.
    Contained {
        /// Index of that configuration.
        index: Index,
    },
    /// A voter answered, but its committed configuration says nothing of this member.
    Undecided,
    /// No other voter answered.
    Unreached,
}

impl RemovalVerdict {
    /// What a voter says of `member` whose latest committed configuration is `configuration`, at `index`.
    #[must_use]
    pub fn of(member: MemberId, configuration: &Configuration, index: Index) -> Self {
        if configuration.removed.contains(&member) {
            Self::Removed { index }
        } else if configuration.contains(member) {
            Self::Contained { index }
        } else {
            Self::Undecided
        }
    }
}

impl Raft {
    /// Returns whether the message must be ignored because `from` was removed. If so, and if the message is a request,
    /// notifies `from` of the removal. A removed leader's messages are still accepted until its successor leads.
    pub(crate) fn turns_away(&mut self, from: MemberId, message: &Message) -> bool {
        let (index, committed) = self.history.at(self.log.commit());
        let index = *index;
        if !committed.removed.contains(&from) {
            return false;
        }
        if self.leader.is(from) && message.term == self.hard.term() {
            return false;
        }
        if wants_answer(&message.body) {
            self.outbox.send(from, Message::removal_notice(self.hard.term(), index));
        }
        true
    }

    /// Handles a notice that this member was removed: asks for a verification. A member that knows no other voter has
    /// no one to ask and ignores the notice.
    pub(crate) fn on_removed(&mut self, index: Index) {
        let (known, committed) = self.history.at(self.log.commit());
        let is_stale = committed.contains(self.config.id) && index <= *known;
        if is_stale || self.is_leader() || self.is_removed() || index.0 > NUMBER_MAX || !self.knows_another_voter() {
            return;
        }
        match &mut self.removal.hint {
            Some(hint) => hint.index = hint.index.max(index),
            None => self.removal.hint = Some(Hint { index, is_cut_off: false }),
        }
        self.verify_removal();
    }

    /// Handles the answer to [`Output::VerifyRemoval`].
    pub(crate) fn on_removal_verdict(&mut self, verdict: RemovalVerdict) {
        self.removal.is_asked = false;
        if self.is_leader() || self.is_removed() {
            return;
        }
        match (verdict, &mut self.removal.hint) {
            (RemovalVerdict::Removed { index }, _) => self.leave_for_good(index),
            (_, None) => {}
            // A voter that lags may not know the removal yet, so an older configuration refutes nothing.
            (RemovalVerdict::Contained { index }, Some(hint)) if index >= hint.index => self.removal.hint = None,
            (RemovalVerdict::Contained { .. } | RemovalVerdict::Undecided, Some(hint)) => {
                hint.is_cut_off = false;
                self.verify_removal();
            }
            (RemovalVerdict::Unreached, Some(hint)) => {
                hint.is_cut_off = true;
                self.follow(self.hard.term(), None);
                self.verify_removal();
            }
        }
    }

    /// Stops taking part if the committed configuration removed this member. A leader continues until leadership is
    /// transferred.
    pub(crate) fn notice_removal(&mut self) {
        let (index, committed) = self.history.at(self.log.commit());
        if !self.is_leader() && committed.removed.contains(&self.config.id) {
            self.leave_for_good(*index);
        }
    }

    /// Forgets a hint, because this member leads, or a leader counts on it. If the hint was true, this member gets
    /// another notice when it campaigns.
    pub(crate) fn forget_removal_hint(&mut self) {
        self.removal.hint = None;
    }

    fn verify_removal(&mut self) {
        if !std::mem::replace(&mut self.removal.is_asked, true) {
            self.outbox.push(Output::VerifyRemoval);
        }
    }

    fn knows_another_voter(&self) -> bool {
        let configuration = &self.history.latest().1;
        configuration.voters.union(&configuration.outgoing).any(|id| *id != self.config.id)
    }

    fn leave_for_good(&mut self, index: Index) {
        if self.is_removed() {
            return;
        }
        self.set_removed();
        self.follow(self.hard.term(), None);
        self.outbox.push(Output::Removed { index });
    }
}

/// Returns whether the sender expects an answer. A reply must not be answered, because otherwise the exchange would
/// never end.
fn wants_answer(body: &Body) -> bool {
    match body {
        Body::PreVote { .. }
        | Body::Vote { .. }
        | Body::Append(_)
        | Body::Heartbeat { .. }
        | Body::InstallSnapshot(_)
        | Body::ReadIndex { .. }
        | Body::Propose { .. } => true,
        Body::PreVoteReply { .. }
        | Body::VoteReply { .. }
        | Body::AppendReply(_)
        | Body::HeartbeatReply { .. }
        | Body::ReadIndexReply { .. }
        | Body::ProposeRefused { .. }
        | Body::TimeoutNow { .. }
        | Body::Standing(_)
        | Body::Removed { .. } => false,
    }
}
