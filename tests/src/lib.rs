//! What needs more than one crate: simulation, processes, Kubernetes.
