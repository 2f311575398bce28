//! Rollouts: what is recorded, who restarts, who fails, and how a change is taken back
//! (`operator/docs/decisions/rollouts.md`).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use plan::action::{ObjectAction, Write};
use plan::completed::CompletedRollout;
use plan::ids::MemberId;
use plan::names::{self, Ordinal};
use plan::observed::Observed;
use plan::observed::member::Answer;
use plan::validated::ValidatedCluster;
use serde_json::json;

use crate::observed::parse;
use crate::rollout_cases::{
    ONE, THREE, ago, annotate, carry_out, changed, changes_of_settings, condition, crashed, created, member, note,
    planned, pod, recorded, recorded_by, refuse_disk, replaces, report, set_ready, stopped, tried, unrecorded, wanted,
    write_settings, writes, written_settings,
};

#[test]
fn an_upgrade_of_the_operator_records_what_runs_and_restarts_no_member() {
    let observed = unrecorded(THREE);
    let record = recorded_by(&observed).expect("all members run the same settings and serve");
    assert_eq!((record.image.as_str(), &record.digest), ("raft-node:1", &wanted(&observed)));
    assert!(record.settings.is_some());
    assert_eq!(stopped(&observed), [""; 0]);
    let observed = recorded(THREE);
    assert_eq!(recorded_by(&observed), None, "it is recorded once");
    assert_eq!(planned(&observed).status.image.as_deref(), Some("raft-node:1"));
    assert_eq!(planned(&observed).status.rollout, None);
}

#[test]
fn a_rollout_is_complete_when_every_member_has_served() {
    let mut observed = changed(THREE);
    let (just_now, settings) = (ago(&observed, 9), wanted(&observed));
    for ordinal in 1..=3 {
        write_settings(member(&mut observed, ordinal).set.as_mut().expect("a set"), &settings);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, &settings);
    }
    set_ready(pod(&mut observed, 3), true, just_now);
    assert_eq!(recorded_by(&observed), None, "demo-3 has been ready for 9 s");
    observed.cluster.spec.rollout.min_ready_seconds = Some(9);
    assert!(recorded_by(&observed).is_some());
    annotate(pod(&mut observed, 3), names::ANNOTATION_SETTINGS, "others");
    assert_eq!(recorded_by(&observed), None, "demo-3 runs other settings");
    annotate(pod(&mut observed, 3), names::ANNOTATION_SETTINGS, &settings);
    report(&mut observed, 1).progress.remove(&MemberId(0xc3));
    assert_eq!(recorded_by(&observed), None, "the leader does not hear demo-3");
}

/// The settings that run are unknown if the spec was changed while no operator ran, but their digest is not.
#[test]
fn what_runs_is_recorded_although_the_spec_asks_for_other_settings() {
    let mut observed = unrecorded(THREE);
    let before = wanted(&observed);
    observed.cluster.spec.snapshots.threshold += 1;
    let record = recorded_by(&observed).expect("all run the same");
    assert_eq!((record.image.as_str(), record.digest, record.settings), ("raft-node:1", before, None));
}

/// A pod serves to its end. A cluster was once reported as up to date while its last pod with former settings ended.
#[test]
fn the_last_pod_with_former_settings_is_waited_for_until_it_has_ended() {
    let mut observed = changed(ONE);
    let (settings, now) = (wanted(&observed), observed.now);
    write_settings(member(&mut observed, 1).set.as_mut().expect("a set"), &settings);
    pod(&mut observed, 1).metadata.deletion_timestamp = Some(Time(now));
    let (status, reason, _) = condition(&observed, "Reconciling");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "RollingOut"));
    assert_eq!(stopped(&observed), [""; 0], "it ends already");
}

/// `git revert` of a bad image removes `spec.image`.
#[test]
fn an_absent_image_means_that_of_the_last_completed_rollout() {
    let mut observed = crashed(THREE, 3, 1, "");
    observed.cluster.spec.image = None;
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    assert_eq!(valid.image, "raft-node:1");
    assert_eq!(changes_of_settings(&observed)["demo-3"], wanted(&recorded(THREE)));
}

