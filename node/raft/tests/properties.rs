//! The core under random inputs, including invalid messages. Owns properties that must hold for every input and are
//! tested with random samples: decisions agree with a brute-force count of majorities, and no input causes a panic, an
//! endless series of wake-ups, or a promise that is sent before it is durable.

#[path = "network/cluster.rs"]
mod network;

use std::collections::{BTreeMap, BTreeSet};

use network::solo::{Solo, Start, sent_to};
use network::{change_to, configuration, entry, entry_id, id, ids};
use raft::{
    Append, AppendReply, Body, Configuration, DropReason, Entry, EntryId, Index, MemberId, Message, Output, Payload,
    ProposalId, ReadContext, Role, SnapshotMeta, Standing, Term,
};

use world::seed::{Random, Seed};

const STANDINGS: [Standing; 3] = [Standing::Exhausted, Standing::Below, Standing::Above];

/// Returns whether the members are a majority of each electorate, by the definition (thesis §4.3).
fn is_quorum(configuration: &Configuration, members: &BTreeSet<MemberId>) -> bool {
    [&configuration.voters, &configuration.outgoing]
        .into_iter()
        .filter(|half| !half.is_empty())
        .all(|half| half.intersection(members).count() * 2 > half.len())
}

/// Returns a random configuration, joint or not, in which member 1 has a vote.
fn random_configuration(random: &mut Random) -> Configuration {
    let mut pick = |chance| (2..=7).filter(|_| random.percent(chance)).collect::<Vec<u64>>();
    let mut incoming = pick(50);
    let outgoing = pick(50);
    incoming.push(1);
    let mut chosen = configuration(&[1, 2, 3, 4, 5, 6, 7], &[]);
    chosen.voters = ids(&incoming);
    chosen.outgoing = if random.percent(30) { BTreeSet::new() } else { ids(&outgoing) };
    chosen
}

/// The commit index is the highest index of the leader's term that a quorum holds. The test finds that index by trying
/// every index.
#[test]
fn commit_agrees_with_brute_force() {
    for seed in 0..2_000 {
        let mut random = Random::new(Seed(seed));
        let chosen = random_configuration(&mut random);
        let mut solo = Start::of(7).log(&[1, 1]).configuration(chosen.clone()).solo();
        solo.leads();
        for number in 0..random.below(8) {
            solo.proposes(number);
        }
        let mut matched: BTreeMap<MemberId, u64> = BTreeMap::new();
        let mut has_left = false;
        for _ in 0..random.below(30) {
            let from = 1 + random.below(8);
            let last = solo.raft.last().index.0;
            if from == 1 {
                solo.persisted();
                matched.insert(id(1), last);
            } else {
                let acknowledged = random.below(last + 3);
                solo.acknowledged_by(from, acknowledged);
                if acknowledged <= last {
                    let known = matched.entry(id(from)).or_default();
                    *known = acknowledged.max(*known);
                }
            }
            let (now, index) = solo.raft.configuration();
            // A joint configuration is left as soon as possible. From then on only the incoming electorate decides.
            let now = if index == Index(0) { chosen.clone() } else { now.clone() };
            let own_term = 3..=last;
            let holders = |index: u64| matched.iter().filter(|(_, at)| **at >= index).map(|(id, _)| *id).collect();
            let best = own_term.rev().find(|index| is_quorum(&now, &holders(*index))).unwrap_or(0);
            assert_eq!(solo.raft.commit().0, best, "seed {seed}: {matched:?} in {now:?}");
            if index > Index(0) && !std::mem::replace(&mut has_left, true) {
                assert!(is_quorum(&chosen, &holders(3)), "seed {seed}: left too early: {matched:?} in {chosen:?}");
            }
        }
    }
}

