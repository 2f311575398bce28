//! Feature levels: when the level rises, which images are refused because of it, and members whose programs are too
//! old.

use crds::raft_cluster::MemberHealth;
use plan::action::{Action, MemberAction};
use plan::completed::CompletedRollout;
use plan::names::{self, Ordinal};
use plan::observed::Observed;
use plan::observed::member::Answer;

use crate::observed::parse;
use crate::rollout_cases::{
    ONE, THREE, ago, annotate, carry_out, changed, changes_of_settings, condition, member, note, planned, pod,
    recorded, recorded_by, replaces, report, set_ready, stopped, tried, unrecorded, wanted, write_settings,
};

/// The member answers that its program is too old for its data.
fn too_new(observed: &mut Observed, ordinal: u32) {
    let mut said =
        parse("member 1 too-new a1").members.remove(&Ordinal(1)).and_then(|it| it.answer).expect("it answers");
    if let Answer::Report(report) = &mut said {
        report.error = Some("start a newer version".to_owned());
    }
    member(observed, ordinal).answer = Some(said);
}

#[test]
fn a_member_that_is_too_old_for_its_data_fails_the_rollout_and_can_be_taken_back() {
    for (text, ordinal) in [(ONE, 1), (THREE, 2)] {
        let mut observed = tried(text, ordinal, 1_000_000);
        too_new(&mut observed, ordinal);
        let (_, reason, message) = condition(&observed, "Stalled");
        assert_eq!(reason, "RolloutFailed");
        assert!(message.contains("too old for its data: start a newer version"), "{message}");
        assert!(!replaces(&observed) && stopped(&observed).is_empty());
        observed.cluster.spec.image = None;
        let (name, settings) = (format!("demo-{ordinal}"), wanted(&observed));
        assert_eq!(changes_of_settings(&observed), [(name.clone(), settings)].into());
        carry_out(&mut observed);
        assert_eq!(stopped(&observed), [format!("{name}-0")]);
    }
}

#[test]
fn members_that_are_too_old_or_repair_their_disks_are_reported_so() {
    let text =
        "identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 too-new b2\nmember 3 repairing c3 stalled 100";
    let members = planned(&parse(text)).status.members;
    let health: Vec<_> = members.iter().filter_map(|member| member.health).collect();
    assert_eq!(health, [MemberHealth::Healthy, MemberHealth::TooNew, MemberHealth::Repairing]);
    let message = members[2].message.as_deref().unwrap_or_default();
    assert!(message.contains("5 of 9 bytes") && message.contains("100 s"), "{message}");
}

/// Three members that serve, each with a program that supports level 2.
const NEW: &str = "identity a1 b2 c3 formed\nmember 1 is a1 leader labelled a1 supports 2\nmember 2 is b2 labelled b2 supports 2\nmember 3 is c3 labelled c3 supports 2";

/// The same cluster at level 2.
fn raised() -> Observed {
    recorded(&NEW.replace("supports 2", "supports 2 level 2"))
}

/// The level to which a plan raises the feature level.
fn raise(observed: &Observed) -> Option<u32> {
    planned(observed).actions.iter().find_map(|action| match action {
        Action::Call(MemberAction::RaiseFeatureLevel { to, .. }) => Some(*to),
        _ => None,
    })
}

fn note_support(observed: &mut Observed, image: &str, version: &str, supports: u32) {
    let mut record = CompletedRollout::read(observed).expect("it is recorded");
    record.note_version(image, version, supports);
    note(observed, &record);
}

#[test]
fn the_level_rises_once_the_rollout_is_recorded() {
    let observed = unrecorded(NEW);
    assert!(recorded_by(&observed).is_some() && raise(&observed).is_none(), "it is recorded first");
    let observed = recorded(NEW);
    assert_eq!((raise(&observed), raise(&raised())), (Some(2), None));
    assert_eq!(planned(&observed).status.feature_level, Some(1));
    assert_eq!(planned(&raised()).status.feature_level, Some(2));
}

/// Members of a former version say nothing of levels.
#[test]
fn nothing_is_raised_or_noted_while_members_support_the_first_level_only() {
    let observed = recorded(THREE);
    assert_eq!((raise(&observed), recorded_by(&observed)), (None, None));
    let record = CompletedRollout::read(&observed).expect("it is recorded");
    assert!(!record.to_annotation().contains("level") && !record.to_annotation().contains("supports"));
}

