//! Several cores in one process, on a simulated network, simulated disks and a simulated clock. Only the test advances
//! the clock. Owns the driver of each member, and calls the safety checks after every output. Does not own scenarios.
#![allow(dead_code, unreachable_pub)] // Every test program uses only a part of this module.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{
    Body, Config, Index, MemberId, Message, Now, Output, Payload, ProposalId, Raft, ReadContext, RemovalVerdict, Role,
    SnapshotMeta, Term,
};
use world::agenda::Agenda;
use world::clock::{Clock, TRUE_RATE};
use world::disk::Disk;
use world::network::{Network, NetworkProfile};
use world::seed::{Random, Seed};

pub mod member;
pub mod safety;
pub mod shapes;
pub mod solo;

use member::{Member, fresh_disk, state_of};
use safety::Safety;
pub use shapes::*;

/// A message in flight.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: MemberId,
    pub to: MemberId,
    pub message: Message,
    /// Arrival time, in ms.
    pub at_ms: u64,
    snapshot: Option<Bytes>,
}

/// A network on which no message is lost and each message takes one millisecond, so that tests can count round trips.
pub const STEADY: NetworkProfile =
    NetworkProfile { delay: (Duration::from_millis(1), Duration::from_millis(1)), ..NetworkProfile::UNDISTURBED };

/// Members with their network, clock and ledger of safety properties.
#[derive(Debug)]
pub struct Cluster {
    pub members: BTreeMap<MemberId, Member>,
    pub wire: Agenda<Envelope>,
    pub network: Network,
    pub now_ms: u64,
    pub random: Random,
    /// All messages that were sent while `keep_sent` was set.
    pub sent: Vec<Envelope>,
    pub keep_sent: bool,
    /// A member, and the number of one of its outputs, counted from 1. The member crashes instead of carrying out that
    /// output.
    pub crash_at: Option<(MemberId, u64)>,
    outputs: BTreeMap<MemberId, u64>,
    /// Number of snapshots that do not arrive, starting with the next one.
    pub snapshots_fail: u64,
    /// Whether every message is printed. The environment variable `TRACE=1` sets it.
    pub trace: bool,
    pub safety: Safety,
    /// Members that wait for a verdict on their removal.
    verifications: BTreeSet<MemberId>,
    next_number: u64,
    pub adjust: fn(&mut Config),
}

impl Cluster {
    /// Creates a cluster of `voters` members that were bootstrapped together.
    pub fn of(voters: u64, seed: u64) -> Self {
        Self::adjusted(voters, seed, |_| {})
    }

    pub fn adjusted(voters: u64, seed: u64, adjust: fn(&mut Config)) -> Self {
        let mut cluster = Self {
            members: BTreeMap::new(),
            wire: Agenda::default(),
            network: Network::new(STEADY),
            now_ms: 1_000,
            random: Random::new(Seed(seed)),
            sent: Vec::new(),
            keep_sent: false,
            crash_at: None,
            outputs: BTreeMap::new(),
            snapshots_fail: 0,
            trace: world::settings::traces(),
            safety: Safety::default(),
            verifications: BTreeSet::new(),
            next_number: 0,
            adjust,
        };
        let numbers: Vec<u64> = (1..=voters).collect();
        let snapshot =
            SnapshotMeta { configuration: Arc::new(configuration(&numbers, &[])), ..SnapshotMeta::default() };
        for number in numbers {
            cluster.add(number, fresh_disk(number, snapshot.clone()));
        }
        cluster
    }

    /// Adds a member with a blank volume and starts it.
    pub fn add_blank(&mut self, number: u64) {
        self.add(number, fresh_disk(number, SnapshotMeta::default()));
    }

    pub fn add(&mut self, number: u64, disk: Disk) {
        let mut config = Config::new(id(number), 0);
        (self.adjust)(&mut config);
        self.members.insert(id(number), Member::new(config, disk));
        self.start(number);
    }

    pub fn start(&mut self, number: u64) {
        let now = self.now();
        let seed = self.random.number();
        let member = self.member_mut(number);
        member.config.seed = seed;
        member.start(now);
        self.drain(id(number));
    }

