//! Leader completeness: if an entry is committed in a given term, it is present in the logs of the leaders of all
//! higher-numbered terms (Raft thesis figure 3.2, §3.6).

use raft::{EntryId, MemberId, Term};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "leader completeness";

/// Checks a member that leads. At its first step as leader, its log must contain every entry that earlier terms
/// committed.
///
/// # Errors
/// Returns a violation if a committed entry is missing.
pub fn led(ledger: &mut Ledger, id: MemberId, term: Term) -> Checked {
    if ledger.leaderships[&term].inherited.is_some() {
        return Ok(());
    }
    let terms = ledger.member_log(id).terms();
    let inherited: Vec<Term> = terms[..terms.partition_point(|at| *at < term)].to_vec();
    for committed in ledger.all_committed().iter().filter(|committed| committed.by < term) {
        let held = inherited.get(committed.id.index.0 as usize - 1).copied();
        ensure(held == Some(committed.id.term), NAME, || {
            format!("{id} leads term {term} without {}, which term {} committed", committed.id, committed.by)
        })?;
    }
    let last = ledger.member_log(id).last();
    let leadership = ledger.leaderships.get_mut(&term).expect("checked above");
    (leadership.inherited, leadership.last) = (Some(inherited), last);
    Ok(())
}

/// Called when the leader of term `by` commits the entry. Checks each leader of a later term that is already elected: its
/// log must have contained the entry when it was elected.
///
/// # Errors
/// Returns a violation if the log of such a leader did not contain the entry.
pub fn committed(ledger: &Ledger, id: EntryId, by: Term) -> Checked {
    for (term, leadership) in ledger.leaderships.range(by.next()..) {
        let held = leadership.inherited.as_ref().and_then(|terms| terms.get(id.index.0 as usize - 1)).copied();
        ensure(held == Some(id.term), NAME, || {
            format!("term {by} committed {id}, which {} did not have at its election in term {term}", leadership.leader)
        })?;
    }
    Ok(())
}
