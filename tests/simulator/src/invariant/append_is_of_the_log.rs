//! An append consists of entries of its leader's log (Raft thesis §3.5). Entries that a leader reads back from its disk may
//! have been overwritten since the read began.

use raft::{Body, MemberId, Message};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// Checks a message that a member sends.
///
/// # Errors
/// Returns a violation if the message appends an entry that is not in the log of its term's leader, or another content.
pub fn sent(ledger: &Ledger, id: MemberId, message: &Message) -> Checked {
    let Body::Append(append) = &message.body else { return Ok(()) };
    for entry in &append.entries {
        let led = ledger.leaderships.get(&message.term).and_then(|led| led.at(message.term, entry.id.index));
        let is_same = ledger.known(entry.id).is_some_and(|known| known.entry == *entry);
        ensure(led == Some(entry.id) && is_same, "an append is of the leader's log", || {
            format!("{id} sends {} in term {}, but has {led:?} there, same content: {is_same}", entry.id, message.term)
        })?;
    }
    Ok(())
}
