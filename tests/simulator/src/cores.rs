//! A cluster of cores in one thread under one seed: shipped cores, each with a driver that carries out its outputs on a
//! simulated disk, network and clock. Owns the order of events and the lifecycle of members. Every step is checked
//! against all invariants before its outputs are carried out.

pub mod change_requests;
mod client_calls;
pub mod clients;
pub mod driver_state;
mod faults;
pub mod inputs;
pub mod lease_expiry;
pub mod lease_times;
mod lifecycle;
pub mod machine;
pub mod outputs;
pub mod run;
pub mod sabotage;
pub mod tla_trace;
pub mod wholeness;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{Configuration, MemberId, Role, SnapshotMeta, Term};
use world::agenda::Agenda;
use world::network::Network;
use world::seed::{Random, Seed};
use world::trace_hash::TraceHash;

use crate::churn::{Operator, info};
use crate::command::OperationId;
use crate::cores::clients::Clients;
use crate::cores::driver_state::{Input, Member};
use crate::cores::sabotage::Sabotage;
use crate::cores::tla_trace::Record;
use crate::coverage::Coverage;
use crate::fault::{Fault, Faults};
use crate::invariant::{Checked, Disks, Invariants, Violation};
use crate::profile::Profile;
use crate::trace::Trace;

/// An event of a run.
#[derive(Debug)]
enum Event {
    /// A member receives an input. The input is ignored if the member has restarted since `start`.
    Input { to: MemberId, start: Option<u64>, input: Input },
    /// The last byte of a snapshot arrives.
    Snapshot(Box<Transfer>),
    /// A member starts.
    Start(MemberId),
    /// A paused member continues.
    Resume(MemberId),
    /// A client begins an operation.
    Client(usize),
    /// A client stops waiting for its answer.
    Patience(OperationId),
    /// The operator makes a pass.
    Operator,
    /// The operator requests a change from a member that was elected just now.
    Hasty(MemberId),
    /// A fault strikes.
    Strike(Fault),
    /// Advances the time and does nothing else.
    Look,
}

/// A snapshot transfer in progress.
#[derive(Debug)]
struct Transfer {
    from: MemberId,
    start: u64,
    to: MemberId,
    /// Number of this transfer. The transfers from one sender to one receiver are counted from the start of the sender.
    number: u64,
    term: Term,
    meta: SnapshotMeta,
    image: Bytes,
}

/// Options of a run, besides its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kinds of faults that may strike.
    pub faults: Faults,
    /// The planted bug, if any.
    pub sabotage: Option<Sabotage>,
    /// Number of steps before all faults are lifted.
    pub steps: u64,
    /// Number of trace lines that a failed run prints.
    pub trace: usize,
    /// Maximum number of lines recorded for TLC; 0: none.
    pub record: usize,
    /// Profile of the run; `None`: drawn from the seed.
    pub profile: Option<Profile>,
    /// Number of the output after which a member crashes. Outputs are counted from 1 over all members. `None`: no such
    /// crash.
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

/// A cluster and its simulated surroundings.
#[derive(Debug)]
pub struct CoreCluster {
    pub(crate) profile: Profile,
    pub(crate) random: Random,
    agenda: Agenda<Event>,
    pub(crate) network: Network,
    pub(crate) disks: Disks,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) clients: Clients,
    pub(crate) operator: Operator,
    pub(crate) invariants: Invariants,
    pub(crate) coverage: Coverage,
    trace: Trace,
    seed: Seed,
    trace_hash: TraceHash,
    pub(crate) record: Option<Record>,
    sabotage: Option<Sabotage>,
    crash_after: Option<u64>,
    is_healing: bool,
    /// Whether clients have stopped making new calls.
    is_quiet: bool,
}

impl Event {
    /// Returns two numbers for the trace hash: the number of the event's kind, and the number of the member, client,
    /// operation or fault that the event concerns. The number of a kind is never reused for another kind.
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

impl CoreCluster {
    /// Creates a cluster, starts its first members and plans the first events.
    ///
    /// # Errors
    /// Returns the invariant that a member violated at its start.
    pub fn new(seed: Seed, options: &Options) -> Result<Self, Violation> {
        let mut random = Random::new(seed);
        let mut profile = options.profile.clone().unwrap_or_else(|| Profile::draw(&mut random, &options.faults));
        if options.profile.is_none() && options.record == 0 {
            profile.may_lack_space(seed, &options.faults);
        }
        let voters: BTreeSet<MemberId> = (1..=profile.voters).map(MemberId).collect();
        let record = (options.record > 0).then(|| {
            // A line of the recording is one input, so members must not collect inputs.
            profile.batch = Duration::ZERO;
            // The specification covers clusters with pre-vote and clusters without, but no mixture.
            if let Some(older) = &mut profile.older {
                older.config.pre_vote = profile.config.pre_vote;
            }
            Record::of(voters.clone(), profile.config.pre_vote, options.record)
        });
        let mut cluster = Self {
            agenda: Agenda::default(),
            network: Network::new(profile.network),
            disks: BTreeMap::new(),
            members: BTreeMap::new(),
            clients: Clients::new(profile.clients),
            operator: Operator::new(&profile),
            invariants: Invariants::default(),
            coverage: Coverage { seeds: 1, ..Coverage::default() },
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
        // A cluster that may lose members needs an operator that replaces them.
        let operated = [Fault::Churn, Fault::Wipe, Fault::Transfer, Fault::Damage, Fault::Misdirect];
        if operated.into_iter().any(|fault| self.profile.faults.include(fault)) {
            self.agenda.after(self.profile.interval, Event::Operator);
        }
        for fault in Fault::ALL {
            if !self.profile.faults.include(fault) {
                continue;
            }
            let wait = self.until_next_strike();
            self.agenda.after(wait, Event::Strike(fault));
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note_line(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.agenda.now(), line);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        self.note_line(line);
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
                let client = self.clients.abandon(operation);
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

    /// Plans an input for a member. The input is ignored if the member restarts before the input arrives.
    fn plan(&mut self, to: MemberId, delay: Duration, input: Input) {
        let start = Some(self.members[&to].start);
        self.agenda.after(delay, Event::Input { to, start, input });
    }

    /// Gives a member an input immediately.
    pub(crate) fn input_now(&mut self, id: MemberId, input: Input) {
        self.plan(id, Duration::ZERO, input);
    }

    /// Every running member whose role is leader.
    pub(crate) fn leaders(&self) -> Vec<MemberId> {
        let running = self.members.values().filter_map(|member| Some((member.id, member.process()?)));
        running.filter(|(_, process)| process.raft.soft_state().role == Role::Leader).map(|(id, _)| id).collect()
    }

    /// Coverage, clients and trace of a run that has ended.
    pub(crate) fn into_parts(mut self) -> (Coverage, Clients, Vec<String>) {
        // The hash includes the next random number, so that runs with equal hashes drew equally many numbers.
        let chance = self.random.number();
        self.trace_hash.add(self.agenda.now(), 10, &chance);
        let coverage = Coverage {
            time: self.agenda.now(),
            trace_hash: self.trace_hash.of_seed(self.seed.0),
            elections: self.invariants.ledger.leaderships.len() as u64,
            committed: self.invariants.ledger.committed().0,
            configurations: self.invariants.ledger.configurations,
            writes: self.clients.writes,
            wide: self.clients.wide,
            expiries: self.clients.expiries,
            ..self.coverage
        };
        (coverage, self.clients, self.trace.into_lines())
    }

    /// Runs for `span` of simulated time.
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
