//! Carries out the outputs of a core on the simulated disk and network. Owns the outputs of the driver. Does not own
//! their order, which the core decides.

use std::time::Duration;

use bytes::Bytes;
use raft::{HardState, Index, IoId, MemberId, Message, Output, RemovalVerdict, Role, SnapshotMeta, Term};

use crate::cores::driver_state::{Input, Process, State, ToApply};
use crate::cores::machine::Machine;
use crate::cores::sabotage::Sabotage;
use crate::cores::{CoreCluster, Event, Transfer};
use crate::invariant::{Checked, Violation, ensure, removal_is_committed, state_machine_safety};

/// Minimum and maximum time from a deadline to the tick. The minimum makes time advance in each turn even if a core
/// returns a wrong deadline.
const WAKE_LATE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(2));
/// Probability that the sender of a lost message notices a broken connection, per million.
const LOSS_NOTICED: u32 = 300_000;

impl CoreCluster {
    /// Requests a core's outputs, checks the step and carries the outputs out. The member may crash between two
    /// outputs.
    pub(super) fn settle(&mut self, id: MemberId) -> Checked {
        let process = self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs");
        let mut outputs = Vec::new();
        while let Some(output) = process.raft.next_output() {
            outputs.push(output);
        }
        if let Some(sabotage) = self.sabotage {
            sabotage.tamper(&mut outputs, &process.raft);
        }
        let process = self.members[&id].process().expect("the member runs");
        if let Some(record) = &mut self.record {
            record.stepped(id, &process.raft, &outputs);
        }
        self.invariants.stepped(id, &process.raft, &outputs, &self.disks)?;
        for output in outputs {
            let now = self.agenda.now();
            self.trace.note(now, || format!("{id} {}", crate::trace::output(&output)));
            self.trace_hash.add(now, 20, &(id, &output));
            self.carry_out(id, output)?;
            self.coverage.outputs += 1;
            let is_chosen = self.crash_after == Some(self.coverage.outputs);
            if is_chosen || self.random.chance(self.profile.crash_per_output) {
                return self.crash(id);
            }
            if !self.members[&id].is_up() {
                return Ok(());
            }
        }
        self.begin_sync(id);
        self.begin_apply(id);
        self.plan_wake(id);
        Ok(())
    }

    fn carry_out(&mut self, id: MemberId, output: Output) -> Checked {
        match output {
            Output::Persist(persist) => {
                let io = persist.io;
                self.disks.get_mut(&id).expect("every member has a disk").write(persist);
                if self.sabotage == Some(Sabotage::AcknowledgesBeforeDurable) {
                    self.pretend_durable(id, io);
                }
            }
            Output::Send { to, message } => self.send(id, to, message),
            Output::SendSnapshot { to, term, at_least } => self.send_snapshot(id, to, term, at_least)?,
            Output::InstallSnapshot { io, from, hard_state, meta } => self.install(id, io, from, hard_state, meta)?,
            Output::DiscardSnapshot { from, last } => {
                let meta = SnapshotMeta { last, ..SnapshotMeta::default() };
                let process = self.process(id);
                process.take_received(from, &meta);
            }
            Output::Apply(entries) => self.process(id).to_apply.extend(entries.into_iter().map(ToApply::Held)),
            Output::ApplyStored { first, last } => {
                let read = self.disks[&id].read_log(first, last, usize::MAX).unwrap_or_default();
                ensure(read.len() as u64 > last.0 - first.0, "the disk holds what left the memory", || {
                    format!("{id} is to apply {first} to {last}, but its disk has {} of these entries", read.len())
                })?;
                self.process(id).to_apply.push_back(ToApply::Stored(first));
                self.plan_read(id, Input::StoredRead { read });
            }
            Output::ReadLog { to, from, through, bytes } => {
                let read = self.disks[&id].read_log(from, through, bytes);
                self.plan_read(id, Input::LogRead { to, from, read });
            }
            Output::ReadReady { context, index } => {
                self.invariants.reads.ready(id, context, index)?;
                self.coverage.reads += 1;
                let process = self.process(id);
                let term = process.raft.soft_state().term;
                self.invariants.leases.ready(&self.invariants.ledger, id, context, term)?;
                let process = self.process(id);
                if let Some(operation) = process.reading.remove(&context) {
                    process.confirmed.push((index, operation));
                }
                self.serve_confirmed_reads(id);
            }
            Output::ReadFailed { context } => {
                if let Some(operation) = self.process(id).reading.remove(&context) {
                    let client = self.clients.refused(operation);
                    self.free(client);
                }
            }
            Output::Dropped { proposal, .. } => {
                let process = self.process(id);
                if let Some(operation) = process.proposed.remove(&proposal) {
                    process.awaited.remove(&operation);
                    self.invariants.proposals.refused(operation)?;
                    let client = self.clients.refused(operation);
                    self.free(client);
                }
            }
            Output::SnapshotDue { .. } => {
                let delay = self.random.long_tailed(Duration::ZERO, Duration::from_millis(300));
                self.plan(id, delay, Input::Capture);
            }
            Output::Changed(state) => {
                if state.role == Role::Leader {
                    self.track_leases(id);
                    self.operator_hears_of(id);
                }
            }
            Output::VerifyRemoval => {
                let delay = self.network.delay(&mut self.random) * 2;
                let wait = self.random.long_tailed(Duration::ZERO, Duration::from_secs(1));
                self.plan(id, delay + wait, Input::VerifyRemoval);
            }
            Output::Removed { index } => {
                removal_is_committed::removed(&self.invariants.ledger, id, index)?;
                self.members.get_mut(&id).expect("the member runs").state = State::Tombstoned;
            }
        }
        Ok(())
    }

