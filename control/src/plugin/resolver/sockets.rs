//! The Engine's name server in a sandbox: on which ports of 127.0.0.11 it is, and whether anybody reads there.
//!
//! Asked of the kernel's sock_diag(7), whose netlink socket belongs for good to the namespace that it was opened in; of
//! /proc/net where a kernel is built without it.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Where the Engine's resolver listens in every sandbox, and what it writes into resolv.conf.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port that it should be reached on.
pub(super) const DNS_PORT: u16 = 53;

/// A socket of the Engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Its port.
    pub(super) port: u16,
    /// Bytes that nobody has read yet; for TCP: connections that nobody has accepted.
    pub(super) unread: u32,
}

/// Over which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn protocol(self) -> u8 {
        match self {
            // IANA protocol numbers.
            Transport::Udp => 17,
            Transport::Tcp => 6,
        }
    }

    /// The state of a socket that serves, as the kernel numbers them (net/tcp_states.h): TCP_CLOSE for UDP that is not connected.
    fn serving(self) -> u8 {
        match self {
            Transport::Udp => 7,
            Transport::Tcp => 10,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// A way to look at a namespace's sockets from outside.
#[derive(Debug)]
pub(super) struct Looker {
    diag: Option<OwnedFd>,
    address: Ipv4Addr,
    /// The number of the last question: an answer that somebody stopped reading may still be in the queue.
    asked: AtomicU32,
}

impl Looker {
    /// Opens one for the sockets on `address`, in the calling thread's namespace.
    pub(super) fn open(address: Ipv4Addr) -> Looker {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let diag = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG));
        Looker { diag: diag.ok(), address, asked: AtomicU32::new(0) }
    }

    /// The Engine's socket, if it is there. `None` for a kernel that does not say; [`in_proc`] does.
    pub(super) fn find(&self, transport: Transport) -> Option<io::Result<Option<Found>>> {
        let socket = self.diag.as_ref()?;
        let number = self.asked.fetch_add(1, Relaxed).wrapping_add(1);
        match ask(socket, number, transport, self.address) {
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                None
            }
            answer => Some(answer),
        }
    }
}

// include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x0001 | 0x0300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

fn ask(socket: &OwnedFd, number: u32, transport: Transport, address: Ipv4Addr) -> io::Result<Option<Found>> {
    // struct nlmsghdr, struct inet_diag_req_v2 with an empty struct inet_diag_sockid
    let mut request = Vec::with_capacity(72);
    request.extend(72u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend(number.to_ne_bytes());
    request.extend([0; 4]);
    request.extend([libc::AF_INET as u8, transport.protocol(), 0, 0]);
    request.extend((1u32 << transport.serving()).to_ne_bytes());
    request.extend([0; 48]);
    send(socket, &request, SendFlags::empty())?;
    let mut found = None;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let (_, len) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some(len) = word(rest, 0).map(|it| it as usize).filter(|&it| it >= HEADER) {
            let message = rest.get(..len).unwrap_or(rest);
            let kind = half(message, 4).filter(|_| word(message, 8) == Some(number));
            match kind {
                Some(DONE) => return Ok(found),
                Some(ERROR) => {
                    let code = word(message, HEADER).map_or(0, |it| it as i32);
                    return Err(io::Error::from_raw_os_error(-code));
                }
                Some(SOCK_DIAG_BY_FAMILY) => found = found.or(engine_socket(&message[HEADER..], address)),
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Reads a struct inet_diag_msg, if it is of a socket of the Engine's.
fn engine_socket(message: &[u8], on: Ipv4Addr) -> Option<Found> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?);
    let unread = word(message, 56)?;
    (address == on && port != DNS_PORT).then_some(Found { port, unread })
}

/// The Engine's socket by the files of /proc, in the calling thread's namespace.
pub(super) fn in_proc(transport: Transport, address: Ipv4Addr) -> io::Result<Option<Found>> {
    let text = fs::read_to_string(Path::new("/proc/thread-self/net").join(transport.file()))?;
    Ok(text.lines().skip(1).find_map(|line| row(line, transport, address)))
}

/// A row of /proc/net/udp or tcp: number, local address, remote address, state, tx_queue:rx_queue, …
fn row(line: &str, transport: Transport, on: Ipv4Addr) -> Option<Found> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, port) = columns.get(1)?.split_once(':')?;
    // The kernel prints the address as one number of the machine's byte order.
    let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
    let port = u16::from_str_radix(port, 16).ok()?;
    let state = u8::from_str_radix(columns.get(3)?, 16).ok()?;
    let unread = u32::from_str_radix(columns.get(4)?.split_once(':')?.1, 16).ok()?;
    (address == on && port != DNS_PORT && state == transport.serving()).then_some(Found { port, unread })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    /// Stands for the Engine, on an address of the loopback network that is this process's alone.
    #[test]
    fn both_ways_find_the_same_sockets_and_what_is_unread() {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let here = Ipv4Addr::new(127, high | 1, low, 11);
        let looker = Looker::open(here);
        let both = |transport| {
            let proc = in_proc(transport, here).unwrap();
            if let Some(diag) = looker.find(transport) {
                assert_eq!(diag.unwrap(), proc);
            }
            proc
        };
        assert_eq!([Transport::Udp, Transport::Tcp].map(both), [None, None]);
        let udp = UdpSocket::bind((here, 0)).unwrap();
        let tcp = TcpListener::bind((here, 0)).unwrap();
        let (udp_port, tcp_port) = (udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port());
        assert_eq!(both(Transport::Udp), Some(Found { port: udp_port, unread: 0 }));
        assert_eq!(both(Transport::Tcp), Some(Found { port: tcp_port, unread: 0 }));
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.send_to(b"query", (here, udp_port)).unwrap();
        let _client = TcpStream::connect((here, tcp_port)).unwrap();
        assert!(both(Transport::Udp).unwrap().unread > 0);
        assert_eq!(both(Transport::Tcp).unwrap().unread, 1);
    }
}
