//! One membership path: scale up, scale down, replacement and recovery of a lost volume are the same plan. Who is wanted
//! ([`wanted`], [`plan`]), whether it is safe ([`safety`]), what to do next ([`step`]), and new members' ordinals.

pub(crate) mod ordinals;

pub mod wanted;

pub(crate) mod replace;

pub mod plan;

pub mod safety;

pub mod step;
