//! Members: volumes that outlive processes, processes that run real Raft cores, and the network between them. Owns the
//! driver of each core. Every write is durable immediately. Does not own the loss of unsynced writes, which the
//! simulator of cores covers.

mod admin_service;
pub mod calls;
mod levels;
mod plain_types;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plan::ids::{ClusterId, MemberId};
use plan::observed::member::{Configuration, MemberInfo};
use plan::observed::refusal::RefusalReason;
use raft::{Entry, Index, Message, Now, Output, Payload, Raft, RemovalVerdict, SnapshotMeta};
use world::agenda::Agenda;
use world::clock::{Clock, TRUE_RATE};
use world::disk::Disk;
use world::network::{Network, NetworkProfile};
use world::seed::Random;

use crate::members::plain_types::plain;

/// Content of a volume.
#[derive(Debug)]
pub struct Volume {
    /// The member ID, which was generated when the volume was blank.
    pub id: MemberId,
    /// Cluster to which the volume belongs; `None` while the volume is blank.
    pub cluster: Option<ClusterId>,
    /// The token of that cluster; `None` while the volume is blank, or if no caller knows the token.
    token: Option<String>,
    /// Whether a committed configuration removed the member.
    pub tombstone: bool,
    /// Whether the volume belongs to an earlier cluster of the same name.
    pub former: bool,
    disk: Disk,
}

impl Volume {
    fn new(id: MemberId, cluster: Option<ClusterId>, former: bool) -> Self {
        Self { id, cluster, token: None, tombstone: false, former, disk: fresh_disk(id, SnapshotMeta::default()) }
    }
}

/// Creates a disk that holds only a snapshot.
fn fresh_disk(id: MemberId, first: SnapshotMeta) -> Disk {
    Disk::bootstrapped(raft::MemberId(id.0), first, Bytes::new())
}

/// A running process.
#[derive(Debug)]
struct Process {
    volume: String,
    core: Option<Raft>,
    applied: Index,
    restoring: Option<Restoring>,
    /// The highest feature level that the program supports.
    supports: u32,
    /// The feature level that the member has applied.
    level: u32,
    /// Whether the program is too old for the disk.
    is_too_old: bool,
    /// Time at which a repair of the disk ends.
    repairs_until: Option<Duration>,
}

/// A restore that runs or has failed. It ends when its process ends, and leaves the disk blank unless it succeeds.
#[derive(Clone, Debug)]
struct Restoring {
    cluster: ClusterId,
    token: String,
    id: MemberId,
    info: MemberInfo,
    /// Time at which the attempt ends. After a failure, the earliest time of the next attempt.
    until: Duration,
    failed: bool,
}

/// A message on the network.
#[derive(Debug)]
struct Flight {
    from: MemberId,
    to: MemberId,
    cluster: ClusterId,
    message: Message,
}

/// Network profile without faults.
const PROFILE: NetworkProfile =
    NetworkProfile { delay: (Duration::from_micros(500), Duration::from_millis(15)), ..NetworkProfile::UNDISTURBED };

/// Time until the other voters are asked about a removal.
const VERIFICATION: Duration = Duration::from_millis(500);

/// The members of this cluster and of earlier clusters.
#[derive(Debug)]
pub struct Members {
    volumes: BTreeMap<String, Volume>,
    processes: BTreeMap<String, Process>,
    flights: Agenda<Flight>,
    /// UIDs of pods whose members ask the other voters about their removal.
    verifications: Agenda<String>,
    /// All links between members.
    pub network: Network,
    now: Duration,
    random: Random,
    starts: u64,
    /// UIDs of pods on lost machines. Their processes cannot be reached or stopped.
    pub lost: BTreeSet<String>,
    /// UIDs of pods that no operator can call, although other members can.
    pub hidden: BTreeSet<String>,
    /// UIDs of claims whose processes support only the first feature level, whatever the image of their pods is.
    outdated: BTreeSet<String>,
    /// Whether processes on new disks support only the first feature level.
    pub newcomers_are_outdated: bool,
    /// Number of raises of the feature level that were proposed.
    raises: u64,
    /// Whether members fail to read backups.
    pub store_is_broken: bool,
    /// Number of restores that were begun.
    pub attempts: u32,
    /// Entries that at least one member applied, by index. All members must apply the same entries.
    applied: BTreeMap<Index, Entry>,
    /// Committed configurations, by index.
    committed: BTreeMap<Index, Arc<Configuration>>,
    /// The last case in which two members applied different entries at one index.
    pub broken: Option<String>,
}

