//! Carries out what was planned, in order. Owns how each action is done and what its failure means for the rest; decides
//! nothing that the plan does not say.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource};
use plan::action::{Action, Object, OnFailure};
use plan::ids::Token;
use plan::names::{self, FIELD_MANAGER, Ordinal};
use plan::observed::{Observed, Refusal, Seen};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::observe;
use crate::context::Context;
use crate::member::client::{CallError, Member};

/// How soon to look again after something was done.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// What came of a plan's actions.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// At least one action was carried out.
    pub(super) did_something: bool,
    /// What was carried out and is worth telling.
    pub(super) done: Vec<Action>,
    /// What failed, in words.
    pub(super) failures: Vec<String>,
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
enum ActError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the member has no pod to call")]
    NoPod,
    /// Somebody else was there first, or the object is another one by now: to be looked at again, and no failure.
    #[error("the world moved on meanwhile")]
    MovedOn,
    /// The leader waits for a member, and it takes as long as it takes: to be looked at again, but not at once.
    #[error("the leader waits for a member to catch up")]
    NotYet,
}

/// What came of an action that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Something is not as it was.
    Changed,
    /// All is as it was: looking again at once would show the same, for ever.
    AsItWas,
}

impl Effect {
    fn of_apply(seen: Option<&ObjectMeta>, now: &ObjectMeta) -> Self {
        let is_same = seen.is_some_and(|seen| {
            seen.uid == now.uid && seen.resource_version.is_some() && seen.resource_version == now.resource_version
        });
        if is_same { Self::AsItWas } else { Self::Changed }
    }

    /// That it exists already is success.
    fn of_create(outcome: Result<(), kube::Error>) -> Result<Self, ActError> {
        match outcome {
            Ok(()) => Ok(Self::Changed),
            Err(error) if code(&error) == Some(409) => Ok(Self::AsItWas),
            Err(error) => Err(error.into()),
        }
    }
}

/// Carries the actions out.
pub(super) async fn in_order(actions: &[Action], observed: &Observed, context: &Context) -> Applied {
    let hand = Hand { observed, context, token: observe::token(observed) };
    let mut applied = Applied::default();
    for action in actions {
        let outcome = hand.act(action).await;
        let name = name(action);
        context.metrics.acted(name, outcome.as_ref().err().map(|error| error as _));
        match outcome {
            Ok(Effect::AsItWas) => {
                tracing::info!(cluster = hand.cluster(), action = name, about = %about(action), "all is as it was");
            }
            Ok(Effect::Changed) => {
                tracing::info!(cluster = hand.cluster(), action = name, about = %about(action), "done");
                applied.did_something |= shows_soon(action);
                applied.done.push(action.clone());
            }
            Err(ActError::MovedOn) => {
                tracing::info!(cluster = hand.cluster(), action = name, about = %about(action), "the world moved on: looks again");
                applied.did_something = true;
                break;
            }
            Err(ActError::NotYet) => {
                tracing::info!(cluster = hand.cluster(), action = name, about = %about(action), "not yet: looks again later");
                break;
            }
            Err(error) => {
                tracing::warn!(cluster = hand.cluster(), action = name, about = %about(action), %error, "failed");
                applied.failures.push(format!("{} {}: {error}", words(action), about(action)));
                if action.on_failure() == OnFailure::Stop {
                    break;
                }
            }
        }
    }
    applied
}

struct Hand<'h> {
    observed: &'h Observed,
    context: &'h Context,
    token: Option<Token>,
}

