//! What a leader knows about one member, and how the leader replicates to that member. Owns the states below, the
//! indexes `matched` and `next`, and the commit index that was sent. Does not own when to send
//! (`replication/append.rs`).
//!
//! ```text
//!            accepted                      rejected, unreachable
//!   Probe --------------> Replicate ---------------------------> Probe
//!     |                                                            ^
//!     | next is purged               accepted at or after at_least |
//!     +--------------> Snapshot ---------------> Replicate         |
//!                          +--- installed but the log is purged    |
//!                          beyond it, failed, lost after arrival,  |
//!                          or timed out ---------------------------+
//! ```

use std::time::Duration;

use crate::ids::{EntryId, Index};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::standing::Standing;
use crate::state::inflight::Inflight;
use crate::state::log::Log;

/// A member as its leader sees it (etcd-io/raft's Progress).
#[derive(Clone, Debug)]
pub(crate) struct PeerProgress {
    /// Last index of the durable prefix that the member acknowledged in this term. Always less than `next`.
    matched: Index,
    /// Next index to send.
    next: Index,
    state: ProgressState,
    /// Start of the latest round that the member answered. The member knew no newer leader before that time.
    acked_round_began: Option<Duration>,
    /// Time at which the leader began to track the member. Until the member answers a round, its silence is counted
    /// from this time.
    tracked_since: Duration,
    /// Latest round that the member answered.
    acked_round: u64,
    /// Highest commit index sent to the member.
    commit_sent: Index,
    /// Latest time at which the leader asked whether messages in flight had arrived.
    probed_at: Duration,
    /// First index of the entries that the driver is reading from the disk for the member. Stays until the driver
    /// answers, even if the member needs other entries meanwhile. At most one read for the member is therefore under
    /// way.
    reading: Option<Index>,
    /// Space that the member last said it has, and when it said so. `None`: nothing to remember.
    standing: Option<(Standing, Duration)>,
}

/// How a leader sends entries to a member.
#[derive(Clone, Debug)]
pub(crate) enum ProgressState {
    /// The leader sends one append at a time, until an answer shows where the logs agree.
    Probe {
        /// Whether an append is in flight.
        waiting: bool,
    },
    /// The leader sends appends without waiting for answers, up to the limits of [`Inflight`].
    Replicate(Inflight),
    /// The leader sends no appends, because the member needs a snapshot.
    Snapshot {
        /// Lower bound for the snapshot's last index. Replication continues once the member has acknowledged the entry
        /// at this lower bound.
        at_least: Index,
        /// Time at which the leader stops waiting for the snapshot and probes again.
        deadline: Duration,
        /// Whether all bytes have arrived at the member, which has yet to install the snapshot.
        arrived: bool,
    },
}

