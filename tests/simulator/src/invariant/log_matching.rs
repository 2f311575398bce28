//! Log matching: if two logs contain an entry with the same index and term, then the logs are identical in all entries up
//! through that index (Raft thesis figure 3.2, §3.5). Checked by induction: an entry with given index and term is the same
//! everywhere, and so is the one before it. Besides: only the leader of its term creates an entry, and stamps grow.

use raft::{Entry, Index, MemberId};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, election_safety, ensure, leader_completeness};

const NAME: &str = "log matching";

/// A member's log gets an entry; what stood there and behind is gone.
///
/// # Errors
/// Returns a violation if the entry does not match what is known.
pub fn appended(ledger: &mut Ledger, id: MemberId, entry: &Entry) -> Checked {
    let last = ledger.ghost(id).last();
    let fits = entry.id.index > Index(0) && entry.id.index <= last.next();
    ensure(fits, NAME, || format!("{id} writes {} behind a log that ends at {last}", entry.id))?;
    let before = ledger.ghost(id).at(Index(entry.id.index.0 - 1));
    let term = entry.id.term;
    ensure(term >= before.term, NAME, || format!("{id} writes {} behind {before}: terms fell", entry.id))?;
    match ledger.known(entry.id) {
        Some(known) => {
            ensure(known.before == before, NAME, || {
                format!("{} follows {} elsewhere, but {before} at {id}", entry.id, known.before)
            })?;
            ensure(known.entry == *entry, NAME, || {
                format!("{} is {:?} elsewhere, but {:?} at {id}", entry.id, known.entry, entry)
            })?;
        }
        None => {
            // A member that creates an entry leads its term, even if it was deposed before this check.
            election_safety::led(ledger, id, term)?;
            leader_completeness::led(ledger, id, term)?;
            let stamp = ledger.known(before).map(|known| known.entry.time_ms);
            ensure(stamp < Some(entry.time_ms), "time grows along the log", || {
                format!("{} is stamped {}, the entry before it {stamp:?}", entry.id, entry.time_ms)
            })?;
            ledger.create(before, entry);
        }
    }
    ledger.append(id, entry);
    Ok(())
}
