//! Members: disks that outlive processes, processes that are real Raft cores, and the network between them. Speaks the
//! admin service's words in the planner's plain types. Every write is durable at once: what unsynced writes do to Raft is
//! another simulation's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plan::action::Change;
use plan::identity::Record;
use plan::ids::{ClusterId, MemberId};
use plan::observed::member::{Configuration, MemberInfo, Phase, Progress, Report, RestoreProgress, Role};
use raft::{Config, Entry, HardState, Index, Message, Now, Output, Payload, ProposalId, Raft, Restored, SnapshotMeta};

use crate::world::seed::Random;

/// How long a restore takes, and how long a member waits after one that failed.
const RESTORE_TAKES: Duration = Duration::from_millis(700);
const RESTORE_PAUSES: Duration = Duration::from_secs(1);

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

    // Disks and processes.

    /// A process runs for this pod, on this claim's disk.
    pub fn ensure(&mut self, pod: &str, claim: &str) {
        if !self.disks.contains_key(claim) {
            let id = MemberId(self.random.number() | 1);
            let disk = Disk {
                id,
                cluster: None,
                tombstone: false,
                former: false,
                hard: HardState::default(),
                first: SnapshotMeta::default(),
                log: Vec::new(),
            };
            self.disks.insert(claim.to_owned(), disk);
        }
        if !self.processes.contains_key(pod) && !self.lost.contains(pod) {
            let process = Process { disk: claim.to_owned(), core: None, applied: Index(0), restoring: None };
            self.processes.insert(pod.to_owned(), process);
            self.start_core(pod);
        }
    }

    fn start_core(&mut self, pod: &str) {
        let clock = self.clock();
        self.starts += 1;
        let seed = self.random.number() ^ self.starts;
        let Some(process) = self.processes.get_mut(pod) else { return };
        let Some(disk) = self.disks.get(&process.disk) else { return };
        if disk.cluster.is_none() || disk.tombstone || disk.former {
            return;
        }
        let config = Config { snapshot_threshold: u64::MAX / 2, ..Config::new(raft::MemberId(disk.id.0), seed) };
        let restored = Restored { hard_state: disk.hard, snapshot: disk.first.clone(), entries: disk.log.clone() };
        process.core = Some(Raft::new(config, restored, clock).expect("a disk written by a core is one's own"));
        process.applied = Index(0);
    }

    /// Whether a pod's process can be told to stop: not on a machine that is gone.
    #[must_use]
    pub fn can_stop(&self, pod: &str) -> bool {
        !self.lost.contains(pod)
    }

    /// The process ends; its disk stays.
    pub fn stop(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// The process ends without a word and is started again by the next look of its kubelet.
    pub fn kill(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// A claim is gone, and its disk with it.
    pub fn destroy(&mut self, claim: &str) {
        self.disks.remove(claim);
        self.processes.retain(|_, process| process.disk != claim);
    }

    /// The disk is emptied under its process, which starts anew.
    pub fn wipe(&mut self, claim: &str) {
        self.destroy(claim);
    }

    /// A disk that an earlier cluster of this name left under a claim. Whoever is started on it is no member of ours.
    pub fn leave(&mut self, claim: &str, cluster: ClusterId) {
        let disk = Disk {
            id: MemberId(self.random.number() | 1),
            cluster: Some(cluster),
            tombstone: false,
            former: true,
            hard: HardState::default(),
            first: SnapshotMeta::default(),
            log: Vec::new(),
        };
        self.disks.insert(claim.to_owned(), disk);
    }

    /// Whether a pod passes its readiness probe: by how far its member is, whether or not it hears a leader.
    #[must_use]
    pub fn is_ready(&self, pod: &str) -> bool {
        self.processes.get(pod).filter(|_| !self.lost.contains(pod)).is_some_and(|process| process.core.is_some())
    }

    /// Two members do not reach each other any more.
    pub fn cut(&mut self, one: MemberId, other: MemberId) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Everybody reaches everybody.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        let leads = |core: &Raft| core.soft_state().role == raft::Role::Leader;
        let process = self.processes.values().find(|process| process.core.as_ref().is_some_and(leads))?;
        self.disks.get(&process.disk).map(|disk| disk.id)
    }

    /// The disk under a claim.
    #[must_use]
    pub fn disk(&self, claim: &str) -> Option<&Disk> {
        self.disks.get(claim)
    }

    /// Claims whose disk has this ID.
    #[must_use]
    pub fn claim_of(&self, id: MemberId) -> Option<&str> {
        self.disks.iter().find(|(_, disk)| disk.id == id).map(|(claim, _)| claim.as_str())
    }

    /// Whether a member's process runs where others can hear it.
    #[must_use]
    pub fn is_up(&self, id: MemberId) -> bool {
        self.processes.iter().any(|(pod, process)| {
            !self.lost.contains(pod)
                && process.core.is_some()
                && self.disks.get(&process.disk).is_some_and(|disk| disk.id == id)
        })
    }

    /// Whether a member's data can still come back: its disk is there, and not on a machine that is gone.
    #[must_use]
    pub fn is_sound(&self, id: MemberId) -> bool {
        let Some(claim) = self.claim_of(id) else { return false };
        !self.processes.iter().any(|(pod, process)| process.disk == claim && self.lost.contains(pod))
            && self.disks.get(claim).is_some_and(|disk| disk.cluster.is_some())
    }

    // The admin service.

    /// What the pod's member says of itself. To whoever does not hold its cluster's token, no more than how far it is.
    #[must_use]
    pub fn describe(&self, pod: &str, proven: Option<ClusterId>) -> Option<Report> {
        let mut report = self.describe_whole(pod)?;
        if report.phase != Phase::Blank && report.cluster != proven {
            report = Report {
                id: None,
                cluster: None,
                role: Role::Unknown,
                configuration: None,
                progress: BTreeMap::new(),
                ..report
            };
        }
        Some(report)
    }

    fn describe_whole(&self, pod: &str) -> Option<Report> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod))?;
        let disk = self.disks.get(&process.disk)?;
        let mut report = Report {
            id: Some(disk.id),
            phase: match (disk.tombstone, disk.cluster) {
                (true, _) => Phase::Removed,
                (false, Some(_)) => Phase::Member,
                (false, None) => Phase::Blank,
            },
            cluster: disk.cluster,
            role: Role::Unknown,
            leader: None,
            term: disk.hard.term.0,
            commit: 0,
            last: disk.log.last().map_or(0, |entry| entry.id.index.0),
            configuration: None,
            progress: BTreeMap::new(),
            version: "simulated".to_owned(),
            error: None,
            restore: None,
        };
        if let Some(restoring) = &process.restoring {
            report.phase = Phase::Restoring;
            report.cluster = Some(restoring.cluster);
            let cause = if restoring.failed { "StoreUnreachable".to_owned() } else { String::new() };
            report.error = restoring.failed.then(|| "the store said no".to_owned());
            report.restore = Some(RestoreProgress { cause, ..RestoreProgress::default() });
        }
        if let Some(core) = &process.core {
            let state = core.soft_state();
            report.role = role(state.role);
            report.leader = state.leader.map(|id| MemberId(id.0));
            report.commit = core.commit().0;
            let (configuration, index) = core.configuration();
            report.configuration = Some(plain(configuration, index));
            report.progress =
                core.progress().into_iter().map(|(id, about)| (MemberId(id.0), progress(about))).collect();
        }
        Some(report)
    }

    /// Bootstrap: accepted by a blank disk that the record names, and again by whoever took the same record.
    ///
    /// # Errors
    /// The member is another one, or took another record.
    pub fn bootstrap(&mut self, pod: &str, record: &Record, voters: &[(MemberId, MemberInfo)]) -> Result<(), NotDone> {
        let configuration = raft::Configuration {
            voters: voters.iter().map(|(id, _)| raft::MemberId(id.0)).collect(),
            members: voters.iter().map(|(id, info)| (raft::MemberId(id.0), raft_info(info))).collect(),
            ..raft::Configuration::default()
        };
        let named: BTreeSet<MemberId> = voters.iter().map(|(id, _)| *id).collect();
        let first = SnapshotMeta { configuration: Arc::new(configuration), ..SnapshotMeta::default() };
        self.adopt(pod, record.cluster, first, |id| named.contains(&id))
    }

    /// Restore: accepted by a blank disk, and again by whoever was given the same order. The member tries in its own time.
    ///
    /// # Errors
    /// The member is another one, or belongs to a cluster.
    pub fn restore(
        &mut self,
        pod: &str,
        cluster: ClusterId,
        expected: MemberId,
        info: &MemberInfo,
    ) -> Result<(), NotDone> {
        let until = self.now + RESTORE_TAKES;
        let process = self.processes.get_mut(pod).filter(|_| !self.lost.contains(pod)).ok_or(NotDone("Unreachable"))?;
        let disk = self.disks.get(&process.disk).expect("a process has a disk");
        if disk.id != expected {
            return Err(NotDone("NotNamed"));
        }
        match (disk.cluster, &process.restoring) {
            (Some(held), _) if held == cluster => return Ok(()),
            (None, Some(former)) if former.cluster == cluster && (!former.failed || self.now < former.until) => {
                return Ok(());
            }
            (Some(_), _) => return Err(NotDone("AnotherRecord")),
            (None, Some(former)) if former.cluster != cluster => return Err(NotDone("AnotherRecord")),
            (None, _) => {}
        }
        process.restoring = Some(Restoring { cluster, id: expected, info: info.clone(), until, failed: false });
        self.attempts += 1;
        Ok(())
    }

    /// An attempt that is due ends, one way or the other.
    fn go_on_restoring(&mut self, pod: &str) {
        let Some(process) = self.processes.get_mut(pod) else { return };
        let Some(restoring) = process.restoring.as_mut().filter(|it| !it.failed && it.until <= self.now) else {
            return;
        };
        if self.store_is_broken {
            restoring.failed = true;
            restoring.until = self.now + RESTORE_PAUSES;
            return;
        }
        let Restoring { cluster, id, info, .. } = restoring.clone();
        process.restoring = None;
        let configuration = raft::Configuration {
            voters: [raft::MemberId(id.0)].into(),
            members: [(raft::MemberId(id.0), raft_info(&info))].into(),
            ..raft::Configuration::default()
        };
        let first = SnapshotMeta { configuration: Arc::new(configuration), ..SnapshotMeta::default() };
        // On a machine that is gone it goes on unseen.
        let _ = self.adopt(pod, cluster, first, |own| own == id);
    }

    /// Join: the member waits for that cluster's leader.
    ///
    /// # Errors
    /// The member is another one, or belongs to a cluster.
    pub fn join(&mut self, pod: &str, cluster: ClusterId, expected: MemberId) -> Result<(), NotDone> {
        self.adopt(pod, cluster, SnapshotMeta::default(), |id| id == expected)
    }

    fn adopt(
        &mut self,
        pod: &str,
        cluster: ClusterId,
        first: SnapshotMeta,
        is_meant: impl Fn(MemberId) -> bool,
    ) -> Result<(), NotDone> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod)).ok_or(NotDone("Unreachable"))?;
        let disk = self.disks.get_mut(&process.disk).expect("a process has a disk");
        if !is_meant(disk.id) {
            return Err(NotDone("NotNamed"));
        }
        match disk.cluster {
            Some(held) if held == cluster => Ok(()),
            Some(_) => Err(NotDone("AnotherRecord")),
            None => {
                disk.cluster = Some(cluster);
                disk.first = first;
                self.start_core(pod);
                Ok(())
            }
        }
    }

    /// The committed configuration, if this pod's member can prove at this moment that it leads.
    #[must_use]
    pub fn configuration(&self, pod: &str) -> Option<Configuration> {
        let process = self.processes.get(pod).filter(|_| !self.lost.contains(pod))?;
        let core = process.core.as_ref()?;
        let term = core.soft_state().term;
        let leads = core.soft_state().role == raft::Role::Leader;
        let disk = self.disks.get(&process.disk)?;
        let commit = disk.log.iter().find(|entry| entry.id.index == core.commit());
        let current = commit.is_some_and(|entry| entry.id.term == term);
        let (in_force, _) = core.configuration();
        let supported =
            [&in_force.voters, &in_force.outgoing].into_iter().filter(|half| !half.is_empty()).all(|half| {
                let heard =
                    half.iter().filter(|id| self.term_of(MemberId(id.0)).is_some_and(|at| at <= term.0)).count();
                heard > half.len() / 2
            });
        let (configuration, index) = core.committed_configuration();
        (leads && current && supported).then(|| plain(configuration, index))
    }

    fn term_of(&self, id: MemberId) -> Option<u64> {
        let (_, process) = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod) && self.disks.get(&process.disk).is_some_and(|disk| disk.id == id)
        })?;
        process.core.as_ref().map(|core| core.soft_state().term.0)
    }

    /// ChangeMembership at this pod's member.
    ///
    /// # Errors
    /// The core refused it; nothing entered the log.
    pub fn change(&mut self, pod: &str, change: &Change) -> Result<(), NotDone> {
        let clock = self.clock();
        let ids = |ids: &[MemberId]| ids.iter().map(|id| raft::MemberId(id.0)).collect();
        let asked = raft::Change {
            expected: Index(change.expected),
            voters: ids(&change.voters),
            learners: ids(&change.learners),
            members: change.members.iter().map(|(id, info)| (raft::MemberId(id.0), raft_info(info))).collect(),
        };
        let lost = self.lost.contains(pod);
        let process = self.processes.get_mut(pod).filter(|_| !lost).ok_or(NotDone("Unreachable"))?;
        let core = process.core.as_mut().ok_or(NotDone("NotServing"))?;
        let outcome = core.change(clock, asked);
        self.perform(pod);
        outcome.map(|_| ()).map_err(|error| NotDone(refusal(&error)))
    }

    /// TransferLeadership at this pod's member.
    ///
    /// # Errors
    /// The core refused it.
    pub fn transfer(&mut self, pod: &str, target: MemberId) -> Result<(), NotDone> {
        let clock = self.clock();
        let lost = self.lost.contains(pod);
        let process = self.processes.get_mut(pod).filter(|_| !lost).ok_or(NotDone("Unreachable"))?;
        let core = process.core.as_mut().ok_or(NotDone("NotServing"))?;
        let outcome = core.transfer(clock, Some(raft::MemberId(target.0)));
        self.perform(pod);
        outcome.map(|_| ()).map_err(|_| NotDone("NotTransferred"))
    }

    /// A client writes through whoever leads.
    pub fn write(&mut self, number: u64) {
        let clock = self.clock();
        let leader = self.processes.iter().find(|(_, process)| {
            process.core.as_ref().is_some_and(|core| core.soft_state().role == raft::Role::Leader)
        });
        let Some(pod) = leader.map(|(pod, _)| pod.clone()) else { return };
        if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut()) {
            let payload = Payload::Normal(Bytes::copy_from_slice(&number.to_be_bytes()));
            // Refused proposals never happened: nobody was told otherwise.
            let _ = core.propose(clock, vec![(ProposalId(number), payload)]);
        }
        self.perform(&pod);
    }

    // What the invariants look at.

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

