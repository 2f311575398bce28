//! Small worlds, explored whole: every order in which messages can arrive, be doubled or stay away, writes finish,
//! members crash, snapshots are taken, sent and installed, clocks go on and silences end, within the bounds of each
//! world, with the shipped core in every member. Owns the worlds and their bounds; a depth-first search visits every
//! state once and checks the properties of the thesis' figure 3.2 in each. Three members, two terms, at most one
//! reconfiguration.
//!
//! `THOROUGH=1 cargo test -p raft --test small_worlds -- --nocapture` explores the larger ones as well.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock; a report says how long it took.

use std::time::Instant;

#[path = "network/cluster.rs"]
mod network;

#[path = "small_worlds/bounds.rs"]
mod bounds;
#[path = "small_worlds/clocks.rs"]
mod clocks;
#[path = "small_worlds/digest.rs"]
mod digest;
#[path = "small_worlds/disk.rs"]
mod disk;
#[path = "small_worlds/history.rs"]
mod history;
#[path = "small_worlds/member.rs"]
mod member;
#[path = "small_worlds/opening.rs"]
mod opening;
#[path = "small_worlds/search.rs"]
mod search;
#[path = "small_worlds/snapshots.rs"]
mod snapshots;
#[path = "small_worlds/state.rs"]
mod state;

use bounds::{Bounds, Flaw, Opening, Time};
use clocks::ENDLESS;
use search::{Explored, Violation, explore};
use state::Seen;

/// Nothing happens but what a world adds to this: three members elect leaders in two terms, each with its no-op.
const PLAIN: Bounds = Bounds {
    name: "",
    voters: &[1, 2, 3],
    learners: &[],
    terms: 2,
    proposals: 0,
    change: None,
    crashes: 0,
    beats: 0,
    doubles: 0,
    reads: 0,
    transfers: 0,
    snapshots: 0,
    wire: 2,
    pre_vote: false,
    time: Time::Free,
    opening: Opening::Start,
    states_max: 2_000_000,
    flaw: Flaw::None,
};

const CRASH: Bounds = Bounds { name: "an entry, a crash", proposals: 1, crashes: 1, wire: 1, ..PLAIN };

const ENTRY: Bounds = Bounds { name: "an entry", proposals: 1, wire: 3, ..PLAIN };

const PRE_VOTE: Bounds = Bounds { name: "pre-votes, a crash", crashes: 1, wire: 1, pre_vote: true, ..PLAIN };

const READ: Bounds =
    Bounds { name: "a read, a transfer, a doubled message", doubles: 1, reads: 1, transfers: 1, ..PLAIN };

/// One reconfiguration, through a joint configuration, that puts another member in a voter's place.
const CHANGE: Bounds = Bounds {
    name: "a joint change that replaces a voter",
    voters: &[1, 2],
    learners: &[3],
    change: Some((&[1, 3], &[])),
    beats: 1,
    wire: 3,
    ..PLAIN
};

const CHANGE_AND_CRASH: Bounds =
    Bounds { name: "a joint change that replaces a voter, a crash", crashes: 1, beats: 0, wire: 2, ..CHANGE };

/// One member takes a snapshot and purges its log, and another that lacks what is gone installs it.
const SNAPSHOT: Bounds = Bounds { name: "a snapshot", snapshots: 1, wire: 3, ..PLAIN };

/// With a log to replace, and entries that go on behind it; the sender may ask again.
const SNAPSHOT_AND_ENTRY: Bounds =
    Bounds { name: "a snapshot, an entry, a heartbeat", proposals: 1, beats: 1, wire: 2, ..SNAPSHOT };

/// A crash may come between any two steps of an install, or between a snapshot and the purge behind it.
const SNAPSHOT_AND_CRASH: Bounds =
    Bounds { name: "a snapshot, an entry, a crash", proposals: 1, crashes: 1, wire: 1, ..SNAPSHOT };

/// Who takes part comes to a member by snapshot.
const SNAPSHOT_AND_CHANGE: Bounds =
    Bounds { name: "a snapshot, a joint change that replaces a voter", snapshots: 1, wire: 2, ..CHANGE };

const LEASE: Bounds =
    Bounds { name: "a lease", reads: 1, time: Time::InStep { steps: 3, drifts: 0, sleeps: 0 }, ..PLAIN };

