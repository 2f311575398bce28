//! One RaftBackup. Owns which member makes the backup, the name of the backup, and what is reported. Does not own the
//! upload, which the member does.

use crds::raft_backup::{BackupProgress, RaftBackup, RaftBackupStatus};
use crds::{ConditionType, ObjectStore, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::decision::{Note, shortened};
use crate::desired::digest;
use crate::ids::ClusterId;
use crate::names::Ordinal;
use crate::observed::Observed;
use crate::observed::failure::FailureCause;
use crate::pointer;
use crate::roster::{Roster, Seat};
use crate::status::{Finding, Holds, conditions};
use crate::stop;
use crate::validated::ValidatedCluster;

/// The next step for a backup.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Nothing remains to be done: the backup is complete, and a completed backup never changes.
    Complete,
    /// Wait, because no member can be called now.
    Wait(Note),
    /// Call a member.
    Assign(Assignment),
}

/// A call to a member: start this backup, or report its progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The member.
    pub member: Ordinal,
    /// Name of the member.
    pub member_name: String,
    /// The cluster to back up.
    pub cluster: ClusterId,
    /// Name of the backup. The name changes only if a member reports that the backup failed, or if the spec changes the
    /// endpoint, region, bucket or prefix. Therefore, if a member completed the backup but its answer was lost, the
    /// next member finds the backup by its name.
    pub name: String,
    /// The object store to write to.
    pub store: ObjectStore,
}

/// State of one attempt to make a backup.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptState {
    /// In progress.
    Running {
        /// Uploaded bytes.
        bytes_done: u64,
        /// Bytes to upload; 0 while unknown.
        bytes_total: u64,
    },
    /// Complete.
    Done(Box<Completed>),
    /// The member did not answer: the backup may still be running, or may be complete.
    Unanswered {
        /// Explanation for people.
        error: String,
    },
    /// The backup failed.
    Failed {
        /// The cause, if the member named one.
        cause: Option<FailureCause>,
        /// Explanation for people.
        error: String,
    },
}

/// A complete backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Key of the manifest.
    pub manifest: String,
    /// SHA-256 of the snapshot object.
    pub sha256: String,
    /// Size of the snapshot object, in bytes.
    pub size_bytes: u64,
    /// Index of the last log entry in the backup.
    pub index: u64,
    /// Term of the last log entry in the backup.
    pub term: u64,
    /// Revision of the store.
    pub revision: i64,
}

/// Number of attempts that did not complete the backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Number of failed attempts; each failure changes the name of the next attempt.
    pub failed: u32,
    /// Number of attempts without an answer.
    pub unanswered: u32,
}

/// Decides which member is called for the backup. `cluster` is the observation of the RaftCluster; `None` if the
/// RaftCluster does not exist.
#[must_use]
pub fn choose(backup: &RaftBackup, cluster: Option<&Observed>, attempts: Attempts) -> Choice {
    if is_complete(backup) {
        return Choice::Complete;
    }
    let name = &backup.spec.cluster_name;
    let wait = |reason, message: String| Choice::Wait(Note::new(reason, message));
    let Some(observed) = cluster else {
        return wait(Reason::ClusterNotFound, format!("there is no RaftCluster {name:?} in this namespace: create it"));
    };
    if stop::applies(observed) {
        return wait(Reason::ClusterStopped, format!("RaftCluster {name:?} is stopped: set its spec.stopped to false"));
    }
    let Some(store) = observed.cluster.spec.backup.as_ref().map(|backup| backup.object_store.clone()) else {
        return wait(Reason::NoObjectStore, format!("RaftCluster {name:?} has no spec.backup.objectStore: set one"));
    };
    let found = pointer::find(observed).ok();
    let identity = found.as_ref().and_then(|found| found.identity());
    let (Ok(valid), Some(identity)) = (ValidatedCluster::parse(observed), identity) else {
        return wait(Reason::Waiting, format!("RaftCluster {name:?} was not formed yet"));
    };
    let roster = Roster::of(&valid, observed, Some(identity));
    let former = backup.status.as_ref().and_then(|status| status.source_member.as_deref());
    let Some(seat) = source(&roster, former, attempts) else {
        return wait(Reason::Waiting, format!("no member of RaftCluster {name:?} serves at the moment"));
    };
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    assert!(!uid.is_empty(), "a backup is named after its UID, otherwise two could share a name");
    assert!(seat.report.is_some() && seat.health.serves(), "a backup is taken by a member that serves");
    Choice::Assign(Assignment {
        member: seat.ordinal,
        member_name: seat.name.clone(),
        cluster: identity.cluster,
        name: name_of(uid, &store, attempts.failed),
        store,
    })
}

/// Name of a backup. A member recognizes a backup by its name alone and continues to upload to the place where the
/// backup began. The name therefore changes with the place; otherwise the status could name a bucket that lacks the
/// manifest.
fn name_of(uid: &str, store: &ObjectStore, attempt: u32) -> String {
    let place = digest(&(&store.endpoint, &store.region, &store.bucket, &store.prefix));
    if attempt == 0 { format!("{uid}-{place}") } else { format!("{uid}-{place}-{attempt}") }
}

/// Returns the member of the attempt in progress, if this member still serves. Otherwise returns the member for a new
/// attempt. The serving members take turns. Followers that have caught up come first, so that the leader is spared.
fn source<'r, 'a>(roster: &'r Roster<'a>, former: Option<&str>, attempts: Attempts) -> Option<&'r Seat<'a>> {
    let serves = |seat: &&Seat<'_>| seat.report.is_some() && seat.health.serves();
    let mut serving: Vec<&Seat<'_>> = roster.seats.values().filter(serves).collect();
    serving.sort_by_key(|seat| (!seat.health.caught_up(), seat.health.leads(), seat.ordinal));
    let turn = attempts.failed.saturating_add(attempts.unanswered) as usize;
    let next = || turn.checked_rem(serving.len()).map(|turn| serving[turn]);
    serving.iter().copied().find(|seat| Some(seat.name.as_str()) == former).or_else(next)
}