impl Hand<'_> {
    fn cluster(&self) -> &str {
        self.observed.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        let namespace = self.observed.cluster.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.context.client.clone(), namespace)
    }

    async fn act(&self, action: &Action) -> Result<Effect, ActError> {
        match action {
            Action::Apply(object) => return self.apply_one(object).await,
            Action::CreateSet { ordinal, set } => return self.create_set(*ordinal, set).await,
            Action::ReserveOrdinals { service, first, last } => self.reserve(service, *first, *last).await,
            Action::CreateRecord(secret) => self.create_record(secret).await,
            Action::NoteFormed { service, cluster } => {
                self.annotate::<Service>(service, names::ANNOTATION_FORMED, cluster.to_string()).await
            }
            Action::Announce { set, id } => {
                self.annotate::<StatefulSet>(set, names::ANNOTATION_MEMBER_ID, id.to_string()).await
            }
            Action::LabelVolume { volume, cluster, id } => {
                let labels =
                    json!({ names::LABEL_CLUSTER_ID: cluster.to_string(), names::LABEL_MEMBER_ID: id.to_string() });
                self.label::<PersistentVolumeClaim>(volume, labels).await
            }
            Action::LabelPod { pod, role } => self.label::<Pod>(pod, json!({ names::LABEL_ROLE: role.as_str() })).await,
            Action::DeleteSet { set } => self.delete_set(set).await,
            Action::DeletePod { pod } => {
                let seen = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
                let parameters = DeleteParams { preconditions: Some(seen), ..DeleteParams::default() };
                settled(self.api::<Pod>().delete(&pod.name, &parameters).await.map(|_| ()))
            }
            Action::EvictPod { pod } => {
                let seen = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
                let delete = DeleteParams { preconditions: Some(seen), ..DeleteParams::default() };
                let parameters = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
                settled(self.api::<Pod>().evict(&pod.name, &parameters).await.map(|_| ()))
            }
            _ => self.call(action).await,
        }
        .map(|()| Effect::Changed)
    }

    async fn apply_one(&self, object: &Object) -> Result<Effect, ActError> {
        let (services, members) = (&self.observed.services, self.observed.members.values());
        match object {
            Object::Service(service) => {
                let seen = [&services.client, &services.read, &services.members];
                self.apply(&**service, seen.into_iter().flatten()).await
            }
            Object::Budget(budget) => self.apply(&**budget, self.observed.budget.iter()).await,
            Object::Set(set) => self.apply(&**set, members.filter_map(|member| member.set.as_ref())).await,
        }
    }

    /// Nothing changes where another manager holds what is not applied, such as one more port: that is as it was, however
    /// often it is applied.
    async fn apply<'s, K>(&self, object: &K, seen: impl Iterator<Item = &'s K>) -> Result<Effect, ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned
            + 's,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let seen = seen.map(Resource::meta).find(|seen| seen.name == object.meta().name);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.api::<K>().patch(&name, &parameters, &Patch::Apply(object)).await {
            Ok(live) => Ok(Effect::of_apply(seen, live.meta())),
            // The object that was seen is gone, or is another one by now.
            Err(error) if object.meta().uid.is_some() && matches!(code(&error), Some(404 | 409)) => {
                Err(ActError::MovedOn)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever wins the compare-and-swap may use the ordinals, and nobody else.
    async fn reserve(&self, service: &Seen, first: Ordinal, last: Ordinal) -> Result<(), ActError> {
        self.annotate::<Service>(service, names::ANNOTATION_LAST_ORDINAL, last.to_string()).await?;
        self.context.remember(self.observed.uid(), |memory| {
            memory.reserved.extend((first.0..=last.0).map(Ordinal));
        });
        Ok(())
    }

    async fn create_set(&self, ordinal: Ordinal, set: &StatefulSet) -> Result<Effect, ActError> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let outcome = self.api().create(&parameters, set).await;
        // An ordinal is used up unless the API said clearly that nothing was created: a lost reply may hide a success.
        let refused =
            matches!(&outcome, Err(error) if matches!(code(error), Some(400..=499)) && code(error) != Some(409));
        if !refused {
            self.context.remember(self.observed.uid(), |memory| memory.reserved.remove(&ordinal));
        }
        Effect::of_create(outcome.map(|_| ()))
    }

    async fn create_record(&self, secret: &Secret) -> Result<(), ActError> {
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api().create(&parameters, secret).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(409) => Err(ActError::MovedOn),
            Err(error) => Err(error.into()),
        }
    }

    /// Compare-and-swap: the resource version goes along.
    async fn annotate<K>(&self, seen: &Seen, key: &str, value: String) -> Result<(), ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let patch = json!({ "metadata": {
            "uid": seen.uid, "resourceVersion": seen.version, "annotations": { key: value },
        }});
        self.merge::<K>(&seen.name, &patch).await
    }

    async fn label<K>(&self, seen: &Seen, labels: Value) -> Result<(), ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.merge::<K>(&seen.name, &json!({ "metadata": { "uid": seen.uid, "labels": labels } })).await
    }

    async fn merge<K>(&self, name: &str, patch: &Value) -> Result<(), ActError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        // Its own manager: what is applied again and again must not take these fields away.
        let parameters =
            PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-notes")), ..PatchParams::default() };
        settled(self.api::<K>().patch(name, &parameters, &Patch::Merge(patch)).await.map(|_| ()))
    }

    async fn delete_set(&self, set: &Seen) -> Result<(), ActError> {
        let seen = Preconditions { uid: Some(set.uid.clone()), resource_version: Some(set.version.clone()) };
        let parameters = DeleteParams { preconditions: Some(seen), ..DeleteParams::background() };
        settled(self.api::<StatefulSet>().delete(&set.name, &parameters).await.map(|_| ()))
    }

    /// Calls a member, and remembers why it changed no membership.
    async fn call(&self, action: &Action) -> Result<(), ActError> {
        let ordinal = match action {
            Action::Bootstrap { member, .. } | Action::Restore { member, .. } | Action::Join { member, .. } => *member,
            Action::ChangeMembership { leader, .. } | Action::TransferLeadership { leader, .. } => *leader,
            _ => return Ok(()),
        };
        let member =
            observe::reach(self.observed, ordinal, self.token.as_ref(), self.context).ok_or(ActError::NoPod)?;
        let outcome = self.say(member, ordinal, action).await;
        if matches!(action, Action::ChangeMembership { .. }) {
            let refusal = outcome.as_ref().err();
            let refusal = refusal.map(|error| Refusal { name: error.refusal.clone(), message: error.message.clone() });
            self.context.remember(self.observed.uid(), |memory| memory.refusal = refusal);
        }
        outcome.map_err(refused)
    }

    async fn say(&self, mut member: Member, ordinal: Ordinal, action: &Action) -> Result<(), CallError> {
        match action {
            Action::Bootstrap { record, voters, .. } => {
                member.bootstrap(record, voters, names::member(self.cluster(), ordinal)).await
            }
            Action::Restore { cluster, token, id, info, place, .. } => {
                member.restore(*cluster, token, *id, info, place).await
            }
            Action::Join { cluster, token, id, info, .. } => member.join(*cluster, token, *id, info).await,
            Action::ChangeMembership { change, .. } => member.change_membership(change).await,
            Action::TransferLeadership { target, .. } => member.transfer_leadership(*target).await,
            _ => Ok(()),
        }
    }
}

