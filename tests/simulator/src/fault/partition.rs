//! Links are cut and mended. Owns the shapes: halves, a member alone, one-way, a chain, a bridge, and links at random.

use raft::MemberId;

use world::network::Network;
use world::seed::Random;

/// Mends all links, then cuts some: which, in words; `None`: none.
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
                // Two halves; a member that is heard and does not hear; one that hears and is not heard.
                0 => (at < split) != (place < split),
                1 => *to == victim,
                2 => *from == victim,
                // A member alone; a chain, in which each hears its neighbours only.
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
