//! The replicated key-value store: a pure function of the log.
