//! A whole cluster in one thread under one seed: shipped cores, each behind a driver that carries out its outputs against a
//! simulated disk, network and clock. Owns the order of events and the life of members; every step is checked against all
//! invariants before its outputs leave.

pub mod client;
pub mod command;
pub mod lessor;
pub mod machine;
pub mod member;
pub mod operator;
pub mod perform;
pub mod profile;
pub mod record;
pub mod run;
pub mod sabotage;
pub mod sweep;
pub mod take;
pub mod totals;
pub mod trace;
pub mod version;
pub mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{Config, Configuration, MemberId, MemberInfo, Raft, Role, SnapshotMeta, Term};

use crate::cluster::simulated::client::{Asked, Clients};
use crate::cluster::simulated::command::{Command, OperationId};
use crate::cluster::simulated::machine::Machine;
use crate::cluster::simulated::member::{Input, Member, Process, State};
use crate::cluster::simulated::operator::Operator;
use crate::cluster::simulated::profile::Profile;
use crate::cluster::simulated::record::Record;
use crate::cluster::simulated::sabotage::Sabotage;
use crate::cluster::simulated::totals::Totals;
use crate::cluster::simulated::trace::Trace;
use crate::fault::{self, Fault, Faults};
use crate::invariant::{Checked, Disks, Invariants, Violation};
use crate::world::agenda::Agenda;
use crate::world::clock::{Clock, TRUE_RATE};
use crate::world::disk::{Breakage, Disk, Misdirection, Reading};
use crate::world::network::Network;
use crate::world::seed::{Random, Seed};
use crate::world::trace_hash::TraceHash;

/// Something that happens.
#[derive(Debug)]
enum Event {
    /// A member takes notice of something; void if it started anew since.
    Input { to: MemberId, start: Option<u64>, input: Input },
    /// The last byte of a snapshot is at the receiver's door.
    Snapshot(Box<Transfer>),
    /// A member starts.
    Start(MemberId),
    /// A member that stood still goes on.
    Resume(MemberId),
    /// A client begins something.
    Client(usize),
    /// A client's patience ends.
    Patience(OperationId),
    /// The operator looks at the cluster.
    Operator,
    /// The operator asks a member that was elected just now.
    Hasty(MemberId),
    /// A fault strikes.
    Strike(Fault),
    /// Somebody wanted to look at this time.
    Look,
}

/// A snapshot under way.
#[derive(Debug)]
struct Transfer {
    from: MemberId,
    start: u64,
    to: MemberId,
    /// Counted per sender's start and receiver.
    number: u64,
    term: Term,
    meta: SnapshotMeta,
    image: Bytes,
}

/// What a run is made of besides its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may go wrong.
    pub faults: Faults,
    /// A planted bug.
    pub sabotage: Option<Sabotage>,
    /// Steps before all faults are lifted.
    pub steps: u64,
    /// Last lines of what happened that a failed run shows.
    pub trace: usize,
    /// Lines for TLC that are recorded, at most; 0: none.
    pub record: usize,
    /// What kind of a run it is; `None`: the seed draws it.
    pub profile: Option<Profile>,
    /// The output after which whoever asked for it crashes, counted from 1 over the whole run.
    pub crash_after: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: Faults::all(),
            sabotage: None,
            steps: 6_000,
            trace: 80,
            record: 0,
            profile: None,
            crash_after: None,
        }
    }
}

/// A cluster and everything around it.
#[derive(Debug)]
pub struct Simulated {
    pub(crate) profile: Profile,
    pub(crate) random: Random,
    agenda: Agenda<Event>,
    pub(crate) network: Network,
    pub(crate) disks: Disks,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) clients: Clients,
    pub(crate) operator: Operator,
    pub(crate) invariants: Invariants,
    pub(crate) totals: Totals,
    trace: Trace,
    seed: Seed,
    trace_hash: TraceHash,
    pub(crate) record: Option<Record>,
    sabotage: Option<Sabotage>,
    crash_after: Option<u64>,
    is_healing: bool,
    /// Clients begin nothing new.
    is_quiet: bool,
}

