//! Owns who may ask: whoever knows the cluster's token. Does not own the token: a member keeps only its SHA-256.

use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The metadata that carries it.
const KEY: &str = "raft-token";

/// Whether a caller showed the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The right one.
    Right,
    /// Another one.
    Wrong,
    /// None.
    Nothing,
    /// One, to a member that knows none yet.
    Unknown,
}

/// Compares what a caller shows with what the member keeps.
pub(super) fn shown(metadata: &MetadataMap, kept: Option<&[u8; 32]>) -> Shown {
    match (metadata.get(KEY), kept) {
        (None, _) => Shown::Nothing,
        (Some(_), None) => Shown::Unknown,
        (Some(token), Some(kept)) if same(&sha256(token.as_bytes()), kept) => Shown::Right,
        (Some(_), Some(_)) => Shown::Wrong,
    }
}

/// Refuses everybody who did not show the right token.
pub(super) fn require(shown: Shown) -> Result<(), Status> {
    match shown {
        Shown::Right => Ok(()),
        Shown::Wrong => {
            Err(Status::unauthenticated("raft-token is not this cluster's: take it from the identity Secret"))
        }
        Shown::Nothing => {
            Err(Status::unauthenticated("metadata raft-token is missing: take it from the identity Secret"))
        }
        Shown::Unknown => {
            Err(Status::failed_precondition("this member is blank: bootstrap it, or let it join or restore"))
        }
    }
}

/// Refuses everybody who does not show the token that a blank member is about to learn.
pub(super) fn require_same(metadata: &MetadataMap, token: &str) -> Result<(), Status> {
    let kept = sha256(token.as_bytes());
    require(shown(metadata, Some(&kept)))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Takes the same time wherever they differ.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
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
    fn only_the_right_token_is_right() {
        let kept = sha256(b"secret");
        assert_eq!(shown(&with("secret"), Some(&kept)), Shown::Right);
        assert_eq!(shown(&with("Secret"), Some(&kept)), Shown::Wrong);
        assert_eq!(shown(&with(""), Some(&kept)), Shown::Wrong);
        assert_eq!(shown(&MetadataMap::new(), Some(&kept)), Shown::Nothing);
        assert_eq!(shown(&with("secret"), None), Shown::Unknown);
    }

    #[test]
    fn every_differing_byte_counts() {
        let kept = sha256(b"secret");
        for place in 0..kept.len() {
            let mut other = kept;
            other[place] ^= 0x80;
            assert!(!same(&kept, &other), "byte {place}");
        }
        assert!(same(&kept, &sha256(b"secret")));
    }

    #[test]
    fn a_refusal_says_where_the_token_is() {
        for (shown, code) in [
            (Shown::Wrong, tonic::Code::Unauthenticated),
            (Shown::Nothing, tonic::Code::Unauthenticated),
            (Shown::Unknown, tonic::Code::FailedPrecondition),
        ] {
            assert_eq!(require(shown).unwrap_err().code(), code);
        }
        assert!(require(Shown::Right).is_ok());
        assert!(require_same(&with("secret"), "secret").is_ok());
        assert!(require_same(&with("secret"), "other").is_err());
        assert!(require_same(&MetadataMap::new(), "secret").is_err());
    }
}
