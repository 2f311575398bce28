//! Owns the batching of waiting commands into entries, and the decision when to propose an entry. No timer is needed: while fewer
//! than two entries are in flight, any entry is proposed; otherwise commands wait until they fill an entry. Does not own the
//! outcome (`pending.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use mvcc::{BatchBuilder, BatchFormat, Command};

use crate::error::ProposeError;
use crate::propose::admission::{Admission, Proposal};
use crate::propose::pending::Batch;
use crate::reply::Replies;

/// Maximum number of commands in one entry.
const COMMANDS_MAX: usize = 1_024;
/// Payload bytes at which an entry is full.
const FULL_BYTES: usize = 1 << 20;
/// While fewer entries than this are in flight, even a partial entry is proposed.
const PARTIAL_IN_FLIGHT: usize = 2;
/// While this number of entries or more are in flight, even a full entry waits.
const FULL_IN_FLIGHT: usize = 64;

#[derive(Debug)]
struct Group {
    proposals: VecDeque<Proposal>,
    at: Duration,
}

/// Commands that wait for an entry.
#[derive(Debug)]
pub(crate) struct Batcher {
    arrived: VecDeque<Group>,
    waiting: usize,
    waiting_bytes: usize,
    /// Encoded entries that the core refused or dropped, oldest first. They are proposed before any other commands.
    requeued: VecDeque<Batch>,
    next_id: u64,
    /// Format of new entries.
    format: BatchFormat,
    commit_timeout: Duration,
    /// Earliest time of the next proposal; zero if the next proposal need not wait.
    not_before: Duration,
}

impl Batcher {
    /// Creates an empty batcher. `first_id` must be random, because IDs distinguish this member's entries from the entries of
    /// other members and of this member's earlier runs.
    pub(crate) fn new(first_id: u64, commit_timeout: Duration) -> Self {
        Self {
            arrived: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
            requeued: VecDeque::new(),
            next_id: first_id,
            format: BatchFormat::V1,
            commit_timeout,
            not_before: Duration::ZERO,
        }
    }

    /// Builds entries in this format from now on. Requeued entries keep the format in which they were built.
    pub(crate) fn build_as(&mut self, format: BatchFormat) {
        self.format = format;
    }

    /// Adds commands.
    pub(crate) fn add(&mut self, now: Duration, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        self.waiting += proposals.len();
        self.waiting_bytes += proposals.iter().map(|proposal| proposal.bytes).sum::<usize>();
        self.arrived.push_back(Group { proposals: proposals.into(), at: now });
    }

    /// Takes back a batch whose proposal was refused or dropped and so can never be committed. Proposes the batch again at
    /// `retry_at` or after [`Batcher::retry_now`], unless the batch's deadline passes first.
    pub(crate) fn requeue(&mut self, batch: Batch, retry_at: Duration) {
        // Batches are requeued in any order, but the oldest must be proposed first.
        let at = self.requeued.partition_point(|other| other.deadline <= batch.deadline);
        self.requeued.insert(at, batch);
        self.not_before = self.not_before.max(retry_at);
    }

    /// Ends the delay of refused batches. Called after a change of role, leader or term, because the core may now accept the
    /// batches.
    pub(crate) fn retry_now(&mut self) {
        self.not_before = Duration::ZERO;
    }

