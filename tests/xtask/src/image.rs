//! `cargo xtask image`: builds static programs and their images without Docker, and loads the images into a cluster if
//! requested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use dev_cluster::image::Image;
use dev_cluster::{Cluster, Program, Run, install_missing, programs};
use serde_json::Value;

use crate::toolchain;

/// The project's own programs. Each package has the same name as its executable.
const PACKAGES: [&str; 3] = ["raft-node", "raft-operator", "traffic"];

/// How images are built, named and loaded.
#[derive(Args)]
#[group(id = "image")]
pub(crate) struct Arguments {
    /// Also loads the images into this place
    #[arg(long, value_enum)]
    load: Option<Load>,
    /// Name of the kind cluster for `--load kind`
    #[arg(long, default_value = "kind")]
    kind_name: String,
    /// Registry in the names of the images, for example registry.example.com/raft; the images are pushed to it with
    /// `docker push`
    #[arg(long)]
    registry: Option<String>,
    /// Tag of the images
    #[arg(long, default_value = "dev")]
    tag: String,
    /// How the programs are compiled
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

/// Compiler settings for the programs of the images: a profile in the workspace's Cargo.toml.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// For distribution: optimised across crates
    Release,
    /// For the demo and for tests: takes less than half the time to build
    Quick,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Quick => "quick",
        }
    }
}

/// A place into which images are loaded.
#[derive(Clone, Copy, ValueEnum)]
enum Load {
    /// All nodes of the dev cluster
    Cluster,
    /// A kind cluster
    Kind,
    /// Docker on this machine
    Docker,
}

/// An image whose archive is written.
pub(crate) struct Written {
    /// Name and tag of the image.
    pub(crate) name: String,
    /// Path of the image's archive.
    pub(crate) path: PathBuf,
    /// Size of the archive in bytes.
    pub(crate) bytes: u64,
}

/// Builds the images and, if requested, loads and pushes them.
///
/// # Errors
/// Returns an error if a program cannot be built, or an image cannot be written, loaded or pushed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    build_and_load(arguments, &|line| println!("  {line}"))?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Returns whether `load` or `registry` makes the images available to the nodes of a cluster.
    pub(crate) fn reach_a_cluster(&self) -> bool {
        self.registry.is_some() || matches!(self.load, Some(Load::Cluster | Load::Kind))
    }
}

/// Builds the images, then loads and pushes them as the arguments say.
pub(crate) fn build_and_load(arguments: &Arguments, say: &dyn Fn(&str)) -> Result<Vec<Written>> {
    let prefix = arguments.registry.as_deref().unwrap_or("localhost").trim_end_matches('/');
    let images = build(prefix, &arguments.tag, arguments.profile, say)?;
    list(&images, say);
    match arguments.load {
        Some(Load::Cluster) => load_into(&Cluster::open()?, &images)?,
        Some(Load::Kind) => {
            for image in &images {
                let mut kind = Command::new("kind");
                kind.args(["load", "image-archive", "--name", &arguments.kind_name]).arg(&image.path);
                toolchain::show(&mut kind)?;
            }
        }
        Some(Load::Docker) => load_into_docker(&images)?,
        None => {}
    }
    if arguments.registry.is_some() {
        load_into_docker(&images)?;
        for image in &images {
            toolchain::show(Command::new("docker").args(["push", &image.name]))?;
        }
    }
    Ok(images)
}

/// Builds the project's programs statically, and writes an image of each. Also writes an image of etcd's client.
pub(crate) fn build(prefix: &str, tag: &str, profile: Profile, say: &dyn Fn(&str)) -> Result<Vec<Written>> {
    let mut programs = build_static(profile, toolchain::cargo(), say)?;
    let etcdctl = programs::build(&[Program::Etcdctl], say)?.path(Program::Etcdctl);
    programs.push((etcdctl, "etcd's client, for commands inside a cluster"));
    write(&programs, &programs::cache()?.join("images"), prefix, tag, say)
}

/// Compiles the programs of the images and prints only errors, so that a later [`build`] finds them compiled.
///
/// # Errors
/// Returns an error if a program cannot be built.
pub(crate) fn compile_ahead(profile: Profile, say: &dyn Fn(&str)) -> Result<()> {
    let mut cargo = toolchain::cargo();
    cargo.env("CARGO_TERM_QUIET", "true");
    build_static(profile, cargo, say).map(drop)
}

/// Writes an image of each program into `folder`.
fn write(
    programs: &[(PathBuf, &str)],
    folder: &Path,
    prefix: &str,
    tag: &str,
    say: &dyn Fn(&str),
) -> Result<Vec<Written>> {
    let trust = trust_store(say)?;
    fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    for (program, description) in programs {
        let name = program.file_name().context("a program has a name")?.to_string_lossy();
        let tagged = format!("{prefix}/{name}:{tag}");
        let image = Image::of_program(&tagged, program, Some(&trust))?
            .label("org.opencontainers.image.title", &name)
            .label("org.opencontainers.image.description", description)
            .label("org.opencontainers.image.version", env!("CARGO_PKG_VERSION"))
            .label("org.opencontainers.image.licenses", "Apache-2.0");
        let path = folder.join(format!("{name}.tar"));
        let bytes = image.write(&path)?;
        written.push(Written { name: tagged, path, bytes });
    }
    Ok(written)
}

