//! Carries out a plan's actions, in order. Owns how each action is carried out. Does not own which of the API server's
//! answers are refusals (`apply/answers.rs`), which actions there are, nor their names and words (`plan::action`), nor
//! which actions a failure stops (`plan::pass`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, DeleteOptions, ObjectMeta};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use plan::action::{
    Action, Apply, Create, Delete, Description, Evict, IfExists, MemberAction, MergePatch, ObjectAction, Replace,
    Timing, Write,
};
use plan::ids::Token;
use plan::names::{self, FIELD_MANAGER, Ordinal};
use plan::observed::refusal::{AfterRefusal, RefusalReason};
use plan::observed::{Observed, Refusal, Seen};
use plan::pass::{Pass, RefusedWrite};
use tokio::time::Instant;

use self::answers::{code, is_without_answer, without_webhook};
use super::observe;
use crate::context::Context;
use crate::member::client::{CallError, Member};
use crate::refusals::{Novelty, Refusals};

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
    /// Failures other than refusals, each with an explanation for people. They delay the next pass.
    pub(super) failures: Vec<String>,
    /// Writes that the API server refuses. They do not delay the next pass, because they would then delay the healing
    /// of the cluster.
    pub(super) refused: Vec<RefusedWrite>,
    /// The refusals among them that were not published before, each with the name of its action.
    pub(super) news: Vec<(&'static str, RefusedWrite)>,
}

/// The reason why an action did not succeed.
#[derive(Debug, thiserror::Error)]
enum ActError {
    /// The API server refuses the write, and would refuse it again until its cause is removed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Api(#[source] kube::Error),
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("the member has no pod to call")]
    NoPod,
    /// Another operator was faster, or the object has been replaced meanwhile. This is not a failure: the next pass
    /// observes again.
    #[error("the cluster changed since it was observed")]
    MovedOn,
    /// The leader refuses until a member has caught up, or states that it supports the feature level. This is not a
    /// failure: a later pass tries again.
    #[error("the leader waits for a member")]
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
    /// Whether a write changed the observed object, of which the API server returned the present state.
    fn of_write(seen: Option<&Seen>, now: &ObjectMeta) -> Self {
        let is_same = seen.is_some_and(|seen| {
            now.uid.as_deref() == Some(&seen.uid) && now.resource_version.as_deref() == Some(&seen.version)
        });
        if is_same { Self::Unchanged } else { Self::Changed }
    }
}

/// Carries out the actions in the given order. An action that fails stops only the actions that need it, except that the
/// pass ends if the identity or the configuration changed meanwhile.
pub(super) async fn in_order(actions: &[Action], observed: &Observed, context: &Context) -> Applied {
    let executor = Executor { observed, context, token: observe::token(observed) };
    let cluster = executor.cluster();
    executor.forget_unplanned(actions);
    let mut applied = Applied::default();
    let mut pass = Pass::default();
    let mut unanswered: BTreeMap<String, String> = BTreeMap::new();
    for action in actions {
        let about = action.describe();
        if pass.withholds(action, &about) {
            tracing::info!(cluster, action = about.name, about = about.subject, "waits for a write that failed");
            continue;
        }
        if let Some(message) = executor.standing_refusal(&about) {
            pass.refused(action, &about, &message);
            continue;
        }
        if let Some(message) = unanswered.get(&kind(action, &about)) {
            // It would wait for the same webhook, and everything after it would wait, too.
            executor.is_news(&about, message);
            pass.refused(action, &about, message);
            continue;
        }
        let outcome = executor.carry_out(action).await.map_err(|error| executor.if_repeated(error, action, &about));
        if let Some(message) = outcome.as_ref().err().and_then(without_webhook) {
            unanswered.insert(kind(action, &about), message);
        }
        context.metrics.acted(about.name, outcome.as_ref().err().map(|error| error as _));
        match outcome {
            Ok(effect) => {
                executor.accepted(&about);
                if effect == Effect::Changed {
                    tracing::info!(cluster, action = about.name, about = about.subject, "done");
                    applied.did_something |= about.timing == Timing::AtOnce;
                    applied.done.push(action.clone());
                } else {
                    tracing::info!(cluster, action = about.name, about = about.subject, "nothing changed");
                }
            }
            Err(ActError::MovedOn) => {
                let text = "the cluster changed since it was observed: observes again";
                tracing::info!(cluster, action = about.name, about = about.subject, "{text}");
                applied.did_something = true;
                if ends_pass(action) {
                    break;
                }
                pass.failed(&about);
            }
            Err(ActError::NotYet) => {
                let text = "the leader waits for a member: observes again later";
                tracing::info!(cluster, action = about.name, about = about.subject, "{text}");
                pass.failed(&about);
            }
            Err(ActError::Refused(message)) => {
                tracing::warn!(cluster, action = about.name, about = about.subject, message, "refused");
                pass.refused(action, &about, &message);
                if executor.is_news(&about, &message) {
                    applied.news.push((about.name, RefusedWrite::of(action, &about, &message)));
                }
            }
            Err(error) => {
                tracing::warn!(cluster, action = about.name, about = about.subject, %error, "failed");
                applied.failures.push(format!("{} {}: {error}", about.words, about.subject));
                pass.failed(&about);
                // Every further write would wait for its timeout too.
                if is_without_answer(&error) {
                    break;
                }
            }
        }
    }
    applied.refused = pass.into_refused();
    applied
}

