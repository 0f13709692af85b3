//! A network as `docker network inspect` shows it (API 1.41, Engine 20.10): the same keys in the same order, and the same things left out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Mac;
use crate::id::Id;

/// `GET /networks/NAME/inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// Always `local`.
    pub scope: String,
    /// The driver that it says it has.
    pub driver: String,
    /// Always false.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Where its addresses come from.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether it reaches neither the host nor the outside.
    pub internal: bool,
    /// As it was created, without effect.
    pub attachable: bool,
    /// Always false.
    pub ingress: bool,
    /// Always of nothing.
    pub config_from: ConfigFrom,
    /// Always false.
    pub config_only: bool,
    /// Its endpoints, by the ids of their sandboxes.
    pub containers: BTreeMap<Id, Attachment>,
    /// Options, as they were given.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Where a network's addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// Always `default`.
    pub driver: String,
    /// Always empty.
    pub options: BTreeMap<String, String>,
    /// The subnet.
    pub config: Vec<IpamConfig>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct IpamConfig {
    /// The subnet.
    #[schema(value_type = String)]
    pub subnet: Ipv4Net,
    /// The part of it that addresses are chosen from; absent when that is all of it.
    #[schema(value_type = Option<String>)]
    #[serde(rename = "IPRange", default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Ipv4Net>,
    /// The gateway's address.
    #[schema(value_type = String)]
    pub gateway: Ipv4Addr,
    /// Addresses that no endpoint gets, by the names of who has them.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary_addresses: BTreeMap<String, Ipv4Addr>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigFrom {
    /// Always empty.
    pub network: String,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: Id,
    /// Its MAC.
    pub mac_address: Mac,
    /// Its address with the subnet's prefix length.
    #[schema(value_type = String)]
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: IpNet,
    /// Always empty.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}
