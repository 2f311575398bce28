//! The end of the process when going on would be wrong: a disk whose state is unknown, an entry that cannot be applied, a
//! thread that panicked. Owns the exit code; whoever starts the process starts it again.

use std::fmt;
use std::thread;

/// `EX_IOERR` of sysexits: neither a usage error nor a clean end.
const EXIT_CODE: i32 = 74;

/// Logs why, and ends the process at once: nothing is flushed, as what is on disk must be found as it is.
pub fn fatal(reason: fmt::Arguments<'_>) -> ! {
    tracing::error!(%reason, "the process ends");
    std::process::exit(EXIT_CODE)
}

/// Starts a thread that the member cannot do without: a panic in it ends the process.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let guarded = move || match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(_) => fatal(format_args!("thread {name} panicked")),
    };
    match thread::Builder::new().name(name.to_owned()).spawn(guarded) {
        Ok(handle) => handle,
        Err(reason) => fatal(format_args!("thread {name} could not be started: {reason}")),
    }
}
