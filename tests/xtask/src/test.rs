//! `cargo xtask test`: every test there is, cheapest first. Owns the order of the steps, what is built while they run, and
//! that the dev cluster goes down with them. Does not own what a test proves, nor what a step may take (`budget.rs`).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use dev_cluster::{Cluster, Lifetime, Program, Run, install_missing, programs};

use crate::budget::{Budget, Cache};
use crate::image::Profile;
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
    /// All steps except these
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// Only Kubernetes tests whose name contains this
    #[arg(long)]
    kubernetes_test: Option<String>,
    /// Walks the deep worlds of the core as well, for hours; no budget applies. tests/README.md lists what is deepened
    #[arg(long)]
    thorough: bool,
    /// Reports steps over their budget without failing, for a machine that is slower or does something else
    #[arg(long)]
    no_budget: bool,
}

/// One step of the test run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Debian packages and parts of the Rust toolchain that are missing are installed
    Machine,
    /// rustfmt
    Format,
    /// clippy, warnings denied
    Lint,
    /// rustdoc of the workspace, warnings denied, so that links between items lead somewhere
    Documents,
    /// Licences and sources of dependencies
    Dependencies,
    /// Unit, property, simulation and tidiness tests of the workspace
    Workspace,
    /// TLC over the specification, and over recorded runs of the simulator
    Tla,
    /// The container images
    Images,
    /// The dev cluster's programs, built while the earlier steps run
    Programs,
    /// Every answer of a member compared with a real etcd's
    Conformance,
    /// The dev cluster, with the images loaded
    Cluster,
    /// Each fault of the dev cluster, tried on the cluster
    Faults,
    /// Tests of the product on the dev cluster
    Kubernetes,
    /// The dev cluster is taken down
    Down,
}

impl Step {
    const ALL: [Step; 14] = [
        Step::Machine,
        Step::Format,
        Step::Lint,
        Step::Documents,
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

    /// The steps that are needed only by tests on a cluster.
    const OF_THE_CLUSTER: [Step; 4] = [Step::Images, Step::Programs, Step::Cluster, Step::Down];

    /// Its name on the command line and in the budget.
    fn key(self) -> &'static str {
        match self {
            Step::Machine => "machine",
            Step::Format => "format",
            Step::Lint => "lint",
            Step::Documents => "documents",
            Step::Dependencies => "dependencies",
            Step::Workspace => "workspace",
            Step::Tla => "tla",
            Step::Images => "images",
            Step::Programs => "programs",
            Step::Conformance => "conformance",
            Step::Cluster => "cluster",
            Step::Faults => "faults",
            Step::Kubernetes => "kubernetes",
            Step::Down => "down",
        }
    }

