//! Arguments of `pontoon nat` and `uplink`, and how NAT runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use pontoon_dataplane::edge::config::{Limits, Timeouts};
use pontoon_dataplane::port::Offloads;

use crate::api::types::PortRange;
use crate::edge::EdgeSettings;
use crate::edge::lease::LeaseSettings;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
