//! Heartbeats: they assert leadership, carry the commit index when there is nothing to append, and form the rounds that
//! prove leadership. Owns sending and answering heartbeats. Does not own the numbers of rounds (`state/rounds.rs`) or
//! what a round proves (`read`, `election/check_quorum.rs`).

use crate::ids::{Index, MemberId};
use crate::message::{Append, Body, Message};
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::progress::ProgressState;
use crate::state::role::RoleState;

impl Raft {
    /// Begins a round by sending a heartbeat to every other member.
    pub(crate) fn begin_round(&mut self) {
        let (commit, term, now) = (self.log.commit(), self.hard.term(), self.clocks.monotonic());
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.begin_round(now, self.config.election_timeout);
        for (id, progress) in leader.peers_mut() {
            let commit = progress.commit_to_send(commit);
            assert!(commit <= progress.matched(), "a commit index is sent only to a member that holds the entry");
            progress.commit_sent(commit);
            self.outbox.send(id, Message { term, body: Body::Heartbeat { commit, round } });
        }
    }

    /// Handles a heartbeat. Its sender asserts leadership and sends a commit index that is within the prefix
    /// acknowledged by this member.
    pub(crate) fn on_heartbeat(&mut self, from: MemberId, commit: Index, round: u64) {
        if !self.accept_leader(from) {
            return;
        }
        if commit <= self.log.last().index {
            self.commit_to(commit);
        }
        if round > 0 {
            self.outbox.send(from, Message { term: self.hard.term(), body: Body::HeartbeatReply { round } });
            if self.standing < Standing::Above {
                self.state_standing();
            }
        }
    }

    /// Handles a member's answer to a heartbeat.
    pub(crate) fn on_heartbeat_reply(&mut self, from: MemberId, round: u64) {
        let (now, interval) = (self.clocks.monotonic(), self.config.heartbeat_interval);
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.answered(from, round) else { return };
        if progress.lives(now, interval) {
            self.send_empty_append(from);
        }
        self.confirm_reads();
    }

    /// Asks whether the latest appends arrived: sends an empty append whose `prev` is the last entry that was sent. The
    /// member rejects the append if it does not hold that entry.
    fn send_empty_append(&mut self, to: MemberId) {
        let (commit, term) = (self.log.commit(), self.hard.term());
        let RoleState::Leader(leader) = &mut self.role else { return };
        let round = leader.latest_round();
        let Some(progress) = leader.peer_mut(to) else { return };
        let prev = match progress.state() {
            // The member may have installed the snapshot although its acknowledgement was lost. If this leader has
            // purged its log beyond the snapshot meanwhile, it asks about the entry at the purge mark.
            ProgressState::Snapshot { at_least, .. } => self.log.id_before(at_least.next()).unwrap_or(self.log.floor()),
            ProgressState::Probe { .. } | ProgressState::Replicate(_) => {
                let Some(prev) = self.log.id_before(progress.next()) else {
                    // The leader has purged the last entry that it sent, so no append can name that entry as `prev`.
                    // The leader instead probes from the first entry that the member has not acknowledged.
                    progress.probe();
                    return;
                };
                prev
            }
        };
        let append = Append { prev, entries: Vec::new(), commit, round };
        self.outbox.send(to, Message { term, body: Body::Append(append) });
    }
}