/// A pod that is recreated because of a drain or a lost machine comes back with the settings that it had.
#[test]
fn settings_reach_only_the_member_whose_turn_it_is() {
    let mut observed = changed(THREE);
    let settings = wanted(&observed);
    assert_eq!(changes_of_settings(&observed), [("demo-2".to_owned(), settings)].into());
    assert_eq!(stopped(&observed), [""; 0], "the StatefulSet is written first");
    carry_out(&mut observed);
    let since = &member(&mut observed, 2).set.as_ref().expect("a set").metadata.annotations.clone().expect("notes");
    assert_eq!(since[names::ANNOTATION_SETTINGS_SINCE], observed.now.to_string());
    assert_eq!(stopped(&observed), ["demo-2-0"]);
    assert!(changes_of_settings(&observed).is_empty());
}

/// A late creation brings a member back that had left. Bad settings once reached it and a voter: it was the first of
/// the rollout, and its failure stopped nothing, because it is not on trial.
#[test]
fn a_member_outside_of_the_configuration_gets_no_turn_and_is_not_waited_for() {
    for outside in ["member 4 silent 5 outdated unwritten", "member 4 foreign outdated unwritten"] {
        let outside = parse(&format!("{THREE}\n{outside}")).members.remove(&Ordinal(4)).expect("it exists");
        let mut observed = changed(THREE);
        observed.members.insert(Ordinal(4), outside.clone());
        assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
        assert_eq!(stopped(&observed), [""; 0], "the StatefulSet is written first");
        let mut observed = unrecorded(THREE);
        observed.members.insert(Ordinal(4), outside);
        let record = recorded_by(&observed).expect("every member in the configuration runs the same settings");
        note(&mut observed, &record);
        assert_eq!(planned(&observed).status.rollout, None);
    }
}

#[test]
fn a_member_outside_of_the_configuration_with_former_settings_keeps_no_member_from_moving() {
    let text = THREE.replace("labelled", "class slow labelled");
    for (outside, moves) in [("member 4 foreign outdated", true), ("member 3 is c3 outdated", false)] {
        assert_eq!(replaces(&parse(&format!("storage-class fast\n{text}\n{outside}"))), moves, "{outside}");
    }
}

#[test]
fn the_next_member_restarts_after_the_last_one_has_served() {
    let mut observed = tried(THREE, 2, 30);
    assert!(changes_of_settings(&observed).is_empty(), "demo-2 does not serve");
    let restored = member(&mut recorded(THREE), 2).answer.clone();
    member(&mut observed, 2).answer = restored;
    let progress = report(&mut recorded(THREE), 1).progress.clone();
    report(&mut observed, 1).progress = progress;
    for (seconds, goes_on) in [(9, false), (10, true)] {
        let since = ago(&observed, seconds);
        set_ready(pod(&mut observed, 2), true, since);
        assert_eq!(changes_of_settings(&observed).contains_key("demo-3"), goes_on, "after {seconds} s");
        let served = writes(&observed).iter().any(|write| matches!(write, ObjectAction::NoteServed { .. }));
        assert_eq!(served, goes_on, "the pod is marked once it has served");
    }
    let rollout = planned(&observed).status.rollout.expect("it is reported");
    assert_eq!((rollout.updated, rollout.total), (Some(1), Some(3)));
    assert_eq!(rollout.since, Some(Time(ago(&observed, 30))));
    observed.cluster.spec.rollout.min_ready_seconds = Some(60);
    assert!(changes_of_settings(&observed).is_empty(), "the spec asks for more");
}

