//! Small worlds, explored whole: every order in which messages can arrive, be doubled or stay away, writes finish, members
//! crash and silences end, within the bounds of each world, with the shipped core in every member. Owns the worlds and their
//! bounds; a depth-first search visits every state once and checks the properties of the thesis' figure 3.2 in each. Three
//! members, two terms, at most one reconfiguration.
//!
//! `RAFT_WORLDS=deep cargo test -p raft --test small_worlds -- --nocapture` explores the larger ones as well.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core has no clock; a report says how long it took.

use std::time::Instant;

#[path = "network/cluster.rs"]
mod network;

#[path = "small_worlds/digest.rs"]
mod digest;
#[path = "small_worlds/past.rs"]
mod past;
#[path = "small_worlds/search.rs"]
mod search;
#[path = "small_worlds/world.rs"]
mod world;

use search::{Explored, Violation, explore};
use world::{Bounds, Flaw};

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
    wire: 2,
    pre_vote: false,
    states_max: 2_000_000,
    flaw: Flaw::None,
};

const CRASH: Bounds = Bounds { name: "an entry, a crash", proposals: 1, crashes: 1, wire: 1, ..PLAIN };

const ENTRY: Bounds = Bounds { name: "an entry", proposals: 1, wire: 3, ..PLAIN };

const PRE_VOTE: Bounds = Bounds { name: "pre-votes, a crash", crashes: 1, wire: 1, pre_vote: true, ..PLAIN };

const READ: Bounds =
    Bounds { name: "a read, a hand-over, a doubled message", doubles: 1, reads: 1, transfers: 1, ..PLAIN };

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

/// One more message on the way at once; minutes to hours, so only when asked for.
#[test]
fn every_deeper_world_is_safe_when_asked_for() {
    if std::env::var_os("RAFT_WORLDS").is_none_or(|which| which != "deep") {
        return;
    }
    report(Bounds { name: "a crash", proposals: 0, ..deeper(CRASH) });
    for bounds in [ENTRY, PRE_VOTE, READ, CHANGE, CHANGE_AND_CRASH] {
        report(deeper(bounds));
    }
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

#[track_caller]
fn find(bounds: Bounds) -> Violation {
    match explore(&bounds) {
        Err(violation) => violation,
        Ok(explored) => panic!("{}: nothing found in {} states", bounds.name, explored.states),
    }
}

#[track_caller]
fn report(bounds: Bounds) {
    let began = Instant::now();
    match explore(&bounds) {
        Ok(Explored { states, steps, depth, leaders, committed }) => {
            println!(
                "{}: {states} states, {steps} steps, {depth} deep, {:.1} s",
                bounds.name,
                began.elapsed().as_secs_f64()
            );
            assert_eq!(leaders, bounds.terms, "every term is reached with a leader, or the bounds are too narrow");
            assert!(committed > 0, "something commits, or the bounds are too narrow");
        }
        Err(violation) => panic!("{}: {violation}", bounds.name),
    }
}
