//! The etcd v3 API: what clients speak on port 2379. Parses, asks, answers; owns no decision.
//!
//! A call's way: `grpc` receives its message, `service` finds who answers, `door` lets it in, one of the services parses
//! it, asks the [`engine::handle::Handle`] and answers. Every error leaves through the table in `status`.
//!
//! In this version there is no Watch, Lease, Lock, Election or Auth service and no JSON gateway. Differences that clients
//! of the services that are here can see: a transaction may be nested about 48 deep (etcd: 128, by the number of its
//! operations); `Hash` covers the content, not a file; `Snapshot` and `Downgrade` are refused; membership is the
//! operator's.

mod answer;
mod cluster;
mod door;
mod grpc;
mod grpc_health;
mod header;
mod kv;
mod limits;
mod maintenance;
mod method;
mod observer;
pub mod pages;
mod parse;
mod range_stream;
mod service;
mod status;
pub mod version;

pub use door::Settings;
pub use grpc::Body;
pub use limits::Limits;
pub use method::Method;
pub use observer::{CallObserver, Request, Success};
pub use service::ClientService;
pub use status::Refusal;
