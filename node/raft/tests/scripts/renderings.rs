//! Text for the members of a script: their logs, drawn as in the paper, and their states. Owns the layout. Does not own
//! the wording of roles and configurations (`words.rs`).

use std::collections::BTreeMap;

use raft::MemberId;

use crate::network::member::Member;
use crate::words;

/// Renders the term of each entry in the durable logs, ordered by index; `.` marks an entry that a snapshot covers.
pub(crate) fn logs(members: &BTreeMap<MemberId, Member>) -> Vec<String> {
    let last = |member: &Member| member.disk.durable().last().index.0;
    let end = members.values().map(last).max().unwrap_or(0);
    let head: Vec<String> = (1..=end).map(|index| format!("{index:>3}")).collect();
    let mut lines = vec![format!("    |{}", head.concat())];
    for member in members.values() {
        let cell = |index: u64| match member.disk.durable().log.iter().find(|entry| entry.id.index.0 == index) {
            Some(entry) => format!("{:>3}", entry.id.term.0),
            None if index <= member.disk.durable().snapshot.last.index.0 => "  .".into(),
            None => "   ".into(),
        };
        let cells: String = (1..=end).map(cell).collect();
        lines.push(format!("{:>3} |{cells}", member.id.0).trim_end().to_owned());
    }
    lines
}

/// Renders role, term, commit index and configuration of each member.
pub(crate) fn status(members: &BTreeMap<MemberId, Member>) -> Vec<String> {
    let line = |member: &Member| match &member.raft {
        None if member.removed.is_some() => format!("{} is gone", member.id),
        None => format!("{} is down", member.id),
        Some(raft) => format!(
            "{} {}, log ends with {}, committed up to {}, {}",
            member.id,
            words::soft(&raft.soft_state()),
            raft.last(),
            raft.commit(),
            words::configuration(raft.configuration().0),
        ),
    };
    members.values().map(line).collect()
}
