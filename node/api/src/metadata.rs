//! Owns what a call's headers say. The headers themselves are not kept, because a call may last long. Does not own
//! which calls are admitted (`admission.rs`).

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::Status;

use crate::timeout;

/// What the headers of one call say.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    /// Whether the call is to be refused while the member knows no leader.
    pub(super) requires_leader: bool,
    /// Whether the version of the client's API is not text.
    pub(super) has_invalid_version: bool,
    /// How compressed messages are encoded.
    pub(super) encoding: Option<HeaderValue>,
    /// Time that the client gives the call; `None` if it has as long as it takes.
    pub(super) timeout: Option<Duration>,
}

impl Metadata {
    /// Reads the headers.
    ///
    /// # Errors
    /// Returns an error if the timeout is malformed.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let version = headers.get("client-api-version");
        Ok(Self {
            requires_leader: headers.get("hasleader").is_some_and(|value| value == "true"),
            has_invalid_version: version.is_some_and(|text| std::str::from_utf8(text.as_bytes()).is_err()),
            encoding: headers.get("grpc-encoding").cloned(),
            timeout: timeout::given(headers)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &'static str, value: &[u8]) -> Metadata {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())]);
        Metadata::of(&headers).unwrap()
    }

    /// etcd's `WithRequireLeader` sends this header.
    #[test]
    fn a_client_may_require_a_leader() {
        assert!(metadata("hasleader", b"true").requires_leader);
        assert!(!metadata("hasleader", b"false").requires_leader);
        assert!(!Metadata::of(&HeaderMap::new()).unwrap().requires_leader);
    }

    #[test]
    fn a_client_version_must_be_utf8() {
        assert!(metadata("client-api-version", b"3.7\xff").has_invalid_version);
        assert!(!metadata("client-api-version", "3.7-ü".as_bytes()).has_invalid_version);
    }
}
