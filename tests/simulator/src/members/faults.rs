//! Makes faults strike a cluster of members. Does not own which faults exist (`crate::fault`).

use std::time::Duration;

use raft::MemberId;
use world::clock::TRUE_RATE;

use crate::fault::{Fault, forgery, partition};
use crate::invariant::Checked;
use crate::members::{Event, MemberCluster};

/// Maximum deviation of a clock's rate from the true rate, in millionths.
const DRIFT_MAX: u64 = 200_000;
/// Maximum jump of a wall clock, in milliseconds.
const JUMP_MS_MAX: u64 = 3 * 24 * 3_600 * 1_000;
/// Maximum time that a stopping member waits for its leadership transfer.
const TRANSFER_MAX: Duration = Duration::from_millis(500);

/// Returns whether faults of this kind strike a cluster of members at planned times.
pub(super) fn strikes(fault: Fault) -> bool {
    use Fault::{BelowReserve, Clock, Crash, Forgery, NoSpace, Partition, Pause, Stall, SyncError, Transfer, Wipe};
    matches!(
        fault,
        BelowReserve | Clock | Crash | Forgery | NoSpace | Partition | Pause | Stall | SyncError | Transfer | Wipe
    )
}

impl MemberCluster {
    pub(super) fn strike(&mut self, fault: Fault) -> Checked {
        if self.is_healing {
            return Ok(());
        }
        let now = self.agenda.now();
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        let leaders = self.leaders();
        let any = *self.random.pick(&ids);
        let victim = if leaders.is_empty() || self.random.coin() { any } else { *self.random.pick(&leaders) };
        let span = self.random.long_tailed(Duration::from_millis(5), Duration::from_secs(6));
        match fault {
            Fault::Crash => self.crash(victim)?,
            Fault::Partition => {
                let cut = partition::cut(&mut self.network, &mut self.random, ids, &leaders);
                self.coverage.partitions += u64::from(cut.is_some());
                self.note(|| cut.unwrap_or_else(|| "all links are restored".to_owned()));
            }
            Fault::Wipe => self.wipe(),
            Fault::Clock => self.skew(any),
            Fault::Transfer => self.transfer_leadership(victim)?,
            Fault::Forgery => self.forge_notice(&ids)?,
            Fault::Pause => self.victim(victim, span, "is paused", |member, until| member.paused_until = until),
            Fault::Stall => self.victim(victim, span, "has a slow disk", |member, until| member.stalled_until = until),
            Fault::NoSpace => self.victim(victim, span, "has a full disk", |member, until| member.full_until = until),
            Fault::BelowReserve => {
                self.victim(victim, span, "has little space", |member, until| member.short_until = until);
            }
            Fault::SyncError => {
                let syncs = self.random.between(0, 2);
                self.victim(victim, now, "will fail to sync", |member, _| member.disk.fail_sync_after(syncs));
            }
            _ => {}
        }
        self.plan_strike(fault);
        Ok(())
    }

    fn forge_notice(&mut self, ids: &[MemberId]) -> Checked {
        let committed = self.invariants.committed();
        let (to, from, message) = forgery::draw(&mut self.random, ids, committed);
        let mut frame = Vec::new();
        match wire::put_message(&mut frame, &message) {
            Ok(()) => self.deliver(from, to, frame.into()),
            Err(_) => Ok(()),
        }
    }

    fn victim(&mut self, id: MemberId, span: Duration, what: &str, strike: impl FnOnce(&mut super::Member, Duration)) {
        let until = self.agenda.now() + span;
        if let Some(member) = self.members.get_mut(&id).filter(|member| member.is_up()) {
            strike(member, until);
            self.note(|| format!("{id} {what}, until {until:?}"));
        }
    }

    /// Destroys a random member and its disk, if the cluster can lose that member.
    fn wipe(&mut self) {
        let Some((_, committed)) = self.invariants.ledger.committed_configuration() else { return };
        let candidates: Vec<MemberId> = committed.voters.iter().chain(&committed.learners).copied().collect();
        let id = *self.random.pick(&candidates);
        let mut dead = self.dead();
        dead.extend(self.repairs.damaged());
        if dead.insert(id) && self.invariants.ledger.can_bear(&dead) {
            self.coverage.wipes += 1;
            self.destroy(id);
        }
    }

    fn skew(&mut self, id: MemberId) {
        let now = self.agenda.now();
        let rate = TRUE_RATE - DRIFT_MAX as u32 + self.random.between(0, 2 * DRIFT_MAX) as u32;
        let jump = self.random.between(0, 2 * JUMP_MS_MAX) as i64 - JUMP_MS_MAX as i64;
        let jumps = self.random.coin();
        let member = self.members.get_mut(&id).expect("every member is known");
        if jumps {
            member.clock.jump_wall(jump)
        } else {
            member.clock.set_rate(now, rate)
        }
        self.note(|| format!("the clocks of {id}: a jump of {jump} ms, or {rate} us per second"));
    }

    /// Requests a leadership transfer. With a probability of 1/2 the member then stops, as in a rolling upgrade.
    fn transfer_leadership(&mut self, id: MemberId) -> Checked {
        let target = self.random.coin().then(|| {
            let ids: Vec<MemberId> = self.members.keys().copied().collect();
            *self.random.pick(&ids)
        });
        let ends = self.random.coin();
        let member = &self.members[&id];
        let Some(handle) = member.process().map(|process| process.handle()) else { return Ok(()) };
        let start = member.start;
        self.coverage.transfers += 1;
        self.note(|| format!("{id} is to transfer leadership{}", if ends { " and to stop" } else { "" }));
        if ends {
            super::start_call(async move { handle.drain().await });
            let delay = self.random.time(Duration::ZERO, TRANSFER_MAX);
            self.agenda.after(delay, Event::Stop { id, start });
        } else {
            super::start_call(async move { handle.transfer(target).await });
        }
        self.plan_threads(id)
    }
}
