//! All waiting commands into one entry. Owns the pace, without a timer: one entry may be under way and one more may follow
//! it; further commands gather meanwhile, and only full entries go beyond. Does not own the outcome (`pending`).

use std::collections::VecDeque;
use std::time::Duration;

use mvcc::BatchBuilder;

use crate::apply::reply::Replies;
use crate::handle::error::ProposeError;
use crate::propose::pending::Batch;
use crate::propose::queue::{Admission, Proposal};

/// Commands in one entry.
const COMMANDS_MAX: usize = 1_024;
/// Payload at which an entry is full.
const FULL_BYTES: usize = 1 << 20;
/// Entries under way, below which waiting commands go out however few they are.
const PARTIAL_IN_FLIGHT: usize = 2;
/// Entries under way, at which even full ones wait.
const FULL_IN_FLIGHT: usize = 64;

#[derive(Debug)]
struct Arrived {
    proposals: VecDeque<Proposal>,
    at: Duration,
}

/// Commands that wait for an entry.
#[derive(Debug)]
pub(crate) struct Batcher {
    arrived: VecDeque<Arrived>,
    waiting: usize,
    waiting_bytes: usize,
    /// Encoded entries that consensus did not take, oldest first; they go before everything else.
    returned: VecDeque<Batch>,
    next_id: u64,
    commit_timeout: Duration,
    /// Not before this time, unless something changes.
    not_before: Duration,
}

impl Batcher {
    /// `first_id` must be random: it tells this member's entries from those of others, and of earlier starts.
    pub(crate) fn new(first_id: u64, commit_timeout: Duration) -> Self {
        Self {
            arrived: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
            returned: VecDeque::new(),
            next_id: first_id,
            commit_timeout,
            not_before: Duration::ZERO,
        }
    }

    /// Commands came.
    pub(crate) fn arrive(&mut self, now: Duration, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        self.waiting += proposals.len();
        self.waiting_bytes += proposals.iter().map(|proposal| proposal.bytes).sum::<usize>();
        self.arrived.push_back(Arrived { proposals: proposals.into(), at: now });
    }

    /// Consensus did not take this one and never will: it goes out again, before its deadline, when `retry_at` has come or
    /// [`Batcher::retry_now`] says so.
    pub(crate) fn give_back(&mut self, batch: Batch, retry_at: Duration) {
        // They come back in any order, but the oldest is to go first.
        let at = self.returned.partition_point(|other| other.deadline <= batch.deadline);
        self.returned.insert(at, batch);
        self.not_before = self.not_before.max(retry_at);
    }

    /// Something changed: what was refused may be taken now.
    pub(crate) fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }

    /// Whether anything waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.returned.is_empty()
    }

    /// Whether a command that comes now would go out at once.
    pub(crate) fn wants_more(&self, in_flight: usize) -> bool {
        in_flight < PARTIAL_IN_FLIGHT || (in_flight < FULL_IN_FLIGHT && self.is_full())
    }

    /// When waiting commands need attention, though nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.is_idle() {
            return None;
        }
        let oldest = self
            .returned
            .front()
            .map(|batch| batch.deadline)
            .into_iter()
            .chain(self.arrived.front().map(|arrived| arrived.at + self.commit_timeout))
            .min();
        let retry = Some(self.not_before).filter(|at| !at.is_zero());
        oldest.into_iter().chain(retry).min()
    }

    /// The next entry, if its time has come.
    pub(crate) fn next(&mut self, now: Duration, in_flight: usize) -> Option<Batch> {
        if now < self.not_before || !self.wants_more(in_flight) {
            return None;
        }
        self.not_before = Duration::ZERO;
        self.returned.pop_front().or_else(|| self.build())
    }

    /// Answers those who waited too long for an entry to begin with: nothing of theirs was written.
    pub(crate) fn expire(&mut self, now: Duration, reason: ProposeError, replies: &mut Replies, admission: &Admission) {
        while let Some(arrived) = self.arrived.front()
            && arrived.at + self.commit_timeout <= now
        {
            for proposal in self.arrived.pop_front().into_iter().flat_map(|arrived| arrived.proposals) {
                self.waiting -= 1;
                self.waiting_bytes -= proposal.bytes;
                admission.release(1, proposal.bytes);
                replies.proposed(proposal.waiter, Err(reason));
            }
        }
        while let Some(batch) = self.returned.front()
            && batch.deadline <= now
        {
            let Some(batch) = self.returned.pop_front() else { break };
            admission.release(batch.waiters.len(), batch.bytes);
            batch.waiters.into_iter().for_each(|waiter| replies.proposed(waiter, Err(reason)));
        }
    }

    /// Answers everybody: the end.
    pub(crate) fn abandon(&mut self, replies: &mut Replies, admission: &Admission) {
        self.expire(Duration::MAX, ProposeError::Stopping, replies, admission);
    }

    fn is_full(&self) -> bool {
        !self.returned.is_empty() || self.waiting >= COMMANDS_MAX || self.waiting_bytes >= FULL_BYTES
    }

    /// All that waits, up to a full entry and the one command that fills it.
    fn build(&mut self) -> Option<Batch> {
        let deadline = self.arrived.front()?.at + self.commit_timeout;
        let id = self.next_id;
        let mut builder = BatchBuilder::new();
        let mut waiters = Vec::with_capacity(self.waiting.min(COMMANDS_MAX));
        let mut bytes = 0;
        while waiters.len() < COMMANDS_MAX
            && builder.size_bytes() < FULL_BYTES
            && let Some(proposal) = self.pop()
        {
            builder.push(self.next_id, &proposal.command);
            self.next_id = self.next_id.wrapping_add(1);
            bytes += proposal.bytes;
            waiters.push(proposal.waiter);
        }
        Some(Batch { id, payload: builder.finish(), waiters, bytes, deadline })
    }

    fn pop(&mut self) -> Option<Proposal> {
        let front = self.arrived.front_mut()?;
        // `arrived` holds no empty groups.
        let proposal = front.proposals.pop_front()?;
        if front.proposals.is_empty() {
            self.arrived.pop_front();
        }
        self.waiting -= 1;
        self.waiting_bytes -= proposal.bytes;
        Some(proposal)
    }
}
