//! Match is durable: an entry that a follower acknowledges in a term is on the follower's disk and in the log of that
//! term's leader, and a leader counts only acknowledged entries (Raft thesis §3.5, §10.2.1; CCF#6016).

use std::collections::BTreeMap;

use raft::{AppendReply, Body, Index, MemberId, Message, ProgressReport, Term};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, Disks, ensure};

const NAME: &str = "match is durable";

/// Acknowledgements sent.
#[derive(Debug, Default)]
pub struct MatchIsDurable {
    acknowledged: BTreeMap<(Term, MemberId), Index>,
}

impl MatchIsDurable {
    /// Checks a message that a member sends.
    ///
    /// # Errors
    /// Returns a violation if the message acknowledges an entry that is not durable or not in the leader's log.
    pub fn sent(&mut self, ledger: &Ledger, id: MemberId, message: &Message, disks: &Disks) -> Checked {
        let Body::AppendReply(AppendReply::Accepted { matched, .. }) = message.body else { return Ok(()) };
        if matched == Index(0) {
            return Ok(());
        }
        let term = message.term;
        let shared = ledger.leaderships.get(&term).and_then(|leadership| leadership.at(term, matched));
        ensure(shared.is_some(), NAME, || {
            format!("{id} acknowledges {matched} in term {term}, whose leader has no entry there")
        })?;
        let durable = disks[&id].durable();
        ensure(shared.is_some_and(|shared| durable.holds(shared)), NAME, || {
            let last = durable.last();
            format!("{id} acknowledges {matched} in term {term}; the leader has {shared:?}; its disk ends at {last}")
        })?;
        let highest = self.acknowledged.entry((term, id)).or_default();
        *highest = matched.max(*highest);
        Ok(())
    }

    /// Checks, for each member, the index up to which a leader considers the member's log equal to its own.
    ///
    /// # Errors
    /// Returns a violation if a member has not acknowledged the entries up to that index.
    pub fn counted(&self, id: MemberId, term: Term, progress: BTreeMap<MemberId, ProgressReport>) -> Checked {
        for (member, report) in progress {
            let acknowledged = self.acknowledged.get(&(term, member)).copied().unwrap_or_default();
            ensure(report.matched <= acknowledged, NAME, || {
                format!(
                    "{id}, leader of term {term}, considers {} durable at {member}, which acknowledged {acknowledged}",
                    report.matched
                )
            })?;
        }
        Ok(())
    }
}
