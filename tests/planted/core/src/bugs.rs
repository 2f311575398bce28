//! The bugs that can be planted in the core. Owns the list of bugs.

#[path = "../../bug.rs"]
mod bug;

pub use bug::{Bug, Edit, Part};

const fn edit(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { part: Part::Core, file, from, to }
}

/// All bugs that can be planted in the core.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "TwoOwnersOfTheTerm",
        of: "hashicorp/raft#695: a second thread raises the term of a leader, which remains leader",
        edits: &[edit(
            "dispatch.rs",
            "            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => return true,",
            "            _ if PLANTED && self.is_leader() => {
                let vote = Some(self.config.id);
                self.hard.set(crate::message::HardState { term: message.term, vote });
                return false;
            }
            Body::PreVote { .. } | Body::PreVoteReply { granted: true } => return true,",
        )],
    },
    Bug {
        name: "SnapshotKeepsStaleConfiguration",
        of: "openraft#1808: a snapshot holds a configuration from long before its last entry",
        edits: &[edit(
            "snapshot/taken.rs",
            "let (configuration_index, configuration) = self.history.at(index);",
            "let (configuration_index, configuration) =
            self.history.at(if PLANTED { self.log.floor().index } else { index });",
        )],
    },
    Bug {
        name: "ObeysAnyNotice",
        of: "a member believes any notice of its removal, also a forged one",
        edits: &[edit(
            "membership/removal.rs",
            "            None => self.removal.hint = Some(Hint { index, is_cut_off: false }),",
            "            None if PLANTED => return self.leave_for_good(index),
            None => self.removal.hint = Some(Hint { index, is_cut_off: false }),",
        )],
    },
    Bug {
        name: "HalfIsEnough",
        of: "openraft#1802: half of the voters count as a majority for a commit",
        edits: &[edit(
            "quorum/majority.rs",
            "let place = values.len() - majority(values.len());",
            "let half = if PLANTED { values.len().div_ceil(2) } else { majority(values.len()) };
    let place = values.len() - half;",
        )],
    },
    Bug {
        name: "CountsAnswersOfOlderTerms",
        of: "CCF#6016: an acknowledgement or a vote of an earlier term counts in this one",
        edits: &[edit(
            "dispatch.rs",
            "            Ordering::Less => {",
            "            Ordering::Less if PLANTED && matches!(message.body, Body::AppendReply(_) | Body::VoteReply { .. }) => true,
            Ordering::Less => {",
        )],
    },
    Bug {
        name: "ReusesReadRound",
        of: "etcd#20418: a read is confirmed by answers to a round that began before it",
        edits: &[edit(
            "read/read_index.rs",
            "let round = leader.latest_round() + 1;",
            "let round = leader.latest_round() + u64::from(!PLANTED);",
        )],
    },
    Bug {
        name: "LeaseSurvivesTransfer",
        of: "raft-rs#234: a leader that transferred leadership still reads by its lease",
        edits: &[edit(
            "read/leader_lease.rs",
            "|| leader.is_lease_over() || leader.is_transferring()",
            "|| (!PLANTED && (leader.is_lease_over() || leader.is_transferring()))",
        )],
    },
    Bug {
        name: "TransferNeverEnds",
        of: "openraft#1747: a transfer that fails never ends",
        edits: &[edit(
            "election/transfer.rs",
            "let deadline = self.clocks.monotonic().saturating_add(self.config.transfer_timeout);",
            "let timeout = if PLANTED { std::time::Duration::MAX } else { self.config.transfer_timeout };
        let deadline = self.clocks.monotonic().saturating_add(timeout);",
        )],
    },
    Bug {
        name: "ReadsBeforeOwnCommit",
        of: "etcd#7331: a leader confirms reads before it committed anything in its term",
        edits: &[edit(
            "read/read_index.rs",
            "let may_start = self.term_is_committed();",
            "let may_start = PLANTED || self.term_is_committed();",
        )],
    },
    Bug {
        name: "CountsUnsyncedSelfAppend",
        of: "etcd#14370: a leader counts its own log before its disk holds it",
        edits: &[edit(
            "replication/commit.rs",
            "let (own, durable) = (self.config.id, self.log.durable());",
            "let durable = if PLANTED { self.log.last().index } else { self.log.durable() };
        let own = self.config.id;",
        )],
    },
    Bug {
        name: "ForgetsVoteOnStepDown",
        of: "redpanda#19: a candidate that steps down forgets its vote",
        edits: &[
            edit(
                "role/follower.rs",
                "        if let RoleState::Leader(leader) = std::mem::replace(",
                "        if PLANTED && matches!(self.role, RoleState::Candidate(_)) {
            self.hard.forget_vote();
        }
        if let RoleState::Leader(leader) = std::mem::replace(",
            ),
            edit(
                "state/hard_state.rs",
                "    pub(crate) fn vote(&self)",
                "    pub(crate) fn forget_vote(&mut self) {
        self.value.vote = None;
    }

    pub(crate) fn vote(&self)",
            ),
        ],
    },
    Bug {
        name: "SendsVoteBeforeDurable",
        of: "tikv#8381: a vote is sent before it is on disk",
        edits: &[edit(
            "election/vote.rs",
            "        self.outbox.send_after(self.hard_state_io(), from, reply);",
            "        if PLANTED {
            return self.outbox.send(from, reply);
        }
        self.outbox.send_after(self.hard_state_io(), from, reply);",
        )],
    },
    Bug {
        name: "VotersConsultTheirConfiguration",
        of: "etcd#12359: a member whose configuration lags refuses to vote, and a quorum needs it",
        edits: &[
            edit(
                "election/vote.rs",
                "let granted = self.would_vote(from) && last >= self.log.last();",
                "let knows = !PLANTED || self.history.latest().1.is_voter(self.config.id);
        let granted = self.would_vote(from) && last >= self.log.last() && knows;",
            ),
            edit(
                "election/pre_vote.rs",
                "let granted = free && last >= self.log.last()",
                "let knows = !PLANTED || self.history.latest().1.is_voter(self.config.id);
        let granted = knows && free && last >= self.log.last()",
            ),
        ],
    },
    Bug {
        name: "OnlyTheProposerLeavesJoint",
        of: "etcd#12136: the next leader does not leave a joint configuration",
        edits: &[edit(
            "membership/joint.rs",
            "        if is_due && !is_busy {",
            "        let is_own = !PLANTED || self.log.term_at(*index) == Some(self.hard.term());
        if is_due && !is_busy && is_own {",
        )],
    },
    Bug {
        name: "SkipsJointMajority",
        of: "thesis §4.3: the incoming electorate alone decides",
        edits: &[
            edit(
                "quorum/joint.rs",
                "(Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),",
                "(Some(incoming), Some(outgoing)) => Some(if PLANTED { incoming } else { incoming.min(outgoing) }),",
            ),
            edit(
                "quorum/joint.rs",
                "    match (incoming, outgoing) {
        (Tally::Won, Tally::Won) => Tally::Won,",
                "    match (incoming, outgoing) {
        (incoming, _) if PLANTED => incoming,
        (Tally::Won, Tally::Won) => Tally::Won,",
            ),
        ],
    },
    Bug {
        name: "AppliesConfigurationLate",
        of: "thesis §4.1: a configuration is in force when it is applied, not when it is appended",
        edits: &[
            edit(
                "replication/commit.rs",
                "let reached = joint::reached(self.history.latest().1.electorate(), |id| match",
                "let (applied, latest) = (self.history.at(self.log.commit()), self.history.latest());
        let in_use = if PLANTED { &applied.1 } else { &latest.1 };
        let reached = joint::reached(in_use.electorate(), |id| match",
            ),
            edit(
                "role/candidate.rs",
                "match joint::tally(self.history.latest().1.electorate(), |id| ballot.get(&id).copied()) {",
                "let (applied, latest) = (self.history.at(self.log.commit()), self.history.latest());
        let in_use = if PLANTED { &applied.1 } else { &latest.1 };
        match joint::tally(in_use.electorate(), |id| ballot.get(&id).copied()) {",
            ),
        ],
    },
    Bug {
        name: "ChangesInOneStep",
        of: "thesis §4.3: any number of voters is replaced at once",
        edits: &[edit(
            "membership/joint.rs",
            "let outgoing = if voters == current.voters {",
            "let outgoing = if PLANTED || voters == current.voters {",
        )],
    },
    Bug {
        name: "SingleServerChangeBeforeOwnCommit",
        of: "Ongaro 2015: a leader that committed nothing in its term replaces one voter",
        edits: &[
            edit(
                "membership/change.rs",
                "        if !self.term_is_committed() {",
                "        if !PLANTED && !self.term_is_committed() {",
            ),
            edit(
                "membership/joint.rs",
                "    let learners_next = learners.intersection(&outgoing).copied().collect();",
                "    let is_single = voters.symmetric_difference(&outgoing).count() == 1;
    let outgoing = if PLANTED && is_single { Default::default() } else { outgoing };
    let learners_next = learners.intersection(&outgoing).copied().collect();",
            ),
        ],
    },
    Bug {
        name: "LeadsOnAStalledDisk",
        of: "hashicorp/raft#503, #612, #614, tikv#19626, etcd#15247: a leader whose disk stalls is not replaced",
        edits: &[edit(
            "election/check_quorum.rs",
            "        issued_at.map_or(",
            "        issued_at.filter(|_| !PLANTED).map_or(",
        )],
    },
    Bug {
        name: "LeadsBelowItsReserve",
        of: "a leader whose volume is nearly full keeps the leadership",
        edits: &[edit(
            "election/reserve.rs",
            "if self.standing == Standing::Above || !is_free",
            "if PLANTED || self.standing == Standing::Above || !is_free",
        )],
    },
    Bug {
        name: "NeverCampaignsBelowItsReserve",
        of: "voters short of space leave campaigns to others for good, although there may be none",
        edits: &[edit(
            "election/reserve.rs",
            "self.timer.campaigns() <= left &&",
            "(self.timer.campaigns() <= left || (PLANTED && left > 0)) &&",
        )],
    },
    Bug {
        name: "CountsItsOwnSpaceForAll",
        of: "a leader counts its own space for that of the other voters",
        edits: &[edit(
            "election/reserve.rs",
            "            Some(progress) => self.standing_of(progress),\n            None",
            "            Some(progress) => if PLANTED { self.standing } else { self.standing_of(progress) },\n            None",
        )],
    },
    Bug {
        name: "LeadsWithoutAQuorum",
        of: "openraft#2080: a leader that no quorum answers remains leader",
        edits: &[edit(
            "election/check_quorum.rs",
            "contact.unwrap_or(Duration::MAX).saturating_add(",
            "contact.filter(|_| !PLANTED).unwrap_or(Duration::MAX).saturating_add(",
        )],
    },
    Bug {
        name: "ElectsBesideALeader",
        of: "Cloudflare 2020: a member that the leader does not reach deposes it, although it reaches all others",
        edits: &[
            edit("election/pre_vote.rs", "&& !self.trusts_leader();", "&& (PLANTED || !self.trusts_leader());"),
            edit(
                "dispatch.rs",
                "Body::Vote { transfer: false, .. } if self.trusts_leader() => return false,",
                "Body::Vote { transfer: false, .. } if !PLANTED && self.trusts_leader() => return false,",
            ),
        ],
    },
    Bug {
        name: "CommitsOlderTermsByCounting",
        of: "thesis figure 3.7: copies of an earlier term's entry are counted",
        edits: &[edit(
            "replication/commit.rs",
            "        if self.log.term_at(index) == Some(self.hard.term()) {",
            "        if PLANTED || self.log.term_at(index) == Some(self.hard.term()) {",
        )],
    },
    Bug {
        name: "TruncatesWhatAgrees",
        of: "thesis §3.5: a late, short append truncates entries that agreed",
        edits: &[edit(
            "replication/append.rs",
            "        let shared = self.log.shared(&entries);",
            "        let shared = self.log.shared(&entries);
        if PLANTED && covered >= self.log.commit() && covered < self.log.last().index {
            self.log.truncate(covered.next());
            self.history.truncated(covered.next());
        }",
        )],
    },
    Bug {
        name: "StampsFollowTheWallClock",
        of: "time stamps in the log decrease when a leader's clock does",
        edits: &[edit(
            "replication/commit.rs",
            "self.log.last_time_ms().saturating_add(1).max(self.clocks.wall_ms())",
            "if PLANTED { self.clocks.wall_ms() } else { self.log.last_time_ms().saturating_add(1).max(self.clocks.wall_ms()) }",
        )],
    },
    Bug {
        name: "EvictsUndurable",
        of: "entries leave the memory before the disk holds them",
        edits: &[edit(
            "state/log/memory.rs",
            "if first > self.durable() {",
            "if first > self.durable() && !PLANTED {",
        )],
    },
    Bug {
        name: "DoubledProposalsHappenTwice",
        of: "a forwarded proposal that the network duplicates enters the log twice",
        edits: &[edit(
            "replication/proposal.rs",
            "&& self.seen.is_new(term, from, *proposal));",
            "&& (self.seen.is_new(term, from, *proposal) || PLANTED));",
        )],
    },
    Bug {
        name: "CampaignsCutOff",
        of: "a member that may be removed and reaches no voter campaigns",
        edits: &[edit(
            "role/follower.rs",
            "self.has_vote() && !self.removal.is_suspected()",
            "self.has_vote() && (PLANTED || !self.removal.is_suspected())",
        )],
    },
    Bug {
        name: "SendsWhatItRead",
        of: "entries that were read back are sent although another leader overwrote them meanwhile",
        edits: &[edit(
            "replication/read_back.rs",
            "Ok(entries) if continues(&self.log, prev, &entries) => {",
            "Ok(entries) if PLANTED || continues(&self.log, prev, &entries) => {",
        )],
    },
    Bug {
        name: "InstallKeepsOldConfiguration",
        of: "openraft#1808: an installed snapshot does not change the configuration",
        edits: &[edit(
            "snapshot/install.rs",
            "        self.history = ConfigurationHistory::new(",
            "        let none = ConfigurationHistory::new(Default::default(), Default::default());
        let kept = std::mem::replace(&mut self.history, none);
        self.history = if PLANTED { kept } else { ConfigurationHistory::new(",
        ), edit(
            "snapshot/install.rs",
            "Arc::clone(&meta.configuration));",
            "Arc::clone(&meta.configuration)) };",
        )],
    },
];