#[test]
fn a_member_on_trial_is_not_replaced_until_it_has_served() {
    let mut observed = tried(THREE, 2, 800);
    assert!(!replaces(&observed), "the replacement delay is 60 s");
    annotate(pod(&mut observed, 2), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    assert!(replaces(&observed), "it has served");
    let mut observed = tried(THREE, 2, 5);
    refuse_disk(&mut observed, 2);
    assert!(!replaces(&observed), "it takes its disk for a damaged one");
}

#[test]
fn a_lost_machine_and_a_blank_volume_are_replaced_as_always() {
    let mut lost = tried(THREE, 2, 800);
    lost.unready_nodes.insert("node1".to_owned(), None);
    assert!(replaces(&lost), "its node does not exist");
    // Kubernetes deletes the pod, and the next one waits for the volume that was on the machine.
    carry_out(&mut lost);
    let waits = json!({ "conditions": [{ "type": "PodScheduled", "status": "False" }] });
    pod(&mut lost, 2).spec.get_or_insert_default().node_name = None;
    pod(&mut lost, 2).status = serde_json::from_value(waits).expect("a status");
    assert!(replaces(&lost), "its pod fits no machine since its node is gone");
    let mut stuck = tried(THREE, 2, 800);
    for (seconds, gone) in [(59, false), (60, true)] {
        let end = ago(&stuck, seconds);
        pod(&mut stuck, 2).metadata.deletion_timestamp = Some(Time(end));
        assert_eq!(replaces(&stuck), gone, "its pod should have ended {seconds} s ago");
    }
    let mut blank = tried(THREE, 2, 800);
    member(&mut blank, 2).volume.as_mut().expect("a claim").metadata.labels = None;
    assert!(replaces(&blank), "its volume was replaced by another one");
    let mut wiped = tried(THREE, 2, 5);
    member(&mut wiped, 2).answer = member(&mut parse("member 2 blank d4"), 2).answer.clone();
    assert!(replaces(&wiped), "it reports that its volume is empty");
}

/// Scaling down removes members first that do not serve.
#[test]
fn the_volume_of_a_member_on_trial_stays_although_removed_volumes_go() {
    let text = format!("{THREE}\nconfiguration 7 voters a1 c3 removed b2\nreplicas 2");
    let fate = |observed: &Observed| {
        let mut fates = writes(observed).into_iter().filter_map(|write| match write {
            ObjectAction::ReplaceSet(replace) if replace.object().name() == "demo-2" => {
                replace.object().parse::<StatefulSet>()?.spec?.persistent_volume_claim_retention_policy?.when_deleted
            }
            _ => None,
        });
        fates.next_back().expect("it is written")
    };
    let mut observed = tried(THREE, 2, 30);
    let removed = parse(&text);
    (observed.configuration, observed.cluster.spec.replicas) = (removed.configuration, 2);
    assert_eq!(fate(&observed), "Retain");
    annotate(pod(&mut observed, 2), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    assert_eq!(fate(&observed), "Delete", "it has served");
}

/// A removed member that never restarted has nothing to return to, and its objects are about to go.
#[test]
fn a_newcomer_with_other_settings_is_not_on_trial_and_a_removed_member_does_not_restart() {
    let mut observed = tried(THREE, 2, 30);
    observed.configuration = parse(&format!("{THREE}\nconfiguration 7 voters a1 c3 removed b2")).configuration;
    observed.cluster.spec.replicas = 2;
    observed.cluster.spec.image = None;
    assert!(!changes_of_settings(&observed).contains_key("demo-2"));
    assert!(!stopped(&observed).contains(&"demo-2-0".to_owned()));
    let mut observed = tried(THREE, 2, 800);
    let notes = member(&mut observed, 2).set.as_mut().and_then(|set| set.metadata.annotations.as_mut());
    notes.expect("it has some").remove(names::ANNOTATION_SETTINGS_SINCE);
    assert!(replaces(&observed), "its settings never changed");
}

#[test]
fn a_member_whose_process_ends_fails_the_rollout() {
    let unknown_flag = "error: unexpected argument '--of-tomorrow' found";
    let observed = crashed(THREE, 2, 2, unknown_flag);
    for kind in ["Degraded", "Stalled"] {
        let (status, reason, message) = condition(&observed, kind);
        assert_eq!((status.as_str(), reason.as_str()), ("True", "RolloutFailed"), "{kind}");
        assert!(message.contains("demo-2") && message.contains(unknown_flag), "{message}");
    }
    let rollout = planned(&observed).status.rollout.expect("it is reported");
    assert_eq!((rollout.failed, rollout.updated), (vec!["demo-2".to_owned()], Some(1)));
    assert!(changes_of_settings(&observed).is_empty() && stopped(&observed).is_empty(), "no further member restarts");
    for (exit_code, message) in [(137, "killed"), (1, ""), (0, "")] {
        let observed = crashed(THREE, 2, exit_code, message);
        assert_eq!(condition(&observed, "Degraded").1, "RolloutFailed");
        assert_eq!(condition(&observed, "Stalled").0, "False", "it did not say why: {exit_code} {message}");
    }
}

#[test]
fn a_member_that_refuses_its_disk_fails_the_rollout() {
    let mut observed = tried(THREE, 2, 5);
    refuse_disk(&mut observed, 2);
    let (_, reason, message) = condition(&observed, "Stalled");
    assert_eq!(reason, "RolloutFailed");
    assert!(message.contains("bad checksum"), "{message}");
}

#[test]
fn a_member_fails_the_rollout_at_the_deadline() {
    assert_eq!(condition(&tried(THREE, 2, 899), "Degraded").1, "MemberUnreachable");
    let mut observed = tried(THREE, 2, 900);
    assert_eq!(condition(&observed, "Degraded").1, "RolloutFailed");
    assert_eq!(condition(&observed, "Stalled").0, "False");
    assert_eq!(condition(&observed, "Ready").1, "RolloutFailed");
    observed.cluster.spec.rollout.progress_deadline = Some(std::time::Duration::from_secs(901).into());
    assert_ne!(condition(&observed, "Degraded").1, "RolloutFailed");
    observed.cluster.spec.rollout.progress_deadline = None;
    pod(&mut observed, 2).spec.as_mut().expect("it has one").node_name = None;
    assert_ne!(condition(&observed, "Degraded").1, "RolloutFailed", "no node runs it");
}

#[test]
fn a_newcomer_of_an_incomplete_rollout_gets_the_recorded_settings() {
    let recorded = recorded(THREE);
    let settings = wanted(&recorded);
    for mut observed in [changed(THREE), tried(THREE, 2, 5), crashed(THREE, 2, 1, "")] {
        observed.cluster.spec.replicas = 5;
        observed.cluster.spec.snapshots.threshold += 1;
        let created = created(&observed);
        assert_eq!(created.len(), 2);
        for set in created {
            assert_eq!(written_settings(&set), Some(settings.clone()));
            let container = set.spec.expect("a spec").template.spec.expect("a pod").containers.remove(0);
            assert_eq!(container.image.as_deref(), Some("raft-node:1"));
            let threshold = container.env.into_iter().flatten().find(|it| it.name == "RAFT_NODE_SNAPSHOT_THRESHOLD");
            assert_eq!(threshold.and_then(|it| it.value).as_deref(), Some("1024"));
        }
    }
}

/// Each field of the settings is recorded and read back.
#[test]
fn recorded_settings_are_read_back_as_they_were() {
    let mut observed = unrecorded(&format!("{THREE}\nbackup"));
    let mut spec = serde_json::to_value(&observed.cluster.spec).expect("plain data");
    let fields = json!({
        "image": "raft-node:1", "imagePullPolicy": "Always", "imagePullSecrets": [{ "name": "registry" }],
        "resources": { "limits": { "memory": "2Gi" } }, "quota": "512Mi",
        "affinity": { "podAntiAffinity": {} },
        "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }],
        "tolerations": [{ "key": "a", "operator": "Exists" }], "nodeSelector": { "disk": "fast" },
        "priorityClassName": "high", "pod": { "env": [{ "name": "A", "value": "b" }], "labels": { "a": "b" } },
        "raft": { "electionTimeout": "2s" }, "snapshots": { "threshold": 99 },
    });
    for (name, value) in fields.as_object().expect("fields") {
        spec[name] = value.clone();
    }
    observed.cluster.spec = serde_json::from_value(spec).expect("a spec");
    let settings = wanted(&observed);
    for member in observed.members.values_mut() {
        annotate(member.pod.as_mut().expect("a pod"), names::ANNOTATION_SETTINGS, &settings);
    }
    let record = recorded_by(&observed).expect("every member serves");
    note(&mut observed, &record);
    let plain = parse(THREE).cluster.spec;
    observed.cluster.spec = crds::RaftClusterSpec { replicas: 4, image: Some("raft-node:2".to_owned()), ..plain };
    let sets = created(&observed);
    assert_eq!(sets.first().and_then(written_settings), Some(settings));
    assert_eq!(sets.len(), 1);
}

/// Without a leader no member restarts in its turn, but this member serves nothing.
#[test]
fn a_change_that_is_taken_back_restores_the_only_voter() {
    for observed in [crashed(ONE, 1, 1, "bad flag"), tried(ONE, 1, 1000), {
        let mut damaged = tried(ONE, 1, 30);
        refuse_disk(&mut damaged, 1);
        damaged
    }] {
        let (status, reason, message) = condition(&observed, "Degraded");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "RolloutFailed"), "{message}");
        assert_ne!(condition(&observed, "Ready").1, "AwaitingRestore", "its data is not lost");
        taken_back(observed, 1);
    }
}

