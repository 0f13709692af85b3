//! The kernel's bridge, with a veth pair for each sandbox.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::bench::contender::{Contender, Switch, veth};
use crate::bench::error::{BenchError, cannot};
use crate::bench::lab::{GATEWAY, Namespace, PREFIX_LEN, Site, Station, dress, set_forwarding};
use crate::bench::process::need;
use crate::link::Links;
use crate::netns::{Netns, run_in};

/// What netfilter has to do with frames on the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// br_netfilter is on, with rules modelled on Docker's.
    Docker,
    /// br_netfilter is on.
    Hooks,
    /// br_netfilter is off.
    Off,
}

/// Modelled on what Docker leaves on a host with one network and nothing published; written by hand, not recorded from an Engine.
const DOCKER_RULES: &str = "\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.88.0.0/16 ! -o br0 -j MASQUERADE
-A DOCKER -i br0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i br0 -o br0 -j DROP
-A DOCKER-CT -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -i br0 -o br0 -j ACCEPT
-A DOCKER-FORWARD -o br0 -j DOCKER
-A DOCKER-FORWARD -i br0 -j ACCEPT
COMMIT
";

/// The least that NAT takes.
const NAT_RULE: &str = "\
*nat
-A POSTROUTING -s 10.88.0.0/16 ! -o br0 -j MASQUERADE
COMMIT
";

const SWITCH: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// The bridge as a contender.
#[derive(Debug)]
pub(super) struct Bridge {
    pub name: &'static str,
    pub about: &'static str,
    pub filter: Filter,
}

impl Contender for Bridge {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn start(&self, host: &Namespace, site: Site) -> Result<Box<dyn Switch>, BenchError> {
        host.run(|| -> Result<(), BenchError> {
            let links = Links::open()?;
            links.create_bridge("br0")?;
            let bridge = links.get("br0")?;
            links.add_address(&bridge, GATEWAY.into(), PREFIX_LEN)?;
            links.set_up(&bridge, true)?;
            self.filter.apply(site.outside)
        })?;
        Ok(Box::new(Joined { host: host.reopen()? }))
    }
}

impl Filter {
    /// Sets the calling thread's network namespace up.
    fn apply(self, outside: bool) -> Result<(), BenchError> {
        let value = if self == Filter::Off { "0" } else { "1" };
        match std::fs::write(SWITCH, value) {
            Ok(()) => {}
            // Without br_netfilter there is no such file, and no filter.
            Err(_) if self == Filter::Off && !std::path::Path::new(SWITCH).exists() => {}
            Err(_) if !std::path::Path::new(SWITCH).exists() => {
                return Err(BenchError::sentence(
                    "this kernel has no br_netfilter loaded; `modprobe br_netfilter` loads it where there is one",
                ));
            }
            Err(error) => return Err(cannot(format!("set {SWITCH}"))(error)),
        }
        set_forwarding(outside)?;
        match self {
            Filter::Docker => load(DOCKER_RULES),
            Filter::Hooks | Filter::Off if outside => load(NAT_RULE),
            Filter::Hooks | Filter::Off => Ok(()),
        }
    }
}

/// Loads rules into the calling thread's namespace.
fn load(rules: &str) -> Result<(), BenchError> {
    const PROGRAM: &str = "iptables-restore";
    need(&[PROGRAM], "iptables")?;
    let mut command = Command::new(PROGRAM);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot(format!("start {PROGRAM}")))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).map_err(cannot(format!("write to {PROGRAM}")))?;
    }
    let output = child.wait_with_output().map_err(cannot(format!("wait for {PROGRAM}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it did not say why");
    Err(BenchError::Sentence(format!("iptables-restore refused the rules: {said}")))
}

struct Joined {
    host: Netns,
}

impl Switch for Joined {
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError> {
        let port = veth::create(&self.host, number, namespace)?;
        run_in(&self.host, || -> Result<(), BenchError> {
            let links = Links::open()?;
            Ok(links.enslave(&links.get(&port)?, &links.get("br0")?)?)
        })??;
        dress(namespace, "eth0", number)
    }

    fn detach(&mut self, number: usize) -> Result<(), BenchError> {
        veth::delete(&self.host, number)
    }
}
