//! Owns the threads of a member that belongs to a cluster, and the order in which they end. Does not own what each of them does.

use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::driver::Ended;
use crate::fatal;
use crate::wiring::{Queues, Wired};

/// A member at work.
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

/// A member whose core has ended. Its log and apply threads still work off what the core left them.
#[derive(Debug)]
pub struct Draining {
    queues: Queues,
    rest: Rest,
}

impl Threads {
    /// Starts every thread. `ended` runs on the core's thread when the core has ended.
    #[must_use]
    pub fn start(wired: Wired, clock: Clock, ended: impl FnOnce(Ended) + Send + 'static) -> Self {
        let Wired { driver, log, applier, snapshots, queues } = wired;
        // Not joined: a snapshot that the end cuts off leaves a draft, which the next start removes.
        drop(fatal::spawn("snapshots", move || snapshots.run()));
        let log = fatal::spawn("log", move || drop(log.run()));
        let apply = fatal::spawn("apply", move || applier.run());
        let core = fatal::spawn("core", move || ended(driver.run(clock)));
        Self { queues, core, rest: Rest { apply, log } }
    }

    /// Blocks until the core, which was asked to stop, has ended. Nothing creates new work after that.
    #[must_use]
    pub fn join_core(self) -> Draining {
        let Self { queues, core, rest } = self;
        // A panic in it has ended the process before.
        let _ = core.join();
        Draining { queues, rest }
    }
}

impl Draining {
    /// Ends the other threads and blocks until everything that the core asked for is on disk.
    pub fn join(self) {
        let Self { queues, rest } = self;
        queues.apply.close();
        queues.snapshots.close();
        queues.log.close();
        // A panic in either of them has ended the process before.
        let _ = rest.apply.join();
        let _ = rest.log.join();
    }
}