struct Executor<'e> {
    observed: &'e Observed,
    context: &'e Context,
    token: Option<Token>,
}

impl Executor<'_> {
    /// The API server's explanation, if it refused this write a moment ago.
    fn standing_refusal(&self, about: &Description) -> Option<String> {
        let (generation, now) = (self.observed.cluster.metadata.generation, Instant::now());
        let standing = |refusals: &Refusals| refusals.standing(&key(about), generation, now).map(str::to_owned);
        self.context.remember(self.observed.uid(), |memory| standing(&memory.refused))
    }

    /// Remembers a refusal. Returns whether it was not published before.
    fn is_news(&self, about: &Description, message: &str) -> bool {
        let (generation, now) = (self.observed.cluster.metadata.generation, Instant::now());
        let refused = |refusals: &mut Refusals| refusals.refused(&key(about), generation, message, now);
        self.context.remember(self.observed.uid(), |memory| refused(&mut memory.refused)) == Novelty::News
    }

    fn accepted(&self, about: &Description) {
        self.context.remember(self.observed.uid(), |memory| memory.refused.accepted(&key(about)));
    }

    /// Forgets the refusals of writes that are not planned any more, for example because the spec no longer asks for them.
    fn forget_unplanned(&self, actions: &[Action]) {
        let planned: BTreeSet<String> = actions.iter().map(|action| key(&action.describe())).collect();
        self.context.remember(self.observed.uid(), |memory| memory.refused.forget_unplanned(&planned));
    }

    /// Converts the error of a write whose object changed since it was observed, if that happened in each of the last
    /// attempts: another program writes the object all the time, and a person must know.
    fn if_repeated(&self, error: ActError, action: &Action, about: &Description) -> ActError {
        if !matches!(error, ActError::MovedOn) || ends_pass(action) {
            return error;
        }
        let repeated = self.context.remember(self.observed.uid(), |memory| memory.refused.overtaken(&key(about)));
        repeated.map_or(error, |times| {
            ActError::Refused(format!("another program changed it before each of the last {times} attempts"))
        })
    }

    fn cluster(&self) -> &str {
        self.observed.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.observed.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn carry_out(&self, action: &Action) -> Result<Effect, ActError> {
        match action {
            Action::Write(write) => self.write(write).await,
            Action::Call(call) => self.call(call).await,
        }
    }

    /// Carries out a write. The kinds of requests have different preconditions, which are a part of each request
    /// (`plan::action::Write`); nothing here depends on what is written.
    async fn write(&self, action: &ObjectAction) -> Result<Effect, ActError> {
        let outcome = match action.write() {
            Write::Create(create) => self.create(&create).await,
            Write::Replace(replace) => self.replace(&replace).await,
            Write::Apply(apply) => self.apply(&apply).await,
            Write::Patch(patch) => self.patch(&patch).await,
            Write::Delete(delete) => self.delete(&delete).await,
            Write::Evict(evict) => self.evict(&evict).await,
        };
        self.remember_ordinals(action, &outcome);
        outcome
    }

    fn objects(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.context.client.clone(), self.namespace(), resource)
    }

    async fn create(&self, create: &Create) -> Result<Effect, ActError> {
        let object = create.object();
        match self.objects(object.resource()).create(&post_parameters(), object.body()).await {
            Ok(_) => Ok(Effect::Changed),
            Err(error) => already_exists(error, create.if_exists()),
        }
    }

    async fn replace(&self, replace: &Replace) -> Result<Effect, ActError> {
        let object = replace.object();
        let replaced = self.objects(object.resource()).replace(object.name(), &post_parameters(), object.body()).await;
        Ok(Effect::of_write(Some(replace.seen()), &observed_object(replaced)?.metadata))
    }

    /// Applies an object. Returns `Effect::Unchanged` if the apply changed nothing. This happens if the live object
    /// differs only in what another field manager owns, such as an additional port.
    async fn apply(&self, apply: &Apply) -> Result<Effect, ActError> {
        let (object, seen) = (apply.object(), apply.seen());
        let parameters = PatchParams::apply(FIELD_MANAGER);
        // An object that exists although none was observed may have another owner, and is not overwritten.
        let parameters = if seen.is_some() { parameters.force() } else { parameters };
        let applied =
            self.objects(object.resource()).patch(object.name(), &parameters, &Patch::Apply(object.body())).await;
        Ok(Effect::of_write(seen, &observed_object(applied)?.metadata))
    }

    async fn patch(&self, patch: &MergePatch) -> Result<Effect, ActError> {
        // Labels and annotations need a separate field manager, because an apply removes the fields that its manager
        // no longer applies.
        let parameters =
            PatchParams { field_manager: Some(format!("{FIELD_MANAGER}-notes")), ..PatchParams::default() };
        let seen = patch.seen();
        let patched = self.objects(patch.resource()).patch(&seen.name, &parameters, &Patch::Merge(patch.body())).await;
        Ok(Effect::of_write(Some(seen), &observed_object(patched)?.metadata))
    }

    async fn delete(&self, delete: &Delete) -> Result<Effect, ActError> {
        let seen =
            Preconditions { uid: Some(delete.uid().to_owned()), resource_version: delete.version().map(str::to_owned) };
        let parameters = DeleteParams { preconditions: Some(seen), ..DeleteParams::background() };
        observed_object(self.objects(delete.resource()).delete(delete.name(), &parameters).await)?;
        Ok(Effect::Changed)
    }

    /// Evicts a pod under its UID. Does not use `Api::evict`, because kube 5.0.0 sends the precondition as
    /// `delete_options`, a field that Kubernetes ignores: it reads `deleteOptions`.
    async fn evict(&self, evict: &Evict) -> Result<Effect, ActError> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), self.namespace());
        let (name, body) = (evict.name(), eviction(evict));
        observed_object(pods.create_subresource::<_, Status>("eviction", name, &PostParams::default(), &body).await)?;
        Ok(Effect::Changed)
    }

    /// Remembers which ordinals this process may use. Only the operator that wins the compare-and-swap may use the
    /// reserved ones. An ordinal counts as used unless the API server reported that nothing was created, because a lost
    /// reply may hide a success.
    fn remember_ordinals(&self, action: &ObjectAction, outcome: &Result<Effect, ActError>) {
        let uid = self.observed.uid();
        if let ObjectAction::ReserveOrdinals { first, last, .. } = action
            && outcome.is_ok()
        {
            self.context.remember(uid, |memory| memory.reserved.extend((first.0..=last.0).map(Ordinal)));
        }
        let is_refused = match outcome {
            Err(ActError::Refused(_)) => true,
            Err(ActError::Api(error)) => matches!(code(error), Some(400..=499)),
            _ => false,
        };
        if let ObjectAction::CreateSet { ordinal, .. } = action
            && !is_refused
        {
            self.context.remember(uid, |memory| memory.reserved.remove(ordinal));
        }
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
            MemberAction::Join { member: _, cluster, token, id, info, level } => {
                member.join(*cluster, token, *id, info, *level).await
            }
            MemberAction::ChangeMembership { leader: _, change } => {
                let outcome = member.change_membership(change).await;
                self.remember_refusal(outcome.as_ref().err());
                outcome
            }
            MemberAction::TransferLeadership { leader: _, target } => member.transfer_leadership(*target).await,
            MemberAction::RaiseFeatureLevel { leader: _, to } => member.raise_feature_level(*to).await,
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

fn post_parameters() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// The request to evict a pod under its UID.
fn eviction(evict: &Evict) -> Eviction {
    let preconditions = meta::Preconditions { uid: Some(evict.uid().to_owned()), ..meta::Preconditions::default() };
    Eviction {
        metadata: ObjectMeta { name: Some(evict.name().to_owned()), ..ObjectMeta::default() },
        delete_options: Some(DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() }),
    }
}

