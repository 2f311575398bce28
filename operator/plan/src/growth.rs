//! Growth of volumes (`operator/docs/decisions/volumes.md`). Owns which claims are patched to the size in the spec, and
//! what is reported until each volume has it. Does not own the size of new members' volumes
//! (`desired/stateful_set.rs`), nor members that are to move to another StorageClass (`membership/moving.rs`).

use crds::Reason;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::action::ObjectAction;
use crate::decision::{Decision, Note};
use crate::identity::ClusterIdentity;
use crate::names;
use crate::observed::Seen;
use crate::roster::{Health, Roster, Seat, is_going, is_used};
use crate::validated::ValidatedCluster;
use crate::volume;

/// Patches each bound claim that asks for less than the spec, unless its volume has the size. A claim of a removed member
/// or of another cluster stays as it is.
pub(crate) fn decide(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    identity: Option<&ClusterIdentity>,
) -> Decision {
    let mut decision = Decision::default();
    let Some(wanted) = volume::wanted(valid) else { return decision };
    let mut growing = Vec::new();
    for (seat, claim) in roster.seats.values().filter_map(|seat| Some((seat, claim_to_keep_up(seat, identity)?))) {
        // A volume may be larger than its claim asks for, such as a whole disk, and its class need not allow expansion.
        if volume::capacity(claim).is_none_or(|capacity| capacity >= wanted) {
            continue;
        }
        if volume::requested(claim).is_some_and(|requested| requested < wanted) {
            let (volume, size) = (Seen::of(&claim.metadata), valid.spec.storage.size.clone());
            decision.actions.push(ObjectAction::GrowVolume { volume, size }.into());
            growing.push(seat.name.clone());
        } else {
            growing.push(format!("{}{}", seat.name, said(valid, seat, claim)));
        }
    }
    if !growing.is_empty() {
        let message = format!("volumes grow to {}: {}", valid.spec.storage.size.0, growing.join(", "));
        decision.activity = Some(Note::new(Reason::GrowingVolumes, message));
    }
    decision
}

/// The claim of a member of this cluster that is not about to leave.
fn claim_to_keep_up<'a>(seat: &Seat<'a>, identity: Option<&ClusterIdentity>) -> Option<&'a PersistentVolumeClaim> {
    let claim = seat.volume.filter(|claim| !is_going(claim))?;
    let is_foreign = match identity {
        Some(identity) => seat.holds_data_of_another(identity.cluster),
        None => is_used(claim),
    };
    (seat.set.is_some() && seat.health != Health::Removed && !seat.misplaced && !is_foreign).then_some(claim)
}

/// What Kubernetes says about a volume that is being expanded.
fn said(valid: &ValidatedCluster<'_>, seat: &Seat<'_>, claim: &PersistentVolumeClaim) -> String {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let held: Vec<_> = conditions.filter(|condition| condition.status == "True").collect();
    let message = |condition: &str| {
        let found = held.iter().find(|held| held.type_ == condition)?;
        Some(found.message.clone().unwrap_or_default())
    };
    if let Some(error) = message("ControllerResizeError").or_else(|| message("NodeResizeError")) {
        return format!(" ({error})");
    }
    if message("FileSystemResizePending").is_some() {
        let pod = names::pod(valid.name, seat.ordinal);
        return format!(
            " (its file system is to be resized: if this stays so, the driver cannot do it while the volume is in use; then delete pod {pod}, one member at a time)"
        );
    }
    String::new()
}
