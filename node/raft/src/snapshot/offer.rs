//! When a member needs a snapshot, and what becomes of one on its way. Owns the leader's patience; the driver moves the bytes.

use std::time::Duration;

use crate::config::Config;
use crate::ids::{MemberId, Term};
use crate::log::Log;
use crate::output::Output;
use crate::raft::Raft;
use crate::replication::progress::{Progress, State};
use crate::role::Standing;

/// Election timeouts that a transfer may take. The driver reports its end; this is for the case that it cannot.
const PATIENCE_TRANSFER: u32 = 600;
/// Election timeouts that a member may take to install what arrived.
const PATIENCE_INSTALL: u32 = 30;

/// Starts a snapshot to a member that needs what is purged.
pub(crate) fn offer(
    log: &Log,
    config: &Config,
    term: Term,
    to: MemberId,
    progress: &mut Progress,
    now: Duration,
) -> Output {
    let at_least = log.base().index;
    assert!(progress.next() <= at_least, "a snapshot is offered only for what is purged");
    assert!(at_least <= log.snapshot(), "a snapshot holds what is purged");
    progress.snapshot(at_least, patience(config, now, PATIENCE_TRANSFER));
    Output::SendSnapshot { to, term, at_least }
}

impl Raft {
    /// The bytes arrived, or did not. The member itself says when it installed them; after a failure there is a pause, so that
    /// a broken lane is not tried in a circle.
    pub(crate) fn end_snapshot(&mut self, to: MemberId, arrived: Result<(), ()>) {
        let now = self.now.monotonic;
        let Standing::Leader(leader) = &mut self.standing else { return };
        let Some(progress) = leader.peers.get_mut(&to) else { return };
        let State::Snapshot { at_least, .. } = progress.state else { return };
        match arrived {
            Ok(()) => progress.snapshot_arrived(patience(&self.config, now, PATIENCE_INSTALL)),
            Err(()) => progress.snapshot(at_least, pause(&self.config, now)),
        }
    }
}

/// When to look again what a member needs whose snapshot did not arrive, or was lost before it was installed.
pub(crate) fn pause(config: &Config, now: Duration) -> Duration {
    patience(config, now, 1)
}

fn patience(config: &Config, now: Duration, times: u32) -> Duration {
    now.saturating_add(config.election_timeout.saturating_mul(times))
}
