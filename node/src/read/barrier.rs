//! Linearizable reads that share one quorum round.

use crate::apply::reply::Waiter;
use crate::handle::error::ReadError;

/// Somebody who wants to read what is committed by now.
pub(crate) type ReadWaiter = Waiter<Result<(), ReadError>>;
