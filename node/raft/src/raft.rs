//! The state of a member, which all rules share. Owns the composition of the state. Does not own decisions: the rules
//! are `impl Raft` blocks in `role`, `election`, `replication`, `membership`, `read` and `snapshot`, and the public
//! methods are in `inputs.rs` and `queries.rs`.

use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::ids::{Index, IoId, Now};
use crate::outbox::Outbox;
use crate::output::{Role, SoftState};
use crate::restored::Restored;
use crate::standing::Standing;
use crate::state::clocks::Clocks;
use crate::state::hard_state::TrackedHardState;
use crate::state::high_water::HighWater;
use crate::state::history::ConfigurationHistory;
use crate::state::known_leader::KnownLeader;
use crate::state::log::Log;
use crate::state::log::tail::Unwritten;
use crate::state::open_proposals::OpenProposals;
use crate::state::preference::Preference;
use crate::state::removal::Removal;
use crate::state::role::RoleState;
use crate::state::seen::SeenProposals;
use crate::state::timeout::ElectionTimer;
use crate::state::waiting_reads::ForwardedReads;

#[cfg(feature = "fingerprint")]
mod fingerprint;

/// The consensus state of one member.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) clocks: Clocks,
    pub(crate) hard: TrackedHardState,
    pub(crate) log: Log,
    pub(crate) history: ConfigurationHistory,
    pub(crate) role: RoleState,
    pub(crate) leader: KnownLeader,
    pub(crate) timer: ElectionTimer,
    pub(crate) outbox: Outbox,
    /// Reads that this member forwarded as a follower.
    pub(crate) forwarded: ForwardedReads,
    /// This member's own proposals that it appended as leader.
    pub(crate) open: OpenProposals,
    pub(crate) preference: Preference,
    /// Space that is left on this member's volume.
    pub(crate) standing: Standing,
    /// Proposals that other members forwarded to this member.
    pub(crate) seen: SeenProposals,
    pub(crate) removal: Removal,
    pub(crate) high_water: HighWater,
}

impl Raft {
    /// Restores a member from its disk; the member starts as a follower or learner.
    ///
    /// # Errors
    /// Returns an error if a setting is invalid, or if the log has a gap or decreasing terms; no core was started.
    pub fn new(config: Config, restored: Restored, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let Restored { hard_state, snapshot, log: mut found } = restored;
        let mut history = ConfigurationHistory::new(snapshot.configuration_index, Arc::clone(&snapshot.configuration));
        let configurations = std::mem::take(&mut found.configurations);
        let log = Log::restored(&snapshot, found)?;
        // A log that a snapshot superseded was dropped, and its configurations with it.
        for (index, configuration) in configurations {
            if log.floor().index < index && index <= log.last().index {
                history.placed(index, configuration);
            }
        }
        let mut raft = Self {
            timer: ElectionTimer::new(config.election_timeout, config.seed, now.monotonic),
            clocks: Clocks::new(now),
            hard: TrackedHardState::restored(hard_state),
            log,
            history,
            role: RoleState::Follower,
            // Just before a crash, this member may have answered a leader whose lease is still valid. The member
            // therefore refuses votes for as long as it would have done without the crash.
            leader: KnownLeader::unknown(now.monotonic.saturating_add(config.election_timeout)),
            outbox: Outbox::new(SoftState { role: Role::Follower, leader: None, term: hard_state.term }),
            forwarded: ForwardedReads::default(),
            open: OpenProposals::default(),
            preference: Preference::default(),
            standing: Standing::default(),
            seen: SeenProposals::started_in(hard_state.term),
            removal: Removal::default(),
            high_water: HighWater::default(),
            config,
        };
        raft.outbox = Outbox::new(raft.soft_state());
        if raft.was_quorum_alone() {
            // No other member can lead, so this member need not wait for a leader.
            raft.timer.expire(now.monotonic);
        }
        raft.check();
        Ok(raft)
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removal.is_removed
    }

    /// Records that the cluster removed this member. This is permanent.
    pub(crate) fn set_removed(&mut self) {
        assert!(!matches!(self.role, RoleState::Leader(_)), "a leader steps down before it leaves the cluster");
        self.removal.is_removed = true;
    }

    /// Returns the write that carries term and vote.
    pub(crate) fn hard_state_io(&self) -> IoId {
        self.hard.io().unwrap_or(self.outbox.next_io())
    }

    /// Returns the write that carries the log up to `index`.
    pub(crate) fn write_of(&self, index: Index) -> IoId {
        match self.log.write_of(index) {
            Ok(write) => write.unwrap_or_default(),
            Err(Unwritten) => self.outbox.next_io(),
        }
    }
}
