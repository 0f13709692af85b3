//! Arguments of `pontoon publish`, `unpublish` and `ports`.

use std::fmt;
use std::net::Ipv4Addr;

use clap::Args;
use ipnet::IpNet;

use super::parse_net;
use crate::api::types::{Publication, PublishedPorts, WantedPorts};

/// `pontoon publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Clients keep their address. Unless the network has --uplink none they may come from outside, by any
interface that `pontoon uplink ls` shows. Other endpoints may come by the host's address. The host
itself, 127.0.0.1 too, is served whatever --allow and rules say, as long as the network has host
access; it is reset otherwise.
--allow is short for rules: those subnets are allowed, then everybody is denied. `pontoon rule
--publication` changes them.
Publishing the same ports again replaces the rules, and sessions that were open end.

Examples:
  pontoon publish blue web 8080:80
  pontoon publish blue web 80                        any free port of the host
  pontoon publish blue web 127.0.0.1:8443:443/tcp
  pontoon publish blue dns 53:53/udp --allow 192.0.2.0/24 --allow 198.51.100.7
  pontoon publish blue sip 20000-29999:20000-29999/udp")]
pub struct PublishArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The endpoint's name
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
    /// What to publish: [[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp]; without HOSTPORT any that are free
    #[arg(value_name = "PORTS", allow_hyphen_values = true)]
    pub ports: WantedPorts,
    /// Only clients of this subnet may come; may be given several times. One that an interface of the host is on is believed by
    /// that interface only
    #[arg(long, value_name = "CIDR", value_parser = parse_net)]
    pub allow: Vec<IpNet>,
}

/// `pontoon unpublish`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pontoon unpublish blue web 8080:80\n  pontoon unpublish blue web 3")]
pub struct UnpublishArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The endpoint's name
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
    /// What was published, or its number, as `pontoon ports` shows both
    #[arg(value_name = "PORTS|ID", allow_hyphen_values = true)]
    pub which: Published,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// By its number.
    Id(u32),
    /// By its ports.
    Ports(PublishedPorts),
}

impl Published {
    /// Whether it is that one, on a network whose publications are on `address` unless they say otherwise.
    pub fn is(&self, publication: &Publication, address: Option<Ipv4Addr>) -> bool {
        match *self {
            Published::Id(id) => publication.id == id,
            Published::Ports(ports) => publication.ports == ports.or_on(address),
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Published::Id(id) => write!(f, "number {id}"),
            Published::Ports(ports) => ports.fmt(f),
        }
    }
}

impl std::str::FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Published::Id(id)),
            Err(_) => text
                .parse()
                .map(Published::Ports)
                .map_err(|error: crate::api::types::PortsError| error.to_string()),
        }
    }
}

/// `pontoon ports`.
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// Only what this network's endpoints publish
    #[arg(value_name = "NETWORK")]
    pub network: Option<String>,
    /// Print numbers only, one a line
    #[arg(short, long)]
    pub quiet: bool,
}
