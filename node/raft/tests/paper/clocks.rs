//! Raft thesis §6.4.1: "the lease approach assumes a bound on clock drift across servers... discovering and maintaining
//! this bound may present additional operational challenges". Owns the tests of a core whose own clocks show that the
//! bound is violated.

use raft::{Body, Output, ReadContext};

use crate::network::solo::{Solo, Start, sent_to};

fn lease() -> Solo {
    let mut solo = Start::of(3).config(|config| config.lease_reads = true).solo();
    solo.leads_with_commit();
    prove(&mut solo);
    assert!(reads_at_once(&mut solo, 1), "the round is recent, and the clocks agree");
    solo
}

/// Completes a heartbeat round that a majority answers immediately.
fn prove(solo: &mut Solo) {
    let outputs = solo.waits(150);
    answer(solo, &outputs);
}

fn answer(solo: &mut Solo, outputs: &[Output]) -> Vec<Output> {
    let round = sent_to(outputs, 2).into_iter().find_map(|body| match body {
        Body::Heartbeat { round, .. } if round > 0 => Some(round),
        _ => None,
    });
    solo.receives(2, solo.term(), Body::HeartbeatReply { round: round.expect("a round began") })
}

fn reads_at_once(solo: &mut Solo, context: u64) -> bool {
    let now = solo.now();
    solo.raft.read(now, ReadContext(context));
    ready(&solo.drain())
}

fn ready(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::ReadReady { .. }))
}

/// Ticks the core after the wall clock has moved another `ahead_ms` ahead of the monotonic clock.
fn tick_with_wall_ahead(solo: &mut Solo, ahead_ms: i64) -> Vec<Output> {
    solo.wall_ahead_ms += ahead_ms;
    solo.waits(0)
}

/// The monotonic clock of a suspended machine does not advance. The lease then seems recent, although another leader
/// may have been elected long ago. The wall clock reveals the suspension, and reads need a round.
#[test]
fn a_suspended_leader_does_not_trust_its_lease() {
    let mut solo = lease();
    solo.wall_ahead_ms = 3_600_000;
    assert!(!reads_at_once(&mut solo, 2), "rounds before the jump prove no lease");
}

/// Reads need a round even if the wall clock was merely set, because the core cannot distinguish a set clock from a
/// suspended machine. A round that began after the jump permits lease reads again.
#[test]
fn a_wall_clock_that_is_set_costs_one_round() {
    for ahead_ms in [-600_000, 600_000] {
        let mut solo = lease();
        tick_with_wall_ahead(&mut solo, ahead_ms);
        solo.now_ms += 1;
        let now = solo.now();
        solo.raft.read(now, ReadContext(2));
        let outputs = solo.drain();
        assert!(ready(&answer(&mut solo, &outputs)), "a round confirms the read");
        assert!(reads_at_once(&mut solo, 3), "the round also proves a lease");
    }
}

/// A round that is in progress during a clock jump permits no lease reads, because its true duration is unknown.
#[test]
fn a_round_that_began_before_the_jump_proves_nothing() {
    let mut solo = lease();
    let outputs = solo.waits(150);
    tick_with_wall_ahead(&mut solo, 10_000);
    answer(&mut solo, &outputs);
    assert!(!reads_at_once(&mut solo, 2));
}

/// Clocks never agree exactly. Drift within the bound does not end the lease.
#[test]
fn drift_within_the_bound_keeps_the_lease() {
    let mut solo = lease();
    tick_with_wall_ahead(&mut solo, 50);
    assert!(reads_at_once(&mut solo, 2));
    tick_with_wall_ahead(&mut solo, -50);
    assert!(reads_at_once(&mut solo, 3));
}

/// Drift accumulates over days, but only the drift during one lease counts.
#[test]
fn slow_drift_over_a_long_time_keeps_the_lease() {
    let mut solo = lease();
    for context in 2..200 {
        // The wall clock drifts by half a percent, fifty times as much as a poor quartz clock.
        solo.wall_ahead_ms += i64::from(context % 4 == 0) * 3;
        prove(&mut solo);
        assert!(reads_at_once(&mut solo, context), "after {context} rounds");
    }
}