    pub(super) fn process(&mut self, id: MemberId) -> &mut Process {
        self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs")
    }

    // Disk.

    fn begin_sync(&mut self, id: MemberId) {
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        if disk.begin_sync() {
            let (low, high) = self.profile.sync;
            let stall = self.members[&id].stalled_until.saturating_sub(self.agenda.now());
            let delay = self.random.long_tailed(low, high) + stall;
            self.plan(id, delay, Input::Synced);
        }
    }

    /// Plans the end of a read of the log, which waits for a stalled disk as a write does. The read returns what the disk
    /// holds now, even if it ends after later writes.
    fn plan_read(&mut self, id: MemberId, input: Input) {
        self.coverage.log_reads += 1;
        let (low, high) = self.profile.read;
        let stall = self.members[&id].stalled_until.saturating_sub(self.agenda.now());
        let delay = self.random.long_tailed(low, high) + stall;
        self.plan(id, delay, input);
    }

    fn pretend_durable(&mut self, id: MemberId, io: IoId) {
        let now = self.members[&id].clock.read(self.agenda.now());
        self.process(id).raft.persisted(now, io);
        self.plan(id, Duration::ZERO, Input::Settle);
    }

    // State machine.

    pub(super) fn begin_apply(&mut self, id: MemberId) {
        let (low, high) = self.profile.apply;
        let process = self.process(id);
        if !process.is_applying && process.can_apply() {
            process.is_applying = true;
            let delay = self.random.long_tailed(low, high);
            self.plan(id, delay, Input::Apply);
        }
    }

    /// Captures the state for a snapshot, which becomes durable some time later.
    pub(super) fn capture(&mut self, id: MemberId) {
        if self.read_fails(id) {
            // No snapshot is captured. The core requests another one when enough further entries are applied.
            return;
        }
        let process = self.process(id);
        let (applied, time_ms) = (process.machine.applied(), process.machine.time_ms());
        let Some(meta) = process.raft.snapshot_meta(applied, time_ms) else { return };
        let fresh = process.machine.image();
        let older = process.captured.replace(fresh.clone());
        let image = match older {
            Some(older) if self.sabotage == Some(Sabotage::SnapshotsOlderState) => older,
            _ => fresh,
        };
        let delay = self.random.long_tailed(Duration::from_micros(200), Duration::from_millis(500));
        self.plan(id, delay, Input::Captured { meta, image });
        if self.sabotage == Some(Sabotage::PurgesBeforeSnapshotIsDurable) {
            self.purge(id, self.members[&id].process().expect("the member runs").machine.applied());
        }
    }

    pub(super) fn captured(&mut self, id: MemberId, meta: SnapshotMeta, image: Bytes) -> Checked {
        state_machine_safety::describes_what_is_committed(&self.invariants.ledger, id, &meta)?;
        self.trace.note(self.agenda.now(), || format!("{id} has a snapshot at {}", meta.last));
        let index = meta.last.index;
        self.disks.get_mut(&id).expect("every member has a disk").keep_snapshot(meta, image);
        self.purge(id, index);
        Ok(())
    }

    fn purge(&mut self, id: MemberId, index: Index) {
        let first = self.process(id).raft.snapshot_taken(index);
        // A real disk purges whole segments only. Some entries before `first` may therefore remain.
        let kept = self.random.between(0, 3);
        self.disks.get_mut(&id).expect("every member has a disk").purge(Index(first.0.saturating_sub(kept)));
    }

    fn install(
        &mut self,
        id: MemberId,
        io: IoId,
        from: MemberId,
        hard_state: Option<HardState>,
        meta: SnapshotMeta,
    ) -> Checked {
        let keeps_state = self.sabotage == Some(Sabotage::InstallsWithoutState);
        let process = self.process(id);
        let image = process.take_received(from, &meta).ok_or_else(|| Violation {
            invariant: "an installed snapshot was received",
            seen: format!("{id} is to install the snapshot at {} from {from}, which it did not receive", meta.last),
        })?;
        process.to_apply.clear();
        if !keeps_state {
            process.machine = Machine::from_image(&image);
        }
        let (index, hash) = (process.machine.applied(), process.machine.hash());
        self.coverage.installs += 1;
        self.invariants.machines.restarted(id, index);
        if index > Index(0) {
            self.invariants.machines.state(id, index, hash)?;
        }
        self.disks.get_mut(&id).expect("every member has a disk").install(io, hard_state, meta, image);
        self.serve_confirmed_reads(id);
        Ok(())
    }

