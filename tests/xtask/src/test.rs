//! `cargo xtask test`: every test there is, cheapest first. What each step proves is the tests' own affair; this file
//! owns their order, the building beside them, and that a cluster never outlives them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use dev_cluster::{Cluster, Lifetime, Program, Run, install_missing, programs};

use crate::steps::Steps;
use crate::toolchain::{add_component, add_target, cargo, show, static_target, top};
use crate::{cluster, image, interrupt, tla};

/// The licence and source check that is installed where it is missing.
const CARGO_DENY: &str = "0.20.2";

/// Which tests to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// All but these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// Only Kubernetes tests whose name holds this
    #[arg(long)]
    kubernetes_test: Option<String>,
}

/// One step of the test run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// What the machine lacks is installed
    Machine,
    /// rustfmt
    Format,
    /// clippy, warnings denied
    Lint,
    /// Licences, sources and duplicates of what we depend on
    Dependencies,
    /// Unit, property, simulation and tidiness tests of the workspace
    Workspace,
    /// TLC over the specification, and over recorded runs of the simulator
    Tla,
    /// The container images
    Images,
    /// The dev cluster's programs, built beside the steps before
    Programs,
    /// Every answer of a member beside a real etcd's
    Conformance,
    /// The dev cluster, with the images loaded
    Cluster,
    /// Faults of the dev cluster, on itself
    Faults,
    /// Tests on the dev cluster
    Kubernetes,
    /// The dev cluster taken down
    Down,
}

impl Step {
    const ALL: [Step; 13] = [
        Step::Machine,
        Step::Format,
        Step::Lint,
        Step::Dependencies,
        Step::Workspace,
        Step::Tla,
        Step::Images,
        Step::Programs,
        Step::Conformance,
        Step::Cluster,
        Step::Faults,
        Step::Kubernetes,
        Step::Down,
    ];

    /// The steps that serve the tests on a cluster.
    const OF_THE_CLUSTER: [Step; 4] = [Step::Images, Step::Programs, Step::Cluster, Step::Down];

    fn name(self) -> &'static str {
        match self {
            Step::Machine => "packages and toolchain",
            Step::Format => "rustfmt",
            Step::Lint => "clippy",
            Step::Dependencies => "cargo-deny",
            Step::Workspace => "workspace tests",
            Step::Tla => "TLA+",
            Step::Images => "images",
            Step::Programs => "dev cluster's programs",
            Step::Conformance => "conformance with etcd",
            Step::Cluster => "dev cluster up",
            Step::Faults => "dev cluster's faults",
            Step::Kubernetes => "Kubernetes tests",
            Step::Down => "dev cluster down",
        }
    }
}

/// The chosen steps, in order: whoever wants tests on a cluster wants the cluster, whoever does not, does not.
fn chosen(only: &[Step], skip: &[Step]) -> Vec<Step> {
    let asked = |step: &Step| (only.is_empty() || only.contains(step)) && !skip.contains(step);
    let cluster = asked(&Step::Kubernetes) || asked(&Step::Faults);
    let wanted = |step: &Step| match step {
        Step::Machine => true,
        step if Step::OF_THE_CLUSTER.contains(step) => cluster,
        step => asked(step),
    };
    Step::ALL.into_iter().filter(wanted).collect()
}

