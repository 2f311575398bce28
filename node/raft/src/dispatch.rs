//! Decides by sender and term whether a message is accepted, and calls the rule for its kind. Owns the term rules that
//! all messages share (Raft thesis §3.3).

use std::cmp::Ordering;

use crate::ids::{MemberId, NUMBER_MAX};
use crate::message::{Body, Message};
use crate::raft::Raft;

impl Raft {
    /// Returns whether the message is accepted. A message of a newer term makes this member a follower in that term.
    /// Exceptions are pre-votes, which change nothing, and a vote request while this member still trusts a leader.
    pub(crate) fn admits(&mut self, from: MemberId, message: &Message) -> bool {
        if from == self.config.id || from.0 == 0 || message.term.0 > NUMBER_MAX {
            return false;
        }
        if let Body::Removed { index } = message.body {
            self.on_removed(index);
            return false;
        }
        if self.turns_away(from, message) || self.is_removed() {
            return false;
        }
        match message.term.cmp(&self.hard.term()) {
            Ordering::Equal => true,
            Ordering::Greater => self.meets_newer_term(from, message),
            Ordering::Less => {
                self.answer_older_term(from, message);
                false
            }
        }
    }

    fn meets_newer_term(&mut self, from: MemberId, message: &Message) -> bool {
        match &message.body {
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => return true,
            // A member that was cut off must not depose a leader that other members still follow (Raft thesis §4.2.3).
            Body::Vote { transfer: false, .. } if self.trusts_leader() => return false,
            Body::Append(_) | Body::Heartbeat { .. } | Body::InstallSnapshot(_) => {
                self.follow(message.term, Some(from));
            }
            _ => self.follow(message.term, None),
        }
        true
    }

    /// Answers a request of an older term, so that the sender learns the newer term. Ignores replies of an older term.
    fn answer_older_term(&mut self, from: MemberId, message: &Message) {
        let body = match &message.body {
            Body::Append(_) | Body::Heartbeat { .. } | Body::InstallSnapshot(_) => Body::HeartbeatReply { round: 0 },
            Body::PreVote { .. } => Body::PreVoteReply { granted: false },
            Body::Vote { .. } => Body::VoteReply { granted: false },
            Body::ReadIndex { context } => Body::ReadIndexReply { context: *context, index: None },
            _ => return,
        };
        self.outbox.send(from, Message { term: self.hard.term(), body });
    }

    /// Passes the message to its rule.
    pub(crate) fn dispatch(&mut self, from: MemberId, message: Message) {
        let term = message.term;
        match message.body {
            Body::PreVote { last } => self.on_pre_vote(from, term, last),
            Body::PreVoteReply { granted } => self.on_pre_vote_reply(from, term, granted),
            Body::Vote { last, transfer } => self.on_vote(from, last, transfer),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted),
            Body::Append(append) => self.on_append(from, append),
            Body::AppendReply(reply) => self.on_append_reply(from, reply),
            Body::Heartbeat { commit, round } => self.on_heartbeat(from, commit, round),
            Body::HeartbeatReply { round } => self.on_heartbeat_reply(from, round),
            Body::InstallSnapshot(meta) => self.on_install_snapshot(from, meta),
            Body::ReadIndex { context } => self.on_read_index(from, context),
            Body::ReadIndexReply { context, index } => self.on_read_index_reply(context, index),
            Body::Propose { proposals } => self.on_propose(from, proposals),
            Body::ProposeRefused { proposals, reason } => self.on_propose_refused(proposals, reason),
            Body::TimeoutNow { last } => self.on_timeout_now(from, last),
            Body::Standing(standing) => self.on_standing(from, standing),
            // Never reached: `admits` itself handles a removal notice, whatever its term.
            Body::Removed { index } => self.on_removed(index),
        }
    }
}
