//! Removed for good. Owns telling removed members so, and learning it oneself; only a committed configuration is ever a reason,
//! and a stranger is never called removed, as this member's own configuration may lag.

use crate::ids::{Index, MemberId, Term};
use crate::message::{Body, Message};
use crate::output::Output;
use crate::raft::Raft;
use crate::role::Standing;

/// Tells a member that the configuration committed at `index` removed it.
pub(crate) fn notice(term: Term, index: Index) -> Message {
    Message { term, body: Body::Removed { index } }
}

impl Raft {
    /// Whether `from` was removed, so that its message counts for nothing; it is told so. A leader that was removed is still
    /// heard until its successor leads.
    pub(crate) fn turns_away(&mut self, from: MemberId, message: &Message) -> bool {
        let (index, committed) = self.history.at(self.log.commit());
        let index = *index;
        if !committed.removed.contains(&from) {
            return false;
        }
        if self.leader == Some(from) && message.term == self.hard.term {
            return false;
        }
        if wants_answer(&message.body) {
            self.outbox.send(from, notice(self.hard.term, index));
        }
        true
    }

    /// A member says that this one was removed.
    pub(crate) fn on_removed(&mut self, index: Index) {
        let (known, committed) = self.history.at(self.log.commit());
        let is_stale = committed.contains(self.config.id) && index <= *known;
        if !is_stale && !self.is_leader() {
            self.leave_for_good(index);
        }
    }

    /// Notices the own removal in the committed configuration; a leader hands over first.
    pub(crate) fn notice_removal(&mut self) {
        let (index, committed) = self.history.at(self.log.commit());
        if !self.is_leader() && committed.removed.contains(&self.config.id) {
            self.leave_for_good(*index);
        }
    }

    fn leave_for_good(&mut self, index: Index) {
        if self.removed {
            return;
        }
        assert!(!matches!(self.standing, Standing::Leader(_)), "a leader steps down before it leaves");
        self.removed = true;
        self.follow(self.hard.term, None);
        self.outbox.push(Output::Removed { index });
    }
}

/// Whether the sender waits for something; answers to answers would never end.
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
