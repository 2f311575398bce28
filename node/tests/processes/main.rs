//! Real members: processes on loopback addresses, with their own disks, spoken to as clients and operators do. Owns no
//! knowledge of the inside.

mod cluster;
mod until;
mod writer;

mod failover;
mod lifecycle;
mod local;
mod membership;
