//! Shorthand for what tests say often: members, configurations, entries, chance.

use std::collections::BTreeSet;

use raft::{Change, Configuration, Entry, EntryId, Index, MemberId, MemberInfo, Payload, Term};

pub fn id(number: u64) -> MemberId {
    MemberId(number)
}

pub fn ids(numbers: &[u64]) -> BTreeSet<MemberId> {
    numbers.iter().copied().map(MemberId).collect()
}

pub fn info(number: u64) -> MemberInfo {
    MemberInfo { name: format!("m-{number}"), ..MemberInfo::default() }
}

pub fn configuration(voters: &[u64], learners: &[u64]) -> Configuration {
    let everyone = voters.iter().chain(learners);
    Configuration {
        voters: ids(voters),
        learners: ids(learners),
        members: everyone.map(|number| (id(*number), info(*number))).collect(),
        ..Configuration::default()
    }
}

pub fn wish(expected: Index, voters: &[u64], learners: &[u64]) -> Change {
    let Configuration { voters, learners, members, .. } = configuration(voters, learners);
    Change { expected, voters, learners, members }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

pub fn entry(term: u64, index: u64) -> Entry {
    let content = format!("e{term}.{index}").into_bytes();
    Entry { id: entry_id(term, index), time_ms: index, payload: Payload::Normal(content.into()) }
}

pub fn entry_id(term: u64, index: u64) -> EntryId {
    EntryId { term: Term(term), index: Index(index) }
}
