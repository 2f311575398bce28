//! A digest of everything that decides how a core behaves from now on. Owns which parts of the state enter it. Tests
//! that search through histories use it to recognize a state that they have visited.
//!
//! Times count by their distance from now, and writes by their distance from the latest durable one, so that a core
//! that does the same later, or again, has the same digest. Random election timeouts are left out, because a search may
//! end a silence at any time.

use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::raft::Raft;

impl Raft {
    /// Adds to `into` everything that decides the behaviour of this core, except for settings, which never change, and
    /// random timeouts.
    pub fn fingerprint(&self, into: &mut impl Hasher) {
        // Destructured, so that a new field is not forgotten.
        let Self {
            config,
            clocks,
            hard,
            log,
            history,
            role,
            leader,
            timer: _,
            outbox,
            forwarded,
            open,
            preference,
            seen,
            removed,
            high_water: _,
        } = self;
        let present = Present::new(clocks.monotonic(), config.election_timeout, outbox.durable());
        (history, open, seen, removed, clocks.wall_ms()).hash(into);
        if config.lease_reads {
            clocks.fingerprint(present, into);
        }
        hard.fingerprint(present, into);
        log.fingerprint(present, into);
        role.fingerprint(present, into);
        leader.fingerprint(present, into);
        outbox.fingerprint(present, into);
        forwarded.fingerprint(present, into);
        preference.fingerprint(present, into);
    }
}
