//! Tests of members as processes on loopback addresses, with their own disks, through the interfaces of clients and of the
//! operator. Does not use anything internal to a member.

mod cluster;
mod until;
mod writer;

mod failover;
mod lifecycle;
mod local;
mod membership;
