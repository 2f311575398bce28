//! The refusal of images that are older than what the cluster ran: by the feature level of the cluster's data, and by
//! version. Owns the comparison with the last completed rollout. Does not own the form of versions (`completed.rs`).

use std::collections::BTreeMap;

use crds::Reason;

use crate::completed::{CompletedRollout, Version};
use crate::decision::Note;
use crate::names;
use crate::observed::{Observed, annotation, image_of_pod};
use crate::roster::Roster;
use crate::validated::ValidatedCluster;

/// The first version whose members report feature levels. Every earlier one supports only the first level.
const FIRST_WITH_LEVELS: Version = Version::of(0, 3, 0);

/// What members with one image report about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reported<'r> {
    /// The version; `None` if it cannot be compared.
    pub(super) version: Option<Version>,
    /// The highest feature level that the image supports.
    pub(super) supports: u32,
    /// The version as it was reported.
    pub(super) text: &'r str,
}

/// The images of a cluster, as members report them now and as the record notes them.
struct Images<'r> {
    reported: BTreeMap<&'r str, Reported<'r>>,
    completed: &'r CompletedRollout,
}

impl Images<'_> {
    fn version(&self, image: &str) -> Option<Version> {
        let reported = self.reported.get(image).and_then(|reported| reported.version);
        reported.or_else(|| self.completed.version_of(image))
    }

    /// The highest feature level that an image supports; `None` while no member has reported it.
    fn supports(&self, image: &str) -> Option<u32> {
        let reported = self.reported.get(image).map(|reported| reported.supports);
        let noted = || self.completed.support_of(image);
        let implied = || self.version(image).filter(|version| *version < FIRST_WITH_LEVELS).map(|_| 1);
        reported.or_else(noted).or_else(implied)
    }
}

/// The reason why the image of the spec must not be rolled out; `None` if it may be. An image of which nothing is known
/// may be: the first member with it reports its version and what it supports.
pub(super) fn refused(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Option<Note> {
    let completed = valid.completed.as_ref()?;
    if completed.image == valid.image {
        return None;
    }
    let images = Images { reported: reported(roster), completed };
    let level = completed.level.unwrap_or(1).max(level(roster));
    let supports = images.supports(&valid.image);
    if let Some(supports) = supports.filter(|supports| *supports < level) {
        // No annotation allows it, because no member could start.
        let message = format!(
            "image {:?} supports feature level {supports}, and the cluster's data is at level {level}: no member restarts. Set an image that supports level {level}",
            valid.image
        );
        return Some(Note::new(Reason::DowngradeRefused, message));
    }
    // Programs that report levels open all data up to their level, whatever their versions are.
    let reports_levels = |supports: Option<u32>| supports > Some(1);
    if is_allowed(observed) || (reports_levels(supports) && reports_levels(images.supports(&completed.image))) {
        return None;
    }
    let (wanted, recorded) = (images.version(&valid.image)?, images.version(&completed.image)?);
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

/// The highest feature level of the cluster that a member reports now.
pub(super) fn level(roster: &Roster<'_>) -> u32 {
    let members = roster.seats.values().filter(|seat| seat.health.serves());
    members.filter_map(|seat| seat.report).map(|report| report.level).max().unwrap_or(1)
}

/// What is reported about each image now. If a tag moved, the higher version counts.
pub(super) fn reported<'r>(roster: &'r Roster<'_>) -> BTreeMap<&'r str, Reported<'r>> {
    let mut images: BTreeMap<&str, Reported<'_>> = BTreeMap::new();
    for seat in roster.seats.values() {
        let Some((image, report)) = seat.pod.and_then(image_of_pod).zip(seat.report) else { continue };
        // A member that does not know the caller says only in which phase it is.
        if report.version.is_empty() {
            continue;
        }
        let reported =
            Reported { version: report.version.parse().ok(), supports: report.supports, text: &report.version };
        let known = images.entry(image).or_insert(reported);
        *known = reported.max(*known);
    }
    images
}
