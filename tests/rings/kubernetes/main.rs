//! End-to-end tests on a real Kubernetes cluster: the API server, and the kubelets and containerd of three nodes on
//! this machine. Owns tests that need a real API server or kubelet. Does not own tests of what the operator and the
//! members decide, which run in simulators. Each test uses its own namespace and deletes it at the end. The operator is
//! installed once for all tests. Tests that disturb no other run at the same time (`namespace.rs`).
//!
//! These tests need the dev cluster with the images loaded. `cargo xtask test` prepares both.

mod admission;
mod alone;
mod backup;
mod causes;
mod deletion_guard;
mod every_field;
mod fields;
mod identity;
mod median_of_three;
mod namespace;
mod refused;
mod rollouts;
mod stop;
mod volumes;
