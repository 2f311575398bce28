//! Election safety: at most one leader can be elected in a given term (Raft thesis figure 3.2, §3.4).

use raft::{Index, MemberId, Term};

use crate::invariant::ledger::{Leadership, Ledger};
use crate::invariant::{Checked, ensure};

/// Notes that a member leads `term`.
///
/// # Errors
/// Returns a violation if another member led the same term.
pub fn led(ledger: &mut Ledger, id: MemberId, term: Term) -> Checked {
    let fresh = Leadership { leader: id, inherited: None, last: Index(0) };
    let leader = ledger.leaderships.entry(term).or_insert(fresh).leader;
    ensure(leader == id, "election safety", || format!("both {leader} and {id} lead term {term}"))
}
