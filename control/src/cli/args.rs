//! The command line, defined once: parsing, `--help`, shell completions and man pages all come from here.

mod bench;
mod daemon;
mod dns;
mod edge;
mod endpoint;
mod fdb;
mod network;
mod port;
mod run;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use bench::BenchArgs;
pub use daemon::{DaemonArgs, DemoArgs, OffloadRung};
pub use dns::DnsCommand;
pub use edge::{
    ConnectionArgs, LinkArgs, LinkCommand, NameServers, NatArgs, NatCommand, PortsArgs, PublishArgs,
    Published, RuleArgs, RuleCommand, RuleListArgs, TraceArgs, UnpublishArgs, UplinkCommand, WhichLink,
    WhoseArgs,
};
pub use endpoint::{AttachArgs, DetachArgs, Kind, SandboxArgs};
pub use fdb::FdbCommand;
pub use network::{ConnectArgs, CreateArgs, KnownSandboxArgs, NetworkCommand};
pub use port::{Flag, FlagValue, PortCommand};
pub use run::{Networks, RunArgs};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/pontoon/pontoon.sock";
/// Where the daemon keeps its state unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/pontoon";

const EXAMPLES: &str = "\
Examples:
  pontoon demo                    see it work; needs no daemon, changes nothing
  pontoon doctor                  what this machine has and lacks
  pontoon daemon &                start the daemon (as root)
  pontoon network create blue --subnet 10.88.0.0/24
  pontoon run --network blue -p 8080:80 -- python3 -m http.server 80
  pontoon attach blue --netns web
  pontoon attach blue --pid 4711 --name db --ip 10.88.0.9
  pontoon publish blue web 8080:80
  pontoon nat ls                  who talks to the outside, and how it is translated
  pontoon fdb ls                  which station is behind which port
  pontoon detach blue web
  pontoon network rm blue

Exit status: 0 when done, 1 when something failed (a line on stderr says what),
2 for a command line that makes no sense.";

/// A software bridge in userspace: container networks on a kernel that has only /dev/net/tun.
#[derive(Debug, Parser)]
#[command(name = "pontoon", version, after_help = EXAMPLES, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// The daemon's unix socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "PONTOON_SOCKET",
        default_value = DEFAULT_SOCKET,
        hide_env_values = true
    )]
    pub socket: PathBuf,

    /// Print JSON with stable field names instead of text, errors too: {"error": "..."} on stderr
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build three namespaces on one network, let them talk, and show the proof
    Demo(DemoArgs),
    /// Measure pontoon beside the kernel's bridge and whatever else this machine has
    Bench(Box<BenchArgs>),
    /// Say what this machine has and lacks, what each lack costs and what to do about it
    #[command(after_help = "\
Exit status: 0 when nothing that the daemon needs lacks for this user, warnings or not; 1 when something does.")]
    Doctor,
    /// Run the daemon in the foreground
    Daemon(DaemonArgs),
    /// Create, list, inspect, change and remove networks
    #[command(subcommand, visible_alias = "net")]
    Network(NetworkCommand),
    /// Run a command in a fresh sandbox, on networks, on none or on the host's
    Run(Box<RunArgs>),
    /// Put a network namespace on a network
    Attach(AttachArgs),
    /// Take an endpoint off its network and remove its device
    Detach(DetachArgs),
    /// Lead ports of the host to an endpoint
    Publish(PublishArgs),
    /// Take published ports back
    Unpublish(UnpublishArgs),
    /// List published ports
    Ports(PortsArgs),
    /// Say which sessions may pass a network's edge
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Let an endpoint speak to another on a network with --icc=false; list links
    Link(LinkArgs),
    /// Remove a link
    Unlink(WhichLink),
    /// List and end sessions of NAT, show how much of it is used
    #[command(subcommand)]
    Nat(NatCommand),
    /// List names, ask for one as an endpoint does, show where names can be asked for and what became of questions
    #[command(subcommand)]
    Dns(DnsCommand),
    /// Show the interfaces that networks leave the host by
    #[command(subcommand)]
    Uplink(UplinkCommand),
    /// Say what would become of a packet, decision by decision, without sending it
    Trace(TraceArgs),
    /// Put existing interfaces on a network, list ports, change what ports may do
    #[command(subcommand)]
    Port(PortCommand),
    /// List, add and remove entries of the forwarding database (which station is behind which port)
    #[command(subcommand)]
    Fdb(FdbCommand),
    /// Show what every port carried, and what was dropped and why
    Stats(StatsArgs),
    /// Print what happens in the daemon, a line each, until Ctrl-C
    Events(EventsArgs),
    /// Make everything that a file declares; running it twice changes nothing
    Up(FileArgs),
    /// Remove everything that a file declares
    Down(FileArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  pontoon completions bash > /etc/bash_completion.d/pontoon")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page for every command
    Man {
        /// Write pontoon.1, pontoon-network.1 and so on into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// How to list.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print names only, one a line
    #[arg(short, long)]
    pub quiet: bool,
}

/// `pontoon events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Print the last events and end
    #[arg(long)]
    pub no_follow: bool,
}

