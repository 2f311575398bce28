//! Memory of writes that the API server refused. Owns when a refused write is sent again, and which refusal is news.
//! Does not own what counts as a refusal (`raft_cluster/apply.rs`).
//!
//! Passes follow each other quickly while other actions make progress. Without this memory, each pass would send the
//! refused write again, and would publish the same event again.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::retry::Failures;

/// Maximum number of writes that are remembered for one cluster. A cluster has fewer objects.
const KEPT_MAX: usize = 256;

/// Number of attempts in succession that another writer of the same object may overtake before this is reported.
const OVERTAKEN_MAX: u32 = 5;

/// The refused writes of one cluster, each under its name and subject.
#[derive(Debug, Default)]
pub struct Refusals {
    kept: BTreeMap<String, Kept>,
    /// How often in succession the object of a write had changed since it was observed.
    overtaken: BTreeMap<String, u32>,
}

/// A write that was refused.
#[derive(Debug)]
struct Kept {
    message: String,
    /// Generation of the spec from which the write was planned.
    generation: Option<i64>,
    failures: Failures,
    /// Time at which the write is sent again.
    again: Instant,
}

/// Whether a refusal was published before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// The write was not refused before, or for another reason.
    News,
    /// The write was refused before, with the same message.
    Known,
}

impl Refusals {
    /// The API server's explanation, if this write was refused and is not sent again yet. A change of the spec makes
    /// every write due, because it may have removed the cause.
    #[must_use]
    pub fn standing(&self, write: &str, generation: Option<i64>, now: Instant) -> Option<&str> {
        let kept = self.kept.get(write)?;
        (kept.generation == generation && now < kept.again).then_some(kept.message.as_str())
    }

    /// Notes that a write was refused. The delay before the next attempt doubles with each refusal, up to 30 s.
    pub fn refused(&mut self, write: &str, generation: Option<i64>, message: &str, now: Instant) -> Novelty {
        let former = self.kept.remove(write);
        let is_known = former.as_ref().is_some_and(|former| former.message == message);
        let same_spec = former.filter(|former| former.generation == generation);
        let mut failures = same_spec.map(|former| former.failures).unwrap_or_default();
        let again = now + failures.one_more();
        if self.kept.len() >= KEPT_MAX {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.again).map(|(write, _)| write.clone());
            oldest.and_then(|oldest| self.kept.remove(&oldest));
        }
        self.kept.insert(write.to_owned(), Kept { message: message.to_owned(), generation, failures, again });
        if is_known { Novelty::Known } else { Novelty::News }
    }

    /// Notes that the object of a write had changed since it was observed. Returns how often in succession, if that is too
    /// often for a coincidence.
    pub fn overtaken(&mut self, write: &str) -> Option<u32> {
        let times = self.overtaken.entry(write.to_owned()).or_default();
        *times = times.saturating_add(1);
        (*times >= OVERTAKEN_MAX).then_some(*times)
    }

    /// Forgets the refusals of a write that was accepted.
    pub fn accepted(&mut self, write: &str) {
        self.kept.remove(write);
        self.overtaken.remove(write);
    }

    /// Forgets the refusals of all writes except the planned ones. If such a write is planned again, its cause may be gone.
    pub fn forget_unplanned(&mut self, planned: &BTreeSet<String>) {
        self.kept.retain(|write, _| planned.contains(write));
        self.overtaken.retain(|write, _| planned.contains(write));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refused_write_is_sent_again_after_growing_delays() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..9 {
            refusals.refused("Apply demo-1", Some(1), "invalid", now);
            let began = now;
            while refusals.standing("Apply demo-1", Some(1), now).is_some() {
                now += Duration::from_millis(250);
            }
            waits.push((now - began).as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(refusals.standing("Apply demo-2", Some(1), now), None, "other writes are not held back");
    }

    #[test]
    fn a_changed_spec_makes_a_refused_write_due_at_once() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for _ in 0..9 {
            refusals.refused("Apply demo-1", Some(1), "invalid", now);
        }
        assert_eq!(refusals.standing("Apply demo-1", Some(1), now), Some("invalid"));
        assert_eq!(refusals.standing("Apply demo-1", Some(2), now), None);
        refusals.refused("Apply demo-1", Some(2), "invalid", now);
        let soon = now + Duration::from_millis(250);
        assert_eq!(refusals.standing("Apply demo-1", Some(2), soon), None, "delays begin anew");
    }

    #[test]
    fn a_refusal_is_news_once_for_each_message() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let mut refused = |message: &str| refusals.refused("Apply demo-1", Some(1), message, now);
        assert_eq!(refused("no memory left"), Novelty::News);
        assert_eq!(refused("no memory left"), Novelty::Known);
        assert_eq!(refused("a bad label"), Novelty::News);
        refusals.accepted("Apply demo-1");
        assert_eq!(refusals.refused("Apply demo-1", Some(1), "a bad label", now), Novelty::News);
    }

    /// A ReplaceSet that the spec no longer asks for would otherwise keep its delay and its message until it is planned again.
    #[test]
    fn a_write_that_is_no_longer_planned_is_forgotten() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        refusals.refused("ReplaceSet demo-1", Some(1), "invalid", now);
        refusals.refused("ReplaceSet demo-2", Some(1), "invalid", now);
        refusals.forget_unplanned(&BTreeSet::from(["ReplaceSet demo-2".to_owned()]));
        assert_eq!(refusals.standing("ReplaceSet demo-1", Some(1), now), None);
        assert_eq!(refusals.standing("ReplaceSet demo-2", Some(1), now), Some("invalid"));
        assert_eq!(refusals.refused("ReplaceSet demo-1", Some(1), "invalid", now), Novelty::News);
    }

    #[test]
    fn only_so_many_refusals_are_remembered() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for write in 0..2 * KEPT_MAX {
            refusals.refused(&format!("CreateSet demo-{write}"), Some(1), "quota", now);
        }
        assert_eq!(refusals.kept.len(), KEPT_MAX);
    }
}
