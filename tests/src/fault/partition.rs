//! Links are cut and mended. Owns the shapes: halves, a member alone, one-way, a chain, a bridge, and links at random.

use raft::MemberId;

use crate::cluster::simulated::Simulated;

/// Strikes once: cuts anew, or mends.
pub fn strike(cluster: &mut Simulated) {
    cluster.network.mend();
    if cluster.random.chance(400_000) {
        cluster.note_line(|| "all links are mended".to_owned());
        return;
    }
    let mut ids: Vec<MemberId> = cluster.members.keys().copied().collect();
    cluster.random.shuffle(&mut ids);
    let leaders = cluster.leaders();
    let victim = if leaders.is_empty() || cluster.random.coin() { ids[0] } else { *cluster.random.pick(&leaders) };
    let shape = cluster.random.below(6);
    let split = cluster.random.between(0, ids.len() as u64) as usize;
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
                _ => cluster.random.chance(350_000),
            };
            if is_cut && from != to {
                cluster.network.cut(*from, *to);
                cuts += 1;
            }
        }
    }
    cluster.totals.partitions += 1;
    cluster.note_line(|| format!("{cuts} links are cut, shape {shape}, among {ids:?}, victim {victim}"));
}
