//! Exhaustive search of small worlds: every order of events within the bounds of each world. The events: messages
//! arrive, are duplicated or are lost; writes finish; members crash; snapshots are taken, sent and installed; clocks
//! advance; election timeouts pass. Every member runs the shipped core. A depth-first search visits every state once,
//! and checks the properties of figure 3.2 of the Raft thesis in each state. A world has three members, two terms and
//! at most one reconfiguration. Owns the worlds and their bounds. Does not own the events of a state (`state.rs`).
//!
//! `THOROUGH=1 cargo test -p raft --test small_worlds -- --nocapture` also explores the deeper worlds.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core must not read a clock, but this test may.

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
use clocks::UNLIMITED;
use search::{Explored, Violation, explore};
use state::Coverage;

/// Base of all worlds: three members elect leaders in two terms, and each leader appends its no-op.
const PLAIN: Bounds = Bounds {
    name: "",
    voters: &[1, 2, 3],
    learners: &[],
    terms: 2,
    proposals: 0,
    change: None,
    crashes: 0,
    heartbeats: 0,
    duplicates: 0,
    reads: 0,
    transfers: 0,
    snapshots: 0,
    in_flight: 2,
    pre_vote: false,
    time: Time::Independent,
    opening: Opening::Start,
    states_max: 2_000_000,
    flaw: Flaw::None,
};

const CRASH: Bounds = Bounds { name: "an entry, a crash", proposals: 1, crashes: 1, in_flight: 1, ..PLAIN };

const ENTRY: Bounds = Bounds { name: "an entry", proposals: 1, in_flight: 3, ..PLAIN };

const PRE_VOTE: Bounds = Bounds { name: "pre-votes, a crash", crashes: 1, in_flight: 1, pre_vote: true, ..PLAIN };

const READ: Bounds = Bounds {
    name: "a read, a leadership transfer, a duplicated message",
    duplicates: 1,
    reads: 1,
    transfers: 1,
    ..PLAIN
};

/// One reconfiguration, through a joint configuration, that replaces a voter with another member.
const CHANGE: Bounds = Bounds {
    name: "a joint change that replaces a voter",
    voters: &[1, 2],
    learners: &[3],
    change: Some((&[1, 3], &[])),
    heartbeats: 1,
    in_flight: 3,
    ..PLAIN
};

const CHANGE_AND_CRASH: Bounds =
    Bounds { name: "a joint change that replaces a voter, a crash", crashes: 1, heartbeats: 0, in_flight: 2, ..CHANGE };

/// One member takes a snapshot and purges its log. A member that lacks the purged entries installs the snapshot.
const SNAPSHOT: Bounds = Bounds { name: "a snapshot", snapshots: 1, in_flight: 3, ..PLAIN };

/// The installed snapshot replaces a log, and further entries follow the snapshot. The one heartbeat lets the leader
/// send a failed snapshot again.
const SNAPSHOT_AND_ENTRY: Bounds =
    Bounds { name: "a snapshot, an entry, a heartbeat", proposals: 1, heartbeats: 1, in_flight: 2, ..SNAPSHOT };

/// A crash may happen between any two steps of an install, or between a snapshot and the purge that follows it.
const SNAPSHOT_AND_CRASH: Bounds =
    Bounds { name: "a snapshot, an entry, a crash", proposals: 1, crashes: 1, in_flight: 1, ..SNAPSHOT };

/// A member learns the configuration from a snapshot.
const SNAPSHOT_AND_CHANGE: Bounds =
    Bounds { name: "a snapshot, a joint change that replaces a voter", snapshots: 1, in_flight: 2, ..CHANGE };

const LEASE: Bounds =
    Bounds { name: "a lease", reads: 1, time: Time::Together { steps: 3, drifts: 0, sleeps: 0 }, ..PLAIN };

const LEASE_AND_DRIFT: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a heartbeat",
    reads: 2,
    heartbeats: 1,
    time: Time::Together { steps: 4, drifts: 1, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

const LEASE_AND_TRANSFER: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a leadership transfer",
    heartbeats: 0,
    transfers: 1,
    ..LEASE_AND_DRIFT
};

