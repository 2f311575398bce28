//! Members that run but should not as they do: in which order they restart, and who is given up for lost.

pub(crate) mod order;

pub(crate) mod replace;
