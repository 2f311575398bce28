//! Several cores in one process, with a network, disks and a clock that the test holds in its hand. Owns the world that a
//! test plays in and the safety properties checked after every output; the scenarios are the tests'.
#![allow(dead_code, unreachable_pub)] // Every test program uses its own part of this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use raft::{
    Body, Change, Config, Configuration, DropReason, Entry, EntryId, HardState, Index, IoId, MemberId, MemberInfo,
    Message, Now, Output, Payload, Persist, ProposalId, Raft, ReadContext, Restored, Role, SnapshotMeta, Term,
};

/// A state machine: everything that was ever applied, as far as it counts.
pub type State = Vec<(Index, Vec<u8>)>;

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub entries: Vec<Entry>,
    pub snapshot: SnapshotMeta,
    pub state: State,
}

/// A write under way.
#[derive(Clone, Debug)]
enum Write {
    Log(Persist),
    Install { io: IoId, hard_state: Option<HardState>, meta: SnapshotMeta, state: State },
}

/// One member: its core, while it runs, and what is around it.
#[derive(Debug)]
pub struct Member {
    pub id: MemberId,
    pub config: Config,
    pub raft: Option<Raft>,
    pub disk: Disk,
    writes: VecDeque<(u64, Write)>,
    /// Writes take this long, in ms; `None`: the disk stalls.
    pub disk_ms: Option<u64>,
    pub state: State,
    pub applied: Index,
    /// Snapshots that arrived and are not installed.
    received: Vec<(MemberId, SnapshotMeta, State)>,
    pub ready_reads: BTreeMap<ReadContext, Index>,
    pub failed_reads: BTreeSet<ReadContext>,
    pub dropped: Vec<(ProposalId, DropReason)>,
    pub removed: Option<Index>,
    pub roles: Vec<(Role, Term)>,
    /// Applies nothing while set.
    pub apply_stalls: bool,
    pending_apply: VecDeque<Entry>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: MemberId,
    pub to: MemberId,
    pub message: Message,
    pub at_ms: u64,
    snapshot: Option<State>,
}

/// What the network does to messages, in percent and ms.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub duplication: u64,
    pub delay_ms_max: u64,
}

impl Weather {
    pub const CALM: Self = Self { loss: 0, duplication: 0, delay_ms_max: 1 };
}

/// The world.
#[derive(Debug)]
pub struct Cluster {
    pub members: BTreeMap<MemberId, Member>,
    pub wire: Vec<Envelope>,
    pub weather: Weather,
    /// One-way links that are cut.
    pub cut: BTreeSet<(MemberId, MemberId)>,
    pub now_ms: u64,
    pub random: Random,
    /// Everything that left, for tests that look.
    pub sent: Vec<Envelope>,
    pub keep_sent: bool,
    pub truth: Truth,
    next_number: u64,
    pub adjust: fn(&mut Config),
}

/// What was ever seen, to compare with.
#[derive(Debug, Default)]
pub struct Truth {
    leaders: BTreeMap<Term, MemberId>,
    committed: BTreeMap<Index, (Term, u64, Vec<u8>)>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    pub commit: Index,
    /// Commit index of the whole when each read began.
    reads: BTreeMap<ReadContext, Index>,
    proposals: BTreeMap<ProposalId, Vec<u8>>,
    happened: BTreeSet<Vec<u8>>,
    dropped: BTreeSet<Vec<u8>>,
}

pub fn id(number: u64) -> MemberId {
    MemberId(number)
}

pub fn ids(numbers: &[u64]) -> BTreeSet<MemberId> {
    numbers.iter().copied().map(MemberId).collect()
}

pub fn info(number: u64) -> MemberInfo {
    MemberInfo { name: format!("m-{number}"), ..MemberInfo::default() }
}

pub fn configuration(voters: &[u64], learners: &[u64]) -> Configuration {
    let everyone = voters.iter().chain(learners);
    Configuration {
        voters: ids(voters),
        learners: ids(learners),
        members: everyone.map(|number| (id(*number), info(*number))).collect(),
        ..Configuration::default()
    }
}

pub fn wish(expected: Index, voters: &[u64], learners: &[u64]) -> Change {
    let Configuration { voters, learners, members, .. } = configuration(voters, learners);
    Change { expected, voters, learners, members }
}

impl Cluster {
    /// `voters` members that were bootstrapped together.
    pub fn of(voters: u64, seed: u64) -> Self {
        Self::adjusted(voters, seed, |_| {})
    }

