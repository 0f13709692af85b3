//! One sandbox that reaches a machine outside through its host's NAT: the kernel's bridge and MASQUERADE, or pontoon.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pontoon::api::types::SandboxRef;
use pontoon::daemon::{self, DaemonOptions, DockerPlugin};
use pontoon::dns::upstreams::RESOLV_CONF;
use pontoon::edge::EdgeSettings;
use pontoon::link::Links;
use pontoon::netns::{self, Netns};
use pontoon_dataplane::MacAddr;

use crate::kernel::{Kernel, Route};
use crate::lab::{LabError, Namespace, PREFIX_LEN, address};
use crate::outside::{Outside, Way};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
/// How long a daemon may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// As Docker has it on a host with one network and nothing published.
const MASQUERADE: &str = "\
*nat
-A POSTROUTING -s 10.88.0.0/24 ! -o br0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i br0 -j ACCEPT
COMMIT
";

/// The sandbox, its host, and the machine outside.
#[derive(Debug)]
pub struct NatLab {
    /// The sandbox; its address is [`address`]`(0)`.
    pub inside: Namespace,
    /// The machine outside and the host's way to it.
    pub outside: Outside,
    /// Held for its life alone.
    _host: Namespace,
}

impl NatLab {
    /// On the kernel's bridge, with the kernel's NAT.
    ///
    /// # Errors
    /// No privilege, no iptables, or a kernel without bridge, veth or netfilter.
    pub fn kernel() -> Result<NatLab, LabError> {
        let lab = NatLab::new()?;
        let (host, inside) = (&lab._host, &lab.inside);
        host.run(|| -> Result<(), LabError> {
            let (links, kernel) = (Links::open()?, Kernel::open()?);
            kernel.create_bridge("br0")?;
            links.create_veth("port0", "eth0", inside.netns())?;
            let (bridge, port) = (links.get("br0")?, links.get("port0")?);
            kernel.enslave(port.index, bridge.index)?;
            links.add_address(&bridge, GATEWAY.into(), PREFIX_LEN)?;
            links.set_up(&port, true)?;
            links.set_up(&bridge, true)?;
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            let mut restore = Command::new("iptables-restore").stdin(Stdio::piped()).spawn()?;
            if let Some(mut input) = restore.stdin.take() {
                input.write_all(MASQUERADE.as_bytes())?;
            }
            if restore.wait()?.success() { Ok(()) } else { Err("iptables-restore refused the rules".into()) }
        })??;
        inside.run(|| -> Result<(), LabError> {
            let links = Links::open()?;
            let eth0 = links.get("eth0")?;
            links.dress(&eth0, "eth0", MacAddr::from_ipv4(address(0)), 1500)?;
            links.add_address(&eth0, address(0).into(), PREFIX_LEN)?;
            links.set_up(&eth0, true)?;
            Kernel::open()?.set_route(Route::default_via(GATEWAY))
        })??;
        Ok(lab)
    }

    /// On a network of a daemon that lives for as long as the process. Its files go to `directory`.
    ///
    /// # Errors
    /// No privilege, no /dev/net/tun, or the daemon's refusal.
    pub fn pontoon(directory: PathBuf) -> Result<NatLab, LabError> {
        let lab = NatLab::new()?;
        let declaration = directory.join("up.toml");
        let text = format!(
            "[[network]]\nname = \"blue\"\nsubnet = \"10.88.0.0/24\"\n\n[[network.endpoint]]\nnetns = \"{}\"\n",
            lab.inside.name()
        );
        std::fs::write(&declaration, text)?;
        let options = DaemonOptions {
            docker_plugin: DockerPlugin::Off,
            socket: directory.join("pontoon.sock"),
            state_dir: directory.join("state"),
            config: Some(declaration),
            ephemeral: true,
            workers: 0,
            edge: EdgeSettings::default(),
            resolv_conf: RESOLV_CONF.into(),
        };
        let host = Netns::find(&SandboxRef::Netns(lab._host.name().to_owned()))?;
        std::thread::spawn(move || match netns::run_in(&host, || daemon::run(options)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("the daemon has ended: {error}"),
            Err(error) => eprintln!("the daemon has not started: {error}"),
        });
        let start = Instant::now();
        let is_up = || Ok(Links::open()?.find("eth0")?.is_some_and(|eth0| eth0.up));
        while !lab.inside.run(is_up)?.map_err(|error: LabError| error)? {
            if start.elapsed() > PATIENCE {
                return Err("the daemon does not bring its network up".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(lab)
    }

    fn new() -> Result<NatLab, LabError> {
        let host = Namespace::new("nat-host")?;
        let outside = Outside::behind(&host, Way::Direct(1500))?;
        Ok(NatLab { inside: Namespace::new("nat-inside")?, outside, _host: host })
    }
}
