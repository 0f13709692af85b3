//! pasta and slirp4netns: no switches, but ways for one sandbox to the outside, by sockets of the host.

use std::process::Command;

use crate::bench::contender::{Contender, Switch};
use crate::bench::error::BenchError;
use crate::bench::lab::{
    GATEWAY, Namespace, PREFIX_LEN, SUBNET, Site, Station, address, lead_out_by, station,
};
use crate::bench::process::{Process, directory, need};
use crate::link::Links;
use crate::netns::{self, NAMED, Netns};

// The machine outside is some microseconds away. pasta takes whoever is within 10 for local: it acknowledges what it has read from the
// sandbox before that has gone on, loses what its socket has no room for, and waits for timeouts. Nothing that can be set here, nor a
// qdisc that every kernel has, changes that: docs/performance.md, "pasta and slirp4netns".

/// What pasta sets an interface's MTU to, unless told otherwise by those who run it: inwards it loses much of its speed with less.
const MTU_OF_PASTA: &str = "65520";
/// Those who run slirp4netns use 65520. But its window, which it cannot scale, is then less than two segments, and when it has closed
/// that it never says that it is open again (libslirp 4.7, `tcp_output`): the sandbox waits 200 ms to ask, up to three times a second. With
/// segments of a quarter it is two to ten times as fast outwards, and no slower inwards.
const MTU_OF_SLIRP4NETNS: &str = "16384";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slirp {
    Pasta,
    Slirp4netns,
}

impl Contender for Slirp {
    fn name(&self) -> &'static str {
        match self {
            Slirp::Pasta => "pasta",
            Slirp::Slirp4netns => "slirp4netns",
        }
    }

    fn about(&self) -> &'static str {
        match self {
            Slirp::Pasta => {
                "pasta: one sandbox's way to the outside, with its MTU of 65520; an outside as near as the lab's it takes for \
                 local, and loses data on the way there (docs/performance.md)"
            }
            Slirp::Slirp4netns => "slirp4netns: one sandbox's way to the outside, with an MTU of 16384",
        }
    }

    fn unfit_for(&self, site: Site) -> Option<&'static str> {
        (!site.outside || site.sandboxes > 1).then_some("it leads one sandbox to the outside, and joins none")
    }

    fn lack(&self) -> Option<String> {
        let package = if *self == Slirp::Pasta { "passt" } else { self.name() };
        need(&[self.name()], package).err().map(|error| error.to_string())
    }

    fn start(&self, host: &Namespace, _: Site) -> Result<Box<dyn Switch>, BenchError> {
        Ok(Box::new(Way {
            of: *self,
            host: host.reopen()?,
            host_name: host.name().to_owned(),
            process: None,
        }))
    }
}

struct Way {
    of: Slirp,
    host: Netns,
    host_name: String,
    process: Option<Process>,
}

impl Way {
    fn command(&self, number: usize, namespace: &Namespace) -> Command {
        let target = format!("{NAMED}/{}", namespace.name());
        let mut command = Command::new(self.of.name());
        match self.of {
            Slirp::Pasta => {
                command.args(["--foreground", "--ipv4-only", "--config-net", "--runas", "0", "--netns-only"]);
                command.args(["--ns-ifname", "eth0", "--mtu", MTU_OF_PASTA, "--netns", &target]);
                command.args([
                    "--address",
                    &address(number).to_string(),
                    "--netmask",
                    &PREFIX_LEN.to_string(),
                ]);
                command.args(["--gateway", &GATEWAY.to_string()]);
                // No ports lead inside.
                command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
            }
            Slirp::Slirp4netns => {
                command.args(["--configure", "--cidr", SUBNET, "--mtu", MTU_OF_SLIRP4NETNS]);
                command.args(["--netns-type", "path", &target, "eth0"]);
            }
        }
        command
    }
}

impl Switch for Way {
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError> {
        let command = self.command(number, namespace);
        let mut process = Process::start(command, &self.host, &directory(&self.host_name)?)?;
        process.wait_until(|| is_configured(namespace.netns()))?;
        self.process = Some(process);
        station(namespace, number)
    }

    fn detach(&mut self, _: usize) -> Result<(), BenchError> {
        self.process = None;
        Ok(())
    }

    // What the sandbox sends ends here, and goes on from a socket of the host: by the machine's own congestion control, unless told.
    fn send_by(&mut self, congestion: &str) -> Result<(), BenchError> {
        lead_out_by(&self.host, congestion)
    }

    fn processes(&self) -> Vec<u32> {
        self.process.iter().map(Process::id).collect()
    }
}

/// The route comes last.
fn is_configured(sandbox: &Netns) -> bool {
    let routes = || std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
    let has_default = |table: String| table.lines().any(|line| line.split('\t').nth(1) == Some("00000000"));
    let up =
        || Links::open().and_then(|links| links.find("eth0")).is_ok_and(|it| it.is_some_and(|link| link.up));
    netns::run_in(sandbox, || has_default(routes()) && up()).unwrap_or(false)
}
