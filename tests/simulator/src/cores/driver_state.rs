//! One simulated member: the core that ships and what its driver holds in memory. Owns what a crash takes away. Does
//! not own what survives (the disk).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::{Change, Entry, Index, MemberId, Message, ProposalId, Raft, ReadContext, SnapshotMeta, Term};
use world::clock::Clock;

use crate::command::OperationId;
use crate::cores::lease_times::LeaseTimes;
use crate::cores::machine::Machine;
use crate::version::Hint;

/// An input of a running member.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message arrived.
    Message {
        /// The sender.
        from: MemberId,
        /// The message.
        message: Message,
    },
    /// The core's deadline has come.
    Wake {
        /// Which request; an older one is void.
        order: u64,
    },
    /// The sync under way is done.
    Synced,
    /// The state machine has time.
    Apply,
    /// The state machine is to be captured.
    Capture,
    /// A snapshot is durable.
    Captured {
        /// What it contains.
        meta: SnapshotMeta,
        /// The state.
        image: Bytes,
    },
    /// A snapshot arrived, every byte of it.
    Snapshot {
        /// The sender.
        from: MemberId,
        /// The sender's term.
        term: Term,
        /// What it contains.
        meta: SnapshotMeta,
        /// The state.
        image: Bytes,
    },
    /// A snapshot that this member sent has arrived, or has not.
    SnapshotSent {
        /// The receiver.
        to: MemberId,
        /// Whether every byte was acknowledged.
        arrived: Result<(), ()>,
    },
    /// The connection to a member broke.
    Unreachable {
        /// The receiver.
        to: MemberId,
    },
    /// Clients write.
    Propose {
        /// Each with the command as bytes.
        commands: Vec<(OperationId, Bytes)>,
    },
    /// A client reads.
    Read {
        /// Its name for that.
        operation: OperationId,
    },
    /// The operator wants another configuration.
    Change(Change),
    /// A request for another leader.
    Transfer {
        /// The member that is to lead; `None`: any.
        target: Option<MemberId>,
    },
    /// Leases are due for a check, if this member leads.
    Leases,
    /// Ask the core for its outputs.
    Settle,
}

impl Input {
    /// Its kind in the trace hash: a number of its own for each, never used again for another.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Message { .. } => 100,
            Self::Wake { .. } => 101,
            Self::Synced => 102,
            Self::Apply => 103,
            Self::Capture => 104,
            Self::Captured { .. } => 105,
            Self::Snapshot { .. } => 106,
            Self::SnapshotSent { .. } => 107,
            Self::Unreachable { .. } => 108,
            Self::Propose { .. } => 109,
            Self::Read { .. } => 110,
            Self::Change(_) => 111,
            Self::Transfer { .. } => 112,
            Self::Leases => 113,
            Self::Settle => 114,
        }
    }
}

/// Whether a member runs.
#[derive(Debug)]
pub enum State {
    /// It runs.
    Up(Box<Process>),
    /// It crashed, and will start again.
    Down,
    /// It took notice of its removal and stopped for good.
    Tombstoned,
    /// Destroyed: removed by the operator, or its disk is lost.
    Gone,
}

/// A member, running or not.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub id: MemberId,
    /// How it sees time.
    pub clock: Clock,
    /// Whether it runs.
    pub state: State,
    /// Starts so far; what was meant for an earlier start is void.
    pub start: u64,
    /// What came while it stands still; `None`: it does not.
    pub paused: Option<Vec<Input>>,
    /// Syncs take at least until then.
    pub stalled_until: Duration,
    /// The next sync fails.
    pub sync_fails: bool,
    /// Its disk is full until then.
    pub full_until: Duration,
    /// Its disk answers reads with errors until then.
    pub unreadable_until: Duration,
    /// Names given to proposals and reads, never reused.
    names: u64,
}

impl Member {
    /// A member that was never started.
    #[must_use]
    pub fn new(id: MemberId, clock: Clock) -> Self {
        Self {
            id,
            clock,
            state: State::Down,
            start: 0,
            paused: None,
            stalled_until: Duration::ZERO,
            sync_fails: false,
            full_until: Duration::ZERO,
            unreadable_until: Duration::ZERO,
            names: 0,
        }
    }

    /// The running process.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match &self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    /// The running process.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// A name that no proposal or read of this member ever had.
    pub fn fresh_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }
}

/// What a crash takes away.
#[derive(Debug)]
pub struct Process {
    /// The shipped core.
    pub raft: Raft,
    /// The state.
    pub machine: Machine,
    /// Committed, and not yet applied.
    pub to_apply: VecDeque<Entry>,
    /// The state machine was told that there is work.
    pub is_applying: bool,
    /// A settling is planned.
    pub is_settling: bool,
    /// Whose proposals these are.
    pub proposed: BTreeMap<ProposalId, OperationId>,
    /// Operations to answer when they are applied here.
    pub awaited: BTreeSet<OperationId>,
    /// Whose reads these are.
    pub reading: BTreeMap<ReadContext, OperationId>,
    /// Reads that may be served once this much is applied.
    pub confirmed: Vec<(Index, OperationId)>,
    /// Snapshots that arrived and wait for the core's decision.
    pub received: Vec<(MemberId, SnapshotMeta, Bytes)>,
    /// The latest snapshot under way to each member; a newer one ends the former.
    pub sending: BTreeMap<MemberId, u64>,
    /// The latest request to be woken, and the time that it is for.
    pub wake: (u64, Duration),
    /// The state as last captured; only a planted bug looks at it again.
    pub captured: Option<Bytes>,
    /// When leases end, as long as it leads.
    pub lease_times: LeaseTimes,
    /// What the first register of a read held when it began; only a planted bug looks at it.
    pub glimpsed: BTreeMap<OperationId, u64>,
    /// Hints that its version does not know.
    pub unknown: Vec<Hint>,
}

impl Process {
    /// As it starts.
    #[must_use]
    pub fn new(raft: Raft, machine: Machine, unknown: Vec<Hint>) -> Self {
        Self {
            raft,
            machine,
            to_apply: VecDeque::new(),
            is_applying: false,
            is_settling: false,
            proposed: BTreeMap::new(),
            awaited: BTreeSet::new(),
            reading: BTreeMap::new(),
            confirmed: Vec::new(),
            received: Vec::new(),
            sending: BTreeMap::new(),
            wake: (0, Duration::MAX),
            captured: None,
            lease_times: LeaseTimes::default(),
            glimpsed: BTreeMap::new(),
            unknown,
        }
    }

    /// The snapshot that arrived from `from`, if it did; it is not kept.
    pub fn take_received(&mut self, from: MemberId, meta: &SnapshotMeta) -> Option<Bytes> {
        let place = self.received.iter().position(|(sender, held, _)| *sender == from && held.last == meta.last)?;
        Some(self.received.swap_remove(place).2)
    }
}
