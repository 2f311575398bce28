//! Tests of the exact answers of members to clients, probes and the operator. The members are threads of this process
//! and answer over real sockets.

mod admin;
mod archive;
mod bursts;
mod cluster;
mod health;
mod kv;
mod level;
mod maintenance;
mod member;
mod preferred_leader;
mod range_stream;
#[path = "../s3/server.rs"]
mod s3;
mod stalled_disk;
