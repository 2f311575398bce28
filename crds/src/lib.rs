//! The objects users write: the only contract between user and operator.
