//! The lifecycle of a member: how it is added, started, crashed, paused and destroyed. Owns these transitions, and the
//! effect of each on the disk. Does not own the inputs and outputs of a running member (`inputs.rs`, `outputs.rs`).

use std::sync::Arc;
use std::time::Duration;

use raft::{Config, Configuration, MemberId, Raft, SnapshotMeta};
use world::clock::{Clock, TRUE_RATE};
use world::disk::{Breakage, Disk, Reading, keep_in_memory};

use crate::cores::driver_state::{Member, Process, State};
use crate::cores::machine::Machine;
use crate::cores::sabotage::Sabotage;
use crate::cores::{CoreCluster, Event};
use crate::invariant::{Checked, Violation};

impl CoreCluster {
    /// Starts a new member whose disk holds only the configuration of its bootstrap.
    pub(crate) fn add_member(&mut self, id: MemberId, bootstrap: Arc<Configuration>) -> Checked {
        let meta = SnapshotMeta { configuration: Arc::clone(&bootstrap), ..SnapshotMeta::default() };
        self.disks.insert(id, Disk::bootstrapped(id, meta, Machine::default().image()));
        self.invariants.ledger.add_member(id, bootstrap);
        let origin = self.random.time(Duration::ZERO, Duration::from_secs(3_600));
        self.members.insert(id, Member::new(id, Clock::started(self.agenda.now(), origin, TRUE_RATE)));
        self.start(id)
    }

    pub(crate) fn start(&mut self, id: MemberId) -> Checked {
        if !matches!(self.members[&id].state, State::Down) {
            return Ok(());
        }
        let now = self.agenda.now();
        if self.read_fails(id) {
            if self.sabotage == Some(Sabotage::StartsEmptyWhenUnreadable) {
                self.empty_disk(id);
            } else {
                self.plan_start(id);
                return Ok(());
            }
        }
        let version = self.profile.version(&mut self.random);
        let config = Config { id, seed: self.random.number(), ..version.config };
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        let mut restored = match disk.recover(self.sabotage.map_or(Reading::Sound, Sabotage::reading)) {
            Ok(restored) => restored,
            Err(damage) => {
                self.trace.note(now, || format!("{id} refuses its disk: {damage:?}"));
                self.destroy(id);
                return Ok(());
            }
        };
        if config.limits.log_bytes < usize::MAX {
            // Like the log in memory, what a start keeps in memory is small.
            let count = *self.random.pick(&[1, 3, 1_024]);
            keep_in_memory(&mut restored.log, count);
        }
        let machine = Machine::from_image(&disk.durable().image);
        let disk = &self.disks[&id];
        self.trace.note(now, || {
            let contents = disk.durable();
            format!(
                "{id} starts: {:?}, snapshot {}, log to {}",
                contents.hard_state,
                contents.snapshot.last,
                contents.last()
            )
        });
        self.invariants.started(disk)?;
        let clock_now = self.members[&id].clock.read(now);
        let raft = Raft::new(config, restored, clock_now)
            .map_err(|error| Violation { invariant: "a disk can be read again", seen: format!("{id}: {error}") })?;
        let member = self.members.get_mut(&id).expect("checked above");
        let mut raft = raft;
        raft.set_standing(clock_now, member.standing);
        member.start += 1;
        member.state = State::Up(Box::new(Process::new(raft, machine, version.unknown)));
        self.settle(id)
    }

    /// Ends a member's process. Of the writes that were not synced, only a prefix survives. The member restarts later.
    pub(crate) fn crash(&mut self, id: MemberId) -> Checked {
        let member = self.members.get_mut(&id).expect("only members crash");
        if !member.is_up() {
            return Ok(());
        }
        (member.state, member.paused) = (State::Down, None);
        self.coverage.crashes += 1;
        let breakage = self.sabotage.map_or(Breakage::Sound, Sabotage::breakage);
        let disk = self.disks.get_mut(&id).expect("every member has a disk");
        disk.crash(&mut self.random, breakage);
        if let Some(record) = &mut self.record {
            record.crashed(id, disk.durable());
        }
        self.invariants.synced(disk)?;
        self.note(|| format!("{id} crashes"));
        self.plan_start(id);
        Ok(())
    }

    /// Plans a start of a member that is down.
    fn plan_start(&mut self, id: MemberId) {
        let (low, high) = self.profile.downtime;
        let downtime = self.random.time(low, high);
        self.note(|| format!("{id} is to start in {downtime:?}"));
        self.agenda.after(downtime, Event::Start(id));
    }

    /// Returns whether a read of a member's disk fails now.
    pub(crate) fn read_fails(&mut self, id: MemberId) -> bool {
        let fails = self.agenda.now() < self.members[&id].unreadable_until;
        if fails {
            self.coverage.failed_reads += 1;
            self.note(|| format!("{id} cannot read its disk"));
        }
        fails
    }

    /// Restarts a member with an empty disk under its old ID. Only a planted bug does this.
    pub(crate) fn restart_empty(&mut self, id: MemberId) -> Checked {
        self.crash(id)?;
        self.empty_disk(id);
        self.start(id)
    }

    /// Resets a disk to its content before the first start. Only planted bugs do this.
    fn empty_disk(&mut self, id: MemberId) {
        let bootstrap = Arc::clone(self.invariants.ledger.member_log(id).blank());
        let meta = SnapshotMeta { configuration: bootstrap, ..SnapshotMeta::default() };
        self.disks.insert(id, Disk::bootstrapped(id, meta, Machine::default().image()));
    }

    /// The planted bug; `None` if there is none.
    pub(crate) fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    /// Destroys a member and its disk.
    pub(crate) fn destroy(&mut self, id: MemberId) {
        self.note(|| format!("{id} is destroyed with its disk"));
        let member = self.members.get_mut(&id).expect("only members are destroyed");
        (member.state, member.paused) = (State::Gone, None);
        self.disks.get_mut(&id).expect("every member has a disk").lose();
    }

    /// Pauses a member. Events for the member wait until the pause ends.
    pub(crate) fn pause(&mut self, id: MemberId, span: Duration) {
        let member = self.members.get_mut(&id).expect("only members pause");
        if member.is_up() && member.paused.is_none() {
            member.paused = Some(Vec::new());
            self.note(|| format!("{id} is paused for {span:?}"));
            self.agenda.after(span, Event::Resume(id));
        }
    }

    pub(super) fn resume(&mut self, id: MemberId) -> Checked {
        let member = self.members.get_mut(&id).expect("only members resume");
        let start = member.start;
        for input in member.paused.take().unwrap_or_default() {
            self.deliver(id, Some(start), input)?;
        }
        Ok(())
    }
}
