//! Inputs of a simulated member. Passes each input to the core, or carries it out as the driver would. Owns the inputs
//! of the driver. Does not own outputs (`outputs.rs`).

use std::time::Duration;

use raft::{Body, MemberId, Message, Payload, ProposalId, ReadContext, Unreadable};

use crate::command::OperationId;
use crate::cores::CoreCluster;
use crate::cores::driver_state::{Input, ToApply};
use crate::cores::machine::Outcome;
use crate::cores::sabotage::Sabotage;
use crate::invariant::Checked;
use crate::version::Hint;

/// Maximum number of entries that the state machine applies at a time.
const APPLY_MAX: u64 = 32;

impl CoreCluster {
    /// Handles an input of a member that runs and is not paused.
    pub(super) fn take(&mut self, id: MemberId, input: Input) -> Checked {
        self.coverage.steps += 1;
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let process = member.process_mut().expect("the member runs");
        match input {
            Input::Message { from, message } => {
                if Hint::of(&message).is_some_and(|hint| process.unknown.contains(&hint)) {
                    self.coverage.hints_unknown += 1;
                    self.trace.note(self.agenda.now(), || {
                        format!(
                            "{id} drops a hint from {from} that it does not know: {}",
                            crate::trace::message(&message)
                        )
                    });
                    return Ok(());
                }
                self.trace.note(self.agenda.now(), || {
                    format!("{id} receives from {from}: {}", crate::trace::message(&message))
                });
                process.raft.step(now, from, message);
                self.invariants.leases.received(id);
            }
            Input::Wake { order } => {
                if order != process.wake.0 {
                    return Ok(());
                }
                process.wake.1 = Duration::MAX;
                if process.raft.deadline() > now.monotonic {
                    self.plan_wake(id);
                    return Ok(());
                }
                process.raft.tick(now);
            }
            Input::Synced => self.synced(id)?,
            Input::Apply => self.apply(id)?,
            Input::Capture => {
                self.capture(id);
                return Ok(());
            }
            Input::Captured { meta, image } => self.captured(id, meta, image)?,
            Input::Snapshot { from, term, meta, image } => {
                self.trace
                    .note(self.agenda.now(), || format!("{id} received from {from} the snapshot at {}", meta.last));
                process.received.push((from, meta.clone(), image));
                process.raft.step(now, from, Message { term, body: Body::InstallSnapshot(meta) });
            }
            Input::LogRead { to, from, read } => process.raft.log_read(now, to, from, read.ok_or(Unreadable)),
            Input::StoredRead { read } => {
                process.fill_in(read);
                self.begin_apply(id);
                return Ok(());
            }
            Input::SnapshotSent { to, arrived } => process.raft.snapshot_sent(now, to, arrived),
            Input::Unreachable { to } => process.raft.unreachable(to),
            Input::Propose { commands } => self.propose(id, commands)?,
            Input::Read { operation } => self.read(id, operation)?,
            Input::Change(change) => self.change(id, change),
            Input::Transfer { target } => {
                let answer = process.raft.transfer(now, target);
                self.coverage.transfers += u64::from(answer.is_ok());
                self.trace.note(self.agenda.now(), || {
                    format!("{id} gets a request to transfer leadership to {target:?}: {answer:?}")
                });
            }
            Input::Standing(standing) => process.raft.set_standing(now, standing),
            Input::VerifyRemoval => {
                let verdict = self.ask_whether_removed(id);
                self.trace.note(self.agenda.now(), || format!("{id} verifies its removal: {verdict:?}"));
                self.process(id).raft.removal_verified(now, verdict);
            }
            Input::Leases => {
                self.check_leases(id);
                return Ok(());
            }
            Input::Settle => {
                process.is_settling = false;
                return self.settle(id);
            }
        }
        self.settle_soon(id)
    }

    /// Requests outputs now, or after a random delay in which more inputs may arrive.
    fn settle_soon(&mut self, id: MemberId) -> Checked {
        let batch = self.profile.batch;
        let Some(process) = self.members.get_mut(&id).and_then(|member| member.process_mut()) else { return Ok(()) };
        if process.is_settling {
            return Ok(());
        }
        if batch.is_zero() || self.random.coin() {
            return self.settle(id);
        }
        process.is_settling = true;
        let delay = self.random.time(Duration::ZERO, batch);
        self.plan(id, delay, Input::Settle);
        Ok(())
    }

    fn synced(&mut self, id: MemberId) -> Checked {
        let now = self.agenda.now();
        let member = self.members.get_mut(&id).expect("the member runs");
        let (fails, is_full) = (std::mem::take(&mut member.sync_fails), now < member.full_until);
        if fails || is_full {
            self.coverage.failed_syncs += 1;
            let bug = if fails { Sabotage::RetriesFailedSync } else { Sabotage::IgnoresFullDisk };
            if self.sabotage != Some(bug) {
                // A failed write may have left anything on the disk, so the member stops and reads its disk again.
                self.trace.note(now, || format!("{id}: the sync failed"));
                return self.crash(id);
            }
        }
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        let durable = if fails || is_full { disk.lose_sync() } else { disk.finish_sync() };
        if let Some(record) = &mut self.record {
            record.synced(id, disk.durable());
        }
        self.invariants.synced(disk)?;
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let process = member.process_mut().expect("the member runs");
        if let Some(io) = durable {
            self.trace.note(self.agenda.now(), || format!("{id} synced up to write {io}"));
            process.raft.persisted(now, io);
        }
        Ok(())
    }

