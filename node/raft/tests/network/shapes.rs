//! Short constructors of members, configurations, changes and entries for tests. Owns no behaviour.

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
    let all_members = voters.iter().chain(learners);
    Configuration {
        voters: ids(voters),
        learners: ids(learners),
        members: all_members.map(|number| (id(*number), info(*number))).collect(),
        ..Configuration::default()
    }
}

pub fn change_to(expected: Index, voters: &[u64], learners: &[u64]) -> Change {
    let Configuration { voters, learners, members, .. } = configuration(voters, learners);
    Change { expected, voters, learners, members }
}

pub fn entry(term: u64, index: u64) -> Entry {
    let content = format!("e{term}.{index}").into_bytes();
    Entry { id: entry_id(term, index), time_ms: index, payload: Payload::Normal(content.into()) }
}

pub fn entry_id(term: u64, index: u64) -> EntryId {
    EntryId { term: Term(term), index: Index(index) }
}
