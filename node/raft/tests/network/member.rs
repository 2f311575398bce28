//! One member: its core, its disk, and the state that it applied. Owns what ends with a crash. Does not own what a disk
//! keeps (`world::disk`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::{
    Config, DropReason, Entry, HardState, Index, IoId, MemberId, Now, Payload, ProposalId, Raft, ReadContext, Role,
    SnapshotMeta, Term,
};
use world::disk::{Breakage, Disk, Reading};
use world::seed::Random;

/// A state machine: everything that was ever applied, as far as it counts.
pub type State = Vec<(Index, Vec<u8>)>;

/// The bytes of a state, as a snapshot carries them: index, length, content.
pub fn image_of(state: &State) -> Bytes {
    let mut image = Vec::new();
    for (index, content) in state {
        image.extend(index.0.to_be_bytes());
        image.extend((content.len() as u64).to_be_bytes());
        image.extend(content);
    }
    image.into()
}

/// The state that these bytes hold.
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

/// A disk with nothing except the snapshot that a bootstrap leaves.
pub fn fresh_disk(number: u64, snapshot: SnapshotMeta) -> Disk {
    Disk::bootstrapped(MemberId(number), snapshot, Bytes::new())
}

/// One member: its core, while it runs, and what is around it.
#[derive(Debug)]
pub struct Member {
    pub id: MemberId,
    pub config: Config,
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Time at which the sync under way ends, in ms.
    pub synced_at_ms: u64,
    /// Duration of a sync, in ms; `None`: the disk stalls.
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
    /// A member that does not run yet.
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

    /// Loses everything that was not synced.
    pub fn crash(&mut self) {
        self.disk.lose_unsynced();
        self.stop();
    }

    /// Loses what was not synced, except a random prefix of it.
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

    /// Applies what is committed; false if there was nothing.
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

    /// Begins to sync what was written, unless a sync is under way.
    pub fn begin_sync(&mut self, now_ms: u64) {
        if self.disk.begin_sync() {
            self.synced_at_ms = now_ms + self.disk_ms.unwrap_or(0);
        }
    }

    /// Ends the sync that is due; the last write that it covers, if there is one.
    pub fn finish_sync(&mut self, now_ms: u64) -> Option<IoId> {
        let is_due = self.raft.is_some() && self.disk_ms.is_some() && self.synced_at_ms <= now_ms;
        let done = if is_due { self.disk.finish_sync() } else { None };
        self.begin_sync(now_ms);
        done
    }

    /// Reads the disk, and starts the core from what it holds.
    pub fn start(&mut self, now: Now) {
        let restored = self.disk.recover(Reading::Sound).expect("no record is damaged here");
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

    /// Members that it asks for votes when it knows no leader.
    pub fn voters_it_asks(&self) -> BTreeSet<MemberId> {
        let Some(raft) = &self.raft else { return BTreeSet::new() };
        let (configuration, _) = raft.configuration();
        let may_ask = configuration.is_voter(self.id) || raft.committed_configuration().0.is_voter(self.id);
        if may_ask { configuration.voters.union(&configuration.outgoing).copied().collect() } else { BTreeSet::new() }
    }

    /// Whether the disk holds an entry, itself or in the snapshot.
    pub fn holds(&self, id: raft::EntryId) -> bool {
        self.disk.durable().holds(id)
    }

    /// Takes a snapshot at once.
    pub fn snapshot(&mut self, index: Index) {
        let raft = self.raft.as_mut().expect("runs");
        let meta = raft.snapshot_meta(index).expect("applied and in the log");
        let state: State = self.state.iter().filter(|(at, _)| *at <= index).cloned().collect();
        self.disk.keep_snapshot(meta, image_of(&state));
        let first = raft.snapshot_taken(index);
        self.disk.purge(first);
    }
}
