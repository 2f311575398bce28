//! Owns linearizable reads that share quorum rounds (Raft thesis §6.4): a round serves all reads that wait when the round
//! begins, and later reads wait for the next round. Does not own the confirmation of a round (`raft`) or the applied index
//! (`apply`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft::{Index, ReadContext};

use crate::error::ReadError;
use crate::reply::{ReadWaiter, Replies};

/// Maximum number of rounds under way. The second round serves reads that arrived just after the first round began; otherwise
/// these reads would wait for the end of the first round.
const ROUNDS_MAX: usize = 2;

/// Reads that arrived together.
#[derive(Debug)]
pub(crate) struct Group {
    waiters: Vec<ReadWaiter>,
    deadline: Duration,
}

impl Group {
    fn answer(self, outcome: Result<(), ReadError>, replies: &mut Replies) {
        self.waiters.into_iter().for_each(|waiter| replies.read(waiter, outcome));
    }
}

#[derive(Debug)]
struct Round {
    context: ReadContext,
    started: Duration,
    groups: VecDeque<Group>,
}

/// Rounds under way, and the reads that wait for the next round. Only the core's thread uses them.
#[derive(Debug)]
pub(crate) struct Rounds {
    gathering: VecDeque<Group>,
    under_way: Vec<Round>,
    next_context: u64,
    /// Time within which a read must be answered.
    timeout: Duration,
    /// Time after which an unanswered round is considered lost.
    round_timeout: Duration,
    /// Earliest time of the next round; zero if the next round need not wait.
    not_before: Duration,
}

impl Rounds {
    /// Creates an empty set of rounds. A context identifies a round. `first_context` must be random, so that contexts
    /// are not reused after a restart.
    pub(crate) fn new(first_context: u64, timeout: Duration, round_timeout: Duration) -> Self {
        Self {
            gathering: VecDeque::new(),
            under_way: Vec::new(),
            next_context: first_context,
            timeout,
            round_timeout,
            not_before: Duration::ZERO,
        }
    }

    /// Adds reads for the next round.
    pub(crate) fn add(&mut self, now: Duration, waiters: Vec<ReadWaiter>) {
        self.gathering.push_back(Group { waiters, deadline: now + self.timeout });
    }

    /// Returns whether a read that arrives now could begin a round.
    pub(crate) fn wants_more(&self) -> bool {
        self.under_way.len() < ROUNDS_MAX
    }

    /// Begins a round for all waiting reads and returns the round's context. Returns `None` if no read waits, or if too many
    /// rounds are under way.
    pub(crate) fn begin(&mut self, now: Duration) -> Option<ReadContext> {
        if now < self.not_before {
            return None;
        }
        self.not_before = Duration::ZERO;
        if self.gathering.is_empty() || !self.wants_more() {
            return None;
        }
        let context = ReadContext(self.next_context);
        self.next_context = self.next_context.wrapping_add(1);
        self.under_way.push(Round { context, started: now, groups: std::mem::take(&mut self.gathering) });
        Some(context)
    }

    /// Ends a confirmed round and returns its reads. Returns no reads if the round was already considered lost.
    pub(crate) fn confirmed(&mut self, context: ReadContext) -> VecDeque<Group> {
        self.end(context).map(|round| round.groups).unwrap_or_default()
    }

    /// Ends a failed round. The reads of the round join the next round, which begins at `retry_at` or after
    /// [`Rounds::retry_now`].
    pub(crate) fn failed(&mut self, context: ReadContext, retry_at: Duration) {
        if let Some(mut round) = self.end(context) {
            round.groups.append(&mut self.gathering);
            self.gathering = round.groups;
            self.not_before = retry_at;
        }
    }

