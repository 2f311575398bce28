//! Exhaustive search of small worlds: every order of events within the bounds of each world. The events: messages
//! arrive, are duplicated or are lost; writes finish; members crash; snapshots are taken, sent and installed; entries
//! are read back; notices of a removal are forged and verified; clocks advance; election timeouts pass. Every member
//! runs the shipped core. A depth-first search visits every state once, and checks the properties of figure 3.2 of the
//! Raft thesis in each state. A world has three members, two or three terms and at most one reconfiguration. Owns the
//! worlds that a test run searches. Does not own their bounds (`worlds.rs`) or the events of a state (`state.rs`).
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The core must not read a clock, but this test may.

use std::collections::BTreeSet;
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
#[path = "small_worlds/in_flight.rs"]
mod in_flight;
#[path = "small_worlds/member.rs"]
mod member;
#[path = "small_worlds/opening.rs"]
mod opening;
#[path = "small_worlds/read_back.rs"]
mod read_back;
#[path = "small_worlds/removal.rs"]
mod removal;
#[path = "small_worlds/search.rs"]
mod search;
#[path = "small_worlds/snapshots.rs"]
mod snapshots;
#[path = "small_worlds/state.rs"]
mod state;
#[path = "small_worlds/worlds.rs"]
mod worlds;

use bounds::{Bounds, Flaw};
use search::{Explored, Violation, explore};
use state::{Coverage, Event, World};

/// Worlds of several million steps. Tests begin in the order of their names, so the largest worlds come first and the
/// small ones keep both cores busy until the end.
mod large {
    use super::*;

    #[test]
    fn an_entry_a_crash() {
        report(worlds::CRASH);
    }

    #[test]
    fn a_joint_change_that_replaces_a_voter() {
        report(worlds::CHANGE);
    }

    #[test]
    fn a_learner_is_promoted_a_crash() {
        report(worlds::PROMOTION_AND_CRASH);
    }

    #[test]
    fn a_snapshot() {
        report_installs(worlds::SNAPSHOT);
    }

    #[test]
    fn a_snapshot_an_entry_a_crash() {
        report_installs(worlds::SNAPSHOT_AND_CRASH);
    }

    #[test]
    fn pre_votes_a_crash() {
        report(worlds::PRE_VOTE);
    }
}

/// The other worlds.
mod small {
    use super::*;

    #[test]
    fn an_entry() {
        report(worlds::ENTRY);
    }

    #[test]
    fn a_read_a_leadership_transfer_a_duplicated_message() {
        report(worlds::READ);
    }

    #[test]
    fn a_joint_change_that_replaces_a_voter_a_crash() {
        report(worlds::CHANGE_AND_CRASH);
    }

    #[test]
    fn a_snapshot_an_entry_a_heartbeat() {
        report_installs(worlds::SNAPSHOT_AND_ENTRY);
    }

    #[test]
    fn a_snapshot_a_joint_change_that_replaces_a_voter() {
        report_installs(worlds::SNAPSHOT_AND_CHANGE);
    }

    #[test]
    fn a_voter_is_removed_a_forged_notice() {
        let coverage = report(worlds::REMOVAL);
        assert!(coverage.removals > 0, "no member is removed: the bounds are too narrow");
        assert!(coverage.cut_off > 0 && coverage.contained > 0, "no notice is refuted: the bounds are too narrow");
    }

    #[test]
    fn an_entry_that_is_read_back() {
        let coverage = report(worlds::READ_BACK);
        assert!(coverage.reads_back > 1, "no entry is read back twice: the bounds are too narrow");
    }

    #[test]
    fn a_lease() {
        report_leases(worlds::LEASE);
    }

    #[test]
    fn a_lease_clocks_that_drift_apart_a_heartbeat() {
        report_leases(worlds::LEASE_AND_DRIFT);
    }

    #[test]
    fn a_lease_clocks_that_drift_apart_a_leadership_transfer() {
        report_leases(worlds::LEASE_AND_TRANSFER);
    }

