//! How networks are connected to the host and the outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::written_as_text;

written_as_text!(Uplink, SnatIp);

/// Which interfaces of the host a network's packets may leave by: `auto`, `none`, or an interface's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Uplink {
    /// Whichever the kernel's route to the destination names.
    #[default]
    Auto,
    /// None.
    None,
    /// This one only, whether it is there already or comes later.
    Interface(String),
}

impl From<String> for Uplink {
    fn from(text: String) -> Uplink {
        match text.as_str() {
            "auto" => Uplink::Auto,
            "none" => Uplink::None,
            _ => Uplink::Interface(text),
        }
    }
}

impl fmt::Display for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Uplink::Auto => "auto",
            Uplink::None => "none",
            Uplink::Interface(name) => name,
        })
    }
}

impl From<Uplink> for String {
    fn from(uplink: Uplink) -> String {
        uplink.to_string()
    }
}

/// The source address of what leaves the host: `auto` or an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SnatIp {
    /// The one that the kernel's route names.
    #[default]
    Auto,
    /// This one.
    Address(Ipv4Addr),
}

impl FromStr for SnatIp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(SnatIp::Auto),
            _ => text
                .parse()
                .map(SnatIp::Address)
                .map_err(|_| "write auto, or an IPv4 address such as 192.0.2.7"),
        }
    }
}

impl TryFrom<String> for SnatIp {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for SnatIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnatIp::Auto => f.write_str("auto"),
            SnatIp::Address(address) => address.fmt(f),
        }
    }
}

impl From<SnatIp> for String {
    fn from(address: SnatIp) -> String {
        address.to_string()
    }
}

/// How NAT maps ports and whom it lets answer (RFC 4787, sections 4.1 and 5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatMapping {
    /// Only who was spoken to may answer, as with Docker's masquerading.
    #[default]
    PortDependent,
    /// One external port for each internal one, and anybody may send to it.
    EndpointIndependent,
}

impl fmt::Display for NatMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NatMapping::PortDependent => "port-dependent",
            NatMapping::EndpointIndependent => "endpoint-independent",
        })
    }
}

/// How a network is connected to the host and the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// The host reaches the endpoints, and they reach the host.
    pub host_access: bool,
    /// Which interfaces its packets may leave by.
    pub uplink: Uplink,
    /// It reaches neither the host nor the outside, whatever `host_access` and `uplink` say.
    pub internal: bool,
    /// Endpoints and existing interfaces may talk to one another; without, only endpoints may, by links.
    pub icc: bool,
    /// The source address of what leaves the host.
    pub snat_ip: SnatIp,
    /// How NAT maps ports.
    pub nat_mapping: NatMapping,
    /// Names can be asked for at the gateway's address. Networks of before there were names have that port to themselves.
    #[serde(default)]
    pub resolver: bool,
    /// Whom names of the outside are asked for, in order; those whom the host asks when empty.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub dns: Vec<IpAddr>,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            host_access: true,
            uplink: Uplink::Auto,
            internal: false,
            icc: true,
            snat_ip: SnatIp::Auto,
            nat_mapping: NatMapping::PortDependent,
            resolver: true,
            dns: Vec::new(),
        }
    }
}

impl Connection {
    /// That of networks from before there was an edge: neither host nor outside.
    pub fn closed() -> Connection {
        Connection { host_access: false, uplink: Uplink::None, resolver: false, ..Connection::default() }
    }

    /// Whether the network has a host port.
    pub fn has_host_port(&self) -> bool {
        self.host_access && !self.internal
    }

    /// Which interfaces it may really leave by.
    pub fn way_out(&self) -> Uplink {
        if self.internal { Uplink::None } else { self.uplink.clone() }
    }
}

/// An interface of the host that networks leave by (`GET /uplinks`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UplinkState {
    /// The interface.
    pub interface: String,
    /// Its addresses with their prefixes, primary ones first.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
    /// Whether it is up.
    pub up: bool,
}
