//! Reads: when a view may be read linearizably. Owns no view.

pub(crate) mod barrier;
