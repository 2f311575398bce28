//! Cuts and restores links. Owns the shapes of partitions: two halves, a member with one-way links, an isolated member,
//! a chain, random links.

use raft::MemberId;

use world::network::Network;
use world::seed::Random;

/// Restores all links, and may then cut some. Returns a description of the cut links; `None` if no link is cut.
pub fn cut(network: &mut Network, random: &mut Random, mut ids: Vec<MemberId>, leaders: &[MemberId]) -> Option<String> {
    network.mend();
    if random.chance(400_000) {
        return None;
    }
    random.shuffle(&mut ids);
    let victim = if leaders.is_empty() || random.coin() { ids[0] } else { *random.pick(leaders) };
    let shape = random.below(6);
    let split = random.between(0, ids.len() as u64) as usize;
    let mut cuts = 0;
    for (at, from) in ids.iter().enumerate() {
        for (place, to) in ids.iter().enumerate() {
            let is_cut = match shape {
                // In order: two halves; a member that only sends; a member that only receives.
                0 => (at < split) != (place < split),
                1 => *to == victim,
                2 => *from == victim,
                // In order: an isolated member; a chain, in which each member reaches only its neighbours.
                3 => *from == victim || *to == victim,
                4 => at.abs_diff(place) > 1,
                _ => random.chance(350_000),
            };
            if is_cut && from != to {
                network.cut(*from, *to);
                cuts += 1;
            }
        }
    }
    Some(format!("{cuts} links are cut, shape {shape}, among {ids:?}, victim {victim}"))
}
