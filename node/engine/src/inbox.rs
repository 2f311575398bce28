//! What waits for the core's thread. Owns the bounds: commands, reads and messages are refused when too many wait, so that
//! a slow core never grows a queue; acknowledgements overwrite each other, as they are cumulative. Owns no reaction.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use raft::{Index, IoId, MemberId, Message};

use crate::error::SnapshotWriteError;
use crate::event::{Control, Event};
use crate::propose::admission::Proposal;
use crate::published::Published;
use crate::reply::ReadWaiter;

/// Messages that may wait; beyond it they are lost, which Raft tolerates.
const MESSAGES_MAX: usize = 16_384;
/// Reads that may wait for a round.
const READS_MAX: usize = 65_536;
/// Administrative calls that may wait.
const CONTROLS_MAX: usize = 64;

/// So many commands wake the core even if it did not want any: they fill an entry.
const PROPOSALS_ROUSE: usize = 1_024;

/// Why the inbox took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits already.
    #[error("too much waits already")]
    Full,
    /// The core has ended, or has not started.
    #[error("the core does not run")]
    Closed,
}

/// What would make the core act at once. What it does not want gathers without waking it, until something else does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// A command would go into an entry now.
    pub(crate) proposals: bool,
    /// A read would begin a round now.
    pub(crate) reads: bool,
    /// Something waits for what is applied.
    pub(crate) applied: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    open: bool,
    stop: bool,
    /// The core's thread sleeps, and would be woken by this.
    parked: Option<Wants>,
    persisted: Option<IoId>,
    applied: Option<Arc<Published>>,
    messages: Vec<(MemberId, Message)>,
    unreachable: Vec<MemberId>,
    sent: Vec<(MemberId, u64, Result<(), ()>)>,
    written: Option<Result<Index, SnapshotWriteError>>,
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
            && self.messages.is_empty()
            && self.unreachable.is_empty()
            && self.sent.is_empty()
            && self.controls.is_empty()
            && (self.reads.is_empty() || !wants.reads)
            && (self.proposals.is_empty() || !(wants.proposals || self.proposals.len() >= PROPOSALS_ROUSE))
    }

    /// In the order in which the core should hear: what frees resources first, new work last.
    fn drain_into(&mut self, events: &mut Vec<Event>) {
        events.extend(self.persisted.take().map(Event::Persisted));
        events.extend(self.applied.take().map(Event::Applied));
        if !self.unreachable.is_empty() {
            events.push(Event::Unreachable(std::mem::take(&mut self.unreachable)));
        }
        if !self.messages.is_empty() {
            events.push(Event::Messages(std::mem::take(&mut self.messages)));
        }
        let sent = self.sent.drain(..);
        events.extend(sent.map(|(to, number, arrived)| Event::SnapshotSent { to, number, arrived }));
        events.extend(self.written.take().map(Event::SnapshotWritten));
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

/// The core's inbox; closed until the core starts.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Inbox {
    /// The core is about to drain it.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Takes nothing more; everything that waits is dropped, which tells those who wait.
    pub(crate) fn close(&self) {
        let abandoned = std::mem::take(&mut *self.lock());
        drop(abandoned);
    }

    /// A command for the next entry. How many may be under way is `propose::admission`'s to say.
    pub(crate) fn propose(&self, proposal: Proposal) -> Result<(), Refused> {
        self.put(|waiting| {
            waiting.proposals.push(proposal);
            Ok(())
        })
    }

    /// A read for the next round.
    pub(crate) fn read(&self, waiter: ReadWaiter) -> Result<(), Refused> {
        self.put(|waiting| {
            if waiting.reads.len() >= READS_MAX {
                return Err(Refused::Full);
            }
            waiting.reads.push(waiter);
            Ok(())
        })
    }

    /// An administrative call.
    pub(crate) fn control(&self, control: Control) -> Result<(), Refused> {
        self.put(|waiting| {
            if waiting.controls.len() >= CONTROLS_MAX {
                return Err(Refused::Full);
            }
            waiting.controls.push(control);
            Ok(())
        })
    }

    /// What a member said, in order.
    pub(crate) fn messages(&self, from: MemberId, messages: Vec<Message>) -> Result<(), Refused> {
        self.put(|waiting| {
            if waiting.messages.len() + messages.len() > MESSAGES_MAX {
                return Err(Refused::Full);
            }
            waiting.messages.extend(messages.into_iter().map(|message| (from, message)));
            Ok(())
        })
    }

    /// A connection broke.
    pub(crate) fn unreachable(&self, member: MemberId) {
        self.tell(|waiting| {
            if !waiting.unreachable.contains(&member) {
                waiting.unreachable.push(member);
            }
        });
    }

    /// The snapshot transfer of this number ended; each ends once, and to each member there is at most one that counts.
    pub(crate) fn snapshot_sent(&self, to: MemberId, number: u64, arrived: Result<(), ()>) {
        self.tell(|waiting| waiting.sent.push((to, number, arrived)));
    }

    /// The one snapshot that was being written ended.
    pub(crate) fn snapshot_written(&self, outcome: Result<Index, SnapshotWriteError>) {
        self.tell(|waiting| waiting.written = Some(outcome));
    }

    /// Everything up to `io` is durable.
    pub(crate) fn persisted(&self, io: IoId) {
        self.tell(|waiting| waiting.persisted = waiting.persisted.max(Some(io)));
    }

    /// A newer view than any before is published.
    pub(crate) fn applied(&self, published: Arc<Published>) {
        self.tell(|waiting| waiting.applied = Some(published));
    }

    /// Asks the core to end.
    pub(crate) fn stop(&self) {
        self.tell(|waiting| waiting.stop = true);
    }

    /// Sleeps until something waits or `deadline` has passed, then takes everything.
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

    /// Whether nothing waits that would make the core act.
    pub(crate) fn is_idle(&self, wants: Wants) -> bool {
        self.lock().is_idle(wants)
    }

    /// Takes everything, without waiting.
    pub(crate) fn take_now(&self, events: &mut Vec<Event>) {
        self.lock().drain_into(events);
    }

    fn put(&self, put: impl FnOnce(&mut Waiting) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut waiting = self.lock();
        if !waiting.open {
            return Err(Refused::Closed);
        }
        put(&mut waiting)?;
        self.rouse(waiting);
        Ok(())
    }

    fn tell(&self, tell: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        tell(&mut waiting);
        self.rouse(waiting);
    }

    /// Waking costs a system call, so only who sleeps is woken, and once.
    fn rouse(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let wake = waiting.parked.is_some_and(|wants| !waiting.is_idle(wants));
        if wake {
            waiting.parked = None;
        }
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Every holder leaves the lists whole, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raft::{Body, Term};
    use tokio::sync::oneshot;

    use super::*;
    use crate::reply::{LaneId, Waiter};

    const NOTHING: Wants = Wants { proposals: false, reads: false, applied: false };
    const EVERYTHING: Wants = Wants { proposals: true, reads: true, applied: true };

    fn read(inbox: &Inbox) -> Result<(), Refused> {
        inbox.read(Waiter { reply: oneshot::channel().0, lane: LaneId(0) })
    }

    fn next(inbox: &Inbox, wants: Wants) -> Vec<Event> {
        let mut events = Vec::new();
        inbox.next_before(Instant::now() + Duration::from_millis(5), wants, &mut events);
        events
    }

    fn said(count: usize) -> Vec<Message> {
        vec![Message { term: Term(1), body: Body::HeartbeatReply { round: 0 } }; count]
    }

    #[test]
    fn a_closed_inbox_takes_nothing() {
        let inbox = Inbox::default();
        assert_eq!(read(&inbox), Err(Refused::Closed));
        inbox.open();
        assert_eq!(read(&inbox), Ok(()));
        inbox.close();
        assert_eq!(read(&inbox), Err(Refused::Closed));
    }

    #[test]
    fn acknowledgements_overwrite_each_other_and_come_first() {
        let inbox = Inbox::default();
        inbox.open();
        inbox.messages(MemberId(1), said(2)).unwrap();
        inbox.persisted(IoId(3));
        inbox.persisted(IoId(4));
        let events = next(&inbox, EVERYTHING);
        assert!(
            matches!(&events[..], [Event::Persisted(IoId(4)), Event::Messages(said)] if said.len() == 2),
            "{events:?}"
        );
    }

    #[test]
    fn too_many_messages_are_lost() {
        let inbox = Inbox::default();
        inbox.open();
        inbox.messages(MemberId(1), said(MESSAGES_MAX)).unwrap();
        assert_eq!(inbox.messages(MemberId(1), said(1)), Err(Refused::Full));
    }

    #[test]
    fn what_is_not_wanted_yet_wakes_nobody_but_comes_along() {
        let inbox = Inbox::default();
        inbox.open();
        read(&inbox).unwrap();
        let events = next(&inbox, NOTHING);
        assert!(matches!(&events[..], [Event::Reads(_), Event::Deadline]), "it slept to its deadline: {events:?}");
        read(&inbox).unwrap();
        let events = next(&inbox, EVERYTHING);
        assert!(matches!(&events[..], [Event::Reads(_)]), "{events:?}");
    }
}
