//! Which history is compacted without a client's request. Owns the decision, from the revisions that a member noted. Does
//! not own the clock, the proposal, or who leads: only the leader compacts, but every member notes, so that a new leader
//! goes on where the former one was.

use std::collections::VecDeque;
use std::time::Duration;

use mvcc::Revision;

/// Number of times per retention at which the revision is noted. History is kept for one retention and at most this
/// part of it more.
const NOTES: u32 = 10;
/// Shortest time between two notes.
const NOTE_MIN: Duration = Duration::from_millis(100);
/// Time between two compactions that keep a number of revisions, as in etcd.
const REVISIONS_EVERY: Duration = Duration::from_secs(5 * 60);

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// All of at least this time, by the member's monotonic clock.
    Time(Duration),
    /// This number of revisions, at least 1.
    Revisions(i64),
}

impl Retention {
    /// Time between two calls of [`Notes::look`].
    #[must_use]
    pub fn interval(self) -> Duration {
        match self {
            Self::Time(retention) => (retention / NOTES).max(NOTE_MIN),
            Self::Revisions(_) => REVISIONS_EVERY,
        }
    }
}

/// Revisions that a member noted, and when. A restarted member begins without notes, and therefore keeps more history
/// for one retention.
#[derive(Debug)]
pub struct Notes {
    retention: Retention,
    /// Time since the start, and the revision at that time. Oldest first.
    noted: VecDeque<(Duration, Revision)>,
}

impl Notes {
    /// Creates an empty list.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self { retention, noted: VecDeque::new() }
    }

    /// Notes the present revision. `now` is the time since the member started. Returns the revision at which to compact;
    /// `None` if all history is to be kept.
    pub fn look(&mut self, now: Duration, revision: Revision) -> Option<Revision> {
        let due = match self.retention {
            Retention::Time(retention) => self.noted_before(now.checked_sub(retention), now, revision),
            Retention::Revisions(kept) => Some(Revision(revision.0.saturating_sub(kept))),
        };
        due.filter(|due| *due > Revision::FIRST)
    }

    /// Notes the revision unless the last note is new, and returns the revision of the newest note that is not younger
    /// than `limit`.
    fn noted_before(&mut self, limit: Option<Duration>, now: Duration, revision: Revision) -> Option<Revision> {
        // Two looks are never exactly one interval apart.
        let is_due = |(last, _): &(Duration, Revision)| now.saturating_sub(*last) >= self.retention.interval() / 2;
        if self.noted.back().is_none_or(is_due) {
            self.noted.push_back((now, revision));
        }
        let limit = limit?;
        while self.noted.get(1).is_some_and(|(at, _)| *at <= limit) {
            self.noted.pop_front();
        }
        debug_assert!(self.noted.len() <= 2 * NOTES as usize + 2, "notes are as many as fit into one retention");
        self.noted.front().filter(|(at, _)| *at <= limit).map(|(_, revision)| *revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// What a member that writes one revision per second compacts at, by the minute.
    fn hours(retention: Duration, hours: u32) -> Vec<(Duration, Option<Revision>)> {
        let mut notes = Notes::new(Retention::Time(retention));
        let minutes = (0..=hours * 60).map(|minute| MINUTE * minute);
        minutes.map(|now| (now, notes.look(now, revision_at(now)))).collect()
    }

    fn revision_at(now: Duration) -> Revision {
        Revision(1 + i64::try_from(now.as_secs()).expect("small"))
    }

    #[test]
    fn no_revision_younger_than_the_retention_is_compacted() {
        for retention in [MINUTE, 30 * MINUTE, HOUR, 5 * HOUR] {
            for (now, due) in hours(retention, 12) {
                let Some(due) = due else { continue };
                let limit = now.checked_sub(retention).expect("nothing is compacted before one retention has passed");
                assert!(due <= revision_at(limit), "{retention:?} at {now:?}: {due:?}");
            }
        }
    }

    #[test]
    fn history_is_kept_for_hardly_more_than_one_retention() {
        for (now, due) in hours(HOUR, 12).into_iter().filter(|(now, _)| *now > HOUR + HOUR / NOTES) {
            let late =
                Duration::from_secs(u64::try_from(revision_at(now).0 - due.expect("it is due").0).expect("small"));
            assert!(late <= HOUR + HOUR / NOTES, "{late:?} at {now:?}");
        }
    }

    /// Ticks of a timer are late by some milliseconds, and the next one is then a little early.
    #[test]
    fn no_look_is_skipped_because_a_timer_is_not_exact() {
        let interval = Retention::Time(HOUR).interval();
        let late = |look: u32| if look.is_multiple_of(2) { Duration::ZERO } else { Duration::from_millis(2) };
        let mut notes = Notes::new(Retention::Time(HOUR));
        for look in 0..=30 {
            let now = interval * look + late(look);
            let Some(due) = notes.look(now, revision_at(now)) else { continue };
            let kept = Duration::from_secs(u64::try_from(revision_at(now).0 - due.0).expect("small"));
            assert!(kept <= HOUR + interval + Duration::from_secs(1), "{kept:?} at look {look}");
        }
    }

    #[test]
    fn a_restarted_member_waits_for_one_retention() {
        let mut notes = Notes::new(Retention::Time(HOUR));
        assert_eq!(notes.look(Duration::ZERO, Revision(500)), None);
        assert_eq!(notes.look(HOUR - MINUTE, Revision(900)), None);
        assert_eq!(notes.look(HOUR, Revision(1_000)), Some(Revision(500)));
    }

    /// A process that was suspended looks late.
    #[test]
    fn a_late_look_uses_the_newest_note_that_is_old_enough() {
        let mut notes = Notes::new(Retention::Time(HOUR));
        for minute in 0..=60 {
            notes.look(MINUTE * minute, revision_at(MINUTE * minute));
        }
        assert_eq!(notes.look(10 * HOUR, Revision(99_999)), Some(revision_at(HOUR)));
    }

    #[test]
    fn notes_are_few_however_often_they_are_looked_at() {
        let mut notes = Notes::new(Retention::Time(HOUR));
        for second in 0..30_000 {
            notes.look(Duration::from_secs(second), Revision(2));
            assert!(notes.noted.len() <= 22);
        }
    }

    #[test]
    fn a_number_of_revisions_is_kept() {
        let mut notes = Notes::new(Retention::Revisions(1_000));
        assert_eq!(notes.look(Duration::ZERO, Revision(1_001)), None, "nothing is older");
        assert_eq!(notes.look(Duration::ZERO, Revision(5_000)), Some(Revision(4_000)));
    }
}
