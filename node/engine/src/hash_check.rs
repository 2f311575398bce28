//! The comparison of members' keyspace hashes. Owns the decision which members differ. Does not own the hashes (`mvcc`), or who asks
//! for them and what follows (the program).
//!
//! All hashes of one comparison are of the same revision, computed under the same compaction mark.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Configuration, MemberId};

/// What the hashes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No two hashes differ.
    Same,
    /// These members have another hash than a majority of the voters.
    Differ(BTreeSet<MemberId>),
    /// Hashes differ, and none is that of a majority of the voters. It is not known which members are wrong.
    NoMajority,
}

/// Compares the hashes of members. A member without an answer is missing. In a joint configuration a majority is one of each electorate.
#[must_use]
pub fn compare(configuration: &Configuration, hashes: &BTreeMap<MemberId, u32>) -> Verdict {
    let mut groups: BTreeMap<u32, BTreeSet<MemberId>> = BTreeMap::new();
    for (member, hash) in hashes {
        groups.entry(*hash).or_default().insert(*member);
    }
    if groups.len() <= 1 {
        return Verdict::Same;
    }
    let right = groups.iter().find(|(_, members)| {
        has_majority(&configuration.voters, members)
            && (!configuration.is_joint() || has_majority(&configuration.outgoing, members))
    });
    match right {
        Some((right, _)) => {
            Verdict::Differ(hashes.iter().filter(|(_, hash)| *hash != right).map(|(id, _)| *id).collect())
        }
        None => Verdict::NoMajority,
    }
}

fn has_majority(electors: &BTreeSet<MemberId>, members: &BTreeSet<MemberId>) -> bool {
    electors.intersection(members).count() > electors.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>(ids: [u64; N]) -> BTreeSet<MemberId> {
        ids.map(MemberId).into()
    }

    fn verdict<const N: usize>(configuration: &Configuration, hashes: [(u64, u32); N]) -> Verdict {
        compare(configuration, &hashes.map(|(id, hash)| (MemberId(id), hash)).into())
    }

    #[test]
    fn the_majority_of_the_voters_is_right() {
        let three = Configuration { voters: ids([1, 2, 3]), learners: ids([4, 5]), ..Configuration::default() };
        assert_eq!(verdict(&three, [(1, 7), (2, 7), (3, 7), (4, 7)]), Verdict::Same);
        assert_eq!(verdict(&three, [(1, 7), (2, 7), (3, 8)]), Verdict::Differ(ids([3])));
        assert_eq!(verdict(&three, [(1, 7), (2, 7), (4, 8), (5, 9)]), Verdict::Differ(ids([4, 5])));
        assert_eq!(verdict(&three, [(1, 7), (2, 8), (3, 9)]), Verdict::NoMajority);
        // Learners do not count, and neither does a voter without an answer.
        assert_eq!(verdict(&three, [(1, 7), (4, 7), (5, 7), (2, 8)]), Verdict::NoMajority);
        assert_eq!(verdict(&three, [(1, 7), (2, 8)]), Verdict::NoMajority);
        assert_eq!(verdict(&three, [(1, 7)]), Verdict::Same);
        assert_eq!(verdict(&three, []), Verdict::Same);
    }

    #[test]
    fn half_of_the_voters_is_no_majority() {
        let four = Configuration { voters: ids([1, 2, 3, 4]), ..Configuration::default() };
        assert_eq!(verdict(&four, [(1, 7), (2, 7), (3, 8), (4, 8)]), Verdict::NoMajority);
        assert_eq!(verdict(&four, [(1, 7), (2, 7), (3, 7), (4, 8)]), Verdict::Differ(ids([4])));
        let five = Configuration { voters: ids([1, 2, 3, 4, 5]), ..Configuration::default() };
        assert_eq!(verdict(&five, [(1, 7), (2, 7), (3, 7), (4, 8), (5, 9)]), Verdict::Differ(ids([4, 5])));
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let joint = Configuration { voters: ids([1, 2, 3]), outgoing: ids([3, 4, 5]), ..Configuration::default() };
        assert_eq!(verdict(&joint, [(1, 7), (2, 7), (4, 8), (5, 8)]), Verdict::NoMajority);
        assert_eq!(verdict(&joint, [(1, 7), (2, 8), (3, 7), (4, 7)]), Verdict::Differ(ids([2])));
    }
}
