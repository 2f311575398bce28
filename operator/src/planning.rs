//! Runs the planner in such a way that a failed assertion ends only one object's pass. Owns the conversion of a panic
//! into a report. Does not own the assertions (`plan::invariant`).
//!
//! The planner takes its input by reference and holds no lock, therefore a panic leaves nothing half changed. Programs
//! must be built with `panic = "unwind"`; a test in this file checks it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crds::{RaftBackup, Reason};
use plan::Plan;
use plan::backup::{self, Attempts, Choice};
use plan::decision::Note;
use plan::observed::Observed;

/// Plans a pass for a cluster. If the planner panics, returns a plan without actions that reports
/// `Stalled=InternalError`. `planner` is [`plan::plan`] except in tests.
pub(crate) fn plan(observed: &Observed, planner: impl FnOnce(&Observed) -> Plan) -> Plan {
    match contained(|| planner(observed)) {
        Ok(plan) => plan,
        Err(message) => {
            let metadata = &observed.cluster.metadata;
            let (cluster, namespace) = (metadata.name.as_deref(), metadata.namespace.as_deref());
            tracing::error!(cluster, namespace, message, "the planner failed: nothing is done for this cluster");
            plan::internal_error(observed, &message)
        }
    }
}

/// Chooses the member for a backup. If the planner panics, the choice is to wait.
pub(crate) fn choose(backup: &RaftBackup, cluster: Option<&Observed>, attempts: Attempts) -> Choice {
    match contained(|| backup::choose(backup, cluster, attempts)) {
        Ok(choice) => choice,
        Err(message) => {
            let name = backup.metadata.name.as_deref();
            tracing::error!(backup = name, message, "the planner failed: nothing is done for this backup");
            let message = format!(
                "the operator found a contradiction in its own plan and does nothing for this backup: {message}. Report this defect with the operator's log"
            );
            Choice::Wait(Note::new(Reason::InternalError, message))
        }
    }
}

/// The result of `work`, or the message of its panic.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // `work` changes nothing that outlives the call, therefore a panic leaves nothing half changed.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    use crds::RaftClusterStatus;
    use k8s_openapi::jiff::Timestamp;
    use plan::observed::{Entropy, ObservedServices, OperatorSettings};
    use serde_json::json;

    use super::*;

    pub(crate) fn cluster(name: &str) -> Observed {
        let cluster = json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftCluster",
            "metadata": { "name": name, "namespace": "default", "uid": name, "generation": 1 },
            "spec": {
                "replicas": 3, "storage": { "size": "1Gi" }, "tls": { "client": "Plaintext", "peer": "Plaintext" },
            },
        });
        Observed {
            now: Timestamp::UNIX_EPOCH,
            operator: OperatorSettings { node_image: "raft-node:1".to_owned(), node_image_pull_policy: None },
            cluster: serde_json::from_value(cluster).expect("a RaftCluster"),
            members: BTreeMap::new(),
            services: ObservedServices::default(),
            budget: None,
            identities: BTreeMap::new(),
            configuration: None,
            zones: BTreeMap::new(),
            unready_nodes: BTreeMap::new(),
            restore_from: None,
            probe: None,
            refusal: None,
            reserved: BTreeSet::new(),
            entropy: Entropy { cluster_id: 1, token: [7; 32] },
        }
    }

    fn condition<'s>(status: &'s RaftClusterStatus, kind: &str) -> (&'s str, &'s str, &'s str) {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind).expect("it is reported");
        (&condition.status, &condition.reason, &condition.message)
    }

    /// A planner that panics for one cluster.
    fn faulty(observed: &Observed) -> Plan {
        assert_ne!(observed.uid(), "unlucky", "a planted violation");
        plan::plan(observed)
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_assertion_ends_the_pass_of_its_cluster_only() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let names = ["first", "unlucky", "last"];
        let plans =
            tracing::subscriber::with_default(subscriber, || names.map(|name| (name, plan(&cluster(name), faulty))));
        for (name, plan) in &plans {
            let stalled = condition(&plan.status, "Stalled");
            if *name == "unlucky" {
                assert_eq!((stalled.0, stalled.1), ("True", "InternalError"));
                assert!(stalled.2.contains("a planted violation"), "{}", stalled.2);
                assert!(plan.actions.is_empty(), "{:?}", plan.actions);
            } else {
                assert_eq!(stalled.0, "False", "{name} goes on");
                assert!(!plan.actions.is_empty(), "{name} goes on");
            }
        }
        let log = String::from_utf8(log.0.lock().expect("no writer panicked").clone()).expect("UTF-8");
        assert!(log.contains("ERROR") && log.contains("a planted violation") && log.contains("unlucky"), "{log}");
    }

    /// With `panic = "abort"`, one failed assertion would stop the operator for every cluster.
    #[test]
    fn programs_are_built_to_unwind() {
        const { assert!(cfg!(panic = "unwind")) };
        let manifest = include_str!("../../Cargo.toml");
        assert!(!manifest.contains("panic = \"abort\""), "no profile aborts");
    }

    #[test]
    fn a_panic_of_any_kind_has_a_message() {
        let number = 7;
        assert_eq!(contained(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
        assert_eq!(contained(|| panic!("of {number}")), Err::<(), _>("of 7".to_owned()));
        let odd = contained(|| std::panic::panic_any(number));
        assert_eq!(odd, Err::<(), _>("a panic without a message".to_owned()));
        assert_eq!(contained(|| number), Ok(7));
    }
}
