//! What leaves the core, in order, and what must wait for the disk first. Owns the one stream of write names and every
//! message withheld on it, so that no driver can leak a vote or an acknowledgement; decides nothing.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::ids::{IoId, MemberId, Term};
use crate::message::{AppendReply, Body, Message};
use crate::output::Output;

/// A message that is true only once a write is durable.
#[derive(Clone, Debug, Hash)]
struct Withheld {
    io: IoId,
    to: MemberId,
    message: Message,
}

/// The way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    /// In the order of their writes.
    withheld: VecDeque<Withheld>,
    issued: IoId,
    durable: IoId,
}

impl Outbox {
    /// What is still to come out; writes are told by how many are not durable before them, not by their names.
    pub(crate) fn fingerprint(&self, into: &mut impl Hasher) {
        let Self { queue, withheld, issued, durable } = self;
        queue.hash(into);
        for Withheld { io, to, message } in withheld {
            (io.0 - durable.0, to, message).hash(into);
        }
        (withheld.len(), issued.0 - durable.0).hash(into);
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn send(&mut self, to: MemberId, message: Message) {
        self.queue.push_back(Output::Send { to, message });
    }

    /// Sends once `io` is durable; at once if it is.
    pub(crate) fn send_after(&mut self, io: IoId, to: MemberId, message: Message) {
        if io <= self.durable {
            self.send(to, message);
            return;
        }
        if let Some(last) = self.withheld.back_mut()
            && last.io == io
            && last.to == to
            && absorb(&mut last.message, &message)
        {
            return;
        }
        // A promise about an earlier write may be made after one about a later write; waiting for the later one is
        // always right, and keeps the queue in order.
        let io = self.withheld.back().map_or(io, |last| last.io.max(io));
        assert!(io <= self.issued.next(), "a promise waits for a write under way, or for the next one: {io}");
        self.withheld.push_back(Withheld { io, to, message });
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The name that the next write will have.
    pub(crate) fn next_io(&self) -> IoId {
        self.issued.next()
    }

    /// The name of the latest write.
    pub(crate) fn issued(&self) -> IoId {
        self.issued
    }

    /// Names a write.
    pub(crate) fn issue(&mut self) -> IoId {
        self.issued = self.issued.next();
        self.issued
    }

    pub(crate) fn durable(&self) -> IoId {
        self.durable
    }

    /// The log was truncated or replaced: acknowledgements that wait speak of another one.
    pub(crate) fn withdraw_acknowledgements(&mut self) {
        self.withheld.retain(|withheld| !matches!(withheld.message.body, Body::AppendReply(_)));
    }

    /// Everything up to `io` is durable: lets go what waited for it. What was promised in an earlier term is not sent any
    /// more; its receiver leads no longer, or does not need it.
    pub(crate) fn persisted(&mut self, io: IoId, term: Term) {
        self.durable = self.durable.max(io.min(self.issued));
        assert!(self.durable <= self.issued, "only what was asked for becomes durable");
        let mut ready: Option<(MemberId, Message)> = None;
        while self.withheld.front().is_some_and(|first| first.io <= self.durable) {
            let Some(Withheld { to, message, .. }) = self.withheld.pop_front() else { break };
            assert!(message.term <= term, "nothing was promised in a term to come");
            if message.term != term {
                continue;
            }
            if let Some((receiver, earlier)) = &mut ready
                && *receiver == to
                && absorb(earlier, &message)
            {
                continue;
            }
            if let Some((to, message)) = ready.replace((to, message)) {
                self.send(to, message);
            }
        }
        if let Some((to, message)) = ready {
            self.send(to, message);
        }
    }
}

/// Folds a later acknowledgement of the same term into an earlier one: both are cumulative.
fn absorb(earlier: &mut Message, later: &Message) -> bool {
    let terms_agree = earlier.term == later.term;
    match (&mut earlier.body, &later.body) {
        (
            Body::AppendReply(AppendReply::Accepted { matched, round }),
            Body::AppendReply(AppendReply::Accepted { matched: later_matched, round: later_round }),
        ) if terms_agree => {
            *matched = (*matched).max(*later_matched);
            *round = (*round).max(*later_round);
            true
        }
        _ => false,
    }
}
