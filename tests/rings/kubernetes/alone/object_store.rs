//! Tests of an object store that cannot be used: the cause is a condition, and members serve nevertheless. The tests stop
//! the store of all tests.

use dev_cluster::Run;

use crate::causes::await_reason;
use crate::namespace::{PATIENCE, TestNamespace};

#[test]
fn wrong_credentials_and_a_missing_bucket_are_named() {
    let namespace = TestNamespace::alone("store");
    let store = namespace.store();
    scenario::backup::create_credentials(&namespace.kubernetes, &store.access_key, "wrong")
        .expect("the Secret is created");
    let demo = namespace.create("demo", 1, &scenario::backup::store_yaml(&store));
    demo.wait_ready(PATIENCE).expect("members serve without the store");
    await_reason(&demo, "CredentialsRefused");
    // A store that cannot be used is tried again after 10 s; one that can, after 60 s.
    namespace.cluster.stop_object_store().expect("the object store can be stopped");
    let reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| await_reason(&demo, "StoreUnreachable")));
    namespace.cluster.start_object_store().expect("the object store can be started again");
    reported.expect("the outage is reported");
    namespace.create_credentials();
    await_reason(&demo, "StoreReachable");
    let elsewhere = r#"{"spec":{"backup":{"objectStore":{"bucket":"nowhere"}}}}"#;
    let patch = ["patch", "raftcluster", "demo", "--type=merge", "--patch", elsewhere];
    namespace.kubernetes.kubectl(patch).text().expect("the bucket can be changed");
    await_reason(&demo, "BucketMissing");
}
