//! Owns the end of the process, and its exit code, when the member must not continue: the state of the disk is unknown, an entry
//! cannot be applied, or a thread has panicked. Does not own the restart (Kubernetes or another supervisor).

use std::any::Any;
use std::fmt;
use std::thread;

/// `EX_IOERR` of sysexits, which differs from the exit codes of a usage error and of a clean end.
const EXIT_CODE: i32 = 74;

/// Logs the reason and ends the process immediately. Nothing is flushed, so that the next start finds the disk as it is now.
pub fn fatal(reason: fmt::Arguments<'_>) -> ! {
    tracing::error!(%reason, "the process ends");
    std::process::exit(EXIT_CODE)
}

/// Makes a panic in any thread or task end the process. The runtimes catch a panic in a task or in a blocking call, and
/// the member would go on without it: it would no longer accept connections, for example, and look healthy. For the
/// program only, because a test runs several members in one process.
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        fatal(format_args!("thread {} panicked: {message}", thread.name().unwrap_or("without a name")));
    }));
}

/// Ends the process because of a panic that was caught in `what`, and logs the panic's message. Unlike [`end_on_panic`], this does not
/// depend on the program.
pub fn panicked(what: fmt::Arguments<'_>, panic: &(dyn Any + Send)) -> ! {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let message = owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    fatal(format_args!("{what} panicked: {message}"))
}

/// Starts a thread that the member depends on. A panic in the thread ends the process.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let guarded = move || match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => panicked(format_args!("thread {name}"), &*panic),
    };
    match thread::Builder::new().name(name.to_owned()).spawn(guarded) {
        Ok(handle) => handle,
        Err(reason) => fatal(format_args!("thread {name} could not be started: {reason}")),
    }
}
