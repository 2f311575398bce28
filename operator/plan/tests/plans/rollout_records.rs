//! What is recorded and reported about a rollout in corner cases: removed members, pods that end, tags that moved, a
//! member that crashed once, moves to another StorageClass.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::action::ObjectAction;
use plan::names::{self, Ordinal};
use plan::observed::Observed;

use crate::observed::parse;
use crate::rollout_cases::{
    ONE, THREE, ago, annotate, carry_out, changed, changes_of_settings, condition, crashed, member, note, planned, pod,
    recorded, recorded_by, replaces, report, set_ready, stopped, tried, unrecorded, wanted, write_settings, writes,
};

/// The member serves again, with a pod that has been ready for `seconds`.
fn serves(mut observed: Observed, ordinal: u32, seconds: i64) -> Observed {
    let before = recorded(THREE);
    member(&mut observed, ordinal).answer = before.members[&Ordinal(ordinal)].answer.clone();
    report(&mut observed, 1).progress = report(&mut before.clone(), 1).progress.clone();
    let since = ago(&observed, seconds);
    set_ready(pod(&mut observed, ordinal), true, since);
    observed
}

/// Lets every member run the settings and the image of the spec.
fn run_wanted(observed: &mut Observed) {
    let (settings, image) = (wanted(observed), observed.cluster.spec.image.clone().expect("it names one"));
    for member in observed.members.values_mut() {
        write_settings(member.set.as_mut().expect("a set"), &settings);
        let pod = member.pod.as_mut().expect("a pod");
        annotate(pod, names::ANNOTATION_SETTINGS, &settings);
        annotate(pod, names::ANNOTATION_IMAGE, &image);
    }
}

/// A cluster of three, of which demo-4 was removed. Its pod has former settings.
fn with_removed(text: &str) -> Observed {
    recorded(&format!("{THREE}\nconfiguration 7 voters a1 b2 c3 removed d4\nmember 4 removed d4 announced d4 {text}"))
}

/// Otherwise its settings would be lost when a person only changes the spec.
#[test]
fn a_change_of_the_spec_does_not_touch_the_record() {
    assert_eq!(recorded_by(&changed(THREE)), None);
}

#[test]
fn the_versions_of_former_images_stay_in_the_record() {
    let mut observed = changed(THREE);
    run_wanted(&mut observed);
    let record = recorded_by(&observed).expect("the rollout is complete");
    assert_eq!(record.image, "raft-node:2");
    for image in ["raft-node:1", "raft-node:2"] {
        assert!(record.version_of(image).is_some(), "{image}");
    }
}

#[test]
fn a_refused_downgrade_is_not_recorded_as_complete() {
    let mut observed = changed(ONE);
    run_wanted(&mut observed);
    report(&mut observed, 1).version = "0.9".to_owned();
    assert_eq!(condition(&observed, "Stalled").1, "DowngradeRefused");
    let record = recorded_by(&observed).expect("the version is noted");
    assert_eq!(record.image, "raft-node:1");
    let message = planned(&observed).status.rollout.and_then(|rollout| rollout.message).expect("it says why");
    assert!(message.contains("raft-node:2") && message.contains("0.9.0"), "{message}");
}

/// A tag moved while members restarted. What the newer program wrote is on disk.
#[test]
fn the_higher_one_of_two_versions_of_an_image_counts() {
    let mut observed = recorded(THREE);
    for (ordinal, version) in [(1, "1"), (2, "3.1"), (3, "2")] {
        report(&mut observed, ordinal).version = version.to_owned();
    }
    let record = recorded_by(&observed).expect("the version is noted");
    assert_eq!(record.version_of("raft-node:1"), "3.1".parse().ok());
}

#[test]
fn a_member_that_is_not_ready_completes_no_rollout() {
    let mut observed = changed(THREE);
    run_wanted(&mut observed);
    let image = |observed: &Observed| recorded_by(observed).map(|record| record.image);
    assert_eq!(image(&observed).as_deref(), Some("raft-node:2"));
    let since = ago(&observed, 60);
    set_ready(pod(&mut observed, 3), false, since);
    assert_ne!(image(&observed).as_deref(), Some("raft-node:2"));
}

/// A cluster of a former version is upgraded together with its image while a member is unwell. That member is the first to
/// restart, and has nothing to return to unless what all of them run was recorded.
#[test]
fn without_a_record_a_majority_that_serves_completes_a_rollout() {
    for sick in [3, 2] {
        let mut observed = unrecorded(THREE);
        let since = ago(&observed, 60);
        set_ready(pod(&mut observed, sick), false, since);
        observed.cluster.spec.image = Some("raft-node:2".to_owned());
        assert!(changes_of_settings(&observed).is_empty() && stopped(&observed).is_empty(), "the record comes first");
        let record = recorded_by(&observed).expect("a majority serves");
        assert_eq!(record.image, "raft-node:1");
        note(&mut observed, &record);
        assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), [format!("demo-{sick}")]);
    }
    let mut observed = unrecorded(THREE);
    for (ordinal, settings) in [(3, "others"), (2, "still others")] {
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, settings);
        assert_eq!(recorded_by(&observed), None, "members run different settings");
    }
    let (mut observed, since) = (unrecorded(THREE), ago(&unrecorded(THREE), 60));
    for ordinal in [2, 3] {
        set_ready(pod(&mut observed, ordinal), false, since);
    }
    assert_eq!(recorded_by(&observed), None, "one of three serves");
}

