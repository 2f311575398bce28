//! Owns the version of this program. Does not own the versions of etcd's API (`api::version`).

/// The version of this program.
pub const NODE: &str = env!("CARGO_PKG_VERSION");
