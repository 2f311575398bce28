//! Committed entries become state, and outcomes go back to those who wait. Owns the apply thread; what a command does is
//! `mvcc`'s.

pub(crate) mod run;

pub mod publish;

pub(crate) mod reply;
