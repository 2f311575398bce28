//! Real members behind real sockets, asked as clients, probes and the operator ask: what they answer, to the letter.

mod admin;
mod archive;
mod cluster;
mod health;
mod kv;
mod maintenance;
mod member;
mod preferred_leader;
mod range_stream;
#[path = "../s3/server.rs"]
mod s3;
mod stalled_disk;