#[test]
fn a_change_that_is_taken_back_restores_a_follower() {
    taken_back(crashed(THREE, 2, 1, "bad flag"), 2);
    // Another member is lost at the same time: it does not matter, because the restart interrupts nothing.
    let mut observed = tried(THREE, 2, 1000);
    observed.configuration = None;
    member(&mut observed, 3).answer = Some(Answer::Silent { since: observed.now, error: "lost".to_owned() });
    taken_back(observed, 2);
}

/// Takes the change back, and checks each step until the member can serve again.
fn taken_back(mut observed: Observed, ordinal: u32) {
    observed.cluster.spec.image = None;
    let (name, settings) = (format!("demo-{ordinal}"), wanted(&observed));
    assert_eq!(changes_of_settings(&observed), [(name.clone(), settings.clone())].into());
    carry_out(&mut observed);
    assert_eq!(stopped(&observed), [format!("{name}-0")]);
    let deleted = writes(&observed).into_iter().find_map(|write| match (&write, write.write()) {
        (ObjectAction::DeletePod { .. }, Write::Delete(delete)) => delete.version().map(str::to_owned),
        _ => None,
    });
    assert_eq!(deleted.as_deref(), Some("1"), "a pod that became ready meanwhile stays");
    member(&mut observed, ordinal).pod = None;
    member(&mut observed, ordinal).answer = Some(Answer::Silent { since: ago(&observed, 5000), error: String::new() });
    for (seconds, replaced) in [(59, false), (60, true)] {
        let mut later = observed.clone();
        later.now = observed.now.checked_add(SignedDuration::from_secs(seconds)).expect("within range");
        let is_led = later.configuration.is_some();
        assert_eq!(replaces(&later), replaced && is_led, "{seconds} s after the change");
    }
}