/// A member served with an image that then failed at another one and was taken back. The image is tried again under the
/// same tag.
#[test]
fn settings_that_are_tried_again_are_on_trial_again() {
    let mut observed = serves(tried(THREE, 2, 30), 2, 20);
    annotate(pod(&mut observed, 2), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    carry_out(&mut observed);
    observed.cluster.spec.image = None;
    carry_out(&mut observed);
    let former = wanted(&observed);
    *pod(&mut observed, 2) = pod(&mut recorded(THREE), 2).clone();
    annotate(pod(&mut observed, 2), names::ANNOTATION_SETTINGS, &former);
    observed.cluster.spec.image = Some("raft-node:2".to_owned());
    carry_out(&mut observed);
    let noted = member(&mut observed, 2).set.as_ref().and_then(|set| set.metadata.annotations.clone());
    assert!(!noted.expect("notes").contains_key(names::ANNOTATION_TRIAL_ENDED));
    let mut again = tried(THREE, 2, 800);
    member(&mut again, 2).set = member(&mut observed, 2).set.clone();
    assert!(!replaces(&again), "it is on trial");
}

#[test]
fn a_removed_member_belongs_to_no_rollout() {
    let mut observed = with_removed("outdated terminating");
    assert_ne!(condition(&observed, "Reconciling").1, "RollingOut", "its pod ends");
    observed.cluster.spec.image = Some("raft-node:2".to_owned());
    let rollout = planned(&observed).status.rollout.expect("it is reported");
    assert_eq!((rollout.updated, rollout.total), (Some(0), Some(3)));
    for ordinal in [1, 2, 3] {
        let settings = wanted(&observed);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, &settings);
    }
    assert_eq!(recorded_by(&observed).map(|record| record.image).as_deref(), Some("raft-node:2"));
}

/// Its objects wait for its volume before they are deleted.
#[test]
fn a_removed_member_does_not_restart() {
    let observed = with_removed("outdated");
    assert_eq!(stopped(&observed), [""; 0]);
    assert_ne!(condition(&observed, "Reconciling").1, "RollingOut");
}

/// A person deleted the StatefulSet and left the pod. The StatefulSet is created again first.
#[test]
fn a_pod_without_a_stateful_set_does_not_restart() {
    let mut observed = changed(THREE);
    member(&mut observed, 2).set = None;
    let (_, _, message) = condition(&observed, "Reconciling");
    assert!(message.contains("2 members are to restart with new settings, demo-3 first"), "{message}");
}

/// A claim that was retained has a seat, and nothing serves on it.
#[test]
fn a_retained_volume_stops_no_rollout() {
    let observed = changed(&format!("{THREE}\nmember 4 no-set labelled d4 given-up"));
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
}

#[test]
fn a_rollout_ends_with_the_record() {
    let mut observed = changed(THREE);
    run_wanted(&mut observed);
    let rollout = planned(&observed).status.rollout.expect("it is not recorded yet");
    assert_eq!((rollout.updated, rollout.total), (Some(3), Some(3)));
    let record = recorded_by(&observed).expect("every member serves");
    note(&mut observed, &record);
    assert_eq!(planned(&observed).status.rollout, None);
}

#[test]
fn the_last_member_is_waited_for_until_it_has_served() {
    let mut observed = serves(tried(THREE, 2, 30), 2, 5);
    for ordinal in [1, 3] {
        let settings = wanted(&observed);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, &settings);
    }
    let (_, reason, message) = condition(&observed, "Reconciling");
    assert_eq!(reason, "RollingOut");
    assert!(message.contains("demo-2 has served for 10 s"), "{message}");
}

/// With former settings, the change is pending, also if its StatefulSet does not have the new ones yet.
#[test]
fn a_pod_that_is_drained_is_waited_for_only_if_it_has_former_settings() {
    for (mut observed, reason) in [(recorded(ONE), "UpToDate"), (changed(ONE), "RollingOut")] {
        let now = observed.now;
        pod(&mut observed, 1).metadata.deletion_timestamp = Some(Time(now));
        assert_eq!(condition(&observed, "Reconciling").1, reason);
        assert_eq!(stopped(&observed), [""; 0]);
    }
}