    /// Crashes a member. The member loses all unsynced writes.
    pub fn crash(&mut self, number: u64) {
        self.member_mut(number).crash();
    }

    /// Crashes a member. The member loses all unsynced writes except a random number of the first ones.
    pub fn lose_power(&mut self, number: u64) {
        let member = self.members.get_mut(&id(number)).expect("known");
        member.lose_power(&mut self.random);
    }

    pub fn restart(&mut self, number: u64) {
        self.crash(number);
        self.start(number);
    }

    pub fn now(&self) -> Now {
        let time = Duration::from_millis(self.now_ms);
        Clock::started(Duration::ZERO, Duration::ZERO, TRUE_RATE).read(time)
    }

    pub fn member(&self, number: u64) -> &Member {
        &self.members[&id(number)]
    }

    pub fn member_mut(&mut self, number: u64) -> &mut Member {
        self.members.get_mut(&id(number)).expect("known")
    }

    pub fn raft(&self, number: u64) -> &Raft {
        self.member(number).raft.as_ref().expect("runs")
    }

    pub fn runs(&self, number: u64) -> bool {
        self.member(number).raft.is_some()
    }

    /// Passes an input to a member's core and carries out the outputs of the core.
    pub fn with<T>(&mut self, number: u64, act: impl FnOnce(&mut Raft, Now) -> T) -> T {
        let now = self.now();
        let outcome = act(self.member_mut(number).raft.as_mut().expect("runs"), now);
        self.drain(id(number));
        outcome
    }

    /// Returns the running leader with the highest term.
    pub fn leader(&self) -> Option<u64> {
        let rafts = self.members.values().filter_map(|member| member.raft.as_ref().map(|raft| (member.id.0, raft)));
        let leaders = rafts.filter(|(_, raft)| raft.soft_state().role == Role::Leader);
        leaders.max_by_key(|(_, raft)| raft.soft_state().term).map(|(number, _)| number)
    }