/// Carries it out.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(&arguments.only, &arguments.skip);
    if chosen.contains(&Step::Cluster) {
        dev_cluster::require_root().context("leave the dev cluster out with --skip faults,kubernetes, or")?;
    }
    interrupt::watch()?;
    let steps = Steps::new(chosen.len());
    thread::scope(|scope| {
        let mut run = Running { steps: &steps, arguments, programs: None, images: Vec::new(), cluster: None };
        for step in chosen.iter().copied() {
            run.one(step);
            if step == Step::Machine && chosen.contains(&Step::Programs) {
                // Go compiles the cluster's programs while cargo is busy with linking and tests.
                let build = || programs::build(&Program::CLUSTER, &|line| steps.note(line)).map(drop);
                run.programs = Some(scope.spawn(build));
            }
        }
    });
    println!("{}", steps.summary());
    Ok(if steps.all_held() && !interrupt::came() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run so far.
struct Running<'scope, 'a> {
    steps: &'a Steps,
    arguments: &'a Arguments,
    programs: Option<thread::ScopedJoinHandle<'scope, Result<()>>>,
    images: Vec<image::Written>,
    cluster: Option<Cluster>,
}

impl Running<'_, '_> {
    /// Does a step; its failure is kept in the steps, and what needs it is skipped.
    fn one(&mut self, step: Step) {
        let steps = self.steps;
        let note = |line: &str| steps.note(line);
        let done = match step {
            step if step != Step::Down && interrupt::came() => {
                steps.skip(step.name(), "interrupted");
                Ok(())
            }
            Step::Machine => steps.step(step.name(), || prepare(&note)),
            Step::Format => steps.step(step.name(), || show(cargo().args(["fmt", "--all", "--check"]))),
            Step::Lint => steps.step(step.name(), lint),
            Step::Dependencies => steps.step(step.name(), || dependencies(&note)),
            Step::Workspace => steps.step(step.name(), workspace_tests),
            Step::Tla => steps.step(step.name(), || tla::check(&note)),
            Step::Programs => {
                let building = self.programs.take();
                steps.step(step.name(), || {
                    let building = building.context("their build was not begun")?;
                    building.join().map_err(|_| anyhow!("their build panicked"))?
                })
            }
            Step::Conformance => steps.step(step.name(), conformance_tests),
            Step::Down if self.cluster.is_none() => {
                steps.skip(step.name(), "it is not up");
                Ok(())
            }
            Step::Down => steps.step(step.name(), || dev_cluster::down().map(drop)),
            Step::Images | Step::Cluster | Step::Faults | Step::Kubernetes if !steps.all_held() => {
                steps.skip(step.name(), "an earlier step failed");
                Ok(())
            }
            Step::Images => steps.step(step.name(), || {
                self.images = image::build("localhost", "dev", &note)?;
                image::list(&self.images, &note);
                Ok(())
            }),
            Step::Cluster => steps.step(step.name(), || {
                let cluster = Cluster::up(&cluster::options(3, Lifetime::Tied), &note)?;
                let loaded = image::load_into(&cluster, &self.images);
                self.cluster = Some(cluster);
                loaded
            }),
            Step::Faults => steps.step(step.name(), || self.on_the_cluster("dev-cluster", "faults", None)),
            Step::Kubernetes => {
                let named = self.arguments.kubernetes_test.as_deref();
                steps.step(step.name(), || self.on_the_cluster("tests", "kubernetes", named))
            }
        };
        // The error is shown and counted by the step; the rest of the run goes on.
        drop(done);
    }

    /// Runs one test target with the cluster's environment, one test at a time: they share the nodes.
    fn on_the_cluster(&self, package: &str, target: &str, named: Option<&str>) -> Result<()> {
        let cluster = self.cluster.as_ref().context("the dev cluster is not up")?;
        let mut tests = cargo();
        tests.args(["test", "--package", package, "--test", target, "--", "--test-threads", "1"]).args(named);
        let tested = show(&mut cluster.confine(&tests)?);
        if tested.is_err() && !interrupt::came() {
            match keep_traces(cluster) {
                Ok(folder) => self.steps.note(&format!("logs and objects of the cluster: {}", folder.display())),
                Err(error) => self.steps.note(&format!("the cluster's logs were not kept: {error:#}")),
            }
        }
        tested
    }
}

fn prepare(note: &dyn Fn(&str)) -> Result<()> {
    add_component("rustfmt", "fmt", note)?;
    add_component("clippy", "clippy", note)?;
    add_target(&static_target(), note)?;
    install_missing(&[("cc", "gcc"), ("musl-gcc", "musl-tools")], note)
}

fn lint() -> Result<()> {
    show(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    // Tests that run only when asked for by name are not among all targets.
    let named = ["--package", "tests", "--test", "kubernetes", "--package", "dev-cluster", "--test", "faults"];
    show(cargo().arg("clippy").args(named).args(["--", "--deny", "warnings"]))
}

/// All that runs in a process of its own: the Kubernetes tests have a step, as they need a cluster.
fn workspace_tests() -> Result<()> {
    show(cargo().args(["test", "--workspace", "--no-fail-fast"]))
}

/// They need etcd and its client, and build them if nothing did before.
fn conformance_tests() -> Result<()> {
    show(cargo().args(["test", "--package", "tests", "--test", "conformance"]))
}

fn dependencies(note: &dyn Fn(&str)) -> Result<()> {
    let deny = cargo_deny(note)?;
    let mut check = Command::new(deny);
    check.current_dir(top());
    check.args(["--locked", "--config", ".cargo/deny.toml", "check", "--hide-inclusion-graph"]);
    show(check.args(["bans", "licenses", "sources"]))
}

/// cargo-deny, built into the cache once. Unoptimised: it checks in a second and builds in a third of the time.
fn cargo_deny(note: &dyn Fn(&str)) -> Result<PathBuf> {
    let root = programs::cache()?.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        note(&format!("building cargo-deny {CARGO_DENY}"));
        let target = root.join("target");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--debug", "--no-default-features", "--version", CARGO_DENY]);
        install.arg("--root").arg(&root).arg("cargo-deny").env("CARGO_TARGET_DIR", &target);
        show(&mut install)?;
        fs::remove_dir_all(target)?;
    }
    Ok(program)
}

/// Keeps what tells why a test failed, as the cluster is about to go: logs, objects and events.
fn keep_traces(cluster: &Cluster) -> Result<PathBuf> {
    let folder = programs::cache()?.join("failed");
    cluster.copy_logs(&folder)?;
    let looks = [
        ("pods.txt", "get pods,statefulsets,services,persistentvolumeclaims,nodes -A -o wide"),
        ("raft.yaml", "get raft -A -o yaml"),
        ("events.txt", "get events -A --sort-by=.metadata.creationTimestamp"),
    ];
    for (file, look) in looks {
        let said = cluster.kubectl(look.split(' ')).text().unwrap_or_else(|error| format!("{error:#}\n"));
        println!("--- kubectl {look}\n{said}");
        fs::write(folder.join(file), said)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_unless_told_otherwise() {
        assert!(chosen(&[], &[]) == Step::ALL);
    }

    #[test]
    fn without_tests_on_a_cluster_there_is_no_cluster() {
        let steps = chosen(&[], &[Step::Kubernetes, Step::Faults]);
        assert!(Step::OF_THE_CLUSTER.iter().all(|step| !steps.contains(step)));
        assert!(steps.contains(&Step::Workspace));
    }

    #[test]
    fn kubernetes_tests_alone_bring_their_cluster() {
        let steps = chosen(&[Step::Kubernetes], &[]);
        let expected = [Step::Machine, Step::Images, Step::Programs, Step::Cluster, Step::Kubernetes, Step::Down];
        assert!(steps == expected);
    }
}
