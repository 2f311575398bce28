//! The ports of a member: addresses, sockets and the option that several threads share one port. Owns binding and
//! listening. Does not own what is served on a port (`serve.rs`).

use std::io::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;
use crate::member::StartError;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Bound sockets. The client port does not listen yet, so that clients are refused immediately instead of waiting for
/// an answer.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) clients: Vec<Socket>,
    pub(super) peer: TcpListener,
    pub(super) http: TcpListener,
}

impl Ports {
    /// Binds all ports. If a port cannot be bound, no port stays bound.
    pub(super) fn bind(config: &Config) -> std::result::Result<Self, StartError> {
        let args = &config.args;
        let refused = |flag, address| move |source| StartError::Bind { flag, address, source };
        let clients = or_on_ipv4(args.client_addr, |address| bind_shared(address, config.client_threads));
        let listening = |address| or_on_ipv4(address, |address| bind(address, Sharing::Exclusive)).and_then(listen);
        Ok(Self {
            clients: clients.map_err(refused("--client-addr", args.client_addr))?,
            peer: listening(args.peer_addr).map_err(refused("--peer-addr", args.peer_addr))?,
            http: listening(args.http_addr).map_err(refused("--http-addr", args.http_addr))?,
        })
    }
}

/// Begins to listen on a bound socket.
pub(super) fn listen(socket: Socket) -> Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds an address. If it stands for all addresses of both families and the kernel has no IPv6, binds all addresses of
/// IPv4 instead.
fn or_on_ipv4<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> Result<T>) -> Result<T> {
    let refused = match bind(address) {
        Err(reason) if means_both(address) && is_without_ipv6(&reason) => reason,
        bound => return bound,
    };
    let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    tracing::info!(%address, %all, reason = %refused, "this machine has no IPv6, so only IPv4 is served");
    bind(all)
}

/// Returns whether an address stands for all addresses of both families.
fn means_both(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn is_without_ipv6(reason: &Error) -> bool {
    let errno = Errno::from_io_error(reason);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    SharedByThreads,
}

/// Binds one socket for each thread to the same port. Before that, an exclusive bind tests that the port is free,
/// because otherwise two members could share a port unnoticed.
fn bind_shared(address: SocketAddr, count: usize) -> Result<Vec<Socket>> {
    let probe = bind(address, Sharing::Exclusive)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..count).map(|_| bind(address, Sharing::SharedByThreads)).collect()
}

fn bind(address: SocketAddr, sharing: Sharing) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if means_both(address) {
        // The default of this option is a setting of the machine.
        socket.set_only_v6(false)?;
    }
    // Without this option, a restart would fail until the kernel has forgotten the connections of the previous process.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::SharedByThreads {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The addresses that are tried on a machine whose kernel answers `errno` to an IPv6 socket, and whether one is bound.
    fn tried(address: &str, errno: Errno) -> (Vec<String>, bool) {
        let tried = RefCell::new(Vec::new());
        let bound = or_on_ipv4(address.parse().expect("an address"), |address: SocketAddr| {
            tried.borrow_mut().push(address.to_string());
            if address.is_ipv6() { Err(errno.into()) } else { Ok(()) }
        });
        (tried.into_inner(), bound.is_ok())
    }

    #[test]
    fn without_ipv6_all_addresses_of_ipv4_are_served() {
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(tried("[::]:2379", errno), (vec!["[::]:2379".to_owned(), "0.0.0.0:2379".to_owned()], true));
        }
    }

    #[test]
    fn a_chosen_address_and_a_port_in_use_are_refused() {
        assert_eq!(tried("[::1]:2379", Errno::ADDRNOTAVAIL), (vec!["[::1]:2379".to_owned()], false));
        assert_eq!(tried("[::]:2379", Errno::ADDRINUSE), (vec!["[::]:2379".to_owned()], false));
        assert_eq!(tried("127.0.0.1:2379", Errno::AFNOSUPPORT), (vec!["127.0.0.1:2379".to_owned()], true));
    }
}