    /// Its name in the output.
    fn name(self) -> &'static str {
        match self {
            Step::Machine => "packages and toolchain",
            Step::Format => "rustfmt",
            Step::Lint => "clippy",
            Step::Documents => "rustdoc",
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

/// The chosen steps, in order. The steps of the cluster are among them if and only if a test on the cluster is.
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

/// Runs the chosen steps.
///
/// # Errors
/// Returns an error if the run cannot begin. A failed step is shown and counted, and the exit code says so.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(&arguments.only, &arguments.skip);
    if chosen.contains(&Step::Cluster) {
        dev_cluster::require_root().context("leave the dev cluster out with --skip faults,kubernetes, or")?;
    }
    let budget = Budget::read()?;
    let cache = cache_state()?;
    interrupt::watch()?;
    let steps = Steps::new(chosen.len());
    thread::scope(|scope| {
        let mut run = Running { steps: &steps, arguments, programs: None, images: Vec::new(), cluster: None };
        for step in chosen.iter().copied() {
            run.one(step);
            if step == Step::Machine && chosen.contains(&Step::Programs) {
                // Go compiles the cluster's programs while cargo links and tests.
                let build = || programs::build(&Program::CLUSTER, &|line| steps.note(line)).map(drop);
                run.programs = Some(scope.spawn(build));
            }
        }
    });
    println!("{}", steps.summary());
    let is_whole = chosen == Step::ALL && steps.all_held() && !interrupt::came();
    let in_budget = arguments.thorough || within(&budget, &steps, is_whole, cache) || arguments.no_budget;
    Ok(if steps.all_held() && !interrupt::came() && in_budget { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what each step took and may take; whether no step of a whole run took longer. Part of a run is not judged,
/// because its steps compile what other steps would have compiled.
fn within(budget: &Budget, steps: &Steps, is_whole: bool, cache: Cache) -> bool {
    let times = steps.times();
    let named: Vec<_> = Step::ALL
        .iter()
        .filter_map(|step| {
            let (_, took) = times.iter().find(|(name, _)| name == step.name())?;
            Some((step.key(), *took))
        })
        .collect();
    let (table, over) = budget.compare(&named, is_whole.then(|| steps.elapsed()), cache);
    println!("{table}");
    if is_whole {
        over.iter().for_each(|line| println!("over budget: {line}"));
    }
    over.is_empty() || !is_whole
}

/// Whether an earlier run left what this one would else build or fetch.
fn cache_state() -> Result<Cache> {
    let cache = programs::cache()?;
    let is_warm = programs::are_built(&Program::CLUSTER)? && deny_root()?.exists() && cache.join("images").exists();
    Ok(if is_warm { Cache::Warm } else { Cache::Cold })
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
    /// Runs a step. Its failure is kept in the steps, and the steps that need it are skipped.
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
            Step::Documents => steps.step(step.name(), documents),
            Step::Dependencies => steps.step(step.name(), || dependencies(&note)),
            Step::Workspace => steps.step(step.name(), || workspace_tests(self.arguments.thorough)),
            Step::Tla => steps.step(step.name(), || tla::check(&note)),
            Step::Programs => {
                let building = self.programs.take();
                steps.step(step.name(), || {
                    let building = building.context("their build was not started")?;
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
                self.images = image::build("localhost", "dev", Profile::Quick, &note)?;
                image::list(&self.images, &note);
                Ok(())
            }),
            Step::Cluster => steps.step(step.name(), || {
                let cluster = Cluster::up(&cluster::options(3, Lifetime::Tied), &note)?;
                let loaded = image::load_into(&cluster, &self.images);
                self.cluster = Some(cluster);
                loaded
            }),
            Step::Faults => steps.step(step.name(), || self.on_the_cluster("faults", None)),
            Step::Kubernetes => {
                let named = self.arguments.kubernetes_test.as_deref();
                steps.step(step.name(), || self.on_the_cluster("kubernetes", named))
            }
        };
        // The step has shown and counted its error; the other steps still run.
        drop(done);
    }

    /// Runs one test target with the cluster's environment, one test at a time because they share the nodes.
    fn on_the_cluster(&self, target: &str, named: Option<&str>) -> Result<()> {
        let cluster = self.cluster.as_ref().context("the dev cluster is not up")?;
        let mut tests = test_target(target);
        tests.args(["--", "--test-threads", "1"]).args(named);
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

/// Documents private items as well, because contributors read them; not the copies of crates with planted bugs, whose
/// names are those of the originals.
fn documents() -> Result<()> {
    let mut document = cargo();
    document.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    document.args(["--exclude", "raft-with-bugs", "--exclude", "world-with-bugs"]);
    show(document.env("RUSTDOCFLAGS", "-D warnings"))
}

fn lint() -> Result<()> {
    show(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    // Tests that run only when they are named are not among all targets.
    let named = ["--test", "kubernetes", "--test", "conformance", "--test", "faults"];
    show(cargo().args(["clippy", "--workspace"]).args(named).args(["--", "--deny", "warnings"]))
}

/// One test target by its name. Packages are compiled with the features that the whole workspace needs; with
/// `--package` they would be compiled a second time, with fewer.
fn test_target(name: &str) -> Command {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--test", name]);
    tests
}

/// Every test that needs no cluster.
fn workspace_tests(thorough: bool) -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    if thorough {
        tests.env("THOROUGH", "1");
    }
    show(&mut tests)
}

/// These need etcd and its client, and build them if they are missing.
fn conformance_tests() -> Result<()> {
    show(&mut test_target("conformance"))
}

fn dependencies(note: &dyn Fn(&str)) -> Result<()> {
    let deny = cargo_deny(note)?;
    let mut check = Command::new(deny);
    check.current_dir(top());
    check.args(["--locked", "--config", ".cargo/deny.toml", "check", "--hide-inclusion-graph"]);
    show(check.args(["bans", "licenses", "sources"]))
}

/// cargo-deny, built into the cache once; without optimisation, because it builds in a third of the time and still checks
/// in a second.
fn cargo_deny(note: &dyn Fn(&str)) -> Result<PathBuf> {
    let root = deny_root()?;
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

fn deny_root() -> Result<PathBuf> {
    Ok(programs::cache()?.join("tools").join(format!("cargo-deny-{CARGO_DENY}")))
}

/// Copies logs, objects and events of the cluster, because it is about to be taken down and they say why a test failed.
fn keep_traces(cluster: &Cluster) -> Result<PathBuf> {
    let folder = programs::cache()?.join("failed");
    cluster.copy_logs(&folder)?;
    let queries = [
        ("pods.txt", "get pods,statefulsets,services,persistentvolumeclaims,nodes -A -o wide"),
        ("raft.yaml", "get raft -A -o yaml"),
        ("events.txt", "get events -A --sort-by=.metadata.creationTimestamp"),
    ];
    for (file, query) in queries {
        let answer = cluster.kubectl(query.split(' ')).text().unwrap_or_else(|error| format!("{error:#}\n"));
        println!("--- kubectl {query}\n{answer}");
        fs::write(folder.join(file), answer)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_steps_run_by_default() {
        assert!(chosen(&[], &[]) == Step::ALL);
    }

    #[test]
    fn every_step_has_a_budget() {
        let budget = Budget::read().unwrap();
        for step in Step::ALL {
            let took = [(step.key(), Duration::ZERO)];
            assert_eq!(budget.compare(&took, None, Cache::Warm).1, [""; 0]);
            assert_eq!(step.to_possible_value().unwrap().get_name(), step.key());
        }
    }

    #[test]
    fn without_tests_on_a_cluster_there_is_no_cluster() {
        let steps = chosen(&[], &[Step::Kubernetes, Step::Faults]);
        assert!(Step::OF_THE_CLUSTER.iter().all(|step| !steps.contains(step)));
        assert!(steps.contains(&Step::Workspace));
    }

    #[test]
    fn kubernetes_tests_alone_include_their_cluster() {
        let steps = chosen(&[Step::Kubernetes], &[]);
        let expected = [Step::Machine, Step::Images, Step::Programs, Step::Cluster, Step::Kubernetes, Step::Down];
        assert!(steps == expected);
    }
}
