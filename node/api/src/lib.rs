//! The etcd v3 API that clients use on port 2379. Owns parsing, admission and answers. Does not own decisions
//! (`engine`).
//!
//! The path of a call: `transport` accepts the call, `service` finds the method, and `transport` receives the message.
//! One of the services then parses the message, lets `admission` check the call, calls the [`engine::handle::Handle`]
//! and answers. The table in `status` has the errors of all services.
//!
//! This version has no Watch, Lease, Lock, Election or Auth service and no JSON gateway. Clients can notice these
//! differences from etcd: transactions may be nested about 48 levels deep (etcd: 128, limited by the number of
//! operations); clients can raise at most 64 alarms; a request must arrive and an answer must be read at
//! 64 KiB in 10 s; one connection has at most 2,048 calls
//! at a time, and all together have 16,384; a transaction has at most 4,096 comparisons and operations with those of
//! nested ones; an answer is at most as large as the quota, and is refused before it is built; `Hash` covers the content
//! of the store instead of a file; `Snapshot` and `Downgrade` are refused; only the operator changes membership.

mod admission;
mod answer;
mod cluster;
mod framed;
mod grpc;
mod grpc_health;
mod header;
mod heavy;
mod kv;
mod limits;
mod maintenance;
mod metadata;
mod method;
mod observer;
mod operations;
pub mod pages;
mod parse;
mod range_stream;
mod service;
mod status;
mod timeout;
mod transport;
pub mod version;

pub use admission::Settings;
pub use limits::Limits;
pub use method::Method;
pub use observer::{CallObserver, Request, Success};
pub use service::ClientService;
pub use status::Refusal;
pub use transport::connections::{Connections, OpenCall, Place};
pub use transport::memory::MemoryLimits;
