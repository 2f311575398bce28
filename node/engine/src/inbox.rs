//! Owns the queue of events for the core's thread, and the bounds of the queue. Reads, messages and administrative calls are
//! refused when too many wait, so that the queue cannot grow without limit while the core is slow. A newer acknowledgement
//! replaces an older one, because acknowledgements are cumulative. Does not own the reaction to an event (`driver/`).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use raft::{Body, Entry, Index, IoId, MemberId, Message, ProposalId, RemovalVerdict, Unreadable};

use storage::MemberSpace;

use crate::error::SnapshotWriteError;
use crate::event::{Control, Event};
use crate::propose::admission::Proposal;
use crate::published::Published;
use crate::reply::ReadWaiter;

/// Maximum number of waiting messages. Further messages are dropped, which Raft tolerates.
const MESSAGES_MAX: usize = 16_384;
/// Maximum weight of the waiting messages, in bytes, until [`Inbox::limit`] changes it. Messages without entries or commands are admitted above it, so that
/// votes and heartbeats get through while the core is slow to take large messages.
const MESSAGES_BYTES_MAX: usize = 64 << 20;
/// Maximum number and weight of the waiting messages of all senders outside the configuration together. They are not
/// authenticated, and must not displace the messages of members.
const STRANGERS_MAX: usize = 1_024;
const STRANGERS_BYTES_MAX: usize = 4 << 20;
/// Maximum number of reads that wait for a round.
const READS_MAX: usize = 65_536;
/// Maximum number of waiting administrative calls.
const CONTROLS_MAX: usize = 64;

/// Number of waiting commands at which the core wakes even if the core does not want commands, because this number of
/// commands fills an entry.
const PROPOSALS_WAKE: usize = 1_024;

/// Why the inbox refused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxRefusal {
    /// The queue for this kind of event is full.
    #[error("its queue is full")]
    Full,
    /// The core has not started or has ended.
    #[error("the core does not run")]
    Closed,
}

/// Says for three kinds of events whether they wake the core. An event wakes the core if the core would act on the
/// event immediately. Otherwise the event waits until the core wakes for another reason. Events of all other kinds
/// always wake the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// Whether the core would propose a command immediately if one arrived now.
    pub(crate) proposals: bool,
    /// Whether the core would begin a round for a read immediately if one arrived now.
    pub(crate) reads: bool,
    /// Whether the core waits for the applied index to advance.
    pub(crate) applied: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    open: bool,
    /// Maximum weight of all messages, if it was changed.
    bytes_max: Option<usize>,
    stop: bool,
    /// The events that wake the core's thread while it sleeps; `None` while it runs.
    parked: Option<Wants>,
    persisted: Option<IoId>,
    applied: Option<Arc<Published>>,
    messages: Vec<(MemberId, Message)>,
    /// Weight of all waiting messages.
    bytes: usize,
    /// Number and weight of the messages of strangers among them.
    strangers: (usize, usize),
    not_sent: Vec<ProposalId>,
    unreachable: Vec<MemberId>,
    sent: Vec<(MemberId, u64, Result<(), ()>)>,
    read: Vec<(MemberId, Index, Result<Vec<Entry>, Unreadable>)>,
    written: Option<Result<Index, SnapshotWriteError>>,
    unreadable: Option<Index>,
    verdict: Option<RemovalVerdict>,
    space: Option<io::Result<MemberSpace>>,
    controls: Vec<Control>,
    reads: Vec<ReadWaiter>,
    proposals: Vec<Proposal>,
}

impl Waiting {
    fn is_idle(&self, wants: Wants) -> bool {
        !self.stop
            && self.persisted.is_none()
            && (self.applied.is_none() || !wants.applied)
            && self.written.is_none()
            && self.unreadable.is_none()
            && self.verdict.is_none()
            && self.space.is_none()
            && self.messages.is_empty()
            && self.not_sent.is_empty()
            && self.unreachable.is_empty()
            && self.sent.is_empty()
            && self.read.is_empty()
            && self.controls.is_empty()
            && (self.reads.is_empty() || !wants.reads)
            && (self.proposals.is_empty() || !(wants.proposals || self.proposals.len() >= PROPOSALS_WAKE))
    }

