//! What puts a new sandbox on all of its networks at once.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Mac, Protocol, SandboxRef, WantedPorts};
use crate::id::Id;

/// `POST /sandboxes`: a new sandbox with all that it shall have. It gets all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxRequest {
    /// The name of its endpoint on each network.
    pub name: String,
    /// The sandbox. Names can be asked for at 127.0.0.11 in it.
    pub sandbox: SandboxRef,
    /// Its networks, in the order of its interfaces; when left out the one called `default`, which is created when it is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Membership>,
    /// Whom its names of the outside are asked for instead of its networks' upstreams: three addresses at most.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Ports of the host that lead to it, on the network that its default route goes by, else on its first:
    /// `[[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<WantedPorts>,
    /// Endpoints that it may speak to where a network has `icc` off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkTarget>,
}

/// A network that a new sandbox shall be on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The network.
    pub network: String,
    /// See [`EndpointRequest::aliases`](super::EndpointRequest::aliases).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// See [`EndpointRequest::ip`](super::EndpointRequest::ip).
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// See [`EndpointRequest::mac`](super::EndpointRequest::mac).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// Whom a new sandbox may speak to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkTarget {
    /// An endpoint by its name or an alias, on the first of the sandbox's networks that has it.
    pub to: String,
    /// See [`LinkBody::port`](super::LinkBody::port).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// See [`LinkBody::protocol`](super::LinkBody::protocol).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// A sandbox as it was put on its networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Its id.
    pub id: Id,
    /// Its endpoints, in the order of its networks.
    pub endpoints: Vec<Endpoint>,
}