/// It ended once, for example because a name could not be resolved, and was started again.
#[test]
fn a_member_that_crashed_once_and_is_ready_fails_nothing() {
    let observed = crashed(THREE, 2, 1, "no such host");
    let mut ready = serves(observed.clone(), 2, 1);
    assert_ne!(condition(&ready, "Degraded").1, "RolloutFailed");
    let since = ago(&ready, 1);
    set_ready(pod(&mut ready, 2), false, since);
    assert_eq!(condition(&ready, "Degraded").1, "RolloutFailed", "it is heard, but it is not ready");
}

#[test]
fn the_pod_of_a_member_that_served_is_not_marked_while_it_ends() {
    let mut observed = serves(tried(THREE, 2, 30), 2, 20);
    let marked =
        |observed: &Observed| writes(observed).iter().any(|write| matches!(write, ObjectAction::NoteServed { .. }));
    assert!(marked(&observed));
    let now = observed.now;
    pod(&mut observed, 2).metadata.deletion_timestamp = Some(Time(now));
    assert!(!marked(&observed));
}

#[test]
fn a_member_on_trial_without_a_pod_is_not_replaced_unless_its_claim_goes() {
    let mut observed = tried(THREE, 2, 800);
    member(&mut observed, 2).pod = None;
    assert!(!replaces(&observed), "its pod is being created with the settings of its StatefulSet");
    let now = observed.now;
    member(&mut observed, 2).volume.as_mut().expect("a claim").metadata.deletion_timestamp = Some(Time(now));
    assert!(replaces(&observed), "a person gave its volume up");
}

/// A person must act, with a leader or without. While members are added, something still happens.
#[test]
fn a_failure_with_a_reason_stalls_a_cluster_in_which_nothing_else_happens() {
    assert_eq!(condition(&crashed(ONE, 1, 2, "bad flag"), "Stalled").1, "RolloutFailed");
    let mut grows = crashed(THREE, 2, 2, "bad flag");
    assert_eq!(condition(&grows, "Stalled").1, "RolloutFailed");
    grows.cluster.spec.replicas = 5;
    assert_eq!(condition(&grows, "Stalled").0, "False");
    assert_eq!(condition(&grows, "Degraded").1, "RolloutFailed");
}

/// The StorageClass changes, too. The member may serve again with its former settings.
#[test]
fn a_member_on_trial_does_not_move() {
    let mut observed = serves(tried(THREE, 2, 30), 2, 5);
    observed.cluster.spec.storage.storage_class_name = Some("fast".to_owned());
    for ordinal in [1, 2, 3] {
        let claim = member(&mut observed, ordinal).volume.as_mut().expect("a claim");
        claim.spec.get_or_insert_default().storage_class_name = Some("slow".to_owned());
        let settings = wanted(&observed);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, &settings);
    }
    assert!(!replaces(&observed), "demo-2 has to serve first");
    annotate(pod(&mut observed, 2), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    assert!(replaces(&observed), "demo-3 moves");
    // A new member was created before demo-3 restarted, because it did not start, and is not needed any more.
    let more = parse("identity a1 b2 c3\nmember 4 blank d4 class fast");
    let mut begun = tried(THREE, 3, 800);
    begun.cluster.spec.storage.storage_class_name = Some("fast".to_owned());
    for (ordinal, class) in [(1, "fast"), (2, "fast"), (3, "slow")] {
        let claim = member(&mut begun, ordinal).volume.as_mut().expect("a claim");
        claim.spec.get_or_insert_default().storage_class_name = Some(class.to_owned());
    }
    begun.members.insert(Ordinal(4), more.members[&Ordinal(4)].clone());
    let announced =
        |observed: &Observed| writes(observed).iter().any(|write| matches!(write, ObjectAction::Announce { .. }));
    assert!(!announced(&begun), "demo-4 is not admitted");
    annotate(pod(&mut begun, 3), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    assert!(announced(&begun), "demo-3 is replaced");
}

/// The machine of the member is lost later, and the new pod lacks the annotation of the former one.
#[test]
fn a_member_that_has_served_is_not_on_trial_in_its_next_pod() {
    let mut observed = serves(tried(THREE, 2, 30), 2, 20);
    annotate(pod(&mut observed, 2), names::ANNOTATION_SERVED, "2027-01-15T08:00:00Z");
    carry_out(&mut observed);
    let mut lost = tried(THREE, 2, 800);
    assert!(!replaces(&lost), "it is on trial");
    let notes = |observed: &mut Observed| member(observed, 2).set.clone().and_then(|set| set.metadata.annotations);
    let ended = notes(&mut observed).and_then(|notes| notes.get(names::ANNOTATION_TRIAL_ENDED).cloned());
    let set = member(&mut lost, 2).set.as_mut().expect("a set");
    let notes = set.metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_TRIAL_ENDED.to_owned(), ended.expect("it is noted"));
    assert!(replaces(&lost), "it has served");
}
