//! The daemon and the demo.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pontoon_dataplane::engine::MAX_WORKERS;
use pontoon_dataplane::port::Offloads;

use super::{DEFAULT_STATE, NatArgs};
use crate::dns::upstreams::RESOLV_CONF;

/// `pontoon demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
The demo runs in private namespaces of its own: the host is left exactly as it was, whatever happens.
As root it needs /dev/net/tun; as an ordinary user it needs user namespaces as well.

Exit status: 0 only if every check passed.")]
pub struct DemoArgs {
    /// Leave it up until Ctrl-C, and print commands to try
    #[arg(long)]
    pub keep: bool,
}

/// `pontoon daemon`.
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM ends the daemon and leaves the endpoints in place: the next start takes them up again, and
connections go on. With --ephemeral everything that the daemon made is removed when it ends.
It logs to standard error; PONTOON_LOG=debug (error, warn, info) says how much.

Examples:
  pontoon daemon
  pontoon daemon --config /etc/pontoon.toml
  pontoon --socket /tmp/p.sock daemon --state /tmp/p --ephemeral")]
pub struct DaemonArgs {
    /// Make what this TOML file declares, as `pontoon up -f FILE` does
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the state is kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// Remove every network and endpoint when the daemon ends
    #[arg(long)]
    pub ephemeral: bool,
    /// Where it is Docker's network and IPAM driver, called as the file is; `off` for nowhere [default: /run/docker/plugins/pontoon.sock
    /// for the daemon on the usual socket, off for others]
    #[arg(long, value_name = "SOCKET|off")]
    pub docker_plugin: Option<PathBuf>,
    /// Worker threads that move frames; 0 is automatic: what is sensible for the machine [default: automatic]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, allow_hyphen_values = true, value_parser = parse_workers)]
    pub workers: u16,
    /// How NAT runs
    #[command(flatten)]
    pub nat: NatArgs,
    /// The file that names the host's resolvers, followed when it changes
    #[arg(long, value_name = "FILE", default_value = RESOLV_CONF)]
    pub resolv_conf: PathBuf,
    /// The most that ports leave to the kernel; each rung below `all` is what some older kernel offers
    #[arg(long, hide = true, value_enum, default_value_t = OffloadRung::All)]
    pub offloads: OffloadRung,
}

/// The rungs that a port falls back by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OffloadRung {
    /// Everything that the kernel has.
    All,
    /// Without UDP super-frames.
    Tso,
    /// Without super-frames.
    Checksum,
    /// The virtio-net header and no work left to anyone.
    Header,
    /// Plain frames.
    None,
}

impl From<OffloadRung> for Offloads {
    fn from(rung: OffloadRung) -> Offloads {
        let reaches = |lowest: &[OffloadRung]| !lowest.contains(&rung);
        use OffloadRung::{Checksum, Header, None, Tso};
        Offloads {
            uso: reaches(&[Tso, Checksum, Header, None]),
            tso: reaches(&[Checksum, Header, None]),
            checksum: reaches(&[Header, None]),
            vnet_header: reaches(&[None]),
        }
    }
}

fn parse_workers(text: &str) -> Result<u16, String> {
    let is_allowed = |&count: &u16| usize::from(count) <= MAX_WORKERS;
    text.parse().ok().filter(is_allowed).ok_or_else(|| format!("give a number, 0 to {MAX_WORKERS}"))
}
