//! Endpoints.

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use super::{NameServers, parse_address};
use crate::api::types::{DeviceKind, Mac, SandboxRef};

/// Which sandbox: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SandboxArgs {
    /// A named network namespace (as `ip netns` lists them), or the path of one
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: Option<String>,
    /// A process whose network namespace it is
    #[arg(long, value_name = "PID", allow_hyphen_values = true, value_parser = parse_pid)]
    pub pid: Option<u32>,
}

impl SandboxArgs {
    /// The sandbox as the API names it; clap has seen to it that there is one.
    pub fn reference(self) -> Option<SandboxRef> {
        self.netns.map(SandboxRef::Netns).or(self.pid.map(SandboxRef::Pid))
    }
}

/// `pontoon attach`.
#[derive(Debug, Args)]
#[command(after_help = "\
The device is made, put into the namespace, named, given its addresses and a default route via the
gateway, and brought up, `lo` as well.

Examples:
  pontoon attach blue --netns web
  pontoon attach blue --netns /proc/4711/ns/net --name db --ifname net0 --ip 10.88.0.9
  pontoon attach blue --pid 4711 --mac 02:42:0a:58:00:63 --kind veth --isolated")]
pub struct AttachArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Which sandbox
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// The endpoint's name [default: the namespace's name, or pid-PID]
    #[arg(long, value_name = "ENDPOINT")]
    pub name: Option<String>,
    /// The interface's name inside the namespace [default: the first free one of eth0, eth1, ...]
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<String>,
    /// Its address [default: the next one that is free; none is given again while others are]
    #[arg(long, value_name = "IP", value_parser = parse_address)]
    pub ip: Option<IpAddr>,
    /// Its MAC [default: 02:42 and the address's four bytes]
    #[arg(long, value_name = "MAC")]
    pub mac: Option<Mac>,
    /// A further name for it, in this network only; may be given several times
    #[arg(long = "alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// The kind of device
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    pub kind: Kind,
    /// Let no frame pass between this endpoint and other isolated ones
    #[arg(long)]
    pub isolated: bool,
    /// Serve names at 127.0.0.11 in the namespace too, as in those that pontoon makes: a program in it that wants port 53 of all
    /// addresses will not get it
    #[arg(long)]
    pub resolver: bool,
    /// Whom to ask for names of the outside instead of the network's resolvers; may be repeated
    #[arg(long, value_name = "IP,...")]
    pub dns: Vec<NameServers>,
}

/// The kind of an endpoint's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Kind {
    /// A TAP device; needs nothing but /dev/net/tun
    #[default]
    Tap,
    /// A veth pair; needs the kernel's veth
    Veth,
}

impl From<Kind> for DeviceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Tap => DeviceKind::Tap,
            Kind::Veth => DeviceKind::Veth,
        }
    }
}

/// `pontoon detach`.
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The endpoint's name
    #[arg(value_name = "ENDPOINT")]
    pub endpoint: String,
}

pub(super) fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| "give a process's number, from 1 on".to_owned())
}
