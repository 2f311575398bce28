//! The product as an earlier commit built it: its images, its chart, and `raft-node` alone. Owns their place in the
//! cache, where each commit is built once. Does not own what is done with them (`upgrade.rs`, `bench.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dev_cluster::{Run, programs};

use crate::image;
use crate::toolchain::{cargo, top};

/// Tag of the images of an earlier commit.
pub(crate) const TAG: &str = "former";

/// Images and chart of an earlier commit.
pub(crate) struct Former {
    /// Paths of the images' archives. The images have the tag [`TAG`].
    pub(crate) images: Vec<PathBuf>,
    /// Folder of the charts.
    pub(crate) charts: PathBuf,
}

/// Returns the images and the chart of `commit`. They are built if the cache lacks them, which takes several minutes.
///
/// # Errors
/// Returns an error if the commit is unknown, or its programs cannot be built.
pub(crate) fn build(commit: &str, say: &dyn Fn(&str)) -> Result<Former> {
    let name = full_name(commit)?;
    let folder = programs::cache()?.join("former").join(&name);
    let source = folder.join("source");
    let former = Former {
        images: ["raft-node", "raft-operator"].map(|program| folder.join(format!("{program}.tar"))).to_vec(),
        charts: source.join("charts"),
    };
    if former.images.iter().all(|image| image.exists()) {
        return Ok(former);
    }
    say(&format!("building the programs of {name}"));
    check_out(&name, &source)?;
    let target = folder.join("target");
    image::build_other(&source, &target, &folder, TAG, say)?;
    fs::remove_dir_all(&target).with_context(|| format!("{} cannot be removed", target.display()))?;
    Ok(former)
}

/// How `raft-node` of an earlier commit is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeProfile {
    /// As it is distributed, for measurements.
    Release,
    /// As tests are built, without debug information. That takes the least time.
    Debug,
}

/// Returns the path of `raft-node` as `commit` built it for this machine. It is built if the cache lacks it, which takes
/// several minutes.
///
/// # Errors
/// Returns an error if the commit is unknown, or its program cannot be built.
pub(crate) fn node(commit: &str, profile: NodeProfile, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let name = full_name(commit)?;
    let folder = programs::cache()?.join("former").join(&name);
    let node = node_path(&folder, profile);
    if !node.exists() {
        let arguments: &[&str] = if profile == NodeProfile::Release { &["--release"] } else { &[] };
        say(&format!("building raft-node of {name} {}", arguments.concat()));
        let (source, target) = (folder.join("source"), folder.join("target"));
        check_out(&name, &source)?;
        let mut cargo = cargo();
        cargo.current_dir(&source).env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "false");
        let built = image::built_by(cargo, "raft-node", arguments)?;
        fs::rename(&built, &node).with_context(|| format!("{} cannot be moved", built.display()))?;
        fs::remove_dir_all(&target).with_context(|| format!("{} cannot be removed", target.display()))?;
    }
    Ok(node)
}

/// Returns whether the cache holds `raft-node` of a commit.
///
/// # Errors
/// Returns an error if the commit is unknown, or there is no cache.
pub(crate) fn has_node(commit: &str, profile: NodeProfile) -> Result<bool> {
    Ok(node_path(&programs::cache()?.join("former").join(full_name(commit)?), profile).exists())
}

fn node_path(folder: &Path, profile: NodeProfile) -> PathBuf {
    folder.join(match profile {
        NodeProfile::Release => "raft-node",
        NodeProfile::Debug => "raft-node-debug",
    })
}

fn full_name(commit: &str) -> Result<String> {
    let mut name = git();
    name.args(["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")]);
    let name = name.text().with_context(|| {
        format!("this clone has no commit {commit}: fetch the whole history with `git fetch --unshallow`")
    })?;
    Ok(name.trim().to_owned())
}

/// Writes the files of a commit into the folder `source`, which is replaced.
fn check_out(commit: &str, source: &Path) -> Result<()> {
    if source.exists() {
        fs::remove_dir_all(source).with_context(|| format!("{} cannot be removed", source.display()))?;
    }
    fs::create_dir_all(source).with_context(|| format!("{} cannot be created", source.display()))?;
    let archive = source.with_extension("tar");
    git().args(["archive", "--format=tar", "--output"]).arg(&archive).arg(commit).text()?;
    Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(source).text()?;
    fs::remove_file(&archive).with_context(|| format!("{} cannot be removed", archive.display()))?;
    ensure!(source.join("Cargo.toml").exists(), "commit {commit} has no workspace");
    Ok(())
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(top());
    git
}
