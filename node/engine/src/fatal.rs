//! Owns the end of the process, and its exit code, when continuing would be wrong: the state of the disk is unknown, an entry
//! cannot be applied, or a thread has panicked. Does not own the restart (Kubernetes or another supervisor).

use std::fmt;
use std::thread;

/// `EX_IOERR` of sysexits: neither a usage error nor a clean end.
const EXIT_CODE: i32 = 74;

/// Logs the reason and ends the process at once. Nothing is flushed, so that the next start finds the disk as it is now.
pub fn fatal(reason: fmt::Arguments<'_>) -> ! {
    tracing::error!(%reason, "the process ends");
    std::process::exit(EXIT_CODE)
}

/// Starts a thread that the member depends on: a panic in it ends the process.
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
