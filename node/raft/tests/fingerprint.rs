//! Digests of cores, for tests that search through histories. Owns which cores must have equal digests: cores that
//! behave alike from now on, even if they reached that state at different times.

#[path = "network/cluster.rs"]
mod network;

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use network::ids;
use network::solo::{Solo, Start};
use raft::{Body, ReadContext};

fn fingerprint(solo: &Solo) -> u64 {
    let mut hasher = DefaultHasher::new();
    solo.raft.fingerprint(&mut hasher);
    hasher.finish()
}

fn leader(adjust: fn(&mut raft::Config)) -> Solo {
    let mut solo = Start::of(3).config(adjust).solo();
    solo.leads_with_commit();
    solo.applies();
    solo
}

/// A core and a copy of it that reached the same state some time later have equal digests.
#[test]
fn time_alone_changes_no_digest() {
    let at = |ms: u64| {
        let mut solo = Start::of(3).solo();
        solo.now_ms += ms;
        solo.wall_ahead_ms -= i64::try_from(ms).expect("small");
        solo.receives(2, 1, Body::Heartbeat { commit: raft::Index(0), round: 1 });
        solo.persisted();
        solo
    };
    assert_eq!(fingerprint(&at(0)), fingerprint(&at(500)));
    let mut older = at(0);
    older.now_ms += 400;
    older.wall_ahead_ms -= 400;
    older.waits(0);
    assert_ne!(fingerprint(&at(0)), fingerprint(&older), "it trusts its leader for a shorter time");
}

/// Two cores have different digests if they differ in anything that influences their later behaviour.
#[test]
fn different_cores_have_different_digests() {
    let same = || leader(|_| {});
    let plain = fingerprint(&same());
    assert_eq!(plain, fingerprint(&same()));
    let after = |act: fn(&mut Solo)| {
        let mut solo = same();
        act(&mut solo);
        fingerprint(&solo)
    };
    let others = [
        after(|solo| drop(solo.proposes(1))),
        after(|solo| drop(solo.receives(2, 2, Body::VoteReply { granted: false }))),
        after(|solo| {
            let now = solo.now();
            solo.raft.read(now, ReadContext(1));
            solo.drain();
        }),
        after(|solo| {
            let now = solo.now();
            solo.raft.prefer(now, ids(&[3]));
            solo.drain();
        }),
        after(|solo| {
            let now = solo.now();
            solo.raft.transfer(now, Some(network::id(2))).expect("a voter");
            solo.drain();
        }),
        after(|solo| drop(solo.waits(150))),
    ];
    let distinct: std::collections::BTreeSet<u64> = others.iter().copied().chain([plain]).collect();
    assert_eq!(distinct.len(), others.len() + 1);
}

/// With lease reads, a clock jump changes the digest.
#[test]
fn clocks_count_with_leases() {
    let with_leases = || leader(|config| config.lease_reads = true);
    let mut steady = with_leases();
    steady.waits(10);
    let mut jumped = with_leases();
    jumped.wall_ahead_ms = 60_000;
    jumped.waits(10);
    jumped.wall_ahead_ms = 0;
    jumped.waits(0);
    assert_ne!(fingerprint(&steady), fingerprint(&jumped));
}
