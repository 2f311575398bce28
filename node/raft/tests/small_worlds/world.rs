//! A world so small that it can be explored whole: three members, a few messages. Owns what can happen in a state and what it
//! leads to. Every member has its own clock, which moves only when a silence ends, a heartbeat is due or a vote is asked for
//! "later": so whether two members hear of the same thing before or after a time-out is a choice like any other.

use std::collections::VecDeque;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use raft::{
    Body, Config, MemberId, Message, Now, Output, Payload, ProposalId, Raft, ReadContext, Restored, Role, SnapshotMeta,
};

use crate::digest::Digest;
use crate::network::{Disk, Write, configuration, id, wish};
use crate::past::{Past, logs_match, matches_are_true};

/// How much of what may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) voters: &'static [u64],
    pub(crate) learners: &'static [u64],
    /// Highest term.
    pub(crate) terms: usize,
    pub(crate) proposals: u8,
    /// The wanted voters and learners, once.
    pub(crate) change: Option<(&'static [u64], &'static [u64])>,
    /// Crashes, each followed by a restart.
    pub(crate) crashes: u8,
    /// Heartbeats that fall due.
    pub(crate) beats: u8,
    /// Messages that arrive and arrive again.
    pub(crate) doubles: u8,
    pub(crate) reads: u8,
    pub(crate) transfers: u8,
    /// Messages on their way at once; what is sent beyond that is lost.
    pub(crate) wire: usize,
    pub(crate) pre_vote: bool,
    /// The search gives up beyond that.
    pub(crate) states_max: usize,
    pub(crate) flaw: Flaw,
}

/// What is wrong with the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A crash loses the vote, though not the term.
    ForgetsVote,
    /// A write is acknowledged though a crash can still lose it.
    AcknowledgesEarly,
}

/// Something that can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A member has heard nothing for too long.
    Silence(usize),
    /// A leader's heartbeat is due.
    Beat(usize),
    /// The oldest write is durable.
    Persist(usize),
    /// A message arrives.
    Deliver(usize),
    /// A message arrives when its receiver trusts no leader any more.
    DeliverLate(usize),
    /// A message arrives, and will again.
    Double(usize),
    /// A member loses what is not durable and starts again.
    Crash(usize),
    Propose(usize),
    Change(usize),
    Read(usize),
    Transfer(usize),
}

/// How much of it happened.
#[derive(Clone, Debug, Default, Hash)]
struct Spent {
    proposals: u8,
    changes: u8,
    crashes: u8,
    beats: u8,
    doubles: u8,
    reads: u8,
    transfers: u8,
    has_begun: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    number: u64,
    /// None once it was removed.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    pub(crate) writes: VecDeque<Write>,
    clock: Duration,
    digest: u128,
}

#[derive(Debug)]
struct Letter {
    from: usize,
    to: usize,
    message: Message,
    digest: u128,
}

/// One state.
#[derive(Clone, Debug)]
pub(crate) struct World {
    members: Vec<Rc<Member>>,
    /// By digest, each once.
    wire: Vec<Rc<Letter>>,
    pub(crate) past: Past,
    spent: Spent,
}

const ELECTION: Duration = Duration::from_secs(1);

impl Member {
    pub(crate) fn id(&self) -> MemberId {
        id(self.number)
    }

    fn now(&self) -> Now {
        Now { monotonic: self.clock, wall_ms: 0 }
    }

    fn start(&mut self, bounds: &Bounds) {
        let mut config = Config::new(self.id(), self.number);
        config.pre_vote = bounds.pre_vote;
        let Disk { hard_state, entries, snapshot, .. } = self.disk.clone();
        let restored = Restored { hard_state, snapshot, entries };
        self.raft = Some(Raft::new(config, restored, self.now()).expect("the disk is whole"));
    }

    fn role(&self) -> Option<Role> {
        self.raft.as_ref().map(|raft| raft.soft_state().role)
    }

