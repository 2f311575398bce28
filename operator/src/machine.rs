//! What the operator takes from the machine on which it runs: wall-clock time and random bytes. Owns the interface,
//! because a simulator gives other answers. Does not own what either is used for.

use k8s_openapi::jiff::Timestamp;
use plan::observed::Entropy;

/// A source of wall-clock time and randomness. Durations are measured on tokio's monotonic clock instead.
pub trait Machine: Send + Sync {
    /// The time of the wall clock.
    fn wall_clock(&self) -> Timestamp;

    /// Random bytes for one observation.
    ///
    /// # Errors
    /// Returns an error if no random bytes are available. Nothing is generated.
    fn entropy(&self) -> Result<Entropy, NoEntropy>;
}

/// The machine on which this process runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn wall_clock(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Reads random bytes from the operating system.
    fn entropy(&self) -> Result<Entropy, NoEntropy> {
        let random = rustls::crypto::ring::default_provider().secure_random;
        let (mut id, mut token) = ([0; 16], [0; 32]);
        random.fill(&mut id).map_err(|_| NoEntropy)?;
        random.fill(&mut token).map_err(|_| NoEntropy)?;
        Ok(Entropy { cluster_id: u128::from_be_bytes(id), token })
    }
}

/// The operating system provides no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system has no random bytes")]
pub struct NoEntropy;
