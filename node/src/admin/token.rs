//! Owns the authentication of admin calls: the caller must send the cluster's token. Does not own the token: a member
//! stores only the token's SHA-256.

use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// Metadata key of the token.
const KEY: &str = "raft-token";

/// Result of checking the token of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenCheck {
    /// The call carries the cluster's token.
    Right,
    /// The call carries another token.
    Wrong,
    /// The call carries no token.
    Missing,
    /// The call carries a token, but this member is blank and has no token yet.
    NothingToCompare,
}

/// Compares the token of a call with the hash that the member stores.
pub(super) fn check(metadata: &MetadataMap, stored: Option<&[u8; 32]>) -> TokenCheck {
    match (metadata.get(KEY), stored) {
        (None, _) => TokenCheck::Missing,
        (Some(_), None) => TokenCheck::NothingToCompare,
        (Some(token), Some(stored)) if is_equal(&sha256(token.as_bytes()), stored) => TokenCheck::Right,
        (Some(_), Some(_)) => TokenCheck::Wrong,
    }
}

/// Refuses every call that does not carry the right token.
pub(super) fn require(check: TokenCheck) -> Result<(), Status> {
    match check {
        TokenCheck::Right => Ok(()),
        TokenCheck::Wrong => Err(Status::unauthenticated(
            "metadata raft-token is not this cluster's token: use the one in the identity Secret",
        )),
        TokenCheck::Missing => {
            Err(Status::unauthenticated("metadata raft-token is missing: send the token in the identity Secret"))
        }
        TokenCheck::NothingToCompare => {
            Err(Status::failed_precondition("this member is blank: call Bootstrap, Join or Restore first"))
        }
    }
}

/// Refuses a call that gives an identity to a blank member, unless the call's metadata carries `token`, the token in
/// that identity.
pub(super) fn require_same(metadata: &MetadataMap, token: &str) -> Result<(), Status> {
    let given = sha256(token.as_bytes());
    require(check(metadata, Some(&given)))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compares all bytes, so that the duration does not reveal in which byte the hashes differ.
fn is_equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(token: &'static str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(KEY, token.parse().unwrap());
        metadata
    }

    #[test]
    fn only_the_clusters_token_is_accepted() {
        let stored = sha256(b"secret");
        assert_eq!(check(&with("secret"), Some(&stored)), TokenCheck::Right);
        assert_eq!(check(&with("Secret"), Some(&stored)), TokenCheck::Wrong);
        assert_eq!(check(&with(""), Some(&stored)), TokenCheck::Wrong);
        assert_eq!(check(&MetadataMap::new(), Some(&stored)), TokenCheck::Missing);
        assert_eq!(check(&with("secret"), None), TokenCheck::NothingToCompare);
    }

    #[test]
    fn hashes_that_differ_in_any_byte_are_unequal() {
        let stored = sha256(b"secret");
        for index in 0..stored.len() {
            let mut other = stored;
            other[index] ^= 0x80;
            assert!(!is_equal(&stored, &other), "byte {index}");
        }
        assert!(is_equal(&stored, &sha256(b"secret")));
    }

    #[test]
    fn calls_without_the_right_token_are_refused() {
        for (check, code) in [
            (TokenCheck::Wrong, tonic::Code::Unauthenticated),
            (TokenCheck::Missing, tonic::Code::Unauthenticated),
            (TokenCheck::NothingToCompare, tonic::Code::FailedPrecondition),
        ] {
            assert_eq!(require(check).unwrap_err().code(), code);
        }
        assert!(require(TokenCheck::Right).is_ok());
        assert!(require_same(&with("secret"), "secret").is_ok());
        assert!(require_same(&with("secret"), "other").is_err());
        assert!(require_same(&MetadataMap::new(), "secret").is_err());
    }
}