/// Members may crash although a lease relies on their acknowledgements.
const LEASE_AND_CRASHES: Bounds = Bounds {
    name: "a lease, two crashes",
    reads: 1,
    crashes: 2,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

/// The configuration changes from three voters to a single voter that does not lead, and that voter may crash. The set
/// of voters on which a lease relies therefore changes while the lease is valid.
const LEASE_AND_CHANGE: Bounds = Bounds {
    name: "a lease, a joint change to one voter, a crash",
    change: Some((&[2], &[])),
    crashes: 1,
    in_flight: 1,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    reads: 1,
    ..PLAIN
};

/// The machine of the leader or of a follower sleeps.
const LEASE_AND_SLEEP: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a sleep",
    reads: 1,
    time: Time::Together { steps: 3, drifts: 1, sleeps: 1 },
    ..LEASE_AND_DRIFT
};

/// At the start, a vote request of the candidate that lost the election is still in flight.
const LEASE_CONTESTED: Bounds = Bounds {
    name: "a lease after a contested election",
    reads: 1,
    heartbeats: 1,
    in_flight: 3,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Contested,
    ..PLAIN
};

/// The world sets no limit on time. The number of states is finite nevertheless, because a state holds only ages.
const LEASE_WITHOUT_TIME_LIMIT: Bounds = Bounds {
    name: "a lease, any length of time",
    reads: 1,
    time: Time::Together { steps: UNLIMITED, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

const STATES_DEEP: usize = 100_000_000;

#[test]
fn an_entry_is_safe_in_every_order() {
    report(ENTRY);
}

#[test]
fn a_crash_at_any_step_is_safe() {
    report(CRASH);
    report(PRE_VOTE);
}

#[test]
fn a_read_and_a_transfer_are_safe_in_every_order() {
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
        assert!(
            report(bounds).installs > 0,
            "{}: no state has an installed snapshot: the bounds are too narrow",
            bounds.name
        );
    }
}

#[test]
fn a_snapshot_is_safe_with_a_crash_at_any_step() {
    assert!(report(SNAPSHOT_AND_CRASH).installs > 0, "no state has an installed snapshot: the bounds are too narrow");
}

#[test]
fn a_lease_is_safe_in_every_order() {
    for bounds in [LEASE, LEASE_AND_SLEEP, LEASE_CONTESTED, LEASE_WITHOUT_TIME_LIMIT] {
        report_leases(bounds);
    }
}

#[test]
fn a_lease_is_safe_when_clocks_drift_up_to_the_bound() {
    report_leases(LEASE_AND_DRIFT);
}

#[test]
fn a_lease_is_safe_with_a_transfer_and_with_crashes() {
    report_leases(LEASE_AND_TRANSFER);
    report_leases(LEASE_AND_CRASHES);
    report_leases(LEASE_AND_CHANGE);
}

/// Searches worlds with one more message in flight. The search takes minutes to hours, so it runs only with
/// `THOROUGH=1`.
#[test]
fn every_deeper_world_is_safe_in_a_thorough_run() {
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
    for bounds in [LEASE, LEASE_AND_DRIFT, LEASE_AND_TRANSFER, LEASE_AND_CRASHES] {
        report(deeper(bounds));
    }
    for bounds in [LEASE_AND_CHANGE, LEASE_AND_SLEEP, LEASE_CONTESTED] {
        report(deeper(bounds));
    }
    report(Bounds { name: "a lease, a crash, any length of time", crashes: 1, ..LEASE_WITHOUT_TIME_LIMIT });
}

fn deeper(bounds: Bounds) -> Bounds {
    Bounds { in_flight: bounds.in_flight + 1, states_max: STATES_DEEP, ..bounds }
}

/// The search must find each planted flaw. The flaw of this test: a crash loses the vote of a member, so two leaders
/// may be elected in one term.
#[test]
fn a_forgotten_vote_is_found() {
    let violation = find(Bounds { flaw: Flaw::ForgetsVote, ..CRASH });
    assert!(violation.what.contains("voted twice"), "{violation}");
}

/// The planted flaw: a disk acknowledges a write before the write is durable.
#[test]
fn an_early_acknowledgement_is_found() {
    let violation = find(Bounds { flaw: Flaw::AcknowledgesEarly, ..CRASH });
    assert!(violation.what.contains("durable") || violation.what.contains("voted twice"), "{violation}");
}

/// The planted flaw: an install leaves the old log in place. Entries that are appended later then leave a gap, or a
/// restart discards them.
#[test]
fn an_install_over_the_old_log_is_found() {
    let violation = find(Bounds { flaw: Flaw::InstallsOverLog, ..SNAPSHOT_AND_ENTRY });
    assert!(violation.what.contains("leaves a gap") || violation.what.contains("not on its disk"), "{violation}");
}

/// The planted flaw: an install leaves the old state in place (etcd#13766).
#[test]
fn an_install_without_the_state_is_found() {
    let violation = find(Bounds { flaw: Flaw::InstallsWithoutState, ..SNAPSHOT });
    assert!(violation.what.contains("a different state"), "{violation}");
}

/// The planted flaws: a purge does not wait until the snapshot is durable (raft-engine#288), or a purge removes one
/// entry more than the snapshot covers.
#[test]
fn a_purge_of_entries_that_no_snapshot_covers_is_found() {
    for flaw in [Flaw::PurgesEarly, Flaw::PurgesTooMuch] {
        let violation = find(Bounds { flaw, ..SNAPSHOT_AND_CRASH });
        assert!(violation.what.contains("not on its disk") || violation.what.contains("durable"), "{violation}");
    }
}

/// The planted flaw: a lease counts as valid after a leadership transfer (raft-rs#234).
#[test]
fn a_lease_kept_after_a_transfer_is_found() {
    find_lease(Bounds { flaw: Flaw::KeepsLease, ..LEASE_AND_TRANSFER });
}

#[test]
fn a_lease_longer_than_the_election_timeout_allows_is_found() {
    find_lease(Bounds { flaw: Flaw::LeaseTooLong, ..LEASE_AND_DRIFT });
}

/// Clocks that drift one step beyond the bound break a lease, so the bound is not stricter than necessary. A machine
/// whose wall clock hides its sleep also breaks a lease.
#[test]
fn clock_drift_beyond_the_bound_and_a_hidden_sleep_are_found() {
    find_lease(Bounds { flaw: Flaw::ClocksDriftTooFar, ..LEASE });
    find_lease(Bounds { flaw: Flaw::HidesSleep, ..LEASE_AND_SLEEP });
}

/// The planted flaw: after a crash, a member no longer trusts its leader. It then helps to elect another leader during
/// the first leader's lease.
#[test]
fn trust_in_a_leader_lost_in_a_crash_is_found() {
    find_lease(Bounds { flaw: Flaw::StartsBackdated, ..LEASE_AND_CRASHES });
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
            println!("{}, {:?}: found after {} states", bounds.name, bounds.flaw, violation.states);
            violation
        }
        Ok(explored) => panic!("{}: no violation found in {} states", bounds.name, explored.states),
    }
}

#[track_caller]
fn report_leases(bounds: Bounds) {
    let coverage = report(bounds);
    assert!(coverage.by_lease > 0, "{}: no lease answers a read: the bounds are too narrow", bounds.name);
    assert!(coverage.by_round > 0, "{}: no read needs a round: the bounds are too narrow", bounds.name);
}

#[track_caller]
fn report(bounds: Bounds) -> Coverage {
    let began = Instant::now();
    match explore(&bounds) {
        Ok(Explored { states, steps, depth, leaders, committed, coverage }) => {
            println!(
                "{}: {states} states, {steps} steps, {depth} deep, {:.1} s",
                bounds.name,
                began.elapsed().as_secs_f64()
            );
            assert_eq!(leaders, bounds.terms, "not every term has a leader: the bounds are too narrow");
            assert!(committed > 0, "no entry is committed: the bounds are too narrow");
            coverage
        }
        Err(violation) => panic!("{}: {violation}", bounds.name),
    }
}
