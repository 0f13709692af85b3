//! What goes over the API, into the store, and out of `--json`: the field names here are stable.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use pontoon_dataplane::MacAddr;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod connect;
mod dns;
mod document;
mod edge;
mod endpoint;
mod inspect;
mod nat;
mod network;
mod port;
mod publication;
mod published;
mod rule;
mod sandbox;
mod stats;
mod trace;

pub use connect::{ConnectRequest, DisconnectRequest, SandboxName};
pub use dns::{DnsAnswer, DnsCount, DnsName, DnsPlace, DnsRecord, DnsStats, DnsUpstream};
pub use document::{Applied, Document, EndpointDecl, FdbDecl, InterfaceDecl, NamespaceDecl, NetworkDecl};
pub use edge::{Connection, NatMapping, SnatIp, Uplink, UplinkState};
pub use endpoint::{DeviceKind, Endpoint, EndpointRequest, Interface, InterfaceRequest, SandboxRef};
pub use inspect::{Attachment, ConfigFrom, Inspected, Ipam, IpamConfig};
pub use nat::{ByProtocol, Flow, NatFlushed, NatGauge, NatSession, NatSessions, NatStats};
pub use network::{Network, NetworkPatch, NetworkRequest};
pub use port::{Peer, Port, PortFlags, PortPatch};
pub use publication::{Publication, PublicationRequest};
pub use published::{PortRange, PortsError, Protocol, PublishedPorts, WantedPorts};
pub use rule::{Link, LinkBody, Rule, RuleAction, RuleBody, RuleRequest};
pub use sandbox::{LinkTarget, Membership, Sandbox, SandboxRequest};
pub use stats::{FdbEntry, FdbRequest, FdbStats, PortStats, Stats, Traffic};
pub use trace::{Trace, TraceFrame, TraceRequest};

/// A MAC address, written `02:42:0a:00:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "02:42:0a:00:00:02")]
pub struct Mac(pub MacAddr);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = pontoon_dataplane::addr::MacParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = pontoon_dataplane::addr::MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Mac)
    }
}

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence: what failed, on what, what to do.
    pub error: String,
}

/// Something that happened in the daemon (`GET /events`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// `network-created`, `network-removed`, `endpoint-attached`, `endpoint-detached`, `endpoint-restored`,
    /// `endpoint-swept`, `interface-added`, `interface-removed`, `interface-swept`, `namespace-created`,
    /// `namespace-deleted`, `port-lost`, `network-changed`, `published`, `unpublished`, `publication-down`,
    /// `publication-up`, `rules-changed`, `linked`, `unlinked`, `uplink-up`, `uplink-down` or `uplink-changed`.
    pub event: String,
    /// The network, port (`NETWORK/NAME`) or namespace.
    pub subject: String,
    /// Why, when nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The daemon's paths and its version (`GET /info`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Where it keeps its state.
    #[schema(value_type = String)]
    pub state_dir: PathBuf,
    /// Whether it removes everything when it ends.
    pub ephemeral: bool,
}
