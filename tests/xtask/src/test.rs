//! `cargo xtask test`: runs every test, the cheapest first. Owns the order of the steps, what runs beside them,
//! and the removal of the dev cluster after them. Does not own the tests, nor the budgets of the steps (`budget.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use dev_cluster::{Cluster, Lifetime, Program, Run, install_missing, programs};

use crate::beside::at_the_lowest_priority;
use crate::budget::{Budget, Cache};
use crate::former::{self, NodeProfile};
use crate::image::Profile;
use crate::steps::Steps;
use crate::toolchain::{add_component, add_target, cargo, show, static_target, top};
use crate::{cluster, image, interrupt, tla};

/// Version of cargo-deny that is installed if it is missing. cargo-deny checks licences and sources.
const CARGO_DENY: &str = "0.20.2";

/// The last commit before feature levels. Its members are the former program that the present one runs next to.
const BEFORE_LEVELS: &str = "676deb576a88d07877adb7399eeec5ddb482c50d";

/// Number of Kubernetes tests that may run at the same time. They mostly wait for pods and for the operator.
const KUBERNETES_TESTS: u32 = 3;

/// The tests to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Runs only these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Runs all steps except these
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
    /// Runs only the Kubernetes tests whose names contain this text
    #[arg(long)]
    kubernetes_test: Option<String>,
    /// Also explores the deep worlds of the core and of its specification, which takes hours, and tests the images that
    /// are distributed; no budget applies. tests/README.md lists what is deepened
    #[arg(long)]
    thorough: bool,
    /// Reports steps that exceed their budget, but does not fail; for a slow or busy machine
    #[arg(long)]
    no_budget: bool,
}

/// One step of the test run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Installs missing Debian packages and missing parts of the Rust toolchain
    Machine,
    /// Checks the format with rustfmt
    Format,
    /// Runs clippy with warnings denied
    Lint,
    /// Runs rustdoc on the workspace with warnings denied, so that broken links between items are errors
    Documents,
    /// Checks licences and sources of dependencies
    Dependencies,
    /// Runs the unit, property, simulation and tidiness tests of the workspace
    Workspace,
    /// Builds the container images. Their programs are compiled while the workspace's tests run
    Images,
    /// Waits for the dev cluster's programs, which are built while the earlier steps run
    Programs,
    /// Compares every answer of a member with that of a real etcd, and the simulated API server with a real one
    Conformance,
    /// Runs members of the present and of a former program side by side. The former one is built while the earlier steps
    /// run
    Versions,
    /// Brings the dev cluster up and loads the images
    Cluster,
    /// Causes each fault on the dev cluster and checks the effect
    Faults,
    /// Runs the tests of the product on the dev cluster
    Kubernetes,
    /// Runs TLC on the specification, and on recorded runs of the simulator. A run with the dev cluster starts it after
    /// the images, and waits for it here
    Tla,
    /// Takes the dev cluster down
    Down,
}

impl Step {
    const ALL: [Step; 15] = [
        Step::Machine,
        Step::Format,
        Step::Lint,
        Step::Documents,
        Step::Dependencies,
        Step::Workspace,
        Step::Images,
        Step::Programs,
        Step::Conformance,
        Step::Versions,
        Step::Cluster,
        Step::Faults,
        Step::Kubernetes,
        Step::Tla,
        Step::Down,
    ];

    /// The steps that run only if a test on the dev cluster runs.
    const OF_THE_CLUSTER: [Step; 4] = [Step::Images, Step::Programs, Step::Cluster, Step::Down];

    /// Name of the step on the command line and in the budget.
    fn key(self) -> &'static str {
        match self {
            Step::Machine => "machine",
            Step::Format => "format",
            Step::Lint => "lint",
            Step::Documents => "documents",
            Step::Dependencies => "dependencies",
            Step::Workspace => "workspace",
            Step::Images => "images",
            Step::Programs => "programs",
            Step::Conformance => "conformance",
            Step::Versions => "versions",
            Step::Cluster => "cluster",
            Step::Faults => "faults",
            Step::Kubernetes => "kubernetes",
            Step::Tla => "tla",
            Step::Down => "down",
        }
    }

    /// Name of the step in the output.
    fn name(self) -> &'static str {
        match self {
            Step::Machine => "packages and toolchain",
            Step::Format => "rustfmt",
            Step::Lint => "clippy",
            Step::Documents => "rustdoc",
            Step::Dependencies => "cargo-deny",
            Step::Workspace => "workspace tests",
            Step::Images => "images",
            Step::Programs => "dev cluster's programs",
            Step::Conformance => "conformance with etcd and Kubernetes",
            Step::Versions => "two versions side by side",
            Step::Cluster => "dev cluster up",
            Step::Faults => "dev cluster's faults",
            Step::Kubernetes => "Kubernetes tests",
            Step::Tla => "TLA+",
            Step::Down => "dev cluster down",
        }
    }
}

