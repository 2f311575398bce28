//! Whom a repair asks in a round, and when it believes that what is missing was purged. Owns the order and the bounds. Does not own the
//! calls (`attempts.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use raft::{MemberId, Term};

/// Maximum number of referrals to a leader that are followed in a round. Two members that each take the other one for the leader
/// refer to each other without end.
const REFERRALS_MAX: usize = 3;
/// Time after which a leader that has purged what is missing is the last word. Until then another member may lead that has it still.
const PURGED_FOR: Duration = Duration::from_secs(60);

/// A member that may lead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) member: MemberId,
    /// URL of its peer port.
    pub(super) url: String,
}

/// The members that a round asks.
#[derive(Debug)]
pub(super) struct Round {
    waiting: VecDeque<Source>,
    asked: BTreeSet<Source>,
    referrals: usize,
}

impl Round {
    /// Begins a round. `leader` is the one that was known last; it is asked first.
    pub(super) fn new(leader: Option<Source>, voters: Vec<Source>) -> Self {
        let waiting = leader.into_iter().chain(voters).collect();
        Self { waiting, asked: BTreeSet::new(), referrals: 0 }
    }

    /// Returns the next member, each once.
    pub(super) fn next(&mut self) -> Option<Source> {
        loop {
            let next = self.waiting.pop_front()?;
            if self.asked.insert(next.clone()) {
                return Some(next);
            }
        }
    }

    /// Asks next the member that is said to lead.
    pub(super) fn refer(&mut self, leader: Source) {
        if self.referrals < REFERRALS_MAX {
            self.referrals += 1;
            self.waiting.push_front(leader);
        }
    }
}

/// What leaders said of the entry that is missing: they have purged it.
#[derive(Debug, Default)]
pub(super) struct PurgedAnswers(Option<(Term, Instant)>);

impl PurgedAnswers {
    /// Notes what the leader of a term said. Returns whether no other answer is waited for: a later leader has said the same, or it was
    /// said a while ago for the first time. A leader that has purged an entry never gets it back, but other members purge at other
    /// indexes.
    pub(super) fn is_confirmed(&mut self, term: Term, now: Instant) -> bool {
        let (first, at) = *self.0.get_or_insert((term, now));
        term > first || now.saturating_duration_since(at) >= PURGED_FOR
    }

    /// Notes that entries arrived.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(member: u64) -> Source {
        Source { member: MemberId(member), url: format!("http://{member}") }
    }

    #[test]
    fn the_last_leader_and_referrals_come_first_and_each_member_once() {
        let mut round = Round::new(Some(source(2)), vec![source(1), source(2), source(3)]);
        assert_eq!(round.next(), Some(source(2)));
        round.refer(source(9));
        assert_eq!(round.next(), Some(source(9)));
        round.refer(source(2));
        assert_eq!((round.next(), round.next(), round.next()), (Some(source(1)), Some(source(3)), None));
    }

    #[test]
    fn a_round_ends_although_each_member_names_another_leader() {
        let mut round = Round::new(None, vec![source(1)]);
        let mut asked = 0;
        while let Some(Source { member, .. }) = round.next() {
            asked += 1;
            round.refer(source(member.0 + 1));
        }
        assert_eq!(asked, 1 + REFERRALS_MAX);
    }

    #[test]
    fn a_purge_is_confirmed_by_a_later_leader_or_by_time() {
        let (mut purged, began) = (PurgedAnswers::default(), Instant::now());
        assert!(!purged.is_confirmed(Term(4), began));
        assert!(!purged.is_confirmed(Term(4), began + PURGED_FOR / 2));
        assert!(purged.is_confirmed(Term(5), began + PURGED_FOR / 2), "another leader says the same");
        assert!(purged.is_confirmed(Term(4), began + PURGED_FOR));
        purged.clear();
        assert!(!purged.is_confirmed(Term(6), began + PURGED_FOR), "entries have arrived since");
    }
}