    // Network.

    fn send(&mut self, from: MemberId, to: MemberId, message: Message) {
        self.coverage.messages += 1;
        let fate = self.network.fate(&mut self.random, from, to);
        if fate.first.is_none() {
            self.trace.note(self.agenda.now(), || format!("{from} to {to}: lost"));
            if self.random.chance(LOSS_NOTICED) {
                let delay = self.network.delay(&mut self.random);
                self.plan(from, delay, Input::Unreachable { to });
            }
        }
        for delay in fate.second.into_iter().chain(fate.first) {
            let input = Input::Message { from, message: message.clone() };
            self.agenda.after(delay, Event::Input { to, start: None, input });
        }
    }

    fn send_snapshot(&mut self, from: MemberId, to: MemberId, term: Term, at_least: Index) -> Checked {
        let durable = self.disks[&from].durable();
        let (meta, image) = (durable.snapshot.clone(), durable.image.clone());
        ensure(
            meta.last.index >= at_least,
            "an offered snapshot contains the entries that the receiver needs",
            || format!("{from} is to send a snapshot up to {at_least} to {to}, but its own is at {}", meta.last),
        )?;
        if self.read_fails(from) {
            self.plan(from, Duration::from_micros(300), Input::SnapshotSent { to, arrived: Err(()) });
            return Ok(());
        }
        let start = self.members[&from].start;
        let latest = self.process(from).sending.entry(to).or_default();
        *latest += 1;
        let number = *latest;
        let bytes = self.random.time(Duration::ZERO, self.profile.transfer);
        let delay = (self.network.delay(&mut self.random) + Duration::from_micros(300)) * 3 + bytes;
        self.agenda.after(delay, Event::Snapshot(Box::new(Transfer { from, start, to, number, term, meta, image })));
        Ok(())
    }

    /// What the first other voter that is reached says of a member's removal. The voters are asked in random order.
    pub(super) fn ask_whether_removed(&mut self, id: MemberId) -> RemovalVerdict {
        let own = self.process(id).raft.configuration().0.clone();
        let mut others: Vec<MemberId> = own.voters.union(&own.outgoing).copied().filter(|other| *other != id).collect();
        while !others.is_empty() {
            let other = others.swap_remove(self.random.below(others.len() as u64) as usize);
            let linked = self.network.passes(id, other) && self.network.passes(other, id);
            let member = self.members.get(&other).filter(|member| linked && member.paused.is_none());
            // What a core concludes from inputs that it still collects is not known outside it yet.
            if let Some(process) = member.and_then(|member| member.process()).filter(|process| !process.is_settling) {
                let (configuration, index) = process.raft.committed_configuration();
                return RemovalVerdict::of(id, configuration, index);
            }
        }
        RemovalVerdict::Unreached
    }

    /// Delivers a snapshot if the link and both members are up. Does nothing if a newer transfer has replaced this one.
    pub(super) fn end_transfer(&mut self, transfer: Transfer) -> Checked {
        let Transfer { from, start, to, number, term, meta, image } = transfer;
        let sender = self.members[&from].process().filter(|_| self.members[&from].start == start);
        if sender.is_some_and(|sender| sender.sending.get(&to) != Some(&number)) {
            return Ok(());
        }
        let sender_lives = sender.is_some();
        let is_up = self.members.get(&to).is_some_and(|member| member.is_up());
        let linked = self.network.passes(from, to) && self.network.passes(to, from);
        let lost = self.random.chance(self.network.profile.loss.saturating_mul(3).min(900_000));
        let arrived = if sender_lives && is_up && linked && !lost { Ok(()) } else { Err(()) };
        if arrived.is_ok() {
            self.deliver(to, None, Input::Snapshot { from, term, meta, image })?;
        }
        if sender_lives {
            let delay = self.network.delay(&mut self.random);
            self.agenda.after(
                delay,
                Event::Input { to: from, start: Some(start), input: Input::SnapshotSent { to, arrived } },
            );
        }
        Ok(())
    }

    // Time.

    /// Plans a tick at a member's deadline, unless a tick is already planned at or before the deadline. A tick before
    /// the deadline calls this function again. The agenda therefore holds few ticks, although messages often postpone
    /// the deadline.
    pub(super) fn plan_wake(&mut self, id: MemberId) {
        let now = self.agenda.now();
        let member = self.members.get_mut(&id).expect("the member runs");
        let Some(process) = member.process() else { return };
        let Some(when) = member.clock.when(process.raft.deadline()) else { return };
        let (order, planned) = process.wake;
        if planned <= when {
            return;
        }
        let late = self.random.long_tailed(WAKE_LATE.0, WAKE_LATE.1);
        let order = order + 1;
        self.process(id).wake = (order, when);
        self.plan(id, when.saturating_sub(now) + late, Input::Wake { order });
    }
}
