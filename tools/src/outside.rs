//! The world outside of a host: another machine behind the host's uplink, with or without routers on the way.
//!
//! Addresses are those set aside for documentation (RFC 5737) and for what lies between providers (RFC 6598), so nothing here passes
//! for anything real.

use std::net::Ipv4Addr;

use pontoon::link::Links;

use crate::kernel::{Kernel, Route};
use crate::lab::{LabError, Namespace};
use crate::tun::TunWire;
use crate::witness::Traces;

/// The host's interface towards the outside.
pub const UPLINK: &str = "wan0";
/// The host's address on it.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The first router that the host knows; without routers the machine outside.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The machine outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Another address of the machine outside.
pub const OUTSIDE_TOO: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The host's second interface towards the outside.
pub const SECOND_UPLINK: &str = "wan1";
/// The host's address on the second interface.
pub const SECOND_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The machine outside, on the second interface.
pub const SECOND_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The veths that the lab itself has put into a host, or will.
pub const WIRES: [&str; 2] = [UPLINK, SECOND_UPLINK];
/// The same of the machine outside.
const WIRES_OUTSIDE: [&str; 2] = ["eth0", "eth1"];
/// The same of the routers on the way.
const WIRES_BETWEEN: [&str; 4] = ["host", "far", "near", "machine"];

const LAST_ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NEAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
/// The networks that the machine outside is in.
const FAR_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);
const UPLINK_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 51, 100, 0), 24);

/// How the host and the machine outside are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By one wire that takes packets of that many bytes.
    Direct(u16),
    /// Over two routers; the wire between them takes packets of that many bytes, the others 1500. The routers say so by ICMP.
    Narrow(u16),
    /// As [`Way::Narrow`], but the other wires take 9000.
    JumboNarrow(u16),
    /// Over two routers; what is larger than that many bytes vanishes on the host's own wire without a word.
    BlackHole(u16),
}

/// A machine outside of a host.
#[derive(Debug)]
pub struct Outside {
    /// The machine, with [`OUTSIDE`] and [`OUTSIDE_TOO`]. It has no route to the host's networks.
    pub machine: Namespace,
    routers: Vec<Namespace>,
}

impl Outside {
    /// Puts a machine behind the host, and gives the host its uplink and its default route. The host forwards nothing by itself.
    ///
    /// # Errors
    /// No privilege, or a kernel without veth.
    pub fn behind(host: &Namespace, way: Way) -> Result<Outside, LabError> {
        let machine = Namespace::new("lab-outside")?;
        set_forwarding(host, false)?;
        set_forwarding(&machine, false)?;
        let mut routers = Vec::new();
        match way {
            Way::Direct(mtu) => {
                join((host, UPLINK, HOST, 24), (&machine, "eth0", ROUTER, 24), mtu)?;
                machine.run(|| loopback_addresses(&[OUTSIDE, OUTSIDE_TOO]))??;
            }
            Way::Narrow(mtu) => routers = route_over_two(host, &machine, [1500, mtu])?,
            Way::JumboNarrow(mtu) => routers = route_over_two(host, &machine, [9000, mtu])?,
            Way::BlackHole(mtu) => {
                routers = route_over_two(host, &machine, [1500, 1500])?;
                host.run(|| -> Result<(), LabError> {
                    let uplink = Links::open()?.get(UPLINK)?;
                    // A super-frame would pass the narrow end whole.
                    Kernel::open()?.limit_super_frames(uplink.index, 1)
                })??;
                if let [near, ..] = &routers[..] {
                    near.run(|| -> Result<(), LabError> {
                        let links = Links::open()?;
                        Ok(links.set_mtu(&links.get("host")?, mtu)?)
                    })??;
                }
            }
        }
        host.run(|| Kernel::open()?.set_route(Route::default_via(ROUTER)))??;
        Ok(Outside { machine, routers })
    }

    /// What can be seen of firewall rules, bridges and veths on the machine and on each router, the lab's own left out.
    ///
    /// # Errors
    /// Whatever cannot be read.
    pub fn traces(&self) -> Result<Vec<Traces>, LabError> {
        let routers = self.routers.iter().map(|router| Traces::of(router.netns(), &WIRES_BETWEEN));
        std::iter::once(Traces::of(self.machine.netns(), &WIRES_OUTSIDE)).chain(routers).collect()
    }

