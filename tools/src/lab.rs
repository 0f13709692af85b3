//! Labs: private network namespaces, joined by pontoon's engine.
//!
//! Everything here lives in namespaces that the lab makes and that vanish with it; the machine's own network is not touched.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pontoon::api::types::SandboxRef;
use pontoon::link::Links;
use pontoon::netns::{self, Netns};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::config::NetworkEdge;
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Gateway, NetworkId, Place, PortId, PortSettings};
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads};

use crate::kernel::Kernel;

/// Whatever went wrong while a lab was built.
pub type LabError = Box<dyn std::error::Error + Send + Sync>;

/// A named network namespace that is deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    netns: Netns,
}

impl Namespace {
    /// Makes one whose name starts with `prefix` and is unique on this machine.
    ///
    /// # Errors
    /// No privilege to make namespaces.
    pub fn new(prefix: &str) -> Result<Namespace, LabError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        netns::create(&name)?;
        let netns = Netns::find(&SandboxRef::Netns(name.clone()))?;
        Ok(Namespace { name, netns })
    }

    /// Its name below /run/netns.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        Ok(netns::run_in(&self.netns, work)?)
    }

    /// The open namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = netns::delete(&self.name);
    }
}

/// The address of the lab's endpoint number `number`, from 0.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, number + 2)
}

/// How long the prefix of every lab's subnet is.
pub const PREFIX_LEN: u8 = 24;

/// The IPv6 address of the lab's endpoint number `number`, from 0.
pub fn address6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, u16::from(number) + 2)
}

/// How long the prefix of every lab's IPv6 subnet is.
pub const PREFIX_LEN6: u8 = 64;

/// Two or more sandboxes on one network, and the engine that joins them.
#[derive(Debug)]
pub struct Lab {
    /// The sandboxes; number n has the address [`address`]`(n)` on its eth0.
    pub sandboxes: Vec<Namespace>,
    wired: Wired,
}

/// An engine that joins sandboxes.
#[derive(Debug)]
pub struct Wired {
    /// The engine.
    pub engine: Engine,
    /// The one network.
    pub network: NetworkId,
    /// The ports, one for each sandbox, in their order.
    pub ports: Vec<PortId>,
    /// Where the host ends of veth pairs are.
    _host: Namespace,
}

/// How a sandbox hangs on the engine, and what is left to its device at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A TAP is its eth0.
    Tap(Offloads),
    /// A veth is its eth0, whose other end is a packet port.
    Veth(Offloads),
}

impl Lab {
    /// A sandbox for each of `wires`, on one network of an engine of our own.
    ///
    /// # Errors
    /// No privilege, no /dev/net/tun, or a kernel without veth.
    pub fn wired(wires: &[Wire], config: EngineConfig, mtu: u16) -> Result<Lab, LabError> {
        let engine = Engine::start(config)?;
        let gateway_address = Ipv4Addr::new(10, 88, 0, 1);
        let network = engine.add_network(NetworkSpec {
            gateway: Some(Gateway {
                mac: MacAddr::from_ipv4(gateway_address),
                address: gateway_address,
                prefix_len: PREFIX_LEN,
            }),
            mtu,
            ageing: Duration::from_secs(300),
            edge: NetworkEdge::default(),
        })?;
        let host = Namespace::new("lab-host")?;
        let sandboxes = sandboxes(u8::try_from(wires.len())?)?;
        let mut ports = Vec::new();
        for (number, (sandbox, wire)) in sandboxes.iter().zip(wires).enumerate() {
            let device = match *wire {
                Wire::Tap(offloads) => Device::Tap(sandbox.run(|| Tap::open("eth0", offloads))??),
                Wire::Veth(offloads) => {
                    host.run(|| open_veth(&format!("port{number}"), sandbox, offloads, mtu))??
                }
            };
            let spec = PortSpec {
                place: Place::Member(network),
                settings: PortSettings::default(),
                identity: None,
                mtu,
            };
            ports.push(engine.add_port(spec, device)?);
        }
        let wired = Wired { engine, network, ports, _host: host };
        let lab = Lab { sandboxes, wired };
        lab.configure(mtu)?;
        Ok(lab)
    }

    /// The engine that joins the sandboxes.
    pub fn engine(&self) -> &Wired {
        &self.wired
    }

    fn configure(&self, mtu: u16) -> Result<(), LabError> {
        for (number, sandbox) in self.sandboxes.iter().enumerate() {
            let own = address(u8::try_from(number)?);
            sandbox.run(|| -> Result<(), LabError> {
                let links = Links::open()?;
                let eth0 = links.get("eth0")?;
                links.dress(&eth0, "eth0", MacAddr::from_ipv4(own), mtu)?;
                links.add_address(&eth0, own.into(), PREFIX_LEN)?;
                // A kernel without IPv6 has no such directory.
                if Path::new("/proc/sys/net/ipv6").exists() {
                    let address = address6(u8::try_from(number)?);
                    Kernel::open()?.add_address_at_once(eth0.index, address, PREFIX_LEN6)?;
                }
                links.set_up(&eth0, true)?;
                links.set_up(&links.get("lo")?, true)?;
                Ok(())
            })??;
        }
        Ok(())
    }
}

/// A veth pair with one end in the calling thread's namespace, and a packet port on it.
fn open_veth(host_end: &str, sandbox: &Namespace, offloads: Offloads, mtu: u16) -> Result<Device, LabError> {
    let links = Links::open()?;
    links.create_veth(host_end, "eth0", sandbox.netns())?;
    let link = links.get(host_end)?;
    links.set_mtu(&link, mtu)?;
    links.keep_host_off(&link)?;
    links.set_up(&link, true)?;
    Ok(Device::Packet(Packet::open(host_end, offloads)?))
}

fn sandboxes(count: u8) -> Result<Vec<Namespace>, LabError> {
    (0..count).map(|_| Namespace::new("lab")).collect()
}
