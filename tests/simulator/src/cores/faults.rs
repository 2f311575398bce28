//! Makes faults strike a cluster of cores. Each group of faults, such as disk faults, has its own file. Does not own
//! which faults exist (`crate::fault`) or how often they strike (`crate::profile`).

pub(super) mod clock;
pub(super) mod crash;
pub(super) mod disk;
pub(super) mod pause;
pub(super) mod transfer;
pub(super) mod version;

use std::time::Duration;

use raft::{MemberId, Standing};
use world::clock::TRUE_RATE;
use world::disk::Misdirection;

use crate::cores::driver_state::Input;
use crate::cores::{CoreCluster, Event};
use crate::fault::partition::cut;
use crate::fault::{Fault, forgery};
use crate::invariant::Checked;

impl CoreCluster {
    pub(super) fn until_next_strike(&mut self) -> Duration {
        let interval = self.profile.interval;
        self.random.time(interval / 8, interval * 2)
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Checked {
        if self.is_healing {
            return Ok(());
        }
        match fault {
            Fault::Crash => crash::strike(self)?,
            Fault::Partition => partition(self),
            Fault::Pause => pause::strike(self),
            Fault::Stall => disk::stall(self),
            Fault::Wipe => disk::wipe(self)?,
            Fault::SyncError => disk::fail_sync(self),
            Fault::NoSpace => disk::fill(self),
            Fault::ReadError => disk::fail_reads(self)?,
            Fault::Damage => disk::damage(self, Misdirection::No)?,
            Fault::Misdirect => disk::damage(self, Misdirection::Yes)?,
            Fault::Clock => clock::strike(self),
            Fault::Transfer => transfer::strike(self),
            Fault::MixedVersions => version::strike(self)?,
            Fault::Forgery => self.forge_notice(),
            Fault::BelowReserve => disk::change_standing(self),
            // Faults of the network act on every message; churn acts in the operator's passes.
            Fault::Loss | Fault::Delay | Fault::Duplication | Fault::Churn => return Ok(()),
        }
        let wait = self.until_next_strike();
        self.agenda.after(wait, Event::Strike(fault));
        Ok(())
    }

    fn forge_notice(&mut self) {
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        let committed = self.invariants.committed();
        let (to, from, message) = forgery::draw(&mut self.random, &ids, committed);
        self.input_now(to, Input::Message { from, message });
    }

    /// Ends all faults: restores links, restarts members and ends delays. Destroyed members and disks stay destroyed.
    pub(crate) fn lift_all_faults(&mut self) -> Checked {
        self.note(|| "all faults are lifted".to_owned());
        self.is_healing = true;
        self.profile.heal();
        self.network.mend();
        self.network.profile = self.profile.network;
        let now = self.agenda.now();
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("listed above");
            member.clock.set_rate(now, TRUE_RATE);
            member.clock.correct_wall();
            (member.stalled_until, member.full_until) = (Duration::ZERO, Duration::ZERO);
            (member.sync_fails, member.unreadable_until) = (false, Duration::ZERO);
            self.stand(id, Standing::Above);
            self.resume(id)?;
            self.start(id)?;
        }
        self.operator.heal();
        self.agenda.after(Duration::ZERO, Event::Operator);
        Ok(())
    }
}

/// Restores all links, and may then cut some.
pub(super) fn partition(cluster: &mut CoreCluster) {
    let (ids, leaders) = (cluster.members.keys().copied().collect(), cluster.leaders());
    match cut(&mut cluster.network, &mut cluster.random, ids, &leaders) {
        Some(cuts) => {
            cluster.coverage.partitions += 1;
            cluster.note_line(|| cuts);
        }
        None => cluster.note_line(|| "all links are restored".to_owned()),
    }
}