/// An election is won when a quorum has granted its votes, and lost when no quorum can grant its votes any more.
/// Otherwise the election is open.
#[test]
fn elections_agree_with_brute_force() {
    for seed in 0..2_000 {
        let mut random = Random::new(Seed(seed));
        let chosen = random_configuration(&mut random);
        let mut solo = Start::of(7).configuration(chosen.clone()).solo();
        solo.campaigns();
        let (mut granted, mut open) = (ids(&[1]), ids(&[2, 3, 4, 5, 6, 7]));
        loop {
            let mut might = granted.clone();
            might.extend(open.iter().copied());
            let expected = if is_quorum(&chosen, &granted) {
                Role::Leader
            } else if is_quorum(&chosen, &might) {
                Role::Candidate
            } else {
                Role::Follower
            };
            assert_eq!(solo.role(), expected, "seed {seed}: granted {granted:?}, open {open:?} of {chosen:?}");
            if expected != Role::Candidate {
                break;
            }
            let place = random.below(open.len() as u64) as usize;
            let from = *open.iter().nth(place).expect("an open election has a member that has not answered");
            open.remove(&from);
            let says_yes = random.percent(60);
            if says_yes {
                granted.insert(from);
            }
            solo.receives(from.0, 1, Body::VoteReply { granted: says_yes });
        }
    }
}

/// Returns a leader whose configuration, joint or not, does not change while the test acknowledges no entry. A leader
/// leaves a joint configuration when it commits it, so this one enters it with an entry that is never committed. Also
/// returns the latest round, which every member answered.
fn leader_in_random_configuration(random: &mut Random) -> (Solo, u64) {
    let Configuration { voters, outgoing, .. } = random_configuration(random);
    let mut first = outgoing;
    first.insert(id(1));
    let learners = voters.difference(&first).copied().collect();
    let members = configuration(&[1, 2, 3, 4, 5, 6, 7], &[]).members;
    let start = Configuration { voters: first, learners, members, ..Configuration::default() };
    let mut solo = Start::of(7).configuration(start.clone()).solo();
    solo.leads_with_commit();
    let last = solo.raft.last().index;
    let round = rounds(&solo.waits(150)).into_iter().max().unwrap_or(1);
    for from in 2..=7 {
        solo.acknowledged_in_round(from, last.0, round);
    }
    // The leader itself may lose its vote. Whether the voters change at all is a matter of chance, too.
    let mut voters = voters;
    if voters.len() > 1 && random.percent(20) {
        voters.remove(&id(1));
    }
    let asked: Vec<u64> = voters.iter().map(|voter| voter.0).collect();
    let (now, (_, index)) = (solo.now(), solo.raft.configuration());
    solo.raft.change(now, change_to(index, &asked, &[])).expect("the learners have caught up");
    solo.drain();
    (solo, round)
}

/// A read is confirmed only when a quorum, of both halves of a joint configuration, has answered a round that began
/// after the read. Every read is confirmed in the end.
#[test]
fn reads_agree_with_brute_force() {
    let mut confirmed_while_joint = 0;
    for seed in 0..1_000 {
        let mut random = Random::new(Seed(seed));
        let (mut solo, mut round) = leader_in_random_configuration(&mut random);
        let chosen = solo.raft.configuration().0.clone();
        let mut answered: BTreeMap<MemberId, u64> = BTreeMap::from([(id(1), u64::MAX)]);
        let mut before: BTreeMap<ReadContext, u64> = BTreeMap::new();
        let mut ready = BTreeSet::new();
        for step in 0..40 {
            let outputs = if random.percent(40) {
                let now = solo.now();
                solo.raft.read(now, ReadContext(step));
                before.insert(ReadContext(step), round);
                solo.drain()
            } else {
                let from = 2 + random.below(6);
                let reply = 1 + random.below(round);
                let known = answered.entry(id(from)).or_default();
                *known = reply.max(*known);
                solo.receives(from, 1, Body::HeartbeatReply { round: reply })
            };
            round = rounds(&outputs).into_iter().fold(round, u64::max);
            for context in confirmed(&outputs) {
                let holders = answered.iter().filter(|(_, at)| **at > before[&context]).map(|(id, _)| *id).collect();
                assert!(is_quorum(&chosen, &holders), "seed {seed}: {context} {before:?} {answered:?}");
                assert!(ready.insert(context), "seed {seed}: a read is answered once");
                confirmed_while_joint += usize::from(!chosen.outgoing.is_empty());
            }
        }
        // A round that every member answers confirms the reads of that round, and the next round begins for the other
        // reads.
        let mut open: BTreeSet<u64> = rounds(&solo.waits(150)).into_iter().collect();
        while let Some(round) = open.pop_first() {
            for from in 2..=7 {
                let outputs = solo.receives(from, 1, Body::HeartbeatReply { round });
                open.extend(rounds(&outputs).into_iter().filter(|next| *next > round));
                ready.extend(confirmed(&outputs));
            }
        }
        assert_eq!(ready.len(), before.len(), "seed {seed}: every read is answered");
        assert_eq!(solo.raft.configuration().0, &chosen, "seed {seed}: the configuration stays as it is");
    }
    assert!(confirmed_while_joint > 1_000, "{confirmed_while_joint} reads in joint configurations are too few");
}