    #[test]
    fn a_lease_clocks_that_drift_apart_a_sleep() {
        report_leases(worlds::LEASE_AND_SLEEP);
    }

    #[test]
    fn a_lease_two_crashes() {
        report_leases(worlds::LEASE_AND_CRASHES);
    }

    #[test]
    fn a_lease_a_joint_change_to_one_voter_a_crash() {
        report_leases(worlds::LEASE_AND_CHANGE);
    }

    #[test]
    fn a_lease_after_a_contested_election() {
        report_leases(worlds::LEASE_CONTESTED);
    }

    #[test]
    fn a_lease_any_length_of_time() {
        report_leases(worlds::LEASE_WITHOUT_TIME_LIMIT);
    }
}

/// Worlds with one more message in flight.
mod deep {
    use super::*;

    fn deeper(bounds: Bounds) -> Bounds {
        Bounds { in_flight: bounds.in_flight + 1, states_max: 100_000_000, ..bounds }
    }

    #[test]
    #[ignore = "takes hours: cargo xtask test --thorough"]
    fn elections_entries_and_reads() {
        for bounds in [worlds::ENTRY, worlds::CRASH_WITHOUT_ENTRY, worlds::PRE_VOTE_WITHOUT_CRASH, worlds::READ] {
            report(deeper(bounds));
        }
    }

    #[test]
    #[ignore = "takes hours: cargo xtask test --thorough"]
    fn membership_changes() {
        for bounds in [worlds::CHANGE, worlds::CHANGE_AND_CRASH, worlds::PROMOTION_AND_CRASH] {
            report(deeper(bounds));
        }
    }

    #[test]
    #[ignore = "takes hours: cargo xtask test --thorough"]
    fn snapshots() {
        report_installs(deeper(worlds::SNAPSHOT));
        report_installs(deeper(worlds::SNAPSHOT_AND_ENTRY));
        report_installs(deeper(worlds::SNAPSHOT_AND_CHANGE));
        report_installs(deeper(worlds::SNAPSHOT_AND_CRASH_WITHOUT_ENTRY));
    }

    #[test]
    #[ignore = "takes hours: cargo xtask test --thorough"]
    fn leases() {
        for bounds in [worlds::LEASE, worlds::LEASE_AND_DRIFT, worlds::LEASE_AND_TRANSFER, worlds::LEASE_AND_CRASHES] {
            report_leases(deeper(bounds));
        }
        for bounds in [worlds::LEASE_AND_CHANGE, worlds::LEASE_AND_SLEEP, worlds::LEASE_CONTESTED] {
            report_leases(deeper(bounds));
        }
        let name = "a lease, a crash, any length of time";
        report_leases(Bounds { name, crashes: 1, ..deeper(worlds::LEASE_WITHOUT_TIME_LIMIT) });
    }
}

/// The search itself: it chooses what is lost, and finds planted flaws.
mod the_search {
    use super::*;

