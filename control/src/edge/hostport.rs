//! Host ports: the TAP by which the host itself sits on a network, with the gateway's MAC and address.
//!
//! It lives in the daemon's own namespace under a name that begins with `ptn-` and outlives the daemon. Whatever somebody
//! renames it to, it is found again by its alias, which is the name that it was made with.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use pontoon_dataplane::MacAddr;

use super::kernel::{Interfaces, Kernel};
use crate::error::Error;
use crate::link::{Link, Links};

/// What the names of host ports begin with.
const PREFIX: &str = "ptn-";

/// The longest name of an interface in bytes (IFNAMSIZ less the closing zero).
const MAX_NAME: usize = 15;

/// A network's host port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The name that it is made with, from [`free_name`].
    pub interface: String,
    /// The gateway's MAC.
    pub mac: MacAddr,
    /// The gateway's address.
    pub address: Ipv4Addr,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// The network's MTU in bytes.
    pub mtu: u16,
}

impl HostPort {
    /// Refuses a host port that the host's other addresses do not allow; see [`check_subnet`].
    ///
    /// # Errors
    /// One sentence that names the interface in the way.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_subnet(self.subnet, self.address, Some(&self.interface))
    }

    /// What it is found by whatever it is called: the name that it was made with, which begins with `ptn-` for every host port.
    pub(crate) fn alias(&self) -> String {
        alias_of(&self.interface)
    }

    /// The device, if it is there.
    pub(crate) fn find(&self, links: &Links) -> Result<Option<Link>, Error> {
        let (all, alias) = (links.all()?, self.alias());
        Ok(all.into_iter().find(|link| link.kind == "tun" && link.alias == alias))
    }

    /// Gives the device what it lacks of MAC, MTU and address, and brings it up.
    pub(crate) fn configure(&self, links: &Links, link: &Link) -> Result<(), Error> {
        links.keep_ipv6_off(link)?;
        if link.mac != Some(self.mac) || link.mtu != u32::from(self.mtu) {
            links.dress_as(link, &self.alias(), self.mac, self.mtu)?;
        }
        if !links.addresses(link)?.contains(&self.address.into()) {
            links.add_address(link, self.address.into(), self.subnet.prefix_len())?;
        }
        Ok(links.set_up(link, true)?)
    }

    /// Deletes the device, if it is there.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn delete(&self) -> Result<(), Error> {
        let links = Links::open()?;
        match self.find(&links)? {
            Some(link) => Ok(links.delete(&link)?),
            None => Ok(()),
        }
    }
}

/// The alias of a host port that was made with that name: nothing else begins with [`PREFIX`], whoever chose the name.
fn alias_of(interface: &str) -> String {
    if interface.starts_with(PREFIX) { interface.to_owned() } else { format!("{PREFIX}{interface}") }
}

/// A name for a network's host port that no interface of the calling thread's namespace has: the one that is wished for, or
/// `ptn-` and as much of the network's name as fits, with a number behind it if need be.
///
/// # Errors
/// The interfaces cannot be listed, or one has the name that is wished for.
pub fn free_name(network: &str, wish: Option<&str>) -> Result<String, Error> {
    let names: HashSet<String> =
        Links::open()?.all()?.into_iter().flat_map(|link| [link.name, link.alias]).collect();
    if let Some(wish) = wish {
        if names.contains(wish) || names.contains(&alias_of(wish)) {
            return Err(Error::Conflict(format!(
                "the host has an interface {wish} already, or a host port that was made with that name; choose another one"
            )));
        }
        return Ok(wish.to_owned());
    }
    // There are always fewer interfaces than candidates.
    candidates(network)
        .find(|name| !names.contains(name))
        .ok_or_else(|| Error::Internal("no name is free for the host port".into()))
}

/// Names for a network's host port, the best one first.
fn candidates(network: &str) -> impl Iterator<Item = String> {
    let fitting = |suffix: String| {
        let room = MAX_NAME - PREFIX.len() - suffix.len();
        // Networks' names are ASCII.
        let start: String = network.chars().take(room).collect();
        format!("{PREFIX}{start}{suffix}")
    };
    let numbered = (2u32..1_000_000).map(move |number| fitting(format!("-{number}")));
    std::iter::once(fitting(String::new())).chain(numbered)
}

