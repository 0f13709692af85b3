//! Arguments of `pontoon trace`.

use clap::Args;

use super::parse_number;

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