    pub fn adjusted(voters: u64, seed: u64, adjust: fn(&mut Config)) -> Self {
        let mut cluster = Self {
            members: BTreeMap::new(),
            wire: Vec::new(),
            weather: Weather::CALM,
            cut: BTreeSet::new(),
            now_ms: 1_000,
            random: Random(seed),
            sent: Vec::new(),
            keep_sent: false,
            truth: Truth::default(),
            next_number: 0,
            adjust,
        };
        let numbers: Vec<u64> = (1..=voters).collect();
        let snapshot =
            SnapshotMeta { configuration: Arc::new(configuration(&numbers, &[])), ..SnapshotMeta::default() };
        for number in numbers {
            cluster.add(number, Disk { snapshot: snapshot.clone(), ..Disk::default() });
        }
        cluster
    }

    /// A member with an empty volume.
    pub fn add_blank(&mut self, number: u64) {
        self.add(number, Disk::default());
    }

    pub fn add(&mut self, number: u64, disk: Disk) {
        let mut config = Config::new(id(number), 0);
        (self.adjust)(&mut config);
        let member = Member {
            id: id(number),
            config,
            raft: None,
            disk,
            writes: VecDeque::new(),
            disk_ms: Some(1),
            state: State::new(),
            applied: Index(0),
            received: Vec::new(),
            ready_reads: BTreeMap::new(),
            failed_reads: BTreeSet::new(),
            dropped: Vec::new(),
            removed: None,
            roles: Vec::new(),
            apply_stalls: false,
            pending_apply: VecDeque::new(),
        };
        self.members.insert(id(number), member);
        self.start(number);
    }

    pub fn start(&mut self, number: u64) {
        let now = self.now();
        let seed = self.random.next();
        let member = self.members.get_mut(&id(number)).expect("known");
        member.config.seed = seed;
        let Disk { hard_state, entries, snapshot, state } = member.disk.clone();
        member.state = state;
        member.applied = snapshot.last.index;
        let restored = Restored { hard_state, snapshot, entries };
        member.raft = Some(Raft::new(member.config.clone(), restored, now).expect("the disk is whole"));
        self.drain(id(number));
    }

    /// What was not written is lost.
    pub fn crash(&mut self, number: u64) {
        let member = self.members.get_mut(&id(number)).expect("known");
        member.raft = None;
        member.writes.clear();
        member.received.clear();
        member.pending_apply.clear();
        member.ready_reads.clear();
    }

    pub fn restart(&mut self, number: u64) {
        self.crash(number);
        self.start(number);
    }