const LEASE_AND_DRIFT: Bounds = Bounds {
    name: "a lease, clocks that part, a heartbeat",
    reads: 2,
    beats: 1,
    time: Time::InStep { steps: 4, drifts: 1, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

const LEASE_AND_HAND_OVER: Bounds =
    Bounds { name: "a lease, clocks that part, a transfer", beats: 0, transfers: 1, ..LEASE_AND_DRIFT };

/// A lease rests on the words of members that crash.
const LEASE_AND_CRASHES: Bounds = Bounds {
    name: "a lease, two crashes",
    reads: 1,
    crashes: 2,
    time: Time::InStep { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

/// Three voters become one that does not lead, and that one may crash: whom a lease rests on changes under it.
const LEASE_AND_CHANGE: Bounds = Bounds {
    name: "a lease, a joint change to one voter, a crash",
    change: Some((&[2], &[])),
    crashes: 1,
    wire: 1,
    time: Time::InStep { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    reads: 1,
    ..PLAIN
};

/// The leader's machine sleeps, or another's.
const LEASE_AND_SLEEP: Bounds = Bounds {
    name: "a lease, clocks that part, a sleep",
    reads: 1,
    time: Time::InStep { steps: 3, drifts: 1, sleeps: 1 },
    ..LEASE_AND_DRIFT
};

/// A follower's own campaign is not forgotten yet.
const LEASE_CONTESTED: Bounds = Bounds {
    name: "a lease after a contested election",
    reads: 1,
    beats: 1,
    wire: 3,
    time: Time::InStep { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Contested,
    ..PLAIN
};

/// Only ages count, so that time may go on without end.
const LEASE_WITHOUT_END: Bounds = Bounds {
    name: "a lease, any length of time",
    reads: 1,
    time: Time::InStep { steps: ENDLESS, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

const STATES_DEEP: usize = 100_000_000;

#[test]
fn an_entry_is_safe_in_every_order() {
    report(ENTRY);
}

#[test]
fn a_crash_anywhere_is_safe() {
    report(CRASH);
    report(PRE_VOTE);
}

#[test]
fn a_read_and_a_hand_over_are_safe_in_every_order() {
    report(READ);
}

#[test]
fn a_change_is_safe_in_every_order() {
    report(CHANGE);
    report(CHANGE_AND_CRASH);
}

#[test]
fn a_snapshot_is_safe_in_every_order() {
    for bounds in [SNAPSHOT, SNAPSHOT_AND_ENTRY, SNAPSHOT_AND_CHANGE] {
        assert!(report(bounds).installs > 0, "{}: something is installed", bounds.name);
    }
}

#[test]
fn a_snapshot_is_safe_with_a_crash_anywhere() {
    assert!(report(SNAPSHOT_AND_CRASH).installs > 0, "something is installed");
}

#[test]
fn a_lease_is_safe_in_every_order() {
    for bounds in [LEASE, LEASE_AND_SLEEP, LEASE_CONTESTED, LEASE_WITHOUT_END] {
        report_leases(bounds);
    }
}

#[test]
fn a_lease_is_safe_when_clocks_part_as_far_as_they_may() {
    report_leases(LEASE_AND_DRIFT);
}

#[test]
fn a_lease_is_safe_with_a_hand_over_and_with_crashes() {
    report_leases(LEASE_AND_HAND_OVER);
    report_leases(LEASE_AND_CRASHES);
    report_leases(LEASE_AND_CHANGE);
}

/// One more message on the way at once; minutes to hours, so only when asked for.
#[test]
fn every_deeper_world_is_safe_when_asked_for() {
    if !world::settings::is_thorough() {
        return;
    }
    report(Bounds { name: "a crash", proposals: 0, ..deeper(CRASH) });
    for bounds in [ENTRY, PRE_VOTE, READ, CHANGE, CHANGE_AND_CRASH] {
        report(deeper(bounds));
    }
    for bounds in [SNAPSHOT, SNAPSHOT_AND_ENTRY, SNAPSHOT_AND_CHANGE, SNAPSHOT_AND_CRASH] {
        report(deeper(bounds));
    }
    for bounds in [LEASE, LEASE_AND_DRIFT, LEASE_AND_HAND_OVER, LEASE_AND_CRASHES] {
        report(deeper(bounds));
    }
    for bounds in [LEASE_AND_CHANGE, LEASE_AND_SLEEP, LEASE_CONTESTED] {
        report(deeper(bounds));
    }
    report(Bounds { name: "a lease, a crash, any length of time", crashes: 1, ..LEASE_WITHOUT_END });
}

fn deeper(bounds: Bounds) -> Bounds {
    Bounds { wire: bounds.wire + 1, states_max: STATES_DEEP, ..bounds }
}

/// A search that finds nothing proves nothing: members that forget their vote in a crash elect two leaders.
#[test]
fn a_forgotten_vote_is_found() {
    let violation = find(Bounds { flaw: Flaw::ForgetsVote, ..CRASH });
    assert!(violation.what.contains("voted twice"), "{violation}");
}

/// Nor may a disk say that it is done before it is.
#[test]
fn an_early_acknowledgement_is_found() {
    let violation = find(Bounds { flaw: Flaw::AcknowledgesEarly, ..CRASH });
    assert!(violation.what.contains("durable") || violation.what.contains("voted twice"), "{violation}");
}

/// An install that leaves the old log in place: what is appended then lies behind a gap, or a restart throws it away.
#[test]
fn an_install_over_the_old_log_is_found() {
    let violation = find(Bounds { flaw: Flaw::InstallsOverLog, ..SNAPSHOT_AND_ENTRY });
    assert!(violation.what.contains("behind a gap") || violation.what.contains("not on its disk"), "{violation}");
}

/// Or the old state (etcd#13766).
#[test]
fn an_install_without_the_state_is_found() {
    let violation = find(Bounds { flaw: Flaw::InstallsWithoutState, ..SNAPSHOT });
    assert!(violation.what.contains("another state"), "{violation}");
}

/// A purge that does not wait for the snapshot (raft-engine#288), or goes beyond it.
#[test]
fn a_purge_of_what_no_snapshot_holds_is_found() {
    for flaw in [Flaw::PurgesEarly, Flaw::PurgesTooMuch] {
        let violation = find(Bounds { flaw, ..SNAPSHOT_AND_CRASH });
        assert!(violation.what.contains("not on its disk") || violation.what.contains("durable"), "{violation}");
    }
}

/// raft-rs#234: a lease that outlives a transfer.
#[test]
fn a_lease_kept_after_a_hand_over_is_found() {
    find_lease(Bounds { flaw: Flaw::KeepsLease, ..LEASE_AND_HAND_OVER });
}

#[test]
fn a_lease_longer_than_the_election_timeout_allows_is_found() {
    find_lease(Bounds { flaw: Flaw::LeaseTooLong, ..LEASE_AND_DRIFT });
}

/// The bound on clocks is not stricter than it must be, nor is a machine's sleep harmless.
#[test]
fn clocks_that_break_their_promise_are_found() {
    find_lease(Bounds { flaw: Flaw::ClocksPart, ..LEASE });
    find_lease(Bounds { flaw: Flaw::HidesSleep, ..LEASE_AND_SLEEP });
}

/// A member that forgets in a crash that it trusted a leader elects another in its lease.
#[test]
fn a_trust_forgotten_in_a_crash_is_found() {
    find_lease(Bounds { flaw: Flaw::StartsInThePast, ..LEASE_AND_CRASHES });
}

#[track_caller]
fn find_lease(bounds: Bounds) {
    let violation = find(bounds);
    let is_read = violation.what.contains("by its lease") || violation.what.contains("was committed when it began");
    assert!(is_read, "{violation}");
}

#[track_caller]
fn find(bounds: Bounds) -> Violation {
    match explore(&bounds) {
        Err(violation) => {
            println!("{}, {:?}: found in {} states", bounds.name, bounds.flaw, violation.states);
            violation
        }
        Ok(explored) => panic!("{}: nothing found in {} states", bounds.name, explored.states),
    }
}

#[track_caller]
fn report_leases(bounds: Bounds) {
    let seen = report(bounds);
    assert!(seen.by_lease > 0, "{}: a lease answers a read", bounds.name);
    assert!(seen.by_round > 0, "{}: a read finds no lease, and asks", bounds.name);
}

#[track_caller]
fn report(bounds: Bounds) -> Seen {
    let began = Instant::now();
    match explore(&bounds) {
        Ok(Explored { states, steps, depth, leaders, committed, seen }) => {
            println!(
                "{}: {states} states, {steps} steps, {depth} deep, {:.1} s",
                bounds.name,
                began.elapsed().as_secs_f64()
            );
            assert_eq!(leaders, bounds.terms, "every term is reached with a leader, or the bounds are too narrow");
            assert!(committed > 0, "something commits, or the bounds are too narrow");
            seen
        }
        Err(violation) => panic!("{}: {violation}", bounds.name),
    }
}