    /// Returns whether a message fits. Into an empty queue every message does.
    fn admits(&self, message: &Message, weight: usize, is_member: bool) -> bool {
        let (number, bytes) = self.strangers;
        if !is_member && (number >= STRANGERS_MAX || (number > 0 && bytes + weight > STRANGERS_BYTES_MAX)) {
            return false;
        }
        let is_large = match &message.body {
            Body::Append(append) => !append.entries.is_empty(),
            Body::Propose { .. } => true,
            _ => false,
        };
        let fits = self.bytes + weight <= self.bytes_max.unwrap_or(MESSAGES_BYTES_MAX)
            || !is_large
            || self.messages.is_empty();
        self.messages.len() < MESSAGES_MAX && fits
    }

    /// Moves all events into `events`, in the order in which the core must react: events that free resources first, new work
    /// last.
    fn drain_into(&mut self, events: &mut Vec<Event>) {
        events.extend(self.persisted.take().map(Event::Persisted));
        events.extend(self.applied.take().map(Event::Applied));
        if !self.unreachable.is_empty() {
            events.push(Event::Unreachable(std::mem::take(&mut self.unreachable)));
        }
        if !self.not_sent.is_empty() {
            events.push(Event::NotSent(std::mem::take(&mut self.not_sent)));
        }
        if !self.messages.is_empty() {
            (self.bytes, self.strangers) = (0, (0, 0));
            events.push(Event::Messages(std::mem::take(&mut self.messages)));
        }
        let sent = self.sent.drain(..);
        events.extend(sent.map(|(to, number, arrived)| Event::SnapshotSent { to, number, arrived }));
        events.extend(self.read.drain(..).map(|(to, from, read)| Event::LogRead { to, from, read }));
        events.extend(self.written.take().map(Event::SnapshotWritten));
        events.extend(self.unreadable.take().map(Event::SnapshotUnreadable));
        events.extend(self.verdict.take().map(Event::RemovalVerified));
        events.extend(self.space.take().map(Event::Space));
        events.extend(self.controls.drain(..).map(Event::Control));
        if !self.reads.is_empty() {
            events.push(Event::Reads(std::mem::take(&mut self.reads)));
        }
        if !self.proposals.is_empty() {
            events.push(Event::Proposals(std::mem::take(&mut self.proposals)));
        }
        if std::mem::take(&mut self.stop) {
            events.push(Event::Stop);
        }
    }
}

