//! Members: disks that outlive processes, processes that are real Raft cores, and the network between them. Speaks the
//! admin service's words in the planner's plain types. Every write is durable at once: what unsynced writes do to Raft is
//! another simulation's.

mod admin_service;
mod plain_types;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plan::ids::{ClusterId, MemberId};
use plan::observed::member::{Configuration, MemberInfo};
use raft::{Entry, HardState, Index, Message, Now, Output, Payload, Raft, SnapshotMeta};

use world::seed::Random;

use crate::members::plain_types::plain;

/// What a volume holds.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Minted when the disk was blank.
    pub id: MemberId,
    /// Its cluster, once it was told one.
    pub cluster: Option<ClusterId>,
    /// Removed by a committed configuration.
    pub tombstone: bool,
    /// Left by an earlier cluster of this name.
    pub former: bool,
    hard: HardState,
    first: SnapshotMeta,
    log: Vec<Entry>,
}

/// A running process.
#[derive(Debug)]
struct Process {
    disk: String,
    core: Option<Raft>,
    applied: Index,
    restoring: Option<Restoring>,
}

/// A restore under way, or failed. Ends with its process, and leaves the disk blank unless it succeeds.
#[derive(Clone, Debug)]
struct Restoring {
    cluster: ClusterId,
    id: MemberId,
    info: MemberInfo,
    /// The attempt ends then; after it, the next one begins no sooner.
    until: Duration,
    failed: bool,
}

/// A message under way.
#[derive(Debug)]
struct Flight {
    at: Duration,
    from: MemberId,
    to: MemberId,
    cluster: ClusterId,
    message: Message,
}

/// All members.
#[derive(Debug)]
pub struct Members {
    disks: BTreeMap<String, Disk>,
    processes: BTreeMap<String, Process>,
    flights: Vec<Flight>,
    now: Duration,
    random: Random,
    starts: u64,
    /// Pods on machines that are gone: their processes are not heard of and cannot be stopped.
    pub lost: BTreeSet<String>,
    /// Messages lost, per million.
    pub loss: u32,
    /// Pairs that do not reach each other, though operators reach both.
    cut: BTreeSet<(MemberId, MemberId)>,
    /// Whether backups cannot be read at the moment.
    pub store_is_broken: bool,
    /// Restores that were begun.
    pub attempts: u32,
    /// Everything that any member applied: one history for all.
    applied: BTreeMap<Index, Entry>,
    /// Configurations that were committed, by index.
    committed: BTreeMap<Index, Arc<raft::Configuration>>,
    /// What contradicted that.
    pub broken: Option<String>,
}

/// Why a member refused; by the names that members send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone(pub &'static str);