impl PeerProgress {
    /// Returns the progress of a member about which nothing is known. The first probe refers to the last entry of the
    /// log.
    pub(crate) fn new(last: Index, now: Duration) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            state: ProgressState::Probe { waiting: false },
            acked_round_began: None,
            tracked_since: now,
            acked_round: 0,
            commit_sent: Index(0),
            probed_at: now,
            reading: None,
            standing: None,
        }
    }

    pub(crate) fn matched(&self) -> Index {
        self.matched
    }

    pub(crate) fn next(&self) -> Index {
        self.next
    }

    pub(crate) fn state(&self) -> &ProgressState {
        &self.state
    }

    pub(crate) fn needs_snapshot(&self) -> bool {
        matches!(self.state, ProgressState::Snapshot { .. })
    }

    pub(crate) fn acked_round(&self) -> u64 {
        self.acked_round
    }

    /// Returns the start of the latest round that the member answered.
    pub(crate) fn acked_round_began(&self) -> Option<Duration> {
        self.acked_round_began
    }

    /// Returns the time from which check-quorum counts the member as silent: the start of the latest round that the
    /// member answered, or the time at which the leader began to track the member, whichever is later.
    pub(crate) fn silent_since(&self) -> Duration {
        self.acked_round_began.map_or(self.tracked_since, |began| began.max(self.tracked_since))
    }

    /// Returns whether the member answered a round that began within `span` before `now`.
    pub(crate) fn is_active(&self, now: Duration, span: Duration) -> bool {
        self.acked_round_began.is_some_and(|began| now < began.saturating_add(span))
    }

    /// Returns the space that the member said it has within `span` before `now`.
    pub(crate) fn standing(&self, now: Duration, span: Duration) -> Standing {
        self.standing.filter(|(_, at)| now < at.saturating_add(span)).map_or(Standing::default(), |(said, _)| said)
    }

    /// Returns whether the member last said that it is short of space.
    pub(crate) fn was_short(&self) -> bool {
        self.standing.is_some()
    }

    /// Records the space that the member says it has.
    pub(crate) fn stands(&mut self, standing: Standing, now: Duration) {
        self.standing = (standing < Standing::Above).then_some((standing, now));
    }

    /// Records that the member answered `round`. `began` is the start of the round, or `None` if the start is
    /// forgotten.
    pub(crate) fn answered(&mut self, round: u64, began: Option<Duration>) {
        self.acked_round = self.acked_round.max(round);
        self.acked_round_began = self.acked_round_began.max(began);
    }

    /// Records that the member durably holds the leader's log up to `matched`.
    pub(crate) fn accepted(&mut self, matched: Index, log: &Log) {
        assert!(matched <= log.last().index, "a match lies within the leader's log: {matched} of {}", log.last());
        // An answer to an append before the probe says nothing of the probe. If it ended the probe, the leader would send
        // all its entries again, and each late refusal and late answer to those would make it send them once more.
        let answers_probe = matched.next() >= self.next;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &mut self.state {
            ProgressState::Replicate(inflight) => inflight.answered(self.matched),
            ProgressState::Probe { .. } if answers_probe => self.replicate(),
            ProgressState::Probe { .. } => {}
            // The member installed the snapshot. If the log was purged beyond the snapshot meanwhile, the leader offers
            // a newer snapshot immediately.
            ProgressState::Snapshot { at_least, .. } if self.matched >= *at_least => self.replicate(),
            ProgressState::Snapshot { .. } => {}
        }
        self.check();
    }

    /// Records that the member does not hold the entry at `prev`. The logs of member and leader agree at most up to
    /// `hint` according to the member's answer, and at most up to `agree` according to the leader's log. Returns false
    /// if the answer is outdated, or if the member has yet to install a snapshot.
    pub(crate) fn rejected(&mut self, prev: Index, hint: Index, agree: EntryId) -> bool {
        let stale = match &self.state {
            ProgressState::Replicate(_) => prev <= self.matched || prev >= self.next,
            ProgressState::Probe { .. } => prev.next() != self.next || prev <= self.matched,
            // A refusal counts only if the member may hold the entry at `at_least` (`hint`) and refuses a later one.
            // The member has then installed the snapshot, but this leader has purged its log beyond the snapshot. A
            // refusal of `at_least` itself means that the snapshot is not installed yet.
            ProgressState::Snapshot { at_least, .. } => hint < *at_least || prev <= *at_least || prev <= self.matched,
        };
        if stale {
            return false;
        }
        // `next` moves back by at least one, but not to or below `matched`.
        self.next = agree.index.next().min(prev).max(self.matched.next());
        self.commit_sent = self.commit_sent.min(self.matched);
        assert!(self.next <= prev, "a refusal takes at least one step back");
        self.state = ProgressState::Probe { waiting: false };
        self.check();
        true
    }

    /// Records that all bytes of the snapshot arrived at the member. The leader waits until `until` for the
    /// installation.
    pub(crate) fn snapshot_arrived(&mut self, until: Duration) {
        if let ProgressState::Snapshot { deadline, arrived, .. } = &mut self.state {
            (*deadline, *arrived) = (until, true);
        }
    }

    /// Records that the member does not hold the entry at `prev`. If a snapshot up to `prev` had arrived, the member
    /// may have lost it in a crash before the installation. The leader waits until `pause` before it probes again,
    /// because the member may have sent the refusal before the snapshot arrived.
    pub(crate) fn missed_snapshot(&mut self, prev: Index, pause: Duration) {
        if let ProgressState::Snapshot { at_least, deadline, arrived: true } = &mut self.state
            && prev >= *at_least
        {
            *deadline = pause.min(*deadline);
        }
    }

    /// Records that appends in flight may be lost. As soon as the member shows that it is alive, the leader probes
    /// again, from the entry after `matched`.
    pub(crate) fn lost(&mut self) {
        if let ProgressState::Replicate(_) = self.state {
            self.wait();
            self.probed_at = Duration::ZERO;
        }
    }

    /// Switches to probing, from the entry after `matched`.
    pub(crate) fn probe(&mut self) {
        self.next = self.matched.next();
        self.commit_sent = self.commit_sent.min(self.matched);
        self.state = ProgressState::Probe { waiting: false };
        self.check();
    }

    /// Records that the member needs a snapshot whose last index is at least `at_least`.
    pub(crate) fn snapshot(&mut self, at_least: Index, deadline: Duration) {
        self.state = ProgressState::Snapshot { at_least, deadline, arrived: false };
    }

    /// Records that an append with entries up to `last` was sent.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, commit: Index) {
        self.commit_sent(commit.min(last));
        match &mut self.state {
            ProgressState::Replicate(inflight) => {
                if last >= self.next {
                    inflight.sent(last, bytes);
                    self.next = last.next();
                }
            }
            ProgressState::Probe { waiting } => *waiting = true,
            ProgressState::Snapshot { .. } => {}
        }
        self.check();
    }

    /// Records that the member is alive. Messages that have been in flight for longer than `interval` may be lost. A
    /// probing leader may therefore probe again. In the other states, returns true if the leader must ask whether the
    /// appends or the snapshot arrived.
    pub(crate) fn lives(&mut self, now: Duration, interval: Duration) -> bool {
        if now < self.probed_at.saturating_add(interval) {
            return false;
        }
        self.probed_at = now;
        match &mut self.state {
            ProgressState::Probe { waiting } => {
                *waiting = false;
                false
            }
            ProgressState::Replicate(inflight) => !inflight.is_empty(),
            ProgressState::Snapshot { .. } => true,
        }
    }

    /// Records that the driver was asked to read the entries from `next` on.
    pub(crate) fn begin_read(&mut self) {
        assert!(self.reading.is_none(), "one read for a member at a time");
        self.reading = Some(self.next);
    }

    /// Records that the driver answered a request to read the entries from `from` on. Returns false if no such request
    /// was open.
    pub(crate) fn end_read(&mut self, from: Index) -> bool {
        let is_open = self.reading == Some(from);
        if is_open {
            self.reading = None;
        }
        is_open
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Sends nothing until the member shows that it is alive, and then probes.
    pub(crate) fn wait(&mut self) {
        self.probe();
        self.state = ProgressState::Probe { waiting: true };
    }

    /// Returns the commit index that may be sent to the member: at most the member's durable prefix.
    pub(crate) fn commit_to_send(&self, commit: Index) -> Index {
        commit.min(self.matched)
    }

    /// Returns whether a commit index of at least `commit` was sent to the member.
    pub(crate) fn is_commit_sent(&self, commit: Index) -> bool {
        self.commit_sent >= commit
    }

    pub(crate) fn commit_sent(&mut self, commit: Index) {
        self.commit_sent = self.commit_sent.max(commit);
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_next(&mut self) {
        self.next = self.matched;
    }

    fn replicate(&mut self) {
        self.next = self.matched.next();
        self.state = ProgressState::Replicate(Inflight::default());
    }

    fn check(&self) {
        assert!(self.matched < self.next, "next is ahead of matched: {} after {}", self.next, self.matched);
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for PeerProgress {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self {
            matched,
            next,
            state,
            acked_round_began,
            tracked_since,
            acked_round,
            commit_sent,
            probed_at,
            reading,
            standing,
        } = self;
        (matched, next, acked_round, commit_sent, reading).hash(into);
        acked_round_began.map(|at| present.distance(at)).hash(into);
        (present.distance(*tracked_since), present.distance(*probed_at)).hash(into);
        standing.map(|(standing, at)| (standing, present.distance(at))).hash(into);
        match state {
            ProgressState::Probe { waiting } => (0, waiting).hash(into),
            ProgressState::Replicate(inflight) => (1, inflight).hash(into),
            ProgressState::Snapshot { at_least, deadline, arrived } => {
                (2, at_least, present.wait(*deadline), arrived).hash(into);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::message::SnapshotMeta;
    use crate::restored::RestoredLog;

    /// Late answers to entries that were sent before a refusal must not make the leader send them all again.
    #[test]
    fn only_the_answer_to_a_probe_ends_it() {
        let last = EntryId { term: Term(1), index: Index(100) };
        let snapshot = SnapshotMeta { last, ..SnapshotMeta::default() };
        let log =
            Log::restored(&snapshot, RestoredLog { floor: last, ..RestoredLog::default() }).expect("an empty log");
        let mut progress = PeerProgress::new(last.index, Duration::ZERO);
        progress.accepted(Index(100), &log);
        (progress.matched, progress.next) = (Index(60), Index(101));
        assert!(progress.rejected(Index(99), Index(94), EntryId { term: Term(1), index: Index(94) }));
        progress.accepted(Index(75), &log);
        assert!(matches!(progress.state, ProgressState::Probe { .. }), "the probe is sent after 94");
        progress.accepted(Index(94), &log);
        assert!(matches!(progress.state, ProgressState::Replicate(_)));
    }

    /// The only message that reports the installation of a snapshot may be lost. The leader therefore probes a member
    /// that answers heartbeats.
    #[test]
    fn a_member_that_may_have_installed_a_snapshot_is_probed() {
        let second = Duration::from_secs(1);
        let mut progress = PeerProgress::new(Index(10), Duration::ZERO);
        progress.snapshot(Index(5), second * 600);
        assert!(progress.lives(second, second), "an interval has passed");
        assert!(!progress.lives(second, second), "one probe in an interval is enough");
    }

    /// If the member refuses the snapshot's last entry, it has not installed the snapshot, so the transfer continues.
    /// If the member may hold that entry and refuses a later one, it may have installed the snapshot, so the transfer
    /// ends.
    #[test]
    fn a_refusal_of_the_mark_does_not_end_the_transfer() {
        let agree = EntryId { term: Term(1), index: Index(5) };
        let mut progress = PeerProgress::new(Index(10), Duration::ZERO);
        progress.snapshot(Index(5), Duration::from_secs(600));
        assert!(!progress.rejected(Index(5), Index(5), agree));
        assert!(!progress.rejected(Index(7), Index(4), agree));
        assert!(matches!(progress.state, ProgressState::Snapshot { .. }));
        assert!(progress.rejected(Index(7), Index(5), agree), "it may have installed the snapshot");
        assert!(matches!(progress.state, ProgressState::Probe { .. }));
    }

    /// A refusal is normal while the snapshot's bytes are in flight. A refusal after their arrival shows that the
    /// member may have lost them.
    #[test]
    fn a_refusal_of_what_arrived_shortens_the_wait() {
        let second = Duration::from_secs(1);
        let mut progress = PeerProgress::new(Index(10), Duration::ZERO);
        let deadline = |progress: &PeerProgress| match progress.state {
            ProgressState::Snapshot { deadline, .. } => deadline,
            ProgressState::Probe { .. } | ProgressState::Replicate(_) => Duration::ZERO,
        };
        progress.snapshot(Index(5), second * 600);
        progress.missed_snapshot(Index(5), second);
        assert_eq!(deadline(&progress), second * 600, "the snapshot has not arrived yet");
        progress.snapshot_arrived(second * 30);
        progress.missed_snapshot(Index(4), second);
        assert_eq!(deadline(&progress), second * 30, "the refused entry is before the mark");
        progress.missed_snapshot(Index(5), second * 2);
        progress.missed_snapshot(Index(5), second * 3);
        assert_eq!(deadline(&progress), second * 2, "the first refusal counts");
    }

    /// The log was purged beyond the snapshot while the member installed it. The leader must then send a newer snapshot
    /// without waiting for the timeout of the transfer.
    #[test]
    fn a_snapshot_that_the_purge_overtook_ends_the_wait() {
        let last = EntryId { term: Term(1), index: Index(10) };
        let snapshot = SnapshotMeta { last, ..SnapshotMeta::default() };
        let log =
            Log::restored(&snapshot, RestoredLog { floor: last, ..RestoredLog::default() }).expect("an empty log");
        let mut progress = PeerProgress::new(last.index, Duration::ZERO);
        progress.snapshot(Index(5), Duration::from_secs(600));
        progress.accepted(Index(4), &log);
        assert!(matches!(progress.state, ProgressState::Snapshot { .. }), "an older answer changes nothing");
        progress.accepted(Index(6), &log);
        assert!(matches!(progress.state, ProgressState::Replicate(_)));
        assert_eq!(log.id_before(progress.next()), None, "the next entry is purged, so a newer snapshot is offered");
    }
}
