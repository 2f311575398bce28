//! Parses `name=value` into a setting of a core. Owns the names, which equal the names of the fields. Durations are in
//! ms. Does not own default values.

use std::time::Duration;

use raft::Config;

pub(crate) fn set(config: &mut Config, words: &[&str]) {
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("{word}: write name=value"));
        set_one(config, name, value);
    }
}

fn set_one(config: &mut Config, name: &str, value: &str) {
    let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("{name}={value}: not a number"));
    let size = || usize::try_from(number()).expect("small");
    let ms = || Duration::from_millis(number());
    let switch = || match value {
        "on" => true,
        "off" => false,
        _ => panic!("{name}={value}: on or off"),
    };
    match name {
        "heartbeat_interval" => config.heartbeat_interval = ms(),
        "election_timeout" => config.election_timeout = ms(),
        "leader_lease" => config.leader_lease = ms(),
        "lease_reads" => config.lease_reads = switch(),
        "pre_vote" => config.pre_vote = switch(),
        "snapshot_threshold" => config.snapshot_threshold = number(),
        "snapshot_trailing" => config.snapshot_trailing = number(),
        "max_append_entries" => config.max_append_entries = size(),
        "max_append_bytes" => config.max_append_bytes = size(),
        "max_inflight_messages" => config.max_inflight_messages = size(),
        "max_inflight_bytes" => config.max_inflight_bytes = size(),
        "log_bytes" => config.limits.log_bytes = size(),
        "unsettled_bytes" => config.limits.unsettled_bytes = size(),
        "catch_up_entries" => config.catch_up_entries = number(),
        "transfer_timeout" => config.transfer_timeout = ms(),
        _ => panic!("{name}: no such limit"),
    }
}
