//! Ports of the host that lead to endpoints.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::{PortRange, Protocol, PublishedPorts, WantedPorts};
use super::rule::{Rule, RuleBody};

/// `POST /networks/NAME/publications`: ports of the host that shall lead to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicationRequest {
    /// The endpoint.
    pub endpoint: String,
    /// `[[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp]`. Without ports of the host any that are free will do; those that were chosen
    /// once stay.
    pub ports: WantedPorts,
    /// Who may come, as subnets; everybody when empty. The same as rules that allow them and deny everybody else.
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// Rules, in order, instead of `allow`.
    #[serde(default, alias = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleBody>,
}

/// Ports of the host that lead to an endpoint (`GET /publications`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Publication {
    /// Its number.
    pub id: u32,
    /// The network.
    pub network: String,
    /// The endpoint.
    pub endpoint: String,
    /// `[HOSTIP:]HOSTPORT[-END]:PORT[-END]/PROTOCOL`.
    pub ports: PublishedPorts,
    /// The address of the host that it stands on; absent when it stands on every one.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<Ipv4Addr>,
    /// The ports of the host.
    pub host_ports: PortRange,
    /// The endpoint's ports.
    pub endpoint_ports: PortRange,
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// Rules, in order; without any everybody may come.
    pub rules: Vec<Rule>,
    /// `up`, or `down` with a `cause`.
    pub state: String,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What should be known about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was published, RFC 3339 in UTC.
    pub created: String,
}
