//! Owns the times at which the threads of a member run, and the duration of their work. Checks the work of each thread
//! before any other member learns of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use engine::level::Formats;
use mvcc::FeatureLevel;
use raft::{Index, MemberId, Output, Payload};
use stepped_member::Written;
use storage::StorageError;

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, Violation, ensure, removal_is_committed, state_machine_safety};
use crate::members::process::State;
use crate::members::{Event, MemberCluster};
use crate::trace;

/// Interval between two attempts to write to a full disk, as in the shipped log thread.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// Probability that the transport has no space for the commands that a turn forwards, per million.
const TRANSPORT_FULL: u32 = 50_000;
/// Maximum time until the other voters are asked about a removal.
const VERIFICATION_MAX: Duration = Duration::from_secs(1);
/// Minimum and maximum delay until the core's thread starts on new work.
const REACTION: (Duration, Duration) = (Duration::from_micros(10), Duration::from_millis(2));

impl MemberCluster {
    /// Plans the events in which the member's threads do their pending work.
    pub(super) fn plan_threads(&mut self, id: MemberId) -> Checked {
        if self.members[&id].disk_failed.load(Ordering::Relaxed) {
            self.coverage.failed_syncs += 1;
            return self.crash(id);
        }
        let now = self.agenda.now();
        let delays = [REACTION, self.profile.sync, self.profile.apply, self.profile.sync];
        let [reaction, sync, apply, snapshot] = delays.map(|(low, high)| self.random.long_tailed(low, high));
        let member = self.members.get_mut(&id).expect("every member is known");
        let (start, stalled, mut planned) = (member.start, member.stalled_until.saturating_sub(now), member.planned);
        let (monotonic, has_ended) = (member.clock.read(now).monotonic, member.has_ended);
        let Some(process) = member.process_mut() else { return Ok(()) };
        if !has_ended {
            let (is_due, deadline) = (process.is_due(monotonic), process.deadline());
            let when = if is_due { Some(now + reaction) } else { self.members[&id].clock.when(deadline) };
            let (number, before) = planned.turn;
            if let Some(when) = when
                && before.is_none_or(|before| when < before)
            {
                planned.turn = (number + 1, Some(when));
                self.agenda.at(when, Event::Turn { id, start, number: number + 1 });
            }
        }
        let member = self.members.get_mut(&id).expect("checked above");
        let Some(process) = member.process_mut() else { return Ok(()) };
        if !planned.write && process.has_to_write() {
            planned.write = true;
            self.agenda.after(sync + stalled, Event::Write { id, start });
        }
        if !planned.apply && process.has_to_apply() {
            planned.apply = true;
            self.agenda.after(apply, Event::Apply { id, start });
        }
        if !planned.snapshot && process.has_to_snapshot() {
            planned.snapshot = true;
            self.agenda.after(snapshot + stalled, Event::Snapshot { id, start });
        }
        let is_over = has_ended && !planned.write;
        member.planned = planned;
        if is_over {
            self.end(id);
        }
        self.look_at_calls(id)
    }

    /// Ends the process of a member whose driver has stopped and whose writes are all carried out.
    fn end(&mut self, id: MemberId) {
        let member = self.members.get_mut(&id).expect("every member is known");
        member.state = State::Down;
        member.disk.kill();
        let (low, high) = self.profile.downtime;
        let downtime = self.random.time(low, high);
        self.note(|| format!("{id} has stopped"));
        self.agenda.after(downtime, Event::Start(id));
        self.abandon(id);
    }

    pub(super) fn turn(&mut self, id: MemberId, start: u64, number: u64) -> Checked {
        let now = self.agenda.now();
        let Some(member) = self.members.get_mut(&id) else { return Ok(()) };
        if member.start != start || member.planned.turn.0 != number || member.has_ended {
            return Ok(());
        }
        member.planned.turn.1 = None;
        let monotonic = member.clock.read(now).monotonic;
        if member.process().is_some_and(|process| process.is_due(monotonic)) {
            return self.take_turn(id);
        }
        self.plan_threads(id)
    }

    /// Runs one turn of the core's thread, and checks the turn before any of its outputs leaves the member.
    pub(super) fn take_turn(&mut self, id: MemberId) -> Checked {
        self.coverage.steps += 1;
        let is_full = !self.is_healing && self.random.chance(TRANSPORT_FULL);
        let member = self.members.get_mut(&id).expect("every member is known");
        let now = member.clock.read(self.agenda.now());
        let Some(process) = member.process_mut() else { return Ok(()) };
        process.fill_transport(is_full);
        let turn = process.turn(now);
        let (frames, due) = (process.take_frames(), process.take_snapshots_due());
        let verifies = process.takes_verification();
        member.note_requested(&turn.outputs);
        member.has_ended = turn.ended;
        let process = self.members[&id].process().expect("it had a turn above");
        let before = self.invariants.committed();
        for output in &turn.outputs {
            self.trace.note(self.agenda.now(), || format!("{id} {}", trace::output(output)));
            self.trace_hash.add(self.agenda.now(), 30, &(id, output));
        }
        self.invariants.stepped(id, process.raft(), &turn.outputs, &self.shadows)?;
        self.note_commits(before)?;
        self.coverage.outputs += turn.outputs.len() as u64;
        for output in &turn.outputs {
            let is_read = matches!(output, Output::ReadLog { .. } | Output::ApplyStored { .. });
            self.coverage.log_reads += u64::from(is_read);
            if let Output::Removed { index } = output {
                removal_is_committed::removed(&self.invariants.ledger, id, *index)?;
            }
        }
        if self.random.chance(self.profile.crash_per_output) {
            return self.crash(id);
        }
        self.trace_hash.add(self.agenda.now(), 31, &frames);
        frames.into_iter().for_each(|(to, bytes)| self.send(id, to, bytes));
        due.into_iter().for_each(|due| self.send_snapshot(id, due));
        if verifies {
            let delay = self.network.delay(&mut self.random) * 2;
            let wait = self.random.long_tailed(Duration::ZERO, VERIFICATION_MAX);
            let start = self.members[&id].start;
            self.agenda.after(delay + wait, Event::VerifyRemoval { id, start });
        }
        self.plan_threads(id)
    }

