//! One member beside its core: what its disk holds, what is being written, what it applied. Owns what a crash keeps and loses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::{
    Config, DropReason, Entry, HardState, Index, IoId, MemberId, Payload, Persist, ProposalId, Raft, ReadContext, Role,
    SnapshotMeta, Term,
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
pub enum Write {
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
    pub writes: VecDeque<(u64, Write)>,
    /// Writes take this long, in ms; `None`: the disk stalls.
    pub disk_ms: Option<u64>,
    pub state: State,
    pub applied: Index,
    /// Snapshots that arrived and are not installed.
    pub received: Vec<(MemberId, SnapshotMeta, State)>,
    pub ready_reads: BTreeMap<ReadContext, Index>,
    pub failed_reads: BTreeSet<ReadContext>,
    pub dropped: Vec<(ProposalId, DropReason)>,
    pub removed: Option<Index>,
    pub roles: Vec<(Role, Term)>,
    /// Applies nothing while set.
    pub apply_stalls: bool,
    pub pending_apply: VecDeque<Entry>,
}

impl Member {
    /// One that does not run yet.
    pub fn new(config: Config, disk: Disk) -> Self {
        Self {
            id: config.id,
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
        }
    }

    /// What was not written is lost.
    pub fn crash(&mut self) {
        self.raft = None;
        self.writes.clear();
        self.received.clear();
        self.pending_apply.clear();
        self.ready_reads.clear();
    }

    /// Applies what was handed out; false if there is nothing to tell the core.
    pub fn apply(&mut self) -> bool {
        if self.apply_stalls || self.pending_apply.is_empty() {
            return false;
        }
        for entry in std::mem::take(&mut self.pending_apply) {
            assert_eq!(entry.id.index, self.applied.next(), "entries are applied in order, without a gap");
            self.applied = entry.id.index;
            if let Payload::Normal(content) = &entry.payload {
                self.state.push((entry.id.index, content.to_vec()));
            }
        }
        true
    }

    /// Does the writes that are due; the last of them, if any.
    pub fn write(&mut self, now_ms: u64) -> Option<IoId> {
        let mut done = None;
        if self.raft.is_some() && self.disk_ms.is_some() {
            while let Some((_, write)) = self.writes.front().cloned().filter(|(at_ms, _)| *at_ms <= now_ms) {
                self.writes.pop_front();
                done = Some(self.disk.perform(write));
            }
        }
        done
    }

    /// Whom it asks for votes when nobody leads it.
    pub fn voters_it_asks(&self) -> BTreeSet<MemberId> {
        let Some(raft) = &self.raft else { return BTreeSet::new() };
        let (configuration, _) = raft.configuration();
        let may_ask = configuration.is_voter(self.id) || raft.committed_configuration().0.is_voter(self.id);
        if may_ask { configuration.voters.union(&configuration.outgoing).copied().collect() } else { BTreeSet::new() }
    }

    /// Whether the disk holds an entry, itself or in the snapshot.
    pub fn holds(&self, id: raft::EntryId) -> bool {
        id.index <= self.disk.snapshot.last.index || self.disk.entries.iter().any(|entry| entry.id == id)
    }

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
    pub fn perform(&mut self, write: Write) -> IoId {
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