fn is_complete(backup: &RaftBackup) -> bool {
    backup.status.as_ref().is_some_and(|status| status.completed_at.is_some() && status.manifest.is_some())
}

/// The status while no member can be called.
#[must_use]
pub fn waiting(backup: &RaftBackup, note: &Note, now: Timestamp) -> RaftBackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    close(&mut status, backup, now, Holds::No, note);
    status
}

/// The status after a call to a member.
#[must_use]
pub fn progressed(
    backup: &RaftBackup,
    assignment: &Assignment,
    progress: &AttemptState,
    now: Timestamp,
) -> RaftBackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.started_at.get_or_insert(Time(now));
    status.source_member = Some(assignment.member_name.clone());
    status.cluster_id = Some(assignment.cluster.to_string());
    status.location = Some(assignment.store.clone());
    match progress {
        AttemptState::Running { bytes_done, bytes_total } => {
            status.progress =
                Some(BackupProgress { bytes_done: signed(*bytes_done), bytes_total: signed(*bytes_total) });
            status.error = None;
            let message = format!("{} uploads: {bytes_done} of {bytes_total} bytes", assignment.member_name);
            close(&mut status, backup, now, Holds::No, &Note::new(Reason::Uploading, message));
        }
        AttemptState::Done(completed) => complete(&mut status, backup, completed, now),
        AttemptState::Unanswered { error } => {
            // Clear the member, because the next attempt may call another member.
            status.source_member = None;
            let message = format!("{} does not answer, another attempt follows: {error}", assignment.member_name);
            close(&mut status, backup, now, Holds::No, &Note::new(Reason::Waiting, message));
        }
        AttemptState::Failed { cause, error } => {
            let reason = cause.and_then(FailureCause::condition_reason).unwrap_or(Reason::BackupFailed);
            status.error = Some(error.chars().take(4096).collect());
            status.progress = None;
            // Clear the member, because the next attempt may call another member.
            status.source_member = None;
            let message = format!("{} failed, another attempt follows: {error}", assignment.member_name);
            close(&mut status, backup, now, Holds::No, &Note::new(reason, message));
        }
    }
    status
}

fn complete(status: &mut RaftBackupStatus, backup: &RaftBackup, completed: &Completed, now: Timestamp) {
    status.completed_at = Some(Time(now));
    status.manifest = Some(completed.manifest.clone());
    status.sha256 = Some(completed.sha256.clone());
    status.size_bytes = signed(completed.size_bytes);
    status.index = signed(completed.index);
    status.term = signed(completed.term);
    status.revision = Some(completed.revision);
    status.progress =
        Some(BackupProgress { bytes_done: signed(completed.size_bytes), bytes_total: signed(completed.size_bytes) });
    status.error = None;
    close_complete(status, backup, now);
    debug_assert!(status.completed_at.is_some() && status.manifest.is_some(), "a complete backup can be found");
}

/// Sets the conditions of a complete backup.
fn close_complete(status: &mut RaftBackupStatus, backup: &RaftBackup, now: Timestamp) {
    let (revision, size) = (status.revision.unwrap_or_default(), status.size_bytes.unwrap_or_default());
    let message = format!("revision {revision} is in the bucket, {size} bytes");
    close(status, backup, now, Holds::Yes, &Note::new(Reason::Completed, message));
}

/// The status of a complete backup whose conditions say otherwise; `None` if they do not. An operator of another
/// version reported them, because it could not read the backup.
#[must_use]
pub fn completed_again(backup: &RaftBackup, now: Timestamp) -> Option<RaftBackupStatus> {
    let mut status = backup.status.clone().filter(|_| is_complete(backup))?;
    let is_ready =
        |condition: &Condition| condition.type_ == ConditionType::Ready.as_str() && condition.status == "True";
    if status.conditions.iter().any(is_ready) {
        return None;
    }
    close_complete(&mut status, backup, now);
    Some(status)
}

/// Sets the conditions: Ready as given, Reconciling to the opposite of Ready, and Stalled to false. Stalled is never
/// true, because every cause may disappear without a change of the spec.
fn close(status: &mut RaftBackupStatus, backup: &RaftBackup, now: Timestamp, ready: Holds, note: &Note) {
    let note = Note::new(note.reason, shortened(&note.message));
    let (reconciling, doing) = match ready {
        Holds::Yes => (Holds::No, Note::new(Reason::UpToDate, "the backup is complete")),
        Holds::No | Holds::Unknown => (Holds::Yes, note.clone()),
    };
    let findings = [
        Finding { kind: ConditionType::Ready, holds: ready, note },
        Finding { kind: ConditionType::Reconciling, holds: reconciling, note: doing },
        Finding {
            kind: ConditionType::Stalled,
            holds: Holds::No,
            note: Note::new(Reason::NotStalled, "no obstacle needs a person"),
        },
    ];
    let former = backup.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    status.observed_generation = backup.metadata.generation;
    debug_assert!(ready != Holds::Unknown, "a backup is complete or not");
    status.conditions = conditions(findings.into_iter(), former, now, backup.metadata.generation);
}

fn signed(number: u64) -> Option<i64> {
    Some(i64::try_from(number).unwrap_or(i64::MAX))
}