    /// Returns whether no command waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.requeued.is_empty()
    }

    /// Returns whether a command that arrives now would be proposed immediately.
    pub(crate) fn wants_more(&self, in_flight: usize) -> bool {
        in_flight < PARTIAL_IN_FLIGHT || (in_flight < FULL_IN_FLIGHT && self.is_full())
    }

    /// Time at which refused batches are proposed again even if no event arrives.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        Some(self.not_before).filter(|at| !at.is_zero() && !self.is_idle())
    }

    /// Returns the next entry to propose; `None` if no command waits or the next entry must wait.
    pub(crate) fn next(&mut self, now: Duration, in_flight: usize) -> Option<Batch> {
        if now < self.not_before {
            return None;
        }
        self.not_before = Duration::ZERO;
        if !self.wants_more(in_flight) {
            return None;
        }
        self.requeued.pop_front().or_else(|| self.build())
    }

    /// Answers the commands whose deadline passed before they were proposed. The answer is the error `reason`. None of
    /// these commands was written to the log.
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
        while let Some(batch) = self.requeued.front()
            && batch.deadline <= now
        {
            let Some(batch) = self.requeued.pop_front() else { break };
            admission.release(batch.waiters.len(), batch.bytes);
            batch.waiters.into_iter().for_each(|waiter| replies.proposed(waiter, Err(reason)));
        }
    }

    /// Answers all commands, because the member stops.
    pub(crate) fn abandon(&mut self, replies: &mut Replies, admission: &Admission) {
        self.expire(Duration::MAX, ProposeError::Stopping, replies, admission);
    }

    fn is_full(&self) -> bool {
        !self.requeued.is_empty() || self.waiting >= COMMANDS_MAX || self.waiting_bytes >= FULL_BYTES
    }

    /// Builds an entry from the waiting commands. The last command may make the entry larger than `FULL_BYTES`.
    fn build(&mut self) -> Option<Batch> {
        let deadline = self.arrived.front()?.at + self.commit_timeout;
        let id = self.next_id;
        let mut builder = BatchBuilder::new(self.format);
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

    /// Takes the commands that add content out of a batch. Returns them, without payload, and the others as a new batch with IDs
    /// of its own. If the batch holds no command that adds content, returns all commands and no other batch. The former batch
    /// must never be committed.
    pub(crate) fn without_content(&mut self, batch: Batch) -> (Batch, Option<Batch>) {
        let decoded = mvcc::Batch::decode(batch.payload.clone()).map(|decoded| decoded.commands).unwrap_or_default();
        if decoded.len() != batch.waiters.len() || decoded.iter().all(|(_, command)| !command.adds_content()) {
            return (batch, None);
        }
        let Batch { id, waiters, bytes, deadline, .. } = batch;
        let mut refused = Batch { id, payload: Bytes::new(), waiters: Vec::new(), bytes, deadline };
        let mut rest = Batch { id: self.next_id, waiters: Vec::new(), bytes: 0, payload: Bytes::new(), deadline };
        let mut builder = BatchBuilder::new(self.format);
        for ((_, command), waiter) in decoded.iter().zip(waiters) {
            if command.adds_content() {
                refused.waiters.push(waiter);
            } else {
                builder.push(self.next_id, command);
                self.next_id = self.next_id.wrapping_add(1);
                rest.waiters.push(waiter);
            }
        }
        rest.payload = builder.finish();
        // What each command was admitted with is no longer known; together they have all of it.
        rest.bytes = bytes * rest.waiters.len() / (rest.waiters.len() + refused.waiters.len());
        refused.bytes -= rest.bytes;
        let is_mixed = !rest.waiters.is_empty();
        (refused, is_mixed.then_some(rest))
    }

    /// Encodes a command of this member's own as the payload of an entry. No caller waits for its outcome.
    pub(crate) fn alone(&mut self, command: &Command) -> Bytes {
        let mut builder = BatchBuilder::new(self.format);
        builder.push(self.next_id, command);
        self.next_id = self.next_id.wrapping_add(1);
        builder.finish()
    }

    fn pop(&mut self) -> Option<Proposal> {
        let front = self.arrived.front_mut()?;
        // `arrived` never holds an empty group.
        let proposal = front.proposals.pop_front()?;
        if front.proposals.is_empty() {
            self.arrived.pop_front();
        }
        self.waiting -= 1;
        self.waiting_bytes -= proposal.bytes;
        Some(proposal)
    }
}

#[cfg(test)]
mod tests {
    use mvcc::Put;
    use tokio::sync::oneshot;

    use super::*;
    use crate::outcome::Committed;
    use crate::reply::{ReplyLaneId, ReplyLanes, Waiter};

    const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

    type Answer = oneshot::Receiver<Result<Committed, ProposeError>>;

    struct Clients {
        admission: Admission,
        lanes: ReplyLanes,
        replies: Replies,
    }

    impl Clients {
        fn new() -> Self {
            let lanes = ReplyLanes::new(1);
            Self { admission: Admission::default(), replies: Replies::new(&lanes), lanes }
        }