/// Builds the programs of the workspace in `source` with target folder `target`, and writes their images into `folder`.
/// The version in the images' labels is that of the present workspace.
pub(crate) fn build_other(
    source: &Path,
    target: &Path,
    folder: &Path,
    tag: &str,
    say: &dyn Fn(&str),
) -> Result<Vec<Written>> {
    let mut cargo = toolchain::cargo();
    cargo.current_dir(source).env("CARGO_TARGET_DIR", target);
    let programs = build_static(Profile::Quick, cargo, say)?;
    write(&programs, folder, "localhost", tag, say)
}

/// Prints name, size and path of each image.
pub(crate) fn list(images: &[Written], say: &dyn Fn(&str)) {
    for image in images {
        let mebibytes = image.bytes as f64 / f64::from(1 << 20);
        say(&format!("{mebibytes:>6.1} MiB  {}  {}", image.name, image.path.display()));
    }
}

/// Loads images into every node of the dev cluster.
pub(crate) fn load_into(cluster: &Cluster, images: &[Written]) -> Result<()> {
    images.iter().try_for_each(|image| cluster.load_image(&image.path))
}

fn load_into_docker(images: &[Written]) -> Result<()> {
    images
        .iter()
        .try_for_each(|image| toolchain::show(Command::new("docker").args(["load", "--input"]).arg(&image.path)))
}

/// Builds the project's programs with `cargo` as static executables, which need no library of the system.
fn build_static(profile: Profile, mut cargo: Command, say: &dyn Fn(&str)) -> Result<Vec<(PathBuf, &'static str)>> {
    let target = toolchain::static_target();
    toolchain::add_target(&target, say)?;
    // The C parts (zstd, ring) are compiled for musl, the C library that is linked into a static program.
    install_missing(&[("musl-gcc", "musl-tools"), ("cc", "gcc")], say)?;
    cargo.args(["build", "--profile", profile.name(), "--target", &target]);
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let variable = target.replace('-', "_");
    cargo.env(format!("CC_{variable}"), "musl-gcc");
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = cargo.spawn().context("cargo could not be started")?.wait_with_output()?;
    ensure!(output.status.success(), "the programs were not built: cargo ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let find =
        |package: &str| executable(&messages, package).with_context(|| format!("cargo built no executable {package}"));
    let descriptions = [
        "One member of a Raft cluster",
        "The Kubernetes operator for Raft clusters",
        "A client that writes without pause and checks that acknowledged writes are kept",
    ];
    PACKAGES.iter().zip(descriptions).map(|(package, description)| Ok((find(package)?, description))).collect()
}

/// Returns the raft-node that the caller gave, or else builds it for this machine in release mode.
///
/// # Errors
/// Returns an error if it cannot be built.
pub(crate) fn release_node(given: Option<&Path>, say: &dyn Fn(&str)) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(std::path::absolute(given)?);
    }
    say("building raft-node (release)");
    built("raft-node", &["--release"])
}

/// Builds a package for this machine, with further arguments of cargo, and returns the path of its program, which has
/// the name of the package.
///
/// # Errors
/// Returns an error if the package cannot be built.
pub(crate) fn built(package: &str, arguments: &[&str]) -> Result<PathBuf> {
    built_by(toolchain::cargo(), package, arguments)
}

/// Does the same as [`built`] with a cargo command that names the workspace.
///
/// # Errors
/// Returns the errors of [`built`].
pub(crate) fn built_by(mut cargo: Command, package: &str, arguments: &[&str]) -> Result<PathBuf> {
    cargo.args(["build", "--package", package, "--message-format=json-render-diagnostics"]).args(arguments);
    executable(&cargo.text()?, package).with_context(|| format!("cargo built no executable {package}"))
}

/// Finds the path of the executable `name` in cargo's messages.
pub(crate) fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_name =
        parsed.filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == name);
    of_name.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
}

/// Reads Debian's bundle of certificate authorities.
fn trust_store(say: &dyn Fn(&str)) -> Result<Vec<u8>> {
    let bundle = dev_cluster::image::CA_BUNDLE;
    install_missing(&[(bundle, "ca-certificates")], say)?;
    let content = fs::read(Path::new(bundle)).with_context(|| format!("{bundle} cannot be read"))?;
    if !content.windows(5).any(|window| window == b"BEGIN") {
        bail!("{bundle} holds no certificate: run update-ca-certificates");
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_taken_from_cargos_own_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"raft-node"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"raft-node"},"executable":"/t/raft-node"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "raft-node"), Some(PathBuf::from("/t/raft-node")));
        assert_eq!(executable(messages, "raft-operator"), None);
    }
}