    /// Ends the delay that follows a failed round. Called after a change of role, leader or term, because a new round
    /// may then succeed.
    pub(crate) fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }

    /// Ends lost rounds, then answers the reads whose deadline has passed. The answer is the error `reason`.
    pub(crate) fn expire(&mut self, now: Duration, reason: ReadError, replies: &mut Replies) {
        while let Some(lost) = self.under_way.iter().find(|round| round.started + self.round_timeout <= now) {
            let context = lost.context;
            self.failed(context, now);
        }
        while let Some(group) = self.gathering.front()
            && group.deadline <= now
        {
            let Some(group) = self.gathering.pop_front() else { break };
            group.answer(Err(reason), replies);
        }
    }

    /// Time at which failed reads are retried even if no event arrives.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        Some(self.not_before).filter(|at| !at.is_zero() && !self.gathering.is_empty())
    }

    /// Returns whether no read waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.gathering.is_empty() && self.under_way.is_empty()
    }

    /// Answers all reads, because the member stops.
    pub(crate) fn abandon(&mut self, replies: &mut Replies) {
        let rounds = std::mem::take(&mut self.under_way);
        for group in rounds.into_iter().flat_map(|round| round.groups).chain(self.gathering.drain(..)) {
            group.answer(Err(ReadError::Stopping), replies);
        }
    }

    fn end(&mut self, context: ReadContext) -> Option<Round> {
        let at = self.under_way.iter().position(|round| round.context == context)?;
        Some(self.under_way.remove(at))
    }
}

/// Confirmed reads that wait until their index is applied. The core's thread and the apply thread share the barrier; each thread
/// holds the lock only briefly.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    waiting: Mutex<BTreeMap<Index, Vec<Group>>>,
}

impl Barrier {
    /// Answers `groups` once `index` is applied: immediately if `applied()` has reached `index`, otherwise in
    /// [`Barrier::reached`].
    pub(crate) fn pass_or_wait(
        &self,
        index: Index,
        groups: VecDeque<Group>,
        applied: impl FnOnce() -> Index,
        replies: &mut Replies,
    ) {
        let mut waiting = self.lock();
        // The applied index is read under the lock. If the apply thread publishes a view afterwards, that thread
        // therefore finds `groups` in `waiting`.
        if applied() >= index {
            drop(waiting);
            groups.into_iter().for_each(|group| group.answer(Ok(()), replies));
        } else {
            waiting.entry(index).or_default().extend(groups);
        }
    }

    /// Answers the reads whose index is at or below `applied`, because a view at index `applied` is published.
    pub(crate) fn reached(&self, applied: Index, replies: &mut Replies) {
        let mut waiting = self.lock();
        while let Some(first) = waiting.first_entry()
            && *first.key() <= applied
        {
            first.remove().into_iter().for_each(|group| group.answer(Ok(()), replies));
        }
    }

    /// Returns whether no read waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Answers the reads whose deadline passed before their index was applied on this member.
    pub(crate) fn expire(&self, now: Duration, replies: &mut Replies) {
        self.lock().retain(|_, groups| {
            for late in groups.extract_if(.., |group| group.deadline <= now) {
                late.answer(Err(ReadError::TimedOut), replies);
            }
            !groups.is_empty()
        });
    }

    /// Answers all reads, because the member stops.
    pub(crate) fn abandon(&self, replies: &mut Replies) {
        for group in std::mem::take(&mut *self.lock()).into_values().flatten() {
            group.answer(Err(ReadError::Stopping), replies);
        }
    }

    /// Ignores poisoning: every holder of the lock leaves the map consistent, even if it panics.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Index, Vec<Group>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::reply::{ReplyLaneId, ReplyLanes, Waiter};

    type Answer = oneshot::Receiver<Result<(), ReadError>>;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const ROUND_TIMEOUT: Duration = Duration::from_millis(500);

    fn reader() -> (ReadWaiter, Answer) {
        let (reply, answer) = oneshot::channel();
        (Waiter { reply, lane: ReplyLaneId(0) }, answer)
    }

    struct Clients {
        lanes: ReplyLanes,
        replies: Replies,
    }

    impl Clients {
        fn new() -> Self {
            let lanes = ReplyLanes::new(1);
            Self { replies: Replies::new(&lanes), lanes }
        }

        fn outcome(&mut self, answer: &mut Answer) -> Option<Result<(), ReadError>> {
            self.replies.flush(&self.lanes);
            answer.try_recv().ok()
        }
    }

