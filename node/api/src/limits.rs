//! Owns the limits on the size of requests. The defaults equal those of etcd. Does not own the quota, which depends on
//! the store (`admission.rs`), nor the limit on the operations of a transaction (`mvcc::MAX_TXN_OPS`).

use crate::status::Refusal;

const MIB: usize = 1024 * 1024;

/// Limits on the size of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum encoded size of a request that enters the log, in bytes (etcd's `--max-request-bytes`).
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { request_bytes_max: MIB + MIB / 2 }
    }
}

impl Limits {
    /// Number of bytes by which a received message may exceed `request_bytes_max`, as in etcd. These additional bytes
    /// allow for the encoding.
    const RECEIVE_OVERHEAD_BYTES: usize = MIB / 2;
    /// Number of bytes that etcd adds to the size of a request before it compares the size with the limit: tag and
    /// length of the request (4), and a header with a request ID (14). The ID needs 10 bytes on half of the members
    /// and 9 on the others.
    const LOG_OVERHEAD_BYTES: usize = 4 + 14;

    /// Maximum size of a received message, in bytes.
    #[must_use]
    pub fn receive_bytes_max(&self) -> usize {
        self.request_bytes_max + Self::RECEIVE_OVERHEAD_BYTES
    }

    /// Checks the encoded size of a request before the request enters the log.
    ///
    /// # Errors
    /// Returns [`Refusal::RequestTooLarge`] if the size is above the limit.
    pub fn check_for_log(&self, encoded_bytes: usize) -> Result<(), Refusal> {
        if encoded_bytes + Self::LOG_OVERHEAD_BYTES > self.request_bytes_max {
            return Err(Refusal::RequestTooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_etcd() {
        let limits = Limits::default();
        assert_eq!(limits.request_bytes_max, 1_572_864);
        assert_eq!(limits.receive_bytes_max(), 2_097_152);
    }

    #[test]
    fn the_limit_includes_the_overhead_of_the_log() {
        let limits = Limits { request_bytes_max: 1000 };
        assert_eq!(limits.check_for_log(982), Ok(()));
        assert_eq!(limits.check_for_log(983), Err(Refusal::RequestTooLarge));
    }
}