fn raft_info(info: &MemberInfo) -> raft::MemberInfo {
    raft::MemberInfo { name: info.name.clone(), peer_url: info.peer_url.clone(), client_url: info.client_url.clone() }
}

fn plain(configuration: &raft::Configuration, index: Index) -> Configuration {
    let ids = |ids: &BTreeSet<raft::MemberId>| ids.iter().map(|id| MemberId(id.0)).collect();
    let members = configuration.members.iter().map(|(id, info)| {
        let info = MemberInfo {
            name: info.name.clone(),
            peer_url: info.peer_url.clone(),
            client_url: info.client_url.clone(),
        };
        (MemberId(id.0), info)
    });
    Configuration {
        index: index.0,
        voters: ids(&configuration.voters),
        outgoing: ids(&configuration.outgoing),
        learners: ids(&configuration.learners),
        learners_next: ids(&configuration.learners_next),
        members: members.collect(),
        removed: ids(&configuration.removed),
    }
}

fn progress(about: raft::ProgressReport) -> Progress {
    Progress { matched: about.matched.0, active: about.active, snapshotting: about.snapshotting }
}

fn role(role: raft::Role) -> Role {
    match role {
        raft::Role::Follower => Role::Follower,
        raft::Role::Learner => Role::Learner,
        raft::Role::PreCandidate => Role::PreCandidate,
        raft::Role::Candidate => Role::Candidate,
        raft::Role::Leader => Role::Leader,
    }
}

fn refusal(error: &raft::ChangeError) -> &'static str {
    match error {
        raft::ChangeError::NotLeader { .. } => "NotLeader",
        raft::ChangeError::Stale { .. } => "Stale",
        raft::ChangeError::InFlight { .. } => "InFlight",
        raft::ChangeError::TermNotCommitted => "TermNotCommitted",
        raft::ChangeError::LearnerBehind { .. } => "LearnerBehind",
        raft::ChangeError::QuorumAtRisk { .. } => "QuorumAtRisk",
        raft::ChangeError::WasRemoved { .. } => "WasRemoved",
        _ => "Refused",
    }
}
