//! Observed in, plan out: each case of `testdata/*.txt` is a look at a cluster and, below `----`, what the planner makes of
//! it. `UPDATE=1 cargo test -p plan --test plans` writes what is instead of comparing; the difference is then reviewed as
//! text.

mod backup;
mod observed;
mod told;

use std::fmt::Write;
use std::path::Path;

/// Cases are apart by a blank line; each is a comment, a look, `----` and the outcome.
#[test]
fn every_look_leads_to_the_plan_that_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> =
        folder.read_dir().expect("testdata exists").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let mut differ = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let mut fresh = String::new();
        for case in text.split("\n\n").filter(|case| !case.trim().is_empty()) {
            let (look, expected) = case.split_once("\n----\n").unwrap_or((case, ""));
            let outcome = told::plan(&plan::plan(&observed::parse(look)));
            if outcome.trim() != expected.trim() {
                differ.push(format!(
                    "{}:\n{look}\n---- expected\n{}\n---- is\n{outcome}",
                    file.display(),
                    expected.trim()
                ));
            }
            writeln!(fresh, "{}\n----\n{}\n", look.trim(), outcome.trim()).expect("strings can be written");
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, format!("{}\n", fresh.trim_end())).expect("writable");
        }
    }
    assert!(differ.is_empty() || std::env::var_os("UPDATE").is_some(), "{}", differ.join("\n\n"));
}

/// The same look gives the same plan, whatever was planned before.
#[test]
fn planning_is_a_function() {
    let look = "record a1 b2 c3\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nreplicas 5";
    let once = told::plan(&plan::plan(&observed::parse(look)));
    let _ = plan::plan(&observed::parse("member 1 blank a1"));
    assert_eq!(once, told::plan(&plan::plan(&observed::parse(look))));
}

/// How soon to look again, and how far apart looks may grow, in milliseconds.
#[test]
fn looks_are_as_far_apart_as_what_is_waited_for_allows() {
    let pace = |look: &str| {
        let plan = plan::plan(&observed::parse(look));
        (plan.next_look.as_millis(), plan.slowest_look.as_millis())
    };
    let serving = "record a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\n";
    let with = |rest: &str| format!("{serving}{rest}");
    assert_eq!(pace("member 1 blank a1\nmember 2 silent 1\nmember 3 silent 1"), (300, 5000), "members start");
    assert_eq!(pace("record a1 b2 c3 formed\nmember 1 alone a1\nmember 2 silent 9\nmember 3 silent 9"), (300, 5000));
    assert_eq!(pace(&with("member 4 silent 20 unscheduled\nreplicas 4")), (2000, 5000), "a machine is missing");
    let behind = "replicas 4\nconfiguration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 behind announced d4";
    assert_eq!(pace(&with(behind)), (300, 1000), "a learner catches up");
    assert_eq!(pace(&with("replicas 5\npaused")), (5000, 5000), "nothing is to be done");
    let restoring = "restore\nrecord a1 from-backup\nmember 1 restoring a1";
    assert_eq!(pace(restoring), (300, 1000), "a restore runs");
    let failed = "restore\nrecord a1 from-backup\nmember 1 restoring a1 failed BackupCorrupt";
    assert_eq!(pace(failed), (2000, 5000), "a restore that failed");
}

/// An operator that is started otherwise restarts nobody: image and pull policy stay those of the members that run.
#[test]
fn other_flags_of_the_operator_restart_nobody() {
    use plan::desired::stateful_set::{Origin, Shape, of, settings};
    use plan::names::{Ordinal, Role};
    use plan::validated::ValidatedCluster;

    let mut observed = observed::parse("record a1\nreplicas 1\nmember 1 is a1 leader");
    observed.members.values_mut().for_each(|member| member.set = None);
    observed.operator.node_image_pull_policy = Some("Always".to_owned());
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let volume_fate = crds::raft_cluster::VolumeFate::Retain;
    let shape =
        Shape { ordinal: Ordinal(1), role: Role::Voter, volume_fate, origin: Origin::Plain, restore_store: None };
    let (set, before) = (of(&valid, &shape), settings(&valid, None));
    observed.members.values_mut().for_each(|member| member.set = Some(set.clone()));
    observed.operator.node_image_pull_policy = Some("Never".to_owned());
    observed.operator.node_image = "raft-node:2".to_owned();
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    assert_eq!((valid.image.as_str(), valid.image_pull_policy.as_deref()), ("raft-node:1", Some("Always")));
    assert_eq!(settings(&valid, None), before);
}

/// What is spelled out and is the default anyway is no change; anything else is one.
#[test]
fn settings_change_with_what_the_spec_asks_for() {
    use plan::desired::stateful_set::settings;
    use plan::validated::ValidatedCluster;

    let of = |edit: fn(&mut crds::raft_cluster::RaftClusterSpec)| {
        let mut observed = observed::parse("replicas 3");
        edit(&mut observed.cluster.spec);
        settings(&ValidatedCluster::parse(&observed).expect("valid"), None)
    };
    let plain = of(|_| ());
    assert_eq!(of(|spec| spec.snapshots = crds::raft_cluster::Snapshots::default()), plain);
    assert_ne!(of(|spec| spec.snapshots.threshold += 1), plain);
    assert_ne!(of(|spec| spec.raft.pre_vote = false), plain);
    assert_ne!(
        of(|spec| spec.topology_spread_constraints = Some(Vec::new())),
        plain,
        "an empty list turns spreading off"
    );
    assert_ne!(of(|spec| spec.image_pull_policy = Some(crds::raft_cluster::ImagePullPolicy::Never)), plain);
}

/// Both a leader that hands over and a follower that stops are shown as what they do.
#[test]
fn members_that_shut_down_are_shown_so() {
    use crds::raft_cluster::MemberRole;
    use plan::names::Ordinal;
    use plan::observed::member::{Answer, Role};

    let mut observed = observed::parse("record a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3");
    for ordinal in [1, 2] {
        let answer = observed.members.get_mut(&Ordinal(ordinal)).and_then(|member| member.answer.as_mut());
        let Some(Answer::Said(report)) = answer else { panic!("it answers") };
        report.role = Role::ShuttingDown;
        report.leader = Some(plan::ids::MemberId(0xa1));
        assert_eq!(report.says_to_lead(), ordinal == 1);
    }
    let roles: Vec<_> = plan::plan(&observed).status.members.into_iter().filter_map(|member| member.role).collect();
    assert_eq!(roles, [MemberRole::ShuttingDown, MemberRole::ShuttingDown, MemberRole::Follower]);
}

/// The schema takes 1,024 letters: with one more the API server refuses the whole status, conditions and all.
#[test]
fn a_long_refusal_is_shortened_wherever_it_is_told() {
    let look = "record a1 b2 c3 formed\nreplicas 4\nrefused QuorumAtRisk\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 joined d4 announced d4";
    let mut observed = observed::parse(look);
    observed.refusal.as_mut().expect("the leader said no").message = "ä".repeat(3000);
    let status = plan::plan(&observed).status;
    let blocked = status.plan.and_then(|plan| plan.blocked_by).expect("the leader said no");
    let told = status.conditions.into_iter().map(|condition| condition.message).chain([blocked.message]);
    let lengths: Vec<usize> = told.map(|message| message.chars().count()).collect();
    assert!(lengths.iter().all(|length| *length <= 1024) && lengths.contains(&1024), "{lengths:?}");
}
