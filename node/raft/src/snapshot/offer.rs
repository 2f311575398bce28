//! Snapshots for other members: when one is offered, and what happens if it does not arrive. Owns the leader's timeouts
//! for it; the driver streams the bytes.

use std::time::Duration;

use crate::config::Config;
use crate::ids::{MemberId, Term};
use crate::output::Output;
use crate::raft::Raft;
use crate::state::log::Log;
use crate::state::progress::{PeerProgress, ProgressState};
use crate::state::role::RoleState;

/// Election timeouts that the stream of a snapshot may take. The driver reports its end; this bound is for a driver
/// that cannot.
const STREAM_TIMEOUTS: u32 = 600;
/// Election timeouts that a member may take to install a snapshot that arrived.
const INSTALL_TIMEOUTS: u32 = 30;

/// Offers a snapshot to a member that needs purged entries.
pub(crate) fn offer(
    log: &Log,
    config: &Config,
    term: Term,
    to: MemberId,
    progress: &mut PeerProgress,
    now: Duration,
) -> Output {
    let at_least = log.base().index;
    assert!(progress.next() <= at_least, "a snapshot is offered only for purged entries");
    assert!(at_least <= log.snapshot(), "a snapshot holds every purged entry");
    progress.snapshot(at_least, after(config, now, STREAM_TIMEOUTS));
    Output::SendSnapshot { to, term, at_least }
}

impl Raft {
    /// The stream of a snapshot ended. If all bytes arrived, the member itself acknowledges the installation. Otherwise
    /// there is a pause, so that a broken connection is not tried continuously.
    pub(crate) fn end_snapshot(&mut self, to: MemberId, arrived: Result<(), ()>) {
        let now = self.clocks.monotonic();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.peer_mut(to) else { return };
        let ProgressState::Snapshot { at_least, .. } = *progress.state() else { return };
        match arrived {
            Ok(()) => progress.snapshot_arrived(after(&self.config, now, INSTALL_TIMEOUTS)),
            Err(()) => progress.snapshot(at_least, pause(&self.config, now)),
        }
    }
}

/// Time at which a member is probed again whose snapshot did not arrive, or was lost before it was installed.
pub(crate) fn pause(config: &Config, now: Duration) -> Duration {
    after(config, now, 1)
}

fn after(config: &Config, now: Duration, timeouts: u32) -> Duration {
    now.saturating_add(config.election_timeout.saturating_mul(timeouts))
}
