//! Every decision of the operator: observed world in, next safe actions out.
//!
//! Owns what is to be done, in which order and on what ground, and what is reported about it. Refuses to own a client, a
//! clock, a thread or a source of randomness: the world is an argument, and so are time and random bytes. Each action is
//! safe by itself whenever it is carried out, so an operator may stop after any of them, look at an old world, or run
//! beside another one.

pub mod names;

pub mod ids;

pub mod observed;

pub mod validated;

pub mod identity;

pub mod roster;

pub mod troubles;

pub(crate) mod bootstrap;
pub(crate) mod restore;

pub mod membership;

pub(crate) mod rollout;

pub mod desired;

pub mod action;
pub mod decision;

pub mod backup;

pub mod status;

mod plan;

mod quantity;

pub use plan::{Plan, plan};
