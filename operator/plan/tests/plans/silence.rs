//! Silence: since when a member answers neither the operator nor the leader, and which members were heard.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use plan::names::Ordinal;
use plan::observed::Observed;
use plan::observed::member::Answer;

use crate::observed::parse;
use crate::rollout_cases::{ago, member, pod, replaces};

/// The member is silent for a second, and its pod has not been ready for an hour.
fn silent() -> Observed {
    let mut observed = parse("identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 silent 1");
    let since = ago(&observed, 3600);
    let conditions = &mut pod(&mut observed, 3).status.get_or_insert_default().conditions;
    let wait = |condition: &mut PodCondition, since: Timestamp| condition.last_transition_time = Some(Time(since));
    conditions.iter_mut().flatten().for_each(|condition| wait(condition, since));
    observed
}

/// A member may serve for hours although its pod is not ready. It was then replaced as soon as it was cut off for a
/// moment.
#[test]
fn silence_counts_from_the_time_at_which_the_member_was_heard_last() {
    let mut observed = silent();
    assert!(replaces(&observed), "an operator that has just started knows only the pod");
    for (seconds, gone) in [(59, false), (60, true)] {
        member(&mut observed, 3).heard = Some(ago(&observed, seconds));
        assert_eq!(replaces(&observed), gone, "it was heard {seconds} s ago, and the replacement delay is 60 s");
    }
}

#[test]
fn a_member_is_heard_by_the_operator_or_by_the_leader() {
    let mut observed = silent();
    let heard = |observed: &Observed| observed.heard().into_keys().collect::<Vec<_>>();
    assert_eq!(heard(&observed), [Ordinal(1), Ordinal(2)]);
    let unheard = member(&mut observed, 3).answer.clone();
    member(&mut observed, 2).answer = unheard.clone();
    assert_eq!(heard(&observed), [Ordinal(1), Ordinal(2)], "the leader receives its answers");
    member(&mut observed, 1).answer = unheard;
    assert!(observed.heard().is_empty(), "the leader does not answer");
    let alone = parse("identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 alone b2\nmember 3 silent 1");
    assert_eq!(heard(&alone), [Ordinal(1), Ordinal(2)], "it answers the operator");
}

/// A repair may take longer than the replacement delay, and its process may end meanwhile. The pod has not been ready
/// since the repair began.
#[test]
fn a_member_that_repairs_its_disk_is_heard_when_the_repair_made_progress_last() {
    let mut observed = silent();
    let repairing = |stalled: u64| {
        let text = format!("member 3 repairing c3 stalled {stalled}");
        parse(&text).members.remove(&Ordinal(3)).and_then(|member| member.answer)
    };
    for (stalled, gone) in [(59, false), (60, true)] {
        member(&mut observed, 3).answer = repairing(stalled);
        assert_eq!(observed.heard()[&Ordinal(3)], Duration::from_secs(stalled));
        assert_eq!(replaces(&observed), gone, "nothing has arrived for {stalled} s");
    }
    let since = observed.now;
    member(&mut observed, 3).answer = Some(Answer::Silent { since, error: "its process ended".to_owned() });
    assert!(replaces(&observed), "an operator that has just started knows only the pod");
    member(&mut observed, 3).heard = Some(ago(&observed, 7));
    assert!(!replaces(&observed), "the repair made progress 7 s ago");
    member(&mut observed, 3).heard = None;
    member(&mut observed, 3).answer = repairing(u64::MAX);
    assert!(replaces(&observed), "no time is too long");
}
