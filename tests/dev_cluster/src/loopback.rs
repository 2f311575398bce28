//! Loopback addresses that no other process uses. A test's server on such an address can use any port. The test
//! therefore need not search for a free port, which another process could bind first. Owns the addresses of this
//! process.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Maximum number of addresses that a process uses. Each process has its own /24 network. The last addresses of that
/// network are not used, because one of them is the broadcast address.
const ADDRESSES: u8 = 250;

/// Returns an address of this process's /24 network that was not returned before.
///
/// # Panics
/// Panics after 250 addresses.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    let given =
        GIVEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| (given < ADDRESSES).then_some(given + 1));
    let given = given.expect("a process uses at most 250 addresses");
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.0.0.0/16 is never used, because other programs use addresses in it.
    Ipv4Addr::new(127, if high == 0 { 255 } else { high }, low, given + 1)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_address_is_different_and_has_every_port_free() {
        let (one, other) = (own_address(), own_address());
        let bound = [one, other].map(|address| TcpListener::bind((address, 2379)).unwrap());
        let addresses = bound.map(|listener| listener.local_addr().unwrap().ip());
        assert!(addresses[0] != addresses[1] && addresses.iter().all(std::net::IpAddr::is_loopback), "{addresses:?}");
    }
}