    pub fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.now_ms), wall_ms: 1_700_000_000_000 + self.now_ms }
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

    /// Something happens to a member's core, and it says what to do.
    pub fn with<T>(&mut self, number: u64, act: impl FnOnce(&mut Raft, Now) -> T) -> T {
        let now = self.now();
        let outcome = act(self.member_mut(number).raft.as_mut().expect("runs"), now);
        self.drain(id(number));
        outcome
    }

    /// The leader of the latest term, if it runs.
    pub fn leader(&self) -> Option<u64> {
        let rafts = self.members.values().filter_map(|member| member.raft.as_ref().map(|raft| (member.id.0, raft)));
        let leaders = rafts.filter(|(_, raft)| raft.soft_state().role == Role::Leader);
        leaders.max_by_key(|(_, raft)| raft.soft_state().term).map(|(number, _)| number)
    }

    /// Lets time pass.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step_ms();
        }
    }

    /// Lets time pass until the condition holds; fails after `patience_ms`.
    #[track_caller]
    pub fn until(&mut self, what: &str, patience_ms: u64, condition: impl Fn(&Self) -> bool) {
        let end = self.now_ms + patience_ms;
        while !condition(self) {
            assert!(self.now_ms < end, "{what}: not within {patience_ms} ms\n{}", self.portrait());
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

    /// Makes a certain member leader.
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
        raft.snapshot_meta(raft.commit()).is_some_and(|meta| meta.last.term == raft.soft_state().term)
    }

    /// Proposes at a member; the name of the proposal and its content.
    pub fn propose(&mut self, number: u64) -> Option<Vec<u8>> {
        let (proposal, content) = self.fresh_proposal();
        let payload = Payload::Normal(content.clone().into());
        self.with(number, |raft, now| raft.propose(now, vec![(proposal, payload)])).ok().map(|()| content)
    }

    pub fn fresh_proposal(&mut self) -> (ProposalId, Vec<u8>) {
        self.next_number += 1;
        let proposal = ProposalId(self.next_number);
        let content = format!("p{}", self.next_number).into_bytes();
        self.truth.proposals.insert(proposal, content.clone());
        (proposal, content)
    }

    pub fn read(&mut self, number: u64) -> ReadContext {
        self.next_number += 1;
        let context = ReadContext(self.next_number);
        self.truth.reads.insert(context, self.truth.commit);
        self.with(number, |raft, now| raft.read(now, context));
        context
    }

    pub fn has_applied(&self, number: u64, content: &[u8]) -> bool {
        self.member(number).state.iter().any(|(_, applied)| applied == content)
    }

    pub fn change(&mut self, voters: &[u64], learners: &[u64]) -> Result<Index, raft::ChangeError> {
        let leader = self.leader().expect("leads");
        let expected = self.raft(leader).configuration().1;
        self.with(leader, |raft, now| raft.change(now, wish(expected, voters, learners)))
    }

    /// Changes membership, patiently.
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
            assert!(self.now_ms < end, "reconfiguration: {outcome:?}\n{}", self.portrait());
            self.run_ms(20);
        }
    }

    pub fn cut_off(&mut self, number: u64) {
        let others: Vec<MemberId> = self.members.keys().copied().collect();
        for other in others {
            self.cut.insert((id(number), other));
            self.cut.insert((other, id(number)));
        }
    }

    pub fn cut_link(&mut self, one: u64, two: u64) {
        self.cut.insert((id(one), id(two)));
        self.cut.insert((id(two), id(one)));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.weather = Weather::CALM;
        let numbers: Vec<u64> = self.members.keys().map(|id| id.0).collect();
        for number in numbers {
            self.member_mut(number).disk_ms = Some(1);
            self.member_mut(number).apply_stalls = false;
            if !self.runs(number) && self.member(number).removed.is_none() {
                self.start(number);
            }
        }
    }

    /// A message that the test itself makes up.
    pub fn inject(&mut self, from: u64, to: u64, message: Message) {
        self.deliver(Envelope { from: id(from), to: id(to), message, at_ms: self.now_ms, snapshot: None });
    }

    /// One line per member.
    pub fn portrait(&self) -> String {
        let mut lines = format!("t={} ms, {} on the wire, cut {:?}\n", self.now_ms, self.wire.len(), self.cut);
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

    /// One millisecond: writes finish, messages arrive, time-outs fire.
    fn step_ms(&mut self) {
        self.now_ms += 1;
        let numbers: Vec<u64> = self.members.keys().map(|id| id.0).collect();
        for number in &numbers {
            self.finish_writes(*number);
            self.apply(*number);
        }
        let (due, later) =
            std::mem::take(&mut self.wire).into_iter().partition(|envelope| envelope.at_ms <= self.now_ms);
        self.wire = later;
        let due: Vec<Envelope> = due;
        for envelope in due {
            self.deliver(envelope);
        }
        for number in numbers {
            let is_due = self.member(number).raft.as_ref().is_some_and(|raft| raft.deadline() <= self.now().monotonic);
            if is_due {
                self.with(number, Raft::tick);
                let deadline = self.member(number).raft.as_ref().map(Raft::deadline);
                assert!(deadline.is_none_or(|at| at > self.now().monotonic), "a tick deals with everything due");
            }
        }
    }

    fn finish_writes(&mut self, number: u64) {
        let now_ms = self.now_ms;
        let member = self.member_mut(number);
        if member.raft.is_none() || member.disk_ms.is_none() {
            return;
        }
        let mut done = None;
        while let Some((_, write)) = member.writes.front().cloned().filter(|(at_ms, _)| *at_ms <= now_ms) {
            member.writes.pop_front();
            done = Some(member.disk.perform(write));
        }
        if let Some(io) = done {
            self.with(number, |raft, now| raft.persisted(now, io));
        }
    }

    fn apply(&mut self, number: u64) {
        let member = self.member_mut(number);
        if member.apply_stalls || member.pending_apply.is_empty() {
            return;
        }
        for entry in std::mem::take(&mut member.pending_apply) {
            assert_eq!(entry.id.index, member.applied.next(), "entries are applied in order, without a gap");
            member.applied = entry.id.index;
            if let Payload::Normal(content) = &entry.payload {
                member.state.push((entry.id.index, content.to_vec()));
            }
        }
        let applied = member.applied;
        self.with(number, |raft, now| raft.applied(now, applied));
    }

    pub fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message, snapshot, .. } = envelope;
        if self.cut.contains(&(from, to)) {
            return;
        }
        let Some(member) = self.members.get_mut(&to).filter(|member| member.raft.is_some()) else { return };
        if let (Body::InstallSnapshot(meta), Some(state)) = (&message.body, snapshot) {
            member.received.push((from, meta.clone(), state));
            let sender = from.0;
            self.with(to.0, |raft, now| raft.step(now, from, message));
            if self.members.contains_key(&from) && self.runs(sender) {
                self.with(sender, |raft, now| raft.snapshot_sent(now, to, Ok(())));
            }
            return;
        }
        self.with(to.0, |raft, now| raft.step(now, from, message));
    }

    /// Does what a core asks for.
    fn drain(&mut self, at: MemberId) {
        loop {
            let member = self.members.get_mut(&at).expect("known");
            let Some(raft) = member.raft.as_mut() else { return };
            let Some(output) = raft.next_output() else { break };
            self.perform(at, output);
        }
        let raft = self.members[&at].raft.as_ref().expect("runs");
        self.truth.saw(at, raft);
    }

    fn perform(&mut self, at: MemberId, output: Output) {
        let now_ms = self.now_ms;
        let member = self.members.get_mut(&at).expect("known");
        match output {
            Output::Persist(persist) => {
                let done_ms = now_ms + member.disk_ms.unwrap_or(0);
                member.writes.push_back((done_ms, Write::Log(persist)));
            }
            Output::Send { to, message } => self.send(at, to, message),
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(at, to, term, at_least),
            Output::InstallSnapshot { io, from, hard_state, meta } => {
                let place = member.received.iter().position(|(sender, got, _)| *sender == from && *got == meta);
                let (_, _, state) = member.received.remove(place.expect("only what was received is installed"));
                member.pending_apply.clear();
                member.state.clone_from(&state);
                member.applied = meta.last.index;
                let done_ms = now_ms + member.disk_ms.unwrap_or(0);
                member.writes.push_back((done_ms, Write::Install { io, hard_state, meta, state }));
            }
            Output::DiscardSnapshot { from, last } => {
                member.received.retain(|(sender, meta, _)| *sender != from || meta.last != last);
            }
            Output::Apply(entries) => {
                self.truth.applies(&entries);
                let member = self.members.get_mut(&at).expect("known");
                member.pending_apply.extend(entries);
            }
            Output::ReadReady { context, index } => {
                self.truth.reads_at(context, index);
                member.ready_reads.insert(context, index);
            }
            Output::ReadFailed { context } => {
                member.failed_reads.insert(context);
            }
            Output::Dropped { proposal, reason } => {
                self.truth.drops(proposal);
                let member = self.members.get_mut(&at).expect("known");
                member.dropped.push((proposal, reason));
            }
            Output::SnapshotDue { index } => member.snapshot(index),
            Output::Changed(state) => {
                member.roles.push((state.role, state.term));
                if state.role == Role::Leader {
                    self.truth.leads(at, state.term);
                }
            }
            Output::Removed { index } => member.removed = Some(index),
        }
    }

    fn send(&mut self, from: MemberId, to: MemberId, message: Message) {
        if let Body::VoteReply { granted: true } = message.body {
            self.truth.votes(from, message.term, to);
        }
        let copies = if self.random.percent(self.weather.loss) {
            0
        } else if self.random.percent(self.weather.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let at_ms = self.now_ms + 1 + self.random.below(self.weather.delay_ms_max);
            let envelope = Envelope { from, to, message: message.clone(), at_ms, snapshot: None };
            if self.keep_sent {
                self.sent.push(envelope.clone());
            }
            self.wire.push(envelope);
        }
    }

    fn send_snapshot(&mut self, from: MemberId, to: MemberId, term: Term, at_least: Index) {
        let member = &self.members[&from];
        let (meta, state) = (member.disk.snapshot.clone(), member.disk.state.clone());
        assert!(meta.last.index >= at_least, "the newest snapshot helps");
        let lost = self.random.percent(self.weather.loss) || self.cut.contains(&(from, to));
        let at_ms = self.now_ms + 5 + self.random.below(self.weather.delay_ms_max);
        if lost {
            // The driver would notice later; the pause in the core makes the difference small.
            let now = self.now();
            let raft = self.members.get_mut(&from).and_then(|member| member.raft.as_mut());
            raft.expect("it just spoke").snapshot_sent(now, to, Err(()));
            return;
        }
        let message = Message { term, body: Body::InstallSnapshot(meta) };
        let envelope = Envelope { from, to, message, at_ms, snapshot: Some(state) };
        if self.keep_sent {
            self.sent.push(envelope.clone());
        }
        self.wire.push(envelope);
    }
}

