//! Which interfaces are uplinks, and the engine's ports on them.
//!
//! An interface may be one when it is the host's own way to somewhere: up, with an IPv4 address, of Ethernet or bare packets; not loopback,
//! not a port of a bridge or bond (the bridge or bond is), not a host port or a port of a network. An open one stays open while it is down
//! or without an address for a moment, so that its sessions live on.
//!
//! At most [`MAX_UPLINKS`] are open: each costs a socket with some megabytes of buffer at worst, and whoever has more interfaces
//! with addresses names the ones that networks leave by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pontoon_dataplane::PortId;
use pontoon_dataplane::edge::config::Uplink;
use pontoon_dataplane::engine::{Engine, EngineError, PortSpec};
use pontoon_dataplane::network::{Place, PortSettings};
use pontoon_dataplane::port::packet::Packet;
use pontoon_dataplane::port::{Device, Offloads};

use super::filter::{self, Ports};
use super::hostport::has_looks;
use super::kernel::{Interface, Interfaces, LinkLayer};
use crate::error::Error;

/// The most uplinks that are open at once.
pub(super) const MAX_UPLINKS: usize = 64;

/// The interfaces that networks want out by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Any, for some network leaves it to the kernel's routes.
    pub(super) all: bool,
    /// These numbers at least.
    pub(super) only: BTreeSet<u32>,
}

impl Wanted {
    fn includes(&self, interface: &Interface) -> bool {
        self.all || self.only.contains(&interface.index)
    }
}

/// Whether an interface can ever be an uplink, as it is now. `claimed` are ports of networks.
fn is_eligible(interface: &Interface, all: &Interfaces, claimed: &BTreeSet<u32>) -> bool {
    let kind_of = |index| all.get(&index).map(|it| it.kind.as_str());
    !interface.loopback
        && interface.link_layer != LinkLayer::Other
        // A VRF's own device shows again what its ports have shown.
        && interface.kind != "vrf"
        && interface.controller.is_none_or(|controller| kind_of(controller) == Some("vrf"))
        && !has_looks(&interface.kind, &interface.alias)
        && !claimed.contains(&interface.index)
}

/// The uplinks that are open.
#[derive(Debug, Default)]
pub(super) struct Uplinks {
    /// By the kernel's number of the interface.
    open: BTreeMap<u32, Open>,
    /// Why others are not, so that it is said once.
    refused: BTreeMap<u32, String>,
}

#[derive(Debug)]
struct Open {
    port: PortId,
    interface: Interface,
}

impl Uplinks {
    /// The ports that must go, taken out already: the caller has the engine forget them first, and then closes them.
    pub(super) fn take_gone(
        &mut self,
        interfaces: &Interfaces,
        claimed: &BTreeSet<u32>,
        wanted: &Wanted,
        deleted: &BTreeSet<u32>,
    ) -> Vec<PortId> {
        let stays = |index: &u32, open: &mut Open| {
            let Some(now) = interfaces.get(index).filter(|_| !deleted.contains(index)) else { return false };
            let alive = now.up || !now.addresses.is_empty();
            // Whether frames have a header is settled when the socket is opened.
            let same = matches!(now.link_layer, LinkLayer::None)
                == matches!(open.interface.link_layer, LinkLayer::None);
            alive && same && wanted.includes(now) && is_eligible(now, interfaces, claimed)
        };
        self.refused.retain(|index, _| interfaces.contains_key(index) && !deleted.contains(index));
        self.open.extract_if(.., |index, open| !stays(index, open)).map(|(_, open)| open.port).collect()
    }

    /// Takes over what has changed about open ones, and opens those that are missing.
    pub(super) fn follow(
        &mut self,
        engine: &Engine,
        offloads: Offloads,
        ports: &Ports,
        interfaces: &Interfaces,
        claimed: &BTreeSet<u32>,
        wanted: &Wanted,
    ) -> Result<(), EngineError> {
        for open in self.open.values_mut() {
            let Some(now) = interfaces.get(&open.interface.index) else { continue };
            if now.mtu != open.interface.mtu {
                engine.set_mtu(open.port, now.mtu)?;
            }
            open.interface.clone_from(now);
        }
        for interface in interfaces.values() {
            let ready = interface.up && !interface.addresses.is_empty() && wanted.includes(interface);
            if !ready
                || self.open.contains_key(&interface.index)
                || !is_eligible(interface, interfaces, claimed)
            {
                continue;
            }
            match self.open(engine, offloads, ports, interface) {
                Ok(port) => {
                    self.refused.remove(&interface.index);
                    tracing::info!(interface = interface.name, %port, "uplink opened");
                    self.open.insert(interface.index, Open { port, interface: interface.clone() });
                }
                Err(error) => self.refuse(interface, &error),
            }
        }
        Ok(())
    }

