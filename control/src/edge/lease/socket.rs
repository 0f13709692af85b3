//! One port of the host, held by a socket of the kernel that lets in no more than it should.
//!
//! While the socket is there the kernel neither gives the port to another one (an explicit bind fails with EADDRINUSE, a
//! search for a free port passes over it) nor answers for it: what the filter drops is dropped without a reset or an
//! ICMP error, for it has found its socket (`tcp_filter` in net/ipv4/tcp_ipv4.c, `sk_filter_trim_cap` in net/ipv4/udp.c).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use pontoon_dataplane::edge::tuple::Protocol;
use socket2::{Domain, Socket, Type};

use super::filter::{Filters, Purpose};

/// How many local clients may wait until the relay takes their connections up. Only a number to the kernel, no memory.
const BACKLOG: i32 = 1_024;

/// Binds a socket of its own to the port, filtered from before it can be found.
///
/// # Errors
/// The system's error: `AddrInUse` when another socket has the port, `AddrNotAvailable` when the host lacks the address.
pub(super) fn hold(
    protocol: Protocol,
    address: Ipv4Addr,
    port: u16,
    purpose: Purpose,
    filters: &Filters,
) -> io::Result<Socket> {
    let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::IPV4, kind.nonblocking().cloexec(), None)?;
    filters.attach(&socket, purpose)?;
    allow_successor(&socket, protocol, purpose)?;
    socket.bind(&SocketAddrV4::new(address, port).into())?;
    prepare(&socket, protocol, purpose)?;
    Ok(socket)
}

/// Makes a socket that is bound serve another purpose.
///
/// # Errors
/// The system's error.
pub(super) fn turn(
    socket: &Socket,
    protocol: Protocol,
    purpose: Purpose,
    filters: &Filters,
) -> io::Result<()> {
    allow_successor(socket, protocol, purpose)?;
    prepare(socket, protocol, purpose)?;
    filters.attach(socket, purpose)
}

/// Connections of a daemon that has ended, and that are not quite over, must not keep the port from the next one. Two
/// listeners still cannot share it (socket(7), SO_REUSEADDR); two UDP sockets could.
fn allow_successor(socket: &Socket, protocol: Protocol, purpose: Purpose) -> io::Result<()> {
    if (protocol, purpose) == (Protocol::Tcp, Purpose::Published) {
        socket.set_reuse_address(true)?;
    }
    Ok(())
}

fn prepare(socket: &Socket, protocol: Protocol, purpose: Purpose) -> io::Result<()> {
    match (protocol, purpose) {
        (Protocol::Tcp, Purpose::Published) => socket.listen(BACKLOG),
        (Protocol::Tcp, Purpose::Nat) => socket.listen(0),
        // The relay answers from the address that it was spoken to at.
        (_, Purpose::Published) => Ok(setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?),
        (_, Purpose::Nat) => Ok(()),
    }
}
