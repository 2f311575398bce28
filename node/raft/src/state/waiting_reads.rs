//! Reads that wait for a proof of leadership. Owns the queues of a leader and of a follower, and their bounds. Does not
//! own the proof (`read/read_index.rs`, `read/leader_lease.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{Index, MemberId, ReadContext};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};

/// Maximum number of reads that wait at one leader, and of reads that one follower has forwarded. Further reads fail
/// immediately.
const WAITING_MAX: usize = 65_536;
/// Maximum number of rounds in progress for reads. Reads that arrive meanwhile share the next round.
const ROUNDS_MAX: usize = 4;

/// The member that requested a read.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Asker {
    /// The member to answer; `None` if this member itself requested the read.
    pub(crate) member: Option<MemberId>,
    pub(crate) context: ReadContext,
}

/// Reads that share one round.
#[derive(Clone, Debug, Hash)]
pub(crate) struct ReadBatch {
    round: u64,
    /// Commit index at the start of the round.
    pub(crate) index: Index,
    pub(crate) askers: Vec<Asker>,
}

/// Reads that the leader has yet to confirm.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Confirmations {
    /// Reads for which no round has begun.
    waiting: Vec<Asker>,
    /// Reads with a round in progress, oldest round first.
    in_progress: VecDeque<ReadBatch>,
}

impl Confirmations {
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Returns whether some read still waits for its round to begin.
    pub(crate) fn needs_round(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn may_begin_round(&self) -> bool {
        self.in_progress.len() < ROUNDS_MAX
    }

    /// Returns whether some read has a round in progress.
    pub(crate) fn is_in_progress(&self) -> bool {
        !self.in_progress.is_empty()
    }

    pub(crate) fn push(&mut self, asker: Asker) {
        assert!(!self.is_full(), "waiting reads are bounded");
        self.waiting.push(asker);
    }

    /// Removes and returns all reads for which no round has begun.
    pub(crate) fn take_waiting(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.waiting)
    }

    /// Assigns `round` to all reads without a round; `index` is the commit index at the start of the round.
    pub(crate) fn begin_round(&mut self, round: u64, index: Index) {
        let last = self.in_progress.back();
        assert!(self.in_progress.len() < ROUNDS_MAX, "rounds for reads are bounded");
        assert!(last.is_none_or(|last| last.round < round), "a round serves one batch");
        assert!(last.is_none_or(|last| last.index <= index), "the index of reads never falls");
        let askers = self.take_waiting();
        self.in_progress.push_back(ReadBatch { round, index, askers });
    }

    /// Removes and returns the batches whose round is at most `round`.
    pub(crate) fn confirm(&mut self, round: u64) -> Vec<ReadBatch> {
        let mut ready = Vec::new();
        while self.in_progress.front().is_some_and(|batch| batch.round <= round) {
            ready.extend(self.in_progress.pop_front());
        }
        ready
    }

    /// Returns every read, oldest round first.
    pub(crate) fn into_askers(self) -> impl Iterator<Item = Asker> {
        let Self { waiting, in_progress } = self;
        in_progress.into_iter().flat_map(|batch| batch.askers).chain(waiting)
    }
}

/// Reads that a follower forwarded to its leader, oldest first. Each read has a time at which it fails.
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

    /// Removes a read that was answered. Returns false if the read no longer waits.
    pub(crate) fn remove(&mut self, context: ReadContext) -> bool {
        let place = self.0.iter().position(|(waiting, _)| *waiting == context);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }

    /// Removes and returns the oldest read if its deadline is at or before `now`.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<ReadContext> {
        self.0.front().filter(|(_, fails_at)| *fails_at <= now)?;
        self.0.pop_front().map(|(context, _)| context)
    }

    /// Removes and returns every read.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = ReadContext> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(context, _)| context)
    }

    /// Returns the time at which the oldest read fails; [`Duration::MAX`] if no read waits.
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
