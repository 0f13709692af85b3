//! Arguments of the commands about the edge: connection, publishing, rules, links, sessions.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use pontoon_dataplane::edge::config::{Limits, Timeouts};
use pontoon_dataplane::port::Offloads;

use crate::api::types::{
    LinkBody, NatMapping, NetworkPatch, PortRange, Protocol, Publication, PublishedPorts, RuleAction,
    RuleBody, SnatIp, Uplink, WantedPorts,
};
use crate::edge::EdgeSettings;
use crate::edge::lease::LeaseSettings;

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

/// `pontoon rule`.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Add a rule
    #[command(after_help = "\
A rule is about new sessions that pass the edge: to and from the outside, to the host, to
published ports. The first one that matches decides; what none matches is allowed. Destinations
are those before NAT translates them. Frames between endpoints of one network are never held
against rules.
A published port has a list of its own, which is asked behind the network's; what `publish --allow`
makes is such a list. Clients on the host itself pass both.

Examples:
  pontoon rule add blue deny --to 169.254.169.254
  pontoon rule add blue allow --proto tcp --port 443
  pontoon rule add blue deny --from 10.88.0.7 --at 1
  pontoon rule add blue deny --from 192.0.2.66 --at 1 --publication 8080:80")]
    Add(RuleArgs),
    /// List rules in order, with how many sessions each one decided
    #[command(visible_alias = "list")]
    Ls {
        /// Which list: without --publication the network's, and behind it those of its publications
        #[command(flatten)]
        list: RuleListArgs,
    },
    /// Remove a rule; those behind it move up
    #[command(visible_alias = "remove")]
    Rm {
        /// Which list
        #[command(flatten)]
        list: RuleListArgs,
        /// The rule's number, as `rule ls` shows it
        #[arg(value_name = "NUMBER", allow_hyphen_values = true, value_parser = parse_number)]
        number: u32,
    },
    /// Remove all rules of a network, or of a publication
    Flush {
        /// Which list
        #[command(flatten)]
        list: RuleListArgs,
    },
}

/// A list of rules.
#[derive(Debug, Args)]
pub struct RuleListArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The list of what it publishes: its number or its ports, as `pontoon ports` shows both
    #[arg(long, value_name = "ID|PORTS", allow_hyphen_values = true)]
    pub publication: Option<Published>,
}

/// `pontoon rule add`.
#[derive(Debug, Args)]
pub struct RuleArgs {
    /// Which list
    #[command(flatten)]
    pub list: RuleListArgs,
    /// What the rule does
    #[arg(value_name = "allow|deny", value_enum)]
    pub action: ActionArg,
    /// Sessions that come from here [default: anywhere]
    #[arg(long, value_name = "CIDR", value_parser = parse_net)]
    pub from: Option<IpNet>,
    /// Sessions that go there [default: anywhere]
    #[arg(long, value_name = "CIDR", value_parser = parse_net)]
    pub to: Option<IpNet>,
    /// Sessions of this protocol [default: any]
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub proto: Option<ProtocolArg>,
    /// Sessions to this port, or these, of TCP and UDP [default: any]
    #[arg(long, value_name = "N[-M]", allow_hyphen_values = true)]
    pub port: Option<PortRange>,
    /// The number that the rule gets; that one and those behind it move down [default: behind all]
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = parse_number)]
    pub at: Option<u32>,
}

impl RuleArgs {
    /// What the rule says.
    pub fn body(&self) -> RuleBody {
        RuleBody {
            action: match self.action {
                ActionArg::Allow => RuleAction::Allow,
                ActionArg::Deny => RuleAction::Deny,
            },
            from: self.from,
            to: self.to,
            protocol: self.proto.map(Into::into),
            port: self.port,
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActionArg {
    /// The session may be opened
    Allow,
    /// It may not
    Deny,
}

/// What the edge keeps sessions of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// ICMP echo
    Icmp,
}

impl From<ProtocolArg> for Protocol {
    fn from(protocol: ProtocolArg) -> Protocol {
        match protocol {
            ProtocolArg::Tcp => Protocol::Tcp,
            ProtocolArg::Udp => Protocol::Udp,
            ProtocolArg::Icmp => Protocol::Icmp,
        }
    }
}

/// `pontoon link`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
On a network with --icc=false endpoints and existing interfaces talk only to the gateway's side. A
link lets the endpoint A begin with B, and B answer; B may begin nothing. Interfaces cannot be
linked, for there may be anybody behind them.

Examples:
  pontoon link blue web db:5432
  pontoon link blue web dns:53/udp
  pontoon link blue admin web
  pontoon link ls"
)]
pub struct LinkArgs {
    /// List links instead
    #[command(subcommand)]
    pub command: Option<LinkCommand>,
    /// Which link
    #[command(flatten)]
    pub link: Option<WhichLink>,
}

/// What else `pontoon link` does.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// List links
    #[command(visible_alias = "list")]
    Ls {
        /// Only the links of this network
        #[arg(value_name = "NETWORK")]
        network: Option<String>,
    },
}