/// `pontoon stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
Columns of the FDB's table, counts since the daemon's start but for ENTRIES and CAPACITY:
  LEARNED  addresses learned           MOVED    addresses that moved to another port
  KEPT     moves refused, because the address is static or sticky
  REFUSED  addresses not learned for want of room
  EVICTED  addresses forgotten to make room for newer ones
  EXPIRED  addresses that aged out")]
pub struct StatsArgs {
    /// Only the ports of this network
    #[arg(value_name = "NETWORK")]
    pub network: Option<String>,
}

/// `pontoon up` and `pontoon down`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example of a file:
  [[namespace]]
  name = \"web\"
  create = true

  [[network]]
  name = \"blue\"
  subnet = \"10.88.0.0/24\"

  [[network.endpoint]]
  netns = \"web\"")]
pub struct FileArgs {
    /// The TOML file; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "write an address without a prefix length, such as 10.88.0.2".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::api::types::{PortPatch, SandboxRef};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_line_parses() {
        for line in [
            "pontoon daemon",
            "pontoon daemon --config pontoon.toml --state /tmp/state --ephemeral --workers 2",
            "pontoon --socket /tmp/p.sock daemon",
            "pontoon daemon --socket /tmp/p.sock",
            "pontoon network create blue --subnet 10.88.0.0/24",
            "pontoon network create blue --subnet 10.88.0.0/24 --gateway 10.88.0.254 --mtu 9000",
            "pontoon network create blue",
            "pontoon network create blue -d pontoon --attachable --label a=b --label c -o com.docker.network.driver.mtu=1400",
            "pontoon network create blue --subnet 10.88.0.0/24 --ip-range 10.88.0.128/25 --aux-address router=10.88.0.5",
            "pontoon network create blue --ipv6",
            "pontoon network ls",
            "pontoon network ls -q",
            "pontoon network ls --json",
            "pontoon network show blue",
            "pontoon network inspect blue red",
            "pontoon network connect blue web --alias www --ip 10.88.0.9 --ifname net7 --name w",
            "pontoon network connect blue --netns web --mac 02:42:0a:58:00:09",
            "pontoon network connect blue --pid 12",
            "pontoon network disconnect blue web",
            "pontoon network disconnect blue --pid 12",
            "pontoon network rm blue",
            "pontoon network rm blue --force",
            "pontoon network set blue --ageing 30",
            "pontoon network create blue --subnet 10.88.0.0/24 --host-access --uplink eth0 --icc=false",
            "pontoon network create blue --subnet 10.88.0.0/24 --internal",
            "pontoon network set blue --host-access=false --uplink none --internal=true --icc --snat-ip 192.0.2.7",
            "pontoon network set blue --nat-mapping endpoint-independent --snat-ip auto",
            "pontoon publish blue web 8080:80",
            "pontoon publish blue web 127.0.0.1:8080-8090:80-90/udp --allow 192.0.2.0/24 --allow 198.51.100.7",
            "pontoon unpublish blue web 8080:80/tcp",
            "pontoon unpublish blue web 7",
            "pontoon ports",
            "pontoon ports blue --json",
            "pontoon rule add blue allow",
            "pontoon rule add blue deny --from 10.0.0.0/8 --to 192.0.2.7 --proto tcp --port 80-90 --at 2",
            "pontoon rule add blue deny --from 192.0.2.66 --at 1 --publication 8080:80",
            "pontoon rule ls blue",
            "pontoon rule ls blue --publication 3",
            "pontoon rule rm blue 2",
            "pontoon rule rm blue 2 --publication 127.0.0.1:8080:80/tcp",
            "pontoon rule flush blue",
            "pontoon link blue a b",
            "pontoon link blue a b:53/udp",
            "pontoon link ls",
            "pontoon link ls blue",
            "pontoon unlink blue a b:53/udp",
            "pontoon nat ls --network blue --json",
            "pontoon nat ls --endpoint blue/web",
            "pontoon nat flush",
            "pontoon nat flush --endpoint blue/web",
            "pontoon nat stats",
            "pontoon uplink ls",
            "pontoon trace blue --from web packet",
            "pontoon trace blue --from host --pcap seen.pcap --frame 3",
            "pontoon daemon --nat-ports 20000-29999 --nat-sessions 1000000 --nat-sessions-per-endpoint 9",
            "pontoon daemon --nat-timeouts udp=30,icmp=5 --nat-timeouts tcp-established=60",
            "pontoon run -- true",
            "pontoon run --network blue bash",
            "pontoon run --name w --network blue --network name=red,ip=10.1.0.9 -p 8080:80 -p 127.0.0.1:53:53/udp -- sh -c true",
            "pontoon run --net none --hostname h --dns 192.0.2.1,192.0.2.2 --dns 192.0.2.3 -- true",
            "pontoon run --link db:5432 --link a --network-alias www --mac-address 02:00:00:00:00:09 -- true",
            "pontoon attach blue --netns web",
            "pontoon attach blue --netns /run/netns/web --name w --ifname net0",
            "pontoon attach blue --netns web --alias www --alias w3",
            "pontoon attach blue --pid 12 --ip 10.88.0.9 --mac 02:42:0a:58:00:09 --kind veth --isolated",
            "pontoon detach blue web",
            "pontoon port add blue --interface eth1",
            "pontoon port rm blue --interface eth1",
            "pontoon port rm blue/eth1",
            "pontoon port ls --quiet",
            "pontoon port set blue/web learning off",
            "pontoon port set blue/web flood on",
            "pontoon port set blue/web isolated on",
            "pontoon port set blue/web hairpin on",
            "pontoon port set blue/web guard off",
            "pontoon port set blue/web broadcast-limit 500",
            "pontoon port set blue/web multicast-limit off",
            "pontoon port set blue/web unknown-limit 0",
            "pontoon port set blue/web loop-guard off",
            "pontoon fdb ls",
            "pontoon fdb ls blue -q",
            "pontoon fdb add blue 02:42:0a:58:00:09 blue/web",
            "pontoon fdb rm blue 02:42:0a:58:00:09",
            "pontoon fdb flush blue --port web",
            "pontoon stats --json",
            "pontoon events",
            "pontoon events --no-follow",
            "pontoon up -f net.toml",
            "pontoon down -f net.toml",
            "pontoon doctor",
            "pontoon demo",
            "pontoon demo --json --keep",
            "pontoon bench",
            "pontoon bench --quick --json --save new.json",
            "pontoon bench --scenario tcp rr --scenario udp-64 --against bridge --rounds 9 --seconds 0.5",
            "pontoon bench --list",
            "pontoon bench --html new.html --compare old.json",
            "pontoon bench --compare old.json new.json",
            "pontoon completions zsh",
            "pontoon man --out man",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn nonsense_is_a_usage_error_with_status_2() {
        for line in [
            "pontoon",
            "pontoon network",
            "pontoon network inspect",
            "pontoon network connect blue",
            "pontoon network connect blue web --pid 3",
            "pontoon network disconnect blue web --netns web",
            "pontoon network create",
            "pontoon network create blue --opt mtu",
            "pontoon network create blue --label =x",
            "pontoon network create blue --aux-address 10.88.0.5",
            "pontoon network create blue --aux-address router=10.88.0.0/24",
            "pontoon network create blue --ip-range 10.88.0.128",
            "pontoon network create blue --subnet 10.88.0.0/33",
            "pontoon network create blue --subnet 10.88.0.0/24 --gateway 10.88.0.1/24",
            "pontoon network create blue --subnet 10.88.0.0/24 --mtu 70000",
            "pontoon network set blue",
            "pontoon run",
            "pontoon run --network blue",
            "pontoon run --publish 80: -- true",
            "pontoon run --network name=blue,speed=9 -- true",
            "pontoon run --network ip=10.1.0.9 -- true",
            "pontoon run --dns host -- true",
            "pontoon run --link db:x -- true",
            "pontoon attach blue",
            "pontoon attach blue --netns web --pid 3",
            "pontoon attach blue --pid 0",
            "pontoon attach blue --netns web --mac 02-42-0a-58-00-09",
            "pontoon attach blue --netns web --kind bridge",
            "pontoon port add blue",
            "pontoon port set blue/web speed on",
            "pontoon port set blue/web flood yes",
            "pontoon fdb add blue nonsense web",
            "pontoon up",
            "pontoon daemon --workers 1000",
            "pontoon daemon --workers -1",
            "pontoon attach blue --pid -1",
            "pontoon network set blue --ageing -1",
            "pontoon frobnicate",
            "pontoon bench --rounds 0",
            "pontoon bench --compare a.json b.json c.json",
            "pontoon bench --seconds -1",
            "pontoon bench --seconds NaN",
            "pontoon network set blue --host-access=perhaps",
            "pontoon network set blue --snat-ip eth0",
            "pontoon network set blue --nat-mapping symmetric",
            "pontoon network create blue --subnet 10.88.0.0/24 --uplink a/b",
            "pontoon publish blue web",
            "pontoon publish blue web :",
            "pontoon publish blue web 0:80",
            "pontoon publish blue web -1:80",
            "pontoon publish blue web [::1]:80:80",
            "pontoon publish blue web 80:80 --allow everybody",
            "pontoon rule add blue",
            "pontoon rule add blue perhaps",
            "pontoon rule add blue deny --proto sctp",
            "pontoon rule add blue deny --port 0",
            "pontoon rule add blue deny --at 0",
            "pontoon rule rm blue -1",
            "pontoon link",
            "pontoon link blue a",
            "pontoon link blue a b:x",
            "pontoon unlink blue a",
            "pontoon nat",
            "pontoon trace blue packet",
            "pontoon trace blue --from web",
            "pontoon trace blue --from web packet --pcap seen.pcap",
            "pontoon trace blue --from web --pcap seen.pcap --frame 0",
            "pontoon daemon --nat-ports 80-70",
            "pontoon daemon --nat-sessions 0",
            "pontoon daemon --nat-timeouts udp",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn flags_patch_only_themselves() {
        let patch = Flag::Guard.patch(FlagValue::Off).unwrap();
        assert_eq!(patch, PortPatch { guard: Some(false), ..PortPatch::default() });
        let patch = Flag::Flood.patch(FlagValue::On).unwrap();
        assert_eq!(patch, PortPatch { flood: Some(true), ..PortPatch::default() });
    }

    #[test]
    fn a_sandbox_is_a_namespace_or_a_process() {
        let sandbox = |line: &str| match parse(line).unwrap().command {
            Command::Attach(attach) => attach.sandbox.reference(),
            other => panic!("{other:?}"),
        };
        assert_eq!(sandbox("pontoon attach n --netns web"), Some(SandboxRef::Netns("web".into())));
        assert_eq!(sandbox("pontoon attach n --pid 7"), Some(SandboxRef::Pid(7)));
    }
}