/// Returns the rounds that these outputs begin.
fn rounds(outputs: &[Output]) -> Vec<u64> {
    let round = |output: &Output| match output {
        Output::Send { message: Message { body: Body::Heartbeat { round, .. }, .. }, .. } => Some(*round),
        _ => None,
    };
    outputs.iter().filter_map(round).collect()
}

/// Returns the reads that these outputs confirm.
fn confirmed(outputs: &[Output]) -> Vec<ReadContext> {
    let context = |output: &Output| match output {
        Output::ReadReady { context, .. } => Some(*context),
        _ => None,
    };
    outputs.iter().filter_map(context).collect()
}

/// In no role does a message cause a panic, an endless series of wake-ups, or an acknowledgement or vote that is sent
/// before it is durable.
#[test]
fn invalid_messages_do_no_harm() {
    for seed in 0..3_000 {
        let mut random = Random::new(Seed(seed));
        let terms: Vec<u64> = (0..random.below(6)).map(|_| 1).collect();
        let mut solo = Start::of(5).log(&terms).configuration(random_configuration(&mut random)).solo();
        let mut durable = (terms.len() as u64, solo.term());
        for _ in 0..60 {
            let outputs = random_input(&mut solo, &mut random, &mut durable);
            for to in 0..9 {
                for body in sent_to(&outputs, to) {
                    check_promise(&solo, &body, durable);
                }
            }
        }
        assert!(solo.raft.commit() <= solo.raft.last().index);
    }
}

fn random_input(solo: &mut Solo, random: &mut Random, durable: &mut (u64, u64)) -> Vec<Output> {
    match random.below(10) {
        0 => {
            *durable = (solo.raft.last().index.0, solo.term());
            solo.persisted()
        }
        1 => {
            let ms = random.below(2_000);
            let outputs = solo.waits(ms);
            assert!(solo.raft.deadline() > solo.now().monotonic, "a tick does everything that is due");
            outputs
        }
        2 => {
            let now = solo.now();
            let _ = solo.raft.propose(now, vec![(ProposalId(random.number()), Payload::Barrier)]);
            solo.drain()
        }
        3 => {
            let now = solo.now();
            solo.raft.read(now, ReadContext(random.number()));
            let _ = solo.raft.transfer(now, random.percent(50).then_some(id(random.below(9))));
            solo.raft.unreachable(id(random.below(9)));
            solo.raft.set_standing(now, *random.pick(&STANDINGS));
            solo.raft.snapshot_sent(now, id(random.below(9)), if random.percent(50) { Ok(()) } else { Err(()) });
            solo.drain()
        }
        4 => {
            let now = solo.now();
            solo.raft.applied(now, Index(random.below(12)));
            let _ = solo.raft.snapshot_taken(Index(random.below(12)));
            solo.drain()
        }
        _ => {
            let term = match random.below(6) {
                0 => random.number(),
                1 => solo.term() + 1,
                2 => solo.term().saturating_sub(1),
                _ => solo.term(),
            };
            let from = random.below(9);
            let body = random_body(random, term);
            let outputs = solo.receives(from, term, body);
            if outputs.iter().any(|output| matches!(output, Output::InstallSnapshot { .. })) {
                durable.0 = 0;
            }
            durable.0 = durable.0.min(first_unwritten(&outputs).saturating_sub(1));
            outputs
        }
    }
}

