//! The replicated store without sockets. Commands enter through a [`handle::Handle`], the driver passes them through the Raft
//! core, the log and the state machine, and the callers receive the outcomes. Owns the threads, queues and batches of one member.
//! Does not own connections, the encoding of messages, metrics or the order of a shutdown: the program passes in a
//! [`transport::Transport`] and an [`observer::Observer`], and stops the member.
//!
//! A module uses only modules that precede it in the following list:
//!
//! ```text
//! leaves     fatal clock mailbox slot level transport observer parameters retention hash_check status space error lifecycle
//!            outcome published
//! requests   reply → {propose::admission, log_reads, read::executor} → event → inbox → shared → handle
//! pacing     propose::{pending, batch}   read::barrier
//! threads    log_thread   apply   driver   snapshot_thread   incoming_snapshot
//! assembly   wiring → threads
//! ```

pub mod fatal;

pub mod clock;
mod mailbox;
mod slot;

pub mod level;

pub mod observer;
pub mod transport;

pub mod hash_check;
pub mod parameters;
pub mod retention;
pub mod status;

mod space;

pub mod error;
pub mod lifecycle;

pub mod outcome;
pub mod published;

pub mod reply;

mod propose;

pub mod log_reads;
pub mod read;

mod event;
mod inbox;

pub mod shared;

pub mod handle;

pub mod log_thread;

pub mod apply;

pub mod driver;
pub mod snapshot_thread;

pub mod incoming_snapshot;

pub mod wiring;

pub mod threads;
