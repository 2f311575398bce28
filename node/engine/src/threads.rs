//! Owns the threads of a member that belongs to a cluster, and the order in which they end. Does not own the work of each thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::driver::Ended;
use crate::fatal;
use crate::read::executor;
use crate::wiring::{Queues, Wired};

/// The threads of a running member.
#[derive(Debug)]
pub struct Threads {
    queues: Queues,
    core: JoinHandle<()>,
    rest: Rest,
}

#[derive(Debug)]
struct Rest {
    apply: JoinHandle<()>,
    log: JoinHandle<()>,
}

/// The threads of a member whose core has ended. The log and apply threads still execute the remaining jobs.
#[derive(Debug)]
pub struct Draining {
    queues: Queues,
    rest: Rest,
}

impl Threads {
    /// Starts every thread. When the core has ended, `ended` runs on the core's thread.
    #[must_use]
    pub fn start(wired: Wired, clock: Clock, ended: impl FnOnce(Ended) + Send + 'static) -> Self {
        let Wired { driver, log, applier, snapshots, queues } = wired;
        // This thread is not joined, because an interrupted snapshot leaves only a draft, which the next start removes.
        drop(fatal::spawn("snapshots", move || snapshots.run()));
        for _ in 0..executor::THREADS {
            let heavy = Arc::clone(&queues.heavy);
            // These threads are not joined either, because they change nothing.
            drop(fatal::spawn("heavy-reads", move || heavy.run()));
        }
        let log = fatal::spawn("log", move || drop(log.run()));
        let apply = fatal::spawn("apply", move || applier.run());
        let core = fatal::spawn("core", move || ended(driver.run(clock)));
        Self { queues, core, rest: Rest { apply, log } }
    }

    /// Blocks until the core has ended. The caller must have stopped the core. After the core has ended, no new jobs are queued.
    #[must_use]
    pub fn join_core(self) -> Draining {
        let Self { queues, core, rest } = self;
        // The error is ignored because a panic in this thread would have ended the process.
        let _ = core.join();
        Draining { queues, rest }
    }
}

impl Draining {
    /// Ends the log and apply threads, and blocks until they have executed all jobs.
    pub fn join(self) {
        let Self { queues, rest } = self;
        queues.apply.close();
        queues.snapshots.close();
        queues.heavy.close();
        queues.log.close();
        // The errors are ignored because a panic in either thread would have ended the process.
        let _ = rest.apply.join();
        let _ = rest.log.join();
    }
}
