//! Owns the end of the process, and its exit code, when the member must not continue: the state of the disk is unknown, an entry
//! cannot be applied, or a thread has panicked. Does not own the restart (Kubernetes or another supervisor).

use std::fmt;
use std::thread;

/// `EX_IOERR` of sysexits, which differs from the exit codes of a usage error and of a clean end.
const EXIT_CODE: i32 = 74;

/// Logs the reason and ends the process immediately. Nothing is flushed, so that the next start finds the disk as it is now.
pub fn fatal(reason: fmt::Arguments<'_>) -> ! {
    tracing::error!(%reason, "the process ends");
    std::process::exit(EXIT_CODE)
}

/// Starts a thread that the member depends on. A panic in the thread ends the process.
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
