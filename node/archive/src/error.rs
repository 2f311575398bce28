//! Errors of backups, restores and probes: a cause for programs and a sentence for people. Owns both, and the
//! interpretation of an object store's errors. Does not own retries (`store.rs`).

use std::error::Error;
use std::path::PathBuf;

use mvcc::FeatureLevel;
use object_store::client::HttpError;
use storage::ClusterId;

/// Reason why a backup, restore or probe failed. After a failed backup, no backup exists; after a failed restore, the
/// volume is blank.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store does not answer, or answers only with server errors.
    #[error("the object store does not answer: {reason}; check its endpoint, and that members can reach it")]
    StoreUnreachable {
        /// Error of the last attempt.
        reason: String,
    },
    /// The store refuses the request for a reason that no other variant covers.
    #[error("the object store refused: {reason}")]
    StoreRefused {
        /// Answer of the store.
        reason: String,
    },
    /// The credentials are wrong, or lack a permission.
    #[error(
        "the object store refused the credentials: {reason}; check the keys, and that they may read, write and list below the prefix"
    )]
    CredentialsRefused {
        /// Answer of the store.
        reason: String,
    },
    /// There are no credentials.
    #[error("no credentials: {path} cannot be read ({reason}); create the credentials Secret with both keys", path = path.display())]
    CredentialsMissing {
        /// File that cannot be read.
        path: PathBuf,
        /// Error of the operating system.
        reason: String,
    },
    /// The bucket does not exist.
    #[error("bucket {bucket} does not exist: create it, because members never create buckets")]
    BucketMissing {
        /// Name of the bucket.
        bucket: String,
    },
    /// The backup does not exist.
    #[error("{key} does not exist in the bucket: check the name of the backup, the prefix and the bucket")]
    BackupNotFound {
        /// Key that was requested.
        key: String,
    },
    /// An object differs from what was written.
    #[error("{key} is damaged: {reason}; use another backup")]
    BackupCorrupt {
        /// Key of the object.
        key: String,
        /// The difference between what was read and what was expected.
        reason: String,
    },
    /// The backup belongs to another cluster.
    #[error("{key} is a backup of cluster {found}, not of cluster {expected}: check which cluster is meant")]
    BackupForeign {
        /// Key of the manifest.
        key: String,
        /// Cluster in the manifest.
        found: String,
        /// Cluster in the request.
        expected: ClusterId,
    },
    /// A newer program wrote the backup, of a cluster whose feature level this program does not support.
    #[error(
        "{key} is a backup at feature level {level}, this program supports {supports}: restore it with a newer version"
    )]
    BackupTooNew {
        /// Key of the manifest.
        key: String,
        /// Feature level of the backup.
        level: FeatureLevel,
        /// Highest level that this program supports.
        supports: FeatureLevel,
    },
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// An operation of the member itself failed.
    #[error("this member failed: {reason}")]
    MemberFailed {
        /// Error of the operation.
        reason: String,
    },
}

impl ArchiveError {
    /// Returns the cause as one word that programs can evaluate.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::StoreUnreachable { .. } => "StoreUnreachable",
            Self::StoreRefused { .. } => "StoreRefused",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::CredentialsMissing { .. } => "CredentialsMissing",
            Self::BucketMissing { .. } => "BucketMissing",
            Self::BackupNotFound { .. } => "BackupNotFound",
            // Both are cured by another backup only, or by a newer program, which the sentence says.
            Self::BackupCorrupt { .. } | Self::BackupTooNew { .. } => "BackupCorrupt",
            Self::BackupForeign { .. } => "BackupForeign",
            Self::Invalid(_) => "Invalid",
            Self::MemberFailed { .. } => "MemberFailed",
        }
    }

    pub(super) fn corrupt(key: &str, reason: impl ToString) -> Self {
        Self::BackupCorrupt { key: key.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn member(reason: impl ToString) -> Self {
        Self::MemberFailed { reason: reason.to_string() }
    }

    /// Interprets an error of the store. S3's error codes take precedence over the HTTP status, because S3 servers
    /// differ more in the status than in the code.
    pub(super) fn interpret(error: &object_store::Error, bucket: &str) -> Self {
        let text = in_full(error);
        let code = element(&text, "Code").unwrap_or_default();
        let reason = in_short(&text);
        match (code, error) {
            ("NoSuchBucket", _) => Self::BucketMissing { bucket: bucket.to_owned() },
            (code, _) if CREDENTIAL_CODES.contains(&code) => Self::CredentialsRefused { reason },
            (_, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => {
                Self::CredentialsRefused { reason }
            }
            ("NoSuchKey" | "", object_store::Error::NotFound { path, .. }) => {
                Self::BackupNotFound { key: path.clone() }
            }
            _ if is_transport(error) || text.contains("status code: 5") => Self::StoreUnreachable { reason },
            _ => Self::StoreRefused { reason },
        }
    }
}

/// S3's codes for credentials that are unknown, wrong or expired, or lack a permission.
const CREDENTIAL_CODES: [&str; 8] = [
    "AccessDenied",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound", // sent by versitygw without an account service, with status 404
];

/// Returns true if the connection failed; the server has then sent no usable answer.
fn is_transport(error: &object_store::Error) -> bool {
    causes(error).any(|cause| cause.is::<HttpError>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Text of an error and its sources in one line. Most errors contain the text of their source; that text is then not
/// repeated.
fn in_full(error: &object_store::Error) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Code and message of the server's answer, or the text of the error if there is no such answer; shortened.
fn in_short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    let short = match (element(text, "Code"), element(text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => text.to_owned(),
    };
    short.chars().take(CHARACTERS_MAX).collect()
}

/// Text of the element `name` in one of S3's small XML answers.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(body: &str) -> object_store::Error {
        object_store::Error::NotFound { path: "a/b".into(), source: body.into() }
    }

    #[test]
    fn the_code_takes_precedence_over_the_status() {
        let interpret = |body: &str| ArchiveError::interpret(&not_found(body), "b");
        assert_eq!(interpret("404 <Error><Code>NoSuchBucket</Code></Error>").cause(), "BucketMissing");
        assert_eq!(interpret("404 <Error><Code>NoSuchKey</Code></Error>").cause(), "BackupNotFound");
        assert_eq!(interpret("404 without a body, as HEAD has it").cause(), "BackupNotFound");
        let unknown = interpret("404 <Error><Code>InvalidAccessKeyId</Code><Message>Who?</Message></Error>");
        assert_eq!(unknown.cause(), "CredentialsRefused");
        assert!(unknown.to_string().contains("InvalidAccessKeyId: Who?;"), "{unknown}");
    }
}
