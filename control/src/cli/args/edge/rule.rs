//! Arguments of `pontoon rule`.

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::{Published, parse_net, parse_number};
use crate::api::types::{PortRange, Protocol, RuleAction, RuleBody};

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
