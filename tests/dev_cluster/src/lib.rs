//! A real Kubernetes cluster of several nodes on one machine, without Docker. This crate builds Kubernetes from its Go
//! modules, brings the cluster up, causes faults in it and takes it down. The control plane runs on the host. Each node
//! is a network namespace with its own containerd, kubelet and kube-proxy, so it can be disconnected, paused or killed
//! like a machine. An [`ApiServer`] alone is there for tests that need only the API server's answers.
//!
//! Owns the machine-wide names that the cluster uses (bridge, namespaces, addresses, cgroups). Therefore only one dev
//! cluster can exist at a time. Does not own the project's own programs: it only loads images and returns commands.

pub mod image;
pub mod programs;
pub mod provisioner;

mod api_server;
mod certificates;
mod cgroup;
mod cluster;
mod command;
mod control_plane;
mod fault;
mod loopback;
mod network;
mod node;
mod object_store;
mod packages;
mod process;
mod state_file;
mod teardown;
mod wait;

pub use api_server::ApiServer;
pub use cluster::{Cluster, Lifetime, Options, Status};
pub use command::{Json, Run, search_path};
pub use loopback::own_address;
pub use network::Node;
pub use object_store::ObjectStore;
pub use packages::{install_missing, require_root};
pub use programs::Program;
pub use teardown::{Down, down};
pub use wait::{PATIENCE, until};
