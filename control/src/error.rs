//! What can go wrong in the control plane: one sentence each, saying what failed, on what, and what to do.

use std::io;

use ipnet::Ipv4Net;
use pontoon_dataplane::engine::EngineError;
use pontoon_dataplane::port::tap::TapError;

use crate::api::types::SandboxRef;
use crate::edge::lease::LeaseError;
use crate::ipam::IpamError;
use crate::link::LinkError;
use crate::names::NameError;
use crate::netns::NetnsError;
use crate::store::StoreError;

/// What went wrong, and whose fault it is ([`Error::status`]).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address, subnet or MAC that cannot be.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// A namespace is missing or cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused something about a device.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A TAP device could not be opened.
    #[error("{0}{hint}", hint = tap_hint(.0))]
    Tap(#[from] TapError),
    /// A packet socket could not be opened.
    #[error("cannot open a packet socket on the interface {interface}: {source}")]
    Packet {
        /// The interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// Ports of the host are not to be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The kernel could not be asked.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The data plane refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The FDB refused an entry.
    #[error("cannot add the FDB entry: {0}")]
    Fdb(String),
    /// The state could not be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that was asked for is not there.
    #[error("there is no {what} {name}; `pontoon {list}` lists what there is")]
    Missing {
        /// A network, an endpoint, ...
        what: &'static str,
        /// Its name, with its network's.
        name: String,
        /// The command that lists them.
        list: &'static str,
    },
    /// No pool of addresses has that subnet.
    #[error("there is no pool {0}; request it first")]
    NoPool(Ipv4Net),
    /// Something that should be made is there already.
    #[error("the {what} {name} exists already")]
    Exists {
        /// A network, an endpoint, ...
        what: &'static str,
        /// Its name, with its network's.
        name: String,
    },
    /// Ports are on a network that should go.
    #[error("the network {network} is in use by {users}; detach them first, or give --force")]
    InUse {
        /// The network.
        network: String,
        /// Names of endpoints and interfaces.
        users: String,
    },
    /// The sandbox has an interface of that name.
    #[error("{sandbox} has an interface {ifname} already; choose another name with --ifname")]
    IfnameTaken {
        /// The sandbox.
        sandbox: String,
        /// The interface.
        ifname: String,
    },
    /// The sandbox is where the daemon itself lives, or the host.
    #[error(
        "{0} is the host's or the daemon's own, and attach would change the host's routes; use `pontoon port add` for an interface of the host"
    )]
    OwnNamespace(String),
    /// The host has no such interface.
    #[error("the host has no interface {0}; `ip link` lists them")]
    NoInterface(String),
    /// That interface cannot be a port.
    #[error("the interface {interface} cannot be put on a network: {reason}")]
    Interface {
        /// The interface.
        interface: String,
        /// Why not.
        reason: String,
    },
    /// A declared thing exists and is different.
    #[error("{what} exists with another {field} ({is}, not {declared}); remove it first or change the file")]
    Differs {
        /// The thing.
        what: String,
        /// What differs.
        field: &'static str,
        /// As it is.
        is: String,
        /// As declared.
        declared: String,
    },
    /// Another publication stands on a port of the host.
    #[error("{0}")]
    PortsTaken(String),
    /// Any ports of the host would have done, and all that were tried are taken.
    #[error("none of {tried} ports of the host that were tried for {wanted} is free; the last: {last}")]
    NoPortsFree {
        /// How many times.
        tried: usize,
        /// What should be published.
        wanted: String,
        /// Why not there.
        last: Box<Error>,
    },
    /// Something else is in the way.
    #[error("{0}")]
    Conflict(String),
    /// A declaration that cannot be right.
    #[error("{0}")]
    Declaration(String),
    /// Some larger thing failed because of a smaller one.
    #[error("cannot {action}: {source}")]
    During {
        /// What was asked for.
        action: String,
        /// Why it failed.
        source: Box<Error>,
    },
    /// Several things failed, each on its own; everything else was done.
    #[error("{}", join(.0))]
    Several(Vec<Error>),
    /// The daemon is at fault.
    #[error("the daemon failed: {0}; its log says more")]
    Internal(String),
}

/// What to do about a file or directory that this user may not write; empty for other errors.
pub fn write_hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() {
        return "; run it as root, or give --socket and --state that you may write";
    }
    ""
}

fn tap_hint(error: &TapError) -> &'static str {
    let (TapError::DeviceNode(source) | TapError::Attach { source, .. }) = error else { return "" };
    match (error, source.raw_os_error()) {
        (TapError::DeviceNode(_), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            "; load the tun module (`modprobe tun`), or give the container the device /dev/net/tun"
        }
        (_, Some(libc::EPERM | libc::EACCES)) => "; this needs root or CAP_NET_ADMIN",
        (TapError::Attach { .. }, Some(libc::EBUSY)) => "; another process holds the device",
        _ => "",
    }
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(Error::to_string).collect::<Vec<_>>().join("; and ")
}

impl Error {
    /// The error as the cause of a larger failure.
    pub fn during(self, action: impl Into<String>) -> Error {
        Error::During { action: action.into(), source: Box::new(self) }
    }

    /// The HTTP status that says whose fault it is.
    pub fn status(&self) -> u16 {
        match self {
            Error::Name(_) | Error::OwnNamespace(_) | Error::Declaration(_) => 400,
            Error::Netns(NetnsError::NotANamespace { .. }) => 400,
            Error::Ipam(error) => {
                if error.is_conflict() {
                    409
                } else {
                    400
                }
            }
            Error::Missing { .. } | Error::NoInterface(_) | Error::NoPool(_) => 404,
            Error::Netns(
                NetnsError::NoSuchName { .. } | NetnsError::NoSuchPath { .. } | NetnsError::NoSuchProcess(_),
            ) => 404,
            Error::Exists { .. } | Error::InUse { .. } | Error::IfnameTaken { .. } => 409,
            Error::Interface { .. }
            | Error::Differs { .. }
            | Error::Fdb(_)
            | Error::PortsTaken(_)
            | Error::NoPortsFree { .. }
            | Error::Conflict(_)
            | Error::Netns(NetnsError::Exists { .. }) => 409,
            Error::Lease(LeaseError::Invalid(_)) => 400,
            Error::Lease(LeaseError::Taken(_) | LeaseError::NoSuchAddress(_)) => 409,
            Error::Tap(TapError::DeviceNode(_) | TapError::WrongDevice)
            | Error::Lease(LeaseError::Descriptors { .. })
            | Error::Engine(EngineError::Full { .. }) => 503,
            Error::During { source, .. } => source.status(),
            Error::Several(errors) => errors.first().map_or(500, Error::status),
            Error::Netns(NetnsError::System { .. })
            | Error::Link(_)
            | Error::Tap(_)
            | Error::Packet { .. }
            | Error::Lease(LeaseError::System { .. })
            | Error::Kernel { .. }
            | Error::Engine(_)
            | Error::Store(_)
            | Error::Internal(_) => 500,
        }
    }
}

/// A sandbox in words.
pub fn describe(sandbox: &SandboxRef) -> String {
    match sandbox {
        SandboxRef::Netns(name) => format!("the namespace {name}"),
        SandboxRef::Pid(pid) => format!("the namespace of process {pid}"),
    }
}