    fn apply(&mut self, id: MemberId) -> Checked {
        let count = self.random.between(1, APPLY_MAX);
        for _ in 0..count {
            let process = self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs");
            if self.sabotage == Some(Sabotage::AppliesOutOfOrder) && process.to_apply.len() > 1 {
                process.to_apply.swap(0, 1);
            }
            if !process.can_apply() {
                break;
            }
            let Some(ToApply::Held(entry)) = process.to_apply.pop_front() else { break };
            let outcome = process.machine.apply(&entry);
            let hash = process.machine.hash();
            let is_awaited = outcome.as_ref().is_some_and(|outcome| process.awaited.remove(&outcome.operation));
            self.invariants.applied(id, &entry, hash)?;
            let Some(outcome) = outcome else { continue };
            self.clients.applied(outcome.operation, entry.id.index);
            if is_awaited {
                self.acknowledge(outcome, entry.id.index);
            }
        }
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let process = member.process_mut().expect("the member runs");
        process.is_applying = false;
        let index = process.machine.applied();
        process.raft.applied(now, index);
        self.serve_confirmed_reads(id);
        Ok(())
    }

    fn acknowledge(&mut self, outcome: Outcome, index: raft::Index) {
        self.invariants.reads.acknowledged(index);
        let client = self.clients.acknowledged(outcome, index);
        self.free(client);
    }

    /// Answers the confirmed reads whose index this member has applied.
    pub(super) fn serve_confirmed_reads(&mut self, id: MemberId) {
        let process = self.members.get_mut(&id).and_then(|member| member.process_mut()).expect("the member runs");
        let applied = process.machine.applied();
        let (ready, waiting) = std::mem::take(&mut process.confirmed).into_iter().partition(|(at, _)| *at <= applied);
        process.confirmed = waiting;
        let ready: Vec<(raft::Index, OperationId)> = ready;
        for (_, operation) in ready {
            self.serve_read(id, operation);
        }
    }

    fn serve_read(&mut self, id: MemberId, operation: OperationId) {
        let early_read = self.early_read(id, operation);
        let Some(keys) = self.clients.reads(operation) else { return };
        let machine = &self.members[&id].process().expect("the member runs").machine;
        let mut found: Vec<(u64, u64)> = keys.iter().map(|key| (*key, machine.read(*key))).collect();
        let index = machine.applied();
        if let (Some(value), Some(first)) = (early_read, found.first_mut()) {
            first.1 = value;
        }
        let client = self.clients.answered(operation, found, index);
        self.free(client);
    }

    /// Value of the first register when the read began; `None` unless a planted bug stored the value.
    fn early_read(&mut self, id: MemberId, operation: OperationId) -> Option<u64> {
        self.members.get_mut(&id).and_then(|member| member.process_mut())?.early_read.remove(&operation)
    }

    fn propose(&mut self, id: MemberId, commands: Vec<(OperationId, bytes::Bytes)>) -> Checked {
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let named: Vec<(ProposalId, OperationId, bytes::Bytes)> = commands
            .into_iter()
            .map(|(operation, bytes)| (ProposalId(member.fresh_name()), operation, bytes))
            .collect();
        let process = member.process_mut().expect("the member runs");
        let proposals = named.iter().map(|(name, _, bytes)| (*name, Payload::Normal(bytes.clone()))).collect();
        let answer = process.raft.propose(now, proposals);
        for (name, operation, _) in named {
            match answer {
                Ok(()) => {
                    process.proposed.insert(name, operation);
                    process.awaited.insert(operation);
                }
                Err(_) => {
                    self.invariants.proposals.refused(operation)?;
                    let client = self.clients.refused(operation);
                    if let Some(client) = client {
                        self.agenda.after(self.profile.think.1, super::Event::Client(client));
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, id: MemberId, operation: OperationId) -> Checked {
        if self.sabotage == Some(Sabotage::ReadsWithoutAsking) {
            self.serve_read(id, operation);
            return Ok(());
        }
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let context = ReadContext(member.fresh_name());
        let process = member.process_mut().expect("the member runs");
        process.reading.insert(context, operation);
        if self.sabotage == Some(Sabotage::ReadsRegistersApart)
            && let Some([first, _, ..]) = self.clients.reads(operation)
        {
            process.early_read.insert(operation, process.machine.read(*first));
        }
        process.raft.read(now, context);
        self.invariants.reads.began(id, context);
        self.invariants.leases.began(id, context);
        Ok(())
    }

    fn change(&mut self, id: MemberId, change: raft::Change) {
        // A paused member may process a request late, when disks of the requested voters are already destroyed. The
        // request is dropped if no majority of these voters is left, because the cluster would not survive the change.
        let dead = self.dead();
        if change.voters.intersection(&dead).count() * 2 >= change.voters.len() {
            self.note_line(|| format!("{id} does not get a request for voters of which at least half are destroyed"));
            return;
        }
        let member = self.members.get_mut(&id).expect("the member runs");
        let now = member.clock.read(self.agenda.now());
        let process = member.process_mut().expect("the member runs");
        let wanted =
            format!("voters {:?}, learners {:?}, expected {}", change.voters, change.learners, change.expected);
        let expected = change.expected;
        let answer = process.raft.change(now, change);
        if let (Some(record), Ok(_)) = (&mut self.record, &answer) {
            record.changes(expected);
        }
        self.trace.note(self.agenda.now(), || format!("{id} gets a request for {wanted}: {answer:?}"));
    }
}