    fn note_commits(&mut self, before: Index) -> Checked {
        for index in before.0 + 1..=self.invariants.committed().0 {
            let id = self.invariants.ledger.committed_at(Index(index)).expect("it is committed").id;
            let known = self.invariants.ledger.known(id).map(|known| known.entry.payload.clone());
            if let Some(Payload::Normal(bytes)) = known {
                self.clients.committed(Index(index), bytes)?;
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, id: MemberId, start: u64) -> Checked {
        let now = self.agenda.now();
        let dies = self.random.chance(self.profile.crash_per_output);
        let after = self.random.between(1, 6);
        let Some(member) = self.members.get_mut(&id).filter(|member| member.start == start) else { return Ok(()) };
        if dies {
            member.disk.stop_after(after);
        }
        member.limit_space(now);
        let Some(process) = member.process_mut() else { return Ok(()) };
        let level = process.handle().published().view.level();
        match process.write() {
            Ok(written) => {
                member.planned.write = false;
                if let Some(written) = written {
                    let shadow = self.shadows.get_mut(&id).expect("every member has a disk");
                    self.trace.note(now, || format!("{id} has on its disk {written:?}"));
                    check_written(&self.invariants.ledger, (id, level), &written)?;
                    member.note_written(written, shadow);
                    self.invariants.synced(shadow)?;
                }
                if dies { self.crash(id) } else { self.plan_threads(id) }
            }
            Err(StorageError::Full { .. }) => {
                self.coverage.failed_syncs += 1;
                self.agenda.after(FULL_RETRY, Event::Write { id, start });
                Ok(())
            }
            Err(reason @ StorageError::Failed(_)) => {
                self.note(|| format!("{id} stops: {reason}"));
                self.crash(id)
            }
            Err(reason) => Err(Violation { invariant: "a disk refuses no write", seen: format!("{id}: {reason}") }),
        }
    }

    pub(super) fn apply(&mut self, id: MemberId, start: u64) -> Checked {
        let Some(process) = self.of_start(id, start) else { return Ok(()) };
        process.apply().map_err(|reason| Violation {
            invariant: "committed entries can be applied",
            seen: format!("{id}: {reason}"),
        })?;
        let Some(process) = self.of_start(id, start) else { return Ok(()) };
        let published = process.handle().published();
        self.members.get_mut(&id).expect("checked above").planned.apply = false;
        let (applied, committed) = (published.applied, self.invariants.committed());
        ensure(applied <= committed, "state machine safety", || {
            format!("{id} has applied {applied}, committed is {committed}")
        })?;
        self.check_level(id, applied, published.view.level())?;
        let hash = published.view.hash_kv(0).map_or(0, |result| result.hash);
        self.trace_hash.add(self.agenda.now(), 32, &(id, applied, hash));
        let expected = *self.states.entry(applied).or_insert(hash);
        ensure(hash == expected, "state machine safety", || {
            format!("the state of {id} at {applied} hashes to {hash:x}, at another member to {expected:x}")
        })?;
        self.plan_threads(id)
    }

    pub(super) fn snapshot(&mut self, id: MemberId, start: u64) -> Checked {
        let now = self.agenda.now();
        self.members.get_mut(&id).expect("every member is known").limit_space(now);
        let Some(process) = self.of_start(id, start) else { return Ok(()) };
        process.snapshot();
        let newest = process.newest_snapshot();
        self.members.get_mut(&id).expect("checked above").planned.snapshot = false;
        if let Some(meta) = newest {
            state_machine_safety::describes_what_is_committed(&self.invariants.ledger, id, &meta)?;
            self.shadows.get_mut(&id).expect("every member has a disk").keep_snapshot(meta, Bytes::new());
        }
        self.plan_threads(id)
    }
}

/// Checks a write of a member at a feature level: a tombstone needs a committed removal, and a format its level.
fn check_written(ledger: &Ledger, (id, level): (MemberId, FeatureLevel), written: &Written) -> Checked {
    match written {
        Written::Tombstone { index } => removal_is_committed::removed(ledger, id, *index),
        Written::Format(format) => {
            ensure(*format <= Formats::of(level).log, "nothing is written above the feature level", || {
                format!("{id} continues its log in {format:?} at level {level}")
            })
        }
        _ => Ok(()),
    }
}
