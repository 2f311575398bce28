//! What a leader knows of one member. Owns the state below and the two indexes; when to send is `append`'s.
//!
//! ```text
//!            accepted                      rejected, unreachable
//!   Probe ──────────────▶ Replicate ───────────────────────────▶ Probe
//!     │                                                            ▲
//!     │ next is purged               accepted behind the mark      │
//!     └──────────────▶ Snapshot ───────────────▶ Replicate         │
//!                          └─── installed and overtaken by the purge,
//!                          failed, lost on arrival, or timed out ──┘
//! ```

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::{EntryId, Index};
use crate::log::Log;
use crate::replication::inflight::Inflight;

/// A member as its leader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Durable shared prefix: the member said so in this term.
    matched: Index,
    /// Next index to send; always behind `matched`.
    next: Index,
    pub(crate) state: State,
    /// Start of the latest round that the member answered: then, at the earliest, it knew no newer leader.
    heard: Option<Duration>,
    /// Since when it is counted on.
    since: Duration,
    /// Latest round that it answered.
    round: u64,
    /// Commit index that it was told.
    told: Index,
    /// When it was last asked whether what is in flight arrived.
    asked: Duration,
}

/// How entries are sent.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// One append at a time, until it is known where the logs agree.
    Probe {
        /// One is under way.
        waiting: bool,
    },
    /// A stream of appends, as long as the window allows.
    Replicate(Inflight),
    /// None: a snapshot is under way, or about to be.
    Snapshot {
        /// The entries that are needed again, once it arrived, follow this one.
        at_least: Index,
        /// When to give it up and look again.
        give_up: Duration,
        /// Its last byte is at the member, which has yet to install it.
        arrived: bool,
    },
}