/// The name under which refusals of a write are remembered.
fn key(about: &Description) -> String {
    format!("{} {}", about.name, about.subject)
}

/// The kind of a write. Webhooks are asked about all objects of a kind, or about none.
fn kind(action: &Action, about: &Description) -> String {
    match action {
        Action::Write(ObjectAction::Apply(apply)) => format!("{} {}", about.name, apply.object().kind()),
        Action::Write(_) | Action::Call(_) => about.name.to_owned(),
    }
}

/// Returns whether a pass ends if the cluster changed since the action was decided. Another identity or another
/// configuration changes every later action; another version of one object changes only the actions that need it.
fn ends_pass(action: &Action) -> bool {
    match action {
        Action::Call(_) => true,
        Action::Write(write) => matches!(write.write(), Write::Create(_)),
    }
}

/// Converts the outcome of a write to an observed object. If the object was deleted or changed after the observation, the
/// result is `MovedOn`, because the next pass observes the object again.
fn observed_object<T>(outcome: Result<T, kube::Error>) -> Result<T, ActError> {
    match outcome {
        Err(error) if matches!(code(&error), Some(404 | 409)) => Err(ActError::MovedOn),
        other => Ok(other?),
    }
}

/// Converts the error of a create. An object that exists already is no failure. Any other conflict is one: if two creates
/// change one quota at the same time, the API server answers with the same code, and creates nothing.
fn already_exists(error: kube::Error, if_exists: IfExists) -> Result<Effect, ActError> {
    let exists = matches!(&error, kube::Error::Api(status) if status.reason == "AlreadyExists");
    if !exists || code(&error) != Some(409) {
        return Err(error.into());
    }
    match if_exists {
        IfExists::Done => Ok(Effect::Unchanged),
        IfExists::ObserveAgain => Err(ActError::MovedOn),
    }
}

