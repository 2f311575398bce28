//! Log matching: if two logs contain an entry with the same index and term, then the logs are identical in all entries
//! up through that index (Raft thesis figure 3.2, §3.5). The check is by induction: the entry with a given index and
//! term is the same in all logs, and so is the entry before it. In addition: only the leader of a term creates entries,
//! and time stamps increase along a log.

use raft::{Entry, Index, MemberId};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, election_safety, ensure, leader_completeness};

const NAME: &str = "log matching";

/// Notes an entry that a member appends to its log. If the ledger's copy of this log already has entries at or above
/// the index of the new entry, the ledger first removes these entries from the copy.
///
/// # Errors
/// Returns a violation if the entry does not match the other logs.
pub fn appended(ledger: &mut Ledger, id: MemberId, entry: &Entry) -> Checked {
    let last = ledger.member_log(id).last();
    let fits = entry.id.index > Index(0) && entry.id.index <= last.next();
    ensure(fits, NAME, || format!("{id} appends {} to a log that ends at {last}", entry.id))?;
    let before = ledger.member_log(id).at(Index(entry.id.index.0 - 1));
    let term = entry.id.term;
    ensure(term >= before.term, NAME, || format!("{id} appends {} after {before}, which has a higher term", entry.id))?;
    match ledger.known(entry.id) {
        Some(known) => {
            ensure(known.before == before, NAME, || {
                format!("{} follows {} in another log, but {before} in the log of {id}", entry.id, known.before)
            })?;
            ensure(known.entry == *entry, NAME, || {
                format!("{} is {:?} in another log, but {:?} in the log of {id}", entry.id, known.entry, entry)
            })?;
        }
        None => {
            // The creator of an entry must have led the term of the entry, even if it was deposed before this check.
            election_safety::led(ledger, id, term)?;
            leader_completeness::led(ledger, id, term)?;
            let stamp = ledger.known(before).map(|known| known.entry.time_ms);
            ensure(stamp < Some(entry.time_ms), "time grows along the log", || {
                format!("{} has time stamp {}, the entry before it {stamp:?}", entry.id, entry.time_ms)
            })?;
            ledger.create(before, entry);
        }
    }
    ledger.append(id, entry);
    Ok(())
}
