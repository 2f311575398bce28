//! The programs of the dev cluster, built from their Go modules under `go/` with the checksums committed there, and
//! kept outside the work tree under a name that changes with any of their sources. Starting them is others' work.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::command::{Run, command};

/// The Kubernetes version that is built, as `kubectl version` shows it.
pub const KUBERNETES: &str = "v1.37.2";

/// The oldest Go that may build; an older one with toolchain downloads fetches a newer by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A program built from a Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Holds a pod's namespaces open: the sandbox image's only program.
    Pause,
    /// etcd 3.7.3: the control plane's store, and the yardstick of benchmarks.
    Etcd,
    /// etcd's client.
    Etcdctl,
    /// etcd's offline tool.
    Etcdutl,
    /// etcd's own `benchmark`.
    Benchmark,
    /// CoreDNS with the plugins a cluster without a way out needs.
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
    /// All of them, the quick ones first.
    pub const ALL: [Program; 14] = [
        Program::Pause,
        Program::Etcd,
        Program::Etcdctl,
        Program::Etcdutl,
        Program::Benchmark,
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

    /// What a cluster runs; the others are for tests and benchmarks.
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

    /// The name of the executable.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.source().0
    }

    /// Name, folder under `go/`, package.
    fn source(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Program::Pause => ("pause", "pause", "."),
            Program::Etcd => ("etcd", "etcd", "."),
            Program::Etcdctl => ("etcdctl", "etcd", "go.etcd.io/etcd/etcdctl/v3"),
            Program::Etcdutl => ("etcdutl", "etcd", "go.etcd.io/etcd/etcdutl/v3"),
            Program::Benchmark => ("benchmark", "etcd", "go.etcd.io/etcd/v3/tools/benchmark"),
            Program::CoreDns => ("coredns", "coredns", "."),
            Program::KubeApiserver => ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Program::KubeControllerManager => {
                ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Program::KubeScheduler => ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Program::Kubelet => ("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
            Program::KubeProxy => ("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
            Program::Kubectl => ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
            Program::Helm => ("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
            Program::Versitygw => ("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        }
    }

    fn linker_flags(self) -> String {
        let version = "k8s.io/component-base/version";
        match self.source().1 {
            "kubernetes" => format!(
                "-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=37 \
                 -X {version}.gitTreeState=clean"
            ),
            _ => "-s -w".into(),
        }
    }
}

/// Programs that are built.
#[derive(Clone, Debug)]
pub struct Built {
    root: PathBuf,
}

impl Built {
    /// Where `program` is, if it was among those built.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        let (name, module, _) = program.source();
        self.root.join(format!("{module}-{}", key(&module_folder(module)))).join(name)
    }

    /// Fills `folder` with links to the programs that are built, to be put on a PATH.
    ///
    /// # Errors
    /// If the folder cannot be written.
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

/// The project's cache: `RAFT_OPERATOR_CACHE`, else `raft-operator` under `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// If none of these is set.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = set("RAFT_OPERATOR_CACHE") {
        return Ok(std::path::absolute(cache)?);
    }
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base
        .context("there is no place for built programs: set RAFT_OPERATOR_CACHE to a directory")?
        .join("raft-operator"))
}

/// Builds those of `programs` that are not in the cache, one after another, saying so with times through `say`.
///
/// # Errors
/// If Go is missing or too old, or a build fails; what was built before stays in the cache.
pub fn build(programs: &[Program], say: &dyn Fn(&str)) -> Result<Built> {
    let root = cache()?.join("programs");
    fs::create_dir_all(&root).with_context(|| format!("{} cannot be made", root.display()))?;
    let built = Built { root };
    let missing = |built: &Built| programs.iter().copied().filter(|p| !built.path(*p).exists()).collect::<Vec<_>>();
    if missing(&built).is_empty() {
        return Ok(built);
    }
    let lock = fs::File::create(built.root.join(".lock"))?;
    if lock.try_lock().is_err() {
        say("another build of these programs runs: waiting for it");
        lock.lock()?;
    }
    check_go()?;
    let missing = missing(&built);
    for (done, program) in missing.iter().enumerate() {
        say(&format!("building {} ({} of {})", program.name(), done + 1, missing.len()));
        let start = Instant::now();
        build_one(*program, &built.path(*program))?;
        say(&format!("built {} in {:.0} s", program.name(), start.elapsed().as_secs_f64()));
    }
    Ok(built)
}

fn build_one(program: Program, to: &Path) -> Result<()> {
    let (name, module, package) = program.source();
    let folder = to.parent().context("a program lies in a folder")?;
    fs::create_dir_all(folder)?;
    let partial = folder.join(format!(".{name}.partial"));
    let mut go = command("nice", ["-n", "5", "go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]);
    go.args(["-ldflags", &program.linker_flags(), "-o"]).arg(&partial).arg(package).current_dir(module_folder(module));
    go.env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS").text()?;
    fs::rename(&partial, to).with_context(|| format!("{} was not put in place", to.display()))
}

fn module_folder(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(module)
}

/// Twelve hexadecimal digits over everything that decides what a module's programs are.
fn key(folder: &Path) -> String {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go", "tools.go"] {
        // An absent file counts as empty: not every module has all four.
        let content = fs::read(folder.join(file)).unwrap_or_default();
        hash.update(format!("{file} {}\n", content.len()));
        hash.update(content);
    }
    hash.update(format!("{KUBERNETES} {}", std::env::consts::ARCH));
    hash.finalize().iter().take(6).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_go() -> Result<()> {
    let said = command("go", ["env", "GOVERSION"]).text();
    let said = said.context("Go builds the dev cluster's programs: install Go 1.26 or newer and put it on the PATH")?;
    let Some(version) = parse_go_version(said.trim()) else { bail!("the version of Go is not understood: {said}") };
    let (major, minor) = version;
    ensure!(
        version >= OLDEST_GO,
        "Go {major}.{minor} is too old for the dev cluster's programs: install Go 1.26 or newer"
    );
    Ok(())
}

/// `go1.26.8` → (1, 26).
fn parse_go_version(said: &str) -> Option<(u32, u32)> {
    let mut parts = said.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_understood() {
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
    fn every_program_has_a_module_with_committed_checksums() {
        for program in Program::ALL {
            let folder = module_folder(program.source().1);
            assert!(folder.join("go.mod").exists(), "{}", folder.display());
            assert!(program == Program::Pause || folder.join("go.sum").exists(), "{}", folder.display());
        }
    }
}