/// A link: for `pontoon link` and `pontoon unlink`.
#[derive(Debug, Args)]
pub struct WhichLink {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The endpoint that may begin
    #[arg(value_name = "A")]
    pub from: String,
    /// The endpoint that may be spoken to, and what of it: everything when no port is given
    #[arg(value_name = "B[:PORT[/tcp|udp]]", value_parser = parse_target)]
    pub to: Target,
}

impl WhichLink {
    /// The link as the API names it.
    pub fn body(&self) -> LinkBody {
        let Target { endpoint, service } = self.to.clone();
        let (port, protocol) = service.unzip();
        LinkBody { from: self.from.clone(), to: endpoint, port, protocol }
    }
}

/// Whom a link is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The endpoint.
    pub endpoint: String,
    /// What of it; none: everything.
    pub service: Option<(u16, Protocol)>,
}

/// `pontoon nat`.
#[derive(Debug, Subcommand)]
pub enum NatCommand {
    /// List sessions
    #[command(
        visible_alias = "list",
        after_help = "\
ORIGINAL is how the packets of whoever began look on his side of the edge, REPLY how the answers
look on the other side: the difference is what NAT translates."
    )]
    Ls {
        /// Whose sessions
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// End sessions: all, or those of a network or an endpoint
    Flush {
        /// Whose sessions
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show how much of NAT is used, and by whom
    Stats,
}

/// Whose sessions.
#[derive(Debug, Clone, Default, Args)]
pub struct WhoseArgs {
    /// Only sessions of this network's endpoints and existing interfaces
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Only sessions of this endpoint or existing interface
    #[arg(long, value_name = "NETWORK/ENDPOINT")]
    pub endpoint: Option<String>,
}

/// `pontoon uplink`.
#[derive(Debug, Subcommand)]
pub enum UplinkCommand {
    /// List the interfaces that networks leave the host by
    #[command(visible_alias = "list")]
    Ls {
        /// Print names only, one a line
        #[arg(short, long)]
        quiet: bool,
    },
}

/// `pontoon trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is sent, and nothing is left of it: no session, no counter. The exit status says whether
it could be followed, not what became of it. Where the packet would have to wait (for the kernel's
route, a next hop's answer to ARP, a port of the host), that is said, and what follows is as if the
answer had come.

A packet in words goes to the MAC that its sender's kernel would send it to: on the link to the
endpoint, or the station that ARP tables have, elsewhere to the gateway. A frame of a capture that
is larger than the MTU is taken for a super-frame, as tcpdump shows them on an interface with TSO:
its segments are assumed as large as the MTU allows, and as SYNs in the capture say.

A packet in words:
  tcp 10.88.0.2:1234 > 192.0.2.7:80 flags=syn,ack ttl=3 len=100 df
  udp 10.88.0.2:1234 > 192.0.2.7:53
  icmp 10.88.0.2 > 192.0.2.7 id 7 seq 1
  arp who-has 10.88.0.1 tell 10.88.0.2

Examples:
  pontoon trace blue --from web 'tcp 10.88.0.2:1234 > 192.0.2.7:80'
  pontoon trace blue --from uplink:eth0 'tcp 192.0.2.7:40000 > 192.0.2.1:8080'
  pontoon trace blue --from host 'icmp 10.88.0.1 > 10.88.0.2'
  pontoon trace blue --from web --pcap seen.pcap --frame 3")]
pub struct TraceArgs {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Where it comes in
    #[arg(long, value_name = "ENDPOINT|host|uplink:IFACE")]
    pub from: String,
    /// The packet, in words
    #[arg(value_name = "PACKET", required_unless_present = "pcap")]
    pub packet: Option<String>,
    /// Take a frame of this capture instead (Ethernet; pcap or pcapng)
    #[arg(long, value_name = "FILE", conflicts_with = "packet")]
    pub pcap: Option<std::path::PathBuf>,
    /// Which one, from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pcap", allow_hyphen_values = true, value_parser = parse_number)]
    pub frame: u32,
}

/// How NAT runs: options of `pontoon daemon`.
#[derive(Debug, Clone, Args)]
pub struct NatArgs {
    /// Ports of the host that NAT uses [default: beside those that the kernel gives to its own sockets]
    #[arg(long, value_name = "FIRST-LAST", allow_hyphen_values = true)]
    pub nat_ports: Option<PortRange>,
    /// The most sessions of NAT in all
    #[arg(long, value_name = "N", default_value_t = Limits::default().sessions, allow_hyphen_values = true, value_parser = parse_sessions)]
    pub nat_sessions: u32,
    /// The most sessions of one endpoint
    #[arg(long, value_name = "N", default_value_t = Limits::default().sessions_per_endpoint, allow_hyphen_values = true, value_parser = parse_sessions)]
    pub nat_sessions_per_endpoint: u32,
    /// How long silent sessions live, in seconds; of tcp-established [7440], tcp-half-open [240], tcp-closed [240],
    /// udp [300], icmp [60] and port-reuse [120], as in udp=60,icmp=30; udp is 30 at most once a name server (port 53) has answered
    #[arg(long, value_name = "WHAT=SECONDS,...", value_delimiter = ',', value_parser = parse_timeout)]
    pub nat_timeouts: Vec<Timeout>,
}

/// One of the times.
#[derive(Debug, Clone, Copy)]
pub struct Timeout {
    which: fn(&mut Timeouts) -> &mut Duration,
    length: Duration,
}

impl NatArgs {
    /// The edge's settings.
    pub fn settings(&self, offloads: Offloads) -> EdgeSettings {
        let mut timeouts = Timeouts::default();
        for timeout in &self.nat_timeouts {
            *(timeout.which)(&mut timeouts) = timeout.length;
        }
        let (sessions, sessions_per_endpoint) = (self.nat_sessions, self.nat_sessions_per_endpoint);
        EdgeSettings {
            leases: LeaseSettings {
                pool: self.nat_ports.map(|ports| (ports.first, ports.last)),
                ..LeaseSettings::default()
            },
            timeouts,
            limits: Limits { sessions, sessions_per_endpoint: sessions_per_endpoint.min(sessions) },
            offloads,
        }
    }
}

/// The most sessions that may be asked for: what fits 32 GB.
const MAX_SESSIONS: u32 = 1 << 27;

fn parse_sessions(text: &str) -> Result<u32, String> {
    let sessions = text.parse().ok().filter(|n| (1..=MAX_SESSIONS).contains(n));
    sessions.ok_or_else(|| format!("give a number, 1 to {MAX_SESSIONS}"))
}

fn parse_timeout(text: &str) -> Result<Timeout, String> {
    const FORM: &str =
        "write WHAT=SECONDS; WHAT is tcp-established, tcp-half-open, tcp-closed, udp, icmp or port-reuse";
    let (name, seconds) = text.split_once('=').ok_or(FORM)?;
    let which: fn(&mut Timeouts) -> &mut Duration = match name {
        "tcp-established" => |it| &mut it.tcp_established,
        "tcp-half-open" => |it| &mut it.tcp_half_open,
        "tcp-closed" => |it| &mut it.tcp_closed,
        "udp" => |it| &mut it.udp,
        "icmp" => |it| &mut it.icmp,
        "port-reuse" => |it| &mut it.port_reuse,
        _ => return Err(FORM.to_owned()),
    };
    let seconds = seconds.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    let length = Duration::from_secs(seconds.ok_or_else(|| format!("give seconds, 1 to {MAX_SECONDS}"))?);
    Ok(Timeout { which, length })
}

/// The longest timeout: 30 days.
const MAX_SECONDS: u64 = 30 * 24 * 3600;

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

pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    let Some((endpoint, service)) = text.split_once(':') else {
        return Ok(Target { endpoint: text.to_owned(), service: None });
    };
    let (port, protocol) = match service.split_once('/') {
        None | Some((_, "tcp")) => (service.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((port, "udp")) => (port, Protocol::Udp),
        Some((_, other)) => return Err(format!("\"{other}\" is no protocol of ports; write /tcp or /udp")),
    };
    let ports: PortRange = port.parse().map_err(|error: crate::api::types::PortsError| error.to_string())?;
    if ports.len() > 1 {
        return Err("a link is to one port; make one for each".to_owned());
    }
    Ok(Target { endpoint: endpoint.to_owned(), service: Some((ports.first, protocol)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target = |text: &str| parse_target(text).map(|it| (it.endpoint, it.service));
        assert_eq!(target("db"), Ok(("db".into(), None)));
        assert_eq!(target("db:5432"), Ok(("db".into(), Some((5432, Protocol::Tcp)))));
        assert_eq!(target("db:5432/tcp"), Ok(("db".into(), Some((5432, Protocol::Tcp)))));
        assert_eq!(target("db:53/udp"), Ok(("db".into(), Some((53, Protocol::Udp)))));
        for (bad, words) in [
            ("db:", "\"\" is no port"),
            ("db:0", "\"0\" is no port"),
            ("db:1-2", "one port"),
            ("db:1/icmp", "\"icmp\" is no protocol"),
            ("db:1/", "\"\" is no protocol"),
        ] {
            assert!(target(bad).unwrap_err().contains(words), "{bad}");
        }
    }

    #[test]
    fn timeouts_change_only_what_they_name() {
        let timeout = parse_timeout("udp=60").unwrap();
        let mut timeouts = Timeouts::default();
        *(timeout.which)(&mut timeouts) = timeout.length;
        assert_eq!(timeouts, Timeouts { udp: Duration::from_secs(60), ..Timeouts::default() });
        for bad in ["udp", "udp=", "udp=0", "udp=-1", "sctp=5", "udp=99999999"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_subnet_of_one() {
        assert_eq!(parse_net("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        assert_eq!(parse_net("192.0.2.0/24").unwrap().to_string(), "192.0.2.0/24");
        assert!(parse_net("everybody").is_err());
    }
}