/// Whether what was done may make the next step possible at once. An order to restore is taken whenever it is repeated, and
/// carried out in the member's own time.
fn shows_soon(action: &Action) -> bool {
    !matches!(action, Action::Restore { .. })
}

/// What a member's refusal means.
fn refused(error: CallError) -> ActError {
    match error.refusal.as_deref() {
        // The configuration moved on, or the leader waits for itself: the next look shows what to do.
        Some("Stale" | "InFlight" | "NotLeader" | "TermNotCommitted") => ActError::MovedOn,
        Some("LearnerBehind") => ActError::NotYet,
        _ => ActError::Call(error),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What was seen is gone or has changed: no failure, but to be looked at again.
fn settled(outcome: Result<(), kube::Error>) -> Result<(), ActError> {
    match outcome {
        Err(error) if matches!(code(&error), Some(404 | 409)) => Err(ActError::MovedOn),
        other => Ok(other?),
    }
}

/// An action's name, for metrics and logs.
pub(super) fn name(action: &Action) -> &'static str {
    match action {
        Action::Apply(_) => "Apply",
        Action::ReserveOrdinals { .. } => "ReserveOrdinals",
        Action::CreateSet { .. } => "CreateSet",
        Action::CreateRecord(_) => "CreateRecord",
        Action::NoteFormed { .. } => "NoteFormed",
        Action::Announce { .. } => "Announce",
        Action::LabelVolume { .. } => "LabelVolume",
        Action::LabelPod { .. } => "LabelPod",
        Action::Bootstrap { .. } => "Bootstrap",
        Action::Restore { .. } => "Restore",
        Action::Join { .. } => "Join",
        Action::ChangeMembership { .. } => "ChangeMembership",
        Action::TransferLeadership { .. } => "TransferLeadership",
        Action::DeleteSet { .. } => "DeleteSet",
        Action::EvictPod { .. } => "EvictPod",
        Action::DeletePod { .. } => "DeletePod",
    }
}

/// An action in words that continue "failed to".
fn words(action: &Action) -> &'static str {
    match action {
        Action::Apply(_) => "applying",
        Action::ReserveOrdinals { .. } => "reserving ordinals",
        Action::CreateSet { .. } => "creating StatefulSet",
        Action::CreateRecord(_) => "creating the identity",
        Action::NoteFormed { .. } => "noting that the cluster was formed",
        Action::Announce { .. } => "announcing the ID of",
        Action::LabelVolume { .. } => "labelling volume claim",
        Action::LabelPod { .. } => "labelling pod",
        Action::Bootstrap { .. } => "bootstrapping",
        Action::Restore { .. } => "restoring",
        Action::Join { .. } => "joining",
        Action::ChangeMembership { .. } => "changing membership",
        Action::TransferLeadership { .. } => "handing leadership over from",
        Action::DeleteSet { .. } => "deleting StatefulSet",
        Action::EvictPod { .. } => "evicting pod",
        Action::DeletePod { .. } => "deleting pod",
    }
}