/// Whether that is the host port of a network, of this daemon or another.
pub(crate) fn is_host_port(link: &Link) -> bool {
    has_looks(&link.kind, &link.alias)
}

/// As [`is_host_port`].
pub(super) fn has_looks(kind: &str, alias: &str) -> bool {
    kind == "tun" && alias.starts_with(PREFIX)
}

/// Refuses a subnet that another interface of the host is on, or whose gateway address the host has already. `own` is the name
/// that the subnet's own host port was made with. A route of the host that takes packets away from the subnet is only
/// warned of, in the log: its owner may mean it.
///
/// # Errors
/// One sentence that names the interface.
pub fn check_subnet(subnet: Ipv4Net, gateway: Ipv4Addr, own: Option<&str>) -> Result<(), Error> {
    let mut kernel = Kernel::open().map_err(super::cannot("ask the kernel for its interfaces"))?;
    let mut interfaces = kernel.interfaces().map_err(super::cannot("list the interfaces"))?;
    let local = kernel.local_subnets().map_err(super::cannot("list the local routes"))?;
    // Said last: what an interface is there for, its name says better.
    let by_local_routes = check_local(subnet, &local, &interfaces);
    let own = interfaces
        .values()
        .find(|it| own.is_some_and(|own| has_looks(&it.kind, &it.alias) && it.alias == alias_of(own)));
    let own = own.map(|it| it.index);
    interfaces.retain(|&index, _| Some(index) != own);
    check_addresses(subnet, gateway, &interfaces)?;
    by_local_routes?;
    let routes = kernel.routed_subnets().map_err(super::cannot("list the routes"))?;
    for (address, prefix_len, interface) in routes {
        let stronger = prefix_len >= subnet.prefix_len() && subnet.contains(&address);
        if stronger && (own.is_none() || interface != own) {
            let by = interface.and_then(|index| interfaces.get(&index)).map_or("elsewhere", |it| &it.name);
            tracing::warn!(%subnet, "the host routes {address}/{prefix_len} to {by}: it will not reach endpoints there");
        }
    }
    Ok(())
}

fn check_addresses(subnet: Ipv4Net, gateway: Ipv4Addr, interfaces: &Interfaces) -> Result<(), Error> {
    for interface in interfaces.values() {
        let name = &interface.name;
        for &(address, prefix_len) in &interface.addresses {
            if address == gateway {
                return Err(Error::Conflict(format!(
                    "the host has the address {gateway} on {name} already; choose another --subnet or --gateway"
                )));
            }
            if net_of(address, prefix_len).is_some_and(|net| overlap(net, subnet)) {
                return Err(Error::Conflict(format!(
                    "the subnet {subnet} overlaps {address}/{prefix_len}, which the host has on {name}; choose another --subnet"
                )));
            }
        }
    }
    Ok(())
}

/// Those of the interfaces' own addresses do not count.
fn check_local(subnet: Ipv4Net, local: &[Ipv4Net], interfaces: &Interfaces) -> Result<(), Error> {
    let is_an_interfaces = |net: &Ipv4Net| {
        let mut addresses = interfaces.values().flat_map(|it| &it.addresses);
        addresses.any(|(address, _)| *net == Ipv4Net::from(*address))
    };
    let in_the_way = local.iter().find(|net| overlap(**net, subnet) && !is_an_interfaces(net));
    in_the_way.map_or(Ok(()), |net| {
        Err(Error::Conflict(format!(
            "the subnet {subnet} overlaps {net}, which a local route makes the host's own; choose another --subnet"
        )))
    })
}

