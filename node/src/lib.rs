//! One member: consensus, log, store and etcd v3 API. Modules stand in the data's order; data flows down the list, nothing
//! flows back up but replies.

pub mod config;
pub mod local;
pub mod member;

pub mod admin;

pub(crate) mod peer;

pub mod health;
pub mod metrics;
pub mod version;

mod random;
