//! A panic ends the process. This test runs a copy of itself, because the program that is shipped cannot be made to panic.

use std::process::Command;
use std::{env, thread};

use engine::fatal::end_on_panic;

/// Variable that tells the copy where to panic.
const PLACE: &str = "PANIC_IN";
/// Exit code of a process that must not continue.
const FATAL: i32 = 74;

fn panic_in(place: &str) {
    end_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let goes_on = match place {
            "task" => tokio::spawn(async { panic!("in the task") }).await.is_err(),
            "blocking call" => tokio::task::spawn_blocking(|| panic!("in the blocking call")).await.is_err(),
            _ => thread::spawn(|| panic!("in the thread")).join().is_err(),
        };
        println!("goes on: {goes_on}");
    });
}

#[test]
fn a_panic_anywhere_ends_the_process_with_its_message() {
    if let Ok(place) = env::var(PLACE) {
        return panic_in(&place);
    }
    for place in ["task", "blocking call", "thread"] {
        let mut copy = Command::new(env::current_exe().expect("this test"));
        copy.args(["--exact", "panics::a_panic_anywhere_ends_the_process_with_its_message", "--nocapture"]);
        let ended = copy.env(PLACE, place).output().expect("it runs again");
        let [said, printed] = [&ended.stdout, &ended.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert_eq!(ended.status.code(), Some(FATAL), "{place}: {said}{printed}");
        assert!(printed.contains(&format!("in the {place}")), "{place}: {printed}");
        assert!(!said.contains("goes on"), "{place}: {said}");
    }
}
