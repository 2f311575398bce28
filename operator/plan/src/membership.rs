//! One path for all changes of membership: scaling up and down, replacement, and recovery of a lost volume all use the
//! same plan. Owns how many members are wanted ([`wanted`]), which members these are ([`plan`]), whether a change is
//! safe ([`safety`]), the next actions ([`step`]), and new members' ordinals. Modules are listed from the bottom up.

pub(crate) mod ordinals;

pub mod wanted;

pub(crate) mod replace;

pub(crate) mod moving;

pub mod plan;

pub mod safety;

pub mod step;
