//! One run: forms the cluster, lets clients work while round after round of faults strikes, and checks everything at
//! the end. Owns the order of these steps, and what clients must see during and after a fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use proto::etcdserverpb::PutRequest;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn, spawn_blocking};
use tokio::time::timeout;
use traffic::ledger::WriteLedger;
use traffic::writer::Options;
use world::seed::{Random, Seed};

use crate::check::{Checked, check};
use crate::cluster::{Cluster, MEMBERS, until};
use crate::fault;
use crate::findings::Findings;
use crate::histories::Histories;
use crate::machine;
use crate::member::{End, Settings};
use crate::report::{Report, RoundReport};
use crate::schedule::{Round, Schedule, quorum_lives, resolve, struck};

/// Quota of each member in MiB, and the memory that a member may use besides twice its quota.
const QUOTA_MIB: u64 = 256;
const BESIDES_MIB: u64 = 256;
/// Clients of registers.
const CLIENTS: usize = 8;
/// Connections through which each member gets puts, and the length of a value in bytes.
const WRITERS: usize = 2;
const VALUE_BYTES: usize = 64;
/// Limit for puts through every voter after a fault has ended.
const RECOVERY: Duration = Duration::from_secs(20);
/// Limit for the whole cluster at the end.
const WHOLE: Duration = Duration::from_secs(60);
/// By how many a member may have more open files than at the beginning: ten, and two connections in each direction with
/// each other member, because a member that has led keeps them.
const FILES_MORE: usize = 10 + 4 * (MEMBERS - 1);

/// What a run is started with.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
}

/// Everything that tasks of a run share.
struct Shared {
    cluster: Cluster,
    histories: Histories,
    findings: Arc<Findings>,
    ledgers: Vec<Arc<Mutex<WriteLedger>>>,
}

/// The feature level is raised before one of this many first rounds of faults.
const RAISE_ROUNDS: u64 = 4;

