//! A forged notice of a removal: who receives it, and what it says. Does not own its delivery.

use raft::{Body, Index, MemberId, Message, Term};
use world::seed::Random;

/// Largest distance of a forged index from the newest committed one.
const AHEAD_MAX: u64 = 50;

/// Draws a notice for one of `members`. The sender is one of them or a stranger. Returns the receiver, the sender and the
/// notice.
pub(crate) fn draw(random: &mut Random, members: &[MemberId], committed: Index) -> (MemberId, MemberId, Message) {
    let to = *random.pick(members);
    let from = if random.coin() { *random.pick(members) } else { MemberId(1_000 + random.below(1_000)) };
    let index = if random.coin() { committed.0 + random.between(1, AHEAD_MAX) } else { random.number() };
    let body = Body::Removed { index: Index(index) };
    (to, from, Message { term: Term(random.below(100)), body })
}