mod answers;

#[cfg(test)]
mod conflicts;

#[cfg(test)]
mod refused;

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
        assert_eq!(Effect::of_write(Some(&seen), &live("7")), Effect::Unchanged);
        assert_eq!(Effect::of_write(Some(&seen), &live("8")), Effect::Changed);
        assert_eq!(Effect::of_write(None, &live("7")), Effect::Changed);
        let conflict = |reason: &str| {
            let status = kube::core::Status { code: 409, reason: reason.to_owned(), ..kube::core::Status::default() };
            kube::Error::Api(Box::new(status))
        };
        let exists = || conflict("AlreadyExists");
        let done = already_exists(exists(), IfExists::Done);
        assert_eq!(done.expect("a create succeeds if the object exists"), Effect::Unchanged);
        assert!(matches!(already_exists(exists(), IfExists::ObserveAgain), Err(ActError::MovedOn)));
        let lost_race = already_exists(conflict("Conflict"), IfExists::Done);
        assert!(matches!(lost_race, Err(ActError::Api(_))), "a race for a quota created nothing: {lost_race:?}");
    }

    #[test]
    fn a_refusal_without_a_known_reason_is_a_failure() {
        let error =
            |refusal| meaning(CallError { code: tonic::Code::FailedPrecondition, refusal, message: String::new() });
        assert!(matches!(error(Some(RefusalReason::LearnerBehind)), ActError::NotYet));
        assert!(matches!(error(Some(RefusalReason::LevelHeld)), ActError::NotYet));
        assert!(matches!(error(Some(RefusalReason::TooOld)), ActError::Call(_)));
        assert!(matches!(error(Some(RefusalReason::Stale)), ActError::MovedOn));
        assert!(matches!(error(Some(RefusalReason::Unrecognized { number: 99 })), ActError::Call(_)));
        assert!(matches!(error(None), ActError::Call(_)));
    }
}
