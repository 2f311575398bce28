//! Committed is durable: for every entry that a leader considers committed, a majority of each half of the leader's
//! configuration has the entry on disk. Only synced bytes count (Raft thesis §3.6, §4.3, §10.2.1; the name is from
//! etcd-io/raft's specification). In addition: only leaders decide that an entry is committed, the committed entries of
//! all members are equal, and the commit index never decreases.

use std::sync::Arc;

use raft::{Configuration, EntryId, Index, MemberId, Raft, Role};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, Disks, ensure, leader_completeness};

const NAME: &str = "committed is durable";

/// State of the check; empty, because the check uses the ledger.
#[derive(Debug, Default)]
pub struct CommittedIsDurable;

impl CommittedIsDurable {
    /// Checks a member's commit index after a step.
    ///
    /// # Errors
    /// Returns a violation if the commit index is wrong.
    pub fn committed(&mut self, ledger: &mut Ledger, id: MemberId, raft: &Raft, disks: &Disks) -> Checked {
        let (before, after) = (ledger.member_log(id).commit, raft.commit());
        if before == after {
            return Ok(());
        }
        ensure(after > before, NAME, || format!("the commit index of {id} fell from {before} to {after}"))?;
        let last = ledger.member_log(id).last();
        ensure(after <= last, NAME, || format!("{id} has commit index {after}, but its log ends at {last}"))?;
        agrees(ledger, id, before, after)?;
        if after > ledger.committed() {
            decided(ledger, id, after, raft, disks)?;
        }
        Ok(())
    }
}

/// Checks the entries that this member newly considers committed. They must equal the entries that are already known to
/// be committed at the same indices.
fn agrees(ledger: &Ledger, id: MemberId, before: Index, after: Index) -> Checked {
    for index in before.0 + 1..=after.0.min(ledger.committed().0) {
        let (own, common) = (ledger.member_log(id).at(Index(index)), ledger.committed_at(Index(index)));
        ensure(common.is_some_and(|common| common.id == own), "state machine safety", || {
            format!("{id} considers {own} committed, but {common:?} is committed there")
        })?;
    }
    Ok(())
}

/// Checks the entries up to `commit` that no member has considered committed before.
fn decided(ledger: &mut Ledger, id: MemberId, commit: Index, raft: &Raft, disks: &Disks) -> Checked {
    let member_log = ledger.member_log(id);
    let state = raft.soft_state();
    // A leader may have stepped down in the step in which it committed, for example after its own removal.
    let decides = state.role == Role::Leader || member_log.role == Some(Role::Leader);
    ensure(decides, NAME, || {
        format!(
            "{id} is no leader and has commit index {commit}, but leaders committed only up to {}",
            ledger.committed()
        )
    })?;
    let by = if member_log.role == Some(Role::Leader) { member_log.term } else { state.term };
    let newest = member_log.at(commit);
    ensure(newest.term == by, NAME, || format!("the leader of term {by} counts copies of {newest}, of another term"))?;
    let joint = joint_between(ledger, id, ledger.committed(), commit);
    // The same step may also have appended a configuration, which took effect immediately. It is unknown whether the
    // step committed the entries before or after it appended the configuration. Therefore majorities of the
    // configuration that was in force before the step are sufficient, too.
    let (_, latest) = ledger.member_log(id).configuration();
    let decided = on_majorities(latest, newest, disks);
    decided.or_else(|missed| match &ledger.member_log(id).before {
        Some(before) => on_majorities(before, newest, disks),
        None => Err(missed),
    })?;
    // The entry that begins a joint change needs majorities of both halves, even if the same step already ended the
    // joint configuration.
    for (at, configuration) in joint {
        on_majorities(&configuration, ledger.member_log(id).at(at), disks)?;
    }
    for index in ledger.committed().0 + 1..=commit.0 {
        let entry = ledger.member_log(id).at(Index(index));
        leader_completeness::committed(ledger, entry, by)?;
        ledger.commit(entry, by);
    }
    Ok(())
}

/// Joint configurations in a member's log with an index above `from` and at or below `to`.
fn joint_between(ledger: &Ledger, id: MemberId, from: Index, to: Index) -> Vec<(Index, Arc<Configuration>)> {
    let placed = ledger.member_log(id).configurations().iter();
    placed.filter(|(at, configuration)| *at > from && *at <= to && configuration.is_joint()).cloned().collect()
}

fn on_majorities(configuration: &Configuration, id: EntryId, disks: &Disks) -> Checked {
    for half in [&configuration.voters, &configuration.outgoing] {
        let holders: Vec<MemberId> = half.iter().copied().filter(|voter| disks[voter].durable().holds(id)).collect();
        ensure(half.is_empty() || holders.len() > half.len() / 2, NAME, || {
            format!("{id} counts as committed, but of {half:?} only the disks of {holders:?} contain it")
        })?;
    }
    Ok(())
}