    fn take_digest(&mut self) {
        let mut digest = Digest::default();
        if let Some(raft) = &self.raft {
            raft.fingerprint(&mut digest);
        }
        (self.raft.is_some(), self.disk.hard_state, &self.disk.entries, self.writes.len()).hash(&mut digest);
        for write in &self.writes {
            if let Write::Log(persist) = write {
                (persist.hard_state, &persist.entries).hash(&mut digest);
            }
        }
        self.digest = digest.value();
    }
}

impl World {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let snapshot = SnapshotMeta {
            configuration: Arc::new(configuration(bounds.voters, bounds.learners)),
            ..SnapshotMeta::default()
        };
        let numbers = 1..=(bounds.voters.len() + bounds.learners.len()) as u64;
        let member = |number| {
            let disk = Disk { snapshot: snapshot.clone(), ..Disk::default() };
            let mut member =
                Member { number, raft: None, disk, writes: VecDeque::new(), clock: Duration::ZERO, digest: 0 };
            member.start(bounds);
            // No leader of before is trusted any more.
            member.clock = ELECTION * 2;
            member.take_digest();
            Rc::new(member)
        };
        Self {
            members: numbers.map(member).collect(),
            wire: Vec::new(),
            past: Past::default(),
            spent: Spent::default(),
        }
    }

    pub(crate) fn digest(&self) -> u128 {
        let members: Vec<u128> = self.members.iter().map(|member| member.digest).collect();
        let wire: Vec<u128> = self.wire.iter().map(|letter| letter.digest).collect();
        Digest::of((members, wire, &self.past, &self.spent))
    }

    /// What can happen now.
    pub(crate) fn acts(&self, bounds: &Bounds) -> Vec<Act> {
        if !self.spent.has_begun {
            // Members differ in name only, so who begins does not matter.
            return vec![Act::Silence(0)];
        }
        let mut acts = Vec::new();
        for at in 0..self.members.len() {
            self.acts_of(bounds, at, &mut acts);
        }
        for (place, letter) in self.wire.iter().enumerate() {
            if self.members[letter.to].raft.is_none() {
                continue;
            }
            // Asked in time, who trusts a leader does not listen, which is as good as a loss.
            let is_vote = matches!(letter.message.body, Body::Vote { transfer: false, .. });
            if is_vote || matches!(letter.message.body, Body::PreVote { .. }) {
                acts.push(Act::DeliverLate(place));
            }
            if !is_vote {
                acts.push(Act::Deliver(place));
            }
            if self.spent.doubles < bounds.doubles {
                acts.push(Act::Double(place));
            }
        }
        acts
    }

    fn acts_of(&self, bounds: &Bounds, at: usize, acts: &mut Vec<Act>) {
        let member = &*self.members[at];
        let Some(raft) = &member.raft else { return };
        let spent = &self.spent;
        if !member.writes.is_empty() {
            acts.push(Act::Persist(at));
        }
        if spent.crashes < bounds.crashes {
            acts.push(Act::Crash(at));
        }
        if member.role() != Some(Role::Leader) {
            if raft.deadline() < Duration::MAX && (raft.soft_state().term.0 as usize) < bounds.terms {
                acts.push(Act::Silence(at));
            }
            return;
        }
        let wishes = [
            (spent.beats < bounds.beats, Act::Beat(at)),
            (spent.proposals < bounds.proposals, Act::Propose(at)),
            (spent.changes == 0 && bounds.change.is_some(), Act::Change(at)),
            (spent.reads < bounds.reads, Act::Read(at)),
            (spent.transfers < bounds.transfers, Act::Transfer(at)),
        ];
        acts.extend(wishes.into_iter().filter(|(is_left, _)| *is_left).map(|(_, act)| act));
    }

    /// The state that follows; `None` if it is out of bounds, or if nothing happened.
    pub(crate) fn after(&self, bounds: &Bounds, act: Act) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        next.spent.has_begun = true;
        let at = match act {
            Act::Silence(at) | Act::Beat(at) => {
                let is_beat = matches!(act, Act::Beat(_));
                next.spent.beats += u8::from(is_beat);
                let member = next.member(at);
                let Some(raft) = &mut member.raft else { return Ok(None) };
                // A silence is noticed late rather than soon, so that what chance drew makes no difference.
                let least = if is_beat { Duration::ZERO } else { ELECTION };
                member.clock = (member.clock + least).max(raft.deadline());
                raft.tick(Now { monotonic: member.clock, wall_ms: 0 });
                at
            }
            Act::Persist(at) => next.persist(bounds, at)?,
            Act::Deliver(place) | Act::DeliverLate(place) | Act::Double(place) => {
                let letter = Rc::clone(&next.wire[place]);
                if matches!(act, Act::Double(_)) {
                    next.spent.doubles += 1;
                } else {
                    next.wire.remove(place);
                }
                let wait = if matches!(act, Act::DeliverLate(_)) { ELECTION } else { Duration::ZERO };
                let member = next.member(letter.to);
                member.clock += wait;
                let now = member.now();
                let Some(raft) = &mut member.raft else { return Ok(None) };
                raft.step(now, id(letter.from as u64 + 1), letter.message.clone());
                letter.to
            }
            Act::Crash(at) => {
                next.spent.crashes += 1;
                let member = next.member(at);
                member.writes.clear();
                if bounds.flaw == Flaw::ForgetsVote {
                    member.disk.hard_state.vote = None;
                }
                member.start(bounds);
                at
            }
            Act::Propose(at) | Act::Change(at) | Act::Read(at) | Act::Transfer(at) => {
                if !next.ask(bounds, at, act) {
                    return Ok(None);
                }
                at
            }
        };
        next.drain(bounds, at)?;
        while next.spent.crashes >= bounds.crashes && !next.members[at].writes.is_empty() {
            // With no crash to come, a late write is as good as a late message.
            next.persist(bounds, at)?;
            next.drain(bounds, at)?;
        }
        next.forget_what_is_void();
        let is_far =
            next.members[at].raft.as_ref().is_some_and(|raft| raft.soft_state().term.0 as usize > bounds.terms);
        Ok((!is_far).then_some(next))
    }

    fn ask(&mut self, bounds: &Bounds, at: usize, act: Act) -> bool {
        let member = self.member(at);
        let now = member.now();
        let Some(raft) = member.raft.as_mut() else { return false };
        match act {
            Act::Propose(_) => {
                let content = Payload::Normal("x".into());
                let is_taken = raft.propose(now, vec![(ProposalId(1), content)]).is_ok();
                self.spent.proposals += 1;
                is_taken
            }
            Act::Change(_) => {
                let (voters, learners) = bounds.change.expect("only if there is one");
                let expected = raft.configuration().1;
                let is_taken = raft.change(now, wish(expected, voters, learners)).is_ok();
                self.spent.changes += 1;
                is_taken
            }
            Act::Read(_) => {
                let context = ReadContext(u64::from(self.spent.reads) + 1);
                self.past.asks(context);
                self.spent.reads += 1;
                if let Some(raft) = &mut self.member(at).raft {
                    raft.read(now, context);
                }
                true
            }
            Act::Transfer(_) => {
                let is_taken = raft.transfer(now, None).is_ok();
                self.spent.transfers += 1;
                is_taken
            }
            _ => false,
        }
    }

    fn member(&mut self, at: usize) -> &mut Member {
        Rc::make_mut(&mut self.members[at])
    }

    fn persist(&mut self, bounds: &Bounds, at: usize) -> Result<usize, String> {
        let member = self.member(at);
        let Some(write) = member.writes.pop_front() else { return Ok(at) };
        let is_early = bounds.flaw == Flaw::AcknowledgesEarly && self.spent.crashes < bounds.crashes;
        let member = self.member(at);
        let now = member.now();
        let io = match &write {
            Write::Log(persist) => persist.io,
            Write::Install { io, .. } => *io,
        };
        if !is_early {
            member.disk.perform(write);
        }
        if let Some(raft) = &mut member.raft {
            raft.persisted(now, io);
        }
        let disk = &self.members[at].disk;
        self.members.iter().try_for_each(|other| logs_match(disk, &other.disk))?;
        Ok(at)
    }

    /// Does what a core asks for; what is committed is applied at once.
    fn drain(&mut self, bounds: &Bounds, at: usize) -> Result<(), String> {
        while let Some(output) = self.member(at).raft.as_mut().and_then(Raft::next_output) {
            match output {
                Output::Persist(persist) => self.member(at).writes.push_back(Write::Log(persist)),
                Output::Send { to, message } => self.send(bounds, at, to, message)?,
                Output::Apply(entries) => {
                    let members: Vec<&Member> = self.members.iter().map(|member| &**member).collect();
                    self.past.applies(at, &entries, &members)?;
                    let member = self.member(at);
                    let (now, last) = (member.now(), entries[entries.len() - 1].id.index);
                    if let Some(raft) = &mut member.raft {
                        raft.applied(now, last);
                    }
                }
                Output::Changed(state) if state.role == Role::Leader => self.past.leads(&self.members[at], state)?,
                Output::ReadReady { context, index } => self.past.reads(context, index)?,
                Output::Removed { .. } => self.member(at).raft = None,
                Output::Changed(_) | Output::ReadFailed { .. } | Output::Dropped { .. } => {}
                Output::SendSnapshot { .. }
                | Output::InstallSnapshot { .. }
                | Output::DiscardSnapshot { .. }
                | Output::SnapshotDue { .. } => return Err("no world is large enough for snapshots".into()),
            }
        }
        self.member(at).take_digest();
        if self.members[at].role() == Some(Role::Leader) {
            let members: Vec<&Member> = self.members.iter().map(|member| &**member).collect();
            matches_are_true(members[at], &members)?;
        }
        Ok(())
    }

    /// Answers of an older term count for nothing, and a term that is on disk does not fall: as good as lost.
    fn forget_what_is_void(&mut self) {
        let members = &self.members;
        self.wire.retain(|letter| {
            let receiver = &members[letter.to];
            let is_old = letter.message.term < receiver.disk.hard_state.term;
            let is_answer = matches!(
                letter.message.body,
                Body::PreVoteReply { .. } | Body::VoteReply { .. } | Body::AppendReply(_) | Body::HeartbeatReply { .. }
            );
            receiver.raft.is_some() && !(is_old && is_answer)
        });
    }

    fn send(&mut self, bounds: &Bounds, from: usize, to: MemberId, message: Message) -> Result<(), String> {
        if let Body::VoteReply { granted: true } = message.body {
            self.past.votes(id(from as u64 + 1), message.term, to)?;
        }
        let to = to.0 as usize - 1;
        let digest = Digest::of((from, to, &message));
        let place = self.wire.partition_point(|letter| letter.digest < digest);
        let is_there = self.wire.get(place).is_some_and(|letter| letter.digest == digest);
        if !is_there && self.wire.len() < bounds.wire {
            self.wire.insert(place, Rc::new(Letter { from, to, message, digest }));
        }
        Ok(())
    }

    /// What happened, for people.
    pub(crate) fn tell(&self, act: Act) -> String {
        match act {
            Act::Deliver(place) | Act::DeliverLate(place) | Act::Double(place) => {
                let Letter { from, to, message, .. } = &*self.wire[place];
                let how = format!("{act:?}");
                let how = how.split('(').next().unwrap_or_default();
                format!("{how}: {} to {}, {message:?}", from + 1, to + 1)
            }
            Act::Silence(at)
            | Act::Beat(at)
            | Act::Persist(at)
            | Act::Crash(at)
            | Act::Propose(at)
            | Act::Change(at)
            | Act::Read(at)
            | Act::Transfer(at) => format!("{act:?} at {}", at + 1),
        }
    }
}
