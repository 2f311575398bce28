//! The programs of the dev cluster, built from the Go module `go/` with the checksums committed there. They are kept
//! outside the work tree, in a folder whose name is derived from the module's files. Owns the build and the cache of
//! the programs. Does not own their start (`control_plane.rs`, `node.rs`).
//!
//! One module holds all programs, so that every dependency has one version. With a separate module for each program,
//! the packages of Kubernetes and gRPC were compiled up to five times, each time in another version.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::command::{Run, command};

/// The Kubernetes version that is built, as `kubectl version` prints it.
pub const KUBERNETES: &str = "v1.37.2";

/// The oldest Go version that can build the programs. It fetches the newer toolchain that the module requires.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A program of the Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The only program of the pause image, which holds a pod's namespaces open.
    Pause,
    /// etcd 3.7.3. It is the store of the control plane, and the server with which benchmarks compare this project's
    /// members.
    Etcd,
    /// etcd's client.
    Etcdctl,
    /// etcd's tool for data directories of stopped members.
    Etcdutl,
    /// etcd's benchmark tool.
    Benchmark,
    /// Prints the descriptors of etcd's public API. A test compares them with this project's API.
    EtcdDescriptors,
    /// CoreDNS with the plugins that a cluster without internet access needs.
    CoreDns,
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
    /// kubelet.
    Kubelet,
    /// kube-proxy.
    KubeProxy,
    /// kubectl.
    Kubectl,
    /// Helm 4.
    Helm,
    /// The S3 server.
    Versitygw,
}

impl Program {
    /// All programs.
    pub const ALL: [Program; 15] = [
        Program::Pause,
        Program::Etcd,
        Program::Etcdctl,
        Program::Etcdutl,
        Program::Benchmark,
        Program::EtcdDescriptors,
        Program::CoreDns,
        Program::KubeApiserver,
        Program::KubeControllerManager,
        Program::KubeScheduler,
        Program::Kubelet,
        Program::KubeProxy,
        Program::Kubectl,
        Program::Versitygw,
        Program::Helm,
    ];

    /// Programs that a running cluster needs. The other programs are for tests and benchmarks.
    pub const CLUSTER: [Program; 12] = [
        Program::Pause,
        Program::Etcd,
        Program::Etcdctl,
        Program::CoreDns,
        Program::KubeApiserver,
        Program::KubeControllerManager,
        Program::KubeScheduler,
        Program::Kubelet,
        Program::KubeProxy,
        Program::Kubectl,
        Program::Versitygw,
        Program::Helm,
    ];

    /// Name of the executable.
    #[must_use]
    pub fn name(self) -> &'static str {
        let package = self.package().trim_end_matches("/v3");
        package.rsplit_once('/').map_or(package, |(_, name)| name)
    }

    /// Path of the Go package that `go build` builds in the module's folder. The executable has the name of the last
    /// part of the path that is not a version.
    fn package(self) -> &'static str {
        match self {
            Program::Pause => "./pause",
            Program::Etcd => "./etcd",
            Program::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Program::Etcdutl => "go.etcd.io/etcd/etcdutl/v3",
            Program::Benchmark => "go.etcd.io/etcd/v3/tools/benchmark",
            Program::EtcdDescriptors => "./etcd-descriptors",
            Program::CoreDns => "./coredns",
            Program::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Program::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Program::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Program::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Program::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
            Program::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Program::Helm => "helm.sh/helm/v4/cmd/helm",
            Program::Versitygw => "github.com/versity/versitygw/cmd/versitygw",
        }
    }
}

/// Folder of built programs.
#[derive(Clone, Debug)]
pub struct Built {
    /// The folder for all programs built from the present files of the module.
    folder: PathBuf,
}

impl Built {
    fn open() -> Result<Self> {
        Ok(Self { folder: cache()?.join("programs").join(key(&module_folder())) })
    }

    /// Path of `program`. The file exists if `program` was among the programs to build.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    /// Creates links in `folder` to the programs that are built, so that `folder` can be put on a PATH.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be written. Some links may have been created.
    pub fn link_into(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for program in Program::ALL.into_iter().filter(|program| self.path(*program).exists()) {
            let link = folder.join(program.name());
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(self.path(program), &link)
                .with_context(|| format!("{} was not linked", link.display()))?;
        }
        Ok(())
    }
}

/// The project's cache: `RAFT_OPERATOR_CACHE`, otherwise `raft-operator` under `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// Returns an error if none of these is set.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = set("RAFT_OPERATOR_CACHE") {
        return Ok(std::path::absolute(cache)?);
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("no folder for built programs is known: set RAFT_OPERATOR_CACHE to a directory")?
        .join("raft-operator"))
}

/// Returns whether all of `programs` are in the cache.
///
/// # Errors
/// Returns an error if the folder of the cache cannot be determined.
pub fn are_built(programs: &[Program]) -> Result<bool> {
    let built = Built::open()?;
    Ok(programs.iter().all(|program| built.path(*program).exists()))
}