/// Two members run the settings that were taken back, and serve.
#[test]
fn members_that_serve_with_the_settings_that_were_taken_back_restart_in_turn() {
    let mut observed = changed(THREE);
    let settings = wanted(&observed);
    for ordinal in [1, 2] {
        let one = member(&mut observed, ordinal);
        write_settings(one.set.as_mut().expect("a set"), &settings);
        annotate(one.pod.as_mut().expect("a pod"), names::ANNOTATION_SETTINGS, &settings);
    }
    observed.cluster.spec.image = None;
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
    carry_out(&mut observed);
    assert_eq!(stopped(&observed), ["demo-2-0"]);
}

/// A member that fails gets corrected settings at once, and no other member does.
#[test]
fn a_corrected_change_reaches_the_member_that_failed_first() {
    let mut observed = crashed(THREE, 3, 1, "bad flag");
    observed.cluster.spec.image = Some("raft-node:3".to_owned());
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-3"]);
    assert_eq!(planned(&observed).status.rollout.expect("it goes on").failed, [""; 0]);
    carry_out(&mut observed);
    assert_eq!(stopped(&observed), ["demo-3-0"]);
}

#[test]
fn a_downgrade_is_refused_unless_a_person_allows_it() {
    let mut observed = changed(THREE);
    let mut record = CompletedRollout::read(&observed).expect("it is recorded");
    record.note_version("raft-node:2", "0.9", 1);
    note(&mut observed, &record);
    let (status, reason, message) = condition(&observed, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "DowngradeRefused"));
    assert!(message.contains("raft-node:2") && message.contains("0.9.0"), "{message}");
    assert!(changes_of_settings(&observed).is_empty() && stopped(&observed).is_empty());
    let notes = observed.cluster.metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_ALLOW_DOWNGRADE.to_owned(), "true".to_owned());
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
}

