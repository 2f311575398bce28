//! Permanent removal of members. Owns the notice to a removed member, and how this member learns of its own removal.
//! Only a committed configuration proves a removal. An unknown sender is never notified, because it may be a new member
//! that this member's outdated configuration does not contain.

use crate::ids::{Index, MemberId};
use crate::message::{Body, Message};
use crate::output::Output;
use crate::raft::Raft;

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

    /// Handles a notice that this member was removed.
    pub(crate) fn on_removed(&mut self, index: Index) {
        let (known, committed) = self.history.at(self.log.commit());
        let is_stale = committed.contains(self.config.id) && index <= *known;
        if !is_stale && !self.is_leader() {
            self.leave_for_good(index);
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
        | Body::Removed { .. } => false,
    }
}