impl Members {
    /// Nobody yet.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            disks: BTreeMap::new(),
            processes: BTreeMap::new(),
            flights: Vec::new(),
            now: Duration::ZERO,
            random,
            starts: 0,
            lost: BTreeSet::new(),
            loss: 0,
            cut: BTreeSet::new(),
            store_is_broken: false,
            attempts: 0,
            applied: BTreeMap::new(),
            committed: BTreeMap::new(),
            broken: None,
        }
    }

    /// Time passes: messages arrive and cores tick.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
        let mut due: Vec<Flight> = Vec::new();
        let mut rest = Vec::new();
        for flight in std::mem::take(&mut self.flights) {
            if flight.at <= now { due.push(flight) } else { rest.push(flight) }
        }
        self.flights = rest;
        due.sort_by_key(|flight| flight.at);
        let clock = self.clock();
        for flight in due {
            if self.cut.contains(&(flight.from, flight.to)) {
                continue;
            }
            let Some(pod) = self.pod_of(flight.to, flight.cluster) else { continue };
            if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut()) {
                core.step(clock, raft::MemberId(flight.from.0), flight.message);
            }
            self.perform(&pod);
        }
        let pods: Vec<String> = self.processes.keys().cloned().collect();
        for pod in pods {
            self.go_on_restoring(&pod);
            if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut())
                && core.deadline() <= now
            {
                core.tick(clock);
            }
            self.perform(&pod);
        }
    }

    fn clock(&self) -> Now {
        Now { monotonic: self.now, wall_ms: u64::try_from(self.now.as_millis()).expect("a run is short") }
    }

    fn pod_of(&self, id: MemberId, cluster: ClusterId) -> Option<String> {
        let found = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod)
                && self.disks.get(&process.disk).is_some_and(|disk| disk.id == id && disk.cluster == Some(cluster))
        });
        found.map(|(pod, _)| pod.clone())
    }

    /// Carries out what a core asks for.
    fn perform(&mut self, pod: &str) {
        let clock = self.clock();
        loop {
            let Some(process) = self.processes.get_mut(pod) else { return };
            let Some(output) = process.core.as_mut().and_then(Raft::next_output) else { break };
            let disk = self.disks.get_mut(&process.disk).expect("a process has a disk");
            match output {
                Output::Persist(write) => {
                    disk.hard = write.hard_state.unwrap_or(disk.hard);
                    if let Some(first) = write.entries.first() {
                        disk.log.retain(|entry| entry.id.index < first.id.index);
                        disk.log.extend(write.entries);
                    }
                    process.core.as_mut().expect("it has just spoken").persisted(clock, write.io);
                }
                Output::Send { to, message } => {
                    let from = disk.id;
                    let cluster = disk.cluster.expect("a core runs only in a cluster");
                    if !self.lost.contains(pod) && !self.random.chance(self.loss) {
                        let delay = Duration::from_micros(self.random.between(500, 15_000));
                        let to = MemberId(to.0);
                        self.flights.push(Flight { at: self.now + delay, from, to, cluster, message });
                    }
                }
                Output::Apply(entries) => {
                    let last = entries.last().map_or(process.applied, |entry| entry.id.index);
                    process.applied = last;
                    process.core.as_mut().expect("it has just spoken").applied(clock, last);
                    self.record(entries);
                }
                Output::Removed { .. } => disk.tombstone = true,
                Output::SendSnapshot { to, .. } => {
                    let core = process.core.as_mut().expect("it has just spoken");
                    core.snapshot_sent(clock, to, Err(()));
                }
                Output::InstallSnapshot { .. }
                | Output::DiscardSnapshot { .. }
                | Output::ReadReady { .. }
                | Output::ReadFailed { .. }
                | Output::Dropped { .. }
                | Output::SnapshotDue { .. }
                | Output::Changed(_) => {}
            }
        }
        if let Some(process) = self.processes.get(pod)
            && self.disks.get(&process.disk).is_some_and(|disk| disk.tombstone)
            && let Some(process) = self.processes.get_mut(pod)
        {
            process.core = None;
        }
    }

    /// What was applied anywhere is the history of everybody (Raft thesis §3.6.3).
    fn record(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                self.committed.insert(entry.id.index, Arc::clone(configuration));
            }
            let index = entry.id.index;
            if let Some(before) = self.applied.insert(index, entry.clone())
                && before != entry
            {
                self.broken = Some(format!("index {index} was applied as {before:?} and as {entry:?}"));
            }
        }
    }

    /// Configurations in force anywhere, committed or not.
    #[must_use]
    pub fn in_force(&self) -> Vec<Configuration> {
        let cores = self.processes.values().filter_map(|process| process.core.as_ref());
        cores.map(|core| core.configuration()).map(|(configuration, index)| plain(configuration, index)).collect()
    }

    /// The newest configuration that was committed, the bootstrapped one included.
    #[must_use]
    pub fn newest_committed(&self) -> Option<Configuration> {
        let cores = self.processes.values().filter_map(|process| process.core.as_ref());
        let known =
            cores.map(|core| core.committed_configuration()).map(|(configuration, index)| plain(configuration, index));
        let recorded = self.committed.iter().next_back().map(|(index, configuration)| plain(configuration, *index));
        known
            .chain(recorded)
            .filter(|configuration| !configuration.voters.is_empty())
            .max_by_key(|configuration| configuration.index)
    }

    /// Every configuration that was ever committed.
    pub fn all_committed(&self) -> impl Iterator<Item = Configuration> + '_ {
        self.committed.iter().map(|(index, configuration)| plain(configuration, *index))
    }

    /// Client writes that anybody applied.
    #[must_use]
    pub fn writes_applied(&self) -> usize {
        self.applied.values().filter(|entry| matches!(entry.payload, Payload::Normal(_))).count()
    }

    /// Whether anything was ever committed: from then on a blank disk is a loss.
    #[must_use]
    pub fn has_formed(&self) -> bool {
        !self.applied.is_empty()
    }

    /// Whether the log of the member that leads holds everything that was ever applied.
    #[must_use]
    pub fn nothing_is_lost(&self) -> bool {
        let leader = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod)
                && process.core.as_ref().is_some_and(|core| core.soft_state().role == raft::Role::Leader)
        });
        let Some(disk) = leader.and_then(|(_, process)| self.disks.get(&process.disk)) else { return false };
        let log: BTreeMap<Index, &Entry> = disk.log.iter().map(|entry| (entry.id.index, entry)).collect();
        self.applied.iter().all(|(index, entry)| log.get(index) == Some(&entry))
    }
}
