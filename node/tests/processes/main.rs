//! Tests of members that run as processes on loopback addresses with their own disks. The tests only use the interfaces
//! for clients and for the operator, and no internal interface of a member.

mod cluster;
mod until;
mod volume;
mod writer;

mod addresses;
mod descriptors;
mod disk_space;
mod failover;
mod lifecycle;
mod local;
mod membership;
mod panics;
mod strangers;