fn net_of(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Net> {
    Ipv4Net::new(address, prefix_len).ok().map(|net| net.trunc())
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// Subnets that the host has addresses or routes in, default routes left out: not to be chosen for a network.
///
/// # Errors
/// They cannot be listed.
pub fn subnets_in_use() -> Result<Vec<Ipv4Net>, Error> {
    let mut kernel = Kernel::open().map_err(super::cannot("ask the kernel for its interfaces"))?;
    let interfaces = kernel.interfaces().map_err(super::cannot("list the interfaces"))?;
    let routes = kernel.routed_subnets().map_err(super::cannot("list the routes"))?;
    let addresses = interfaces.into_values().flat_map(|it| it.addresses);
    let all = addresses.chain(routes.into_iter().map(|(address, prefix_len, _)| (address, prefix_len)));
    Ok(all.filter_map(|(address, prefix_len)| net_of(address, prefix_len)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{Interface, LinkLayer};
    use super::*;

    #[test]
    fn names_fit_and_are_recognised() {
        let first = |network: &str, count| candidates(network).take(count).collect::<Vec<_>>();
        assert_eq!(first("red", 3), ["ptn-red", "ptn-red-2", "ptn-red-3"]);
        assert_eq!(first("a-network-of-mine", 2), ["ptn-a-network-o", "ptn-a-network-2"]);
        let far = candidates("a-network-of-mine").nth(200_000).unwrap();
        assert_eq!(far, "ptn-a-ne-200001");
        assert_eq!(far.len(), MAX_NAME);
        let free = free_name("red", None).unwrap();
        assert!(free.starts_with("ptn-red"), "{free}");
        assert_eq!(free_name("red", Some("br-none-has-it")).unwrap(), "br-none-has-it");
        let taken = free_name("red", Some("lo")).unwrap_err().to_string();
        assert!(taken.contains("has an interface lo already"), "{taken}");
    }

    #[test]
    fn a_host_port_is_known_by_its_alias_whoever_named_it() {
        assert_eq!((alias_of("ptn-red").as_str(), alias_of("br-red").as_str()), ("ptn-red", "ptn-br-red"));
    }

    fn on(name: &str, addresses: &[([u8; 4], u8)]) -> Interfaces {
        let interface = Interface {
            index: 7,
            name: name.into(),
            alias: String::new(),
            kind: String::new(),
            link_layer: LinkLayer::Ethernet(MacAddr([2, 0, 0, 0, 0, 1])),
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            arp: true,
            controller: None,
            addresses: addresses.iter().map(|&(address, len)| (address.into(), len)).collect(),
        };
        Interfaces::from([(7, interface)])
    }

    #[test]
    fn what_the_host_is_on_is_refused_and_the_interface_named() {
        let subnet: Ipv4Net = "10.1.0.0/24".parse().unwrap();
        let check = |addresses: &[([u8; 4], u8)]| {
            let refused = check_addresses(subnet, [10, 1, 0, 1].into(), &on("eth7", addresses));
            refused.map_err(|error| error.to_string())
        };
        assert_eq!(check(&[([192, 0, 2, 1], 24), ([10, 1, 1, 1], 24)]), Ok(()));
        let same = check(&[([10, 1, 0, 1], 32)]).unwrap_err();
        assert!(same.contains("has the address 10.1.0.1 on eth7 already"), "{same}");
        for around in [([10, 200, 0, 1], 8), ([10, 1, 0, 9], 24), ([10, 1, 0, 200], 28), ([10, 1, 0, 77], 32)]
        {
            let refused = check(&[around]).unwrap_err();
            assert!(refused.contains("10.1.0.0/24 overlaps") && refused.contains("eth7"), "{refused}");
        }
    }

    #[test]
    fn what_a_local_route_makes_the_hosts_own_is_refused() {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<Ipv4Net>>();
        let check = |local: &[&str]| {
            let interfaces = on("eth7", &[([10, 1, 0, 1], 24)]);
            check_local("10.1.0.0/24".parse().unwrap(), &nets(local), &interfaces)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&["127.0.0.0/8", "10.1.0.1/32", "10.2.0.0/16"]), Ok(()));
        for local in ["10.1.0.2/32", "10.0.0.0/8", "10.1.0.128/25"] {
            assert!(check(&[local]).unwrap_err().contains(local));
        }
    }

    #[test]
    fn loopback_is_in_use() {
        let used = subnets_in_use().unwrap();
        assert!(used.contains(&"127.0.0.0/8".parse().unwrap()), "{used:?}");
    }
}
