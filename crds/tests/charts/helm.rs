//! Owns the calls of the Helm program: render and lint. Never contacts a cluster.

use dev_cluster::{Program, programs};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// A Helm program that runs on this machine.
pub(crate) struct Helm(PathBuf);

impl Helm {
    /// The Helm program of the dev cluster. It is built from Helm's Go module unless it is cached.
    pub(crate) fn find() -> Self {
        let built = programs::build(&[Program::Helm], &|line| println!("{line}")).expect("Helm can be built with Go");
        Self(built.path(Program::Helm))
    }

    /// Runs Helm and returns its standard output.
    ///
    /// # Errors
    /// Returns standard output and standard error when Helm fails or does not start.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.0).args(arguments).output().map_err(|error| error.to_string())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stdout) + &text(output.stderr)) }
    }

    /// The objects that a chart renders to.
    pub(crate) fn render(&self, name: &str, arguments: &[&str]) -> Vec<Value> {
        self.render_chart(&chart(name), "release", arguments)
    }

    /// The objects that raft-operator renders to as a release of another name.
    pub(crate) fn render_release(&self, release: &str, arguments: &[&str]) -> Vec<Value> {
        self.render_chart(&chart("raft-operator"), release, arguments)
    }

    fn render_chart(&self, chart: &str, release: &str, arguments: &[&str]) -> Vec<Value> {
        let all = [&["template", release, chart, "--namespace", "operators"], arguments].concat();
        let text = self.run(&all).unwrap_or_else(|cause| panic!("{chart} {arguments:?}: {cause}"));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("Helm renders YAML");
        documents.into_iter().filter(|document| !document.is_null()).collect()
    }

    /// The objects that raft-operator renders to when `values` replace its own defaults. This is what
    /// `helm upgrade --reuse-values` does with the defaults of the version that is installed.
    pub(crate) fn render_reusing(&self, values: &str) -> Vec<Value> {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reused");
        // The folder does not exist on the first run.
        let _ = fs::remove_dir_all(&copy);
        copy_folder(Path::new(&chart("raft-operator")), &copy).expect("the chart can be copied");
        fs::write(copy.join("values.yaml"), values).expect("the copy can be written");
        self.render_chart(copy.to_str().expect("the path is text"), "release", &[])
    }

    /// The objects that raft-operator renders to with a set of values from its `ci` folder.
    pub(crate) fn render_set(&self, set: &str) -> Vec<Value> {
        self.render("raft-operator", &["--values", &chart(&format!("raft-operator/ci/{set}.yaml"))])
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Absolute path of a file or folder in `charts/`.
pub(crate) fn chart(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../charts")
        .join(path)
        .to_str()
        .expect("the tree's path is text")
        .to_owned()
}
