//! A way to one bucket: endpoint, keys, time limits. Owns the client; keys are read anew for each use, so that a changed
//! Secret counts at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};

use crate::error::ArchiveError;

/// Files in the credentials directory.
const ACCESS_KEY_ID: &str = "access-key-id";
const SECRET_ACCESS_KEY: &str = "secret-access-key";
/// Optional: certificates, in PEM, of authorities that the endpoint may be signed by.
const CA: &str = "ca.crt";

/// What to sign for if no region is given; most services but AWS accept it.
const DEFAULT_REGION: &str = "us-east-1";

/// Where backups live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectStoreConfig {
    /// URL of the service, such as `http://s3.storage.svc:7070`; empty: AWS in `region`.
    pub endpoint: String,
    /// Region to sign for; empty: `us-east-1`.
    pub region: String,
    /// The bucket, which exists.
    pub bucket: String,
    /// Put before every name; may be empty.
    pub prefix: String,
}

/// How long to wait for a store.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to one request, body included.
    pub request: Duration,
    /// How often one request is repeated.
    pub retries: usize,
    /// No repetition starts later than this after the first attempt.
    pub retry_for: Duration,
}

impl Patience {
    /// For large parts over slow lines.
    pub const TRANSFER: Self = Self {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(60),
        retries: 5,
        retry_for: Duration::from_secs(90),
    };
    /// For somebody who waits for a verdict.
    pub const PROBE: Self = Self {
        connect: Duration::from_secs(2),
        request: Duration::from_secs(3),
        retries: 0,
        retry_for: Duration::from_secs(3),
    };
}

/// A way to one bucket.
#[derive(Clone, Debug)]
pub struct Access {
    /// Which bucket.
    pub store: ObjectStoreConfig,
    /// Directory with the files `access-key-id` and `secret-access-key`, and optionally `ca.crt`; none was configured:
    /// `None`.
    pub credentials: Option<PathBuf>,
    /// How long to wait.
    pub patience: Patience,
}

impl Access {
    /// A client with the keys as they are now.
    pub(super) fn connect(&self) -> Result<AmazonS3, ArchiveError> {
        // object_store takes the process's default; that somebody else has set it is fine, there is only one to set.
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
                max_retries: self.patience.retries,
                retry_timeout: self.patience.retry_for,
            });
        let builder = if endpoint.is_empty() { builder } else { builder.with_endpoint(endpoint.trim_end_matches('/')) };
        builder
            .build()
            .map_err(|reason| ArchiveError::Invalid(format!("no object store can be reached like that: {reason}")))
    }

    fn client_options(&self, folder: &Path) -> Result<ClientOptions, ArchiveError> {
        let mut options = ClientOptions::new()
            .with_connect_timeout(self.patience.connect)
            .with_timeout(self.patience.request)
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

    /// What an answer of this store means.
    pub(super) fn answered(&self, error: &object_store::Error) -> ArchiveError {
        ArchiveError::answered(error, &self.store.bucket)
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
