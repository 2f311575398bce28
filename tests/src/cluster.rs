//! Clusters to try things on. Owns how a cluster is made and driven; what is demanded of it lives in `invariant` and `check`.

pub mod simulated;
