//! Where names can be asked for, and the sockets there.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use socket2::{Domain, Socket, Type};

use super::zone::PORT;
use crate::api::types::SandboxRef;
use crate::error::{Error, describe};
use crate::link::{LinkError, Links};
use crate::netns::{Netns, NetnsId, run_in};

/// The address of the resolver inside sandboxes: docker's, which programs and people know.
pub const LOCAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Bytes of datagrams that may wait to be read, as the kernel counts them: some 2,500 questions, a tenth of a second of the most that an
/// endpoint may send.
const WAITING_BYTES: usize = 1 << 20;

/// Where names can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At the gateway of the network of that name.
    Gateway(String),
    /// At [`LOCAL_ADDRESS`] in a sandbox.
    Sandbox(NetnsId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Gateway(network) => write!(f, "the gateway of {network}"),
            Place::Sandbox(netns) => write!(f, "{LOCAL_ADDRESS} in the namespace {}", netns.ino),
        }
    }
}

/// The sockets of a place.
#[derive(Debug)]
pub struct Sockets {
    pub(super) datagrams: UdpSocket,
    pub(super) listener: TcpListener,
}

impl Sockets {
    /// Binds both, in the network namespace of the calling thread; to the interface of that name, if one is given.
    ///
    /// # Errors
    /// The kernel's; the address is not there, or the port is taken.
    pub fn bind(address: Ipv4Addr, interface: Option<&str>) -> io::Result<Sockets> {
        let address = SocketAddr::from((address, PORT));
        let open = |kind| -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, kind, None)?;
            socket.set_nonblocking(true)?;
            socket.bind_device(interface.map(str::as_bytes))?;
            // With UDP it would let others in beside us; with TCP it lets us back in after connections that have ended.
            if kind == Type::STREAM {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&address.into())?;
            Ok(socket)
        };
        let (datagrams, listener) = (open(Type::DGRAM)?, open(Type::STREAM)?);
        // The second where the first is not allowed: net.core.rmem_max is the host's. Less is as good, only not for as long.
        let _ = setsockopt(&datagrams, RcvBufForce, &WAITING_BYTES)
            .or_else(|_| setsockopt(&datagrams, RcvBuf, &WAITING_BYTES));
        listener.listen(BACKLOG)?;
        Ok(Sockets { datagrams: datagrams.into(), listener: listener.into() })
    }

    /// Binds [`LOCAL_ADDRESS`] in a sandbox, and brings its loopback up.
    ///
    /// # Errors
    /// It has gone, or somebody in it has the port.
    pub fn in_sandbox(sandbox: &SandboxRef, netns: NetnsId) -> Result<Sockets, Error> {
        let gone = || Error::Internal(format!("{} has gone", describe(sandbox)));
        let found = Netns::recover(sandbox, netns).ok_or_else(gone)?;
        let bind = || -> Result<io::Result<Sockets>, LinkError> {
            let links = Links::open()?;
            links.set_up(&links.get("lo")?, true)?;
            Ok(Sockets::bind(LOCAL_ADDRESS, None))
        };
        run_in(&found, bind)??.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::Conflict(format!(
                "a program in {} has port {PORT} of {LOCAL_ADDRESS}, or of all addresses; end it, or do without a resolver there (--resolver=false)",
                describe(sandbox)
            )),
            _ => Error::Kernel { action: "serve names in the sandbox", source: error },
        })
    }
}
