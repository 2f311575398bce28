//! Feature levels: members whose programs are too old for their data.

use crds::raft_cluster::MemberHealth;
use plan::names::Ordinal;
use plan::observed::Observed;
use plan::observed::member::Answer;

use crate::observed::parse;
use crate::rollout_cases::{
    ONE, THREE, carry_out, changes_of_settings, condition, member, planned, replaces, stopped, tried, wanted,
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
