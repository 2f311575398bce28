//! One member: its core, and what a driver keeps beside it. Owns its clock, its start and its digest; what happens to
//! it is the world's.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use raft::{Config, Index, MemberId, Now, Raft, Restored, Role};

use crate::bounds::{Bounds, Flaw, Time};
use crate::clocks::{self, ELECTION};
use crate::digest::Digest;
use crate::disk::{Disk, Snapshot, State, Write};
use crate::network::id;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    number: u64,
    /// None once it was removed.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// A crash loses these; oldest first.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) clock: Duration,
    pub(crate) wall_ms: u64,
    /// When it last heard a leader, or started.
    pub(crate) heard: Duration,
    /// What was applied.
    pub(crate) applied: Index,
    pub(crate) state: State,
    pub(crate) snapshots: Snapshots,
    /// When a read was last answered by lease; only a flawed driver remembers.
    pub(crate) lease_seen: Option<Duration>,
    pub(crate) digest: u128,
}

/// What a driver knows of snapshots; a crash ends all of it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Snapshots {
    /// Asked for, and not captured yet.
    pub(crate) due: bool,
    /// Captured, and not durable yet.
    pub(crate) captured: Option<Snapshot>,
    /// Under way to others.
    pub(crate) lanes: Vec<Lane>,
    /// Arrived, and neither installed nor thrown away.
    pub(crate) received: Option<(MemberId, Snapshot)>,
}

/// A snapshot under way to another, until its end is reported.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Lane {
    pub(crate) to: MemberId,
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
            heard: Duration::ZERO,
            applied: Index(0),
            state: State::default(),
            snapshots: Snapshots::default(),
            lease_seen: None,
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
            // As few as possible fall due before a failed snapshot is tried again.
            config.heartbeat_interval = ELECTION / 2;
        }
        clocks::configure(&mut config, bounds);
        let Disk { hard_state, entries, snapshot } = self.disk.clone();
        (self.applied, self.state) = (snapshot.meta.last.index, snapshot.state);
        let restored = Restored { hard_state, snapshot: snapshot.meta, entries };
        let dated_back = if bounds.flaw == Flaw::StartsInThePast { ELECTION * 2 } else { Duration::ZERO };
        let now = Now { monotonic: self.clock.saturating_sub(dated_back), ..self.now() };
        self.heard = now.monotonic;
        self.raft = Some(Raft::new(config, restored, now).expect("the disk is whole"));
        self.tell_time();
    }

    /// What is not durable is lost, and it starts again.
    pub(crate) fn crash(&mut self, bounds: &Bounds) {
        self.writes.clear();
        self.snapshots = Snapshots::default();
        self.lease_seen = None;
        if bounds.flaw == Flaw::ForgetsVote {
            self.disk.hard_state.vote = None;
        }
        self.disk.finish_install();
        self.start(bounds);
    }

    /// The core hears what time it is, and nothing else: what it did before, it has done.
    pub(crate) fn tell_time(&mut self) {
        let now = self.now();
        if let Some(raft) = &mut self.raft {
            raft.applied(now, Index(0));
        }
    }

    /// What is on disk, with all that is on its way there.
    pub(crate) fn disk_in_the_end(&self) -> Disk {
        let mut disk = self.disk.clone();
        self.writes.iter().cloned().for_each(|write| disk.perform(write));
        disk
    }

    /// Everything that decides what comes next. See the module `digest` for what does not.
    pub(crate) fn take_digest(&mut self, bounds: &Bounds) {
        let mut digest = Digest::default();
        if let Some(raft) = &self.raft {
            raft.fingerprint(&mut digest);
        }
        (self.raft.is_some(), &self.disk, self.writes.len(), &self.writes).hash(&mut digest);
        (self.applied, self.state, &self.snapshots).hash(&mut digest);
        if bounds.time != Time::Free {
            clocks::fingerprint(self, bounds, &mut digest);
        }
        self.digest = digest.value();
    }
}
