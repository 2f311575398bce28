//! Tests that a backup is restored into a new cluster, and that a damaged backup or a backup of another cluster is
//! refused.

use std::fs;

use dev_cluster::until;
use scenario::raft_cluster::RaftCluster;

use crate::namespace::{PATIENCE, TestNamespace};

#[test]
fn a_backup_restores_into_a_new_cluster_and_damage_is_refused() {
    let namespace = TestNamespace::new("backup");
    namespace.create_credentials();
    let store = scenario::backup::store_yaml(&namespace.store());
    let demo = namespace.create("demo", 3, &store);
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    for key in ["a", "b", "c"] {
        namespace.etcdctl(&demo, &["put", key, &format!("value of {key}")]);
    }
    let old = demo.status().expect("the status is readable").text("clusterID");
    scenario::backup::create(&namespace.kubernetes, "monday", "demo").expect("a backup is admitted");
    let done =
        scenario::backup::wait_complete(&namespace.kubernetes, "monday", PATIENCE).expect("the backup completes");

    let restore = format!("  bootstrap: {{restore: {{backupName: monday}}}}\n{store}");
    let restored = namespace.create("restored", 3, &restore);
    restored.await_members(3, 0, PATIENCE).expect("the restored cluster grows to its size");
    let read = namespace.etcdctl(&restored, &["get", "--prefix", "", "--print-value-only"]);
    assert_eq!(
        read.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
        ["value of a", "value of b", "value of c"]
    );
    assert_ne!(
        restored.status().expect("the status is readable").text("clusterID"),
        old,
        "a restore generates a new cluster ID"
    );

    // The test damages one byte of the image that the manifest names.
    let snapshot = find_snapshot(&namespace, &old);
    let intact = fs::read(&snapshot).expect("the object is a file");
    let mut damaged = intact.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&snapshot, &damaged).expect("the object can be damaged");
    let damaged_restore = namespace.create("hurt", 1, &restore);
    await_cause(&damaged_restore, "BackupCorrupt");
    // The restore continues without further action once the cause of its failure is removed.
    fs::write(&snapshot, &intact).expect("the object can be repaired");
    damaged_restore.wait_ready(PATIENCE).expect("the restore continues once the backup is intact");

    let manifest = done["manifest"].as_str().expect("the backup names its manifest");
    let foreign = format!(
        "  bootstrap: {{restore: {{source: {{clusterID: {}, manifest: {manifest}, {}}}}}}}\n{store}",
        "0123456789abcdef0123456789abcdef",
        inline_store(&namespace),
    );
    await_cause(&namespace.create("foreign", 1, &foreign), "BackupForeign");
}

fn inline_store(namespace: &TestNamespace) -> String {
    let store = namespace.store();
    format!(
        "objectStore: {{endpoint: '{}', bucket: {}, region: {}, credentialsSecretRef: {{name: {}}}}}",
        store.endpoint,
        store.bucket,
        store.region,
        scenario::backup::CREDENTIALS
    )
}

/// Returns the path of the only full snapshot of a cluster.
fn find_snapshot(namespace: &TestNamespace, cluster_id: &str) -> std::path::PathBuf {
    let folder = namespace.cluster.bucket_folder().join("v1").join(cluster_id).join("base");
    let entries = fs::read_dir(&folder).expect("the bucket is a folder");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    assert_eq!(found.len(), 1, "one full backup was made: {found:?}");
    found.remove(0)
}

fn await_cause(cluster: &RaftCluster<'_>, cause: &str) {
    until(&format!("{} reports {cause}", cluster.name), PATIENCE, || {
        let status = cluster.status()?;
        anyhow::ensure!(status.explain().contains(cause), "{}", status.explain());
        Ok(Some(()))
    })
    .expect("the cause is reported");
}
