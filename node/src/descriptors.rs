//! File descriptors of the process. Owns its limit and how many of them clients may use. Does not own who is served
//! when there are too many clients ([`api::Connections`]).
//!
//! Idle connections of clients cost nothing else, so without a limit they would take every descriptor. A member without
//! a free one cannot open the next file of its log, and cannot write.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for the port of members, the port of probes (32), files, connections to other members, and the runtimes.
const RESERVE: u64 = 192;
/// Maximum number of connections to the port of members and administrative calls.
pub const PEERS_MAX: usize = 64;
/// Maximum number of connections of clients, whatever the limit of descriptors is.
pub const CLIENTS_MAX: usize = 8_192;
/// Limit that is asked for. Processes with higher ones are slow where the kernel copies their table of descriptors.
const WANTED: u64 = 1 << 20;
/// Smallest limit of descriptors with which a member starts.
pub const LIMIT_MIN: u64 = 224;

/// Raises the soft limit of descriptors to the hard limit, as Go programs do at their start. Returns the limit that
/// holds then.
#[must_use]
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (current, wanted) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX).min(WANTED));
    if current >= wanted {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(reason) => {
            tracing::warn!(current, wanted, %reason, "the limit of file descriptors cannot be raised");
            current
        }
    }
}

/// Maximum number of connections of clients with a limit of descriptors, which is at least [`LIMIT_MIN`].
#[must_use]
pub fn clients_max(limit: u64) -> usize {
    let reserve = RESERVE + (limit / 8).clamp(16, 128);
    usize::try_from(limit.saturating_sub(reserve)).unwrap_or(usize::MAX).min(CLIENTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_a_reserve() {
        let expected = [(LIMIT_MIN, 4), (256, 32), (1_024, 704), (524_288, CLIENTS_MAX), (u64::MAX, CLIENTS_MAX)];
        for (limit, clients) in expected {
            assert_eq!(clients_max(limit), clients, "{limit}");
        }
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(raise() >= hard.min(WANTED));
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|soft| soft >= hard.min(WANTED)));
    }
}
