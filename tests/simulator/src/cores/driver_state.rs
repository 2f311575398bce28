//! A simulated member: a shipped core, and the part of its driver's state that is in memory. Owns the state that a
//! crash loses. Does not own the state that survives (the disk).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::{Change, Entry, Index, MemberId, Message, ProposalId, Raft, ReadContext, SnapshotMeta, Standing, Term};
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
    /// The time of the core's deadline has come.
    Wake {
        /// Number of the request for a tick. The input is ignored if a newer request exists.
        order: u64,
    },
    /// The sync in progress ends.
    Synced,
    /// The state machine applies committed entries.
    Apply,
    /// The state machine captures its state for a snapshot.
    Capture,
    /// A snapshot that this member captured becomes durable.
    Captured {
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Encoded state.
        image: Bytes,
    },
    /// A snapshot arrived completely.
    Snapshot {
        /// The sender.
        from: MemberId,
        /// The sender's term.
        term: Term,
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Encoded state.
        image: Bytes,
    },
    /// A snapshot transfer from this member ended.
    SnapshotSent {
        /// The receiver.
        to: MemberId,
        /// Whether the receiver acknowledged every byte.
        arrived: Result<(), ()>,
    },
    /// The connection to a member broke.
    Unreachable {
        /// The member at the other end of the connection.
        to: MemberId,
    },
    /// Clients propose commands.
    Propose {
        /// Operations and their encoded commands.
        commands: Vec<(OperationId, Bytes)>,
    },
    /// A client reads linearizably.
    Read {
        /// The operation.
        operation: OperationId,
    },
    /// The operator requests a configuration.
    Change(Change),
    /// A leadership transfer is requested.
    Transfer {
        /// The successor; `None`: any voter.
        target: Option<MemberId>,
    },
    /// The space on the member's volume changed.
    Standing(Standing),
    /// The other voters are asked whether they know of this member's removal.
    VerifyRemoval,
    /// The leader checks which leases are over.
    Leases,
    /// The driver requests outputs from the core.
    Settle,
    /// Entries for a member that lags were read from the disk.
    LogRead {
        /// The member that lags.
        to: MemberId,
        /// Index of the first entry.
        from: Index,
        /// The entries; `None`: the disk does not hold the first one.
        read: Option<Vec<Entry>>,
    },
    /// Committed entries were read from the disk.
    StoredRead {
        /// The entries.
        read: Vec<Entry>,
    },
}

/// Committed entries that are not applied yet.
#[derive(Clone, Debug)]
pub enum ToApply {
    /// An entry in memory.
    Held(Entry),
    /// Entries from this index on, which are being read from the disk.
    Stored(Index),
}

impl Input {
    /// Returns the number of the input's kind, for the trace hash. The number is never reused for another kind.
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
            Self::VerifyRemoval => 117,
            Self::LogRead { .. } => 115,
            Self::StoredRead { .. } => 116,
            Self::Standing(_) => 118,
        }
    }
}

/// State of a member.
#[derive(Debug)]
pub enum State {
    /// The member runs.
    Up(Box<Process>),
    /// The member is down and will restart.
    Down,
    /// The member was removed and has stopped for good.
    Tombstoned,
    /// The operator has removed and destroyed the member, or the member's disk is lost.
    Gone,
}

/// A simulated member, running or not.
#[derive(Debug)]
pub struct Member {
    /// ID of the member.
    pub id: MemberId,
    /// Clocks of the member.
    pub clock: Clock,
    /// Whether the member is running, down, tombstoned or gone.
    pub state: State,
    /// Number of starts so far; events planned for an earlier start are ignored.
    pub start: u64,
    /// Inputs that arrived during a pause; `None` if the member is not paused.
    pub paused: Option<Vec<Input>>,
    /// Syncs do not end before this time.
    pub stalled_until: Duration,
    /// Whether the next sync fails.
    pub sync_fails: bool,
    /// The disk is full before this time.
    pub full_until: Duration,
    /// Reads of the disk fail before this time.
    pub unreadable_until: Duration,
    /// Space on the member's volume.
    pub standing: Standing,
    /// Number of IDs that were given to proposals and reads; an ID is never reused.
    names: u64,
}

impl Member {
    /// A member that has never started.
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
            standing: Standing::Above,
            names: 0,
        }
    }

    /// The process, if the member runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        match &self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    /// The process, if the member runs.
    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.state {
            State::Up(process) => Some(process),
            _ => None,
        }
    }

    /// Whether the member runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// An ID that no proposal or read of this member has had.
    pub fn fresh_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }
}

/// Memory of a running member, which a crash loses.
#[derive(Debug)]
pub struct Process {
    /// The shipped core.
    pub raft: Raft,
    /// The state machine.
    pub machine: Machine,
    /// Entries that are committed but not applied yet.
    pub to_apply: VecDeque<ToApply>,
    /// Whether an apply is planned.
    pub is_applying: bool,
    /// Whether a request for outputs is planned.
    pub is_settling: bool,
    /// Operations of the proposals, by proposal ID.
    pub proposed: BTreeMap<ProposalId, OperationId>,
    /// Operations that are answered when this member applies their commands.
    pub awaited: BTreeSet<OperationId>,
    /// Operations of the reads, by read context.
    pub reading: BTreeMap<ReadContext, OperationId>,
    /// Confirmed reads. Each is answered when this member has applied the given index.
    pub confirmed: Vec<(Index, OperationId)>,
    /// Received snapshots that wait for the core's decision.
    pub received: Vec<(MemberId, SnapshotMeta, Bytes)>,
    /// Number of the latest snapshot transfer to each member; a newer transfer aborts the previous one.
    pub sending: BTreeMap<MemberId, u64>,
    /// The latest request for a tick: its number and time.
    pub wake: (u64, Duration),
    /// The state at the latest capture; only a planted bug reads it.
    pub captured: Option<Bytes>,
    /// Times at which leases are over; used only while this member leads.
    pub lease_times: LeaseTimes,
    /// Value of the first register when each read began; only a planted bug uses it.
    pub early_read: BTreeMap<OperationId, u64>,
    /// The hints that this member's version does not know. The member drops messages of these kinds.
    pub unknown: Vec<Hint>,
}

impl Process {
    /// Creates the memory of a member that starts.
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
            early_read: BTreeMap::new(),
            unknown,
        }
    }

    /// Puts entries that were read from the disk in their place among those to apply. Does nothing if a snapshot replaced
    /// them meanwhile.
    pub fn fill_in(&mut self, entries: Vec<Entry>) {
        let first = entries.first().map(|entry| entry.id.index);
        let is_of = |waiting: &ToApply| matches!(waiting, ToApply::Stored(from) if Some(*from) == first);
        let Some(place) = self.to_apply.iter().position(is_of) else { return };
        let later = self.to_apply.split_off(place + 1);
        self.to_apply.pop_back();
        self.to_apply.extend(entries.into_iter().map(ToApply::Held).chain(later));
    }

    /// Whether an entry can be applied now.
    #[must_use]
    pub fn can_apply(&self) -> bool {
        matches!(self.to_apply.front(), Some(ToApply::Held(_)))
    }

    /// Removes and returns the snapshot received from `from`, if there is one.
    pub fn take_received(&mut self, from: MemberId, meta: &SnapshotMeta) -> Option<Bytes> {
        let place = self.received.iter().position(|(sender, held, _)| *sender == from && held.last == meta.last)?;
        Some(self.received.swap_remove(place).2)
    }
}
