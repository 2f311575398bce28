//! Why a backup, a restore or a probe failed: one word for machines, a sentence for people. Owns both, and the judgement
//! which answer of a store means what.

use std::error::Error;
use std::path::PathBuf;

use object_store::client::HttpError;
use storage::ClusterId;

/// Why the archive could not do what it was asked. A backup that failed does not exist; a restore that failed left the
/// volume as blank as before.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It does not answer, or only with errors of its own.
    #[error("the object store does not answer: {reason}; check its endpoint, and that members may reach it")]
    StoreUnreachable {
        /// What was seen.
        reason: String,
    },
    /// It answers, and refuses for a reason that is none of the others.
    #[error("the object store refused: {reason}")]
    StoreRefused {
        /// What it said.
        reason: String,
    },
    /// The keys are wrong, or may not do this.
    #[error(
        "the object store refused the credentials: {reason}; check the keys, and that they may read, write and list below the prefix"
    )]
    CredentialsRefused {
        /// What it said.
        reason: String,
    },
    /// There are no keys.
    #[error("no credentials: {path} cannot be read ({reason}); create the credentials Secret with both keys", path = path.display())]
    CredentialsMissing {
        /// Where one was looked for.
        path: PathBuf,
        /// Why it was not read.
        reason: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket {bucket}: create it, it is never created for you")]
    BucketMissing {
        /// Its name.
        bucket: String,
    },
    /// There is no such backup.
    #[error("there is no {key} in the bucket: check the name of the backup, the prefix and the bucket")]
    BackupNotFound {
        /// What was looked for.
        key: String,
    },
    /// What is there is not what was written.
    #[error("{key} is damaged: {reason}; use another backup")]
    BackupCorrupt {
        /// Which object.
        key: String,
        /// What does not match.
        reason: String,
    },
    /// A backup of another cluster.
    #[error("{key} is a backup of cluster {found}, and cluster {asked} was asked for: check which of them is meant")]
    BackupForeign {
        /// Which manifest.
        key: String,
        /// Whose it is.
        found: String,
        /// Whose was asked for.
        asked: ClusterId,
    },
    /// The request itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The member's own side failed.
    #[error("this member failed: {reason}")]
    MemberFailed {
        /// How.
        reason: String,
    },
}

impl ArchiveError {
    /// The cause in one word, for machines.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::StoreUnreachable { .. } => "StoreUnreachable",
            Self::StoreRefused { .. } => "StoreRefused",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::CredentialsMissing { .. } => "CredentialsMissing",
            Self::BucketMissing { .. } => "BucketMissing",
            Self::BackupNotFound { .. } => "BackupNotFound",
            Self::BackupCorrupt { .. } => "BackupCorrupt",
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

    /// What an answer of the store means. Servers agree more about S3's error codes than about the status they come with.
    pub(super) fn answered(error: &object_store::Error, bucket: &str) -> Self {
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

/// S3's codes for keys that are unknown, wrong, worn out, or not allowed to do this.
const CREDENTIAL_CODES: [&str; 8] = [
    "AccessDenied",
    "AccountProblem",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "XAdminUserNotFound", // versitygw without an account service, with status 404
];

/// Whether no usable answer came.
fn is_transport(error: &object_store::Error) -> bool {
    causes(error).any(|cause| cause.is::<HttpError>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error and its sources in one line. Most of them repeat their source; then it is said once.
fn in_full(error: &object_store::Error) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let said = cause.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the server said, if it said something; else what happened. Bounded.
fn in_short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    let short = match (element(text, "Code"), element(text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => text.to_owned(),
    };
    short.chars().take(CHARACTERS_MAX).collect()
}

/// The text of an element in S3's small XML answers.
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
    fn the_code_counts_more_than_the_status() {
        let answered = |body: &str| ArchiveError::answered(&not_found(body), "b");
        assert_eq!(answered("404 <Error><Code>NoSuchBucket</Code></Error>").cause(), "BucketMissing");
        assert_eq!(answered("404 <Error><Code>NoSuchKey</Code></Error>").cause(), "BackupNotFound");
        assert_eq!(answered("404 without a body, as HEAD has it").cause(), "BackupNotFound");
        let unknown = answered("404 <Error><Code>InvalidAccessKeyId</Code><Message>Who?</Message></Error>");
        assert_eq!(unknown.cause(), "CredentialsRefused");
        assert!(unknown.to_string().contains("InvalidAccessKeyId: Who?;"), "{unknown}");
    }
}
