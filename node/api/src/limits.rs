//! Owns the sizes that a client must keep to, as etcd has them by default. Does not own the limits that only the store can
//! judge, nor the number of a transaction's operations (`mvcc::MAX_TXN_OPS`).

use crate::status::Refusal;

const MIB: usize = 1024 * 1024;

/// How large requests may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that a request which enters the log may be encoded in (etcd's `--max-request-bytes`).
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { request_bytes_max: MIB + MIB / 2 }
    }
}

impl Limits {
    /// What etcd allows on top for the encoding of a message.
    const RECEIVE_OVERHEAD_BYTES: usize = MIB / 2;
    /// What etcd wraps around a request before it compares: the request's tag and length (4), and a header with a request
    /// ID (14, of which the ID takes 10 on every other member and 9 elsewhere).
    const LOG_OVERHEAD_BYTES: usize = 4 + 14;

    /// The most bytes that a message may have to be received at all.
    #[must_use]
    pub fn receive_bytes_max(&self) -> usize {
        self.request_bytes_max + Self::RECEIVE_OVERHEAD_BYTES
    }

    /// Judges a request that is to enter the log, by its encoded size.
    ///
    /// # Errors
    /// [`Refusal::RequestTooLarge`].
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
    fn the_defaults_are_etcds() {
        let limits = Limits::default();
        assert_eq!(limits.request_bytes_max, 1_572_864);
        assert_eq!(limits.receive_bytes_max(), 2_097_152);
    }

    #[test]
    fn a_request_for_the_log_is_judged_with_what_wraps_it() {
        let limits = Limits { request_bytes_max: 1000 };
        assert_eq!(limits.check_for_log(982), Ok(()));
        assert_eq!(limits.check_for_log(983), Err(Refusal::RequestTooLarge));
    }
}
