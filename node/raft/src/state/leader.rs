//! The data that only a leader has, for one term. Owns the fields and their bookkeeping. Does not own rules:
//! `role/leader.rs`, `replication`, `election`, `read` and `membership` decide.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::{Index, MemberId};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::state::progress::PeerProgress;
use crate::state::rounds::HeartbeatRounds;
use crate::state::transfer::LeadershipTransfer;
use crate::state::waiting_reads::Confirmations;

/// The data of a leader.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    /// Every other member of the committed configuration or of a later one.
    peers: BTreeMap<MemberId, PeerProgress>,
    /// Index of this term's no-op. Rules that need a commit in this term wait until this entry is committed.
    first: Index,
    heartbeat_due: Duration,
    rounds: HeartbeatRounds,
    reads: Confirmations,
    transfer: Option<LeadershipTransfer>,
    /// Whether this leader asked a member to campaign in this term. If so, the leader's lease has ended permanently
    /// (raft-rs#234).
    lease_over: bool,
    /// Whether this leader is no longer a voter. If so, it steps down when its transfer ends.
    retiring: bool,
    /// Earliest time at which a stalled disk may cause another transfer.
    stall_retry: Duration,
    /// Earliest time at which too little space may cause another transfer.
    space_retry: Duration,
    /// Number of transfers in this term that too little space has caused.
    space_transfers: u32,
}

impl Leader {
    /// Creates a new leader, which knows no other member's log; its no-op will be at `first`.
    pub(crate) fn new(first: Index, heartbeat_due: Duration, rounds: HeartbeatRounds) -> Self {
        Self {
            peers: BTreeMap::new(),
            first,
            heartbeat_due,
            rounds,
            reads: Confirmations::default(),
            transfer: None,
            lease_over: false,
            retiring: false,
            stall_retry: Duration::ZERO,
            space_retry: Duration::ZERO,
            space_transfers: 0,
        }
    }

    // Tracked members.

    pub(crate) fn peers(&self) -> &BTreeMap<MemberId, PeerProgress> {
        &self.peers
    }

    pub(crate) fn peer(&self, id: MemberId) -> Option<&PeerProgress> {
        self.peers.get(&id)
    }

    pub(crate) fn peer_mut(&mut self, id: MemberId) -> Option<&mut PeerProgress> {
        self.peers.get_mut(&id)
    }

    pub(crate) fn peers_mut(&mut self) -> impl Iterator<Item = (MemberId, &mut PeerProgress)> {
        self.peers.iter_mut().map(|(id, progress)| (*id, progress))
    }

    /// Returns the number of members for which entries are being read from the disk.
    pub(crate) fn reads_under_way(&self) -> usize {
        self.peers.values().filter(|progress| progress.is_reading()).count()
    }

    /// Tracks exactly the members in `wanted`. Returns the members that are no longer tracked. `last` is the last index
    /// of the log.
    pub(crate) fn track(&mut self, wanted: &BTreeSet<MemberId>, last: Index, now: Duration) -> Vec<MemberId> {
        for id in wanted {
            self.peers.entry(*id).or_insert_with(|| PeerProgress::new(last, now));
        }
        let dropped: Vec<MemberId> = self.peers.keys().filter(|id| !wanted.contains(id)).copied().collect();
        self.peers.retain(|id, _| wanted.contains(id));
        assert!(self.peers.len() == wanted.len(), "a leader tracks every other member and no more");
        dropped
    }

    /// Records that a member answered `round`. Returns the member's progress if the member is tracked.
    pub(crate) fn answered(&mut self, from: MemberId, round: u64) -> Option<&mut PeerProgress> {
        let progress = self.peers.get_mut(&from)?;
        progress.answered(self.rounds.answered(round), self.rounds.began(round));
        Some(progress)
    }

    // Heartbeats and rounds.

    pub(crate) fn first(&self) -> Index {
        self.first
    }

