//! Compares plans with the expected ones. Each case of `testdata/*.txt` is an observation of a cluster and, below
//! `----`, the plan for it. `UPDATE=1 cargo test -p plan --test plans` writes the present plans to the files instead;
//! a person then reviews the difference.

#![allow(clippy::disallowed_methods, reason = "the tests read and write testdata; the planner itself has no disk")]

mod backup;
mod identity;
mod invariants;
mod levels;
mod observed;
mod ownership;
mod refused;
mod rendering;
mod restarts;
mod rollout_cases;
mod rollout_histories;
mod rollout_idle;
mod rollout_records;
mod rollouts;
mod silence;
mod stopped;
mod take_up;
mod volumes;

use std::fmt::Write;
use std::path::Path;

/// A blank line separates cases. A case consists of a comment, an observation, `----` and the plan.
#[test]
fn every_observation_leads_to_the_reviewed_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> =
        folder.read_dir().expect("testdata exists").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    // The same rule as for every other harness (`tests/simulator/world/src/settings.rs`).
    let updates = std::env::var("UPDATE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    let mut differ = Vec::new();
    for file in files {
        let cases = std::fs::read_to_string(&file).expect("readable");
        let mut fresh = String::new();
        for case in cases.split("\n\n").filter(|case| !case.trim().is_empty()) {
            let (text, expected) = case.split_once("\n----\n").unwrap_or((case, ""));
            let outcome = rendering::plan(&plan::plan(&observed::parse(text)));
            if outcome.trim() != expected.trim() {
                differ.push(format!(
                    "{}:\n{text}\n---- expected\n{}\n---- is\n{outcome}",
                    file.display(),
                    expected.trim()
                ));
            }
            writeln!(fresh, "{}\n----\n{}\n", text.trim(), outcome.trim()).expect("strings can be written");
        }
        if updates {
            std::fs::write(&file, format!("{}\n", fresh.trim_end())).expect("writable");
        }
    }
    assert!(differ.is_empty() || updates, "{}", differ.join("\n\n"));
}

/// The same observation gives the same plan, whatever was planned before.
#[test]
fn planning_is_a_function() {
    let text = "identity a1 b2 c3\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nreplicas 5";
    let once = rendering::plan(&plan::plan(&observed::parse(text)));
    let _ = plan::plan(&observed::parse("member 1 blank a1"));
    assert_eq!(once, rendering::plan(&plan::plan(&observed::parse(text))));
}

/// Each case lists the expected first and longest requeue interval, in milliseconds.
#[test]
fn the_requeue_interval_follows_from_the_cause_of_the_wait() {
    let pace = |text: &str| {
        let plan = plan::plan(&observed::parse(text));
        (plan.requeue_after.as_millis(), plan.requeue_at_most.as_millis())
    };
    let serving = "identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\n";
    let with = |rest: &str| format!("{serving}{rest}");
    assert_eq!(
        pace("identity created\nmember 1 blank a1\nmember 2 silent 1\nmember 3 silent 1"),
        (300, 5000),
        "members start"
    );
    assert_eq!(pace("identity a1 b2 c3 formed\nmember 1 alone a1\nmember 2 silent 9\nmember 3 silent 9"), (300, 5000));
    assert_eq!(pace(&with("member 4 silent 20 unscheduled\nreplicas 4")), (2000, 5000), "a machine is missing");
    let lagging = "replicas 4\nconfiguration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 lags announced d4";
    assert_eq!(pace(&with(lagging)), (300, 1000), "a learner catches up");
    assert_eq!(pace(&with("replicas 5\npaused")), (5000, 5000), "nothing to do");
    let restoring = "restore\nidentity a1 from-backup\nmember 1 restoring a1";
    assert_eq!(pace(restoring), (300, 1000), "a restore is in progress");
    let failed = "restore\nidentity a1 from-backup\nmember 1 restoring a1 failed BackupCorrupt";
    assert_eq!(pace(failed), (2000, 5000), "a restore failed");
}

/// The image and the pull policy of existing members stay as they are.
#[test]
fn other_flags_of_the_operator_restart_no_member() {
    use plan::desired::stateful_set::{SetOrigin, Shape, of, settings};
    use plan::names::{Ordinal, Role};
    use plan::validated::ValidatedCluster;

    let mut observed = observed::parse("identity a1\nreplicas 1\nmember 1 is a1 leader");
    observed.members.values_mut().for_each(|member| member.set = None);
    observed.operator.node_image_pull_policy = Some("Always".to_owned());
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let volume_fate = crds::raft_cluster::VolumeFate::Retain;
    let shape = Shape {
        ordinal: Ordinal(1),
        runs: true,
        role: Role::Voter,
        volume_fate,
        origin: SetOrigin::Plain,
        restore_store: None,
    };
    let (set, before) = (of(&valid, &shape, None), settings(&valid, None));
    observed.members.values_mut().for_each(|member| member.set = Some(set.clone()));
    observed.operator.node_image_pull_policy = Some("Never".to_owned());
    observed.operator.node_image = "raft-node:2".to_owned();
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    assert_eq!((valid.image.as_str(), valid.image_pull_policy.as_deref()), ("raft-node:1", Some("Always")));
    assert_eq!(settings(&valid, None), before);
}

