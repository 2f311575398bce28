//! Linearizable reads that share one quorum round (Raft thesis §6.4): all that wait when a round begins go with it, those
//! that come later with the next. Owns rounds and who waits for them; consensus confirms, the apply thread catches up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft::{Index, ReadContext};

use crate::apply::reply::{Replies, Waiter};
use crate::handle::error::ReadError;

/// Rounds under way; a second one spares reads that just missed the first a whole round of waiting.
const ROUNDS_MAX: usize = 2;

/// Somebody who wants to read what is committed by now.
pub(crate) type ReadWaiter = Waiter<Result<(), ReadError>>;

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

/// Rounds, as the core's thread runs them.
#[derive(Debug)]
pub(crate) struct Rounds {
    gathering: VecDeque<Group>,
    under_way: Vec<Round>,
    next_context: u64,
    /// How long a read may take in all.
    timeout: Duration,
    /// After so long an unanswered round is taken for lost.
    patience: Duration,
    not_before: Duration,
}

impl Rounds {
    /// `first_context` must be random: contexts are never reused, not by an earlier start either.
    pub(crate) fn new(first_context: u64, timeout: Duration, patience: Duration) -> Self {
        Self {
            gathering: VecDeque::new(),
            under_way: Vec::new(),
            next_context: first_context,
            timeout,
            patience,
            not_before: Duration::ZERO,
        }
    }

    /// Reads came.
    pub(crate) fn arrive(&mut self, now: Duration, waiters: Vec<ReadWaiter>) {
        self.gathering.push_back(Group { waiters, deadline: now + self.timeout });
    }

    /// Whether a read that comes now would start a round.
    pub(crate) fn wants_more(&self) -> bool {
        self.under_way.len() < ROUNDS_MAX
    }

    /// Begins a round with everybody who waits, if there is anybody and room for one.
    pub(crate) fn begin(&mut self, now: Duration) -> Option<ReadContext> {
        if self.gathering.is_empty() || !self.wants_more() || now < self.not_before {
            return None;
        }
        let context = ReadContext(self.next_context);
        self.next_context = self.next_context.wrapping_add(1);
        self.under_way.push(Round { context, started: now, groups: std::mem::take(&mut self.gathering) });
        Some(context)
    }

    /// The round is confirmed: whom to let read. Empty if the round was given up before.
    pub(crate) fn confirmed(&mut self, context: ReadContext) -> VecDeque<Group> {
        self.end(context).map(|round| round.groups).unwrap_or_default()
    }

    /// The round failed: its reads go with another one, at `retry_at` or when [`Rounds::retry_now`] says so.
    pub(crate) fn failed(&mut self, context: ReadContext, retry_at: Duration) {
        if let Some(mut round) = self.end(context) {
            round.groups.append(&mut self.gathering);
            self.gathering = round.groups;
            self.not_before = retry_at;
        }
    }

    /// Something changed: what failed may succeed now.
    pub(crate) fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }

    /// Gives up lost rounds, then answers who waited too long with `reason`.
    pub(crate) fn expire(&mut self, now: Duration, reason: ReadError, replies: &mut Replies) {
        while let Some(lost) = self.under_way.iter().find(|round| round.started + self.patience <= now) {
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

    /// When reads need attention, though nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let lost = self.under_way.first().map(|round| round.started + self.patience);
        let waiting = self.gathering.front().map(|group| group.deadline);
        let retry = waiting.map(|_| self.not_before).filter(|at| !at.is_zero());
        lost.into_iter().chain(waiting).chain(retry).min()
    }

    /// Answers everybody: the end.
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

/// Confirmed reads that wait until their index is applied; shared with the apply thread, for a moment only.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    waiting: Mutex<BTreeMap<Index, Vec<Group>>>,
}

impl Barrier {
    /// Lets `groups` read at `index`: at once if `applied()` has reached it, else once [`Barrier::reached`] has.
    pub(crate) fn pass_or_wait(
        &self,
        index: Index,
        groups: VecDeque<Group>,
        applied: impl FnOnce() -> Index,
        replies: &mut Replies,
    ) {
        let mut waiting = self.lock();
        // Looked at under the lock: whoever publishes later finds these groups waiting.
        if applied() >= index {
            drop(waiting);
            groups.into_iter().for_each(|group| group.answer(Ok(()), replies));
        } else {
            waiting.entry(index).or_default().extend(groups);
        }
    }

    /// A view up to `applied` is published.
    pub(crate) fn reached(&self, applied: Index, replies: &mut Replies) {
        let mut waiting = self.lock();
        while let Some(first) = waiting.first_entry()
            && *first.key() <= applied
        {
            first.remove().into_iter().for_each(|group| group.answer(Ok(()), replies));
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Answers who waited too long; this member is behind.
    pub(crate) fn expire(&self, now: Duration, replies: &mut Replies) {
        self.lock().retain(|_, groups| {
            for late in groups.extract_if(.., |group| group.deadline <= now) {
                late.answer(Err(ReadError::TimedOut), replies);
            }
            !groups.is_empty()
        });
    }

    /// Answers everybody: the end.
    pub(crate) fn abandon(&self, replies: &mut Replies) {
        for group in std::mem::take(&mut *self.lock()).into_values().flatten() {
            group.answer(Err(ReadError::Stopping), replies);
        }
    }

    /// Every holder leaves the map whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Index, Vec<Group>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
