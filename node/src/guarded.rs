//! Tasks without which the member would stay in its phase for good. Owns that a panic in one of them ends the process, whatever program
//! the member is a part of. Does not own the end of the process (`engine::fatal`).

use std::panic::{AssertUnwindSafe, resume_unwind};

use engine::fatal;
use futures::FutureExt;
use tokio::task::{AbortHandle, JoinError};

/// Starts a task on the current runtime. A panic in the task ends the process.
pub(crate) fn spawn(what: &'static str, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let guarded = async move {
        if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
            fatal::panicked(format_args!("{what}"), &*panic);
        }
    };
    tokio::spawn(guarded).abort_handle()
}

/// Returns what a blocking call of a guarded task returned; `None` if the runtime ends. A panic in the call goes on in the task.
pub(crate) fn returned<T>(outcome: Result<T, JoinError>) -> Option<T> {
    match outcome.map_err(JoinError::try_into_panic) {
        Ok(returned) => Some(returned),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    /// Variable that tells the copy where to panic.
    const PLACE: &str = "PANIC_IN_GUARDED";
    /// Exit code of a process that must not continue.
    const FATAL: i32 = 74;

    fn panic_in(place: &'static str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (goes_on, ended) = tokio::sync::oneshot::channel::<()>();
        runtime.block_on(async {
            spawn("the test", async move {
                let _goes_on = goes_on;
                if place == "task" {
                    panic!("in the task");
                }
                returned(tokio::task::spawn_blocking(|| panic!("in the blocking call")).await);
            });
            // Fails once the task has ended.
            let _ = ended.await;
        });
    }

    /// This test runs a copy of itself, in which nothing else ends the process.
    #[test]
    fn a_panic_in_a_guarded_task_ends_the_process_with_its_message() {
        for place in ["task", "blocking call"] {
            if env::var(PLACE).as_deref() == Ok(place) {
                return panic_in(place);
            }
        }
        for place in ["task", "blocking call"] {
            let mut copy = Command::new(env::current_exe().expect("this test"));
            let name = "guarded::tests::a_panic_in_a_guarded_task_ends_the_process_with_its_message";
            let ended = copy.args(["--exact", name, "--nocapture"]).env(PLACE, place).output().expect("it runs again");
            let printed = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(FATAL), "{place}: {printed}");
            assert!(printed.contains(&format!("in the {place}")), "{place}: {printed}");
        }
    }
}