impl Member {
    /// Takes a snapshot at once.
    pub fn snapshot(&mut self, index: Index) {
        let raft = self.raft.as_mut().expect("runs");
        let meta = raft.snapshot_meta(index).expect("applied and in the log");
        let state = self.state.iter().filter(|(at, _)| *at <= index).cloned().collect();
        self.disk.snapshot = meta;
        self.disk.state = state;
        let first = raft.snapshot_taken(index);
        self.disk.entries.retain(|entry| entry.id.index >= first);
    }
}

impl Disk {
    fn perform(&mut self, write: Write) -> IoId {
        match write {
            Write::Log(Persist { io, hard_state, entries }) => {
                if let Some(hard_state) = hard_state {
                    self.hard_state = hard_state;
                }
                if let Some(first) = entries.first().map(|entry| entry.id.index) {
                    self.entries.retain(|entry| entry.id.index < first);
                    let last = self.entries.last().map_or(self.snapshot.last.index, |entry| entry.id.index);
                    assert!(first <= last.next(), "writes leave no gap: {first} after {last}");
                }
                self.entries.extend(entries);
                io
            }
            Write::Install { io, hard_state, meta, state } => {
                if let Some(hard_state) = hard_state {
                    self.hard_state = hard_state;
                }
                self.entries.clear();
                self.snapshot = meta;
                self.state = state;
                io
            }
        }
    }
}

