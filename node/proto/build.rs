//! Generates messages and services at build time, in pure Rust, so that a fresh machine needs no protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

/// Files of etcd's public API, one for each service. The API's other files need no item here, because these files
/// import them.
const ETCD: [&str; 8] = [
    "etcd/kv.proto",
    "etcd/watch.proto",
    "etcd/lease.proto",
    "etcd/cluster.proto",
    "etcd/maintenance.proto",
    "etcd/auth.proto",
    "etcd/lock.proto",
    "etcd/election.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for source in ["etcd", "peer.proto", "admin.proto"] {
        println!("cargo:rerun-if-changed={source}");
    }
    let own = protox::compile(["peer.proto", "admin.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(own)?;

    let etcd = protox::compile(ETCD, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("etcd_descriptors.bin"), etcd.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(etcd)?;
    Ok(())
}
