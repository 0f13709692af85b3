//! Labs: private network namespaces, joined by the kernel's bridge or by pontoon's engine.
//!
//! Everything here lives in namespaces that the lab makes and that vanish with it; the machine's own network is not touched.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pontoon::api::types::SandboxRef;
use pontoon::link::Links;
use pontoon::netns::{self, Netns};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::engine::{Engine, EngineConfig, NetworkSpec, PortSpec};
use pontoon_dataplane::network::{Gateway, NetworkId, PortSettings};
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads};

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

/// Two or more sandboxes on one network, and whatever joins them.
#[derive(Debug)]
pub struct Lab {
    /// The sandboxes; number n has the address [`address`]`(n)` on its eth0.
    pub sandboxes: Vec<Namespace>,
    joint: Joint,
}

#[derive(Debug)]
enum Joint {
    /// Held for its life alone.
    Kernel {
        _bridge: Namespace,
    },
    Pontoon {
        _engine: Engine,
        _network: NetworkId,
    },
}

impl Lab {
    /// `count` sandboxes on the kernel's bridge, as docker0 joins them: a veth pair each, and br_netfilter's hooks for
    /// bridged frames on or off.
    ///
    /// # Errors
    /// No privilege, or a kernel without bridge, veth or (when asked for) br_netfilter.
    pub fn kernel_bridge(count: u8, br_netfilter: bool) -> Result<Lab, LabError> {
        let bridge = Namespace::new("lab-bridge")?;
        let sandboxes = sandboxes(count)?;
        bridge.run(|| -> Result<(), LabError> {
            let links = Links::open()?;
            let bridges = Bridges::open()?;
            bridges.create("br0")?;
            let switch = if br_netfilter { "1" } else { "0" };
            // A kernel without br_netfilter has no such file: that is what "off" asks for.
            match std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", switch) {
                Err(error) if error.kind() != io::ErrorKind::NotFound || br_netfilter => {
                    return Err(error.into());
                }
                _ => {}
            }
            for (number, sandbox) in sandboxes.iter().enumerate() {
                let host_end = format!("port{number}");
                links.create_veth(&host_end, "eth0", sandbox.netns())?;
                let link = links.get(&host_end)?;
                bridges.enslave(link.index, links.get("br0")?.index)?;
                links.set_up(&link, true)?;
            }
            links.set_up(&links.get("br0")?, true)?;
            Ok(())
        })??;
        let lab = Lab { sandboxes, joint: Joint::Kernel { _bridge: bridge } };
        lab.configure()?;
        Ok(lab)
    }

    /// `count` sandboxes whose eth0 is a TAP of an engine of our own.
    ///
    /// # Errors
    /// No privilege, or no /dev/net/tun.
    pub fn pontoon(count: u8, config: EngineConfig, offloads: Offloads) -> Result<Lab, LabError> {
        let engine = Engine::start(config)?;
        let gateway_address = Ipv4Addr::new(10, 88, 0, 1);
        let network = engine.add_network(NetworkSpec {
            gateway: Some(Gateway {
                mac: MacAddr::from_ipv4(gateway_address),
                address: gateway_address,
                prefix_len: PREFIX_LEN,
            }),
            mtu: 1500,
            ageing: Duration::from_secs(300),
        })?;
        let sandboxes = sandboxes(count)?;
        for sandbox in &sandboxes {
            let tap = sandbox.run(|| Tap::open("eth0", offloads))??;
            let spec = PortSpec { network, settings: PortSettings::default(), identity: None, mtu: 1500 };
            engine.add_port(spec, Device::Tap(tap))?;
        }
        let lab = Lab { sandboxes, joint: Joint::Pontoon { _engine: engine, _network: network } };
        lab.configure()?;
        Ok(lab)
    }

    /// Whether pontoon joins the sandboxes.
    pub fn is_pontoon(&self) -> bool {
        matches!(self.joint, Joint::Pontoon { .. })
    }

    fn configure(&self) -> Result<(), LabError> {
        for (number, sandbox) in self.sandboxes.iter().enumerate() {
            let own = address(u8::try_from(number)?);
            sandbox.run(|| -> Result<(), LabError> {
                let links = Links::open()?;
                let eth0 = links.get("eth0")?;
                links.dress(&eth0, "eth0", MacAddr::from_ipv4(own), 1500)?;
                links.add_address(&eth0, own.into(), PREFIX_LEN)?;
                links.set_up(&eth0, true)?;
                links.set_up(&links.get("lo")?, true)?;
                Ok(())
            })??;
        }
        Ok(())
    }
}

fn sandboxes(count: u8) -> Result<Vec<Namespace>, LabError> {
    (0..count).map(|_| Namespace::new("lab")).collect()
}

/// The kernel's bridge, which pontoon itself never asks for.
struct Bridges {
    runtime: tokio::runtime::Runtime,
    handle: rtnetlink::Handle,
}

impl Bridges {
    fn open() -> Result<Bridges, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (connection, handle, _) = {
            let _entered = runtime.enter();
            rtnetlink::new_connection()?
        };
        runtime.spawn(connection);
        Ok(Bridges { runtime, handle })
    }

    fn create(&self, name: &str) -> Result<(), LabError> {
        let message = rtnetlink::LinkBridge::new(name).build();
        Ok(self.runtime.block_on(self.handle.link().add(message).execute())?)
    }

    fn enslave(&self, port_index: u32, bridge_index: u32) -> Result<(), LabError> {
        let message = rtnetlink::LinkUnspec::new_with_index(port_index).controller(bridge_index).build();
        Ok(self.runtime.block_on(self.handle.link().set(message).execute())?)
    }
}