/// What an action is about, for people. Never anything secret.
fn about(action: &Action) -> String {
    let named = |metadata: &ObjectMeta| metadata.name.clone().unwrap_or_default();
    match action {
        Action::Apply(object) => match &**object {
            Object::Service(service) => format!("Service {}", named(&service.metadata)),
            Object::Budget(budget) => format!("PodDisruptionBudget {}", named(&budget.metadata)),
            Object::Set(set) => format!("StatefulSet {}", named(&set.metadata)),
        },
        Action::ReserveOrdinals { first, last, .. } => format!("{first} to {last}"),
        Action::CreateSet { set, .. } => named(&set.metadata),
        Action::CreateRecord(secret) => named(&secret.metadata),
        Action::NoteFormed { service: seen, .. }
        | Action::Announce { set: seen, .. }
        | Action::LabelVolume { volume: seen, .. }
        | Action::LabelPod { pod: seen, .. }
        | Action::DeleteSet { set: seen, .. }
        | Action::EvictPod { pod: seen }
        | Action::DeletePod { pod: seen } => seen.name.clone(),
        Action::Bootstrap { member, .. } | Action::TransferLeadership { leader: member, .. } => {
            format!("member {member}")
        }
        Action::Restore { info, .. } | Action::Join { info, .. } => info.name.clone(),
        Action::ChangeMembership { change, .. } => {
            format!(
                "from index {} to {} voters and {} learners",
                change.expected,
                change.voters.len(),
                change.learners.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::raft_cluster::events::tests::restore;

    /// A member that waits before its next attempt accepts every order: it must not be ordered ten times a second.
    #[test]
    fn an_order_to_restore_asks_for_no_quick_look() {
        assert!(!shows_soon(&restore()));
        assert!(shows_soon(&Action::CreateRecord(Box::default())));
    }

    /// One more port of somebody else's, a StatefulSet whose label somebody removed, a learner that the load keeps behind:
    /// what bears no fruit must not be tried ten times a second.
    #[test]
    fn what_changed_nothing_asks_for_no_quick_look() {
        let version = |version: &str| ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        assert_eq!(Effect::of_apply(Some(&version("7")), &version("7")), Effect::AsItWas);
        assert_eq!(Effect::of_apply(Some(&version("7")), &version("8")), Effect::Changed);
        assert_eq!(Effect::of_apply(None, &version("7")), Effect::Changed);
        let exists = kube::core::Status { code: 409, ..kube::core::Status::default() };
        let created = Effect::of_create(Err(kube::Error::Api(Box::new(exists))));
        assert_eq!(created.expect("that it exists is success"), Effect::AsItWas);
        let refusal = |name: &str| CallError {
            code: tonic::Code::FailedPrecondition,
            refusal: Some(name.to_owned()),
            message: String::new(),
        };
        assert!(matches!(refused(refusal("LearnerBehind")), ActError::NotYet));
        assert!(matches!(refused(refusal("Stale")), ActError::MovedOn));
    }
}
