//! A single core that receives every message and acknowledgement from the test. Owns the core's clock and the number of
//! the last issued write. Does not own other members: the test plays their part.

use std::sync::Arc;
use std::time::Duration;

use raft::{
    Append, AppendReply, Body, Config, Configuration, Entry, EntryId, HardState, Index, IoId, MemberId, Message, Now,
    Output, Payload, Persist, ProposalId, Raft, RemovalVerdict, Restored, Role, SnapshotMeta, Term,
};

use super::shapes::{configuration, id};

/// The core of member 1.
#[derive(Debug)]
pub struct Solo {
    pub raft: Raft,
    pub now_ms: u64,
    /// Milliseconds by which the wall clock is ahead of the monotonic clock.
    pub wall_ahead_ms: i64,
    pub issued: Option<IoId>,
}

/// Initial state and configuration of a [`Solo`].
#[derive(Clone, Debug)]
pub struct Start {
    pub term: u64,
    pub vote: Option<u64>,
    pub configuration: Configuration,
    pub entries: Vec<Entry>,
    pub config: Config,
}

impl Start {
    /// Returns the start of member 1 in a cluster of `voters` members with empty logs.
    pub fn of(voters: u64) -> Self {
        let numbers: Vec<u64> = (1..=voters).collect();
        Self {
            term: 0,
            vote: None,
            configuration: configuration(&numbers, &[]),
            entries: Vec::new(),
            config: Config::new(id(1), 7),
        }
    }

    /// Sets the initial log: the terms of its entries, from index 1 on.
    pub fn log(mut self, terms: &[u64]) -> Self {
        let numbered = (1..).zip(terms);
        self.entries = numbered.map(|(index, term)| super::shapes::entry(*term, index)).collect();
        self.term = self.term.max(terms.last().copied().unwrap_or(0));
        self
    }

    pub fn term(mut self, term: u64) -> Self {
        self.term = term;
        self
    }

    pub fn vote(mut self, vote: u64) -> Self {
        self.vote = Some(vote);
        self
    }

    pub fn configuration(mut self, configuration: Configuration) -> Self {
        self.configuration = configuration;
        self
    }

    pub fn config(mut self, adjust: impl FnOnce(&mut Config)) -> Self {
        adjust(&mut self.config);
        self
    }

    pub fn solo(self) -> Solo {
        let hard_state = HardState { term: Term(self.term), vote: self.vote.map(id) };
        let snapshot = SnapshotMeta { configuration: Arc::new(self.configuration), ..SnapshotMeta::default() };
        let restored = Restored::of_entries(hard_state, snapshot, self.entries);
        // The core starts at 10 s and gets its first input at 12 s. By then it no longer respects a lease from before
        // its start.
        let start = Now { monotonic: Duration::from_secs(10), wall_ms: 1_000_000 };
        let raft = Raft::new(self.config, restored, start).expect("the start is valid");
        let mut solo = Solo { raft, now_ms: 12_000, wall_ahead_ms: 0, issued: None };
        solo.drain();
        solo
    }
}

impl Solo {
    pub fn now(&self) -> Now {
        let wall_ms = (1_000_000 + self.now_ms).checked_add_signed(self.wall_ahead_ms).expect("after 1970");
        Now { monotonic: Duration::from_millis(self.now_ms), wall_ms }
    }

    /// Returns the description of a snapshot of the state at `index`. Every entry of the test's log has its index as time
    /// stamp.
    pub fn snapshot_meta(&self, index: u64) -> Option<SnapshotMeta> {
        self.raft.snapshot_meta(Index(index), index)
    }

