//! Messages and snapshots that members send to each other, in the shipped wire format. Owns their delivery over the
//! simulated network.

use std::time::Duration;

use bytes::Bytes;
use raft::{MemberId, RemovalVerdict};
use stepped_member::{SnapshotContent, SnapshotDue};

use crate::invariant::{Checked, Violation};
use crate::members::process::Member;
use crate::members::{Event, MemberCluster};

/// Probability that the sender of a lost message notices a broken connection, per million.
const LOSS_NOTICED: u32 = 300_000;

impl MemberCluster {
    pub(super) fn send(&mut self, from: MemberId, to: MemberId, bytes: Bytes) {
        self.coverage.messages += 1;
        if self.is_too_old(from, to) {
            return;
        }
        let fate = self.network.fate(&mut self.random, from, to);
        if fate.first.is_none() && self.random.chance(LOSS_NOTICED) {
            let (delay, start) = (self.network.delay(&mut self.random), self.members[&from].start);
            self.agenda.after(delay, Event::Unreachable { id: from, start, to });
        }
        for delay in fate.second.into_iter().chain(fate.first) {
            self.agenda.after(delay, Event::Frame { from, to, bytes: bytes.clone() });
        }
    }

    pub(super) fn deliver(&mut self, from: MemberId, to: MemberId, bytes: Bytes) -> Checked {
        let Some(process) = self.members.get(&to).and_then(Member::process) else { return Ok(()) };
        process.deliver(from, bytes).map_err(|reason| Violation {
            invariant: "a received message can be decoded",
            seen: format!("{to} receives from {from}: {reason}"),
        })?;
        self.connect(from, to);
        self.plan_threads(to)
    }

    /// Asks the other voters in random order about a member's removal. The first one that is reached answers.
    pub(super) fn verify_removal(&mut self, id: MemberId) -> Checked {
        let Some(process) = self.members[&id].process() else { return Ok(()) };
        let own = process.raft().configuration().0.clone();
        let mut others: Vec<MemberId> = own.voters.union(&own.outgoing).copied().filter(|other| *other != id).collect();
        let mut verdict = RemovalVerdict::Unreached;
        while !others.is_empty() && verdict == RemovalVerdict::Unreached {
            let other = others.swap_remove(self.random.below(others.len() as u64) as usize);
            let linked = self.network.passes(id, other) && self.network.passes(other, id);
            let process = self.members.get(&other).and_then(Member::process).filter(|_| linked);
            if let Some((configuration, index)) = process.map(|process| process.raft().committed_configuration()) {
                verdict = RemovalVerdict::of(id, configuration, index);
            }
        }
        self.note(|| format!("{id} verifies its removal: {verdict:?}"));
        if let Some(process) = self.members[&id].process() {
            process.removal_verified(verdict);
        }
        self.plan_threads(id)
    }

    pub(super) fn send_snapshot(&mut self, from: MemberId, due: SnapshotDue) {
        let SnapshotDue { to, number, at_least, .. } = due;
        let (process, start) = (self.members[&from].process(), self.members[&from].start);
        let carried = process.map(|process| process.read_snapshot(at_least));
        let delay = (self.network.delay(&mut self.random) + Duration::from_micros(300)) * 3;
        let lost = self.random.chance(self.network.profile.loss.saturating_mul(3).min(900_000));
        let linked = self.network.passes(from, to) && self.network.passes(to, from) && !self.is_too_old(from, to);
        match carried {
            Some(Ok(carried)) if linked && !lost => {
                self.agenda.after(delay, Event::Transfer { from, start, due, carried: Box::new(carried) });
            }
            other => {
                self.note(|| {
                    format!("{from} cannot send a snapshot to {to}: {:?}", other.map(|carried| carried.map(drop)))
                });
                self.agenda.after(delay, Event::Sent { id: from, start, to, number, arrived: Err(()) });
            }
        }
    }

    pub(super) fn receive(
        &mut self,
        from: MemberId,
        start: u64,
        SnapshotDue { to, number, term, .. }: SnapshotDue,
        carried: SnapshotContent,
    ) -> Checked {
        let now = self.agenda.now();
        let member = self.members.get_mut(&to).expect("the member runs");
        member.limit_space(now);
        let meta = carried.meta.last;
        let outcome = member.process().map_or(Ok(()), |process| process.receive_snapshot(from, term, carried));
        self.coverage.installs += u64::from(outcome.is_ok());
        self.note(|| format!("{to} receives the snapshot at {meta} from {from}: {outcome:?}"));
        let delay = self.network.delay(&mut self.random);
        self.agenda.after(delay, Event::Sent { id: from, start, to, number, arrived: outcome.map_err(drop) });
        self.plan_threads(to)
    }
}
