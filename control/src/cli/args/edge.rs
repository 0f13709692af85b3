//! Arguments of the commands about the edge: how a network is connected here, the others below.

mod link;
mod nat;
mod publish;
mod rule;
mod trace;

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::api::types::{NatMapping, NetworkPatch, SnatIp, Uplink};

pub(super) use link::Target;
pub(in crate::cli::args) use link::parse_target;
pub use link::{LinkArgs, LinkCommand, WhichLink};
pub use nat::{NatArgs, NatCommand, UplinkCommand, WhoseArgs};
pub use publish::{PortsArgs, PublishArgs, Published, UnpublishArgs};
pub use rule::{RuleArgs, RuleCommand, RuleListArgs};
pub use trace::TraceArgs;

/// How a network is connected, for `network create` and `network set`.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectionArgs {
    /// Let the host reach the endpoints and the endpoints reach the host [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub host_access: Option<bool>,
    /// The interface that packets leave the host by: `auto` is whichever the host's routes name [default: auto]
    #[arg(long, value_name = "auto|IFACE|none", value_parser = parse_uplink)]
    pub uplink: Option<Uplink>,
    /// Let the network reach neither host nor outside [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub internal: Option<bool>,
    /// Let endpoints and existing interfaces talk to one another; without, only `pontoon link` allows endpoints to [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// The source address of what leaves the host: `auto` is the one that the route names [default: auto]
    #[arg(long, value_name = "auto|IP")]
    pub snat_ip: Option<SnatIp>,
    /// How NAT maps ports, and whom it lets answer [default: port-dependent]
    #[arg(long, value_name = "MAPPING", value_enum)]
    pub nat_mapping: Option<Mapping>,
    /// Answer questions for names at the gateway's address; without, a resolver of the host may be there [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub resolver: Option<bool>,
    /// Whom to ask for names of the outside: addresses, or `host` for those whom the host asks; may be repeated [default: host]
    #[arg(long, value_name = "host|IP,...")]
    pub dns: Vec<NameServers>,
}

/// Addresses of resolvers; none: the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServers(pub Vec<IpAddr>);

impl FromStr for NameServers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "host" {
            return Ok(NameServers(Vec::new()));
        }
        let parsed = text.split(',').map(str::parse).collect::<Result<_, _>>();
        parsed
            .map(NameServers)
            .map_err(|_| "write host, or addresses such as 192.0.2.53,2001:db8::53".to_owned())
    }
}

/// The names of what [`ConnectionArgs`] and `--ageing` change.
pub(super) const CHANGES: [&str; 9] =
    ["ageing", "host_access", "uplink", "internal", "icc", "snat_ip", "nat_mapping", "resolver", "dns"];

impl ConnectionArgs {
    /// The change that was asked for.
    pub fn patch(self, ageing_seconds: Option<u32>) -> NetworkPatch {
        let ConnectionArgs { host_access, uplink, internal, icc, snat_ip, nat_mapping, resolver, dns } = self;
        let nat_mapping = nat_mapping.map(Into::into);
        let dns = (!dns.is_empty()).then(|| dns.into_iter().flat_map(|it| it.0).collect());
        NetworkPatch {
            ageing_seconds,
            host_access,
            uplink,
            internal,
            icc,
            snat_ip,
            nat_mapping,
            resolver,
            dns,
        }
    }
}

/// How NAT maps ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mapping {
    /// Only who was spoken to may answer
    PortDependent,
    /// One external port for each internal one, and anybody may send to it
    EndpointIndependent,
}

impl From<Mapping> for NatMapping {
    fn from(mapping: Mapping) -> NatMapping {
        match mapping {
            Mapping::PortDependent => NatMapping::PortDependent,
            Mapping::EndpointIndependent => NatMapping::EndpointIndependent,
        }
    }
}

fn parse_uplink(text: &str) -> Result<Uplink, String> {
    match Uplink::from(text.to_owned()) {
        Uplink::Interface(name) => {
            crate::names::check_interface(&name).map_err(|error| error.to_string())?;
            Ok(Uplink::Interface(name))
        }
        uplink => Ok(uplink),
    }
}

/// A subnet; an address is the subnet of itself alone.
fn parse_net(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "write a subnet in CIDR notation, such as 192.0.2.0/24, or an address".to_owned())
}

fn parse_number(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "give a number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_subnet_of_one() {
        assert_eq!(parse_net("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_net("192.0.2.0/24").unwrap().to_string(), "192.0.2.0/24");
        assert!(parse_net("everybody").is_err());
    }
}