/// Draws the members' settings that differ between runs.
pub(crate) fn drawn_flags(seed: u64) -> Vec<String> {
    let mut random = Random::new(Seed(!seed));
    let flags = [
        ("--quota-bytes", (QUOTA_MIB << 20).to_string()),
        ("--lease-reads", random.coin().to_string()),
        ("--snapshot-threshold", random.pick(&[16, 256]).to_string()),
        ("--snapshot-trailing", random.pick(&[16, 1_024]).to_string()),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Runs until the time is over or `stop` holds true. Violations are in `findings`.
///
/// # Errors
/// Returns an error if the cluster does not form, or if the run was interrupted.
pub(crate) async fn run(plan: Plan, findings: &Arc<Findings>, stop: watch::Receiver<bool>) -> Result<Report> {
    let Plan { settings, seed, time } = plan;
    let head = format!("seed {seed}, {} s, members with {}", time.as_secs(), settings.flags.join(" "));
    findings.say(&head);
    machine::create_network(MEMBERS)?;
    let cluster = Cluster::form(&Arc::new(settings)).await.context("the cluster forms")?;
    findings.say("three voters and two learners");
    let files = open_files(&cluster).await;
    let ledger = || Arc::new(Mutex::new(WriteLedger::new("start", Instant::now())));
    let (histories, ledgers) = (Histories::new(findings), (0..MEMBERS).map(|_| ledger()).collect());
    let shared = Arc::new(Shared { cluster, histories, findings: Arc::clone(findings), ledgers });
    let (ends, ended) = watch::channel(false);
    let clients = shared.start_clients(seed, &ended);
    let monitor = spawn(Arc::clone(&shared).monitor(ended));

    let mut report = Report { head, ..Default::default() };
    let mut schedule = Schedule::new(seed);
    let mut checks: Vec<JoinHandle<Checked>> = Vec::new();
    let mut rounds_until_raise = Some(Random::new(Seed(seed.rotate_left(1))).below(RAISE_ROUNDS));
    while findings.elapsed() < time && !*stop.borrow() {
        rounds_until_raise = shared.raise_level(rounds_until_raise).await;
        shared.round(&schedule.next(), &mut report, stop.clone()).await;
        // The calls of a minute have ended some seconds after it.
        while (checks.len() as u64 * 60 + 65) < findings.elapsed().as_secs() {
            checks.push(shared.check(checks.len() as u64));
        }
    }
    fault::lift_all(&shared.cluster).await;
    let _ = ends.send(true);
    join_all(clients).await;
    monitor.await?;
    ensure!(!*stop.borrow(), "interrupted");
    checks.extend((checks.len() as u64..=shared.histories.minute()).map(|minute| shared.check(minute)));
    for check in checks {
        let Checked { registers, calls, unknown } = check.await?;
        report.checked.registers += registers;
        report.checked.calls += calls;
        report.checked.unknown += unknown;
    }
    shared.judge_end(&files, &mut report).await;
    Ok(report)
}

async fn open_files(cluster: &Cluster) -> Vec<usize> {
    let mut files = Vec::new();
    for member in &cluster.members {
        files.push(member.sample(&*member.process().await).unwrap_or_default());
    }
    files
}

impl Shared {
    /// Raises the feature level once no rounds are left until then, as an operator does after an upgrade: members begin in the
    /// first formats, and change them under faults. Returns the rounds that are left; `None` once the level is raised.
    async fn raise_level(&self, rounds: Option<u64>) -> Option<u64> {
        let rounds = rounds?;
        if rounds > 0 {
            return Some(rounds - 1);
        }
        match self.cluster.raise_level().await {
            Ok(level) => {
                self.findings.say(&format!("the feature level is {level}"));
                None
            }
            // A member that a fault keeps away holds the level back. The next round tries again.
            Err(reason) => {
                self.findings.say(&format!("the feature level is not raised yet: {reason:#}"));
                Some(0)
            }
        }
    }

    fn start_clients(self: &Arc<Self>, seed: u64, ended: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            let (shared, ended) = (Arc::clone(self), ended.clone());
            tasks.push(spawn(async move { shared.histories.client(number, seed, &shared.cluster, ended).await }));
        }
        for (place, ledger) in self.ledgers.iter().enumerate() {
            for _ in 0..WRITERS {
                let (deadline, pace) = (Duration::from_secs(1), Duration::from_millis(40));
                let endpoint = self.cluster.members[place].client_url();
                let options = Options { endpoint, prefix: prefix(place), value_bytes: VALUE_BYTES, deadline, pace };
                tasks.push(spawn(traffic::writer::write(options, Arc::clone(ledger), ended.clone())));
            }
        }
        tasks
    }

    fn check(self: &Arc<Self>, minute: u64) -> JoinHandle<Checked> {
        let (records, findings) = (self.histories.take(minute), Arc::clone(&self.findings));
        spawn_blocking(move || check(minute, records, &findings))
    }

    /// Notes the members' memory, and restarts members that end without a reason.
    async fn monitor(self: Arc<Self>, mut ended: watch::Receiver<bool>) {
        while timeout(Duration::from_millis(500), ended.wait_for(|ended| *ended)).await.is_err() {
            for member in &self.cluster.members {
                // A fault that holds the process judges its end.
                let Some(mut process) = member.try_process() else { continue };
                member.sample(&process);
                let Some(child) = process.as_mut() else { continue };
                if let Ok(Some(status)) = child.try_wait() {
                    let end = End::of(status);
                    self.findings.violation(&format!("{} ended with {end:?} by itself", member.name()));
                    if let Err(reason) = member.start(&mut process) {
                        self.findings.violation(&format!("{} does not start: {reason:#}", member.name()));
                    }
                }
            }
        }
    }

    /// Lets one round of faults strike, and waits until every voter serves again.
    async fn round(&self, round: &Round, report: &mut Report, mut stop: watch::Receiver<bool>) {
        if timeout(round.idle, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
        let findings = &self.findings;
        let view = self.cluster.view().await;
        let strikes = resolve(round, &view);
        let faults = strikes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        findings.say(&format!("round {}: {faults} (leader {:?})", report.rounds.len() + 1, view.leader.map(|m| m + 1)));
        self.mark("faults");
        let causes = strikes.iter().map(|strike| fault::strike(&self.cluster, strike, &view, findings));
        let interrupted = async { drop(stop.wait_for(|stop| *stop).await) };
        let done = tokio::select! {
            done = join_all(causes) => done,
            () = interrupted => return,
        };
        for reason in done.into_iter().filter_map(Result::err) {
            findings.violation(&format!("the fault was not caused or not ended: {reason:#}"));
        }
        let recovery_ms = self.recover().await;
        let gaps = self.mark("idle");
        let hit = struck(&strikes, &view);
        let unstruck = view.voters.iter().filter(|place| !hit.contains(place)).map(|place| gaps[*place]).max();
        let gap_ms = unstruck.filter(|_| quorum_lives(&strikes, &view));
        findings.say(&format!("  gap {gap_ms:?} ms, recovery {recovery_ms:?} ms"));
        for strike in &strikes {
            *report.faults.entry(strike.fault).or_default() += 1;
        }
        report.rounds.push(RoundReport { faults, gap_ms, recovery_ms });
    }

    /// Begins a phase of the writers. Returns the longest gap in service through each member in the phase that ended,
    /// in milliseconds.
    fn mark(&self, phase: &str) -> Vec<u64> {
        let mark = |ledger: &Arc<Mutex<WriteLedger>>| {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.mark(phase, Instant::now()).longest_gap_ms
        };
        self.ledgers.iter().map(mark).collect()
    }

    /// Waits until a put succeeds through each voter. Returns the time that this took, in milliseconds.
    async fn recover(&self) -> Option<u64> {
        let began = Instant::now();
        let voters = self.cluster.view().await.voters;
        let puts = voters.iter().map(|place| async {
            let member = &self.cluster.members[*place];
            let done = until(RECOVERY, async || {
                let mut client = traffic::writer::connect(&member.client_url()).await?;
                let put = PutRequest { key: "/probe".into(), value: member.name().into(), ..Default::default() };
                timeout(Duration::from_secs(2), client.put(put)).await.context("no answer within 2 s")??;
                Ok(())
            });
            if let Err(reason) = done.await {
                self.findings.violation(&format!("no put through {} after the fault: {reason:#}", member.name()));
                return None;
            }
            Some(())
        });
        let done: Option<Vec<()>> = join_all(puts).await.into_iter().collect();
        done.map(|_| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Checks the cluster after all faults have ended and all clients have stopped.
    async fn judge_end(&self, files: &[usize], report: &mut Report) {
        let findings = &self.findings;
        let everyone: Vec<usize> = (0..MEMBERS).collect();
        // As learners, members would not answer the calls of the comparison.
        if let Err(reason) = until(WHOLE, async || self.cluster.change(&everyone, &[]).await).await {
            findings.violation(&format!("not all members can vote: {reason:#}"));
        }
        match self.cluster.await_whole(WHOLE).await {
            Ok(applied) => report.end.push(format!("One leader, all members have applied entry {applied}.")),
            Err(reason) => findings.violation(&format!("the cluster is not whole: {reason:#}")),
        }
        match until(WHOLE, async || self.cluster.compare_hashes().await).await {
            Ok((true, hashes)) => {
                report.end.push(format!("All members have the hash {:08x} at revision {}.", hashes[0].0, hashes[0].1));
            }
            Ok((false, hashes)) => findings.violation(&format!("hashes at one revision differ: {hashes:?}")),
            Err(reason) => findings.violation(&format!("hashes: {reason:#}")),
        }
        let mut acknowledged = 0;
        for place in 0..MEMBERS {
            match self.compare(place).await {
                Ok((count, line)) => {
                    acknowledged += count;
                    report.end.push(line);
                }
                Err(reason) => findings.violation(&format!("puts through {}: {reason:#}", machine::name(place))),
            }
        }
        // A member that was a learner all the time acknowledged nothing.
        if acknowledged == 0 {
            findings.violation("no put was acknowledged");
        }
        self.judge_resources(files, report).await;
        match report.median_gap() {
            Some((median, false)) => findings.violation(&format!("the median of the gaps is {median} ms")),
            None => findings.say("no gap was measured"),
            _ => {}
        }
    }

    /// Compares the store with what was acknowledged through a member. Returns the number of acknowledged puts, and a
    /// line for the report.
    async fn compare(&self, place: usize) -> Result<(u64, String)> {
        let outcomes = self.ledgers[place].lock().unwrap_or_else(PoisonError::into_inner).outcomes().to_vec();
        let mut client = traffic::writer::connect(&self.cluster.members[place].client_url()).await?;
        let verdict = traffic::verify::verify(&mut client, &prefix(place), VALUE_BYTES, &outcomes).await?;
        ensure!(verdict.holds(), "{verdict:?}");
        let (name, acknowledged, applied) = (machine::name(place), verdict.acknowledged, verdict.unknown_applied);
        let unknown = applied + verdict.unknown_absent;
        let line = format!(
            "Puts through {name}: {acknowledged} acknowledged, none lost; {applied} of {unknown} without answer applied."
        );
        Ok((acknowledged, line))
    }

    async fn judge_resources(&self, files: &[usize], report: &mut Report) {
        let closed = until(WHOLE, async || {
            let now = open_files(&self.cluster).await;
            let leaks = now.iter().zip(files).any(|(now, before)| *now > before + FILES_MORE || *now == 0);
            ensure!(!leaks, "open files at the beginning {files:?}, now {now:?}");
            Ok(now)
        });
        match closed.await {
            Ok(now) => report.end.push(format!("Open files at the beginning {files:?}, at the end {now:?}.")),
            Err(reason) => self.findings.violation(&format!("{reason:#}")),
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        report.end.push(format!("Load of the machine, which lengthens gaps: {}.", load.trim()));
        let peaks: Vec<u64> = self.cluster.members.iter().map(|member| member.peak_kib() >> 10).collect();
        let limit = 2 * QUOTA_MIB + BESIDES_MIB;
        report.end.push(format!("Highest memory {peaks:?} MiB, limit {limit} MiB."));
        if peaks.iter().any(|peak| *peak >= limit) {
            self.findings.violation(&format!("memory {peaks:?} MiB, limit {limit} MiB"));
        }
    }
}

fn prefix(place: usize) -> String {
    format!("/traffic/{}/", machine::name(place))
}