    pub fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.raft.next_output()).collect();
        for output in &outputs {
            if let Output::Persist(Persist { io, .. }) | Output::InstallSnapshot { io, .. } = output {
                assert!(self.issued < Some(*io), "IDs of writes increase");
                self.issued = Some(*io);
            }
        }
        outputs
    }

    /// Delivers a message from `from` and returns the outputs.
    pub fn receives(&mut self, from: u64, term: u64, body: Body) -> Vec<Output> {
        let now = self.now();
        self.raft.step(now, id(from), Message { term: Term(term), body });
        self.drain()
    }

    /// Acknowledges that all writes in progress are durable.
    pub fn persisted(&mut self) -> Vec<Output> {
        let Some(io) = self.issued else { return Vec::new() };
        let now = self.now();
        self.raft.persisted(now, io);
        self.drain()
    }

    /// Answers a verification of the removal.
    pub fn is_told(&mut self, verdict: RemovalVerdict) -> Vec<Output> {
        let now = self.now();
        self.raft.removal_verified(now, verdict);
        self.drain()
    }

    /// Advances time by `ms` and ticks the core.
    pub fn waits(&mut self, ms: u64) -> Vec<Output> {
        self.now_ms += ms;
        let now = self.now();
        self.raft.tick(now);
        self.drain()
    }

    /// Advances time to the core's deadline.
    pub fn waits_until_deadline(&mut self) -> Vec<Output> {
        let deadline = u64::try_from(self.raft.deadline().as_nanos().div_ceil(1_000_000)).expect("soon");
        self.now_ms = self.now_ms.max(deadline);
        self.waits(0)
    }

    pub fn role(&self) -> Role {
        self.raft.soft_state().role
    }

    pub fn term(&self) -> u64 {
        self.raft.soft_state().term.0
    }

    /// Makes the core a candidate whose term and vote are durable. Returns its vote requests.
    pub fn campaigns(&mut self) -> Vec<Output> {
        let mut outputs = self.waits_until_deadline();
        for from in self.others() {
            if self.role() == Role::PreCandidate {
                let term = self.term() + 1;
                outputs.extend(self.receives(from, term, Body::PreVoteReply { granted: true }));
            }
        }
        assert_eq!(self.role(), Role::Candidate, "all members grant the pre-vote");
        outputs.extend(self.persisted());
        outputs
    }

    /// Makes the core win an election in the next term. The no-op of the new term is not durable yet.
    pub fn leads(&mut self) -> Vec<Output> {
        let mut outputs = self.campaigns();
        for from in self.others() {
            if self.role() == Role::Candidate {
                let term = self.term();
                outputs.extend(self.receives(from, term, Body::VoteReply { granted: true }));
            }
        }
        assert_eq!(self.role(), Role::Leader, "all members grant their vote");
        outputs
    }

    /// Makes the core leader, with all entries durable and committed.
    pub fn leads_with_commit(&mut self) {
        self.leads();
        self.persisted();
        self.acknowledged_by_all();
        assert_eq!(self.raft.commit(), self.raft.last().index, "all entries are committed");
    }

    /// Delivers messages in which all other voters acknowledge the whole log.
    pub fn acknowledged_by_all(&mut self) -> Vec<Output> {
        let last = self.raft.last().index.0;
        self.others().into_iter().flat_map(|from| self.acknowledged_by(from, last)).collect()
    }

    /// Delivers a message in which `from` acknowledges the log up to `matched`.
    pub fn acknowledged_by(&mut self, from: u64, matched: u64) -> Vec<Output> {
        self.acknowledged_in_round(from, matched, 0)
    }

    pub fn acknowledged_in_round(&mut self, from: u64, matched: u64, round: u64) -> Vec<Output> {
        let term = self.term();
        self.receives(from, term, Body::AppendReply(AppendReply::Accepted { matched: Index(matched), round }))
    }

    pub fn rejected_by(&mut self, from: u64, prev: u64, hint: EntryId) -> Vec<Output> {
        let term = self.term();
        self.receives(from, term, Body::AppendReply(AppendReply::Rejected { prev: Index(prev), hint, round: 0 }))
    }

    pub fn proposes(&mut self, number: u64) -> Vec<Output> {
        let now = self.now();
        let payload = Payload::Normal(format!("p{number}").into_bytes().into());
        self.raft.propose(now, vec![(ProposalId(number), payload)]).expect("the proposal is accepted");
        self.drain()
    }

    pub fn others(&self) -> Vec<u64> {
        let (configuration, _) = self.raft.configuration();
        let voters = configuration.voters.union(&configuration.outgoing);
        voters.map(|member| member.0).filter(|number| *number != 1).collect()
    }

    /// Acknowledges that all committed entries are applied.
    pub fn applies(&mut self) -> Vec<Output> {
        let (now, commit) = (self.now(), self.raft.commit());
        self.raft.applied(now, commit);
        self.drain()
    }
}

pub fn append(prev: EntryId, entries: Vec<Entry>, commit: u64) -> Body {
    Body::Append(Append { prev, entries, commit: Index(commit), round: 0 })
}

pub fn heartbeat(commit: u64, round: u64) -> Body {
    Body::Heartbeat { commit: Index(commit), round }
}

/// Returns the messages among the outputs, with their receivers.
pub fn sent(outputs: &[Output]) -> Vec<(u64, Message)> {
    let message = |output: &Output| match output {
        Output::Send { to, message } => Some((to.0, message.clone())),
        _ => None,
    };
    outputs.iter().filter_map(message).collect()
}

/// Returns the messages to one member.
pub fn sent_to(outputs: &[Output], to: u64) -> Vec<Body> {
    sent(outputs).into_iter().filter(|(receiver, _)| *receiver == to).map(|(_, message)| message.body).collect()
}

/// Returns the appends to one member.
pub fn appends_to(outputs: &[Output], to: u64) -> Vec<Append> {
    let append = |body| match body {
        Body::Append(append) => Some(append),
        _ => None,
    };
    sent_to(outputs, to).into_iter().filter_map(append).collect()
}

pub fn persists(outputs: &[Output]) -> Vec<Persist> {
    let persist = |output: &Output| match output {
        Output::Persist(persist) => Some(persist.clone()),
        _ => None,
    };
    outputs.iter().filter_map(persist).collect()
}

pub fn applies(outputs: &[Output]) -> Vec<u64> {
    let entries = |output: &Output| match output {
        Output::Apply(entries) => entries.iter().map(|entry| entry.id.index.0).collect(),
        _ => Vec::new(),
    };
    outputs.iter().flat_map(entries).collect()
}

/// Returns whether the outputs grant a vote to a member.
pub fn grants_vote(outputs: &[Output], to: u64) -> bool {
    sent_to(outputs, to).contains(&Body::VoteReply { granted: true })
}

/// Returns the `matched` index of the last acknowledgement to a member.
pub fn accepted(outputs: &[Output], to: u64) -> Option<u64> {
    let matched = |body| match body {
        Body::AppendReply(AppendReply::Accepted { matched, .. }) => Some(matched.0),
        _ => None,
    };
    sent_to(outputs, to).into_iter().filter_map(matched).next_back()
}

/// Returns the index of the rejected append, and the hint of the rejection.
pub fn rejected(outputs: &[Output], to: u64) -> Option<(u64, EntryId)> {
    let refusal = |body| match body {
        Body::AppendReply(AppendReply::Rejected { prev, hint, .. }) => Some((prev.0, hint)),
        _ => None,
    };
    sent_to(outputs, to).into_iter().filter_map(refusal).next_back()
}

/// Returns a member ID as an option, for assertions.
pub fn member(number: u64) -> Option<MemberId> {
    Some(id(number))
}