    #[test]
    fn reads_that_wait_together_share_one_round() {
        let mut rounds = Rounds::new(40, TIMEOUT, ROUND_TIMEOUT);
        for _ in 0..3 {
            rounds.add(Duration::ZERO, vec![reader().0, reader().0]);
        }
        let context = rounds.begin(Duration::ZERO).unwrap();
        assert!(rounds.begin(Duration::ZERO).is_none(), "a round began without reads");
        let waiting: usize = rounds.confirmed(context).iter().map(|group| group.waiters.len()).sum();
        assert_eq!(waiting, 6);
    }

    /// A read may use only a round that began after the read arrived (Raft thesis §6.4).
    #[test]
    fn a_read_never_uses_a_round_that_began_before_it() {
        let mut rounds = Rounds::new(0, TIMEOUT, ROUND_TIMEOUT);
        rounds.add(Duration::ZERO, vec![reader().0]);
        let first = rounds.begin(Duration::ZERO).unwrap();
        rounds.add(Duration::ZERO, vec![reader().0, reader().0]);
        assert_eq!(rounds.confirmed(first).iter().map(|group| group.waiters.len()).sum::<usize>(), 1);
        let second = rounds.begin(Duration::ZERO).unwrap();
        assert_ne!(first, second);
        assert_eq!(rounds.confirmed(second).iter().map(|group| group.waiters.len()).sum::<usize>(), 2);
        assert!(rounds.confirmed(second).is_empty(), "a repeated answer returned reads");
    }

    #[test]
    fn the_reads_of_a_failed_or_lost_round_get_another_round() {
        let mut clients = Clients::new();
        let mut rounds = Rounds::new(0, TIMEOUT, ROUND_TIMEOUT);
        let (waiter, mut answer) = reader();
        rounds.add(Duration::ZERO, vec![waiter]);
        let failed = rounds.begin(Duration::ZERO).unwrap();
        rounds.failed(failed, Duration::from_millis(50));
        assert!(rounds.begin(Duration::from_millis(49)).is_none());
        let lost = rounds.begin(Duration::from_millis(50)).unwrap();
        rounds.expire(Duration::from_millis(50) + ROUND_TIMEOUT, ReadError::TimedOut, &mut clients.replies);
        let third = rounds.begin(Duration::from_millis(50) + ROUND_TIMEOUT).unwrap();
        assert!(rounds.confirmed(lost).is_empty(), "a lost round was confirmed");
        assert_eq!(clients.outcome(&mut answer), None);
        assert_eq!(rounds.confirmed(third).len(), 1);
    }

    #[test]
    fn a_read_that_no_round_confirms_in_time_gets_the_reason() {
        let mut clients = Clients::new();
        let mut rounds = Rounds::new(0, TIMEOUT, ROUND_TIMEOUT);
        let (waiter, mut answer) = reader();
        rounds.add(Duration::ZERO, vec![waiter]);
        rounds.begin(Duration::ZERO).unwrap();
        rounds.expire(TIMEOUT, ReadError::NoLeader, &mut clients.replies);
        assert_eq!(clients.outcome(&mut answer), Some(Err(ReadError::NoLeader)));
    }

    #[test]
    fn a_confirmed_read_waits_until_its_index_is_applied() {
        let mut clients = Clients::new();
        let barrier = Barrier::default();
        let group = |waiter| VecDeque::from([Group { waiters: vec![waiter], deadline: TIMEOUT }]);
        let (early, mut first) = reader();
        let (late, mut second) = reader();
        barrier.pass_or_wait(Index(5), group(early), || Index(5), &mut clients.replies);
        assert_eq!(clients.outcome(&mut first), Some(Ok(())));
        barrier.pass_or_wait(Index(7), group(late), || Index(5), &mut clients.replies);
        barrier.reached(Index(6), &mut clients.replies);
        assert_eq!(clients.outcome(&mut second), None);
        barrier.reached(Index(7), &mut clients.replies);
        assert_eq!(clients.outcome(&mut second), Some(Ok(())));
        assert!(barrier.is_empty());

        let (stuck, mut third) = reader();
        barrier.pass_or_wait(Index(9), group(stuck), || Index(7), &mut clients.replies);
        barrier.expire(TIMEOUT, &mut clients.replies);
        assert_eq!(clients.outcome(&mut third), Some(Err(ReadError::TimedOut)));
    }
}
