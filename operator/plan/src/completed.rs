//! The last completed rollout: what every member of the cluster ran, as an annotation of the members' Service records
//! it. Owns the form of the record and the comparison of versions. Does not own when the record is written
//! (`rollout/record.rs`), nor what follows from it. The reasons are in `operator/docs/decisions/rollouts.md`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names;
use crate::observed::{Observed, annotation};

/// Largest record with settings, in bytes. Kubernetes allows 256 KiB for all annotations of an object together.
const RECORD_BYTES_MAX: usize = 96 << 10;
/// Number of images whose version is kept.
const IMAGES_MAX: usize = 16;

/// What every member of the cluster ran when the last rollout was completed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CompletedRollout {
    /// The image of the members.
    pub image: String,
    /// The pull policy of the members; `None` for the default of Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Digest of the settings.
    pub digest: String,
    /// The settings that the digest was computed from. `None` if they are too large for an annotation, or if the spec
    /// asked for others when the record was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
    /// Versions of images, as members reported them. The image that was reported last is the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<ImageVersion>,
    /// The highest feature level of the cluster that a member ever reported; `None` while it is the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
}

/// The version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ImageVersion {
    /// The image.
    pub image: String,
    /// The version that a member with this image reported.
    pub version: String,
    /// The highest feature level that the image supports; `None` if a member reported only the first one, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supports: Option<u32>,
}

/// A version of the member's program, such as `0.2.0`. The order is that of releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u64; 3]);

/// The error for a text that is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not up to three numbers, separated by dots")]
pub struct NotAVersion;

impl Version {
    /// The version of these three numbers.
    #[must_use]
    pub const fn of(major: u64, minor: u64, patch: u64) -> Self {
        Self([major, minor, patch])
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let release = text.split(['-', '+']).next().unwrap_or_default();
        let mut version = [0; 3];
        let mut numbers = release.split('.');
        for (place, number) in version.iter_mut().zip(&mut numbers) {
            *place = number.parse().map_err(|_| NotAVersion)?;
        }
        if numbers.next().is_some() { Err(NotAVersion) } else { Ok(Self(version)) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl CompletedRollout {
    /// The record of the observed cluster. `None` if there is none, or if this version cannot read it.
    #[must_use]
    pub fn read(observed: &Observed) -> Option<Self> {
        let service = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))?;
        serde_json::from_str(annotation(&service.metadata, names::ANNOTATION_COMPLETED_ROLLOUT)?).ok()
    }

    /// The record as the value of an annotation, without the settings if it is too large with them.
    #[must_use]
    pub fn to_annotation(&self) -> String {
        let text = |record: &Self| serde_json::to_string(record).expect("plain data always serializes");
        let whole = text(self);
        debug_assert!(!self.image.is_empty() && !self.digest.is_empty(), "a record says what every member ran");
        if whole.len() <= RECORD_BYTES_MAX { whole } else { text(&Self { settings: None, ..self.clone() }) }
    }

    /// The version of an image, if a member reported one that can be compared.
    #[must_use]
    pub fn version_of(&self, image: &str) -> Option<Version> {
        self.noted(image)?.version.parse().ok()
    }

    /// The highest feature level that an image supports, if a member reported one above the first.
    #[must_use]
    pub fn support_of(&self, image: &str) -> Option<u32> {
        self.noted(image)?.supports
    }

    fn noted(&self, image: &str) -> Option<&ImageVersion> {
        self.versions.iter().rev().find(|known| known.image == image)
    }

    /// Notes the highest feature level of the cluster.
    pub fn note_level(&mut self, level: u32) {
        self.level = self.level.max((level > 1).then_some(level));
    }

    /// Notes the version of an image and the highest feature level that it supports. Drops the image that was noted
    /// first if there are too many.
    pub fn note_version(&mut self, image: &str, version: &str, supports: u32) {
        let supports = (supports > 1).then_some(supports);
        let noted = ImageVersion { image: image.to_owned(), version: version.to_owned(), supports };
        if self.versions.contains(&noted) {
            return;
        }
        self.versions.retain(|known| known.image != image);
        self.versions.push(noted);
        let excess = self.versions.len().saturating_sub(IMAGES_MAX);
        self.versions.drain(..excess);
        debug_assert!(self.versions.len() <= IMAGES_MAX, "an annotation has a limited size");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(settings: Value) -> CompletedRollout {
        let (image, digest) = ("raft-node:1".to_owned(), "d".to_owned());
        let settings = Some(settings);
        CompletedRollout { image, image_pull_policy: None, digest, settings, versions: Vec::new(), level: None }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut written = record(json!({ "image": "raft-node:1" }));
        written.note_version("raft-node:1", "0.2.0", 1);
        assert!(!written.to_annotation().contains("evel"), "the first level is what former versions imply");
        written.note_version("raft-node:2", "0.3.0", 2);
        written.note_level(2);
        written.note_level(1);
        assert_eq!((written.level, written.support_of("raft-node:2")), (Some(2), Some(2)));
        assert_eq!(serde_json::from_str(&written.to_annotation()).ok(), Some(written));
    }

    #[test]
    fn a_record_that_is_too_large_for_an_annotation_lacks_the_settings() {
        let text = record(json!({ "pod": "x".repeat(RECORD_BYTES_MAX) })).to_annotation();
        assert!(text.len() < 1024, "{} bytes", text.len());
        let read: CompletedRollout = serde_json::from_str(&text).expect("a record");
        assert_eq!((read.image.as_str(), read.settings), ("raft-node:1", None));
    }

    #[test]
    fn the_oldest_images_are_forgotten() {
        let mut record = record(Value::Null);
        for number in 0..100 {
            record.note_version(&format!("raft-node:{number}"), "0.2.0", 1);
        }
        assert_eq!(record.versions.len(), IMAGES_MAX);
        assert_eq!(record.version_of("raft-node:99"), Some(Version::of(0, 2, 0)));
        record.note_version("raft-node:99", "0.3.0", 1);
        assert_eq!(record.version_of("raft-node:99"), Some(Version::of(0, 3, 0)), "a tag that moved");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("0.10.0").expect("a version") > version("0.9.9").expect("a version"));
        assert_eq!(version("1"), Ok(Version::of(1, 0, 0)));
        assert_eq!(version("0.2.0-rc.1"), version("0.2.0"), "a candidate has the features of its release");
        for text in ["", "latest", "1.2.3.4", "-1"] {
            assert_eq!(version(text), Err(NotAVersion), "{text:?}");
        }
    }
}