    /// Advances time by `ms`.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step_ms();
        }
    }

    /// Advances time until the condition holds; panics if it does not hold within `patience_ms`.
    #[track_caller]
    pub fn until(&mut self, what: &str, patience_ms: u64, condition: impl Fn(&Self) -> bool) {
        let end = self.now_ms + patience_ms;
        while !condition(self) {
            assert!(self.now_ms < end, "{what}: not within {patience_ms} ms\n{}", self.render());
            self.step_ms();
        }
    }

    #[track_caller]
    pub fn elect(&mut self) -> u64 {
        self.until("a leader that committed in its term", 30_000, |cluster| {
            cluster.leader().is_some_and(|leader| cluster.has_committed_in_term(leader))
        });
        self.leader().expect("just seen")
    }

    /// Makes the member `number` leader. If another member leads, that member transfers the leadership to `number`.
    #[track_caller]
    pub fn elect_member(&mut self, number: u64) {
        let leader = self.elect();
        if leader != number {
            self.with(leader, |raft, now| raft.transfer(now, Some(id(number)))).expect("a transfer starts");
            self.until("the wanted leader", 10_000, |cluster| {
                cluster.leader() == Some(number) && cluster.has_committed_in_term(number)
            });
        }
    }

    fn has_committed_in_term(&self, number: u64) -> bool {
        let raft = self.raft(number);
        raft.snapshot_meta(raft.commit(), 0).is_some_and(|meta| meta.last.term == raft.soft_state().term)
    }

    /// Proposes at a member. Returns the content of the proposal, or `None` if the proposal is refused.
    pub fn propose(&mut self, number: u64) -> Option<Vec<u8>> {
        let (proposal, content) = self.fresh_proposal();
        let payload = Payload::Normal(content.clone().into());
        self.with(number, |raft, now| raft.propose(now, vec![(proposal, payload)])).ok().map(|()| content)
    }

    pub fn fresh_proposal(&mut self) -> (ProposalId, Vec<u8>) {
        self.next_number += 1;
        let proposal = ProposalId(self.next_number);
        let content = format!("p{}", self.next_number).into_bytes();
        self.safety.proposals.insert(proposal, content.clone());
        (proposal, content)
    }

    pub fn read(&mut self, number: u64) -> ReadContext {
        self.next_number += 1;
        let context = ReadContext(self.next_number);
        self.safety.reads.insert(context, self.safety.commit);
        self.with(number, |raft, now| raft.read(now, context));
        context
    }

    pub fn has_applied(&self, number: u64, content: &[u8]) -> bool {
        self.member(number).state.iter().any(|(_, applied)| applied == content)
    }

    pub fn change(&mut self, voters: &[u64], learners: &[u64]) -> Result<Index, raft::ChangeRefusal> {
        let leader = self.leader().expect("leads");
        let expected = self.raft(leader).configuration().1;
        self.with(leader, |raft, now| raft.change(now, change_to(expected, voters, learners)))
    }

    /// Changes the membership. Retries until the configuration is committed.
    #[track_caller]
    pub fn reconfigure(&mut self, voters: &[u64], learners: &[u64]) {
        let end = self.now_ms + 60_000;
        loop {
            let leader = self.elect();
            let (wanted, is_committed) = {
                let raft = self.raft(leader);
                let (now, _) = raft.committed_configuration();
                (now.voters == ids(voters) && now.learners == ids(learners), !now.is_joint())
            };
            if wanted && is_committed {
                return;
            }
            let outcome = self.change(voters, learners);
            assert!(self.now_ms < end, "reconfiguration: {outcome:?}\n{}", self.render());
            self.run_ms(20);
        }
    }

    pub fn cut_off(&mut self, number: u64) {
        let others: Vec<MemberId> = self.members.keys().copied().collect();
        for other in others {
            self.network.cut(id(number), other);
            self.network.cut(other, id(number));
        }
    }

    pub fn cut_link(&mut self, one: u64, two: u64) {
        self.network.cut(id(one), id(two));
        self.network.cut(id(two), id(one));
    }

    pub fn heal(&mut self) {
        self.network.mend();
        self.network.profile = STEADY;
        let numbers: Vec<u64> = self.members.keys().map(|id| id.0).collect();
        for number in numbers {
            self.member_mut(number).disk_ms = Some(1);
            self.member_mut(number).apply_stalls = false;
            if !self.runs(number) && self.member(number).removed.is_none() {
                self.start(number);
            }
        }
    }

    /// Delivers a message that no core sent.
    pub fn inject(&mut self, from: u64, to: u64, message: Message) {
        self.deliver(Envelope { from: id(from), to: id(to), message, at_ms: self.now_ms, snapshot: None });
    }

    /// Returns the number of outputs of each member's core.
    pub fn outputs_of(&self, members: &[u64]) -> Vec<u64> {
        members.iter().map(|number| self.outputs.get(&id(*number)).copied().unwrap_or(0)).collect()
    }

    /// Returns one line of text per member.
    pub fn render(&self) -> String {
        let mut lines = format!("t={} ms, {} on the wire, {}\n", self.now_ms, self.wire.len(), self.network.describe());
        for member in self.members.values() {
            let line = match &member.raft {
                None => format!("{}: down\n", member.id),
                Some(raft) => {
                    let (configuration, index) = raft.configuration();
                    format!(
                        "{}: {:?} commit {} last {} applied {} config@{index} {:?}/{:?} learners {:?} {:?}\n",
                        member.id,
                        raft.soft_state(),
                        raft.commit(),
                        raft.last(),
                        member.applied,
                        configuration.voters,
                        configuration.outgoing,
                        configuration.learners,
                        raft.progress(),
                    )
                }
            };
            lines.push_str(&line);
        }
        lines
    }

    /// Advances time by one millisecond: syncs finish, messages arrive, timeouts pass.
    fn step_ms(&mut self) {
        self.now_ms += 1;
        let numbers: Vec<u64> = self.members.keys().map(|id| id.0).collect();
        for number in &numbers {
            self.finish_sync(*number);
            self.apply(*number);
        }
        while let Some(envelope) = self.wire.take_due(Duration::from_millis(self.now_ms)) {
            self.deliver(envelope);
        }
        for at in std::mem::take(&mut self.verifications) {
            self.verify_removal(at);
        }
        for number in numbers {
            let is_due = self.member(number).raft.as_ref().is_some_and(|raft| raft.deadline() <= self.now().monotonic);
            if is_due {
                self.with(number, Raft::tick);
                let deadline = self.member(number).raft.as_ref().map(Raft::deadline);
                assert!(
                    deadline.is_none_or(|at| at > self.now().monotonic),
                    "after a tick the deadline is in the future"
                );
            }
        }
    }

    /// Asks the other voters that are reached whether they know of the removal.
    fn verify_removal(&mut self, at: MemberId) {
        let Some(raft) = self.members[&at].raft.as_ref() else { return };
        let own = raft.configuration().0;
        let is_asked = |id: &MemberId| {
            *id != at && own.is_voter(*id) && self.network.passes(at, *id) && self.network.passes(*id, at)
        };
        let others = self.members.iter().filter(|(id, _)| is_asked(id));
        let said = others.filter_map(|(_, other)| other.raft.as_ref()).map(|raft| {
            let (configuration, index) = raft.committed_configuration();
            RemovalVerdict::of(at, configuration, index)
        });
        let verdict = said.max_by_key(|verdict| matches!(verdict, RemovalVerdict::Removed { .. }));
        let verdict = verdict.unwrap_or(RemovalVerdict::Unreached);
        self.with(at.0, |raft, now| raft.removal_verified(now, verdict));
    }

    fn finish_sync(&mut self, number: u64) {
        let now_ms = self.now_ms;
        if let Some(io) = self.member_mut(number).finish_sync(now_ms) {
            self.with(number, |raft, now| raft.persisted(now, io));
        }
    }

    fn apply(&mut self, number: u64) {
        let member = self.member_mut(number);
        if member.apply() {
            let applied = member.applied;
            self.with(number, |raft, now| raft.applied(now, applied));
        }
    }

    pub fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message, snapshot, .. } = envelope;
        let arrives = self.network.passes(from, to) && self.members.contains_key(&to) && self.runs(to.0);
        if let (Body::InstallSnapshot(meta), Some(image)) = (&message.body, snapshot) {
            if arrives {
                self.member_mut(to.0).received.push((from, meta.clone(), state_of(&image)));
                self.with(to.0, |raft, now| raft.step(now, from, message));
            }
            self.end_snapshot(from, to, if arrives { Ok(()) } else { Err(()) });
        } else if arrives {
            self.with(to.0, |raft, now| raft.step(now, from, message));
        }
    }

    fn end_snapshot(&mut self, from: MemberId, to: MemberId, arrived: Result<(), ()>) {
        if self.runs(from.0) {
            self.with(from.0, |raft, now| raft.snapshot_sent(now, to, arrived));
        }
    }

    /// Carries out a core's outputs.
    fn drain(&mut self, at: MemberId) {
        loop {
            let member = self.members.get_mut(&at).expect("known");
            let Some(raft) = member.raft.as_mut() else { return };
            let Some(output) = raft.next_output() else { break };
            let count = self.outputs.entry(at).or_default();
            *count += 1;
            if self.crash_at == Some((at, *count)) {
                self.crash(at.0);
                return;
            }
            self.perform(at, output);
        }
        let now_ms = self.now_ms;
        self.members.get_mut(&at).expect("known").begin_sync(now_ms);
        self.check_commit(at);
    }

    /// Checks, when the commit of an entry is first reported, that the entry is durable on a majority of each
    /// electorate (etcd#14370).
    fn check_commit(&mut self, at: MemberId) {
        let raft = self.members[&at].raft.as_ref().expect("runs");
        let commit = raft.commit();
        if commit <= self.safety.commit {
            return;
        }
        self.safety.commit = commit;
        let Some(last) = self.safety.committed_at(commit) else { return };
        let (configuration, _) = raft.configuration();
        for half in [&configuration.voters, &configuration.outgoing] {
            let holders = half.iter().filter(|id| self.members.get(id).is_some_and(|member| member.holds(last)));
            assert!(holders.count() * 2 > half.len() || half.is_empty(), "{last} is committed and not durable");
        }
    }

    fn perform(&mut self, at: MemberId, output: Output) {
        if self.trace && !matches!(output, Output::Send { .. }) {
            println!("{} {at}: {output:?}", self.now_ms);
        }
        let now = self.now();
        let member = self.members.get_mut(&at).expect("known");
        match output {
            Output::Persist(persist) => member.disk.write(persist),
            Output::Send { to, message } => self.send(at, to, message),
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(at, to, term, at_least),
            Output::InstallSnapshot { io, from, hard_state, meta } => member.install(io, from, hard_state, meta),
            Output::DiscardSnapshot { from, last } => {
                member.received.retain(|(sender, meta, _)| *sender != from || meta.last != last);
            }
            Output::Apply(entries) => {
                self.safety.applies(&entries);
                let member = self.members.get_mut(&at).expect("known");
                member.pending_apply.extend(entries);
            }
            Output::ApplyStored { first, last } => {
                let entries = member.read_log(first, last, usize::MAX);
                self.safety.applies(&entries);
                let member = self.members.get_mut(&at).expect("known");
                member.pending_apply.extend(entries);
            }
            Output::ReadLog { to, from, through, bytes } => {
                let entries = member.read_log(from, through, bytes);
                let raft = member.raft.as_mut().expect("runs");
                raft.log_read(now, to, from, Ok(entries));
            }
            Output::ReadReady { context, index } => {
                self.safety.reads_at(context, index);
                member.ready_reads.insert(context, index);
            }
            Output::ReadFailed { context } => {
                member.failed_reads.insert(context);
            }
            Output::Dropped { proposal, reason } => {
                self.safety.drops(proposal);
                let member = self.members.get_mut(&at).expect("known");
                member.dropped.push((proposal, reason));
            }
            Output::SnapshotDue { index } => member.snapshot(index),
            Output::Changed(state) => {
                member.roles.push((state.role, state.term));
                if state.role == Role::Leader {
                    self.safety.leads(at, state.term);
                }
            }
            Output::VerifyRemoval => drop(self.verifications.insert(at)),
            Output::Removed { index } => member.removed = Some(index),
        }
    }

    fn send(&mut self, from: MemberId, to: MemberId, message: Message) {
        if self.trace {
            println!("{} {from} -> {to}, term {}: {:?}", self.now_ms, message.term, message.body);
        }
        if let Body::VoteReply { granted: true } = message.body {
            self.safety.votes(from, message.term, to);
        }
        let fate = self.network.fate(&mut self.random, from, to);
        for delay in fate.first.into_iter().chain(fate.second) {
            self.post(delay, Envelope { from, to, message: message.clone(), at_ms: 0, snapshot: None });
        }
    }

    /// Sends a message, which arrives after `delay`, counted in whole milliseconds.
    fn post(&mut self, delay: Duration, envelope: Envelope) {
        let delay_ms = (delay.as_micros() as u64).div_ceil(1_000).max(1);
        let envelope = Envelope { at_ms: self.now_ms + delay_ms, ..envelope };
        if self.keep_sent {
            self.sent.push(envelope.clone());
        }
        self.wire.at(Duration::from_millis(envelope.at_ms), envelope);
    }

    fn send_snapshot(&mut self, from: MemberId, to: MemberId, term: Term, at_least: Index) {
        let durable = self.members[&from].disk.durable();
        let (meta, image) = (durable.snapshot.clone(), durable.image.clone());
        assert!(meta.last.index >= at_least, "the newest snapshot helps");
        let fails = self.snapshots_fail > 0;
        self.snapshots_fail = self.snapshots_fail.saturating_sub(1);
        let fate = self.network.fate(&mut self.random, from, to);
        let delay = fate.first.filter(|_| !fails);
        let Some(delay) = delay else {
            // A real driver would report the failure later. The difference is small, because the core waits before it
            // retries.
            let now = self.now();
            let raft = self.members.get_mut(&from).and_then(|member| member.raft.as_mut());
            raft.expect("the core gave an output").snapshot_sent(now, to, Err(()));
            return;
        };
        let message = Message { term, body: Body::InstallSnapshot(meta) };
        self.post(delay + Duration::from_millis(4), Envelope { from, to, message, at_ms: 0, snapshot: Some(image) });
    }
}