    /// A second wire between host and machine, by which the machine is [`SECOND_ROUTER`]. No route leads over it but to its own
    /// network.
    ///
    /// # Errors
    /// It is there already, or the kernel's error.
    pub fn add_second_uplink(&self, host: &Namespace) -> Result<(), LabError> {
        join((host, SECOND_UPLINK, SECOND_HOST, 24), (&self.machine, "eth1", SECOND_ROUTER, 24), 1500)
    }

    /// As [`Outside::add_second_uplink`], by a wire without Ethernet.
    ///
    /// # Errors
    /// It is there already, no /dev/net/tun, or the kernel's error.
    pub fn add_tunnel(&self, host: &Namespace) -> Result<TunWire, LabError> {
        let wire = TunWire::between(host, &self.machine, SECOND_UPLINK)?;
        for (namespace, address) in [(host, SECOND_HOST), (&self.machine, SECOND_ROUTER)] {
            namespace.run(|| set_up(SECOND_UPLINK, address, 24))??;
        }
        Ok(wire)
    }
}

/// host - near - far - machine, with what the outer wires and the one in the middle take.
fn route_over_two(
    host: &Namespace,
    machine: &Namespace,
    [outer, middle]: [u16; 2],
) -> Result<Vec<Namespace>, LabError> {
    let (near, far) = (Namespace::new("lab-near")?, Namespace::new("lab-far")?);
    join((host, UPLINK, HOST, 24), (&near, "host", ROUTER, 24), outer)?;
    join((&near, "far", NEAR, 30), (&far, "near", FAR, 30), middle)?;
    join((&far, "machine", LAST_ROUTER, 24), (machine, "eth0", OUTSIDE, 24), outer)?;
    machine.run(|| loopback_addresses(&[OUTSIDE_TOO]))??;
    let routes =
        [(&near, FAR_NETWORK, FAR), (&far, UPLINK_NETWORK, NEAR), (machine, UPLINK_NETWORK, LAST_ROUTER)];
    for (namespace, to, via) in routes {
        namespace.run(|| Kernel::open()?.set_route(Route { to, via, mtu: None }))??;
    }
    for router in [&near, &far] {
        set_forwarding(router, true)?;
    }
    Ok(vec![near, far])
}

/// One end of a wire: where, the interface's name, its address and the length of the prefix.
type End<'a> = (&'a Namespace, &'a str, Ipv4Addr, u8);

fn join(a: End<'_>, b: End<'_>, mtu: u16) -> Result<(), LabError> {
    a.0.run(|| Links::open()?.create_veth(a.1, b.1, b.0.netns()))??;
    for (namespace, name, address, prefix_len) in [a, b] {
        namespace.run(|| -> Result<(), LabError> {
            let links = Links::open()?;
            links.set_mtu(&links.get(name)?, mtu)?;
            links.set_up(&links.get("lo")?, true)?;
            set_up(name, address, prefix_len)
        })??;
    }
    Ok(())
}

/// In the calling thread's namespace.
fn set_up(name: &str, address: Ipv4Addr, prefix_len: u8) -> Result<(), LabError> {
    let links = Links::open()?;
    let link = links.get(name)?;
    links.add_address(&link, address.into(), prefix_len)?;
    Ok(links.set_up(&link, true)?)
}

fn loopback_addresses(addresses: &[Ipv4Addr]) -> Result<(), LabError> {
    let links = Links::open()?;
    let lo = links.get("lo")?;
    for address in addresses {
        links.add_address(&lo, (*address).into(), 32)?;
    }
    Ok(())
}

/// New namespaces take this setting over from the machine's first one.
fn set_forwarding(namespace: &Namespace, on: bool) -> Result<(), LabError> {
    let set = || std::fs::write("/proc/sys/net/ipv4/ip_forward", if on { "1" } else { "0" });
    Ok(namespace.run(set)??)
}
