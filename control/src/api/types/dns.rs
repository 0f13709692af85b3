//! Names: who has which, what became of questions, and the answer to one.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A name that can be asked for (`GET /dns/names`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsName {
    /// The network whose endpoints may know it.
    pub network: String,
    /// The name.
    pub name: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
}

/// The resolver (`GET /dns`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsStats {
    /// Where names can be asked for.
    pub places: Vec<DnsPlace>,
    /// Whom the host asks.
    pub host_resolvers: Vec<DnsUpstream>,
    /// Questions to others that are under way.
    pub under_way: usize,
    /// What happened how often.
    pub counts: Vec<DnsCount>,
}

/// A place where names can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsPlace {
    /// The network at whose gateway it is; absent in a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The sandbox that it is in, as it was named; absent at a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The address.
    #[schema(value_type = String)]
    pub address: Ipv4Addr,
}

/// Somebody who is asked for names of the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsUpstream {
    /// Address and port.
    pub address: String,
    /// He was silent lately, and is asked after the others.
    pub silent: bool,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsCount {
    /// Its name.
    pub name: String,
    /// How often.
    pub count: u64,
    /// What it counts.
    pub meaning: String,
}

/// The answer to a question (`GET /dns/query`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsAnswer {
    /// The name.
    pub name: String,
    /// The type of records that were asked for: `A`, `PTR`, …
    pub kind: String,
    /// How it went: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …
    pub code: String,
    /// `pontoon`, or `upstream` when somebody else was asked.
    pub from: String,
    /// The records.
    pub records: Vec<DnsRecord>,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsRecord {
    /// Whose it is.
    pub name: String,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// Its type.
    pub kind: String,
    /// What it says, as in a zone file.
    pub data: String,
}