    fn open(
        &self,
        engine: &Engine,
        offloads: Offloads,
        ports: &Ports,
        interface: &Interface,
    ) -> Result<PortId, Error> {
        if self.open.len() >= MAX_UPLINKS {
            return Err(EngineError::Full { what: "uplinks", limit: MAX_UPLINKS }.into());
        }
        let packet = Packet::open_uplink(&interface.name, offloads)
            .map_err(|source| Error::Packet { interface: interface.name.clone(), source })?;
        let settings = PortSettings { learning: false, flood: false, ..PortSettings::default() };
        let spec = PortSpec { place: Place::Uplink, settings, identity: None, mtu: interface.mtu };
        let port = engine.add_port(spec, Device::Packet(packet))?;
        // Deaf until here.
        set_filter(engine, port, interface, ports).inspect_err(|_| {
            let _ = engine.remove_port(port);
        })?;
        Ok(port)
    }

    fn refuse(&mut self, interface: &Interface, error: &Error) {
        let text = error.to_string();
        if self.refused.get(&interface.index) != Some(&text) {
            tracing::warn!(interface = interface.name, "not used as an uplink: {text}");
            self.refused.insert(interface.index, text);
        }
    }

    /// Has every uplink hear `ports` from now on.
    pub(super) fn set_filters(&self, engine: &Engine, ports: &Ports) -> Result<(), EngineError> {
        self.open.values().try_for_each(|open| set_filter(engine, open.port, &open.interface, ports))
    }

    /// As the engine wants them.
    pub(super) fn config(&self) -> Vec<Uplink> {
        let uplink = |open: &Open| Uplink {
            port: open.port,
            interface_index: open.interface.index,
            name: open.interface.name.clone(),
            mac: match open.interface.link_layer {
                LinkLayer::Ethernet(mac) => Some(mac),
                LinkLayer::None | LinkLayer::Other => None,
            },
            addresses: open.interface.addresses.clone(),
            mtu: open.interface.mtu,
        };
        self.open.values().map(uplink).collect()
    }

    /// Every open port with its interface.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PortId, &Interface)> {
        self.open.values().map(|open| (open.port, &open.interface))
    }
}

/// Has an uplink hear `ports`; where the kernel allows no such program, all ports.
fn set_filter(
    engine: &Engine,
    port: PortId,
    interface: &Interface,
    ports: &Ports,
) -> Result<(), EngineError> {
    let ethernet = matches!(interface.link_layer, LinkLayer::Ethernet(_));
    engine.set_filter(port, &filter::program(ethernet, ports)).or_else(|error| {
        tracing::warn!(interface = interface.name, "{error}; the traffic of all ports comes up instead");
        engine.set_filter(port, &filter::program(ethernet, &Ports::all()))
    })
}

