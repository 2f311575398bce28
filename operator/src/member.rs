//! The way to members: connections, calls, and their words in plain types.

pub mod client;

mod convert;