        fn command(&self, value_bytes: usize) -> (Proposal, Answer) {
            let put = Put { key: "key".into(), value: vec![0; value_bytes].into(), ..Put::default() };
            let (reply, answer) = oneshot::channel();
            let waiter = Waiter { reply, lane: ReplyLaneId(0) };
            (self.admission.admit(Command::Put(put), 0, waiter).unwrap(), answer)
        }

        fn commands(&self, count: usize) -> Vec<Proposal> {
            (0..count).map(|_| self.command(1).0).collect()
        }

        fn expire(&mut self, batcher: &mut Batcher, now: Duration) {
            batcher.expire(now, ProposeError::NoLeader, &mut self.replies, &self.admission);
            self.replies.flush(&self.lanes);
        }
    }

    fn commands_in(batch: &Batch) -> Vec<u64> {
        let decoded = mvcc::Batch::decode(batch.payload.clone()).unwrap();
        decoded.commands.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn all_waiting_commands_go_into_one_entry() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(70, COMMIT_TIMEOUT);
        batcher.add(Duration::ZERO, clients.commands(2));
        batcher.add(Duration::ZERO, clients.commands(3));
        let batch = batcher.next(Duration::ZERO, 0).unwrap();
        assert_eq!((batch.id, batch.waiters.len()), (70, 5));
        assert_eq!(commands_in(&batch), [70, 71, 72, 73, 74]);
        assert!(batcher.is_idle() && batcher.next(Duration::ZERO, 0).is_none());
    }

