//! A real Kubernetes of several nodes on one machine, as a library.
