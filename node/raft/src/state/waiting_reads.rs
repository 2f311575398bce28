//! Reads that wait for a proof of leadership. Owns the queues of a leader and of a follower, and their bounds. Does not
//! own the proof (`read/read_index.rs`, `read/leader_lease.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{Index, MemberId, ReadContext};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Bound of the reads that wait at one leader, and of those that one follower forwarded; more fail at once.
const WAITING_MAX: usize = 65_536;
/// Bound of the rounds in progress for reads; reads that arrive meanwhile share the next round.
const ROUNDS_MAX: usize = 4;

/// The member that requested a read.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Asker {
    /// `None`: this member itself.
    pub(crate) member: Option<MemberId>,
    pub(crate) context: ReadContext,
}

/// Reads that share one round.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ReadBatch {
    round: u64,
    /// Commit index when the round began.
    pub(crate) index: Index,
    pub(crate) askers: Vec<Asker>,
}

/// Reads that a leader has yet to confirm.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Confirmations {
    /// Reads without a round.
    waiting: Vec<Asker>,
    /// Oldest round first.
    in_progress: VecDeque<ReadBatch>,
}

impl Confirmations {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Whether a read has no round yet.
    pub(crate) fn needs_round(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn may_begin_round(&self) -> bool {
        self.in_progress.len() < ROUNDS_MAX
    }

    /// Whether a round is in progress.
    pub(crate) fn is_in_progress(&self) -> bool {
        !self.in_progress.is_empty()
    }

    pub(crate) fn push(&mut self, asker: Asker) {
        assert!(!self.is_full(), "waiting reads are bounded");
        self.waiting.push(asker);
    }

    /// Removes all reads without a round, because the leader's lease proves their answer.
    pub(crate) fn take_waiting(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.waiting)
    }

    /// All reads without a round share `round`, which begins while `index` is the commit index.
    pub(crate) fn begin_round(&mut self, round: u64, index: Index) {
        let last = self.in_progress.back();
        assert!(self.in_progress.len() < ROUNDS_MAX, "rounds for reads are bounded");
        assert!(last.is_none_or(|last| last.round < round), "a round serves one batch");
        assert!(last.is_none_or(|last| last.index <= index), "the index of reads never falls");
        let askers = self.take_waiting();
        self.in_progress.push_back(ReadBatch { round, index, askers });
    }

    /// Removes the batches whose round is at most `round`.
    pub(crate) fn confirm(&mut self, round: u64) -> Vec<ReadBatch> {
        let mut ready = Vec::new();
        while self.in_progress.front().is_some_and(|batch| batch.round <= round) {
            ready.extend(self.in_progress.pop_front());
        }
        ready
    }

    /// Every read, oldest round first.
    pub(crate) fn into_askers(self) -> impl Iterator<Item = Asker> {
        let Self { waiting, in_progress } = self;
        in_progress.into_iter().flat_map(|batch| batch.askers).chain(waiting)
    }
}

/// Reads that a follower forwarded to its leader, oldest first, each with the time at which it fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardedReads(VecDeque<(ReadContext, Duration)>);

impl ForwardedReads {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= WAITING_MAX
    }

    pub(crate) fn push(&mut self, context: ReadContext, fails_at: Duration) {
        assert!(!self.is_full(), "waiting reads are bounded");
        assert!(self.0.back().is_none_or(|(_, last)| *last <= fails_at), "reads fail in the order of their arrival");
        self.0.push_back((context, fails_at));
    }

    /// Removes a read that was answered; false if it is not waiting any more.
    pub(crate) fn remove(&mut self, context: ReadContext) -> bool {
        let place = self.0.iter().position(|(waiting, _)| *waiting == context);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }

    /// Removes the oldest read if it fails at or before `now`.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<ReadContext> {
        self.0.front().filter(|(_, fails_at)| *fails_at <= now)?;
        self.0.pop_front().map(|(context, _)| context)
    }

    /// Removes every read.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = ReadContext> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(context, _)| context)
    }

    /// Time at which the oldest read fails; [`Duration::MAX`] without reads.
    pub(crate) fn deadline(&self) -> Duration {
        self.0.front().map_or(Duration::MAX, |(_, fails_at)| *fails_at)
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for ForwardedReads {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self(reads) = self;
        reads.iter().for_each(|(context, fails_at)| (context, present.wait(*fails_at)).hash(into));
        reads.len().hash(into);
    }
}
