//! Log, HardState, identity and snapshots: bytes that survive.
