//! Tests of releases of the chart: fail-over of the operator, reinstallation under another name, and two releases in
//! one namespace. Each test installs the shared release again at its end, because later tests need it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use anyhow::ensure;
use dev_cluster::{Run, until};
use scenario::operator::{Release, SHARED};
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{self, PATIENCE, TestNamespace, install_release};

/// Runs `work`, then `restore` even if `work` panics.
fn and_then_always(work: impl FnOnce(), restore: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    restore();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// UID of every pod of a cluster, with the number of restarts of its container.
fn lives(cluster: &RaftCluster<'_>) -> Vec<Option<String>> {
    let status = cluster.status().expect("the API server responds");
    status.members().iter().map(|(name, _)| cluster.life(name).expect("the API server responds")).collect()
}

/// The release that is noted on a cluster as the one that manages it.
fn manager(namespace: &TestNamespace, cluster: &str) -> String {
    let service = namespace.kubernetes.get("service", &format!("{cluster}-members")).expect("the API server responds");
    let service = service.expect("the cluster has its Service");
    service["metadata"]["annotations"]["raftoperator.io/operator"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn another_operator_takes_over_when_the_active_one_is_killed() {
    let namespace = TestNamespace::alone("fail-over");
    let demo = namespace.create("demo", 1, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    let kubernetes = &namespace.kubernetes;
    let fail_over = || {
        install_release(kubernetes, &Release { arguments: &["--set", "replicas=2"], ..SHARED });
        let first = SHARED.active_process(kubernetes).expect("an operator is active");
        let (pod, _) = first.rsplit_once('_').expect("a process is named after its pod");
        namespace.cluster.kill_container(SHARED.namespace, pod, "operator").expect("the active operator is killed");
        // The lease expires after 15 s. The container starts again at once, but as another process: whichever process saw
        // the last renewal first takes over.
        until("another process is active", Duration::from_secs(60), || {
            let active = SHARED.active_process(kubernetes)?;
            ensure!(active != first, "{active} holds the lease");
            Ok(Some(()))
        })
        .expect("another process takes over");
        demo.scale(3).expect("kubectl scale is admitted");
        demo.await_members(3, 0, PATIENCE).expect("the new process manages the cluster");
    };
    and_then_always(fail_over, || namespace::install(kubernetes));
}

/// The definitions keep the Helm annotations of the release that installed them. The commands are those of
/// `docs/install.md`.
#[test]
fn clusters_go_on_after_a_reinstallation_under_another_name_and_namespace() {
    let namespace = TestNamespace::alone("reinstall");
    let demo = namespace.create("demo", 3, "");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    namespace.etcdctl(&demo, &["put", "key", "before"]);
    let kubernetes = &namespace.kubernetes;
    let before = lives(&demo);
    let keeper = Release { name: "keeper", namespace: "elsewhere", arguments: &["--take-ownership"] };
    let move_release = || {
        SHARED.uninstall(kubernetes).expect("helm uninstalls");
        let refused = Release { arguments: &[], ..keeper };
        let refusal = namespace::try_install(kubernetes, &refused).expect_err("the definitions have another owner");
        assert!(format!("{refusal:#}").contains("invalid ownership metadata"), "{refusal:#}");
        install_release(kubernetes, &keeper);
        until("the new release manages the cluster", PATIENCE, || {
            let manager = manager(&namespace, "demo");
            ensure!(manager == "elsewhere/keeper-raft-operator", "{manager} manages it");
            Ok(Some(()))
        })
        .expect("the new release manages the cluster");
        assert_eq!(lives(&demo), before, "no member restarts");
        assert!(namespace.etcdctl(&demo, &["get", "key"]).contains("before"));
        demo.scale(5).expect("the definitions are still there");
        demo.await_members(5, 0, PATIENCE).expect("the new release scales the cluster");
    };
    and_then_always(move_release, || {
        // The release does not exist if the test failed early.
        let _ = keeper.uninstall(kubernetes);
        install_release(kubernetes, &Release { arguments: &["--take-ownership"], ..SHARED });
        kubernetes.kubectl(["delete", "namespace", keeper.namespace, "--wait=false"]).text().expect("it is deleted");
    });
}

#[test]
fn two_releases_of_one_namespace_manage_their_own_clusters() {
    let first = TestNamespace::alone("team-a");
    let second = first.another("team-b");
    let kubernetes = &first.kubernetes;
    let release = |name, arguments| Release { name, namespace: "two-releases", arguments };
    let a = release("a", &["--set", "crds.enabled=false", "--set", "watch.namespaces={team-a}"]);
    let b = release("b", &["--set", "crds.enabled=false", "--set", "watch.namespaces={team-b}"]);
    let both = release("b", &["--set", "crds.enabled=false", "--set", "watch.namespaces={team-a,team-b}"]);
    let run = || {
        SHARED.uninstall(kubernetes).expect("helm uninstalls");
        install_release(kubernetes, &a);
        install_release(kubernetes, &b);
        let clusters = [first.create("demo", 3, ""), second.create("demo", 3, "")];
        for cluster in &clusters {
            cluster.await_members(3, 0, PATIENCE).expect("each release manages its own namespace");
        }
        // The guard of each release lets only that release delete, and only in its own namespace.
        for cluster in &clusters {
            cluster.scale(1).expect("kubectl scale is admitted");
            cluster.await_members(1, 0, PATIENCE).expect("each release scales its own cluster down");
        }
        install_release(kubernetes, &both);
        until("an overlap is reported", PATIENCE, || {
            let events = kubernetes.kubectl(["get", "events", "--field-selector", "reason=SeveralOperators"]).text()?;
            Ok(events.contains("two-releases/b-raft-operator").then_some(()))
        })
        .expect("one of two releases that watch the same namespace says so");
        // The other release has the right to delete there now, and its own guard allows it. The first one's does not.
        let b_user = "--as=system:serviceaccount:two-releases:b-raft-operator";
        let sets = kubernetes.list("statefulsets", "").expect("the API server responds");
        let name = sets[0]["metadata"]["name"].as_str().expect("objects have names");
        let set = format!("/apis/apps/v1/namespaces/team-a/statefulsets/{name}");
        let refusal = kubernetes.kubectl(["delete", b_user, "--raw", &set]).text().expect_err("it is refused");
        assert!(refusal.to_string().contains("belongs to the RaftCluster demo"), "{refusal:#}");
    };
    and_then_always(run, || {
        for release in [a, b] {
            // A release does not exist if the test failed early.
            let _ = release.uninstall(kubernetes);
        }
        namespace::install(kubernetes);
        kubernetes.kubectl(["delete", "namespace", "two-releases", "--wait=false"]).text().expect("it is deleted");
    });
}
