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