impl Event {
    /// Its kind in the trace hash: a number of its own for each, never used again for another.
    fn kind(&self) -> (u64, u64) {
        match self {
            Self::Input { to, input, .. } => (input.kind(), to.0),
            Self::Snapshot(transfer) => (1, transfer.to.0),
            Self::Start(id) => (2, id.0),
            Self::Resume(id) => (3, id.0),
            Self::Client(client) => (4, *client as u64),
            Self::Patience(operation) => (5, operation.0),
            Self::Operator => (6, 0),
            Self::Hasty(leader) => (7, leader.0),
            Self::Strike(fault) => (8, *fault as u64),
            Self::Look => (9, 0),
        }
    }
}

impl Simulated {
    /// A fresh cluster, its first members about to start.
    ///
    /// # Errors
    /// A member violated something by starting.
    pub fn new(seed: Seed, options: &Options) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let mut profile = options.profile.clone().unwrap_or_else(|| Profile::draw(&mut random, &options.faults));
        let voters: BTreeSet<MemberId> = (1..=profile.voters).map(MemberId).collect();
        let record = (options.record > 0).then(|| {
            // What is recorded is one input at a time.
            profile.batch = Duration::ZERO;
            // The specification knows clusters that ask before they campaign, and clusters that do not.
            if let Some(older) = &mut profile.older {
                older.config.pre_vote = profile.config.pre_vote;
            }
            Record::of(voters.clone(), profile.config.pre_vote, options.record)
        });
        let mut cluster = Self {
            agenda: Agenda::default(),
            network: Network::new(profile.weather),
            disks: BTreeMap::new(),
            members: BTreeMap::new(),
            clients: Clients::new(profile.clients),
            operator: Operator::new(&profile),
            invariants: Invariants::default(),
            totals: Totals { seeds: 1, ..Totals::default() },
            trace: Trace::keeping(options.trace),
            seed,
            trace_hash: TraceHash::default(),
            record,
            sabotage: options.sabotage,
            crash_after: options.crash_after,
            is_healing: false,
            is_quiet: false,
            random,
            profile,
        };
        cluster.note(|| format!("seed {seed}: {:?}", cluster_summary(options)));
        let members = voters.iter().map(|id| (*id, info(*id))).collect();
        let bootstrap = Arc::new(Configuration { voters: voters.clone(), members, ..Configuration::default() });
        for id in voters {
            cluster.add_member(id, Arc::clone(&bootstrap))?;
        }
        cluster.plan_first_events();
        Ok(cluster)
    }

    fn plan_first_events(&mut self) {
        for client in 0..self.profile.clients {
            self.agenda.after(self.profile.think.1, Event::Client(client));
        }
        // Whoever may lose members needs somebody to replace them.
        let operated = [Fault::Churn, Fault::Wipe, Fault::Transfer, Fault::Rot, Fault::Misdirect];
        if operated.into_iter().any(|fault| self.profile.faults.include(fault)) {
            self.agenda.after(self.profile.calm, Event::Operator);
        }
        for fault in Fault::ALL {
            if !self.profile.faults.include(fault) {
                continue;
            }
            let wait = self.until_next_strike();
            self.agenda.after(wait, Event::Strike(fault));
        }
    }

    /// Notes a line of the trace.
    pub(crate) fn note_line(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.agenda.now(), line);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.note_line(line);
    }

    /// True time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.agenda.now()
    }

    /// The next thing happens.
    ///
    /// # Errors
    /// Something happened that must not.
    pub fn step(&mut self) -> Checked {
        let Some(event) = self.agenda.take_next() else { return Ok(()) };
        let (kind, whose) = event.kind();
        self.trace_hash.add(self.agenda.now(), kind, &whose);
        match event {
            Event::Input { to, start, input } => self.deliver(to, start, input),
            Event::Snapshot(transfer) => self.end_transfer(*transfer),
            Event::Start(id) => self.start(id),
            Event::Resume(id) => self.resume(id),
            Event::Client(client) => {
                self.client_acts(client);
                Ok(())
            }
            Event::Patience(operation) => {
                let client = self.clients.give_up(operation);
                self.free(client);
                Ok(())
            }
            Event::Operator => self.operator_looks(),
            Event::Hasty(leader) => self.operator_asks(leader),
            Event::Strike(fault) => self.strike(fault),
            Event::Look => Ok(()),
        }
    }

    fn deliver(&mut self, to: MemberId, start: Option<u64>, input: Input) -> Checked {
        let Some(member) = self.members.get_mut(&to) else { return Ok(()) };
        if !member.is_up() || start.is_some_and(|start| start != member.start) {
            return Ok(());
        }
        if let Some(backlog) = &mut member.paused {
            backlog.push(input);
            return Ok(());
        }
        self.take(to, input)
    }

    // The life of members.

    /// A new member with an empty disk, but for the configuration it was bootstrapped with, starts.
    pub(crate) fn add_member(&mut self, id: MemberId, bootstrap: Arc<Configuration>) -> Checked {
        let meta = SnapshotMeta { configuration: Arc::clone(&bootstrap), ..SnapshotMeta::default() };
        self.disks.insert(id, Disk::bootstrapped(id, meta, Machine::default().image()));
        self.invariants.ledger.welcome(id, bootstrap);
        let origin = self.random.time(Duration::ZERO, Duration::from_secs(3_600));
        self.members.insert(id, Member::new(id, Clock::started(self.agenda.now(), origin, TRUE_RATE)));
        self.start(id)
    }

    pub(crate) fn start(&mut self, id: MemberId) -> Checked {
        if !matches!(self.members[&id].state, State::Down) {
            return Ok(());
        }
        let now = self.agenda.now();
        if self.read_fails(id) {
            if self.sabotage == Some(Sabotage::StartsEmptyWhenUnreadable) {
                self.empty_disk(id);
            } else {
                self.plan_start(id);
                return Ok(());
            }
        }
        let version = self.profile.version(&mut self.random);
        let config = Config { id, seed: self.random.number(), ..version.config };
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        let restored = match disk.recover(self.sabotage.map_or(Reading::Sound, Sabotage::reading)) {
            Ok(restored) => restored,
            Err(ailment) => {
                self.trace.note(now, || format!("{id} refuses its disk: {ailment:?}"));
                self.destroy(id);
                return Ok(());
            }
        };
        let machine = Machine::from_image(&disk.durable().image);
        let disk = &self.disks[&id];
        self.trace.note(now, || {
            let contents = disk.durable();
            format!(
                "{id} starts: {:?}, snapshot {}, log to {}",
                contents.hard_state,
                contents.snapshot.last,
                contents.last()
            )
        });
        self.invariants.started(disk)?;
        let clock = &self.members[&id].clock;
        let raft = Raft::new(config, restored, clock.read(now))
            .map_err(|error| Violation { invariant: "a disk can be read again", seen: format!("{id}: {error}") })?;
        let member = self.members.get_mut(&id).expect("looked at above");
        member.start += 1;
        member.state = State::Up(Box::new(Process::new(raft, machine, version.unknown)));
        self.settle(id)
    }

    /// A member loses its memory and what it had not synced; it starts again later.
    pub(crate) fn crash(&mut self, id: MemberId) -> Checked {
        let member = self.members.get_mut(&id).expect("only members crash");
        if !member.is_up() {
            return Ok(());
        }
        (member.state, member.paused) = (State::Down, None);
        self.totals.crashes += 1;
        let breakage = self.sabotage.map_or(Breakage::Sound, Sabotage::breakage);
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        disk.crash(&mut self.random, breakage);
        if let Some(record) = &mut self.record {
            record.crashed(id, disk.durable());
        }
        self.invariants.synced(disk)?;
        self.note(|| format!("{id} crashes"));
        self.plan_start(id);
        Ok(())
    }

    /// A member that is down is tried again after a while.
    fn plan_start(&mut self, id: MemberId) {
        let (low, high) = self.profile.downtime;
        let downtime = self.random.time(low, high);
        self.note(|| format!("{id} is to start in {downtime:?}"));
        self.agenda.after(downtime, Event::Start(id));
    }

    /// Whether a member's disk answers this read with an error.
    pub(crate) fn read_fails(&mut self, id: MemberId) -> bool {
        let fails = self.agenda.now() < self.members[&id].unreadable_until;
        if fails {
            self.totals.failed_reads += 1;
            self.note(|| format!("{id} cannot read its disk"));
        }
        fails
    }

    /// A member starts anew under its old name, its disk as it was at the very first start; only a planted bug does.
    pub(crate) fn restart_empty(&mut self, id: MemberId) -> Checked {
        self.crash(id)?;
        self.empty_disk(id);
        self.start(id)
    }

    /// A disk is as it was at the very first start; only planted bugs do that.
    fn empty_disk(&mut self, id: MemberId) {
        let bootstrap = Arc::clone(self.invariants.ledger.ghost(id).blank());
        let meta = SnapshotMeta { configuration: bootstrap, ..SnapshotMeta::default() };
        self.disks.insert(id, Disk::bootstrapped(id, meta, Machine::default().image()));
    }

    /// The planted bug.
    pub(crate) fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    /// A member is no more, and neither is its disk.
    pub(crate) fn destroy(&mut self, id: MemberId) {
        self.note(|| format!("{id} is destroyed with its disk"));
        let member = self.members.get_mut(&id).expect("only members are destroyed");
        (member.state, member.paused) = (State::Gone, None);
        self.disks.get_mut(&id).expect("every member has a disk").lose();
    }

    /// A member stands still for a while, with all that arrives for it waiting.
    pub(crate) fn pause(&mut self, id: MemberId, span: Duration) {
        let member = self.members.get_mut(&id).expect("only members pause");
        if member.is_up() && member.paused.is_none() {
            member.paused = Some(Vec::new());
            self.note(|| format!("{id} stands still for {span:?}"));
            self.agenda.after(span, Event::Resume(id));
        }
    }

    fn resume(&mut self, id: MemberId) -> Checked {
        let member = self.members.get_mut(&id).expect("only members resume");
        let start = member.start;
        for input in member.paused.take().unwrap_or_default() {
            self.deliver(id, Some(start), input)?;
        }
        Ok(())
    }

    /// Plans an input for a member; void if it starts anew before.
    fn plan(&mut self, to: MemberId, delay: Duration, input: Input) {
        let start = Some(self.members[&to].start);
        self.agenda.after(delay, Event::Input { to, start, input });
    }

    // Clients.

    fn client_acts(&mut self, client: usize) {
        if self.is_quiet {
            return;
        }
        let now_up: Vec<MemberId> = self.reachable_members();
        if now_up.is_empty() {
            self.free(Some(client));
            return;
        }
        let at = *self.random.pick(&now_up);
        let burst = if self.random.chance(100_000) { self.random.between(1, 5) } else { 0 };
        let mut commands = Vec::new();
        for place in 0..=burst {
            let waits = (place == 0).then_some(client);
            let (operation, asked) = self.clients.begin(&mut self.random, waits, at, self.profile.keys);
            self.agenda.after(self.profile.patience, Event::Patience(operation));
            match asked {
                Asked::Command(action) => {
                    let padding = self.random.between(0, self.profile.padding) as usize;
                    commands.push((operation, Command { operation, action }.encode(padding)));
                }
                Asked::Read(_) => self
                    .agenda
                    .after(Duration::ZERO, Event::Input { to: at, start: None, input: Input::Read { operation } }),
            }
        }
        if !commands.is_empty() {
            let input = Input::Propose { commands };
            self.agenda.after(Duration::ZERO, Event::Input { to: at, start: None, input });
        }
    }

    /// Whom clients ask: anybody who runs, and once all is healed, as by a Service, only those who take part.
    fn reachable_members(&self) -> Vec<MemberId> {
        let running = self.members.values().filter(|member| member.is_up()).map(|member| member.id);
        match self.invariants.ledger.committed_configuration().filter(|_| self.is_healing) {
            Some((_, part)) => running.filter(|id| part.voters.contains(id) || part.learners.contains(id)).collect(),
            None => running.collect(),
        }
    }

    /// A client that waits no longer thinks of something else to do.
    fn free(&mut self, client: Option<usize>) {
        if let Some(client) = client {
            let (low, high) = self.profile.think;
            let think = self.random.time(low, high);
            self.agenda.after(think, Event::Client(client));
        }
    }

    // Faults.

    fn until_next_strike(&mut self) -> Duration {
        let calm = self.profile.calm;
        self.random.time(calm / 8, calm * 2)
    }

    fn strike(&mut self, fault: Fault) -> Checked {
        if self.is_healing {
            return Ok(());
        }
        match fault {
            Fault::Crash => fault::crash::strike(self)?,
            Fault::Partition => fault::partition::strike(self),
            Fault::Pause => fault::pause::strike(self),
            Fault::Stall => fault::disk::stall(self),
            Fault::Wipe => fault::disk::wipe(self)?,
            Fault::SyncError => fault::disk::fail_sync(self),
            Fault::NoSpace => fault::disk::fill(self),
            Fault::ReadError => fault::disk::fail_reads(self)?,
            Fault::Rot => fault::disk::ail(self, Misdirection::No)?,
            Fault::Misdirect => fault::disk::ail(self, Misdirection::Yes)?,
            Fault::Clock => fault::clock::strike(self),
            Fault::Transfer => fault::membership::transfer(self),
            Fault::MixedVersions => fault::version::strike(self)?,
            // The network's doing, and the operator's.
            Fault::Loss | Fault::Delay | Fault::Duplication | Fault::Churn => return Ok(()),
        }
        let wait = self.until_next_strike();
        self.agenda.after(wait, Event::Strike(fault));
        Ok(())
    }

    /// Asks a member for something, now.
    pub(crate) fn ask(&mut self, id: MemberId, input: Input) {
        self.plan(id, Duration::ZERO, input);
    }

    /// Every running member that takes itself for the leader.
    pub(crate) fn leaders(&self) -> Vec<MemberId> {
        let running = self.members.values().filter_map(|member| Some((member.id, member.process()?)));
        running.filter(|(_, process)| process.raft.soft_state().role == Role::Leader).map(|(id, _)| id).collect()
    }

    /// Ends all faults: everything is connected, runs and is quick again; what is destroyed stays so.
    pub(crate) fn lift_all_faults(&mut self) -> Checked {
        self.note(|| "all faults are lifted".to_owned());
        self.is_healing = true;
        self.profile.heal();
        self.network.mend();
        self.network.weather = self.profile.weather;
        let now = self.agenda.now();
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("listed just now");
            member.clock.set_rate(now, TRUE_RATE);
            member.clock.correct_wall();
            (member.stalled_until, member.full_until) = (Duration::ZERO, Duration::ZERO);
            (member.sync_fails, member.unreadable_until) = (false, Duration::ZERO);
            self.resume(id)?;
            self.start(id)?;
        }
        self.operator.heal();
        self.agenda.after(Duration::ZERO, Event::Operator);
        Ok(())
    }

    /// Clients begin nothing new.
    pub(crate) fn quiet(&mut self) {
        self.is_quiet = true;
    }

    /// Clients begin anew.
    pub(crate) fn wake_clients(&mut self) {
        self.is_quiet = false;
        for client in 0..self.profile.clients {
            self.free(Some(client));
        }
    }

    /// Writes at one member that no client waits for, over many registers: a hundred writes to one of them, each of which may have
    /// happened at any time, are more orders than can be tried where none explains them.
    pub(crate) fn burst(&mut self, at: MemberId, count: u64) {
        for _ in 0..count {
            let (operation, asked) = self.clients.begin(&mut self.random, None, at, self.profile.keys + 8 * count);
            if let Asked::Command(action) = asked {
                let commands = vec![(operation, Command { operation, action }.encode(0))];
                self.agenda
                    .after(Duration::ZERO, Event::Input { to: at, start: None, input: Input::Propose { commands } });
            }
        }
    }

    /// What is left of it when it is over.
    pub(crate) fn into_parts(mut self) -> (Totals, Clients, Vec<String>) {
        // Equal only after as many draws.
        let chance = self.random.number();
        self.trace_hash.add(self.agenda.now(), 10, &chance);
        let totals = Totals {
            time: self.agenda.now(),
            trace_hash: self.trace_hash.of_seed(self.seed.0),
            elections: self.invariants.ledger.reigns.len() as u64,
            committed: self.invariants.ledger.committed().0,
            configurations: self.invariants.ledger.configurations,
            writes: self.clients.writes,
            wide: self.clients.wide,
            expiries: self.clients.expiries,
            ..self.totals
        };
        (totals, self.clients, self.trace.into_lines())
    }

    /// Runs for so long.
    pub(crate) fn run_for(&mut self, span: Duration) -> Checked {
        let end = self.agenda.now() + span;
        self.agenda.at(end, Event::Look);
        while self.agenda.now() < end {
            self.step()?;
        }
        Ok(())
    }
}

fn cluster_summary(options: &Options) -> String {
    format!("faults among {}, planted bug {:?}", options.faults, options.sabotage)
}

/// How a simulated member is reached.
#[must_use]
pub fn info(id: MemberId) -> MemberInfo {
    MemberInfo {
        name: format!("demo-{id}"),
        peer_url: format!("http://demo-{id}:2380"),
        client_url: format!("http://demo-{id}:2379"),
    }
}
