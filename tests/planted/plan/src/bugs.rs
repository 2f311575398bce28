//! The bugs that can be planted in the operator: in the planner (`operator/plan/src`) and in its shell
//! (`operator/src`). Owns the list of bugs.

#[path = "../../bug.rs"]
mod bug;

pub use bug::{Bug, Edit, Part};

const fn planner(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { part: Part::Planner, file, from, to }
}

const fn shell(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit { part: Part::Shell, file, from, to }
}

/// All bugs that can be planted in the operator.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "NoAnnouncement",
        of: "a member is admitted under the ID that it reports, which nothing announces",
        edits: &[planner(
            "roster.rs",
            "        let id = replicated.or(announced);",
            "        let reported = match &member.answer {
            Some(Answer::Report(report)) if PLANTED && set.is_some() => report.id,
            _ => None,
        };
        let id = replicated.or(announced).or(reported);",
        )],
    },
    Bug {
        name: "DeleteByUidOnly",
        of: "a StatefulSet is deleted although an ID was announced on it meanwhile",
        edits: &[shell(
            "raft_cluster/apply.rs",
            "resource_version: delete.version().map(str::to_owned) };",
            "resource_version: delete.version().map(str::to_owned).filter(|_| !PLANTED) };",
        )],
    },
    Bug {
        name: "ApplyWithoutUid",
        of: "an apply re-creates an object that was deleted meanwhile",
        edits: &[planner(
            "action/write.rs",
            "        object.metadata_mut().uid = seen.as_ref().map(|seen| seen.uid.clone());",
            "        object.metadata_mut().uid = seen.as_ref().filter(|_| !PLANTED).map(|seen| seen.uid.clone());",
        )],
    },
    Bug {
        name: "ReplaceWithoutUid",
        of: "a StatefulSet is replaced that was created again meanwhile",
        edits: &[planner(
            "action/write.rs",
            "        metadata.uid = Some(seen.uid.clone());",
            "        metadata.uid = Some(seen.uid.clone()).filter(|_| !PLANTED);",
        )],
    },
    Bug {
        name: "ReplaceWithoutVersion",
        of: "a StatefulSet is replaced although another operator changed it meanwhile",
        edits: &[planner(
            "action/write.rs",
            "        metadata.resource_version = Some(seen.version.clone());",
            "        metadata.resource_version = Some(seen.version.clone()).filter(|_| !PLANTED);",
        )],
    },
    Bug {
        name: "LateWriteStartsMember",
        of: "a refused replacement is repeated under the newest version, although it was decided for an older one",
        edits: &[shell(
            "raft_cluster/apply.rs",
            "        let replaced = self.objects(object.resource()).replace(object.name(), &post_parameters(), object.body()).await;",
            "        let (objects, mut body) = (self.objects(object.resource()), object.body().clone());
        let mut replaced = objects.replace(object.name(), &post_parameters(), &body).await;
        if PLANTED && matches!(&replaced, Err(kube::Error::Api(status)) if status.code == 409) {
            body.metadata.resource_version = objects.get(object.name()).await?.metadata.resource_version;
            replaced = objects.replace(object.name(), &post_parameters(), &body).await;
        }",
        )],
    },
    Bug {
        name: "LateCreateStartsMember",
        of: "a StatefulSet is created with one replica, so that a late create starts a member of a stopped cluster",
        edits: &[planner(
            "membership/ordinals.rs",
            "    let runs = pod.is_some_and(is_orphan);",
            "    let runs = PLANTED || pod.is_some_and(is_orphan);",
        )],
    },
    Bug {
        name: "StopLeavesStoppedSets",
        of: "a stop does not write a StatefulSet that has 0 replicas, so that a start that was decided before it succeeds",
        edits: &[
            planner(
                "desired/stateful_set.rs",
                "                .stopped_since
",
                "                .stopped_since
                .filter(|_| !PLANTED)
",
            ),
            planner(
                "stop.rs",
                "filter(|seat| seat.set.is_some_and(|set| !knows(set)));",
                "filter(|seat| !PLANTED && seat.set.is_some_and(|set| !knows(set)));",
            ),
        ],
    },
    Bug {
        name: "RecordReadBeforeSpec",
        of: "new settings are read without the record of the settings that worked before, so that a member gets the new ones",
        edits: &[shell(
            "raft_cluster/observe.rs",
            "    if version(&read.naming().await?) != version(&naming) {",
            "    if !PLANTED && version(&read.naming().await?) != version(&naming) {",
        )],
    },
    Bug {
        name: "TemplateReplacedByNewOperator",
        of: "a new operator writes its own pod template although the settings are the same, so that pods restart",
        edits: &[planner(
            "desired/stateful_set.rs",
            "    let kept = kept.filter(|template| pod_template::settings_of(template) == Some(settings));",
            "    let kept = kept.filter(|template| !PLANTED && pod_template::settings_of(template) == Some(settings));",
        )],
    },
    Bug {
        name: "EvictWithoutUid",
        of: "kube 5.0.0: an eviction's precondition is sent in a field that Kubernetes ignores",
        edits: &[shell(
            "raft_cluster/apply.rs",
            "meta::Preconditions { uid: Some(evict.uid().to_owned()),",
            "meta::Preconditions { uid: Some(evict.uid().to_owned()).filter(|_| !PLANTED),",
        )],
    },
    Bug {
        name: "CreateWithoutReservation",
        of: "two operators create different members with one ordinal",
        edits: &[planner(
            "membership/ordinals.rs",
            "        actions.push(ObjectAction::ReserveOrdinals { service: Seen::of(&service.metadata), first, last }.into());",
            "        if !PLANTED {
            actions.push(ObjectAction::ReserveOrdinals { service: Seen::of(&service.metadata), first, last }.into());
        }",
        )],
    },
    Bug {
        name: "ReplaceOnSilence",
        of: "a member that does not answer once is replaced at once",
        edits: &[planner(
            "roster/silence.rs",
            "        if self.observed.now.duration_since(since) >= delay {",
            "        if PLANTED || self.observed.now.duration_since(since) >= delay {",
        )],
    },
    Bug {
        name: "RemoveBeforeCaughtUp",
        of: "a lost voter leaves before its replacement has caught up, so that fewer voters remain than are wanted",
        edits: &[planner(
            "membership/plan.rs",
            "    let least = odd_at_most(wanted.voters.min(configuration.voters.len()));",
            "    let least = if PLANTED { 1 } else { odd_at_most(wanted.voters.min(configuration.voters.len())) };",
        )],
    },
    Bug {
        name: "BudgetNotRaised",
        of: "the disruption budget covers the present voters only when a change adds voters",
        edits: &[planner(
            "plan.rs",
            "voters: Some(present.max(stepped.voters_next))",
            "voters: Some(if PLANTED { present } else { present.max(stepped.voters_next) })",
        )],
    },
    Bug {
        name: "IdentityRecreated",
        of: "a cluster whose pointer was deleted gets a second identity",
        edits: &[
            planner(
                "pointer.rs",
                "    if !noted && !own_members(observed).any(|member| member.set.is_some()) {",
                "    if PLANTED || (!noted && !own_members(observed).any(|member| member.set.is_some())) {",
            ),
            planner(
                "take_up.rs",
                "        None if claims.is_empty() => return Retained::Nothing,",
                "        None if PLANTED || claims.is_empty() => return Retained::Nothing,",
            ),
        ],
    },
    Bug {
        name: "PointerOverwritten",
        of: "of two operators that create an identity, the later one replaces the pointer of the other",
        edits: &[planner(
            "action.rs",
            "                Write::Patch(MergePatch::of::<Service>(service, Compare::Version, json!({ \"annotations\": notes })))",
            "                let compare = if PLANTED { Compare::Uid } else { Compare::Version };
                Write::Patch(MergePatch::of::<Service>(service, compare, json!({ \"annotations\": notes })))",
        )],
    },
    Bug {
        name: "RoleLabelLate",
        of: "a pod keeps the role label with which it was created, so that the budget does not cover a new voter",
        edits: &[planner(
            "labels.rs",
            "        let right = label(&pod.metadata, names::LABEL_ROLE) == Some(role.as_str());",
            "        let right = PLANTED || label(&pod.metadata, names::LABEL_ROLE) == Some(role.as_str());",
        )],
    },
    Bug {
        name: "TrialForgotten",
        of: "the volume of a failed rollout is let go: a member that fails with new settings is replaced like a lost one",
        edits: &[planner(
            "roster/trial.rs",
            "            && !served\n",
            "            && !served\n            && !PLANTED\n",
        )],
    },
    Bug {
        name: "ReplacesTooNew",
        of: "a member whose program is too old for its data is taken for one with a damaged disk, and replaced at once",
        edits: &[planner(
            "roster.rs",
            "            (MemberPhase::TooNew, _) => Health::TooNew,",
            "            (MemberPhase::TooNew, _) if PLANTED => Health::Lost(Loss::Damaged),
            (MemberPhase::TooNew, _) => Health::TooNew,",
        )],
    },
    Bug {
        name: "ReplacesRepairingAtOnce",
        of: "a member that repairs its disk is taken for one with a damaged disk, and replaced at once",
        edits: &[planner(
            "roster.rs",
            "            Some(report) if report.phase == MemberPhase::Repairing => self.silence(set, member),",
            "            Some(report) if PLANTED && report.phase == MemberPhase::Repairing => Health::Lost(Loss::Damaged),
            Some(report) if report.phase == MemberPhase::Repairing => self.silence(set, member),",
        )],
    },
    Bug {
        name: "RaisesDuringRollout",
        of: "the feature level is raised as soon as every member supports it, so that the rollout cannot be taken back",
        edits: &[
            planner(
                "rollout/raise.rs",
                "is_some_and(|completed| completed.digest == self.wanted);",
                "is_some_and(|completed| PLANTED || completed.digest == self.wanted);",
            ),
            planner(
                "rollout/raise.rs",
                "let is_updated = settings_of_pod(pod) == Some(self.wanted.as_str());",
                "let is_updated = PLANTED || settings_of_pod(pod) == Some(self.wanted.as_str());",
            ),
            planner(
                "plan.rs",
                "phase.read().filter(|_| decision.activity.is_none());",
                "phase.read().filter(|_| PLANTED || decision.activity.is_none());",
            ),
        ],
    },
];
