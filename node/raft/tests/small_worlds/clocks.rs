//! Clocks with bounded drift, as leases need them. Owns the clock steps, the timeouts that they allow, and the ages
//! that are part of a digest. Does not own the other events (`state.rs`).
//!
//! Time advances in steps. Usually the clocks of all members advance together. At most `drifts` times, one clock
//! advances alone, or stands still while the others advance. So two clocks differ by at most `drifts` steps over any
//! span of time, and `clock_drift` of the cores is just above `drifts` steps. The election timeout is two steps plus
//! `drifts` steps. The lease is the longest that the cores accept with these settings: it is still valid after one
//! step, but not after two steps.
//!
//! An election timeout may pass as soon as the shortest timeout that can be drawn has passed. The member's clock then
//! advances to the end of the timeout that was drawn. Every other wait of the member has ended by then, so the clock
//! skips only the random part of the timeout.
//!
//! Wall clocks can stand still, because each core compares its own two clocks only over spans of less than a
//! millisecond, the resolution of a wall clock. Only the wall clock of a machine that slept advances: it shows the
//! sleep, while the monotonic clock of that machine misses a step.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use raft::{Body, Config, MemberId, Message, Raft, Role};

use super::bounds::{Bounds, Flaw, Time};
use super::member::Member;
use super::state::{Event, World};

/// Election timeout in worlds in which each clock advances by itself.
pub(crate) const ELECTION: Duration = Duration::from_secs(1);

/// Value of `steps` for which steps are not counted, so that time has no limit.
pub(crate) const UNLIMITED: u8 = u8::MAX;
const STEP: Duration = Duration::from_micros(50);
/// Number of steps after which a lease has ended. After one step less, the lease is still valid.
const LEASE_STEPS: u32 = 2;
/// Time in ms that a sleep adds to the wall clock. It is longer than `clock_drift`, so that the core detects the sleep.
const SHOWN_SLEEP_MS: u64 = 10;

pub(crate) fn election(time: Time) -> Duration {
    match time {
        Time::Independent => ELECTION,
        Time::Together { drifts, .. } => STEP * (LEASE_STEPS + u32::from(drifts)),
    }
}

/// Configures the longest lease that a core accepts, so that the search tests the limit.
pub(crate) fn configure(config: &mut Config, bounds: &Bounds) {
    let Time::Together { drifts, .. } = bounds.time else { return };
    let is_too_long = bounds.flaw == Flaw::LeaseTooLong && config.id == MemberId(1);
    config.election_timeout = election(bounds.time) + if is_too_long { STEP } else { Duration::ZERO };
    config.transfer_timeout = config.election_timeout;
    config.heartbeat_interval = STEP;
    config.lease_reads = true;
    config.clock_drift = STEP * u32::from(drifts) + Duration::from_nanos(1);
    config.leader_lease = config.election_timeout - config.clock_drift - Duration::from_nanos(1);
}

/// Adds to a digest how long ago the member last had contact with a leader. The added time is at most an election
/// timeout, because a longer time has the same effect. Absolute times are not added; otherwise no two states would be
/// equal.
pub(crate) fn fingerprint(member: &Member, bounds: &Bounds, into: &mut impl Hasher) {
    let age = member.clock.saturating_sub(member.contact).min(election(bounds.time));
    (age, member.lease_held_at == Some(member.clock)).hash(into);
}

impl World {
    /// Adds the clock events that are possible now.
    pub(crate) fn add_clock_events(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        let Time::Together { steps, drifts, sleeps } = bounds.time else { return };
        let spent = &self.spent;
        if spent.steps == steps {
            return;
        }
        let drifts = if bounds.flaw == Flaw::ClocksDriftTooFar { drifts + 1 } else { drifts };
        events.push(Event::AdvanceAll);
        for at in 0..self.members.len() {
            if spent.drifts < drifts {
                events.extend([Event::AdvanceOne(at), Event::AdvanceOthers(at)]);
            }
            events.extend((spent.sleeps < sleeps).then_some(Event::Sleep(at)));
        }
    }

    /// Advances by one step the clocks that the event selects.
    pub(crate) fn step_clocks(&mut self, bounds: &Bounds, event: Event) -> Result<(), String> {
        match event {
            Event::AdvanceOne(_) | Event::AdvanceOthers(_) => self.spent.drifts += 1,
            Event::Sleep(_) => self.spent.sleeps += 1,
            _ => {}
        }
        let is_counted = matches!(bounds.time, Time::Together { steps, .. } if steps < UNLIMITED);
        self.spent.steps += u8::from(is_counted && !matches!(event, Event::AdvanceOne(_)));
        for at in 0..self.members.len() {
            let advances = match event {
                Event::AdvanceOne(alone) => at == alone,
                Event::AdvanceOthers(still) | Event::Sleep(still) => at != still,
                _ => true,
            };
            let shows_sleep = matches!(event, Event::Sleep(asleep) if at == asleep) && bounds.flaw != Flaw::HidesSleep;
            let member = self.member(at);
            member.clock += if advances { STEP } else { Duration::ZERO };
            member.wall_ms += if shows_sleep { SHOWN_SLEEP_MS } else { 0 };
            member.update_time();
            self.settle(bounds, at)?;
        }
        Ok(())
    }

    /// Returns whether the election timeout of the member may pass: the shortest timeout has passed without a message
    /// from a leader, or the member does not wait for a leader. A candidate may time out at any time, because no lease
    /// relies on how long a candidate waits.
    pub(crate) fn can_time_out(&self, bounds: &Bounds, at: usize) -> bool {
        let member = &*self.members[at];
        let waits = matches!(member.role(), Some(Role::Follower | Role::Learner));
        let is_due = member.raft.as_ref().is_some_and(|raft| raft.deadline() <= member.clock);
        bounds.time == Time::Independent || !waits || is_due || member.clock >= member.contact + election(bounds.time)
    }

    /// If the member accepted this message of its leader, records the contact, and checks that the member then waits
    /// for at least an election timeout.
    pub(crate) fn note_leader(
        &mut self,
        bounds: &Bounds,
        at: usize,
        from: MemberId,
        message: &Message,
    ) -> Result<(), String> {
        let is_from_leader =
            matches!(message.body, Body::Append(_) | Body::Heartbeat { .. } | Body::InstallSnapshot(_));
        let member = self.member(at);
        let (now, id) = (member.clock, member.id());
        let is_current = |raft: &&Raft| {
            let state = raft.soft_state();
            state.leader == Some(from) && state.term == message.term
        };
        let Some(raft) = member.raft.as_ref().filter(is_current).filter(|_| is_from_leader) else { return Ok(()) };
        if raft.deadline() < now + election(bounds.time) {
            return Err(format!("{id} accepted a message of its leader and waits for less than an election timeout"));
        }
        member.contact = now;
        Ok(())
    }
}
