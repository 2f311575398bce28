//! Carries out a plan's actions, in order. Owns how each action is carried out, and what its failure means for the
//! rest of the pass. Does not own which actions there are, nor their names and words (`plan::action`).

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, PostParams, Preconditions};
use plan::action::{Action, MemberAction, Object, ObjectAction, OnFailure, Timing};
use plan::ids::Token;
use plan::names::{self, FIELD_MANAGER, Ordinal};
use plan::observed::refusal::{AfterRefusal, RefusalReason};
use plan::observed::{Observed, Refusal, Seen};
use serde_json::{Value, json};

use super::observe;
use crate::cluster_object::ClusterObject;
use crate::context::Context;
use crate::member::client::{CallError, Member};

/// Maximum delay before the next pass after an action changed something.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// Result of a plan's actions.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Whether an action has an effect that the next observation will show. The next step may then be possible
    /// immediately.
    pub(super) did_something: bool,
    /// Actions that changed something.
    pub(super) done: Vec<Action>,
    /// Failures, each with an explanation for people.
    pub(super) failures: Vec<String>,
}

/// The reason why an action did not succeed.
#[derive(Debug, thiserror::Error)]
enum ActError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the member has no pod to call")]
    NoPod,
    /// Another operator was faster, or the object has been replaced meanwhile. This is not a failure: the next pass
    /// observes again.
    #[error("the cluster changed since it was observed")]
    MovedOn,
    /// The leader refuses until a member has caught up. This is not a failure: a later pass tries again.
    #[error("the leader waits for a member to catch up")]
    NotYet,
}

/// Result of an action that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The action changed something.
    Changed,
    /// The action changed nothing. The next pass would observe the same, therefore it need not follow soon.
    Unchanged,
}

impl Effect {
    fn of_apply(seen: Option<&Seen>, now: &ObjectMeta) -> Self {
        let is_same = seen.is_some_and(|seen| {
            now.uid.as_deref() == Some(&seen.uid) && now.resource_version.as_deref() == Some(&seen.version)
        });
        if is_same { Self::Unchanged } else { Self::Changed }
    }

    /// Converts the outcome of a request to create an object. An object that exists already counts as a success.
    fn of_create(outcome: Result<(), kube::Error>) -> Result<Self, ActError> {
        match outcome {
            Ok(()) => Ok(Self::Changed),
            Err(error) if code(&error) == Some(409) => Ok(Self::Unchanged),
            Err(error) => Err(error.into()),
        }
    }
}

/// Carries out the actions in the given order.
pub(super) async fn in_order(actions: &[Action], observed: &Observed, context: &Context) -> Applied {
    let executor = Executor { observed, context, token: observe::token(observed) };
    let cluster = executor.cluster();
    let mut applied = Applied::default();
    for action in actions {
        let about = action.describe();
        let outcome = executor.carry_out(action).await;
        context.metrics.acted(about.name, outcome.as_ref().err().map(|error| error as _));
        match outcome {
            Ok(Effect::Unchanged) => {
                tracing::info!(cluster, action = about.name, about = about.subject, "nothing changed");
            }
            Ok(Effect::Changed) => {
                tracing::info!(cluster, action = about.name, about = about.subject, "done");
                applied.did_something |= about.timing == Timing::AtOnce;
                applied.done.push(action.clone());
            }
            Err(ActError::MovedOn) => {
                let text = "the cluster changed since it was observed: observes again";
                tracing::info!(cluster, action = about.name, about = about.subject, "{text}");
                applied.did_something = true;
                break;
            }
            Err(ActError::NotYet) => {
                let text = "the leader waits for a member: observes again later";
                tracing::info!(cluster, action = about.name, about = about.subject, "{text}");
                break;
            }
            Err(error) => {
                tracing::warn!(cluster, action = about.name, about = about.subject, %error, "failed");
                applied.failures.push(format!("{} {}: {error}", about.words, about.subject));
                if about.on_failure == OnFailure::Stop {
                    break;
                }
            }
        }
    }
    applied
}

struct Executor<'e> {
    observed: &'e Observed,
    context: &'e Context,
    token: Option<Token>,
}

