//! The product on a real Kubernetes: API server, kubelets and containerd of three nodes on this machine. Owns what only
//! a real one can show; every decision has been tried in simulation before. Each test has its own namespace and cleans
//! up after itself; the operator is installed once.
//!
//! Needs the dev cluster with the images loaded: `cargo xtask test` sees to both.

mod admission;
mod backup;
mod best_of_three;
mod causes;
mod lost_node;
mod namespace;
mod operator;
mod scale;
