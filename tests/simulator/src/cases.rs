//! Situations that are enumerated case by case instead of drawn at random: every link graph, a crash after every
//! output, a leader whose disk stalls, members whose volumes are short of space, a leader that does not know that it was deposed, a leader whose lease setting
//! differs from that of its followers. Owns the cases and the conditions that each case must meet. Each case has a
//! number, so that a single case can be run alone.

pub mod below_reserve;
pub mod deposed;
pub mod every_output;
pub mod links;
pub mod rolled_lease;
pub mod stalled_disk;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::cores::CoreCluster;
use crate::invariant::{Checked, Violation, ensure};

/// Interval between two checks of a condition.
const LOOK: Duration = Duration::from_millis(50);

/// Runs cases on all processors.
///
/// # Errors
/// Returns the failed case with the lowest number, and the reason.
pub fn every(cases: Range<u64>, attempt: impl Fn(u64) -> Checked + Sync) -> Result<(), (u64, Violation)> {
    let next = AtomicU64::new(cases.start);
    let failed = Mutex::new(None::<(u64, Violation)>);
    let work = || {
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases.end {
                return;
            }
            let Err(violation) = attempt(case) else { continue };
            next.store(cases.end, Ordering::Relaxed);
            let mut failed = failed.lock().expect("no holder of this lock panics");
            if failed.as_ref().is_none_or(|(first, _)| case < *first) {
                *failed = Some((case, violation));
            }
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    failed.into_inner().expect("no holder of this lock panics").map_or(Ok(()), Err)
}

/// Runs until `holds` returns true.
///
/// # Errors
/// Returns a violation if `holds` did not return true within `span`, or if an invariant was violated.
fn until(
    cluster: &mut CoreCluster,
    span: Duration,
    demand: &'static str,
    holds: impl Fn(&CoreCluster) -> bool,
    seen: impl Fn(&CoreCluster) -> String,
) -> Checked {
    let end = cluster.now() + span;
    while !holds(cluster) {
        ensure(cluster.now() < end, demand, || format!("not within {span:?}: {}", seen(cluster)))?;
        cluster.run_for(LOOK)?;
    }
    Ok(())
}

/// The leader, if exactly one member leads.
fn only_leader(cluster: &CoreCluster) -> Option<raft::MemberId> {
    match cluster.leaders().as_slice() {
        [leader] => Some(*leader),
        _ => None,
    }
}
