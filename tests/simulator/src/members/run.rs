//! The run of one seed of a cluster of members. In the first phase faults strike; then all faults are lifted and the
//! cluster must heal. Owns the phases and the verdict.

use std::time::Duration;

use world::clock::TRUE_RATE;
use world::seed::Seed;
use world::settings;

use crate::coverage::Coverage;
use crate::fault::{Fault, Faults};
use crate::invariant::{Checked, Violation, ensure};
use crate::members::{Event, MemberCluster};
use crate::sweep::{Failure, catching_panics};

/// Number of turns of members after which all faults are lifted.
const TURNS: u64 = 3_000;
/// Simulated time after which all faults are lifted, even if members have taken fewer than `TURNS` turns.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Maximum time until every client has got two answers after all faults are lifted.
const SERVE: Duration = Duration::from_secs(20);
/// Maximum time until the cluster has healed after its clients stopped.
const WHOLE: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition.
const LOOK: Duration = Duration::from_millis(250);
/// Number of trace lines that a failure prints.
const LINES: usize = 200;

/// Faults that strike clusters of members. Overwritten records are covered by the tests of `storage` instead.
#[must_use]
pub fn faults() -> Faults {
    Faults::all().filter(|fault| fault != Fault::Misdirect)
}

/// Runs one seed.
///
/// # Errors
/// Returns the failure, with the trace of a second run.
pub fn run(seed: Seed) -> Result<Coverage, Box<Failure>> {
    attempt(seed, 0).0.map_err(|violation| {
        let (again, trace) = attempt(seed, settings::trace_lines(LINES));
        let violation = match again {
            Err(again) if again == violation => violation,
            other => {
                let seen = format!("the first run: {violation}; the second: {other:?}");
                Violation { invariant: "a seed repeats itself", seen }
            }
        };
        let replay = format!("cargo xtask simulate --members --from {seed} --seeds 1");
        Box::new(Failure { seed, violation, trace, replay })
    })
}

/// Runs one seed, without a trace.
///
/// # Errors
/// Returns the invariant that was violated.
pub fn judge(seed: Seed) -> Result<Coverage, Violation> {
    attempt(seed, 0).0
}

fn attempt(seed: Seed, lines: usize) -> (Result<Coverage, Violation>, Vec<String>) {
    let mut cluster = match catching_panics(|| MemberCluster::new(seed, &faults(), lines)) {
        Ok(cluster) => cluster,
        Err(violation) => return (Err(violation), Vec::new()),
    };
    let verdict = catching_panics(|| phases(&mut cluster));
    let (coverage, clients, trace) = cluster.into_parts();
    let verdict = verdict.and_then(|()| Ok(Coverage { operations: clients.check()?, ..coverage }));
    (verdict, trace)
}

fn phases(cluster: &mut MemberCluster) -> Checked {
    while cluster.coverage.steps < TURNS && cluster.now() < TIME_MAX {
        cluster.step()?;
    }
    cluster.coverage.outputs_under_faults = cluster.coverage.outputs;
    cluster.lift_all_faults()?;
    let before = cluster.clients.served.clone();
    let end = cluster.now() + SERVE;
    while let Some(client) =
        cluster.clients.served.iter().zip(&before).position(|(served, before)| *served < before + 2)
    {
        ensure(cluster.now() < end, "healing", || {
            format!("client {client} gets no answer within {SERVE:?} after all faults were lifted")
        })?;
        cluster.run_for(LOOK)?;
    }
    cluster.is_quiet = true;
    let end = cluster.now() + WHOLE;
    while let Some(missing) = cluster.missing() {
        ensure(cluster.now() < end, "healing", || {
            format!("not healed {WHOLE:?} after all faults were lifted; missing: {missing}")
        })?;
        cluster.run_for(LOOK)?;
    }
    Ok(())
}

impl MemberCluster {
    /// Ends all faults: restores links, restarts members and ends delays. Destroyed members and disks stay destroyed.
    fn lift_all_faults(&mut self) -> Checked {
        self.note(|| "all faults are lifted".to_owned());
        self.is_healing = true;
        self.profile.heal();
        self.network.mend();
        self.network.profile = self.profile.network;
        let now = self.now();
        let ids: Vec<_> = self.members.keys().copied().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("listed above");
            member.clock.set_rate(now, TRUE_RATE);
            member.clock.correct_wall();
            (member.stalled_until, member.full_until) = (Duration::ZERO, Duration::ZERO);
            member.short_until = Duration::ZERO;
            member.disk.fail_sync_after(u64::MAX);
            self.upgrade(id)?;
            self.start(id)?;
        }
        self.operator.heal();
        self.agenda.after(Duration::ZERO, Event::Operator);
        Ok(())
    }

    fn into_parts(mut self) -> (Coverage, super::Clients, Vec<String>) {
        // The hash includes the next random number, so that runs with equal hashes drew equally many numbers.
        let chance = self.random.number();
        self.trace_hash.add(self.agenda.now(), 20, &chance);
        let coverage = Coverage {
            time: self.agenda.now(),
            trace_hash: self.trace_hash.of_seed(self.seed.0),
            elections: self.invariants.ledger.leaderships.len() as u64,
            committed: self.invariants.ledger.committed().0,
            configurations: self.invariants.ledger.configurations,
            writes: self.clients.writes,
            reads: self.clients.reads,
            ..self.coverage
        };
        (coverage, self.clients, self.trace.into_lines())
    }
}
