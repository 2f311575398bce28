//! Owns the requests that end a blank member's life as blank. Does not own what they carry (`record.rs`) or how they are carried
//! out: the program does that, as it owns the disk until then.

use tokio::sync::oneshot;

use crate::error::AdoptError;
use crate::record::{BootstrapRecord, JoinRecord, RestoreRecord};

/// What a caller asks of a blank member, and where the answer goes.
#[derive(Debug)]
pub enum Lifecycle {
    /// Become one of the first voters.
    Bootstrap {
        /// The new cluster.
        record: BootstrapRecord,
        /// Takes the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
    /// Wait for a running cluster's leader.
    Join {
        /// The running cluster.
        record: JoinRecord,
        /// Takes the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
    /// Fetch a backup and start from it.
    Restore {
        /// The backup and the new cluster.
        record: RestoreRecord,
        /// Takes the outcome.
        reply: oneshot::Sender<Result<(), AdoptError>>,
    },
}
