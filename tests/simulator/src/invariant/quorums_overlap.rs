//! Quorums overlap: every majority of a configuration shares a member with every majority of the next (Raft thesis
//! §4.1, §4.3). A change of voters begins with a joint configuration, whose outgoing half is the former set of voters.
//! The configuration that follows a joint configuration is the incoming half of the joint configuration.

use raft::{Configuration, Entry, MemberId, Payload};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// Checks an entry that a leader creates; the entry is not in the ledger yet.
///
/// # Errors
/// Returns a violation if the entry is a configuration that may have a quorum disjoint from a quorum of the preceding
/// configuration.
pub fn created(ledger: &Ledger, id: MemberId, entry: &Entry) -> Checked {
    let Payload::Configuration(next) = &entry.payload else { return Ok(()) };
    let (index, current) = ledger.member_log(id).configuration();
    ensure(overlap(current, next), "quorums overlap", || {
        format!("{id} changes {current:?} of index {index} to {next:?} at {}", entry.id)
    })
}

fn overlap(current: &Configuration, next: &Configuration) -> bool {
    match (current.is_joint(), next.is_joint()) {
        (false, true) => next.outgoing == current.voters,
        (true, false) => next.voters == current.voters,
        // Without a joint step, at most one voter may be added or removed.
        (false, false) => current.voters.symmetric_difference(&next.voters).count() <= 1,
        (true, true) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let set = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
        Configuration { voters: set(voters), outgoing: set(outgoing), ..Configuration::default() }
    }

    #[test]
    fn changes_without_overlapping_quorums_are_found() {
        type Halves<'a> = (&'a [u64], &'a [u64]);
        let steps: [(Halves<'_>, Halves<'_>, bool); 6] = [
            ((&[1, 2, 3], &[]), (&[3, 4, 5], &[1, 2, 3]), true),
            ((&[3, 4, 5], &[1, 2, 3]), (&[3, 4, 5], &[]), true),
            ((&[1, 2, 3], &[]), (&[1, 2], &[]), true),
            ((&[1, 2, 3], &[]), (&[3, 4, 5], &[]), false),
            ((&[3, 4, 5], &[1, 2, 3]), (&[1, 2, 3], &[]), false),
            ((&[1, 2, 3], &[]), (&[3, 4, 5], &[1, 2]), false),
        ];
        for ((voters, outgoing), (next_voters, next_outgoing), sound) in steps {
            let (current, next) = (configuration(voters, outgoing), configuration(next_voters, next_outgoing));
            assert_eq!(overlap(&current, &next), sound, "{current:?} to {next:?}");
        }
    }
}