impl Executor<'_> {
    fn cluster(&self) -> &str {
        self.observed.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.observed.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn api<K: ClusterObject>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), self.namespace())
    }

    async fn carry_out(&self, action: &Action) -> Result<Effect, ActError> {
        match action {
            Action::Write(write) => self.write(write).await,
            Action::Call(call) => self.call(call).await,
        }
    }

    async fn write(&self, write: &ObjectAction) -> Result<Effect, ActError> {
        let done = match write {
            ObjectAction::Apply(object) => return self.apply(object).await,
            ObjectAction::CreateSet { ordinal, set } => return self.create_set(*ordinal, set).await,
            ObjectAction::ReserveOrdinals { service, first, last } => self.reserve(service, *first, *last).await,
            ObjectAction::CreateIdentity(secret) => self.create_identity(secret).await,
            ObjectAction::NoteFormed { service, cluster } => {
                self.annotate::<Service>(service, names::ANNOTATION_FORMED, cluster.to_string()).await
            }
            ObjectAction::Announce { set, id } => {
                self.annotate::<StatefulSet>(set, names::ANNOTATION_MEMBER_ID, id.to_string()).await
            }
            ObjectAction::LabelVolume { volume, cluster, id } => {
                let labels =
                    json!({ names::LABEL_CLUSTER_ID: cluster.to_string(), names::LABEL_MEMBER_ID: id.to_string() });
                self.label::<PersistentVolumeClaim>(volume, labels).await
            }
            ObjectAction::LabelPod { pod, role } => {
                self.label::<Pod>(pod, json!({ names::LABEL_ROLE: role.as_str() })).await
            }
            ObjectAction::DeleteSet { set } => self.delete_set(set).await,
            ObjectAction::DeletePod { pod } => {
                settled(self.api::<Pod>().delete(&pod.name, &under_uid(pod)).await.map(|_| ()))
            }
            ObjectAction::EvictPod { pod } => {
                let parameters = EvictParams { delete_options: Some(under_uid(pod)), ..EvictParams::default() };
                settled(self.api::<Pod>().evict(&pod.name, &parameters).await.map(|_| ()))
            }
        };
        done.map(|()| Effect::Changed)
    }

    /// Applies an object of any kind. Returns `Effect::Unchanged` if the apply changed nothing. This happens if the
    /// live object differs only in what another field manager owns, such as an additional port.
    async fn apply(&self, object: &Object) -> Result<Effect, ActError> {
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let client = self.context.client.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(client, self.namespace(), object.resource());
        match api.patch(object.name(), &parameters, &Patch::Apply(object.body())).await {
            Ok(live) => Ok(Effect::of_apply(object.seen(), &live.metadata)),
            // The observed object was deleted, or was replaced by another object.
            Err(error) if object.seen().is_some() && matches!(code(&error), Some(404 | 409)) => Err(ActError::MovedOn),
            Err(error) => Err(error.into()),
        }
    }

    /// Reserves ordinals. Only the operator that wins the compare-and-swap may use them.
    async fn reserve(&self, service: &Seen, first: Ordinal, last: Ordinal) -> Result<(), ActError> {
        self.annotate::<Service>(service, names::ANNOTATION_LAST_ORDINAL, last.to_string()).await?;
        self.context.remember(self.observed.uid(), |memory| {
            memory.reserved.extend((first.0..=last.0).map(Ordinal));
        });
        Ok(())
    }

    async fn create_set(&self, ordinal: Ordinal, set: &StatefulSet) -> Result<Effect, ActError> {
        let outcome = self.api().create(&create_parameters(), set).await;
        // The ordinal counts as used unless the API server reported that nothing was created, because a lost reply may
        // hide a success.
        let refused =
            matches!(&outcome, Err(error) if matches!(code(error), Some(400..=499)) && code(error) != Some(409));
        if !refused {
            self.context.remember(self.observed.uid(), |memory| memory.reserved.remove(&ordinal));
        }
        Effect::of_create(outcome.map(|_| ()))
    }

    async fn create_identity(&self, secret: &Secret) -> Result<(), ActError> {
        match self.api().create(&create_parameters(), secret).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(409) => Err(ActError::MovedOn),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes an annotation by compare-and-swap: the patch carries the observed resource version.
    async fn annotate<K: ClusterObject>(&self, seen: &Seen, key: &str, value: String) -> Result<(), ActError> {
        let patch = json!({ "metadata": {
            "uid": seen.uid, "resourceVersion": seen.version, "annotations": { key: value },
        }});
        self.merge::<K>(&seen.name, &patch).await
    }

    async fn label<K: ClusterObject>(&self, seen: &Seen, labels: Value) -> Result<(), ActError> {
        self.merge::<K>(&seen.name, &json!({ "metadata": { "uid": seen.uid, "labels": labels } })).await
    }

    async fn merge<K: ClusterObject>(&self, name: &str, patch: &Value) -> Result<(), ActError> {
        // Annotations need a separate field manager, because an apply removes the fields that its manager no longer
        // applies.
        let parameters =
            PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-notes")), ..PatchParams::default() };
        settled(self.api::<K>().patch(name, &parameters, &Patch::Merge(patch)).await.map(|_| ()))
    }

    async fn delete_set(&self, set: &Seen) -> Result<(), ActError> {
        let seen = Preconditions { uid: Some(set.uid.clone()), resource_version: Some(set.version.clone()) };
        let parameters = DeleteParams { preconditions: Some(seen), ..DeleteParams::background() };
        settled(self.api::<StatefulSet>().delete(&set.name, &parameters).await.map(|_| ()))
    }

    async fn call(&self, call: &MemberAction) -> Result<Effect, ActError> {
        let (token, context) = (self.token.as_ref(), self.context);
        let member = observe::reach(self.observed, call.member(), token, context).ok_or(ActError::NoPod)?;
        self.call_member(member, call).await.map_err(meaning)?;
        Ok(Effect::Changed)
    }

    async fn call_member(&self, mut member: Member, call: &MemberAction) -> Result<(), CallError> {
        match call {
            MemberAction::Bootstrap { member: ordinal, identity, voters } => {
                member.bootstrap(identity, voters, names::member(self.cluster(), *ordinal)).await
            }
            MemberAction::Restore { member: _, cluster, token, id, info, place } => {
                member.restore(*cluster, token, *id, info, place).await
            }
            MemberAction::Join { member: _, cluster, token, id, info } => member.join(*cluster, token, *id, info).await,
            MemberAction::ChangeMembership { leader: _, change } => {
                let outcome = member.change_membership(change).await;
                self.remember_refusal(outcome.as_ref().err());
                outcome
            }
            MemberAction::TransferLeadership { leader: _, target } => member.transfer_leadership(*target).await,
        }
    }

    /// Remembers the reason why a membership change failed, because the status reports the reason. A change that
    /// succeeds clears the reason.
    fn remember_refusal(&self, error: Option<&CallError>) {
        let refusal = error.map(|error| Refusal { reason: error.refusal, message: error.message.clone() });
        self.context.remember(self.observed.uid(), |memory| memory.refusal = refusal);
    }
}

