//! Starts one member.

fn main() {}
