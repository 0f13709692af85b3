//! What `up` applies.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DeviceKind, LinkBody, Mac, NatMapping, PortPatch, PublicationRequest, RuleBody, SnatIp, Uplink};
use crate::id::Id;

/// A declared state (`pontoon up -f FILE.toml`, `PUT /apply`): what should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Network namespaces to create (`create = true`) or to find, by name.
    #[serde(default, rename = "namespace")]
    pub namespaces: Vec<NamespaceDecl>,
    /// Networks.
    #[serde(default, rename = "network")]
    pub networks: Vec<NetworkDecl>,
}

/// A namespace in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceDecl {
    /// Its name below /run/netns.
    pub name: String,
    /// Create it when it is missing, and let `down` delete it when pontoon created it.
    #[serde(default)]
    pub create: bool,
    /// Names can be asked for at 127.0.0.11 in it, if pontoon creates it; true when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
}

/// A network in a [`Document`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkDecl {
    /// See [`NetworkRequest::name`].
    pub name: String,
    /// See [`NetworkRequest::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// See [`NetworkRequest::subnet`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// See [`NetworkRequest::ip_range`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<IpNet>,
    /// See [`NetworkRequest::gateway`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// See [`NetworkRequest::aux_addresses`].
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// See [`NetworkRequest::driver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// See [`NetworkRequest::attachable`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachable: Option<bool>,
    /// See [`NetworkRequest::ipv6`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// See [`NetworkRequest::labels`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// See [`NetworkRequest::options`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// See [`NetworkRequest::mtu`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// See [`NetworkRequest::ageing_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_seconds: Option<u32>,
    /// See [`NetworkRequest::host_access`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_access: Option<bool>,
    /// See [`NetworkRequest::uplink`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// See [`NetworkRequest::internal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    /// See [`NetworkRequest::icc`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icc: Option<bool>,
    /// See [`NetworkRequest::snat_ip`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snat_ip: Option<SnatIp>,
    /// See [`NetworkRequest::nat_mapping`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_mapping: Option<NatMapping>,
    /// See [`NetworkRequest::resolver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<bool>,
    /// See [`NetworkRequest::dns`].
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// Its endpoints.
    #[serde(default, rename = "endpoint")]
    pub endpoints: Vec<EndpointDecl>,
    /// Existing interfaces on it.
    #[serde(default, rename = "interface")]
    pub interfaces: Vec<InterfaceDecl>,
    /// Static FDB entries.
    #[serde(default, rename = "fdb")]
    pub fdb: Vec<FdbDecl>,
    /// Ports of the host that lead to its endpoints.
    #[serde(default, rename = "publish")]
    pub publications: Vec<PublicationRequest>,
    /// Rules, in order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RuleBody>,
    /// Links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkBody>,
}

/// An endpoint in a [`Document`]; exactly one of `netns` and `pid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointDecl {
    /// See [`EndpointRequest::name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// See [`EndpointRequest::aliases`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// A named network namespace, or the path of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// A process whose network namespace it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// See [`EndpointRequest::ifname`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<String>,
    /// See [`EndpointRequest::ip`].
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// See [`EndpointRequest::mac`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// See [`EndpointRequest::kind`].
    #[serde(default)]
    pub kind: DeviceKind,
    /// See [`EndpointRequest::resolver`].
    #[serde(default)]
    pub resolver: bool,
    /// See [`EndpointRequest::dns`].
    #[schema(value_type = Vec<String>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Port flags; those left out are the defaults of endpoints.
    #[serde(default)]
    pub port: PortPatch,
}

/// An existing interface in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceDecl {
    /// The interface's name.
    pub name: String,
    /// Port flags; those left out are the defaults of existing interfaces.
    #[serde(default)]
    pub port: PortPatch,
}

/// A static FDB entry in a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FdbDecl {
    /// The station.
    pub mac: Mac,
    /// The endpoint's or interface's name on this network.
    pub port: String,
}

/// What `PUT /apply` and `DELETE /apply` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// One line for each change, in order; empty when everything was as declared.
    pub changes: Vec<String>,
}
