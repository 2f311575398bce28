//! Limits: settings that a core refuses when it starts, with errors that name the field, and inputs that a core refuses
//! at a limit.

#[path = "network/cluster.rs"]
mod network;

use std::time::Duration;

use network::solo::{Solo, Start};
use raft::{
    Body, Config, DropReason, MemberId, Now, Output, Payload, ProposalId, ProposeRefusal, Raft, ReadContext, Restored,
};

fn refusal(adjust: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::new(MemberId(1), 1);
    adjust(&mut config);
    let outcome = Raft::new(config, Restored::default(), Now::default());
    outcome.map(drop).expect_err("refused").to_string()
}

/// The default settings are those in the documentation.
#[test]
fn the_defaults_are_sound_and_as_documented() {
    let config = Config::new(MemberId(1), 1);
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.heartbeat_interval, Duration::from_millis(150));
    assert_eq!(config.election_timeout, Duration::from_secs(1), "drawn from one to two seconds");
    assert_eq!(config.leader_lease, Duration::from_millis(500));
    assert_eq!((config.snapshot_threshold, config.max_append_entries), (1024, 64));
    assert_eq!((config.pre_vote, config.lease_reads), (true, false));
}

#[test]
fn fast_elections_are_possible() {
    let mut config = Config::new(MemberId(1), 1);
    config.election_timeout = Duration::from_millis(300);
    config.leader_lease = Duration::from_millis(200);
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn every_impossible_setting_is_refused_by_name() {
    type Adjust = fn(&mut Config);
    let zeros: [(&str, Adjust); 10] = [
        ("heartbeat_interval", |config| config.heartbeat_interval = Duration::ZERO),
        ("election_timeout", |config| config.election_timeout = Duration::ZERO),
        ("leader_lease", |config| config.leader_lease = Duration::ZERO),
        ("snapshot_threshold", |config| config.snapshot_threshold = 0),
        ("max_append_entries", |config| config.max_append_entries = 0),
        ("max_append_bytes", |config| config.max_append_bytes = 0),
        ("max_inflight_messages", |config| config.max_inflight_messages = 0),
        ("max_inflight_bytes", |config| config.max_inflight_bytes = 0),
        ("limits.unsettled_bytes", |config| config.limits.unsettled_bytes = 0),
        ("transfer_timeout", |config| config.transfer_timeout = Duration::ZERO),
    ];
    for (field, adjust) in zeros {
        assert_eq!(refusal(adjust), format!("{field}: must be greater than zero"));
    }
    assert!(refusal(|config| config.id = MemberId(0)).starts_with("id: "));
    assert!(refusal(|config| config.election_timeout = Duration::from_millis(299)).starts_with("election_timeout: "));
    assert!(refusal(|config| config.leader_lease = Duration::from_millis(950)).starts_with("leader_lease: "));
}

/// The sum of lease and clock drift must be shorter than the election timeout, even if lease reads are off.
#[test]
fn a_lease_ends_before_another_member_campaigns() {
    let mut config = Config::new(MemberId(1), 1);
    config.leader_lease = Duration::from_millis(949);
    assert_eq!(config.validate(), Ok(()), "949 ms and 50 ms of drift are less than a second");
    config.clock_drift = Duration::from_millis(51);
    assert!(config.validate().is_err());
}

fn proposal(name: u64, bytes: usize) -> (ProposalId, Payload) {
    (ProposalId(name), Payload::Normal(vec![0; bytes].into()))
}

fn busy() -> Solo {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 1_000).solo();
    solo.leads_with_commit();
    let now = solo.now();
    solo.raft.propose(now, vec![proposal(1, 900)]).expect("it is below the limit");
    solo.drain();
    solo
}

/// A leader accepts only a limited number of uncommitted bytes. When it refuses a batch, the error has its own type,
/// and no proposal of the batch enters the log.
#[test]
fn proposals_are_refused_while_too_much_is_uncommitted() {
    let mut solo = busy();
    let (now, last) = (solo.now(), solo.raft.last());
    let refused = solo.raft.propose(now, vec![proposal(2, 20), proposal(3, 90)]);
    assert_eq!((refused, solo.raft.last()), (Err(ProposeRefusal::Overloaded), last));
    solo.persisted();
    solo.acknowledged_by_all();
    assert_eq!(
        solo.raft.propose(now, vec![proposal(2, 20), proposal(3, 90)]),
        Ok(()),
        "commits make space for new proposals"
    );
}

/// The refusal of a forwarded proposal contains the proposal's ID, so that the proposer knows that the proposal did not
/// happen.
#[test]
fn forwarded_proposals_are_refused_by_name() {
    let mut solo = busy();
    let outputs = solo.receives(2, 1, Body::Propose { proposals: vec![proposal(7, 200)] });
    let refusal = Body::ProposeRefused { proposals: vec![ProposalId(7)], reason: DropReason::Overloaded };
    assert_eq!(network::solo::sent_to(&outputs, 2), [refusal]);
}

/// A proposal that is larger than the limit is accepted if no other proposal is uncommitted; otherwise it could never
/// be committed.
#[test]
fn a_proposal_larger_than_the_limit_is_accepted_alone() {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 1_000).solo();
    solo.leads_with_commit();
    let now = solo.now();
    assert_eq!(solo.raft.propose(now, vec![proposal(1, 5_000)]), Ok(()));
    assert_eq!(solo.raft.propose(now, vec![proposal(2, 1)]), Err(ProposeRefusal::Overloaded));
}

/// Empty entries count towards the limit, too; otherwise an endless series of barriers would fill the memory.
#[test]
fn barriers_count_towards_the_limit() {
    let mut solo = Start::of(3).config(|config| config.limits.unsettled_bytes = 1_000).solo();
    solo.leads_with_commit();
    let now = solo.now();
    let outcome: Result<Vec<()>, ProposeRefusal> = (1..1_000)
        .map(|name| solo.raft.propose(now, vec![(ProposalId(name), Payload::Barrier), proposal(name + 1_000, 1)]))
        .collect();
    assert_eq!(outcome, Err(ProposeRefusal::Overloaded));
}

/// The number of waiting reads is limited: a read above the limit fails immediately, and the requester may retry it.
#[test]
fn waiting_reads_are_bounded() {
    let mut solo = Start::of(3).solo();
    solo.leads();
    let mut failed = 0;
    for context in 0..70_000 {
        let now = solo.now();
        solo.raft.read(now, ReadContext(context));
    }
    for output in solo.drain() {
        failed += usize::from(matches!(output, Output::ReadFailed { .. }));
    }
    assert_eq!(failed, 70_000 - 65_536);
}