/// The core's inbox. Closed until the core starts.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Inbox {
    /// Changes the maximum weight of the waiting messages, in bytes.
    pub(crate) fn limit(&self, messages_bytes: usize) {
        self.lock().bytes_max = Some(messages_bytes);
    }

    /// Opens the inbox, because the core is about to drain it.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses further events and drops all waiting events. The callers of dropped requests notice because their reply channels
    /// close.
    pub(crate) fn close(&self) {
        let abandoned = std::mem::take(&mut *self.lock());
        drop(abandoned);
    }

    /// Queues a command for the next entry. No bound is checked here, because `propose::admission` limits the number of commands
    /// under way.
    pub(crate) fn propose(&self, proposal: Proposal) -> Result<(), InboxRefusal> {
        self.put(|waiting| {
            waiting.proposals.push(proposal);
            Ok(())
        })
    }

    /// Queues a read for the next round.
    pub(crate) fn read(&self, waiter: ReadWaiter) -> Result<(), InboxRefusal> {
        self.put(|waiting| {
            if waiting.reads.len() >= READS_MAX {
                return Err(InboxRefusal::Full);
            }
            waiting.reads.push(waiter);
            Ok(())
        })
    }

    /// Queues an administrative call.
    pub(crate) fn control(&self, control: Control) -> Result<(), InboxRefusal> {
        self.put(|waiting| {
            if waiting.controls.len() >= CONTROLS_MAX {
                return Err(InboxRefusal::Full);
            }
            waiting.controls.push(control);
            Ok(())
        })
    }

    /// Queues the messages that fit, in order, and drops the others. `is_member`: the sender is in the configuration. Returns an
    /// error if a message was dropped.
    pub(crate) fn messages(&self, from: MemberId, is_member: bool, messages: Vec<Message>) -> Result<(), InboxRefusal> {
        self.put(|waiting| {
            let mut outcome = Ok(());
            for message in messages {
                let weight = message.weight();
                if waiting.admits(&message, weight, is_member) {
                    waiting.bytes += weight;
                    if !is_member {
                        waiting.strangers = (waiting.strangers.0 + 1, waiting.strangers.1 + weight);
                    }
                    waiting.messages.push((from, message));
                } else {
                    outcome = Err(InboxRefusal::Full);
                }
            }
            outcome
        })
    }

    /// Reports proposals that never left this member. The lanes that held them bound their number.
    pub(crate) fn not_sent(&self, proposals: Vec<ProposalId>) {
        self.put_always(|waiting| waiting.not_sent.extend(proposals));
    }

    /// Reports that the connection to a member broke.
    pub(crate) fn unreachable(&self, member: MemberId) {
        self.put_always(|waiting| {
            if !waiting.unreachable.contains(&member) {
                waiting.unreachable.push(member);
            }
        });
    }

    /// Reports that the snapshot transfer with this number ended. The queue needs no bound for these reports, because
    /// each transfer ends only once. A report about a transfer that is not the newest one to the member is ignored
    /// later.
    pub(crate) fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.put_always(|waiting| waiting.sent.push((to, number, arrived)));
    }

    /// Passes on entries that were read from the log for a member. The queue needs no bound for them, because the core bounds the
    /// reads under way.
    pub(crate) fn log_read(&self, to: MemberId, from: Index, read: Result<Vec<Entry>, Unreadable>) {
        self.put_always(|waiting| waiting.read.push((to, from, read)));
    }

    /// Reports the outcome of the snapshot that was being written. At most one report waits, because only one snapshot
    /// is written at a time.
    pub(crate) fn snapshot_written(&self, outcome: Result<Index, SnapshotWriteError>) {
        self.put_always(|waiting| waiting.written = Some(outcome));
    }

    /// Reports that the durable snapshot which ends at `index` cannot be read. Of several, the newest one counts.
    pub(crate) fn snapshot_unreadable(&self, index: Index) {
        self.put_always(|waiting| waiting.unreadable = waiting.unreadable.max(Some(index)));
    }

    /// Reports what the other voters say of this member's removal. At most one verdict waits, because the core asks for one
    /// at a time.
    pub(crate) fn removal_verified(&self, verdict: RemovalVerdict) {
        self.put_always(|waiting| waiting.verdict = Some(verdict));
    }

    /// Reports how much space the volume has. At most one report waits, because a newer one replaces it.
    pub(crate) fn space(&self, measured: io::Result<MemberSpace>) {
        self.put_always(|waiting| waiting.space = Some(measured));
    }

    /// Reports that every write up to `io` is durable.
    pub(crate) fn persisted(&self, io: IoId) {
        self.put_always(|waiting| waiting.persisted = waiting.persisted.max(Some(io)));
    }

    /// Reports that a view is published. The view is newer than every view that was reported before.
    pub(crate) fn applied(&self, published: Arc<Published>) {
        self.put_always(|waiting| waiting.applied = Some(published));
    }

    /// Asks the core to end.
    pub(crate) fn stop(&self) {
        self.put_always(|waiting| waiting.stop = true);
    }

    /// Sleeps until a wanted event is queued or `deadline` has passed, then takes all events.
    pub(crate) fn next_before(&self, deadline: Instant, wants: Wants, events: &mut Vec<Event>) {
        let mut waiting = self.lock();
        let mut late = false;
        while waiting.is_idle(wants) {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                late = true;
                break;
            };
            waiting.parked = Some(wants);
            waiting = self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            waiting.parked = None;
        }
        waiting.drain_into(events);
        if late {
            events.push(Event::Deadline);
        }
    }

    /// Returns whether no queued event would make the core act.
    pub(crate) fn is_idle(&self, wants: Wants) -> bool {
        self.lock().is_idle(wants)
    }

    /// Takes all events without waiting.
    pub(crate) fn take_now(&self, events: &mut Vec<Event>) {
        self.lock().drain_into(events);
    }

    fn put(&self, put: impl FnOnce(&mut Waiting) -> Result<(), InboxRefusal>) -> Result<(), InboxRefusal> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(InboxRefusal::Closed);
        }
        put(&mut waiting)?;
        self.wake_if_sleeping(waiting);
        Ok(())
    }

    fn put_always(&self, put: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        put(&mut waiting);
        self.wake_if_sleeping(waiting);
    }

    /// Wakes the core's thread only if it sleeps, and only once, because waking costs a system call.
    fn wake_if_sleeping(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let wake = waiting.parked.is_some_and(|wants| !waiting.is_idle(wants));
        if wake {
            waiting.parked = None;
        }
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Ignores poisoning: every holder of the lock leaves the lists consistent, even if it panics.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raft::{Payload, Term};
    use tokio::sync::oneshot;

    use super::*;
    use crate::reply::{ReplyLaneId, Waiter};

    const NOTHING: Wants = Wants { proposals: false, reads: false, applied: false };
    const EVERYTHING: Wants = Wants { proposals: true, reads: true, applied: true };

    fn read(inbox: &Inbox) -> Result<(), InboxRefusal> {
        inbox.read(Waiter { reply: oneshot::channel().0, lane: ReplyLaneId(0) })
    }

    fn next(inbox: &Inbox, wants: Wants) -> Vec<Event> {
        let mut events = Vec::new();
        inbox.next_before(Instant::now() + Duration::from_millis(5), wants, &mut events);
        events
    }

    fn replies(count: usize) -> Vec<Message> {
        vec![Message { term: Term(1), body: Body::HeartbeatReply { round: 0 } }; count]
    }

    #[test]
    fn a_closed_inbox_refuses_events() {
        let inbox = Inbox::default();
        assert_eq!(read(&inbox), Err(InboxRefusal::Closed));
        inbox.open();
        assert_eq!(read(&inbox), Ok(()));
        inbox.close();
        assert_eq!(read(&inbox), Err(InboxRefusal::Closed));
    }

    #[test]
    fn acknowledgements_overwrite_each_other_and_come_first() {
        let inbox = Inbox::default();
        inbox.open();
        inbox.messages(MemberId(1), true, replies(2)).unwrap();
        inbox.persisted(IoId(3));
        inbox.persisted(IoId(4));
        let events = next(&inbox, EVERYTHING);
        assert!(
            matches!(&events[..], [Event::Persisted(IoId(4)), Event::Messages(replies)] if replies.len() == 2),
            "{events:?}"
        );
    }

    #[test]
    fn messages_above_the_limit_are_refused() {
        let inbox = Inbox::default();
        inbox.open();
        inbox.messages(MemberId(1), true, replies(MESSAGES_MAX)).unwrap();
        assert_eq!(inbox.messages(MemberId(1), true, replies(1)), Err(InboxRefusal::Full));
        assert!(matches!(&next(&inbox, EVERYTHING)[..], [Event::Messages(all)] if all.len() == MESSAGES_MAX));
        inbox.messages(MemberId(1), true, replies(1)).expect("the queue is empty again");
    }

    fn propose(bytes: usize) -> Vec<Message> {
        let proposals = vec![(ProposalId(1), Payload::Normal(vec![0; bytes].into()))];
        vec![Message { term: Term(1), body: Body::Propose { proposals } }]
    }

    #[test]
    fn large_messages_are_refused_before_small_ones() {
        let inbox = Inbox::default();
        inbox.open();
        inbox.messages(MemberId(1), true, propose(2 * MESSAGES_BYTES_MAX)).expect("it is the only one");
        assert_eq!(inbox.messages(MemberId(1), true, propose(1)), Err(InboxRefusal::Full));
        inbox.messages(MemberId(1), true, replies(3)).expect("a vote or a heartbeat gets through");
        assert!(matches!(&next(&inbox, EVERYTHING)[..], [Event::Messages(all)] if all.len() == 4));
        inbox.messages(MemberId(1), true, propose(1)).expect("the queue is empty again");
    }

    #[test]
    fn the_weight_of_messages_is_a_setting() {
        let inbox = Inbox::default();
        inbox.limit(1_000);
        inbox.open();
        inbox.messages(MemberId(1), true, propose(600)).unwrap();
        assert_eq!(inbox.messages(MemberId(1), true, propose(600)), Err(InboxRefusal::Full));
    }

    #[test]
    fn strangers_do_not_fill_the_inbox() {
        let inbox = Inbox::default();
        inbox.open();
        for stranger in 0..2 {
            let _ = inbox.messages(MemberId(stranger), false, replies(STRANGERS_MAX));
        }
        assert_eq!(inbox.messages(MemberId(9), false, replies(1)), Err(InboxRefusal::Full));
        inbox.messages(MemberId(1), true, replies(MESSAGES_MAX - STRANGERS_MAX)).expect("the rest is for members");
        next(&inbox, EVERYTHING);
        inbox.messages(MemberId(9), false, propose(STRANGERS_BYTES_MAX / 2 + 1)).unwrap();
        assert_eq!(inbox.messages(MemberId(8), false, propose(STRANGERS_BYTES_MAX / 2)), Err(InboxRefusal::Full));
    }

    #[test]
    fn unwanted_events_wait_for_the_next_wake_up() {
        let inbox = Inbox::default();
        inbox.open();
        read(&inbox).unwrap();
        let events = next(&inbox, NOTHING);
        assert!(
            matches!(&events[..], [Event::Reads(_), Event::Deadline]),
            "the core did not sleep until its deadline: {events:?}"
        );
        read(&inbox).unwrap();
        let events = next(&inbox, EVERYTHING);
        assert!(matches!(&events[..], [Event::Reads(_)]), "{events:?}");
    }
}
