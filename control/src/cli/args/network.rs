//! Arguments of `pontoon network`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::edge::{self, ConnectionArgs};
use super::endpoint::parse_pid;
use super::{ListArgs, parse_address};
use crate::api::types::Mac;

/// `pontoon network`.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Create a network
    Create(Box<CreateArgs>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// How to list
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show everything about a network
    Show {
        /// The network's name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Print networks as `docker network inspect` does: a JSON array with Docker's keys
    Inspect {
        /// A network's name, its id or at least four digits of its beginning; may be given several times
        #[arg(value_name = "NAME|ID", required = true)]
        names: Vec<String>,
    },
    /// Put a sandbox on a further network while it runs
    Connect(Box<ConnectArgs>),
    /// Take a sandbox off a network while it runs
    #[command(
        after_help = "When its default route went by this network, another network's gateway takes over.

Examples:
  pontoon network disconnect blue web
  pontoon network disconnect blue --pid 4711"
    )]
    Disconnect {
        /// The network's name
        #[arg(value_name = "NETWORK")]
        network: String,
        /// Which sandbox
        #[command(flatten)]
        sandbox: KnownSandboxArgs,
    },
    /// Remove a network that nothing is on any more
    #[command(visible_alias = "remove")]
    Rm {
        /// The network's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Detach its endpoints and give its interfaces back first
        #[arg(short, long)]
        force: bool,
    },
    /// Change a network's settings while it is in use; sessions that may not be any more end
    #[command(
        group(clap::ArgGroup::new("changes").required(true).multiple(true).args(edge::CHANGES)),
        after_help = "\
Examples:
  pontoon network set blue --uplink none
  pontoon network set blue --icc=false --host-access=false"
    )]
    Set {
        /// The network's name
        #[arg(value_name = "NAME")]
        name: String,
        /// How long learned addresses live; 0 keeps nothing
        #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = parse_ageing)]
        ageing: Option<u32>,
        /// How it is connected
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// `pontoon network create`.
#[derive(Debug, Args)]
#[command(after_help = "\
Options are spelled as Docker spells them; those that mean something here are
  com.docker.network.bridge.enable_icc             the same as --icc
  com.docker.network.bridge.enable_ip_masquerade   false is --uplink none: what is not translated does not leave
  com.docker.network.bridge.host_binding_ipv4      the address that publications stand on which name none
  com.docker.network.bridge.name                   the name of the interface by which the host sits on the network
  com.docker.network.bridge.gateway_mode_ipv4      nat, or isolated with --internal
  com.docker.network.driver.mtu                    the same as --mtu
  com.docker.network.container_iface_prefix        what interfaces in sandboxes are called, before their number
Others are kept and shown, without effect.

Examples:
  pontoon network create blue
  pontoon network create blue --subnet 10.88.0.0/24 --ip-range 10.88.0.128/25 --aux-address nas=10.88.0.200
  pontoon network create jumbo --subnet 172.20.0.0/16 --gateway 172.20.255.254 --mtu 9000
  pontoon network create vpn --subnet 10.89.0.0/24 --uplink wg0 --host-access=false
  pontoon network create lab --subnet 10.90.0.0/24 --internal
  pontoon network create tenants --subnet 10.91.0.0/24 --icc=false")]
pub struct CreateArgs {
    /// The network's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its subnet, such as 10.88.0.0/24 [default: one of Docker's default pools that nobody uses, 172.17.0.0/16 first]
    #[arg(long, value_name = "CIDR", value_parser = parse_subnet)]
    pub subnet: Option<IpNet>,
    /// The part of the subnet that addresses are chosen from [default: all of it]
    #[arg(long, value_name = "CIDR", value_parser = parse_subnet)]
    pub ip_range: Option<IpNet>,
    /// The gateway's address [default: the subnet's first]
    #[arg(long, value_name = "IP", value_parser = parse_address)]
    pub gateway: Option<IpAddr>,
    /// An address that no endpoint gets, and the name of who has it; may be given several times
    #[arg(long = "aux-address", value_name = "NAME=IP", value_parser = parse_reserved)]
    pub aux_addresses: Vec<(String, IpAddr)>,
    /// Largest layer-3 packet in bytes [default: that of the uplink that is named, or of the default route's interface]
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse_mtu)]
    pub mtu: Option<u16>,
    /// How long learned addresses live; 0 keeps nothing [default: 300]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, value_parser = parse_ageing)]
    pub ageing: Option<u32>,
    /// How it is connected
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// An option under one of Docker's keys; may be given several times
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub options: Vec<(String, String)>,
    /// A label, for those who ask for it; may be given several times
    #[arg(long = "label", value_name = "KEY[=VALUE]", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// The driver that `network inspect` shows, without effect [default: pontoon]
    #[arg(short, long, value_name = "DRIVER")]
    pub driver: Option<String>,
    /// Shown by `network inspect`, without effect
    #[arg(long)]
    pub attachable: bool,
    /// Give the network an IPv6 subnet as well: not possible yet
    #[arg(long)]
    pub ipv6: bool,
}

/// Which sandbox: one of the three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KnownSandboxArgs {
    /// A sandbox that is on a network already: its namespace's name, pid-N, the name of an endpoint in it, or its id
    #[arg(value_name = "SANDBOX")]
    pub known: Option<String>,
    /// A named network namespace (as `ip netns` lists them), or the path of one
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: Option<String>,
    /// A process whose network namespace it is
    #[arg(long, value_name = "PID", allow_hyphen_values = true, value_parser = parse_pid)]
    pub pid: Option<u32>,
}

/// `pontoon network connect`.
#[derive(Debug, Args)]
#[command(after_help = "\
The sandbox gets one more interface: eth1, eth2 and so on. The first of its networks that is not internal
gives the default route.

Examples:
  pontoon network connect blue web
  pontoon network connect blue web --alias www --ip 10.88.0.9
  pontoon network connect blue --pid 4711 --name db")]
pub struct ConnectArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Which sandbox
    #[command(flatten)]
    pub sandbox: KnownSandboxArgs,
    /// The endpoint's name [default: the one that it has on another network, or what the sandbox is called]
    #[arg(long, value_name = "ENDPOINT")]
    pub name: Option<String>,
    /// A further name for it, in this network only; may be given several times
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// Its address [default: the next one that is free; none is given again while others are]
    #[arg(long, value_name = "IP", value_parser = parse_address)]
    pub ip: Option<IpAddr>,
    /// Its MAC [default: 02:42 and the address's four bytes]
    #[arg(long, value_name = "MAC")]
    pub mac: Option<Mac>,
    /// The interface's name inside [default: the first free one of eth0, eth1, ...]
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<String>,
}

fn parse_subnet(text: &str) -> Result<IpNet, String> {
    let wrong = || "write it in CIDR notation, such as 10.88.0.0/24".to_owned();
    text.parse().map_err(|_| wrong())
}

fn parse_ageing(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("give seconds, 0 to {}", u32::MAX))
}

fn parse_mtu(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "give bytes, 576 to 65521".to_owned())
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".to_owned())
}

/// A label without a value has an empty one, as with Docker.
fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err("write KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

fn parse_reserved(text: &str) -> Result<(String, IpAddr), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.and_then(|(name, address)| Some((name.to_owned(), address.parse().ok()?)));
    pair.ok_or_else(|| "write a name and an address, such as router=10.88.0.5".to_owned())
}