/// Every IPv4 address of the host in ascending order, 127.0.0.0/8 left out; `local` is what local routes make its own.
pub(super) fn host_addresses(interfaces: &Interfaces, local: &[Ipv4Net]) -> Vec<Ipv4Addr> {
    let all = interfaces.values().flat_map(|it| &it.addresses).map(|&(address, _)| address);
    let all = all.chain(local.iter().filter(|net| is_single(net)).map(Ipv4Net::addr));
    all.filter(|address| !address.is_loopback()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Of what local routes make the host's own, what is more than an address each, 127.0.0.0/8 left out.
pub(super) fn host_subnets(local: &[Ipv4Net]) -> Vec<Ipv4Net> {
    local.iter().filter(|net| !is_single(net) && !net.addr().is_loopback()).copied().collect()
}

fn is_single(net: &Ipv4Net) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

#[cfg(test)]
mod tests {
    use pontoon_dataplane::MacAddr;

    use super::*;

    fn interface(index: u32, change: impl FnOnce(&mut Interface)) -> Interface {
        let mut interface = Interface {
            index,
            name: format!("eth{index}"),
            alias: String::new(),
            kind: String::new(),
            link_layer: LinkLayer::Ethernet(MacAddr([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            arp: true,
            controller: None,
            addresses: vec![([192, 0, 2, index as u8].into(), 24)],
        };
        change(&mut interface);
        interface
    }

    #[test]
    fn only_the_hosts_own_ways_out_are_eligible() {
        let all: Interfaces = [
            interface(1, |it| it.loopback = true),
            interface(2, |_| {}),
            interface(3, |it| it.kind = "bridge".into()),
            interface(4, |it| it.controller = Some(3)),
            interface(5, |it| it.kind = "vrf".into()),
            interface(6, |it| it.controller = Some(5)),
            interface(7, |it| it.link_layer = LinkLayer::None),
            interface(8, |it| it.link_layer = LinkLayer::Other),
            interface(9, |it| (it.kind, it.alias) = ("tun".into(), "ptn-red".into())),
            interface(10, |_| {}),
        ]
        .map(|it| (it.index, it))
        .into();
        let claimed = BTreeSet::from([10]);
        let eligible: Vec<u32> =
            all.values().filter(|it| is_eligible(it, &all, &claimed)).map(|it| it.index).collect();
        assert_eq!(eligible, [2, 3, 6, 7]);
    }

    #[test]
    fn an_open_one_stays_for_a_moment_without_address_and_goes_with_its_interface() {
        let open = |interface: Interface| Uplinks {
            open: BTreeMap::from([(interface.index, Open { port: PortId(5), interface })]),
            refused: BTreeMap::new(),
        };
        let all = Wanted { all: true, only: BTreeSet::new() };
        let goes = |now: Option<Interface>, wanted: &Wanted, deleted: &[u32]| {
            let now: Interfaces = now.into_iter().map(|it| (it.index, it)).collect();
            let deleted = deleted.iter().copied().collect();
            !open(interface(2, |_| {})).take_gone(&now, &BTreeSet::new(), wanted, &deleted).is_empty()
        };
        assert!(!goes(Some(interface(2, |_| {})), &all, &[]));
        assert!(!goes(Some(interface(2, |it| it.name = "renamed".into())), &all, &[]));
        assert!(!goes(Some(interface(2, |it| it.up = false)), &all, &[]));
        assert!(!goes(Some(interface(2, |it| it.addresses.clear())), &all, &[]));
        assert!(goes(Some(interface(2, |it| (it.up, it.addresses) = (false, vec![]))), &all, &[]));
        assert!(goes(Some(interface(2, |it| it.controller = Some(9))), &all, &[]));
        assert!(goes(Some(interface(2, |it| it.link_layer = LinkLayer::None)), &all, &[]));
        assert!(goes(None, &all, &[]));
        // Another interface has got the number.
        assert!(goes(Some(interface(2, |_| {})), &all, &[2]));
        assert!(goes(Some(interface(2, |_| {})), &Wanted::default(), &[]));
        assert!(!goes(Some(interface(2, |_| {})), &Wanted { all: false, only: BTreeSet::from([2]) }, &[]));
    }

    #[test]
    fn host_addresses_leave_loopback_out() {
        let all: Interfaces = [
            interface(1, |it| it.addresses = vec![([127, 0, 0, 1].into(), 8), ([10, 9, 9, 9].into(), 32)]),
            interface(3, |_| {}),
            interface(2, |it| it.addresses.push(([192, 0, 2, 3].into(), 24))),
        ]
        .map(|it| (it.index, it))
        .into();
        let expected: [Ipv4Addr; 3] = [[10, 9, 9, 9].into(), [192, 0, 2, 2].into(), [192, 0, 2, 3].into()];
        assert_eq!(host_addresses(&all, &[]), expected);
        // Local routes name all of these once more, and perhaps others.
        let local = ["127.0.0.0/8", "192.0.2.3/32", "192.0.2.9/32", "10.200.0.0/16"];
        let local = local.map(|net| net.parse().unwrap());
        assert_eq!(host_addresses(&all, &local)[..3], expected);
        assert_eq!(host_addresses(&all, &local)[3..], [Ipv4Addr::new(192, 0, 2, 9)]);
        assert_eq!(host_subnets(&local), [local[3]]);
    }
}
