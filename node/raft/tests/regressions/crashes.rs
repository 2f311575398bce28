//! Crashes at every possible moment: in each run, one member crashes instead of carrying out one of its outputs
//! (etcd#12359, Zeebe#57386 and #60086, etcd#12136, scylla#10618, etcd#14370, tikv#8381). Each crash loses the writes
//! that are not durable. Safety properties are checked throughout, and afterwards the cluster must serve again.

use crate::network::{Cluster, id, ids};

/// Runs a scenario once without a crash, to count the outputs of each member. Then runs it once for each of these
/// outputs, with a crash in place of the output.
fn crash_everywhere(members: &[u64], prepare: fn(&mut Cluster), play: fn(&mut Cluster), end: fn(&mut Cluster)) {
    let mut undisturbed = Cluster::of(3, 42);
    prepare(&mut undisturbed);
    let before = undisturbed.outputs_of(members);
    play(&mut undisturbed);
    end(&mut undisturbed);
    let after = undisturbed.outputs_of(members);
    let mut runs = 0;
    for ((number, from), to) in members.iter().zip(before).zip(after) {
        for count in from + 1..=to {
            let mut cluster = Cluster::of(3, 42);
            prepare(&mut cluster);
            cluster.crash_at = Some((id(*number), count));
            play(&mut cluster);
            cluster.crash_at = None;
            cluster.heal();
            end(&mut cluster);
            runs += 1;
        }
    }
    assert!(runs > 50, "{runs} crashes");
}

#[test]
fn elections_and_writes_survive_a_crash_anywhere() {
    crash_everywhere(
        &[1, 2, 3],
        |_| {},
        |cluster| {
            for _ in 0..40 {
                if let Some(leader) = cluster.leader() {
                    cluster.propose(leader);
                }
                cluster.run_ms(70);
            }
        },
        serves,
    );
}

#[test]
fn a_joint_change_survives_a_crash_anywhere() {
    crash_everywhere(
        &[1, 2, 3, 4, 5],
        |cluster| {
            cluster.elect_member(1);
            cluster.add_blank(4);
            cluster.add_blank(5);
            cluster.reconfigure(&[1, 2, 3], &[4, 5]);
            cluster.run_ms(300);
        },
        |cluster| {
            let _ = cluster.change(&[3, 4, 5], &[2]);
            cluster.run_ms(400);
        },
        |cluster| {
            serves(cluster);
            let leader = cluster.elect();
            cluster.until("no joint configuration remains", 10_000, |cluster| {
                (1..=5).filter(|number| cluster.runs(*number)).all(|number| {
                    cluster.member(number).removed.is_some() || !cluster.raft(number).configuration().0.is_joint()
                })
            });
            let voters = &cluster.raft(leader).configuration().0.voters;
            assert!(
                *voters == ids(&[1, 2, 3]) || *voters == ids(&[3, 4, 5]),
                "the configuration is the old or the new one"
            );
        },
    );
}

#[test]
fn a_leadership_transfer_survives_a_crash_anywhere() {
    crash_everywhere(
        &[1, 2, 3],
        |cluster| {
            cluster.elect_member(1);
            cluster.run_ms(300);
        },
        |cluster| {
            cluster.propose(1);
            if cluster.runs(1) {
                let _ = cluster.with(1, |raft, now| raft.transfer(now, Some(id(2))));
            }
            cluster.run_ms(2_500);
        },
        serves,
    );
}

/// Checks that every running member that was not removed applies a new entry.
fn serves(cluster: &mut Cluster) {
    for _ in 0..50 {
        let leader = cluster.elect();
        let Some(content) = cluster.propose(leader) else {
            cluster.run_ms(100);
            continue;
        };
        cluster.run_ms(300);
        let (configuration, _) = cluster.raft(leader).configuration();
        let mut all_members = configuration.voters.union(&configuration.learners);
        if all_members.all(|id| cluster.runs(id.0) && cluster.has_applied(id.0, &content)) {
            cluster.safety.assert_each_once();
            return;
        }
    }
    panic!("no member serves\n{}", cluster.render());
}