/// Converts the error of a failed call into the error of the action.
fn meaning(error: CallError) -> ActError {
    match error.refusal.map(RefusalReason::then) {
        Some(AfterRefusal::ObserveAgain) => ActError::MovedOn,
        Some(AfterRefusal::Wait) => ActError::NotYet,
        Some(AfterRefusal::Fail) | None => ActError::Call(error),
    }
}

fn create_parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn under_uid(seen: &Seen) -> DeleteParams {
    let seen = Preconditions { uid: Some(seen.uid.clone()), resource_version: None };
    DeleteParams { preconditions: Some(seen), ..DeleteParams::default() }
}

/// The status code of the API server's answer; `None` if it did not answer.
fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Converts the outcome of a write. If the object was deleted or changed after the observation, the result is
/// `MovedOn`, because the next pass observes the object again.
fn settled(outcome: Result<(), kube::Error>) -> Result<(), ActError> {
    match outcome {
        Err(error) if matches!(code(&error), Some(404 | 409)) => Err(ActError::MovedOn),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft_cluster::events::tests::restore;

    /// A member accepts every call to restore, even while it waits before it retries a failed restore. The call must
    /// not be repeated ten times a second.
    #[test]
    fn an_order_to_restore_asks_for_no_quick_pass() {
        assert_ne!(restore().describe().timing, Timing::AtOnce);
        assert_eq!(ObjectAction::CreateIdentity(Box::default()).describe().timing, Timing::AtOnce);
    }

    /// An action that changes nothing must not be repeated ten times a second. Nothing changes, for example, if another
    /// field manager added a port to a Service, if a person removed the label of a StatefulSet, or if a learner lags
    /// under load.
    #[test]
    fn an_action_that_changed_nothing_asks_for_no_quick_pass() {
        let live = |version: &str| ObjectMeta {
            uid: Some("u".to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        let seen = Seen { name: "demo".to_owned(), uid: "u".to_owned(), version: "7".to_owned() };
        assert_eq!(Effect::of_apply(Some(&seen), &live("7")), Effect::Unchanged);
        assert_eq!(Effect::of_apply(Some(&seen), &live("8")), Effect::Changed);
        assert_eq!(Effect::of_apply(None, &live("7")), Effect::Changed);
        let exists = kube::core::Status { code: 409, ..kube::core::Status::default() };
        let created = Effect::of_create(Err(kube::Error::Api(Box::new(exists))));
        assert_eq!(created.expect("a create succeeds if the object exists"), Effect::Unchanged);
    }

    #[test]
    fn a_refusal_without_a_known_reason_is_a_failure() {
        let error =
            |refusal| meaning(CallError { code: tonic::Code::FailedPrecondition, refusal, message: String::new() });
        assert!(matches!(error(Some(RefusalReason::LearnerBehind)), ActError::NotYet));
        assert!(matches!(error(Some(RefusalReason::Stale)), ActError::MovedOn));
        assert!(matches!(error(Some(RefusalReason::Unrecognized { number: 99 })), ActError::Call(_)));
        assert!(matches!(error(None), ActError::Call(_)));
    }
}
