//! Causes faults and ends them. Owns how each fault is caused, and what the struck process must do. Does not own the
//! choice of faults (`schedule.rs`) or what clients must see (`run.rs`).

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use proto::admin::TransferLeadershipRequest;
use proto::etcdserverpb::CompactionRequest;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, until};
use crate::findings::Findings;
use crate::machine;
use crate::member::{End, Member, signal, with_token};
use crate::schedule::{Fault, Strike, View};

/// Exit code of a member whose disk is in an unknown state.
const IO_ERROR: i32 = 74;
/// Limit for the end of a process that must end. It is long, because a failed sync is needed first.
const END: Duration = Duration::from_secs(30);

/// Causes a fault, waits for its duration, and ends it.
///
/// # Errors
/// Returns an error if the fault cannot be caused or ended. What members do wrong goes to `findings`.
pub(crate) async fn strike(cluster: &Cluster, strike: &Strike, view: &View, findings: &Findings) -> Result<()> {
    let Strike { fault, member: place, other, time } = *strike;
    let member = &cluster.members[place];
    match fault {
        Fault::Kill => ended(member, Signal::KILL, End::Signal(9), time, findings).await,
        Fault::Terminate => ended(member, Signal::TERM, End::Code(0), time, findings).await,
        Fault::KillAll => {
            let kills =
                cluster.members.iter().map(|member| ended(member, Signal::KILL, End::Signal(9), time, findings));
            join_all(kills).await.into_iter().collect()
        }
        Fault::Stop => {
            send(member, Signal::STOP).await?;
            sleep(time).await;
            send(member, Signal::CONT).await
        }
        Fault::CutOneWay => {
            machine::cut_one_way(other, place)?;
            sleep(time).await;
            machine::lift_cuts(place)
        }
        Fault::Isolate => {
            machine::isolate(place)?;
            sleep(time).await;
            machine::lift_cuts(place)
        }
        Fault::CutOff => {
            machine::set_connected(place, false)?;
            sleep(time).await;
            machine::set_connected(place, true)
        }
        Fault::Fill => {
            let disk = member.disk.clone();
            let filler = tokio::task::spawn_blocking(move || machine::fill(&disk)).await??;
            sleep(time).await;
            Ok(std::fs::remove_file(filler)?)
        }
        Fault::SyncError => fail_a_sync(member, time, findings).await,
        Fault::SlowSync => {
            let mut strace = inject(member.process().await.as_ref(), "delay_enter=300000")?;
            sleep(time).await;
            // After SIGTERM, strace detaches from the member and ends.
            signal(&strace, Signal::TERM)?;
            timeout(END, strace.wait()).await.context("strace does not detach")??;
            Ok(())
        }
        Fault::Transfer | Fault::Compact | Fault::Swap => {
            // A refusal is no violation, because another fault may be the reason.
            if let Err(reason) = ask(cluster, strike, view).await {
                findings.say(&format!("{strike}: {reason:#}"));
            }
            Ok(())
        }
    }
}

/// Ends every fault that may be left after an error.
pub(crate) async fn lift_all(cluster: &Cluster) {
    for (place, member) in cluster.members.iter().enumerate() {
        let _ = machine::lift_cuts(place);
        let _ = machine::set_connected(place, true);
        let _ = std::fs::remove_file(member.disk.join("filler"));
        let _ = send(member, Signal::CONT).await;
    }
}

async fn send(member: &Member, which: Signal) -> Result<()> {
    match member.process().await.as_ref() {
        Some(child) => signal(child, which),
        None => Ok(()),
    }
}

/// Ends the process by a signal, and starts it again after `time`.
async fn ended(member: &Member, which: Signal, expected: End, time: Duration, findings: &Findings) -> Result<()> {
    let mut process = member.process().await;
    member.sample(&process);
    let child = process.as_mut().context("the process was started")?;
    signal(child, which)?;
    judge_end(member, child, expected, findings).await?;
    sleep(time).await;
    member.start(&mut process)
}

/// Waits for the end of the process. A process that does not end is killed.
async fn judge_end(member: &Member, child: &mut Child, expected: End, findings: &Findings) -> Result<()> {
    let Ok(status) = timeout(END, child.wait()).await else {
        findings.violation(&format!("{} did not end within {} s; expected {expected:?}", member.name(), END.as_secs()));
        return Ok(child.kill().await?);
    };
    let end = End::of(status?);
    if end != expected {
        findings.violation(&format!("{} ended with {end:?}, expected {expected:?}", member.name()));
    }
    Ok(())
}

async fn fail_a_sync(member: &Member, time: Duration, findings: &Findings) -> Result<()> {
    let mut process = member.process().await;
    member.sample(&process);
    let mut strace = inject(process.as_ref(), "error=EIO:when=1")?;
    let child = process.as_mut().context("the process was started")?;
    judge_end(member, child, End::Code(IO_ERROR), findings).await?;
    // strace ends with the process that it traces.
    timeout(END, strace.wait()).await.context("strace does not end")??;
    sleep(time).await;
    member.start(&mut process)
}

/// Starts strace, which changes every fdatasync of the process.
fn inject(process: Option<&Child>, change: &str) -> Result<Child> {
    let id = process.and_then(Child::id).context("the process runs")?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &id.to_string(), "-e", "trace=fdatasync"]);
    strace.args(["-e", &format!("inject=fdatasync:{change}")]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    strace.spawn().context("strace was not started")
}

/// Asks for a transfer, a compaction or an exchange of roles.
async fn ask(cluster: &Cluster, strike: &Strike, view: &View) -> Result<()> {
    let Strike { fault, member, other, .. } = *strike;
    match fault {
        Fault::Transfer => {
            let leader = cluster.view().await.leader.context("no leader")?;
            let mut admin = cluster.members[leader].admin(Duration::from_secs(10)).await?;
            let target = cluster.id(other).to_owned();
            let answer = admin.transfer_leadership(with_token(TransferLeadershipRequest { target })).await?;
            ensure!(answer.into_inner().leader == cluster.id(other), "another member leads");
        }
        Fault::Compact => {
            let mut client = traffic::writer::connect(&cluster.members[member].client_url()).await?;
            let revision = traffic::verify::revision(&mut client).await?;
            client.compact(CompactionRequest { revision, physical: false }).await?;
        }
        _ => {
            let with = |places: &[usize], out, into| -> Vec<usize> {
                places.iter().map(|place| if *place == out { into } else { *place }).collect()
            };
            let (voters, learners) = (with(&view.voters, member, other), with(&view.learners, other, member));
            until(Duration::from_secs(15), async || cluster.change(&voters, &learners).await).await?;
        }
    }
    Ok(())
}