/// Reason why a call to a member failed. The member changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The call did not reach the member. The operator cannot distinguish this failure from a lost answer.
    Unreachable,
    /// The member refused the call.
    Refused(RefusalReason),
    /// The call does not carry the token of the member's cluster.
    Unauthenticated,
}

impl Members {
    /// Creates a network to which no member belongs yet.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            volumes: BTreeMap::new(),
            processes: BTreeMap::new(),
            flights: Agenda::default(),
            verifications: Agenda::default(),
            network: Network::new(PROFILE),
            now: Duration::ZERO,
            random,
            starts: 0,
            lost: BTreeSet::new(),
            hidden: BTreeSet::new(),
            outdated: BTreeSet::new(),
            newcomers_are_outdated: false,
            raises: 0,
            store_is_broken: false,
            attempts: 0,
            applied: BTreeMap::new(),
            committed: BTreeMap::new(),
            broken: None,
        }
    }

    /// Advances time to `now`. Messages arrive and cores tick.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
        let clock = self.clock();
        while let Some(Flight { from, to, cluster, message }) = self.flights.take_due(now) {
            if !self.network.passes(raft::MemberId(from.0), raft::MemberId(to.0)) {
                continue;
            }
            let Some(pod) = self.pod_of(to, cluster) else { continue };
            if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut()) {
                core.step(clock, raft::MemberId(from.0), message);
            }
            self.carry_out(&pod);
        }
        while let Some(pod) = self.verifications.take_due(now) {
            self.verify_removal(&pod);
            self.carry_out(&pod);
        }
        let pods: Vec<String> = self.processes.keys().cloned().collect();
        for pod in pods {
            self.continue_restore(&pod);
            self.continue_repair(&pod);
            if let Some(core) = self.processes.get_mut(&pod).and_then(|process| process.core.as_mut())
                && core.deadline() <= now
            {
                core.tick(clock);
            }
            self.carry_out(&pod);
        }
    }

    /// Asks the other voters of the member's configuration whether they know of its removal.
    fn verify_removal(&mut self, pod: &str) {
        let clock = self.clock();
        let Some(process) = self.processes.get(pod) else { return };
        let Some(core) = &process.core else { return };
        let Some(Volume { id, cluster: Some(cluster), .. }) = self.volumes.get(&process.volume) else { return };
        let (own, id) = (core.configuration().0, raft::MemberId(id.0));
        let others = own
            .voters
            .union(&own.outgoing)
            .filter(|other| **other != id && self.network.passes(id, **other) && self.network.passes(**other, id));
        let reached = others.filter_map(|other| self.processes.get(&self.pod_of(MemberId(other.0), *cluster)?));
        let said = reached.filter(|_| !self.lost.contains(pod)).filter_map(|other| other.core.as_ref()).map(|core| {
            let (configuration, index) = core.committed_configuration();
            RemovalVerdict::of(id, configuration, index)
        });
        let verdict = said.max_by_key(|verdict| matches!(verdict, RemovalVerdict::Removed { .. }));
        if let Some(core) = self.processes.get_mut(pod).and_then(|process| process.core.as_mut()) {
            core.removal_verified(clock, verdict.unwrap_or(RemovalVerdict::Unreached));
        }
    }

    fn clock(&self) -> Now {
        Clock::started(Duration::ZERO, Duration::ZERO, TRUE_RATE).read(self.now)
    }

    fn pod_of(&self, id: MemberId, cluster: ClusterId) -> Option<String> {
        let found = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod)
                && self
                    .volumes
                    .get(&process.volume)
                    .is_some_and(|volume| volume.id == id && volume.cluster == Some(cluster))
        });
        found.map(|(pod, _)| pod.clone())
    }

    /// Carries out the outputs of a core.
    fn carry_out(&mut self, pod: &str) {
        let clock = self.clock();
        loop {
            let Some(process) = self.processes.get_mut(pod) else { return };
            let Some(output) = process.core.as_mut().and_then(Raft::next_output) else { break };
            let volume = self.volumes.get_mut(&process.volume).expect("a process has a volume");
            match output {
                Output::Persist(write) => {
                    let io = write.io;
                    volume.disk.write(write);
                    volume.disk.begin_sync();
                    volume.disk.finish_sync();
                    process.core.as_mut().expect("the core gave an output").persisted(clock, io);
                }
                Output::Send { to, message } => {
                    let (from, cluster) = (volume.id, volume.cluster.expect("a core runs only in a cluster"));
                    if self.lost.contains(pod) {
                        continue;
                    }
                    let fate = self.network.fate(&mut self.random, raft::MemberId(from.0), to);
                    for delay in fate.first.into_iter().chain(fate.second) {
                        let flight = Flight { from, to: MemberId(to.0), cluster, message: message.clone() };
                        self.flights.at(self.now + delay, flight);
                    }
                }
                Output::Apply(entries) => {
                    let last = entries.last().map_or(process.applied, |entry| entry.id.index);
                    process.applied = last;
                    process.core.as_mut().expect("the core gave an output").applied(clock, last);
                    process.apply_levels(&entries);
                    self.note_applied(entries);
                }
                Output::VerifyRemoval => self.verifications.at(self.now + VERIFICATION, pod.to_owned()),
                Output::Removed { .. } => volume.tombstone = true,
                Output::SendSnapshot { to, .. } => {
                    let core = process.core.as_mut().expect("the core gave an output");
                    core.snapshot_sent(clock, to, Err(()));
                }
                Output::ReadLog { .. } | Output::ApplyStored { .. } => {
                    unreachable!("the few entries of a run are all in memory")
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
            && self.volumes.get(&process.volume).is_some_and(|volume| volume.tombstone)
            && let Some(process) = self.processes.get_mut(pod)
        {
            process.core = None;
        }
    }

    /// Records applied entries. Sets `broken` if another member applied a different entry at the same index (Raft
    /// thesis §3.6.3).
    fn note_applied(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if let Payload::Configuration(configuration) = &entry.payload {
                let index = entry.id.index;
                self.committed.entry(index).or_insert_with(|| Arc::new(plain(configuration, index)));
            }
            let index = entry.id.index;
            if let Some(before) = self.applied.insert(index, entry.clone())
                && before != entry
            {
                self.broken = Some(format!("index {index} was applied as {before:?} and as {entry:?}"));
            }
        }
    }

    /// Returns the configuration that is in force at each running member, whether or not it is committed.
    #[must_use]
    pub fn in_force(&self) -> Vec<Configuration> {
        let cores = self.processes.values().filter_map(|process| process.core.as_ref());
        cores.map(|core| core.configuration()).map(|(configuration, index)| plain(configuration, index)).collect()
    }

    /// Returns the newest committed configuration, which may be the bootstrapped one.
    #[must_use]
    pub fn newest_committed(&self) -> Option<Arc<Configuration>> {
        let recorded = self.committed.iter().next_back();
        let from = recorded.map(|(index, _)| *index);
        let cores = self.processes.values().filter_map(|process| process.core.as_ref());
        let known = cores.map(|core| core.committed_configuration());
        // Without a recorded one, the bootstrapped configuration of a member may be the newest.
        let newer = known.filter(|(known, index)| !known.voters.is_empty() && Some(*index) > from);
        let newest = newer.max_by_key(|(_, index)| *index).map(|(known, index)| Arc::new(plain(known, index)));
        newest.or_else(|| recorded.map(|(_, recorded)| Arc::clone(recorded)))
    }

    /// Returns all committed configurations that a member applied, in the order of their indexes.
    pub fn all_committed(&self) -> impl DoubleEndedIterator<Item = &Configuration> {
        self.committed.values().map(AsRef::as_ref)
    }

    /// Returns the number of client writes that at least one member applied.
    #[must_use]
    pub fn writes_applied(&self) -> usize {
        let is_write = |entry: &&Entry| matches!(entry.payload, Payload::Normal(_)) && levels::raised(entry).is_none();
        self.applied.values().filter(is_write).count()
    }

    /// Returns whether any entry was committed. From then on, a blank disk means lost data.
    #[must_use]
    pub fn has_formed(&self) -> bool {
        !self.applied.is_empty()
    }

    /// Returns whether the leader's log holds every entry that any member applied.
    #[must_use]
    pub fn nothing_is_lost(&self) -> bool {
        let leader = self.processes.iter().find(|(pod, process)| {
            !self.lost.contains(*pod)
                && process.core.as_ref().is_some_and(|core| core.soft_state().role == raft::Role::Leader)
        });
        let Some(volume) = leader.and_then(|(_, process)| self.volumes.get(&process.volume)) else { return false };
        let log: BTreeMap<Index, &Entry> =
            volume.disk.durable().log.iter().map(|entry| (entry.id.index, entry)).collect();
        self.applied.iter().all(|(index, entry)| log.get(index) == Some(&entry))
    }
}
