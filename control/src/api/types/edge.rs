//! The edge: how networks are connected, published ports, rules, links, sessions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::{PortRange, Protocol, PublishedPorts, WantedPorts, written_as_text};

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

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// The session may be opened.
    Allow,
    /// It may not.
    Deny,
}

/// What a rule says; what is left out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// What it does.
    pub action: RuleAction,
    /// The sessions' source.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// Their destination, before it is translated.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Their destination port, or ports; with `tcp` and `udp` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRange>,
}

impl RuleBody {
    /// The rules by which these may come and nobody else; none when everybody may.
    pub fn admission(allow: &[IpNet]) -> Vec<RuleBody> {
        let rule = |action, from| RuleBody { action, from, to: None, protocol: None, port: None };
        let allowed = allow.iter().map(|net| rule(RuleAction::Allow, Some(*net)));
        let rest = (!allow.is_empty()).then(|| rule(RuleAction::Deny, None));
        allowed.chain(rest).collect()
    }
}

impl fmt::Display for RuleBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            RuleAction::Allow => "allow",
            RuleAction::Deny => "deny",
        })?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " {protocol}")?;
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        Ok(())
    }
}

/// `POST /networks/NAME/rules`: a rule to add, with `?publication=ID` to one of its publications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    /// What it says.
    pub rule: RuleBody,
    /// The number that it gets; behind all others when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u32>,
}

/// A rule of a network (`GET /networks/NAME/rules`), or of one of its publications (`?publication=ID`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Its place in the order, from 1.
    pub number: u32,
    /// What it says.
    pub rule: RuleBody,
    /// How many new sessions it decided since the daemon's start or since it was added.
    pub hits: u64,
}

/// A hole in the isolation of a network with `icc` off: `from` may open sessions to `to`, which may answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The endpoint that may begin.
    pub from: String,
    /// The endpoint that may be spoken to.
    pub to: String,
    /// The port that may be spoken to; every protocol and port when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port's protocol; `tcp` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

impl fmt::Display for LinkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)?;
        match (self.port, self.protocol) {
            (None, _) => Ok(()),
            (Some(port), protocol) => write!(f, ":{port}/{}", protocol.unwrap_or(Protocol::Tcp)),
        }
    }
}

/// A link of a network (`GET /links`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// The network.
    pub network: String,
    /// The endpoint that may begin.
    pub from: String,
    /// The endpoint that may be spoken to.
    pub to: String,
    /// The port that may be spoken to; absent when every protocol and port may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port's protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// One direction of a session: `tcp 10.88.0.2:40000 > 192.0.2.7:80` as an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The source address.
    pub source: String,
    /// The source port; of ICMP the identifier of a request, and 0 in a reply.
    pub source_port: u16,
    /// The destination address.
    pub destination: String,
    /// The destination port; of ICMP the identifier of a reply, and 0 in a request.
    pub destination_port: u16,
}

/// A session of NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatSession {
    /// The place in the table.
    pub id: u32,
    /// The endpoint that it is counted for, `NETWORK/ENDPOINT`.
    pub endpoint: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: Protocol,
    /// The packets of whoever began, on his side of the edge.
    pub original: Flow,
    /// The packets of whoever answers, on his side of the edge.
    pub reply: Flow,
    /// `half-open`, `established`, `closing`, ..., of UDP and ICMP `one-way` or `two-way`.
    pub state: String,
    /// The number of the publication that it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication: Option<u32>,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
    /// Seconds until it ends if it stays silent.
    pub expires_seconds: u64,
}

/// A page of sessions (`GET /nat/sessions`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatSessions {
    /// Sessions by their place in the table.
    pub sessions: Vec<NatSession>,
    /// Where the next page begins (`?from=`); absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// What `DELETE /nat/sessions` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatFlushed {
    /// How many sessions ended.
    pub flushed: u64,
}

/// How many sessions an endpoint has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatGauge {
    /// `NETWORK/ENDPOINT`.
    pub endpoint: String,
    /// Sessions now.
    pub sessions: u32,
}

/// TCP's and UDP's share of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByProtocol {
    /// TCP.
    pub tcp: u32,
    /// UDP.
    pub udp: u32,
}

/// How much of NAT is used, and what it counted since the daemon's start (`GET /nat/stats`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NatStats {
    /// Sessions now.
    pub sessions: u32,
    /// Sessions at most.
    pub sessions_max: u32,
    /// Sessions of one endpoint at most.
    pub sessions_per_endpoint_max: u32,
    /// Of the sessions, half-open TCP.
    pub half_open: u32,
    /// Sessions ever opened.
    pub opened: u64,
    /// Sessions that ended by silence.
    pub expired: u64,
    /// Half-open TCP sessions that made room for others.
    pub evicted_half_open: u64,
    /// Sessions of UDP and ICMP that made room for others: begun outside, or answered by nobody.
    pub evicted_other: u64,
    /// New TCP sessions that were refused for want of room.
    pub refused_tcp: u64,
    /// Other new sessions that were refused for want of room.
    pub refused_other: u64,
    /// Ports of the host that are held for NAT.
    pub ports_held: ByProtocol,
    /// Of these, in use.
    pub ports_used: ByProtocol,
    /// Frames that wait for a route, a neighbour, a port or a first fragment.
    pub waiting: u32,
    /// Sessions of each endpoint that has some.
    pub endpoints: Vec<NatGauge>,
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

/// `POST /trace`: a frame to follow without sending it. Exactly one of `packet` and `frame`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The network that it is about.
    pub network: String,
    /// Where it comes in: an endpoint's or existing interface's name, `host`, or `uplink:IFACE`.
    pub from: String,
    /// The packet in words, such as `tcp 10.88.0.2:1234 > 192.0.2.7:80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<String>,
    /// The whole frame from the destination MAC on, in hexadecimal. Of one that is larger than the MTU, and of a checksum that is none yet,
    /// it is assumed that the sender has left the rest to its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// With `frame`: the largest TCP segment in bytes that both ends of its connection have announced. So a super-frame is cut, unless
    /// the MTU allows less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_size: Option<u16>,
}

/// A frame that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceFrame {
    /// Where: `NETWORK/NAME` or `uplink:IFACE`.
    pub port: String,
    /// What it is, in words.
    pub packet: String,
    /// The frame from the destination MAC on, in hexadecimal. Its checksum may be left to whoever sends it; a MAC that is not known yet
    /// is zero.
    pub frame: String,
    /// What must come before it leaves, in words; none: it leaves at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What would become of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// Where it comes in: `NETWORK/NAME` or `uplink:IFACE`.
    pub from: String,
    /// What it is, in words.
    pub packet: String,
    /// What was assumed about it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// What happens to it, in words and in order; the last one is the verdict. Where it has to wait for an answer, what follows is as if
    /// that had come.
    pub decisions: Vec<String>,
    /// The name of the reason for which it would be dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// What would leave, and where.
    pub leaves: Vec<TraceFrame>,
}
