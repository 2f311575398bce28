//! The bugs that can be planted in storage and engine, under one switch. Owns the list of bugs (`bugs.rs`). Does not own
//! the copies in which the bugs are planted.

pub mod bugs;
#[path = "../../switch.rs"]
mod switch;

pub use switch::{is_any_on, is_on, plant};