#[test]
fn one_member_holds_the_level_back() {
    let learner = "replicas 4\nconfiguration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 labelled d4 announced d4";
    let four = format!("{NEW}\n{learner} supports 2");
    assert_eq!(raise(&recorded(&four)), Some(2));
    let mut silent = recorded(&four);
    let since = silent.now;
    member(&mut silent, 4).answer = Some(Answer::Silent { since, error: "the operator cannot reach it".to_owned() });
    let mut old = recorded(&four);
    report(&mut old, 4).supports = 1;
    let mut fresh = recorded(&four);
    let just_now = ago(&fresh, 9);
    set_ready(pod(&mut fresh, 4), true, just_now);
    let mut other = recorded(&four);
    annotate(pod(&mut other, 4), names::ANNOTATION_SETTINGS, "others");
    for (observed, why) in [(silent, "silent"), (old, "old"), (fresh, "just started"), (other, "runs other settings")] {
        assert_eq!(raise(&observed), None, "the learner is {why}");
    }
}

/// Until a rollout is recorded it can be taken back.
#[test]
fn the_level_does_not_rise_during_a_rollout() {
    let mut observed = recorded(NEW);
    observed.cluster.spec.image = Some("raft-node:2".to_owned());
    assert_eq!(raise(&observed), None, "the rollout begins");
    let settings = wanted(&observed);
    for ordinal in 1..=3 {
        write_settings(member(&mut observed, ordinal).set.as_mut().expect("a set"), &settings);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_SETTINGS, &settings);
        annotate(pod(&mut observed, ordinal), names::ANNOTATION_IMAGE, "raft-node:2");
    }
    let record = recorded_by(&observed).expect("it is complete");
    assert_eq!(raise(&observed), None, "it is recorded in this pass");
    note(&mut observed, &record);
    assert_eq!(raise(&observed), Some(2));
    observed.cluster.spec.replicas = 5;
    assert_eq!(raise(&observed), None, "members are added");
}

#[test]
fn the_level_is_noted_with_the_support_of_each_image() {
    let record = CompletedRollout::read(&raised()).expect("it is recorded");
    assert_eq!((record.level, record.support_of("raft-node:1")), (Some(2), Some(2)));
    let mut observed = raised();
    observed.configuration = None;
    for ordinal in 1..=3 {
        let since = observed.now;
        member(&mut observed, ordinal).answer = Some(Answer::Silent { since, error: String::new() });
    }
    assert_eq!(planned(&observed).status.feature_level, Some(2), "no member answers");
}

/// Versions of the first levels: what says only its version supports the first one before 0.3.0.
#[test]
fn an_image_that_does_not_support_the_level_is_refused() {
    let refused = |version: &str, supports, allowed: bool| {
        let mut observed = raised();
        observed.cluster.spec.image = Some("raft-node:2".to_owned());
        note_support(&mut observed, "raft-node:2", version, supports);
        if allowed {
            let notes = observed.cluster.metadata.annotations.get_or_insert_default();
            notes.insert(names::ANNOTATION_ALLOW_DOWNGRADE.to_owned(), "true".to_owned());
        }
        let (_, reason, message) = condition(&observed, "Stalled");
        assert_eq!(changes_of_settings(&observed).is_empty(), reason == "DowngradeRefused", "{message}");
        assert_eq!(raise(&observed), None);
        (reason == "DowngradeRefused").then_some(message)
    };
    for allowed in [false, true] {
        let message = refused("0.2.0", 1, allowed).expect("no member could start");
        assert!(message.contains("supports feature level 1") && message.contains("at level 2"), "{message}");
    }
    assert_eq!(refused("0.9.0", 2, false), None, "its version is lower, and it supports the level");
    assert_eq!(refused("", 1, false), None, "one member tries what is not known");
    let message = refused("0.9.0", 1, false).expect("it is not known to support levels");
    assert!(message.contains("version 0.9.0"), "{message}");
    assert_eq!(refused("0.9.0", 1, true), None, "a person allows it");
}

/// The member that tried the image says what the image supports.
#[test]
fn an_image_that_was_tried_in_vain_is_refused_by_level_and_can_be_corrected() {
    let mut observed = tried(&NEW.replace("supports 2", "supports 2 level 2"), 2, 30);
    too_new(&mut observed, 2);
    let (_, reason, message) = condition(&observed, "Stalled");
    assert_eq!(reason, "DowngradeRefused", "{message}");
    assert!(changes_of_settings(&observed).is_empty() && stopped(&observed).is_empty() && !replaces(&observed));
    observed.cluster.spec.image = Some("raft-node:3".to_owned());
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
}

/// An operator that knows no levels wrote the record.
#[test]
fn levels_of_a_former_record_are_those_that_members_report() {
    let mut observed = raised();
    let mut record = CompletedRollout::read(&observed).expect("it is recorded");
    (record.level, record.versions) = (None, Vec::new());
    note(&mut observed, &record);
    let again = recorded_by(&observed).expect("it is noted again");
    assert_eq!((again.level, again.support_of("raft-node:1")), (Some(2), Some(2)));
    let mut refused = changed(THREE);
    report(&mut refused, 1).level = 2;
    note_support(&mut refused, "raft-node:2", "0.2.0", 1);
    assert_eq!(condition(&refused, "Stalled").1, "DowngradeRefused");
}
