//! Every decision of the operator: takes one observation and returns the next safe actions.
//!
//! Owns which actions follow, in which order and on which evidence, and what is reported about them. Does not own a
//! client, a clock, a thread or a source of randomness: the observation, with the time and random bytes in it, is an
//! argument. Each action is safe by itself whenever it is carried out. An operator may therefore stop after any
//! action, act on an old observation, or run at the same time as another operator.
//!
//! Modules are listed from the bottom up: none imports one that is listed after it.

pub mod names;

pub mod ids;

mod quantity;

pub(crate) mod quorum;

pub mod observed;

pub mod completed;

pub mod validated;

pub(crate) mod volume;

pub mod identity;

pub mod pointer;

pub mod roster;

pub mod action;

pub mod pass;

pub mod decision;

pub mod troubles;

pub(crate) mod warnings;

pub mod desired;

pub mod membership;

pub(crate) mod secret;

pub(crate) mod restore;

pub(crate) mod take_up;

pub(crate) mod outage;

pub(crate) mod bootstrap;

pub(crate) mod rollout;

pub(crate) mod objects;

pub(crate) mod growth;

pub(crate) mod stop;

pub(crate) mod labels;

pub(crate) mod pace;

pub mod status;

pub mod backup;

pub mod overlap;

pub mod invariant;

mod plan;

pub use plan::{Plan, internal_error, plan};
