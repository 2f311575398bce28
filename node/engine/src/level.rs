//! Owns the table of feature levels: what a level allows a member to write. No other code compares levels to choose a
//! format. Does not own the level of a cluster (`mvcc`) or the conditions of a raise (`driver/level.rs`).
//!
//! Reading does not depend on the level: every program reads every format that it knows, at any level.

use mvcc::image::ImageFormat;
use mvcc::{BatchFormat, FeatureLevel};
use raft::{Body, DropReason, Message};
use storage::LogFormat;

/// The highest level that this program supports.
pub const SUPPORTED: FeatureLevel = FeatureLevel(2);

/// The formats that a member writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Format of new segments of the log.
    pub log: LogFormat,
    /// Format of snapshots and backups.
    pub image: ImageFormat,
    /// Format of the payloads of entries, in the log and in messages.
    pub batch: BatchFormat,
}

impl Formats {
    /// The formats of a level. For a level that this program does not support, those of the highest one that it
    /// supports.
    ///
    /// | Level | Log | Image | Batch | Messages |
    /// |---|---|---|---|---|
    /// | 1 | version 1 | version 1 | version 1 | up to `Removed` |
    /// | 2 | version 2: batches share no page | version 2: sections | version 2: items have headers | `Standing`, refusals for lack of space |
    #[must_use]
    pub const fn of(level: FeatureLevel) -> Self {
        let (log, batch) = match level.0 {
            0 | 1 => (LogFormat::V1, BatchFormat::V1),
            _ => (LogFormat::V2, BatchFormat::V2),
        };
        Self { log, image: ImageFormat::of(level), batch }
    }
}

/// First level at which members send `Standing` and refuse proposals for lack of space.
pub(crate) const SPACE: FeatureLevel = FeatureLevel(2);

/// Returns the message that is sent at a level in place of `message`; `None` if nothing is sent. A member that is older
/// than the level would skip a message of a kind that it does not know, and refuse a whole frame with a reason that it does
/// not know.
#[must_use]
pub(crate) fn sendable(level: FeatureLevel, mut message: Message) -> Option<Message> {
    if level >= SPACE {
        return Some(message);
    }
    match &mut message.body {
        Body::Standing(_) => return None,
        // The closest reason that every member knows.
        Body::ProposeRefused { reason: reason @ DropReason::NoSpace, .. } => *reason = DropReason::Overloaded,
        _ => {}
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use raft::{ProposalId, Standing, Term};

    use super::*;

    #[test]
    fn the_first_level_sends_what_every_member_knows() {
        let message = |body| Message { term: Term(1), body };
        let refused = |reason| message(Body::ProposeRefused { proposals: vec![ProposalId(4)], reason });
        let standing = message(Body::Standing(Standing::Below));
        assert_eq!(sendable(FeatureLevel::FIRST, standing.clone()), None);
        assert_eq!(sendable(FeatureLevel(2), standing.clone()), Some(standing));
        let (reason, known) = (DropReason::NoSpace, DropReason::Overloaded);
        assert_eq!(sendable(FeatureLevel::FIRST, refused(reason)), Some(refused(known)));
        assert_eq!(sendable(FeatureLevel(2), refused(reason)), Some(refused(reason)));
        let other = refused(DropReason::LeaderChanged);
        assert_eq!(sendable(FeatureLevel::FIRST, other.clone()), Some(other));
    }

    /// A former program opens the directory of a member whose cluster is at the first level.
    #[test]
    fn the_first_level_writes_the_first_formats() {
        let first = Formats { log: LogFormat::V1, image: ImageFormat::V1, batch: BatchFormat::V1 };
        assert_eq!(Formats::of(FeatureLevel::FIRST), first);
        let newest = Formats { log: LogFormat::V2, image: ImageFormat::V2, batch: BatchFormat::V2 };
        assert_eq!(Formats::of(SUPPORTED), newest);
        assert_eq!(newest.batch, BatchFormat::NEWEST);
    }
}
