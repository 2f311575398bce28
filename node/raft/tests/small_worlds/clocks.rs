//! Clocks that keep step, as leases need them. Owns the steps, what they allow, and which ages a digest counts.
//!
//! Time goes in steps. Mostly all members' clocks take one together; but now and then, so often as a world says, one
//! goes alone, or stands still while the others go. So two clocks part by as many steps at most, over any span of time,
//! and the bound that the cores are told is just above that. The lease is as long as that bound lets a configuration
//! have it, with nothing to spare: it outlives one step and not two, in an election timeout of two steps and as many as
//! clocks may part.
//!
//! A silence ends, at the earliest, when the shortest timeout that chance could draw is over; then the clock is put
//! forward to the one that it did draw. All that a member has waited for is over by then, so nothing but the draw is
//! skipped.
//!
//! Everything together takes less than a millisecond, so the wall clock stands still, except on a machine that slept: its
//! monotonic clock missed a step, and its wall clock shows it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use raft::{Body, Config, MemberId, Message, Raft, Role};

use crate::bounds::{Bounds, Flaw, Time};
use crate::member::Member;
use crate::state::{Act, World};

/// Of clocks that go each by itself.
pub(crate) const ELECTION: Duration = Duration::from_secs(1);

/// Steps that are not counted: time just goes on.
pub(crate) const ENDLESS: u8 = u8::MAX;
const STEP: Duration = Duration::from_micros(50);
/// Those that a lease outlives, and the one that ends it.
const LEASE_STEPS: u32 = 2;
/// More than the clocks may part, in whole ms.
const SLEEP_SHOWS_MS: u64 = 10;

pub(crate) fn election(time: Time) -> Duration {
    match time {
        Time::Free => ELECTION,
        Time::InStep { drifts, .. } => STEP * (LEASE_STEPS + u32::from(drifts)),
    }
}

/// The longest lease, with no time to spare.
pub(crate) fn configure(config: &mut Config, bounds: &Bounds) {
    let Time::InStep { drifts, .. } = bounds.time else { return };
    let is_too_long = bounds.flaw == Flaw::LeaseTooLong && config.id == MemberId(1);
    config.election_timeout = election(bounds.time) + if is_too_long { STEP } else { Duration::ZERO };
    config.transfer_timeout = config.election_timeout;
    config.heartbeat_interval = STEP;
    config.lease_reads = true;
    config.clock_drift = STEP * u32::from(drifts) + Duration::from_nanos(1);
    config.leader_lease = config.election_timeout - config.clock_drift - Duration::from_nanos(1);
}

/// How long it has trusted a leader. What is older than an election timeout is over, however old; and no time is absolute,
/// or no two states would ever be the same.
pub(crate) fn fingerprint(member: &Member, bounds: &Bounds, into: &mut impl Hasher) {
    let age = member.clock.saturating_sub(member.heard).min(election(bounds.time));
    (age, member.lease_seen == Some(member.clock)).hash(into);
}

impl World {
    /// What clocks may do now.
    pub(crate) fn clock_acts(&self, bounds: &Bounds, acts: &mut Vec<Act>) {
        let Time::InStep { steps, drifts, sleeps } = bounds.time else { return };
        let spent = &self.spent;
        if spent.steps == steps {
            return;
        }
        let drifts = if bounds.flaw == Flaw::ClocksPart { drifts + 1 } else { drifts };
        acts.push(Act::Step);
        for at in 0..self.members.len() {
            if spent.drifts < drifts {
                acts.extend([Act::Fast(at), Act::Slow(at)]);
            }
            acts.extend((spent.sleeps < sleeps).then_some(Act::Sleep(at)));
        }
    }

    /// Clocks go a step, or some of them do.
    pub(crate) fn step_clocks(&mut self, bounds: &Bounds, act: Act) -> Result<(), String> {
        match act {
            Act::Fast(_) | Act::Slow(_) => self.spent.drifts += 1,
            Act::Sleep(_) => self.spent.sleeps += 1,
            _ => {}
        }
        let is_counted = matches!(bounds.time, Time::InStep { steps, .. } if steps < ENDLESS);
        self.spent.steps += u8::from(is_counted && !matches!(act, Act::Fast(_)));
        for at in 0..self.members.len() {
            let goes = match act {
                Act::Fast(alone) => at == alone,
                Act::Slow(still) | Act::Sleep(still) => at != still,
                _ => true,
            };
            let shows_sleep = matches!(act, Act::Sleep(asleep) if at == asleep) && bounds.flaw != Flaw::HidesSleep;
            let member = self.member(at);
            member.clock += if goes { STEP } else { Duration::ZERO };
            member.wall_ms += if shows_sleep { SLEEP_SHOWS_MS } else { 0 };
            member.tell_time();
            self.settle(bounds, at)?;
        }
        Ok(())
    }

    /// Whether the member heard nothing for some draw of the timeout, or waits for no leader. A candidate may give up at any
    /// time, because no leader counts on its silence.
    pub(crate) fn is_silent(&self, bounds: &Bounds, at: usize) -> bool {
        let member = &*self.members[at];
        let waits = matches!(member.role(), Some(Role::Follower | Role::Learner));
        let is_due = member.raft.as_ref().is_some_and(|raft| raft.deadline() <= member.clock);
        bounds.time == Time::Free || !waits || is_due || member.clock >= member.heard + election(bounds.time)
    }

    /// A message of a leader was accepted: from then on the member waits for an election timeout at least.
    pub(crate) fn note_leader(
        &mut self,
        bounds: &Bounds,
        at: usize,
        from: MemberId,
        message: &Message,
    ) -> Result<(), String> {
        let speaks_as_leader =
            matches!(message.body, Body::Append(_) | Body::Heartbeat { .. } | Body::InstallSnapshot(_));
        let member = self.member(at);
        let (now, id) = (member.clock, member.id());
        let heard = |raft: &&Raft| {
            let state = raft.soft_state();
            state.leader == Some(from) && state.term == message.term
        };
        let Some(raft) = member.raft.as_ref().filter(heard).filter(|_| speaks_as_leader) else { return Ok(()) };
        if raft.deadline() < now + election(bounds.time) {
            return Err(format!("{id} heard its leader and waits for less than an election timeout"));
        }
        member.heard = now;
        Ok(())
    }
}
