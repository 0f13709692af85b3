//! Sandboxes as people name them, and what puts them on networks and takes them off.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Mac, SandboxRef};

/// A sandbox: exactly one of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "Fields")]
pub enum SandboxName {
    /// One that endpoints are in already, by what it is called (its namespace's name, the last part of its path, or `pid-N`), by
    /// the name of an endpoint in it, or by its id or at least four digits of its beginning.
    Name(String),
    /// A named network namespace (below /run/netns), or the path of one.
    Netns(String),
    /// The network namespace of a process.
    Pid(u32),
}

/// A [`SandboxName`] as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with name, netns or pid")]
struct Fields {
    name: Option<String>,
    netns: Option<String>,
    pid: Option<u32>,
}

impl TryFrom<Fields> for SandboxName {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match (fields.name, fields.netns, fields.pid) {
            (Some(name), None, None) => Ok(SandboxName::Name(name)),
            (None, Some(netns), None) => Ok(SandboxName::Netns(netns)),
            (None, None, Some(pid)) => Ok(SandboxName::Pid(pid)),
            _ => Err("give one of name, netns and pid"),
        }
    }
}

impl From<SandboxRef> for SandboxName {
    fn from(reference: SandboxRef) -> SandboxName {
        match reference {
            SandboxRef::Netns(name) => SandboxName::Netns(name),
            SandboxRef::Pid(pid) => SandboxName::Pid(pid),
        }
    }
}

/// `POST /networks/NAME/connect`: a sandbox to put on a further network while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// The sandbox.
    pub sandbox: SandboxName,
    /// The endpoint's name; when left out that of the endpoint that the sandbox has on another network, or what the sandbox is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// See [`EndpointRequest::aliases`](super::EndpointRequest::aliases).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// See [`EndpointRequest::ifname`](super::EndpointRequest::ifname).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// See [`EndpointRequest::ip`](super::EndpointRequest::ip).
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// See [`EndpointRequest::mac`](super::EndpointRequest::mac).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// `POST /networks/NAME/disconnect`: a sandbox to take off a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisconnectRequest {
    /// The sandbox.
    pub sandbox: SandboxName,
}