/// Returns the chosen steps in order. The steps in `OF_THE_CLUSTER` are included if and only if the chosen steps
/// include a test on the dev cluster.
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
/// Returns an error if the run cannot begin. The error of a failed step is printed and sets the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen = chosen(&arguments.only, &arguments.skip);
    if chosen.contains(&Step::Cluster) {
        dev_cluster::require_root().context("leave the dev cluster out with --skip faults,kubernetes, or")?;
    }
    let budget = Budget::read()?;
    let cache = cache_state()?;
    interrupt::watch()?;
    let steps = Steps::new(chosen.len());
    let profile = if arguments.thorough { Profile::Release } else { Profile::Quick };
    thread::scope(|scope| {
        let (programs, former, compiling, exploring) = (None, None, None, None);
        let (images, cluster) = (Vec::new(), None);
        let mut run =
            Running { steps: &steps, arguments, profile, programs, former, compiling, exploring, images, cluster };
        for step in chosen.iter().copied() {
            if step == Step::Workspace && chosen.contains(&Step::Images) && !interrupt::came() {
                // Many tests wait for processes or for time, and leave processors idle meanwhile.
                let compile = || image::compile_ahead(profile, &|line| steps.note(line));
                run.compiling = Some(scope.spawn(move || at_the_lowest_priority(compile)));
            }
            run.one(step);
            if step == Step::Images && chosen.contains(&Step::Tla) && !interrupt::came() {
                // The tests of processes and of the dev cluster mostly wait, too.
                let explore = || tla::check(arguments.thorough, &|line| steps.note(line));
                run.exploring = Some(scope.spawn(move || at_the_lowest_priority(explore)));
            }
            if step == Step::Machine && chosen.contains(&Step::Programs) {
                // The build runs on a separate thread: Go compiles the dev cluster's programs while cargo compiles the
                // workspace and runs its tests.
                let build = || programs::build(&Program::CLUSTER, &|line| steps.note(line)).map(drop);
                run.programs = Some(scope.spawn(build));
            }
            if step == Step::Machine && chosen.contains(&Step::Versions) {
                let build = || former::node(BEFORE_LEVELS, NodeProfile::Debug, &|line| steps.note(line));
                run.former = Some(scope.spawn(build));
            }
        }
    });
    println!("{}", steps.summary());
    let is_whole = chosen == Step::ALL && steps.all_held() && !interrupt::came();
    let in_budget = arguments.thorough || within(&budget, &steps, is_whole, cache) || arguments.no_budget;
    Ok(if steps.all_held() && !interrupt::came() && in_budget { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the duration and the budget of each step. Returns false if the run is whole and a step took longer than its
/// budget. A partial run always passes, because its steps may compile code that an earlier step of a whole run would
/// have compiled.
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

/// State of the cache. It is warm if it contains everything that this run would otherwise build or fetch.
fn cache_state() -> Result<Cache> {
    let cache = programs::cache()?;
    let are_built = programs::are_built(&Program::CLUSTER)? && former::has_node(BEFORE_LEVELS, NodeProfile::Debug)?;
    let is_warm = are_built && deny_root()?.exists() && cache.join("images").exists();
    Ok(if is_warm { Cache::Warm } else { Cache::Cold })
}

/// State of the run while its steps are executed.
struct Running<'scope, 'a> {
    steps: &'a Steps,
    arguments: &'a Arguments,
    /// How the programs of the images are compiled.
    profile: Profile,
    programs: Option<thread::ScopedJoinHandle<'scope, Result<()>>>,
    /// The build of the former program.
    former: Option<thread::ScopedJoinHandle<'scope, Result<PathBuf>>>,
    /// The compilation of the images' programs.
    compiling: Option<thread::ScopedJoinHandle<'scope, Result<()>>>,
    /// TLC's run.
    exploring: Option<thread::ScopedJoinHandle<'scope, Result<()>>>,
    images: Vec<image::Written>,
    cluster: Option<Cluster>,
}

impl Running<'_, '_> {
    /// Runs a step. If the step fails, its error is recorded, and the steps that depend on it are skipped.
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
            Step::Tla => {
                let exploring = self.exploring.take();
                steps.step(step.name(), || match exploring {
                    Some(exploring) => exploring.join().map_err(|_| anyhow!("it panicked"))?,
                    None => tla::check(self.arguments.thorough, &note),
                })
            }
            Step::Programs => {
                let building = self.programs.take();
                steps.step(step.name(), || {
                    let building = building.context("their build was not started")?;
                    building.join().map_err(|_| anyhow!("their build panicked"))?
                })
            }
            Step::Conformance => steps.step(step.name(), conformance_tests),
            Step::Versions => {
                let building = self.former.take();
                steps.step(step.name(), || {
                    let building = building.context("the build of the former program was not started")?;
                    versions_tests(&building.join().map_err(|_| anyhow!("the build of the former program panicked"))??)
                })
            }
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
                // If the compilation failed, it is repeated below, and its error becomes that of the step.
                let _ = self.compiling.take().map(thread::ScopedJoinHandle::join);
                self.images = image::build("localhost", "dev", self.profile, &note)?;
                image::list(&self.images, &note);
                Ok(())
            }),
            Step::Cluster => steps.step(step.name(), || {
                let cluster = Cluster::up(&cluster::options(3, Lifetime::Tied), &note)?;
                let loaded = image::load_into(&cluster, &self.images);
                self.cluster = Some(cluster);
                loaded
            }),
            Step::Faults => steps.step(step.name(), || self.on_the_cluster("faults", 1, None)),
            Step::Kubernetes => {
                let named = self.arguments.kubernetes_test.as_deref();
                steps.step(step.name(), || self.on_the_cluster("kubernetes", KUBERNETES_TESTS, named))
            }
        };
        // The error of the step is already printed and counted. The other steps still run.
        drop(done);
    }

    /// Runs one test target with the dev cluster's environment, at most `threads` tests at a time.
    fn on_the_cluster(&self, target: &str, threads: u32, named: Option<&str>) -> Result<()> {
        let cluster = self.cluster.as_ref().context("the dev cluster is not up")?;
        let mut tests = test_target(target);
        tests.args(["--", "--show-output", "--test-threads", &threads.to_string()]).args(named);
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

/// Builds the documentation. It includes private items, because contributors read them. It excludes the copies of
/// crates with planted bugs, because they have the same names as the originals.
fn documents() -> Result<()> {
    let mut document = cargo();
    document.args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    document.args(["--exclude", "raft-with-bugs", "--exclude", "world-with-bugs"]);
    document.args(["--exclude", "plan-with-bugs", "--exclude", "operator-with-bugs", "--exclude", "planted-operators"]);
    document.args(["--exclude", "storage-with-bugs", "--exclude", "engine-with-bugs", "--exclude", "wire-with-bugs"]);
    document.args(["--exclude", "memory-disk-with-bugs", "--exclude", "stepped-member-with-bugs"]);
    document.args(["--exclude", "planted-members"]);
    show(document.env("RUSTDOCFLAGS", "-D warnings"))
}

fn lint() -> Result<()> {
    // The unit tests of this copy need what only the original has, such as its manifest.
    let all = ["clippy", "--workspace", "--exclude", "operator-with-bugs", "--all-targets"];
    show(cargo().args(all).args(["--", "--deny", "warnings"]))?;
    // These test targets are named here, because `--all-targets` leaves out tests that only run when they are named.
    let named = ["--test", "kubernetes", "--test", "conformance", "--test", "likeness", "--test", "faults"];
    let named = named.into_iter().chain(["--test", "versions"]);
    show(cargo().args(["clippy", "--workspace"]).args(named).args(["--", "--deny", "warnings"]))
}

/// A command that runs the test target `name`. The command has the option `--workspace` instead of `--package`, because
/// `--package` would compile the packages a second time with fewer features.
fn test_target(name: &str) -> Command {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--test", name]);
    tests
}

/// Runs every test that needs no cluster. The deeper small worlds and the loads on members are ignored unless they are
/// named, because they take long.
fn workspace_tests(thorough: bool) -> Result<()> {
    let tested = show(cargo().args(["test", "--workspace", "--no-fail-fast"]));
    if thorough {
        show(test_target("small_worlds").args(["--", "--ignored", "--nocapture"]))?;
        // A fast build, as the one that ships, and one load at a time: they measure memory.
        let loads = ["--", "--ignored", "--nocapture", "--test-threads=1", "loads::"];
        show(test_target("processes").args(["--release"]).args(loads))?;
    }
    tested
}

/// Runs the tests that compare with a real etcd and a real Kubernetes API server, which are built if they are missing.
fn conformance_tests() -> Result<()> {
    show(test_target("conformance").args(["--test", "likeness"]))
}

/// Runs the tests of two programs side by side: that of this workspace, and `former`.
fn versions_tests(former: &Path) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--workspace", "--bin", "raft-node", "--test", "versions"]);
    let messages = build.arg("--message-format=json-render-diagnostics").text()?;
    let present = image::executable(&messages, "raft-node").context("cargo built no executable raft-node")?;
    show(test_target("versions").env("PRESENT_RAFT_NODE", present).env("FORMER_RAFT_NODE", former))
}

fn dependencies(note: &dyn Fn(&str)) -> Result<()> {
    let deny = cargo_deny(note)?;
    let mut check = Command::new(deny);
    check.current_dir(top());
    check.args(["--locked", "--config", ".cargo/deny.toml", "check", "--hide-inclusion-graph"]);
    show(check.args(["bans", "licenses", "sources"]))
}

/// Returns the path of cargo-deny, which is built into the cache once. cargo-deny is built without optimisation,
/// because such a build takes a third of the time, and a check still takes only a second.
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

/// Copies logs, objects and events of the dev cluster, which is about to be taken down. They show why a test failed.
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