    #[test]
    fn a_new_format_changes_only_new_entries() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(0, COMMIT_TIMEOUT);
        let next = |batcher: &mut Batcher| {
            batcher.add(Duration::ZERO, clients.commands(1));
            batcher.next(Duration::ZERO, 0).unwrap()
        };
        let first = next(&mut batcher);
        batcher.build_as(BatchFormat::V2);
        batcher.requeue(first, Duration::ZERO);
        let versions = [next(&mut batcher), next(&mut batcher)].map(|batch| batch.payload[0]);
        assert_eq!(versions, [1, 2]);
        let alone = batcher.alone(&Command::Compact(mvcc::Compact { revision: 1, physical: false }));
        assert_eq!(alone[0], 2);
    }

    #[test]
    fn a_partial_entry_waits_for_earlier_ones_and_a_full_one_does_not() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(0, COMMIT_TIMEOUT);
        batcher.add(Duration::ZERO, clients.commands(1));
        assert!(batcher.next(Duration::ZERO, PARTIAL_IN_FLIGHT).is_none());
        batcher.add(Duration::ZERO, clients.commands(COMMANDS_MAX));
        let full = batcher.next(Duration::ZERO, PARTIAL_IN_FLIGHT).unwrap();
        assert_eq!(full.waiters.len(), COMMANDS_MAX);
        assert!(batcher.next(Duration::ZERO, PARTIAL_IN_FLIGHT).is_none(), "a partial entry was proposed");
        batcher.add(Duration::ZERO, clients.commands(COMMANDS_MAX));
        assert!(batcher.next(Duration::ZERO, FULL_IN_FLIGHT).is_none());
    }

    #[test]
    fn bytes_can_fill_an_entry() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(0, COMMIT_TIMEOUT);
        let large: Vec<_> = (0..5).map(|_| clients.command(400 << 10).0).collect();
        batcher.add(Duration::ZERO, large);
        let sizes = std::iter::from_fn(|| batcher.next(Duration::ZERO, 0)).map(|batch| batch.waiters.len());
        assert_eq!(sizes.collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn refused_batches_go_first_and_not_before_their_retry() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(0, COMMIT_TIMEOUT);
        batcher.add(Duration::ZERO, clients.commands(1));
        let first = batcher.next(Duration::ZERO, 0).unwrap();
        batcher.add(Duration::from_millis(1), clients.commands(1));
        let second = batcher.next(Duration::from_millis(1), 0).unwrap();
        let (first_id, second_id) = (first.id, second.id);
        let retry_at = Duration::from_millis(50);
        batcher.requeue(second, retry_at);
        batcher.requeue(first, retry_at);
        batcher.add(Duration::from_millis(2), clients.commands(1));
        assert!(batcher.next(Duration::from_millis(49), 0).is_none());
        assert_eq!(batcher.retry_at(), Some(retry_at));
        batcher.retry_now();
        let order: Vec<u64> =
            std::iter::from_fn(|| batcher.next(Duration::from_millis(49), 0)).map(|batch| batch.id).collect();
        assert_eq!(order, [first_id, second_id, 2]);
    }

    #[test]
    fn commands_that_add_content_are_taken_out_of_a_batch() {
        let clients = Clients::new();
        let mut batcher = Batcher::new(70, COMMIT_TIMEOUT);
        let delete = || {
            let (reply, answer) = oneshot::channel();
            let command = Command::DeleteRange(mvcc::DeleteRange { key: "key".into(), ..Default::default() });
            (clients.admission.admit(command, 0, Waiter { reply, lane: ReplyLaneId(0) }).unwrap(), answer)
        };
        let (mut deletes, puts) = ([delete(), delete()], clients.commands(2));
        let mut waiting = puts.into_iter();
        let group = deletes.iter_mut().map(|_| waiting.next().expect("two puts")).collect::<Vec<_>>();
        let [(first, _), (second, _)] = deletes;
        let [put, other_put] = <[Proposal; 2]>::try_from(group).expect("two puts");
        batcher.add(Duration::ZERO, vec![first, put, other_put, second]);
        let batch = batcher.next(Duration::ZERO, 0).unwrap();
        let bytes = batch.bytes;
        let (refused, rest) = batcher.without_content(batch);
        assert_eq!((refused.waiters.len(), refused.bytes), (2, bytes / 2));
        let rest = rest.expect("two deletions");
        assert_eq!((rest.id, rest.waiters.len(), rest.bytes, commands_in(&rest)), (74, 2, bytes / 2, vec![74, 75]));
        let (refused, rest) = batcher.without_content(rest);
        assert_eq!((refused.waiters.len(), rest.is_none()), (2, true), "nothing else can be taken out");
    }

    #[test]
    fn commands_that_expire_before_a_proposal_report_that_nothing_was_written() {
        let mut clients = Clients::new();
        let mut batcher = Batcher::new(0, COMMIT_TIMEOUT);
        let (requeued, mut first) = clients.command(1);
        batcher.add(Duration::ZERO, vec![requeued]);
        let batch = batcher.next(Duration::ZERO, 0).unwrap();
        batcher.requeue(batch, Duration::ZERO);
        let (waiting, mut second) = clients.command(1);
        batcher.add(Duration::from_secs(1), vec![waiting]);

        clients.expire(&mut batcher, COMMIT_TIMEOUT);
        assert_eq!(first.try_recv().unwrap().unwrap_err(), ProposeError::NoLeader);
        assert!(second.try_recv().is_err(), "it was answered before its deadline");
        clients.expire(&mut batcher, COMMIT_TIMEOUT + Duration::from_secs(1));
        assert_eq!(second.try_recv().unwrap().unwrap_err(), ProposeError::NoLeader);
        assert!(batcher.is_idle());
        assert_eq!(clients.admission.requests(), 0);
    }

    #[test]
    fn too_many_commands_are_refused() {
        let clients = Clients::new();
        let put = || Command::Put(Put { value: vec![0; 30 << 20].into(), ..Put::default() });
        let admit = |command| {
            let (reply, _) = oneshot::channel();
            clients.admission.admit(command, 0, Waiter { reply, lane: ReplyLaneId(0) })
        };
        let first = admit(put()).unwrap();
        let second = admit(put()).unwrap();
        assert_eq!(admit(put()).unwrap_err(), ProposeError::Overloaded);
        clients.admission.release(1, first.bytes);
        drop(admit(put()).unwrap());
        drop(second);
        let huge = Command::Put(Put { value: vec![0; 49 << 20].into(), ..Put::default() });
        assert!(matches!(admit(huge).unwrap_err(), ProposeError::TooLarge { .. }));
    }
}
