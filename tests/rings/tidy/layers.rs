//! Checks the dependencies between crates, as `cargo metadata` reports them. For the pure crates, the exact
//! dependencies are listed; for the other crates, the forbidden ones. Does not own the order of modules inside a crate
//! (`cycles.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Direct dependencies of crates. Each of these crates must have exactly the listed dependencies.
const EXACT: &[(&str, &[&str])] = &[
    ("raft", &["bytes", "thiserror"]),
    ("mvcc", &["bytes", "crc32c", "thiserror"]),
    ("storage", &["bytes", "crc32c", "raft", "rustix", "thiserror"]),
    // The engine enables only tokio's feature `sync`, which provides channels but no runtime.
    ("engine", &["arc-swap", "bytes", "mvcc", "raft", "rustix", "storage", "thiserror", "tokio", "tracing"]),
    ("wire", &["bytes", "raft", "storage"]),
    ("proto", &["prost", "tonic", "tonic-prost"]),
    ("plan", &["crds", "k8s-openapi", "kube-core", "serde", "serde_json", "thiserror"]),
];

/// The folders of the pure crates. Each folder has its own `clippy.toml` that bans clocks, threads, files and hash
/// maps, because clippy only reads the `clippy.toml` of the crate that it checks.
const PURE: [&str; 4] = ["node/raft", "node/mvcc", "node/storage", "operator/plan"];

/// Packages on which a crate must not depend, neither directly nor through other packages.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("raft", &["tokio", "tonic", "rand", "getrandom"]),
    ("mvcc", &["tokio", "tonic", "prost", "getrandom"]),
    ("storage", &["tokio", "tonic", "prost"]),
    ("engine", &["tonic", "prost", "hyper", "http", "object_store", "prometheus-client", "futures"]),
    ("wire", &["tokio", "tonic", "prost"]),
    ("api", &["object_store", "prometheus-client", "raft-node"]),
    ("archive", &["engine", "tonic", "prost", "raft-node"]),
    ("stepped-member", &["tonic", "prost", "hyper", "http", "object_store", "prometheus-client"]),
    ("simulator", &["tonic", "prost", "hyper", "object_store", "raft-node"]),
    ("plan", &["kube", "kube-client", "tokio", "tonic", "raft", "storage", "mvcc", "proto"]),
    ("crds", &["kube", "kube-client", "tokio", "tonic"]),
    (
        "raft-node",
        &["kube", "kube-core", "k8s-openapi", "crds", "plan", "raft-with-bugs", "memory-disk", "stepped-member"],
    ),
    ("raft-operator", &["raft", "storage", "mvcc", "raft-node", "object_store", "raft-with-bugs"]),
    ("xtask", &["kube", "tonic", "object_store"]),
    // The simulator of operators runs the operator's shell, and therefore reaches kube, tokio and tonic. It must not
    // reach the member's program or its storage, because its members are plain Raft cores.
    ("operators", &["raft-node", "engine", "storage", "mvcc", "object_store"]),
    ("world", &["storage", "mvcc", "tokio"]),
];

/// Packages on which no crate may depend: a second TLS stack adds a minute to every build.
const FORBIDDEN_EVERYWHERE: &[&str] = &["aws-lc-sys", "openssl-sys", "native-tls"];

struct Graph {
    /// Direct normal dependencies of each package, by package name.
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn load() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(super::top())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array().expect("packages") {
            names.insert(package["id"].as_str().expect("id"), package["name"].as_str().expect("name").to_owned());
        }
        let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().expect("nodes") {
            let from = names[node["id"].as_str().expect("id")].clone();
            let targets = direct.entry(from).or_default();
            for dependency in node["deps"].as_array().expect("deps") {
                let normal =
                    dependency["dep_kinds"].as_array().expect("kinds").iter().any(|kind| kind["kind"].is_null());
                if normal {
                    targets.insert(names[dependency["pkg"].as_str().expect("pkg")].clone());
                }
            }
        }
        Self { direct }
    }

    fn reaches(&self, from: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(name) = next.pop() {
            for target in self.direct.get(name).into_iter().flatten() {
                if seen.insert(target.as_str()) {
                    next.push(target);
                }
            }
        }
        seen
    }
}

#[test]
fn pure_crates_have_exactly_the_listed_dependencies() {
    let graph = Graph::load();
    for (name, allowed) in EXACT {
        let actual: BTreeSet<&str> = graph.direct[*name].iter().map(String::as_str).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(actual == allowed, "{name} depends on {actual:?}; its list says {allowed:?}");
    }
}

#[test]
fn every_pure_crate_has_its_own_bans() {
    for folder in PURE {
        let file = super::top().join(folder).join("clippy.toml");
        let bans = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            bans.contains("disallowed-"),
            "{folder}: add a clippy.toml with disallowed types and methods, each with its reason"
        );
    }
}

#[test]
fn no_crate_reaches_what_it_must_not() {
    let graph = Graph::load();
    for (name, forbidden) in FORBIDDEN {
        assert!(graph.direct.contains_key(*name), "the table of forbidden packages names {name}, which is no package");
        let reached = graph.reaches(name);
        let bad: Vec<_> = forbidden.iter().filter(|bad| reached.contains(**bad)).collect();
        assert!(bad.is_empty(), "{name} reaches {bad:?}");
    }
    for name in ["raft-node", "raft-operator", "simulator", "operators", "xtask"] {
        let reached = graph.reaches(name);
        let bad: Vec<_> = FORBIDDEN_EVERYWHERE.iter().filter(|bad| reached.contains(**bad)).collect();
        assert!(bad.is_empty(), "{name} reaches {bad:?}");
    }
}
