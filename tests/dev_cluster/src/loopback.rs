//! Loopback addresses that no other process uses. A server of a test that has one needs no free port to be looked for, which
//! somebody else could take before the server does. Owns no port.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

/// Of a process's /24; the last ones are left out, as a broadcast address is among them.
const ADDRESSES: u8 = 250;

/// An address that was not given out before, of the /24 that belongs to this process.
///
/// # Panics
/// After 250 addresses.
#[must_use]
pub fn own_address() -> Ipv4Addr {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    let given =
        GIVEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |given| (given < ADDRESSES).then_some(given + 1));
    let given = given.expect("a process needs no more than 250 addresses of its own");
    let [.., high, low] = std::process::id().to_be_bytes();
    // 127.0 is everybody's.
    Ipv4Addr::new(127, if high == 0 { 255 } else { high }, low, given + 1)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_address_is_another_one_and_has_every_port() {
        let (one, other) = (own_address(), own_address());
        let bound = [one, other].map(|address| TcpListener::bind((address, 2379)).unwrap());
        let addresses = bound.map(|listener| listener.local_addr().unwrap().ip());
        assert!(addresses[0] != addresses[1] && addresses.iter().all(std::net::IpAddr::is_loopback), "{addresses:?}");
    }
}
