//! Generates messages and services at build time, in pure Rust: a fresh machine has no protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=etcd");
    println!("cargo:rerun-if-changed=third_party");
    println!("cargo:rerun-if-changed=peer.proto");
    println!("cargo:rerun-if-changed=admin.proto");
    let own = protox::compile(["peer.proto", "admin.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(own)?;
    let mut etcd = protox::compile(["etcd/api/etcdserverpb/rpc.proto"], [".", "third_party"])?;
    // Options of other packages need no Rust types.
    etcd.file.retain(|file| matches!(file.package(), "etcdserverpb" | "mvccpb" | "authpb"));
    for file in &mut etcd.file {
        // Upstream's comments hold indented text that rustdoc would take for code.
        file.source_code_info = None;
    }
    tonic_prost_build::configure().bytes(".").compile_fds(etcd)?;
    Ok(())
}
