//! One member: its core, its disk, and its applied state. Owns everything that is lost in a crash. Does not own what a
//! disk keeps (`world::disk`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::{
    Config, DropReason, Entry, HardState, Index, IoId, MemberId, Now, Payload, ProposalId, Raft, ReadContext, Role,
    SnapshotMeta, Term,
};
use world::disk::{Breakage, Disk, Reading};
use world::seed::Random;

/// State of the state machine: the content of every applied proposal, with its index.
pub type State = Vec<(Index, Vec<u8>)>;

/// Encodes a state as a snapshot: index, length and content of each proposal.
pub fn image_of(state: &State) -> Bytes {
    let mut image = Vec::new();
    for (index, content) in state {
        image.extend(index.0.to_be_bytes());
        image.extend((content.len() as u64).to_be_bytes());
        image.extend(content);
    }
    image.into()
}

/// Decodes a snapshot.
pub fn state_of(image: &[u8]) -> State {
    let mut state = State::new();
    let mut rest = image;
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
        let (content, end) = after.split_at(number(&head[8..]) as usize);
        state.push((Index(number(&head[..8])), content.to_vec()));
        rest = end;
    }
    state
}

/// Creates a disk that holds only the snapshot from the bootstrap.
pub fn fresh_disk(number: u64, snapshot: SnapshotMeta) -> Disk {
    Disk::bootstrapped(MemberId(number), snapshot, Bytes::new())
}

/// A member with its driver's state. `raft` is `None` while the member does not run.
#[derive(Debug)]
pub struct Member {
    pub id: MemberId,
    pub config: Config,
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Time at which the sync in progress ends, in ms.
    pub synced_at_ms: u64,
    /// Duration of a sync, in ms; `None` while the disk is stalled.
    pub disk_ms: Option<u64>,
    pub state: State,
    pub applied: Index,
    /// Snapshots that arrived and are not installed yet.
    pub received: Vec<(MemberId, SnapshotMeta, State)>,
    pub ready_reads: BTreeMap<ReadContext, Index>,
    pub failed_reads: BTreeSet<ReadContext>,
    pub dropped: Vec<(ProposalId, DropReason)>,
    pub removed: Option<Index>,
    pub roles: Vec<(Role, Term)>,
    /// Whether applying is suspended.
    pub apply_stalls: bool,
    pub pending_apply: VecDeque<Entry>,
}

impl Member {
    /// Creates a member, which does not run yet.
    pub fn new(config: Config, disk: Disk) -> Self {
        Self {
            id: config.id,
            config,
            raft: None,
            disk,
            synced_at_ms: 0,
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

    /// Crashes the member. All unsynced writes are lost.
    pub fn crash(&mut self) {
        self.disk.lose_unsynced();
        self.stop();
    }

    /// Crashes the member. All unsynced writes are lost except a random number of the first ones.
    pub fn lose_power(&mut self, random: &mut Random) {
        self.disk.crash(random, Breakage::Sound);
        self.stop();
    }

    fn stop(&mut self) {
        self.raft = None;
        self.received.clear();
        self.pending_apply.clear();
        self.ready_reads.clear();
    }

    /// Applies the committed entries that are not applied yet. Returns false if there were none.
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

    /// Begins a sync of all writes, unless a sync is in progress.
    pub fn begin_sync(&mut self, now_ms: u64) {
        if self.disk.begin_sync() {
            self.synced_at_ms = now_ms + self.disk_ms.unwrap_or(0);
        }
    }

    /// Ends the sync if it is due. Returns the last write that the sync covers.
    pub fn finish_sync(&mut self, now_ms: u64) -> Option<IoId> {
        let is_due = self.raft.is_some() && self.disk_ms.is_some() && self.synced_at_ms <= now_ms;
        let done = if is_due { self.disk.finish_sync() } else { None };
        self.begin_sync(now_ms);
        done
    }

    /// Starts the core from the content of the disk.
    pub fn start(&mut self, now: Now) {
        let restored = self.disk.recover(Reading::Sound).expect("this disk is never damaged");
        self.state = state_of(&self.disk.durable().image);
        self.applied = restored.snapshot.last.index;
        self.raft = Some(Raft::new(self.config.clone(), restored, now).expect("the disk is whole"));
    }

    /// Installs a received snapshot, which becomes durable with the next sync.
    pub fn install(&mut self, io: IoId, from: MemberId, hard_state: Option<HardState>, meta: SnapshotMeta) {
        let place = self.received.iter().position(|(sender, got, _)| *sender == from && *got == meta);
        let (_, _, state) = self.received.remove(place.expect("only what was received is installed"));
        self.pending_apply.clear();
        self.applied = meta.last.index;
        self.disk.install(io, hard_state, meta, image_of(&state));
        self.state = state;
    }

    /// Returns the members from which this member requests votes when it knows no leader.
    pub fn requested_voters(&self) -> BTreeSet<MemberId> {
        let Some(raft) = &self.raft else { return BTreeSet::new() };
        let (configuration, _) = raft.configuration();
        let may_campaign = configuration.is_voter(self.id) || raft.committed_configuration().0.is_voter(self.id);
        if may_campaign {
            configuration.voters.union(&configuration.outgoing).copied().collect()
        } else {
            BTreeSet::new()
        }
    }

    /// Returns whether the disk holds an entry, either in the log or as part of the snapshot.
    pub fn holds(&self, id: raft::EntryId) -> bool {
        self.disk.durable().holds(id)
    }

    /// Reads entries of the log from the disk.
    pub fn read_log(&self, from: Index, through: Index, bytes: usize) -> Vec<Entry> {
        self.disk.read_log(from, through, bytes).expect("the core asks only for what the disk holds")
    }

    /// Takes a snapshot, which is durable immediately, and purges the log before it.
    pub fn snapshot(&mut self, index: Index) {
        let raft = self.raft.as_mut().expect("runs");
        let read = self.disk.read_log(index, index, 0).expect("a snapshot is not ahead of the disk");
        let meta = raft.snapshot_meta(index, read[0].time_ms).expect("applied and in the log");
        let state: State = self.state.iter().filter(|(at, _)| *at <= index).cloned().collect();
        self.disk.keep_snapshot(meta, image_of(&state));
        let first = raft.snapshot_taken(index);
        self.disk.purge(first);
    }
}
