//! Both electorates of a joint configuration must agree, each by its own majority (Raft thesis §4.3). Owns no arithmetic of
//! its own: it asks [`super::majority`] twice.

use crate::ids::MemberId;
use crate::membership::configuration::Configuration;
use crate::quorum::majority::{self, Tally};

/// The greatest value that majorities of both halves have reached; `None` in a configuration without voters.
pub(crate) fn reached<T: Ord + Copy>(configuration: &Configuration, mut value: impl FnMut(MemberId) -> T) -> Option<T> {
    let incoming = majority::reached(configuration.voters.iter().map(|id| value(*id)).collect());
    let outgoing = majority::reached(configuration.outgoing.iter().map(|id| value(*id)).collect());
    match (incoming, outgoing) {
        (Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),
        (one, other) => one.or(other),
    }
}

/// The state of a ballot in both halves. A configuration without voters elects nobody.
pub(crate) fn tally(configuration: &Configuration, voice: impl Fn(MemberId) -> Option<bool>) -> Tally {
    if configuration.voters.is_empty() {
        return Tally::Lost;
    }
    let incoming = majority::tally(configuration.voters.iter().map(|id| voice(*id)));
    let outgoing = majority::tally(configuration.outgoing.iter().map(|id| voice(*id)));
    match (incoming, outgoing) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        _ => Tally::Open,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{reached, tally};
    use crate::ids::MemberId;
    use crate::membership::configuration::Configuration;
    use crate::quorum::majority::Tally;

    fn members(bits: u32) -> BTreeSet<MemberId> {
        (0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| MemberId(bit + 1)).collect()
    }

    fn agrees(half: &BTreeSet<MemberId>, yes: &BTreeSet<MemberId>) -> bool {
        half.is_empty() || half.intersection(yes).count() * 2 > half.len()
    }

    /// Every pair of halves out of six members, and every set of voices: by the definition.
    #[test]
    fn every_small_electorate_agrees_with_the_definition() {
        for incoming in 1..64 {
            for outgoing in 0..64 {
                let configuration = Configuration {
                    voters: members(incoming),
                    outgoing: members(outgoing),
                    ..Configuration::default()
                };
                for voices in 0..64 {
                    let yes = members(voices);
                    let won = agrees(&configuration.voters, &yes) && agrees(&configuration.outgoing, &yes);
                    let value = reached(&configuration, |id| u8::from(yes.contains(&id)));
                    assert_eq!(value, Some(u8::from(won)), "{configuration:?} {yes:?}");
                    // Whoever does not say yes says no, or says nothing yet.
                    let decided = tally(&configuration, |id| Some(yes.contains(&id)));
                    assert_eq!(decided == Tally::Won, won, "{configuration:?} {yes:?}");
                    let open = tally(&configuration, |id| yes.contains(&id).then_some(true));
                    assert_eq!(open, if won { Tally::Won } else { Tally::Open }, "{configuration:?} {yes:?}");
                }
            }
        }
    }

    #[test]
    fn nobody_elects_nobody() {
        let nobody = Configuration::default();
        assert_eq!(tally(&nobody, |_| Some(true)), Tally::Lost);
        assert_eq!(reached(&nobody, |_| 1), None);
    }
}