#[test]
fn an_image_of_unknown_version_is_tried_on_one_member_first() {
    let mut observed = tried(THREE, 2, 30);
    let since = ago(&observed, 20);
    set_ready(pod(&mut observed, 2), true, since);
    let serving = member(&mut recorded(THREE), 2).answer.clone();
    member(&mut observed, 2).answer = serving;
    report(&mut observed, 1).progress = report(&mut recorded(THREE), 1).progress.clone();
    for (version, reason) in [("2", "NotStalled"), ("0.1.0", "DowngradeRefused")] {
        report(&mut observed, 2).version = version.to_owned();
        assert_eq!(condition(&observed, "Stalled").1, reason, "it reports version {version}");
        assert_eq!(changes_of_settings(&observed).contains_key("demo-3"), reason == "NotStalled");
        let record = recorded_by(&observed).expect("the version is recorded");
        assert_eq!(record.version_of("raft-node:2"), version.parse().ok());
        assert_eq!(record.image, "raft-node:1", "the rollout is not complete");
    }
}

/// A program ends at a flag that it does not know.
#[test]
fn flags_that_protect_are_written_unless_the_image_is_known_to_lack_them() {
    for (version, written) in [(Some("0.0.9"), false), (Some("0.1.0"), true), (None, true)] {
        let mut observed = changed(THREE);
        let mut record = CompletedRollout::read(&observed).expect("it is recorded");
        record.versions.clear();
        if let Some(version) = version {
            record.note_version("raft-node:1", version, 1);
        }
        note(&mut observed, &record);
        observed.cluster.spec.replicas = 4;
        let set = created(&observed).pop().expect("a newcomer with the recorded image");
        let container = set.spec.expect("a spec").template.spec.expect("a pod").containers.remove(0);
        let has = |flag: &str| container.args.iter().flatten().any(|argument| argument.starts_with(flag));
        assert!(has("--name="), "every version has it");
        assert_eq!(has("--pre-vote="), written, "version {version:?}");
    }
}

#[test]
#[should_panic(expected = "a member on trial keeps its volume")]
fn the_deletion_of_a_volume_of_a_member_on_trial_is_caught() {
    let mut observed = tried(THREE, 2, 30);
    observed.configuration = parse(&format!("{THREE}\nconfiguration 7 voters a1 c3 removed b2")).configuration;
    let set = member(&mut observed, 2).set.as_mut().expect("a set");
    let policy = &mut set.spec.get_or_insert_default().persistent_volume_claim_retention_policy;
    policy.get_or_insert_default().when_deleted = Some("Delete".to_owned());
    let delete = ObjectAction::DeleteSet { set: plan::observed::Seen::of(&set.metadata) };
    plan::invariant::check(&observed, &[delete.into()]);
}
