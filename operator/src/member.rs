//! Calls to members. Owns connections and the translation of messages into the planner's types.

pub mod client;

mod convert;
pub(crate) mod reasons;
