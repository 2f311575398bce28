//! Conformance with etcd 3.7.3. A real etcd and a member receive the same requests. Every field of every response, and
//! the code and text of every error, must be equal, except IDs and terms. The output of etcd's own client and the
//! descriptors of etcd's API are compared too.
//!
//! etcd is built from its Go module into the project's cache. Therefore this test only runs when it is selected by
//! name: `cargo test -p tests --test conformance`. `cargo xtask test` runs it too.

mod chance;
mod compare;
mod descriptors;
mod etcdctl;
mod generate;
mod subject;
