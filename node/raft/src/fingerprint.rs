//! When two cores are the same: they will do the same from here on, whatever happens. Owns the digest by which a search through
//! histories knows where it has been; decides nothing.
//!
//! Times count by their distance from now, and writes by how many are not durable before them, so that a core that does the
//! same thing later, or again, is the same. The time-outs that chance will draw are left out: a search lets a silence end
//! whenever it likes.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::raft::Raft;
use crate::role::Standing;

/// Now, and how far back anything asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    now: Duration,
    /// The election timeout: whatever happened longer ago is just over.
    span: Duration,
}

impl Present {
    /// How far `at` lies ahead, in ns; negative for the past.
    pub(crate) fn distance(self, at: Duration) -> i128 {
        let signed = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        (signed(at) - signed(self.now)).max(-signed(self.span))
    }

    /// The same for what only ever ends a wait.
    pub(crate) fn wait(self, until: Duration) -> i128 {
        self.distance(until).max(0)
    }
}

impl Raft {
    /// Everything that decides what this core does next, but its limits and time-outs, which never change.
    pub fn fingerprint(&self, into: &mut impl Hasher) {
        // Spelt out, so that nothing new is forgotten here.
        let Self {
            config,
            now: time,
            clocks,
            hard,
            hard_io,
            log,
            history,
            standing,
            leader,
            timeout: _,
            trusts_until,
            outbox,
            forwarded,
            proposed,
            preferred,
            preference_due,
            seen,
            snapshot_asked,
            removed,
            watch: _,
            unsettled,
            shown,
        } = self;
        let present = Present { now: time.monotonic, span: config.election_timeout };
        let durable = outbox.durable();
        (hard, hard_io.map(|io| io.0.saturating_sub(durable.0)), leader, history).hash(into);
        (preferred, proposed, seen, snapshot_asked, removed, unsettled, shown, time.wall_ms).hash(into);
        present.wait(*trusts_until).hash(into);
        if !preferred.is_empty() {
            present.wait(*preference_due).hash(into);
        }
        if config.lease_reads {
            clocks.fingerprint(*time, present, into);
        }
        log.fingerprint(durable, present, into);
        outbox.fingerprint(into);
        forwarded.fingerprint(present, into);
        match standing {
            Standing::Follower => 0.hash(into),
            Standing::PreCandidate(ballot) => (1, ballot).hash(into),
            Standing::Candidate(ballot) => (2, ballot).hash(into),
            Standing::Leader(leader) => {
                3.hash(into);
                leader.fingerprint(present, into);
            }
        }
    }
}
