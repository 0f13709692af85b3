//! Endpoints, their sandboxes and devices, and interfaces of the host that are ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Mac;
use crate::id::Id;

/// The device that an endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A TAP device; needs nothing but /dev/net/tun.
    #[default]
    Tap,
    /// One end of a veth pair; the other end becomes a packet port.
    Veth,
}

/// Which sandbox: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "SandboxFields")]
pub enum SandboxRef {
    /// A named network namespace (below /run/netns), or the path of one.
    Netns(String),
    /// The network namespace of a process.
    Pid(u32),
}

/// A [`SandboxRef`] as it is read: what serde says of an enum is not for people who write JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with either netns or pid")]
struct SandboxFields {
    netns: Option<String>,
    pid: Option<u32>,
}

impl TryFrom<SandboxFields> for SandboxRef {
    type Error = &'static str;

    fn try_from(fields: SandboxFields) -> Result<Self, Self::Error> {
        match (fields.netns, fields.pid) {
            (Some(name), None) => Ok(SandboxRef::Netns(name)),
            (None, Some(pid)) => Ok(SandboxRef::Pid(pid)),
            _ => Err("give either netns or pid"),
        }
    }
}

/// `POST /networks/NAME/endpoints`: an endpoint to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointRequest {
    /// Its name, unique in the network; the namespace's name (`pid-N` for a process) when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id; a random one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// Further names of it, each unique among the names and aliases of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The sandbox that it is put into.
    pub sandbox: SandboxRef,
    /// The interface's name inside the sandbox; when left out the network's prefix with the first number that is free: `eth0`, `eth1`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// Its address; when left out the next one that is free: none is given again while others are.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Whether whoever asks has leased that address before. Not for the API: nobody there has a lease.
    #[serde(skip)]
    pub leased: bool,
    /// Its MAC; 02:42 and the address's four bytes when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The kind of device.
    #[serde(default)]
    pub kind: DeviceKind,
    /// No frame passes between two isolated endpoints.
    #[serde(default)]
    pub isolated: bool,
    /// Names can be asked for at 127.0.0.11 in the sandbox as well, as in those that pontoon makes.
    #[serde(default)]
    pub resolver: bool,
    /// Whom the sandbox's names of the outside are asked for instead of its networks' upstreams: three addresses at most.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
}

impl EndpointRequest {
    /// An endpoint in that sandbox, all else chosen.
    pub fn of(sandbox: SandboxRef) -> EndpointRequest {
        EndpointRequest {
            name: None,
            id: None,
            aliases: Vec::new(),
            sandbox,
            ifname: None,
            ip: None,
            leased: false,
            mac: None,
            kind: DeviceKind::default(),
            isolated: false,
            resolver: false,
            dns: Vec::new(),
        }
    }
}

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Further names of it, in its network only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
    /// The id of its sandbox: the same for all endpoints there.
    pub sandbox_id: Id,
    /// The network that it belongs to.
    pub network: String,
    /// The sandbox as it was named when the endpoint was attached.
    pub sandbox: SandboxRef,
    /// The interface's name inside the sandbox.
    pub ifname: String,
    /// Its address with the subnet's prefix length.
    #[schema(value_type = String, example = "10.88.0.2/24")]
    pub address: IpNet,
    /// Its MAC.
    pub mac: Mac,
    /// The kind of device.
    pub kind: DeviceKind,
    /// Whether its network's gateway is its sandbox's way to everywhere else.
    pub default_route: bool,
    /// When it was attached, RFC 3339 in UTC.
    pub created: String,
}

/// `POST /networks/NAME/interfaces`: an existing interface to put on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceRequest {
    /// The interface's name in the daemon's own network namespace.
    pub interface: String,
}

/// An existing interface on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// The interface's name.
    pub interface: String,
    /// The network that it is on.
    pub network: String,
    /// When it was put there, RFC 3339 in UTC.
    pub created: String,
}
