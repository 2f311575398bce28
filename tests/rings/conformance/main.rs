//! The same requests to a real etcd 3.7.3 and to a member: every field of every answer, and the code and text of every
//! refusal, must be equal, except IDs and terms. Besides: etcd's own client, with the same commands to both, and the
//! descriptors of its API.
//!
//! The etcd is built from its Go module into the project's cache, so this runs only when it is asked for by name:
//! `cargo test -p tests --test conformance`, as `cargo xtask test` does.

mod chance;
mod compare;
mod descriptors;
mod etcdctl;
mod generate;
mod subject;
