//! Names of objects in a bucket. Owns all of these names. Does not own the objects.

use object_store::path::Path;
use raft::{EntryId, MemberId};
use storage::ClusterId;

use crate::error::ArchiveError;

/// Version of the layout, which is part of every name.
const VERSION: &str = "v1";

/// Maximum length of a backup's name in bytes.
const NAME_BYTES_MAX: usize = 253;

/// Folder of one cluster in a bucket.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Path without slashes at either end; its last part is the cluster ID.
    path: String,
}

impl Folder {
    /// Creates the folder of a cluster below a prefix.
    pub(super) fn new(prefix: &str, cluster: ClusterId) -> Result<Self, ArchiveError> {
        let prefix = prefix.trim_matches('/');
        let path =
            if prefix.is_empty() { format!("{VERSION}/{cluster}") } else { format!("{prefix}/{VERSION}/{cluster}") };
        key(&path)?;
        Ok(Self { path })
    }

    /// Key of the manifest of the backup with this name.
    pub(super) fn manifest(&self, name: &str) -> Result<Path, ArchiveError> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_valid) || name.starts_with('.') {
            return Err(ArchiveError::Invalid(format!(
                "{name:?} is not a valid name of a backup: use up to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
            )));
        }
        key(&format!("{}/manifest/{name}.json", self.path))
    }

    /// Name of the image of a full backup, relative to the folder. The name is derived from the image's content.
    pub(super) fn base(revision: i64, applied: EntryId, sha256: &str) -> String {
        // The revision is padded with zeros, so that names sort by revision.
        let digits: String = sha256.chars().take(16).collect();
        format!("base/{revision:019}-{:020}-{digits}.snap", applied.index.0)
    }

    /// Key of an object whose name is relative to the folder.
    pub(super) fn object(&self, relative: &str) -> Result<Path, ArchiveError> {
        key(&format!("{}/{relative}", self.path))
    }

    /// Key of the object that a member writes to test whether it can write to the bucket.
    pub(super) fn probe(&self, member: MemberId) -> Result<Path, ArchiveError> {
        key(&format!("{}/probe/{member}", self.path))
    }
}

/// Parses a key.
///
/// # Errors
/// Returns an error if the text is not a valid key.
pub(super) fn key(text: &str) -> Result<Path, ArchiveError> {
    Path::parse(text)
        .map_err(|reason| ArchiveError::Invalid(format!("{text:?} is not a valid key of an object: {reason}")))
}

/// Folder in which a manifest is: the part of the manifest's key before `/manifest/`.
pub(super) fn folder_of(manifest: &Path) -> Option<Folder> {
    let (path, name) = manifest.as_ref().rsplit_once("/manifest/")?;
    (!name.contains('/')).then(|| Folder { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{Index, Term};

    fn folder(prefix: &str) -> Folder {
        Folder::new(prefix, ClusterId([0xAB; 16])).expect("a valid prefix")
    }

    #[test]
    fn names_are_as_documented() {
        let cluster = "ab".repeat(16);
        assert_eq!(
            folder("/prod/raft/").manifest("monday").expect("a name").as_ref(),
            format!("prod/raft/v1/{cluster}/manifest/monday.json")
        );
        let applied = EntryId { term: Term(2), index: Index(1234) };
        let base = Folder::base(56, applied, &"0123456789abcdef".repeat(4));
        assert_eq!(base, "base/0000000000000000056-00000000000000001234-0123456789abcdef.snap");
        assert_eq!(folder("").object(&base).expect("a name").as_ref(), format!("v1/{cluster}/{base}"));
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for name in ["", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(254)] {
            assert!(matches!(folder("").manifest(name), Err(ArchiveError::Invalid(_))), "{name:?}");
        }
        assert!(Folder::new("a/../b", ClusterId([1; 16])).is_err());
    }

    #[test]
    fn the_folder_of_a_manifest_is_found() {
        let manifest = folder("p").manifest("m").expect("a name");
        let found = folder_of(&manifest).expect("it lies in a folder");
        assert_eq!(found.path, folder("p").path);
        assert!(folder_of(&key("v1/x/base/m.json").expect("a key")).is_none());
    }
}
