//! The refusal of images that are older than what the cluster ran. Owns the comparison with the last completed rollout.
//! Does not own the form of versions (`completed.rs`).

use std::collections::BTreeMap;

use crds::Reason;

use crate::completed::Version;
use crate::decision::Note;
use crate::names;
use crate::observed::{Observed, annotation, image_of_pod};
use crate::roster::Roster;
use crate::validated::ValidatedCluster;

/// The reason why the image of the spec must not be rolled out; `None` if it may be. An image of unknown version may be:
/// the first member with it reports its version.
pub(super) fn refused(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Option<Note> {
    let completed = valid.completed.as_ref()?;
    if completed.image == valid.image || is_allowed(observed) {
        return None;
    }
    let reported = reported(roster);
    let version = |image: &str| {
        let reported = reported.get(image).and_then(|version| version.parse().ok());
        reported.or_else(|| completed.version_of(image))
    };
    let (wanted, recorded): (Version, Version) = (version(&valid.image)?, version(&completed.image)?);
    (wanted < recorded).then(|| {
        let message = format!(
            "image {:?} has version {wanted}, and the members' data was written by version {recorded} of {:?}: no member restarts. Set another image, or annotate the RaftCluster with {}: \"true\"",
            valid.image,
            completed.image,
            names::ANNOTATION_ALLOW_DOWNGRADE
        );
        Note::new(Reason::DowngradeRefused, message)
    })
}

fn is_allowed(observed: &Observed) -> bool {
    annotation(&observed.cluster.metadata, names::ANNOTATION_ALLOW_DOWNGRADE) == Some("true")
}

/// The version of each image, as members report it now. If a tag moved, the higher version counts.
pub(super) fn reported<'r>(roster: &'r Roster<'_>) -> BTreeMap<&'r str, &'r str> {
    let mut versions: BTreeMap<&str, (Version, &str)> = BTreeMap::new();
    for seat in roster.seats.values() {
        let Some((image, text)) = seat.pod.and_then(image_of_pod).zip(seat.report.map(|report| &*report.version))
        else {
            continue;
        };
        let Ok(version) = text.parse::<Version>() else { continue };
        let known = versions.entry(image).or_insert((version, text));
        if version > known.0 {
            *known = (version, text);
        }
    }
    versions.into_iter().map(|(image, (_, text))| (image, text)).collect()
}