/// Builds the programs that are not in the cache yet, and reports the durations through `say`.
///
/// # Errors
/// Returns an error if Go is missing or too old, or if a build fails. Programs that were built before the error stay in
/// the cache.
pub fn build(programs: &[Program], say: &dyn Fn(&str)) -> Result<Built> {
    let built = Built::open()?;
    let missing = || programs.iter().copied().filter(|program| !built.path(*program).exists()).collect::<Vec<_>>();
    if missing().is_empty() {
        return Ok(built);
    }
    fs::create_dir_all(&built.folder).with_context(|| format!("{} cannot be made", built.folder.display()))?;
    let lock = fs::File::create(built.folder.join(".lock"))?;
    if lock.try_lock().is_err() {
        say("another build of these programs is running: waiting for it");
        lock.lock()?;
    }
    check_go()?;
    let missing = missing();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|program| program.name()).collect();
        say(&format!("building with Go: {}", names.join(", ")));
        let start = Instant::now();
        build_together(&missing, &built)?;
        say(&format!("built {} programs in {:.0} s", missing.len(), start.elapsed().as_secs_f64()));
    }
    Ok(built)
}

/// Builds programs with a single `go build`, so that each package is loaded only once.
fn build_together(programs: &[Program], built: &Built) -> Result<()> {
    let partial = built.folder.join(".partial");
    fs::create_dir_all(&partial)?;
    let mut go = command("nice", ["-n", "5", "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]);
    go.args(compiler_flags()).args(["-ldflags", &linker_flags(), "-o"]).arg(&partial);
    go.args(programs.iter().map(|program| program.package())).current_dir(module_folder());
    go.env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS").text()?;
    for program in programs {
        let to = built.path(*program);
        fs::rename(partial.join(program.name()), &to).with_context(|| format!("{} was not written", to.display()))?;
    }
    fs::remove_dir_all(&partial)?;
    Ok(())
}

/// Flags that make the compiler faster. Each flag names a pattern of packages. If a package matches several patterns,
/// the last one applies.
fn compiler_flags() -> impl Iterator<Item = String> {
    // The linker drops debug information (`-s -w`), so the compiler need not write it. This saves an eighth of the CPU
    // time of a build.
    let all = "-gcflags=all=-dwarf=false".to_owned();
    // Inlining is switched off for the largest packages (`-l`), because their compilation then takes a quarter less CPU
    // time. etcd's packages keep inlining, because benchmarks compare the members with etcd.
    let large = ["k8s.io/...", "sigs.k8s.io/...", "helm.sh/...", "github.com/aws/...", "github.com/versity/..."];
    [all].into_iter().chain(large.into_iter().map(|packages| format!("-gcflags={packages}=-dwarf=false -l")))
}

/// Flags that make executables smaller, and set the variables with the version that the programs of Kubernetes report.
/// The linker ignores these variables in a program that does not contain them.
fn linker_flags() -> String {
    let version = "k8s.io/component-base/version";
    format!(
        "-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=37 \
         -X {version}.gitTreeState=clean"
    )
}

fn module_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("go")
}

/// Hash of the module's sources, the Kubernetes version and the architecture: twelve hexadecimal digits.
fn key(folder: &Path) -> String {
    let mut hash = Sha256::new();
    let modules = ["go.mod", "go.sum", "tools.go"];
    let programs = ["pause/main.go", "etcd/main.go", "coredns/main.go", "etcd-descriptors/main.go"];
    for file in modules.into_iter().chain(programs) {
        // A missing file counts as empty here, because `go build` reports it.
        let content = fs::read(folder.join(file)).unwrap_or_default();
        hash.update(format!("{file} {}\n", content.len()));
        hash.update(content);
    }
    hash.update(format!("{KUBERNETES} {}", std::env::consts::ARCH));
    compiler_flags().for_each(|flag| hash.update(flag));
    hash.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_go() -> Result<()> {
    let output = command("go", ["env", "GOVERSION"]).text();
    let output =
        output.context("Go builds the dev cluster's programs: install Go 1.26 or newer and put it on the PATH")?;
    let Some(version) = parse_go_version(output.trim()) else {
        bail!("the version of Go has an unknown format: {output}")
    };
    let (major, minor) = version;
    ensure!(
        version >= OLDEST_GO,
        "Go {major}.{minor} is too old for the dev cluster's programs: install Go 1.26 or newer"
    );
    Ok(())
}

/// Parses a version of Go: `go1.26.8` → (1, 26).
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_parsed() {
        assert_eq!(parse_go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("devel"), None);
    }

    #[test]
    fn the_key_changes_with_any_source() {
        let folder = std::env::temp_dir().join(format!("dev-cluster-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("go.mod"), "module a").unwrap();
        let before = key(&folder);
        fs::write(folder.join("go.sum"), "x v1.0.0 h1:abc=").unwrap();
        let after = key(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(before.len(), 12);
        assert_ne!(before, after);
    }

    #[test]
    fn every_program_is_in_the_module() {
        let tools = fs::read_to_string(module_folder().join("tools.go")).unwrap();
        for program in Program::ALL {
            let package = program.package();
            let is_there = match package.strip_prefix("./") {
                Some(folder) => module_folder().join(folder).join("main.go").exists(),
                None => tools.contains(&format!("\"{package}\"")),
            };
            assert!(is_there, "{package}");
        }
        assert!(["go.mod", "go.sum"].iter().all(|file| module_folder().join(file).exists()));
    }

    #[test]
    fn executables_have_the_names_that_go_gives_them() {
        assert_eq!(Program::Etcdctl.name(), "etcdctl");
        assert_eq!(Program::Pause.name(), "pause");
        assert_eq!(Program::KubeApiserver.name(), "kube-apiserver");
    }
}
