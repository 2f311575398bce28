//! Conformance with etcd 3.7.3. A real etcd and a member receive the same requests: every field of every response, and
//! code and text of every error, must be equal, except IDs and terms. etcd's own client and the descriptors of its API
//! are compared too.
//!
//! etcd is built from its Go module into the project's cache, so this test must be selected by name, as `cargo xtask
//! test` does: `cargo test -p tests --test conformance`.

mod chance;
mod compare;
mod descriptors;
mod etcdctl;
mod generate;
mod subject;