/// Setting a field to its default does not change the settings; setting it to any other value does.
#[test]
fn settings_change_with_the_spec() {
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

/// The case has a leader that transfers leadership, and a follower that stops.
#[test]
fn members_that_shut_down_are_reported_so() {
    use crds::raft_cluster::MemberRole;
    use plan::names::Ordinal;
    use plan::observed::member::{Answer, RaftRole};

    let mut observed =
        observed::parse("identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3");
    for ordinal in [1, 2] {
        let answer = observed.members.get_mut(&Ordinal(ordinal)).and_then(|member| member.answer.as_mut());
        let Some(Answer::Report(report)) = answer else { panic!("the member answers") };
        report.role = RaftRole::ShuttingDown;
        report.leader = Some(plan::ids::MemberId(0xa1));
        assert_eq!(report.reports_to_lead(), ordinal == 1);
    }
    let roles: Vec<_> = plan::plan(&observed).status.members.into_iter().filter_map(|member| member.role).collect();
    assert_eq!(roles, [MemberRole::ShuttingDown, MemberRole::ShuttingDown, MemberRole::Follower]);
}

/// The schema allows 1,024 characters. If the message had one more, the API server would refuse the whole status.
#[test]
fn a_long_refusal_is_shortened_wherever_it_is_reported() {
    let text = "identity a1 b2 c3 formed\nreplicas 4\nrefused QuorumAtRisk\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 joined d4 announced d4";
    let mut observed = observed::parse(text);
    observed.refusal.as_mut().expect("the leader refused").message = "ä".repeat(3000);
    let status = plan::plan(&observed).status;
    let blocked = status.plan.and_then(|plan| plan.blocked_by).expect("the leader refused");
    let texts = status.conditions.into_iter().map(|condition| condition.message).chain([blocked.message]);
    let lengths: Vec<usize> = texts.map(|message| message.chars().count()).collect();
    assert!(lengths.iter().all(|length| *length <= 1024) && lengths.contains(&1024), "{lengths:?}");
}

/// A refused change reports the reason that the member named. If the member sent the number of a reason that only newer
/// versions know, the report says only that the change was refused.
#[test]
fn a_plan_rests_on_the_reason_that_a_member_gave() {
    use plan::observed::refusal::RefusalReason;

    let text = "identity a1 b2 c3 formed\nreplicas 4\nrefused LearnerBehind\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 joined d4 announced d4";
    let blocked = |observed: &plan::observed::Observed| {
        let plan = plan::plan(observed);
        let blocked = plan.status.plan.and_then(|plan| plan.blocked_by).map(|blocker| blocker.reason);
        (blocked.unwrap_or_default(), plan.requeue_after.as_millis())
    };
    let mut observed = observed::parse(text);
    assert_eq!(blocked(&observed), ("LearnerBehind".to_owned(), 300), "the name alone, of an older member");
    let mut refused = |reason| {
        observed.refusal.as_mut().expect("it was refused").reason = reason;
        blocked(&observed)
    };
    let unknown = Some(RefusalReason::Unrecognized { number: 99 });
    assert_eq!(refused(unknown), ("ChangeRefused".to_owned(), 2000), "a newer member's number: nothing is hurried");
    let removed = Some(RefusalReason::WasRemoved);
    assert_eq!(refused(removed), ("ChangeRefused".to_owned(), 2000), "nothing is in the log");
    assert_eq!(refused(None), ("ChangeInFlight".to_owned(), 300), "no reason: the change may be in the log");
}

/// The Secret that is named exists. The one that is right has another name, so nothing is to be deleted.
#[test]
fn the_advice_on_a_wrong_identity_says_how_to_name_another_one() {
    let text = "identity a1 b2 c3 formed-otherwise\nmember 1 foreign\nmember 2 foreign\nmember 3 foreign";
    let conditions = plan::plan(&observed::parse(text)).status.conditions;
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled").expect("it is reported");
    let command = "kubectl annotate --overwrite --namespace default service demo-members raftoperator.io/identity=";
    assert!(stalled.reason == "IdentityLost" && stalled.message.contains(command), "{}", stalled.message);
}
