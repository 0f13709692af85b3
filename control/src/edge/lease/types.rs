//! What is asked of the leases, and what they answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::tuple::Protocol;

use super::pool::ports;

/// Ports, both ends included.
pub type PortRange = (u16, u16);

/// Which ports NAT draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The pool; none: chosen beside the range that the kernel gives ports to its own sockets from.
    pub pool: Option<PortRange>,
    /// How many ports a pool that is chosen has, for each protocol.
    pub pool_size: u16,
    /// Let the sockets share their filters if the kernel can; if not, as on one that cannot.
    pub share_filters: bool,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self { pool: None, pool_size: 4_096, share_filters: true }
    }
}

/// Ports of the host that lead to an endpoint, as the sockets know them.
#[derive(Debug, Clone)]
pub struct Published {
    /// The publication's number.
    pub id: u32,
    /// Its name for people: whoever wants the same port is told that it has it.
    pub name: String,
    /// The address of the host that it stands on; none: every address.
    pub address: Option<Ipv4Addr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First and last port on the host.
    pub ports: PortRange,
    /// The network of the endpoint.
    pub network: NetworkId,
    /// Where the first of `ports` leads to; the others follow.
    pub to: SocketAddrV4,
}

/// A port that somebody else has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{port}/{protocol} on {} is taken by {}",
    address.unwrap_or(Ipv4Addr::UNSPECIFIED),
    holder.as_deref().unwrap_or("something that cannot be named")
)]
pub struct Taken {
    /// The address of the host; none: every address.
    pub address: Option<Ipv4Addr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Who has it, if that can be known.
    pub holder: Option<String>,
}

/// Why ports are not held.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has the port.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The host has no such address.
    #[error("the host has no address {0}; see `ip address`")]
    NoSuchAddress(Ipv4Addr),
    /// Too few descriptors are left.
    #[error(
        "{wanted} ports need as many open files, and only {left} of the limit of {limit} are left; raise it (LimitNOFILE= or ulimit -n)"
    )]
    Descriptors {
        /// How many were asked for.
        wanted: usize,
        /// How many there may still be.
        left: usize,
        /// The process's limit.
        limit: usize,
    },
    /// ICMP has no ports, or the range is empty, or the endpoint's range ends above 65535.
    #[error("{0}")]
    Invalid(String),
    /// The system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// The system's error.
        source: io::Error,
    },
}

/// What uplinks must let in for NAT: ports by protocol, sorted, no two ranges touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// TCP.
    pub tcp: Vec<PortRange>,
    /// UDP.
    pub udp: Vec<PortRange>,
}

impl LeaseError {
    pub(super) fn no_ports() -> LeaseError {
        LeaseError::Invalid("only TCP and UDP have ports".into())
    }
}

impl Published {
    /// With one way to say "every address".
    pub(super) fn checked(&self) -> Result<Published, LeaseError> {
        let (first, last) = self.ports;
        if !matches!(self.protocol, Protocol::Tcp | Protocol::Udp) {
            return Err(LeaseError::no_ports());
        }
        if first == 0 || last < first || self.to.port() == 0 {
            return Err(LeaseError::Invalid(format!("{first}-{last} to {} is no range of ports", self.to)));
        }
        if self.to.port().checked_add(last - first).is_none() {
            let count = last - first + 1;
            return Err(LeaseError::Invalid(format!(
                "{first}-{last} are {count} ports, and from {} on there are fewer on the endpoint's side",
                self.to.port()
            )));
        }
        Ok(Published { address: self.address.filter(|it| !it.is_unspecified()), ..self.clone() })
    }

    pub(super) fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && ports(self.ports).contains(&port)
    }

    /// The first port that both want, if they cannot both have it.
    pub(super) fn conflict(&self, other: &Published) -> Option<Taken> {
        let first = self.ports.0.max(other.ports.0);
        let overlap = self.protocol == other.protocol
            && first <= self.ports.1.min(other.ports.1)
            && (self.address.is_none() || other.address.is_none() || self.address == other.address);
        overlap.then(|| Taken {
            address: other.address,
            protocol: other.protocol,
            port: first,
            holder: Some(format!("the publication {}", self.name)),
        })
    }
}
