//! One member: its core, its disk, and what a driver keeps for it. Owns its clocks, its start and its digest. Does not
//! own the events (`state.rs`).

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use raft::{Config, Index, MemberId, Now, Raft, Restored, Role};

use super::bounds::{Bounds, Flaw, Time};
use super::clocks::{self, ELECTION};
use super::digest::Digest;
use super::disk::{Disk, Snapshot, State, Write};
use super::network::id;
use super::read_back::Reading;
use super::removal::Doubt;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    number: u64,
    /// `None` after the member was removed.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// Steps of pending writes, oldest first. A crash loses them.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) clock: Duration,
    pub(crate) wall_ms: u64,
    /// Monotonic time of the last contact with a leader, or of the start.
    pub(crate) contact: Duration,
    pub(crate) applied: Index,
    pub(crate) state: State,
    pub(crate) snapshots: Snapshots,
    /// Reads of the log for other members, oldest first. A crash loses them.
    pub(crate) reads: VecDeque<Reading>,
    pub(crate) removal: Doubt,
    /// Time of the last read that a lease answered. Set only with [`Flaw::KeepsLease`].
    pub(crate) lease_held_at: Option<Duration>,
    pub(crate) digest: u128,
}

/// Snapshot tasks of a driver. A crash loses them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Snapshots {
    /// Whether a snapshot is due but not captured yet.
    pub(crate) due: bool,
    /// Snapshot that is captured but not durable yet.
    pub(crate) captured: Option<Snapshot>,
    /// Snapshot transfers whose end is not reported to the core yet.
    pub(crate) lanes: Vec<Lane>,
    /// Sender and content of a snapshot that arrived and is neither installed nor discarded yet.
    pub(crate) received: Option<(MemberId, Snapshot)>,
}

/// A transfer of a snapshot to a member, until the end of the transfer is reported to the core.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Lane {
    pub(crate) to: MemberId,
    /// Whether all bytes arrived.
    pub(crate) arrived: bool,
}

impl Member {
    pub(crate) fn new(number: u64, disk: Disk) -> Self {
        Self {
            number,
            raft: None,
            disk,
            writes: VecDeque::new(),
            clock: Duration::ZERO,
            wall_ms: 0,
            contact: Duration::ZERO,
            applied: Index(0),
            state: State::default(),
            snapshots: Snapshots::default(),
            reads: VecDeque::new(),
            removal: Doubt::default(),
            lease_held_at: None,
            digest: 0,
        }
    }

    pub(crate) fn id(&self) -> MemberId {
        id(self.number)
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic: self.clock, wall_ms: self.wall_ms }
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.raft.as_ref().map(|raft| raft.soft_state().role)
    }

    pub(crate) fn start(&mut self, bounds: &Bounds) {
        let mut config = Config::new(self.id(), self.number);
        config.pre_vote = bounds.pre_vote;
        if bounds.snapshots > 0 {
            (config.snapshot_threshold, config.snapshot_trailing) = (1, 0);
            // With the longest valid interval, the fewest heartbeats are due before a failed snapshot is sent again.
            config.heartbeat_interval = ELECTION / 2;
        }
        if bounds.evicts {
            config.limits.log_bytes = 0;
        }
        clocks::configure(&mut config, bounds);
        let Disk { hard_state, entries, snapshot } = self.disk.clone();
        (self.applied, self.state) = (snapshot.meta.last.index, snapshot.state);
        let restored = Restored::of_entries(hard_state, snapshot.meta, entries);
        let dated_back = if bounds.flaw == Flaw::StartsBackdated { ELECTION * 2 } else { Duration::ZERO };
        let now = Now { monotonic: self.clock.saturating_sub(dated_back), ..self.now() };
        self.contact = now.monotonic;
        self.raft = Some(Raft::new(config, restored, now).expect("the disk is consistent"));
        self.update_time();
    }

    /// Loses everything that is not durable, and restarts.
    pub(crate) fn crash(&mut self, bounds: &Bounds) {
        self.writes.clear();
        self.snapshots = Snapshots::default();
        self.reads.clear();
        self.removal = Doubt::default();
        self.lease_held_at = None;
        if bounds.flaw == Flaw::ForgetsVote {
            self.disk.hard_state.vote = None;
        }
        self.disk.finish_install();
        self.start(bounds);
    }

    /// Passes the current time to the core without any other effect: applying up to index 0 changes nothing.
    pub(crate) fn update_time(&mut self) {
        let now = self.now();
        if let Some(raft) = &mut self.raft {
            raft.applied(now, Index(0));
        }
    }

    /// Returns the disk as it will be when all pending writes are done.
    pub(crate) fn disk_after_writes(&self) -> Disk {
        let mut disk = self.disk.clone();
        self.writes.iter().cloned().for_each(|write| disk.execute(write));
        disk
    }

    /// Updates the digest of everything that affects later events. `digest.rs` lists what is left out.
    pub(crate) fn update_digest(&mut self, bounds: &Bounds) {
        let mut digest = Digest::default();
        if let Some(raft) = &self.raft {
            raft.fingerprint(&mut digest);
        }
        (self.raft.is_some(), &self.disk, self.writes.len(), &self.writes).hash(&mut digest);
        (self.applied, self.state, &self.snapshots, &self.reads).hash(&mut digest);
        if bounds.forgeries > 0 {
            self.removal.hash(&mut digest);
        }
        if bounds.time != Time::Independent {
            clocks::fingerprint(self, bounds, &mut digest);
        }
        self.digest = digest.value();
    }
}
