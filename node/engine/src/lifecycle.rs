//! Owns the requests that make a blank member part of a cluster. Does not own the content of the requests
//! (`parameters.rs`) or their execution: the program executes them, because it owns the disk while the member is blank.

use tokio::sync::oneshot;

use crate::error::AdoptError;
use crate::parameters::{BootstrapParameters, JoinParameters, RestoreParameters};

/// A request to a blank member, and the channel for its answer.
#[derive(Debug)]
pub enum Lifecycle {
    /// Asks the member to become one of the first voters.
    Bootstrap {
        /// Identity of the new cluster.
        parameters: BootstrapParameters,
        /// Receives the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
    /// Asks the member to wait until the leader of a running cluster adds it.
    Join {
        /// Identity of the running cluster.
        parameters: JoinParameters,
        /// Receives the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
    /// Asks the member to fetch a backup and to start a new cluster from the backup.
    Restore {
        /// The backup and the new cluster.
        parameters: RestoreParameters,
        /// Receives the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
}