/// Returns the lowest index among the entries that these outputs write.
fn first_unwritten(outputs: &[Output]) -> u64 {
    let first = |output: &Output| match output {
        Output::Persist(persist) => persist.entries.first().map(|entry| entry.id.index.0),
        _ => None,
    };
    outputs.iter().filter_map(first).min().unwrap_or(u64::MAX)
}

fn check_promise(solo: &Solo, body: &Body, (durable_index, durable_term): (u64, u64)) {
    match body {
        Body::VoteReply { granted: true } => assert_eq!(solo.term(), durable_term, "a vote ahead of the disk"),
        Body::Vote { .. } => assert_eq!(solo.term(), durable_term, "a campaign ahead of the disk"),
        Body::AppendReply(AppendReply::Accepted { matched, .. }) => {
            assert_eq!(solo.term(), durable_term, "an acknowledgement in a term ahead of the disk");
            assert!(matched.0 <= durable_index, "an acknowledgement ahead of the disk: {matched} of {durable_index}");
        }
        _ => {}
    }
}

fn random_number(random: &mut Random) -> u64 {
    match random.below(12) {
        0 => random.number(),
        1 => u64::MAX,
        _ => random.below(8),
    }
}

fn random_id(random: &mut Random) -> EntryId {
    let term = random_number(random).min(3);
    entry_id(term, random_number(random))
}

fn random_entries(random: &mut Random, prev: EntryId, term: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    for place in 0..random.below(4) {
        let index = prev.index.0.wrapping_add(1 + place).wrapping_add(u64::from(random.percent(3)));
        let mut made = entry(if random.percent(90) { term } else { random_number(random) }, index);
        if random.percent(20) {
            made.payload = Payload::Configuration(random_configuration(random).into());
        }
        entries.push(made);
    }
    entries
}

fn random_body(random: &mut Random, term: u64) -> Body {
    match random.below(17) {
        0 => Body::PreVote { last: random_id(random) },
        1 => Body::PreVoteReply { granted: random.percent(70) },
        2 => Body::Vote { last: random_id(random), transfer: random.percent(30) },
        3 => Body::VoteReply { granted: random.percent(70) },
        4 | 5 => {
            let prev = random_id(random);
            let entries = random_entries(random, prev, term);
            Body::Append(Append { prev, entries, commit: Index(random_number(random)), round: random_number(random) })
        }
        6 => Body::AppendReply(AppendReply::Accepted {
            matched: Index(random_number(random)),
            round: random_number(random),
        }),
        7 => Body::AppendReply(AppendReply::Rejected {
            prev: Index(random_number(random)),
            hint: random_id(random),
            round: random_number(random),
        }),
        8 => Body::Heartbeat { commit: Index(random_number(random)), round: random_number(random) },
        9 => Body::HeartbeatReply { round: random_number(random) },
        10 => Body::InstallSnapshot(SnapshotMeta {
            last: random_id(random),
            time_ms: random_number(random),
            configuration: random_configuration(random).into(),
            configuration_index: Index(random_number(random)),
        }),
        11 => Body::ReadIndex { context: ReadContext(random_number(random)) },
        12 => {
            let index = random.percent(50).then(|| Index(random_number(random)));
            Body::ReadIndexReply { context: ReadContext(random_number(random)), index }
        }
        13 => {
            let proposals = (0..random.below(3)).map(|_| (ProposalId(random_number(random)), Payload::Barrier));
            Body::Propose { proposals: proposals.collect() }
        }
        14 => {
            Body::ProposeRefused { proposals: vec![ProposalId(random_number(random))], reason: DropReason::Overloaded }
        }
        15 => Body::Standing(*random.pick(&STANDINGS)),
        _ if random.percent(90) => Body::TimeoutNow { last: random_id(random) },
        _ => Body::Removed { index: Index(random_number(random)) },
    }
}

/// Terms near the upper bound cause no overflow.
#[test]
fn huge_terms_are_ignored() {
    let mut solo = Start::of(3).solo();
    for term in [u64::MAX, u64::MAX - 1, (1 << 62) + 1] {
        solo.receives(2, term, Body::Heartbeat { commit: Index(0), round: 1 });
        assert_eq!(solo.raft.soft_state().term, Term(0));
    }
}
