//! A cluster of whole members in one thread under one seed. The driver, log writer, storage format, applier, store and
//! wire format are the shipped code. The disks are in memory and may lose unsynced writes when their power fails;
//! network and clocks are simulated. Owns the order of events and the lifecycle of members.
//!
//! [`crate::cores`] runs the core through far more situations, behind a simulated driver; this cluster runs all code
//! between the core and a client's answer.

mod change_requests;
mod clients;
mod faults;
mod levels;
mod process;
mod repairs;
pub mod run;
mod threads;
mod wholeness;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use raft::{Config, Configuration, Index, MemberId, Role, SnapshotMeta};
use stepped_member::{QueueLimits, Settings, SnapshotContent, SnapshotDue, SnapshotTrigger};
use world::agenda::Agenda;
use world::clock::{Clock, TRUE_RATE};
use world::disk::Disk;
use world::network::Network;
use world::seed::{Random, Seed};
use world::trace_hash::TraceHash;

use crate::churn::{Operator, info};
use crate::coverage::Coverage;
use crate::fault::{Fault, Faults};
use crate::invariant::{Checked, Disks, Invariants, Violation};
use crate::members::clients::Clients;
use crate::members::levels::Levels;
use crate::members::process::{Member, State};
use crate::members::repairs::{Repairs, Source};
use crate::profile::Profile;
use crate::trace::Trace;

/// An event of a run.
#[derive(Debug)]
enum Event {
    /// The core's thread runs a turn. The event is ignored if another turn was planned meanwhile.
    Turn { id: MemberId, start: u64, number: u64 },
    /// The log's thread finishes a write.
    Write { id: MemberId, start: u64 },
    /// The apply thread runs.
    Apply { id: MemberId, start: u64 },
    /// The snapshot thread finishes.
    Snapshot { id: MemberId, start: u64 },
    /// A message arrives.
    Frame { from: MemberId, to: MemberId, bytes: Bytes },
    /// The last byte of a snapshot arrives.
    Transfer { from: MemberId, start: u64, due: SnapshotDue, carried: Box<SnapshotContent> },
    /// A sender learns the outcome of its snapshot transfer.
    Sent { id: MemberId, start: u64, to: MemberId, number: u64, arrived: Result<(), ()> },
    /// A sender notices that a connection broke.
    Unreachable { id: MemberId, start: u64, to: MemberId },
    /// A member asks the other voters whether they know of its removal.
    VerifyRemoval { id: MemberId, start: u64 },
    /// A member that is stopping no longer waits for its leadership transfer.
    Stop { id: MemberId, start: u64 },
    /// A member starts.
    Start(MemberId),
    /// A member whose log is damaged looks for a leader, or gets the log of one.
    Repair { id: MemberId, start: u64, from: Option<Source> },
    /// A client begins an operation.
    Client(usize),
    /// The operator makes a pass.
    Operator,
    /// A fault strikes.
    Strike(Fault),
    /// Advances the time and does nothing else.
    Look,
}

impl Event {
    /// The member that handles the event; `None` if the event is not for one member's threads.
    fn whose(&self) -> Option<MemberId> {
        match self {
            Self::Turn { id, .. }
            | Self::Write { id, .. }
            | Self::Apply { id, .. }
            | Self::Snapshot { id, .. }
            | Self::Sent { id, .. }
            | Self::Stop { id, .. }
            | Self::VerifyRemoval { id, .. }
            | Self::Unreachable { id, .. } => Some(*id),
            Self::Frame { to, .. } | Self::Transfer { due: SnapshotDue { to, .. }, .. } => Some(*to),
            Self::Start(_) | Self::Repair { .. } | Self::Client(_) => None,
            Self::Operator | Self::Strike(_) | Self::Look => None,
        }
    }
}

impl Event {
    /// Returns two numbers for the trace hash: the number of the event's kind, and the number of the member, client or
    /// fault that the event concerns. The number of a kind is never reused for another kind.
    fn kind(&self) -> (u64, u64) {
        match self {
            Self::Turn { id, .. } => (1, id.0),
            Self::Write { id, .. } => (2, id.0),
            Self::Apply { id, .. } => (3, id.0),
            Self::Snapshot { id, .. } => (4, id.0),
            Self::Frame { to, .. } => (5, to.0),
            Self::Transfer { from, .. } => (6, from.0),
            Self::Sent { id, .. } => (7, id.0),
            Self::Unreachable { id, .. } => (8, id.0),
            Self::Stop { id, .. } => (9, id.0),
            Self::Start(id) => (10, id.0),
            Self::Client(client) => (11, *client as u64),
            Self::Operator => (12, 0),
            Self::Strike(fault) => (13, *fault as u64),
            Self::Look => (14, 0),
            Self::VerifyRemoval { id, .. } => (15, id.0),
            Self::Repair { id, .. } => (16, id.0),
        }
    }
}