    pub(crate) fn heartbeat_due(&self) -> Duration {
        self.heartbeat_due
    }

    pub(crate) fn schedule_heartbeat(&mut self, at: Duration) {
        assert!(at >= self.heartbeat_due, "heartbeats are scheduled one after the other");
        self.heartbeat_due = at;
    }

    pub(crate) fn latest_round(&self) -> u64 {
        self.rounds.latest()
    }

    pub(crate) fn begin_round(&mut self, now: Duration, span: Duration) -> u64 {
        self.rounds.begin(now, span)
    }

    // Reads.

    pub(crate) fn reads(&self) -> &Confirmations {
        &self.reads
    }

    pub(crate) fn reads_mut(&mut self) -> &mut Confirmations {
        &mut self.reads
    }

    pub(crate) fn into_reads(self) -> Confirmations {
        self.reads
    }

    // Leadership transfer.

    pub(crate) fn transfer(&self) -> Option<LeadershipTransfer> {
        self.transfer
    }

    pub(crate) fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    pub(crate) fn begin_transfer(&mut self, target: MemberId, deadline: Duration) {
        assert!(self.transfer.is_none(), "one transfer at a time");
        self.transfer = Some(LeadershipTransfer::new(target, deadline));
    }

    pub(crate) fn end_transfer(&mut self) {
        self.transfer = None;
    }

    /// Records that the target was asked to campaign. From now on this leader has no lease, even if the transfer fails.
    pub(crate) fn timeout_now_sent(&mut self) {
        assert!(self.transfer.is_some(), "only the target of a transfer is asked to campaign");
        self.transfer.iter_mut().for_each(LeadershipTransfer::timeout_now_sent);
        self.lease_over = true;
    }

    pub(crate) fn is_lease_over(&self) -> bool {
        self.lease_over
    }

    /// Records that this leader is no longer a voter and will step down. Cancels a transfer in progress.
    pub(crate) fn retire(&mut self) {
        assert!(!self.retiring, "a leader retires once");
        self.retiring = true;
        self.transfer = None;
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring
    }

    pub(crate) fn stall_retry(&self) -> Duration {
        self.stall_retry
    }

    pub(crate) fn retry_stall_at(&mut self, at: Duration) {
        assert!(at >= self.stall_retry, "the next attempt comes after the last one");
        self.stall_retry = at;
    }

    pub(crate) fn space_retry(&self) -> Duration {
        self.space_retry
    }

    /// Lets no transfer that too little space causes begin before `at`.
    pub(crate) fn transfers_to_space_from(&mut self, at: Duration) {
        self.space_retry = self.space_retry.max(at);
    }

    /// Records a transfer that too little space causes. The next one may follow after `wait`, and after twice the wait for
    /// each earlier one, up to `times` times the wait.
    pub(crate) fn transfers_to_space(&mut self, now: Duration, wait: Duration, times: u32) {
        assert!(now >= self.space_retry, "the next attempt comes after the last one");
        let factor = 1_u32.checked_shl(self.space_transfers).unwrap_or(times).min(times);
        self.space_transfers = self.space_transfers.saturating_add(1);
        self.space_retry = now.saturating_add(wait.saturating_mul(factor));
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Leader {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        // The destructuring makes the compiler reject a new field that is missing here.
        let Self {
            peers,
            first,
            heartbeat_due,
            rounds,
            reads,
            transfer,
            lease_over,
            retiring,
            stall_retry,
            space_retry,
            space_transfers,
        } = self;
        for (id, progress) in peers {
            id.hash(into);
            progress.fingerprint(present, into);
        }
        (peers.len(), first, reads, lease_over, retiring, space_transfers).hash(into);
        (present.wait(*heartbeat_due), present.wait(*stall_retry), present.wait(*space_retry)).hash(into);
        rounds.fingerprint(present, into);
        transfer.fingerprint(present, into);
    }
}