impl Truth {
    /// Election safety: at most one leader per term (Raft thesis figure 3.2).
    fn leads(&mut self, at: MemberId, term: Term) {
        let leader = self.leaders.entry(term).or_insert(at);
        assert_eq!(*leader, at, "two leaders in term {term}");
    }

    /// One vote per term, across restarts.
    fn votes(&mut self, at: MemberId, term: Term, candidate: MemberId) {
        let vote = self.votes.entry((at, term)).or_insert(candidate);
        assert_eq!(*vote, candidate, "{at} voted twice in term {term}");
    }

    /// State machine safety: nobody applies another entry at the same index (Raft thesis figure 3.2).
    fn applies(&mut self, entries: &[Entry]) {
        for entry in entries {
            let content = match &entry.payload {
                Payload::Normal(content) => content.to_vec(),
                other => format!("{other:?}").into_bytes(),
            };
            let applied = (entry.id.term, entry.time_ms, content.clone());
            let first = self.committed.entry(entry.id.index).or_insert_with(|| applied.clone());
            assert_eq!(*first, applied, "index {} is applied twice, differently", entry.id.index);
            if let Payload::Normal(_) = &entry.payload {
                assert!(!self.dropped.contains(&content), "what was dropped has not happened");
                let other = self.committed.range(..entry.id.index).next_back();
                assert!(
                    other.is_none_or(|(_, (_, time_ms, _))| *time_ms < entry.time_ms),
                    "time stamps grow along the log"
                );
                self.happened.insert(content);
            }
            self.commit = self.commit.max(entry.id.index);
        }
    }

    fn drops(&mut self, proposal: ProposalId) {
        if let Some(content) = self.proposals.get(&proposal) {
            assert!(!self.happened.contains(content), "what happened is not dropped");
            self.dropped.insert(content.clone());
        }
    }

    /// A read sees at least what was committed when it began.
    fn reads_at(&mut self, context: ReadContext, index: Index) {
        let began = self.reads[&context];
        assert!(index >= began, "read {context} at {index}, but {began} was committed when it began");
    }

    fn saw(&mut self, _at: MemberId, raft: &Raft) {
        let commit = raft.commit();
        self.commit = self.commit.max(commit);
    }

    /// How often each content was applied at most: exactly once, ever.
    pub fn assert_each_once(&self) {
        let mut seen = BTreeSet::new();
        for (index, (_, _, content)) in &self.committed {
            if content.starts_with(b"p") {
                assert!(seen.insert(content), "{} happened twice, again at {index}", String::from_utf8_lossy(content));
            }
        }
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

pub fn entry(term: u64, index: u64) -> Entry {
    let content = format!("e{term}.{index}").into_bytes();
    Entry { id: entry_id(term, index), time_ms: index, payload: Payload::Normal(content.into()) }
}

pub fn entry_id(term: u64, index: u64) -> EntryId {
    EntryId { term: Term(term), index: Index(index) }
}