/// A cluster and its simulated surroundings.
#[derive(Debug)]
pub struct MemberCluster {
    profile: Profile,
    random: Random,
    agenda: Agenda<Event>,
    network: Network,
    /// For each disk, the content that the disk's member has reported as durable.
    shadows: Disks,
    members: BTreeMap<MemberId, Member>,
    clients: Clients,
    operator: Operator,
    invariants: Invariants,
    /// For each index, the hash of the state of the first member whose state was checked at that index.
    states: BTreeMap<Index, u32>,
    levels: Levels,
    repairs: Repairs,
    coverage: Coverage,
    trace: Trace,
    seed: Seed,
    trace_hash: TraceHash,
    is_healing: bool,
    is_quiet: bool,
}

impl MemberCluster {
    /// Creates a cluster, starts its first members and plans the first events.
    ///
    /// # Errors
    /// Returns the invariant that a member violated at its start.
    pub fn new(seed: Seed, faults: &Faults, lines: usize) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        // Damage is drawn apart from the other kinds, so that the runs of most seeds stay as they were.
        let mut profile = Profile::draw(&mut random, &faults.filter(|fault| fault != Fault::Damage));
        profile.may_lack_space(seed, faults);
        let voters: BTreeSet<MemberId> = (1..=profile.voters).map(MemberId).collect();
        let mut cluster = Self {
            network: Network::new(profile.network),
            agenda: Agenda::default(),
            shadows: BTreeMap::new(),
            members: BTreeMap::new(),
            clients: Clients::new(profile.clients),
            operator: Operator::new(&profile),
            invariants: Invariants::default(),
            states: BTreeMap::new(),
            levels: Levels::default(),
            repairs: Repairs::new(seed, faults.include(Fault::Damage)),
            coverage: Coverage { seeds: 1, ..Coverage::default() },
            trace: Trace::keeping(lines),
            seed,
            trace_hash: TraceHash::default(),
            is_healing: false,
            is_quiet: false,
            random,
            profile,
        };
        // This check decodes commands of the simulated state machine, and therefore cannot read the store's commands.
        // `Clients` checks the outcomes of proposals instead.
        cluster.invariants.proposals.is_disabled = true;
        let members = voters.iter().map(|id| (*id, info(*id))).collect();
        let bootstrap = Configuration { voters: voters.clone(), members, ..Configuration::default() };
        for id in voters {
            cluster.add_member(id, &bootstrap)?;
        }
        cluster.plan_first_events();
        Ok(cluster)
    }

    fn plan_first_events(&mut self) {
        for client in 0..self.profile.clients {
            self.agenda.after(self.profile.think.1, Event::Client(client));
        }
        self.agenda.after(self.profile.interval, Event::Operator);
        for fault in Fault::ALL.into_iter().filter(|fault| faults::strikes(*fault)) {
            if self.profile.faults.include(fault) {
                self.plan_strike(fault);
            }
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.agenda.now(), line);
    }

    /// True time since the beginning of the run.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.agenda.now()
    }

    /// Runs the next event.
    ///
    /// # Errors
    /// Returns the invariant that was violated.
    pub fn step(&mut self) -> Checked {
        let Some(event) = self.agenda.take_next() else { return Ok(()) };
        let (kind, whose) = event.kind();
        self.trace_hash.add(self.agenda.now(), kind, &whose);
        if let Some(id) = event.whose() {
            let Some(member) = self.members.get(&id).filter(|member| member.is_up()) else {
                return self.undeliverable(event);
            };
            if member.paused_until > self.agenda.now() {
                // Events for a paused member happen after the pause, in the same order.
                self.agenda.at(member.paused_until, event);
                return Ok(());
            }
        }
        match event {
            Event::Turn { id, start, number } => self.turn(id, start, number)?,
            Event::Write { id, start } => self.write(id, start)?,
            Event::Apply { id, start } => self.apply(id, start)?,
            Event::Snapshot { id, start } => self.snapshot(id, start)?,
            Event::Frame { from, to, bytes } => self.deliver(from, to, bytes)?,
            Event::Transfer { from, start, due, carried } => self.receive(from, start, due, *carried)?,
            Event::Sent { id, start, to, number, arrived } => {
                self.of_start(id, start).into_iter().for_each(|process| process.snapshot_sent(to, number, arrived));
                self.plan_threads(id)?;
            }
            Event::Unreachable { id, start, to } => {
                self.of_start(id, start).into_iter().for_each(|process| process.unreachable(to));
                self.plan_threads(id)?;
            }
            Event::Stop { id, start } => {
                self.of_start(id, start).into_iter().for_each(|process| process.stop());
                self.plan_threads(id)?;
            }
            Event::VerifyRemoval { id, start } => {
                if self.of_start(id, start).is_some() {
                    self.verify_removal(id)?;
                }
            }
            Event::Start(id) => self.start(id)?,
            Event::Repair { id, start, from } => self.advance_repair(id, start, from)?,
            Event::Client(client) => self.client_acts(client)?,
            Event::Operator => self.operator_looks()?,
            Event::Strike(fault) => self.strike(fault)?,
            Event::Look => {}
        }
        Ok(())
    }

    fn undeliverable(&mut self, event: Event) -> Checked {
        if let Event::Transfer { from, start, due: SnapshotDue { to, number, .. }, .. } = event {
            self.agenda.after(Duration::ZERO, Event::Sent { id: from, start, to, number, arrived: Err(()) });
        }
        Ok(())
    }

    /// The process of a member; `None` if the member is down or has restarted since `start`.
    fn of_start(&mut self, id: MemberId, start: u64) -> Option<&mut stepped_member::SteppedMember> {
        self.members.get_mut(&id).filter(|member| member.start == start)?.process_mut()
    }

    // The lifecycle of members.

    /// Starts a new member with an empty disk.
    fn add_member(&mut self, id: MemberId, bootstrap: &Configuration) -> Checked {
        let origin = self.random.time(Duration::ZERO, Duration::from_secs(3_600));
        let clock = Clock::started(self.agenda.now(), origin, TRUE_RATE);
        self.members.insert(id, Member::new(id, clock, bootstrap.clone()));
        let meta = SnapshotMeta { configuration: Arc::new(bootstrap.clone()), ..SnapshotMeta::default() };
        self.invariants.ledger.add_member(id, Arc::clone(&meta.configuration));
        self.shadows.insert(id, Disk::bootstrapped(id, meta, Bytes::new()));
        self.start(id)
    }

    fn start(&mut self, id: MemberId) -> Checked {
        let now = self.agenda.now();
        let version = self.profile.version(&mut self.random);
        let config = Config { id, seed: self.random.number(), ..version.config };
        let memory_bytes = *self.random.pick(&[0, 1_000, 16_384, u64::MAX]);
        let (salt, supports) = (self.random.number(), self.draw_support());
        let member = self.members.get_mut(&id).expect("every member is known");
        if !matches!(member.state, State::Down) {
            return Ok(());
        }
        member.disk.limit_bytes(None);
        if self.begins_repair(id, salt)? {
            return Ok(());
        }
        let member = self.members.get_mut(&id).expect("every member is known");
        let found = member.read_disk(memory_bytes, salt);
        let (found, log) = found
            .map_err(|reason| Violation { invariant: "a disk can be read again", seen: format!("{id}: {reason}") })?;
        if let Some(index) = found.identity.removed {
            member.state = State::Buried;
            self.note(|| format!("{id} finds its tombstone of index {index}"));
            return Ok(());
        }
        let shadow = self.shadows.get_mut(&id).expect("every member has a disk");
        match self.repairs.finished(id) {
            None => member.check_found(&found.raft, &log, shadow)?,
            Some(target) => {
                member.check_repaired(&found.raft, &log, &target)?;
                self.coverage.repairs += 1;
            }
        }
        *shadow = Disk::holding(id, &found.raft, log);
        self.invariants.synced(shadow)?;
        self.invariants.started(shadow)?;
        // Runs are too short for as many entries, so bytes decide in these. The others take the snapshots that they ask for.
        let snapshots = match config.snapshot_threshold {
            1_024 => SnapshotTrigger::Bytes { least: 16 << 10, most: 128 << 10 },
            _ => SnapshotTrigger::Entries,
        };
        let settings = Settings {
            raft: config,
            commit_timeout: self.profile.patience,
            snapshots,
            queues: QueueLimits::default(),
            prefer_leaders: Vec::new(),
            first_names: [self.random.number(), self.random.number(), self.random.number()],
        };
        member.run(found, settings, supports, now)?;
        let held = shadow.durable();
        let line = format!(
            "{id} starts, supports level {supports}: {:?}, snapshot {}, log to {}",
            held.hard_state,
            held.snapshot.last,
            held.last()
        );
        self.note(|| line);
        // The recovered core may already have outputs.
        self.take_turn(id)
    }

    /// Ends the process of a member. If the machine loses power, writes that were not synced may be lost. The member
    /// restarts later.
    fn crash(&mut self, id: MemberId) -> Checked {
        let member = self.members.get_mut(&id).expect("only members crash");
        if !member.is_up() {
            return Ok(());
        }
        (member.state, member.paused_until) = (State::Down, Duration::ZERO);
        // Either only the process is killed, or the machine loses power.
        let (is_kill, seed) = (self.random.coin(), self.random.number());
        if is_kill {
            member.disk.kill()
        } else {
            member.disk.lose_power(seed)
        }
        self.coverage.crashes += 1;
        let (low, high) = self.profile.downtime;
        let downtime = self.random.time(low, high);
        self.note(|| format!("{id} crashes for {downtime:?}, {}", if is_kill { "killed" } else { "without power" }));
        self.agenda.after(downtime, Event::Start(id));
        self.abandon(id);
        Ok(())
    }

    /// Destroys a member and its disk.
    fn destroy(&mut self, id: MemberId) {
        self.note(|| format!("{id} is destroyed with its disk"));
        self.members.get_mut(&id).expect("only members are destroyed").state = State::Gone;
        self.shadows.get_mut(&id).expect("every member has a disk").lose();
        self.abandon(id);
    }

    fn abandon(&mut self, id: MemberId) {
        self.disconnect(id);
        for client in self.clients.lose(id) {
            self.free(client);
        }
    }

    // Clients.

    fn client_acts(&mut self, client: usize) -> Checked {
        if self.is_quiet {
            return Ok(());
        }
        let mut up: Vec<MemberId> =
            self.members.values().filter(|member| member.is_up()).map(|member| member.id).collect();
        if self.is_healing
            && let Some((_, committed)) = self.invariants.ledger.committed_configuration()
        {
            // After all faults are lifted, the clients' Service no longer contains removed members.
            up.retain(|id| committed.voters.contains(id) || committed.learners.contains(id));
        }
        if up.is_empty() {
            self.free(client);
            return Ok(());
        }
        let at = *self.random.pick(&up);
        let handle = self.members[&at].process().expect("the member runs").handle();
        let burst = if self.random.chance(100_000) { self.random.between(1, 5) } else { 0 };
        for place in 0..=burst {
            let waits = (place == 0).then_some(client);
            let limits = (self.profile.keys, self.profile.padding);
            self.clients.begin(&mut self.random, waits, at, handle.clone(), limits);
        }
        if self.random.chance(20_000) {
            self.clients.compact(&mut self.random, &handle);
        }
        self.look_at_calls(at)?;
        self.plan_threads(at)
    }

    fn look_at_calls(&mut self, at: MemberId) -> Checked {
        for client in self.clients.poll(at)? {
            self.free(client);
        }
        Ok(())
    }

    /// Plans the next operation of a client that no longer waits.
    fn free(&mut self, client: usize) {
        let (low, high) = self.profile.think;
        let think = self.random.time(low, high);
        self.agenda.after(think, Event::Client(client));
    }

    // Helpers for the operator and for faults.

    fn leaders(&self) -> Vec<MemberId> {
        let running = self.members.values().filter_map(|member| Some((member.id, member.process()?)));
        running.filter(|(_, process)| process.raft().soft_state().role == Role::Leader).map(|(id, _)| id).collect()
    }

    fn dead(&self) -> BTreeSet<MemberId> {
        let gone = self.members.values().filter(|member| matches!(member.state, State::Gone));
        gone.map(|member| member.id).collect()
    }

    fn plan_strike(&mut self, fault: Fault) {
        let interval = self.profile.interval;
        let wait = self.random.time(interval / 8, interval * 2);
        self.agenda.after(wait, Event::Strike(fault));
    }

    /// Runs for `span` of simulated time.
    ///
    /// # Errors
    /// Returns the invariant that was violated.
    pub fn run_for(&mut self, span: Duration) -> Checked {
        let end = self.agenda.now() + span;
        self.agenda.at(end, Event::Look);
        while self.agenda.now() < end {
            self.step()?;
        }
        Ok(())
    }
}

/// Makes a call and does not wait for its answer.
fn start_call<T>(call: impl Future<Output = T>) {
    let mut call = std::pin::pin!(call);
    // The first poll submits the request. Its answer is dropped, as if the client had disconnected.
    let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}