impl Progress {
    /// A member about which nothing is known: the first probe tries the end of the log.
    pub(crate) fn new(last: Index, now: Duration) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            state: State::Probe { waiting: false },
            heard: None,
            since: now,
            round: 0,
            told: Index(0),
            asked: now,
        }
    }

    pub(crate) fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        let Self { matched, next, state, heard, since, round, told, asked } = self;
        (matched, next, round, told).hash(into);
        (heard.map(|at| present.distance(at)), present.distance(*since), present.distance(*asked)).hash(into);
        match state {
            State::Probe { waiting } => (0, waiting).hash(into),
            State::Replicate(inflight) => (1, inflight).hash(into),
            State::Snapshot { at_least, give_up, arrived } => (2, at_least, present.wait(*give_up), arrived).hash(into),
        }
    }

    pub(crate) fn matched(&self) -> Index {
        self.matched
    }

    pub(crate) fn next(&self) -> Index {
        self.next
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Start of the latest round that the member answered.
    pub(crate) fn heard(&self) -> Option<Duration> {
        self.heard
    }

    /// From when on its silence counts against the leader.
    pub(crate) fn silent_since(&self) -> Duration {
        self.heard.map_or(self.since, |heard| heard.max(self.since))
    }

    /// Whether it answered a round that began within `span`.
    pub(crate) fn is_active(&self, now: Duration, span: Duration) -> bool {
        self.heard.is_some_and(|heard| now < heard.saturating_add(span))
    }

    /// It answered `round`, which began at `started` (unknown for one that is long gone).
    pub(crate) fn answered(&mut self, round: u64, started: Option<Duration>) {
        self.round = self.round.max(round);
        self.heard = self.heard.max(started);
    }

    /// It holds, durably, the leader's log up to `matched`.
    pub(crate) fn accepted(&mut self, matched: Index, log: &Log) {
        assert!(matched <= log.last().index, "a match lies within the leader's log: {matched} of {}", log.last());
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &mut self.state {
            State::Replicate(inflight) => inflight.answered(self.matched),
            State::Probe { .. } => self.replicate(),
            // What was offered is there. If the log was purged past it meanwhile, a newer one is offered at once.
            State::Snapshot { at_least, .. } if self.matched >= *at_least => self.replicate(),
            State::Snapshot { .. } => {}
        }
    }

    /// It does not hold the entry at `prev`, but says that the logs may agree at `hint`; `agree` is where this one may agree with
    /// that. False for an answer to something long past, and while a snapshot that was offered is not installed.
    pub(crate) fn rejected(&mut self, prev: Index, hint: Index, agree: EntryId) -> bool {
        let stale = match &self.state {
            State::Replicate(_) => prev <= self.matched || prev >= self.next,
            State::Probe { .. } => prev.next() != self.next || prev <= self.matched,
            // Whoever holds what was offered has installed it, but the log was purged past it meanwhile. Whoever refuses the
            // mark itself does not hold it, whatever else may agree there.
            State::Snapshot { at_least, .. } => hint < *at_least || prev <= *at_least || prev <= self.matched,
        };
        if stale {
            return false;
        }
        // At least one step back, never into what is matched.
        self.next = agree.index.next().min(prev).max(self.matched.next());
        self.told = self.told.min(self.matched);
        assert!(self.next <= prev, "a refusal takes at least one step back");
        assert!(self.next > self.matched, "a refusal takes nothing back that is known");
        self.state = State::Probe { waiting: false };
        true
    }

    /// Its last byte is at the member, which has until `give_up` to install it.
    pub(crate) fn snapshot_arrived(&mut self, until: Duration) {
        if let State::Snapshot { give_up, arrived, .. } = &mut self.state {
            (*give_up, *arrived) = (until, true);
        }
    }

    /// It does not hold the entry at `prev`. If a snapshot up to there arrived, a crash may have taken it before it was
    /// installed: looks again at `pause`, as the refusal may also be older than the last byte.
    pub(crate) fn missed_snapshot(&mut self, prev: Index, pause: Duration) {
        if let State::Snapshot { at_least, give_up, arrived: true } = &mut self.state
            && prev >= *at_least
        {
            *give_up = pause.min(*give_up);
        }
    }

    /// What was in flight may be lost: looks again from what is known. The next sign of life ends the wait.
    pub(crate) fn lost(&mut self) {
        if let State::Replicate(_) = self.state {
            self.probe();
            self.state = State::Probe { waiting: true };
            self.asked = Duration::ZERO;
        }
    }

    /// Looks again from what is known.
    pub(crate) fn probe(&mut self) {
        self.next = self.matched.next();
        self.told = self.told.min(self.matched);
        self.state = State::Probe { waiting: false };
    }

    /// Needs a snapshot that reaches at least the purge mark.
    pub(crate) fn snapshot(&mut self, at_least: Index, give_up: Duration) {
        self.state = State::Snapshot { at_least, give_up, arrived: false };
    }

    /// Entries up to `last` are on their way.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, commit: Index) {
        self.tell(commit.min(last));
        match &mut self.state {
            State::Replicate(inflight) => {
                if last >= self.next {
                    inflight.sent(last, bytes);
                    self.next = last.next();
                }
            }
            State::Probe { waiting } => *waiting = true,
            State::Snapshot { .. } => {}
        }
    }

    /// It lives. If something is under way to it for an `interval`, that may be lost: a probe goes out again, and for a stream
    /// or a snapshot the answer is true, to ask whether it arrived.
    pub(crate) fn lives(&mut self, now: Duration, interval: Duration) -> bool {
        if now < self.asked.saturating_add(interval) {
            return false;
        }
        self.asked = now;
        match &mut self.state {
            State::Probe { waiting } => *waiting = false,
            State::Replicate(inflight) => return !inflight.is_empty(),
            State::Snapshot { .. } => return true,
        }
        false
    }

    /// The part of the commit index that it may be told: never past what it is known to hold.
    pub(crate) fn may_know(&self, commit: Index) -> Index {
        commit.min(self.matched)
    }

    /// Whether it was told that `commit` is committed.
    pub(crate) fn knows(&self, commit: Index) -> bool {
        self.told >= commit
    }

    pub(crate) fn tell(&mut self, commit: Index) {
        self.told = self.told.max(commit);
    }

    fn replicate(&mut self) {
        self.next = self.matched.next();
        self.state = State::Replicate(Inflight::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::message::SnapshotMeta;

    /// The one word that a snapshot is installed may be lost; whoever answers heartbeats is asked.
    #[test]
    fn a_member_that_may_have_installed_is_asked() {
        let second = Duration::from_secs(1);
        let mut progress = Progress::new(Index(10), Duration::ZERO);
        progress.snapshot(Index(5), second * 600);
        assert!(progress.lives(second, second), "an interval has passed");
        assert!(!progress.lives(second, second), "once in an interval is enough");
    }

    /// A transfer that runs must not be begun anew because of what may agree at its mark: only who refuses what lies behind it,
    /// and may hold the mark, can have installed it.
    #[test]
    fn a_refusal_of_the_mark_does_not_end_the_transfer() {
        let agree = EntryId { term: Term(1), index: Index(5) };
        let mut progress = Progress::new(Index(10), Duration::ZERO);
        progress.snapshot(Index(5), Duration::from_secs(600));
        assert!(!progress.rejected(Index(5), Index(5), agree));
        assert!(!progress.rejected(Index(7), Index(4), agree));
        assert!(matches!(progress.state, State::Snapshot { .. }));
        assert!(progress.rejected(Index(7), Index(5), agree), "it may have installed what was offered");
        assert!(matches!(progress.state, State::Probe { .. }));
    }

    /// Refusals are as they should be while the bytes are on their way; once they arrived, one says that they may be lost.
    #[test]
    fn a_refusal_of_what_arrived_shortens_the_wait() {
        let second = Duration::from_secs(1);
        let mut progress = Progress::new(Index(10), Duration::ZERO);
        let give_up = |progress: &Progress| match progress.state {
            State::Snapshot { give_up, .. } => give_up,
            State::Probe { .. } | State::Replicate(_) => Duration::ZERO,
        };
        progress.snapshot(Index(5), second * 600);
        progress.missed_snapshot(Index(5), second);
        assert_eq!(give_up(&progress), second * 600, "it cannot be there yet");
        progress.snapshot_arrived(second * 30);
        progress.missed_snapshot(Index(4), second);
        assert_eq!(give_up(&progress), second * 30, "this says nothing of the mark");
        progress.missed_snapshot(Index(5), second * 2);
        progress.missed_snapshot(Index(5), second * 3);
        assert_eq!(give_up(&progress), second * 2, "the first refusal counts");
    }

    /// A member that installed what was offered must not wait for the patience of the transfer to end, only because the log
    /// was purged past it meanwhile.
    #[test]
    fn a_snapshot_that_the_purge_overtook_ends_the_wait() {
        let last = EntryId { term: Term(1), index: Index(10) };
        let log = Log::restored(&SnapshotMeta { last, ..SnapshotMeta::default() }, Vec::new()).expect("an empty log");
        let mut progress = Progress::new(last.index, Duration::ZERO);
        progress.snapshot(Index(5), Duration::from_secs(600));
        progress.accepted(Index(4), &log);
        assert!(matches!(progress.state, State::Snapshot { .. }), "an older answer changes nothing");
        progress.accepted(Index(6), &log);
        assert!(matches!(progress.state, State::Replicate(_)));
        assert_eq!(log.id_before(progress.next()), None, "what comes next is purged, so a newer snapshot is offered");
    }
}