    /// A candidate sends two vote requests, and the world has one place.
    #[test]
    fn either_copy_of_a_broadcast_may_be_the_one_that_is_lost() {
        let bounds = Bounds { in_flight: 1, ..worlds::ENTRY };
        let opened = World::opened(&bounds).unwrap();
        let broadcast = opened.after(&bounds, Event::Timeout(0)).unwrap().expect("the first member campaigns");
        assert_eq!(broadcast.in_flight.len(), 2);
        let choices = broadcast.events(&bounds).into_iter();
        let survivors = choices.map(|choice| {
            let left = broadcast.after(&bounds, choice).unwrap().expect("a loss is within the bounds");
            assert_eq!(left.in_flight.len(), 1, "{choice:?}");
            left.in_flight[0].to
        });
        assert_eq!(survivors.collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    }

    /// The search must find each planted flaw. The flaw of this test: a crash loses the vote of a member, so two leaders
    /// may be elected in one term.
    #[test]
    fn a_forgotten_vote_is_found() {
        let violation = find(Bounds { flaw: Flaw::ForgetsVote, ..worlds::CRASH });
        assert!(violation.what.contains("voted twice"), "{violation}");
    }

    /// The planted flaw: a disk acknowledges a write before the write is durable.
    #[test]
    fn an_early_acknowledgement_is_found() {
        let violation = find(Bounds { flaw: Flaw::AcknowledgesEarly, ..worlds::CRASH });
        assert!(violation.what.contains("durable") || violation.what.contains("voted twice"), "{violation}");
    }

    /// The planted flaw: an install leaves the old log in place. Entries that are appended later then leave a gap, or a
    /// restart discards them.
    #[test]
    fn an_install_over_the_old_log_is_found() {
        let violation = find(Bounds { flaw: Flaw::InstallsOverLog, ..worlds::SNAPSHOT_AND_ENTRY });
        assert!(violation.what.contains("leaves a gap") || violation.what.contains("not on its disk"), "{violation}");
    }

    /// The planted flaw: an install leaves the old state in place (etcd#13766).
    #[test]
    fn an_install_without_the_state_is_found() {
        let violation = find(Bounds { flaw: Flaw::InstallsWithoutState, ..worlds::SNAPSHOT });
        assert!(violation.what.contains("a different state"), "{violation}");
    }

    /// The planted flaws: a purge does not wait until the snapshot is durable (raft-engine#288), or a purge removes one
    /// entry more than the snapshot covers.
    #[test]
    fn a_purge_of_entries_that_no_snapshot_covers_is_found() {
        for flaw in [Flaw::PurgesEarly, Flaw::PurgesTooMuch] {
            let violation = find(Bounds { flaw, ..worlds::SNAPSHOT_AND_CRASH });
            assert!(violation.what.contains("not on its disk") || violation.what.contains("durable"), "{violation}");
        }
    }

    /// The planted flaw: a lease counts as valid after a leadership transfer (raft-rs#234).
    #[test]
    fn a_lease_kept_after_a_transfer_is_found() {
        find_lease(Bounds { flaw: Flaw::KeepsLease, ..worlds::LEASE_AND_TRANSFER });
    }

    #[test]
    fn a_lease_longer_than_the_election_timeout_allows_is_found() {
        find_lease(Bounds { flaw: Flaw::LeaseTooLong, ..worlds::LEASE_AND_DRIFT });
    }

    /// The planted flaw: a notice counts as proof of a removal.
    #[test]
    fn a_notice_that_is_believed_is_found() {
        let violation = find(Bounds { flaw: Flaw::TrustsNotices, ..worlds::REMOVAL });
        assert!(violation.what.contains("no committed configuration removed it"), "{violation}");
    }

    /// Clocks that drift one step beyond the bound break a lease, so the bound is not stricter than necessary. A machine
    /// whose wall clock hides its sleep also breaks a lease.
    #[test]
    fn clock_drift_beyond_the_bound_and_a_hidden_sleep_are_found() {
        find_lease(Bounds { flaw: Flaw::ClocksDriftTooFar, ..worlds::LEASE });
        find_lease(Bounds { flaw: Flaw::HidesSleep, ..worlds::LEASE_AND_SLEEP });
    }

    /// The planted flaw: after a crash, a member no longer trusts its leader. It then helps to elect another leader during
    /// the first leader's lease.
    #[test]
    fn trust_in_a_leader_lost_in_a_crash_is_found() {
        find_lease(Bounds { flaw: Flaw::StartsBackdated, ..worlds::LEASE_AND_CRASHES });
    }
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
fn report_installs(bounds: Bounds) {
    let installs = report(bounds).installs;
    assert!(installs > 0, "{}: no state has an installed snapshot: the bounds are too narrow", bounds.name);
}

#[track_caller]
fn report(bounds: Bounds) -> Coverage {
    let began = Instant::now();
    match explore(&bounds) {
        Ok(Explored { states, choices, steps, depth, leaders, committed, coverage }) => {
            println!(
                "{}: {states} states, {choices} choices, {steps} steps, {depth} deep, {:.1} s",
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
