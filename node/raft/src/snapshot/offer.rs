//! Offers of snapshots to other members: when the leader offers a snapshot, and what happens if the snapshot does not
//! arrive. Owns the leader's timeouts for a snapshot. Does not own the bytes: the driver streams them.

use std::time::Duration;

use crate::config::Config;
use crate::ids::{Index, MemberId, Term};
use crate::output::Output;
use crate::raft::Raft;
use crate::state::log::Log;
use crate::state::progress::{PeerProgress, ProgressState};
use crate::state::role::RoleState;

/// Maximum time for the stream of a snapshot, in election timeouts. Normally the driver reports the end of the stream;
/// this limit is needed if the driver cannot report it.
const STREAM_TIMEOUTS: u32 = 600;
/// Maximum time between the arrival of a snapshot and its installation, in election timeouts.
const INSTALL_TIMEOUTS: u32 = 30;

/// Offers a member a snapshot that reaches the given index, because the entries up to that index can no longer be read.
/// Returns the instruction to the driver.
pub(crate) fn offer(
    log: &Log,
    config: &Config,
    term: Term,
    (to, at_least): (MemberId, Index),
    progress: &mut PeerProgress,
    now: Duration,
) -> Output {
    assert!(progress.next() <= at_least, "a snapshot is offered only for entries that cannot be sent");
    assert!(at_least <= log.applied(), "a snapshot can reach {at_least}, applied {}", log.applied());
    progress.snapshot(at_least, after(config, now, STREAM_TIMEOUTS));
    Output::SendSnapshot { to, term, at_least }
}

impl Raft {
    /// Handles the end of a snapshot stream. If all bytes arrived, the member itself acknowledges the installation.
    /// Otherwise the leader pauses, so that it does not continuously retry over a broken connection.
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

/// Returns the time at which the leader probes a member again after its snapshot failed to arrive or was lost before
/// the installation.
pub(crate) fn pause(config: &Config, now: Duration) -> Duration {
    after(config, now, 1)
}

fn after(config: &Config, now: Duration, timeouts: u32) -> Duration {
    now.saturating_add(config.election_timeout.saturating_mul(timeouts))
}
