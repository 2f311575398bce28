//! Owns the version of this program. Does not own the versions of etcd's API (`api::version`).

/// Version of this program.
pub const NODE: &str = env!("CARGO_PKG_VERSION");
