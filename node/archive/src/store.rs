//! Access to one bucket: endpoint, credentials, time limits. Owns the client. Each operation creates a new client, so
//! that a changed Secret takes effect immediately. Does not own the names in the bucket (`layout.rs`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};

use crate::error::ArchiveError;

/// File with the access key ID in the credentials directory.
const ACCESS_KEY_ID: &str = "access-key-id";
/// File with the secret access key in the credentials directory.
const SECRET_ACCESS_KEY: &str = "secret-access-key";
/// Optional PEM file with the certificates of the authorities that may sign the endpoint's certificate.
const CA: &str = "ca.crt";

/// Region for signatures if none is given. Most services except AWS accept any region.
const DEFAULT_REGION: &str = "us-east-1";

/// Location of backups: service, bucket and prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectStoreConfig {
    /// URL of the service, such as `http://s3.storage.svc:7070`; empty: AWS in `region`.
    pub endpoint: String,
    /// Region for signatures; empty: `us-east-1`.
    pub region: String,
    /// Name of the bucket, which must exist.
    pub bucket: String,
    /// Prefix of every key; may be empty.
    pub prefix: String,
}

/// Time limits and retries of requests to a store.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Time limit for opening a connection.
    pub connect: Duration,
    /// Time limit of one request, including the body of the answer.
    pub request: Duration,
    /// Maximum number of retries of one request.
    pub retries: usize,
    /// Time limit for retries: no retry begins later than this time after the first attempt.
    pub retry_for: Duration,
}

impl Timeouts {
    /// Limits for transfers, which send large parts over slow connections.
    pub const TRANSFER: Self = Self {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(60),
        retries: 5,
        retry_for: Duration::from_secs(90),
    };
    /// Limits for probes. They are short, because the caller of a probe waits for its result.
    pub const PROBE: Self = Self {
        connect: Duration::from_secs(2),
        request: Duration::from_secs(3),
        retries: 0,
        retry_for: Duration::from_secs(3),
    };
}

/// Access to one bucket.
#[derive(Clone, Debug)]
pub struct Access {
    /// Location of the bucket.
    pub store: ObjectStoreConfig,
    /// Directory with the files `access-key-id` and `secret-access-key`, and optionally `ca.crt`; `None`: not
    /// configured.
    pub credentials: Option<PathBuf>,
    /// Time limits and retries.
    pub timeouts: Timeouts,
}

impl Access {
    /// Creates a client with the current credentials.
    ///
    /// # Errors
    /// Returns an error if the credentials cannot be read, or the configuration is invalid. No request was sent.
    pub(super) fn connect(&self) -> Result<AmazonS3, ArchiveError> {
        // object_store uses the default TLS provider of the process. An error means that the default is already set, to
        // the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ObjectStoreConfig { endpoint, region, bucket, .. } = &self.store;
        let Some(folder) = &self.credentials else {
            let reason = "this member was started without --object-store-credentials".to_owned();
            return Err(ArchiveError::CredentialsMissing { path: ACCESS_KEY_ID.into(), reason });
        };
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(if region.is_empty() { DEFAULT_REGION } else { region })
            .with_access_key_id(secret(&folder.join(ACCESS_KEY_ID))?)
            .with_secret_access_key(secret(&folder.join(SECRET_ACCESS_KEY))?)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(self.client_options(folder)?)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: Duration::from_millis(200),
                    max_backoff: Duration::from_secs(5),
                    base: 2.0,
                },
                max_retries: self.timeouts.retries,
                retry_timeout: self.timeouts.retry_for,
            });
        let builder = if endpoint.is_empty() { builder } else { builder.with_endpoint(endpoint.trim_end_matches('/')) };
        builder.build().map_err(|reason| {
            ArchiveError::Invalid(format!("the configuration of the object store is invalid: {reason}"))
        })
    }

    fn client_options(&self, folder: &Path) -> Result<ClientOptions, ArchiveError> {
        let mut options = ClientOptions::new()
            .with_connect_timeout(self.timeouts.connect)
            .with_timeout(self.timeouts.request)
            .with_allow_http(self.store.endpoint.starts_with("http://"));
        let path = folder.join(CA);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(missing(&path, error)),
            Ok(pem) => {
                let unreadable = |reason| ArchiveError::Invalid(format!("{}: {reason}", path.display()));
                for certificate in Certificate::from_pem_bundle(&pem).map_err(unreadable)? {
                    options = options.with_root_certificate(certificate);
                }
            }
        }
        Ok(options)
    }

    /// Interprets an error of this bucket's store.
    pub(super) fn interpret(&self, error: &object_store::Error) -> ArchiveError {
        ArchiveError::interpret(error, &self.store.bucket)
    }
}

fn missing(path: &Path, reason: impl ToString) -> ArchiveError {
    ArchiveError::CredentialsMissing { path: path.to_owned(), reason: reason.to_string() }
}

fn secret(path: &Path) -> Result<String, ArchiveError> {
    let text = fs::read_to_string(path).map_err(|error| missing(path, error))?;
    let text = text.trim();
    if text.is_empty() { Err(missing(path, "it is empty")) } else { Ok(text.to_owned()) }
}
