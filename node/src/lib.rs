//! One member: consensus, log, store and etcd v3 API. Modules stand in the data's order; data flows down the list, nothing
//! flows back up but replies.
#![allow(dead_code, reason = "the driver that uses them arrives with the next changes")]

pub mod admin;
pub mod api;

pub mod handle;

pub(crate) mod propose;

pub mod driver;

pub mod apply;

pub(crate) mod read;

pub mod health;
pub mod metrics;
pub mod version;
