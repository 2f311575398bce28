//! A cluster that begins with a backup. Owns which backup is restored, which member restores it, and how failures are
//! reported. One member restores the backup and is the only voter; `membership` adds the other members.

use crds::{RaftBackup, Reason};

use crate::action::MemberAction;
use crate::decision::{Decision, Note};
use crate::identity::{BackupPlace, ClusterIdentity, Origin};
use crate::observed::Observed;
use crate::observed::failure::FailureCause;
use crate::observed::member::Report;
use crate::roster::{Health, Roster, Seat};
use crate::validated::{ValidatedCluster, info};

/// The data that the cluster begins with, according to its spec.
///
/// # Errors
/// Returns what is wrong if the backup does not exist or is not complete. No identity is created.
pub(crate) fn origin(valid: &ValidatedCluster<'_>, observed: &Observed) -> Result<Origin, Note> {
    let restore = valid.spec.bootstrap.as_ref().and_then(|bootstrap| bootstrap.restore.as_ref());
    let Some(restore) = restore else { return Ok(Origin::Empty) };
    if let Some(source) = &restore.source {
        let cluster = source
            .cluster_id
            .parse()
            .map_err(|error| Note::new(Reason::InvalidSpec, format!("bootstrap.restore.source.clusterID: {error}")))?;
        let (store, manifest) = (source.object_store.clone(), source.manifest.clone());
        return Ok(Origin::Backup(Box::new(BackupPlace { store, source: cluster, manifest })));
    }
    let name = restore.backup_name.as_deref().unwrap_or_default();
    let backup = observed.restore_from.as_ref().ok_or_else(|| {
        let message = format!("there is no RaftBackup {name:?} in this namespace that this version can read: create it, correct it if it is Stalled, or delete this RaftCluster and name a bootstrap.restore.source");
        Note::new(Reason::BackupNotFound, message)
    })?;
    place_of(backup).map(|place| Origin::Backup(Box::new(place))).ok_or_else(|| {
        Note::new(
            Reason::BackupIncomplete,
            format!("RaftBackup {name:?} is not complete yet: it is restored as soon as it is Ready"),
        )
    })
}

/// The place of a completed backup.
fn place_of(backup: &RaftBackup) -> Option<BackupPlace> {
    let status = backup.status.as_ref()?;
    status.completed_at.as_ref()?;
    Some(BackupPlace {
        store: status.location.clone()?,
        source: status.cluster_id.as_ref()?.parse().ok()?,
        manifest: status.manifest.clone()?,
    })
}

/// Calls Restore on the first member while the member is blank or its restore has failed, and reports the progress. A
/// repeated call restarts a failed restore, so that the restore succeeds once the cause is gone.
pub(crate) fn carry_out(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    identity: &ClusterIdentity,
    place: &BackupPlace,
) -> Decision {
    let Some(voter) = identity.first_voters().first() else { return Decision::default() };
    let Some(seat) = roster.by_id(voter.id) else { return Decision::default() };
    let failed = seat.report.filter(|report| report.error.is_some());
    let mut decision = Decision::default();
    if seat.health == Health::Blank || (seat.health == Health::Restoring && failed.is_some()) {
        let restore = MemberAction::Restore {
            member: seat.ordinal,
            cluster: identity.cluster,
            token: identity.token.clone(),
            id: voter.id,
            info: info(valid, seat.ordinal),
            place: Box::new(place.clone()),
        };
        decision.actions.push(restore.into());
    }
    if matches!(seat.health, Health::Blank | Health::Restoring) {
        decision.activity = Some(Note::new(Reason::Restoring, progress(seat, place)));
        decision.blocked = failed.map(|report| failure(report, place));
    }
    decision
}

fn progress(seat: &Seat<'_>, place: &BackupPlace) -> String {
    let restored = seat.report.and_then(|report| report.restore.as_ref());
    match restored {
        Some(restored) if restored.bytes_total > 0 => format!(
            "{} restores {}: {} of {} bytes",
            seat.name, place.manifest, restored.bytes_done, restored.bytes_total
        ),
        _ => format!("{} restores {}", seat.name, place.manifest),
    }
}

fn failure(report: &Report, place: &BackupPlace) -> Note {
    let cause = report.restore.as_ref().and_then(|restore| restore.cause);
    let reason = cause.and_then(FailureCause::condition_reason).unwrap_or(Reason::RestoreFailed);
    let error = report.error.as_deref().unwrap_or_default();
    Note::new(reason, format!("{} in bucket {}: {error}", place.manifest, place.store.bucket))
}
