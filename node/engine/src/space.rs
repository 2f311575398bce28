//! Owns the limits on the space of a member's volume: how large the reserve is, when the member is below it, and when it begins
//! and ends to save space. Does not own the measurement (`storage`) or what follows from a standing (`raft`).
//!
//! The limits at which a state ends lie above those at which it begins. Otherwise a volume whose free space hovers at a limit would
//! move leadership to and fro.

use raft::Standing;
use storage::MemberSpace;

use crate::status::Space;

/// The part of the volume that the reserve is at least, as its divisor: 5 %.
const PART_OF_VOLUME: u64 = 20;
/// Number of segments in the reserve.
const SEGMENTS: u64 = 2;

/// Bytes that a member keeps free for a snapshot of its content, and for deletions: one full snapshot and two segments, and at
/// least 5 % of the volume. The snapshot is not larger than the size that the member reports for its content.
pub(crate) fn reserve_bytes(content_bytes: u64, measured: &MemberSpace) -> u64 {
    let needed = content_bytes.saturating_add(measured.segment_bytes.saturating_mul(SEGMENTS));
    needed.max(measured.total_bytes / PART_OF_VOLUME)
}

/// Distance in bytes between the limits at which a state begins and ends: a quarter of the limit, at most a segment.
fn margin(limit: u64, segment_bytes: u64) -> u64 {
    (limit / 4).min(segment_bytes)
}

/// What the core and the status know of the volume.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpaceJudgement {
    pub(crate) standing: Standing,
    /// Whether the member should save space ([`storage::Storage::save_space`]).
    pub(crate) saves: bool,
    /// `None` before the first measurement. Whether writes are refused is not known here.
    pub(crate) space: Option<Space>,
}

impl SpaceJudgement {
    /// Judges a measurement. `content_bytes` is the size of the member's content. A member that is about to fall below its reserve
    /// first saves space, so that only a measurement after that lowers its standing.
    pub(crate) fn judge(&mut self, content_bytes: u64, measured: &MemberSpace) {
        let MemberSpace { total_bytes, free_bytes, segment_bytes, saves } = *measured;
        let reserve = reserve_bytes(content_bytes, measured);
        let above = reserve.saturating_add(margin(reserve, segment_bytes));
        self.saves = if saves { free_bytes < reserve.saturating_mul(2) } else { free_bytes < above };
        if saves || free_bytes >= reserve {
            self.standing = standing_at(self.standing, free_bytes, reserve, segment_bytes);
        }
        let below = self.standing < Standing::Above;
        self.space = Some(Space { total_bytes, free_bytes, reserve_bytes: reserve, below, writes_refused: false });
    }
}

fn standing_at(before: Standing, free: u64, reserve: u64, segment: u64) -> Standing {
    let enough = |limit: u64, is_reached: bool| {
        free >= if is_reached { limit } else { limit.saturating_add(margin(limit, segment)) }
    };
    if enough(reserve, before == Standing::Above) {
        Standing::Above
    } else if enough(segment, before > Standing::Exhausted) {
        Standing::Below
    } else {
        Standing::Exhausted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const CONTENT: u64 = 100 * MIB;

    fn measured(free_mib: u64, saves: bool) -> MemberSpace {
        MemberSpace { total_bytes: 2_000 * MIB, free_bytes: free_mib * MIB, segment_bytes: 64 * MIB, saves }
    }

    /// Standings after these numbers of free MiB, measured one after the other by a member that saves space.
    fn standings(free_mib: &[u64]) -> Vec<Standing> {
        let mut judgement = SpaceJudgement::default();
        let after = |free: &u64| {
            judgement.judge(CONTENT, &measured(*free, true));
            judgement.standing
        };
        free_mib.iter().map(after).collect()
    }

    #[test]
    fn the_reserve_is_a_snapshot_and_two_segments_and_at_least_a_twentieth_of_the_volume() {
        let of = |total_bytes| {
            let measured = MemberSpace { total_bytes, ..measured(0, false) };
            reserve_bytes(CONTENT, &measured) / MIB
        };
        assert_eq!([of(1), of(2_000 * MIB), of(4_560 * MIB), of(10_000 * MIB)], [228, 228, 228, 500]);
        assert_eq!(reserve_bytes(u64::MAX, &measured(0, false)), u64::MAX, "no sum overflows");
    }

    #[test]
    fn a_standing_ends_above_the_limit_at_which_it_began() {
        use Standing::{Above, Below, Exhausted};
        let up_and_down = [228, 227, 228, 284, 285, 228, 227, 64, 63, 64, 79, 80, 64, 63, 284, 63, 285];
        let expected = [
            Above, Below, Below, Below, Above, Above, Below, Below, Exhausted, Exhausted, Exhausted, Below, Below,
            Exhausted, Below, Exhausted, Above,
        ];
        assert_eq!(standings(&up_and_down), expected);
    }

    /// What is given back then may be enough.
    #[test]
    fn a_member_saves_space_before_it_is_below_its_reserve() {
        let mut judgement = SpaceJudgement::default();
        let mut after = |free, saves| {
            judgement.judge(CONTENT, &measured(free, saves));
            (judgement.saves, judgement.standing)
        };
        assert_eq!(after(285, false), (false, Standing::Above));
        assert_eq!(after(284, false), (true, Standing::Above));
        assert_eq!(after(100, false), (true, Standing::Above), "it did not save space yet");
        assert_eq!(after(300, true), (true, Standing::Above), "what it gave back is enough");
        assert_eq!(after(227, true), (true, Standing::Below));
        assert_eq!(after(456, true), (false, Standing::Above));
        assert_eq!(after(456, false), (false, Standing::Above), "saving does not begin again at once");
    }

    #[test]
    fn the_reserve_shrinks_with_the_content() {
        let mut judgement = SpaceJudgement::default();
        judgement.judge(CONTENT, &measured(200, true));
        assert_eq!(judgement.standing, Standing::Below);
        judgement.judge(10 * MIB, &measured(200, true));
        assert_eq!(judgement.standing, Standing::Above);
        let space = judgement.space.expect("it was measured");
        assert_eq!((space.reserve_bytes / MIB, space.below), (138, false));
    }
}
