//! One RaftBackup: which member takes it, under which name, and what is reported. The member does the work; this decides
//! who is asked and says how it went.

use crds::raft_backup::{BackupProgress, RaftBackup, RaftBackupStatus};
use crds::{ConditionType, ObjectStore, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::decision::{Note, shortened};
use crate::desired::digest;
use crate::identity::Record;
use crate::ids::ClusterId;
use crate::names::Ordinal;
use crate::observed::Observed;
use crate::roster::{Roster, Seat};
use crate::status::{Finding, Holds, conditions};
use crate::validated::ValidatedCluster;

/// What is to be done about a backup.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// It is complete, for ever.
    Complete,
    /// Nobody can be asked now.
    Wait(Note),
    /// Ask this member.
    Ask(Ask),
}

/// A call to a member: start this backup, or tell how it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Whom.
    pub member: Ordinal,
    /// Its name.
    pub member_name: String,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Name of the backup. The same until a member says that this one failed, or the place changes: whoever is asked next
    /// finds what another may have finished unheard.
    pub name: String,
    /// Where to.
    pub store: ObjectStore,
}

/// How an attempt goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Under way.
    Running {
        /// Bytes in the bucket.
        bytes_done: u64,
        /// Bytes in all; 0 while unknown.
        bytes_total: u64,
    },
    /// Complete.
    Done(Box<Completed>),
    /// The member did not answer: the backup may be under way, or done.
    Unheard {
        /// For people.
        error: String,
    },
    /// Came to nothing.
    Failed {
        /// A word that conditions know, if the member named one.
        cause: String,
        /// For people.
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
    /// Its size.
    pub size_bytes: u64,
    /// Last entry in it.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// Revision of the store.
    pub revision: i64,
}

/// Tries that came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// A member said that the backup failed: the next one takes another name.
    pub failed: u32,
    /// A member did not answer.
    pub unheard: u32,
}

/// Decides whom to ask. `cluster` is the look at the RaftCluster, if there is one.
#[must_use]
pub fn choose(backup: &RaftBackup, cluster: Option<&Observed>, tries: Tries) -> Choice {
    if is_complete(backup) {
        return Choice::Complete;
    }
    let name = &backup.spec.cluster_name;
    let wait = |reason, message: String| Choice::Wait(Note::new(reason, message));
    let Some(observed) = cluster else {
        return wait(Reason::ClusterNotFound, format!("there is no RaftCluster {name:?} in this namespace: create it"));
    };
    let Some(store) = observed.cluster.spec.backup.as_ref().map(|backup| backup.object_store.clone()) else {
        return wait(Reason::NoObjectStore, format!("RaftCluster {name:?} has no spec.backup.objectStore: set one"));
    };
    let record = observed.record.as_ref().filter(|secret| observed.owns(&secret.metadata));
    let record = record.and_then(|secret| Record::from_secret(secret).ok());
    let (Ok(valid), Some(record)) = (ValidatedCluster::parse(observed), record) else {
        return wait(Reason::Waiting, format!("RaftCluster {name:?} was not formed yet"));
    };
    let roster = Roster::of(&valid, observed, Some(&record));
    let former = backup.status.as_ref().and_then(|status| status.source_member.as_deref());
    let Some(seat) = source(&roster, former, tries) else {
        return wait(Reason::Waiting, format!("no member of RaftCluster {name:?} serves at the moment"));
    };
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    Choice::Ask(Ask {
        member: seat.ordinal,
        member_name: seat.name.clone(),
        cluster: record.cluster,
        name: name_of(uid, &store, tries.failed),
        store,
    })
}

/// A member knows a backup by its name alone, and goes on uploading to where it was first told to: another place makes
/// another backup, or the status would name a bucket that the manifest is not in.
fn name_of(uid: &str, store: &ObjectStore, attempt: u32) -> String {
    let place = digest(&(&store.endpoint, &store.region, &store.bucket, &store.prefix));
    if attempt == 0 { format!("{uid}-{place}") } else { format!("{uid}-{place}-{attempt}") }
}

/// Who was asked before, while it serves; else a follower that is caught up, so that the leader has nothing more to do, and
/// another one after each try that came to nothing.
fn source<'r, 'a>(roster: &'r Roster<'a>, former: Option<&str>, tries: Tries) -> Option<&'r Seat<'a>> {
    let serves = |seat: &&Seat<'_>| seat.report.is_some() && seat.standing.serves();
    let mut serving: Vec<&Seat<'_>> = roster.seats.values().filter(serves).collect();
    serving.sort_by_key(|seat| (!seat.standing.caught_up(), seat.standing.leads(), seat.ordinal));
    let turn = tries.failed.saturating_add(tries.unheard) as usize;
    let next = || turn.checked_rem(serving.len()).map(|turn| serving[turn]);
    serving.iter().copied().find(|seat| Some(seat.name.as_str()) == former).or_else(next)
}

fn is_complete(backup: &RaftBackup) -> bool {
    backup.status.as_ref().is_some_and(|status| status.completed_at.is_some() && status.manifest.is_some())
}

/// The status while nobody can be asked.
#[must_use]
pub fn waiting(backup: &RaftBackup, note: &Note, now: Timestamp) -> RaftBackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    close(&mut status, backup, now, Holds::No, note);
    status
}

/// The status after a member told how the attempt goes.
#[must_use]
pub fn progressed(backup: &RaftBackup, ask: &Ask, progress: &Progress, now: Timestamp) -> RaftBackupStatus {
    let mut status = backup.status.clone().unwrap_or_default();
    status.started_at.get_or_insert(Time(now));
    status.source_member = Some(ask.member_name.clone());
    status.cluster_id = Some(ask.cluster.to_string());
    status.location = Some(ask.store.clone());
    match progress {
        Progress::Running { bytes_done, bytes_total } => {
            status.progress =
                Some(BackupProgress { bytes_done: signed(*bytes_done), bytes_total: signed(*bytes_total) });
            status.error = None;
            let message = format!("{} uploads: {bytes_done} of {bytes_total} bytes", ask.member_name);
            close(&mut status, backup, now, Holds::No, &Note::new(Reason::Uploading, message));
        }
        Progress::Done(completed) => complete(&mut status, backup, completed, now),
        Progress::Unheard { error } => {
            // Another member may be heard.
            status.source_member = None;
            let message = format!("{} does not answer, another try follows: {error}", ask.member_name);
            close(&mut status, backup, now, Holds::No, &Note::new(Reason::Waiting, message));
        }
        Progress::Failed { cause, error } => {
            let reason = Reason::from_word(cause).unwrap_or(Reason::BackupFailed);
            status.error = Some(error.chars().take(4096).collect());
            status.progress = None;
            // Another member may do better.
            status.source_member = None;
            let message = format!("{} failed, another attempt follows: {error}", ask.member_name);
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
    let message = format!("revision {} is in the bucket, {} bytes", completed.revision, completed.size_bytes);
    close(status, backup, now, Holds::Yes, &Note::new(Reason::Completed, message));
}

/// Sets the conditions: Ready as told, Reconciling its opposite, Stalled never, as every cause may go away.
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
            note: Note::new(Reason::NotStalled, "nothing stands in the way for good"),
        },
    ];
    let former = backup.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    status.observed_generation = backup.metadata.generation;
    status.conditions = conditions(findings.into_iter(), former, now, backup.metadata.generation);
}

fn signed(number: u64) -> Option<i64> {
    Some(i64::try_from(number).unwrap_or(i64::MAX))
}
