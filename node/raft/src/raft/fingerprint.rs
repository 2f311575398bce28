//! A digest of everything that influences how a core behaves from now on. Owns which parts of the state enter the
//! digest. Tests that search through histories use the digest to recognize a state that they have visited.
//!
//! The digest contains times as distances from now, and write numbers as distances from the latest durable write. Cores
//! that behave alike, but at another time or after other writes, therefore have the same digest. Random election
//! timeouts are left out, because a search may let an election timeout end at any time.

use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::raft::Raft;

impl Raft {
    /// Adds to `into` everything that influences the behaviour of this core. Settings are left out because they never
    /// change. Random timeouts are left out, too.
    pub fn fingerprint(&self, into: &mut impl Hasher) {
        // The destructuring makes the compiler reject a new field that is missing here.
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
            standing,
            seen,
            removal,
            high_water: _,
        } = self;
        let present = Present::new(clocks.monotonic(), config.election_timeout, outbox.durable());
        (history, open, seen, removal, standing, clocks.wall_ms()).hash(into);
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
