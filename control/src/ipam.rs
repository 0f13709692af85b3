//! Addresses: which subnets, gateways, endpoint addresses and MACs are possible, and which are chosen when none is given.

mod turn;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pontoon_dataplane::MacAddr;

pub use turn::{Memory, RESTING};

/// Smallest MTU that a network may have: what every IPv4 host must be able to receive (RFC 791).
pub const MIN_MTU: u16 = 576;
/// Shortest prefix that a subnet may have: that of the largest block for private networks, 10.0.0.0/8 (RFC 1918).
pub const MIN_PREFIX: u8 = 8;
/// Largest MTU that a network may have: what a TAP device carries.
pub const MAX_MTU: u16 = 65521;

/// An address, subnet or MAC that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// No IPv6 gateway yet.
    #[error(
        "the subnet {0} is IPv6, which pontoon has no gateway for yet; give an IPv4 subnet: IPv6 frames between endpoints are bridged all the same"
    )]
    Ipv6Subnet(IpNet),
    /// An address where a subnet should be.
    #[error("{given} is an address, not a subnet; its subnet is {subnet}")]
    HostBits {
        /// As given.
        given: Ipv4Net,
        /// As meant.
        subnet: Ipv4Net,
    },
    /// No room for a gateway and an endpoint.
    #[error("the subnet {0} is too small: a gateway and an endpoint need a prefix of at most 30 bits")]
    TooSmall(Ipv4Net),
    /// More than any network of hosts has.
    #[error(
        "the subnet {0} is too large: a prefix of at least {MIN_PREFIX} bits is needed, as in 10.0.0.0/8"
    )]
    TooLarge(Ipv4Net),
    /// Addresses that no host may have.
    #[error(
        "the subnet {0} cannot be used: it has addresses that are reserved for loopback, multicast or \"this network\""
    )]
    Reserved(Ipv4Net),
    /// Another network has some of its addresses.
    #[error("the subnet {subnet} overlaps with {other} of {owner}")]
    Overlap {
        /// The new subnet.
        subnet: Ipv4Net,
        /// The existing one.
        other: Ipv4Net,
        /// Whose it is.
        owner: String,
    },
    /// A gateway cannot have this address.
    #[error("{address} cannot be the gateway of {subnet}: {reason}")]
    Gateway {
        /// As given.
        address: IpAddr,
        /// The network's subnet.
        subnet: Ipv4Net,
        /// Why not.
        reason: &'static str,
    },
    /// An endpoint cannot have this address.
    #[error("{address} cannot be an endpoint's address in {subnet}: {reason}")]
    Address {
        /// As given.
        address: IpAddr,
        /// The network's subnet.
        subnet: Ipv4Net,
        /// Why not.
        reason: &'static str,
    },
    /// The range is no part of the subnet.
    #[error("{range} cannot be the range that addresses of {subnet} are chosen from: {reason}")]
    Range {
        /// As given.
        range: IpNet,
        /// The network's subnet.
        subnet: Ipv4Net,
        /// Why not.
        reason: &'static str,
    },
    /// All default subnets are taken.
    #[error(
        "none of the default subnets (172.17.0.0/16 to 172.31.0.0/16, 192.168.0.0/20 to 192.168.240.0/20) is free of other networks, addresses and routes of the host; give a subnet"
    )]
    NoSubnetLeft,
    /// Another endpoint has it.
    #[error("the address {address} is in use by {owner}")]
    AddressInUse {
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        owner: String,
    },
    /// No address is left.
    #[error("{0} has no free address left; detach an endpoint or create a larger network")]
    Exhausted(Ipv4Net),
    /// A station cannot have this MAC.
    #[error("{mac} cannot be a station's MAC: {reason}")]
    Mac {
        /// As given.
        mac: MacAddr,
        /// Why not.
        reason: &'static str,
    },
    /// Another station on the network has it.
    #[error("the MAC {mac} is in use by {owner}")]
    MacInUse {
        /// The MAC.
        mac: MacAddr,
        /// Who has it.
        owner: String,
    },
    /// Out of bounds.
    #[error("an MTU of {0} bytes is not possible; it must be {MIN_MTU} to {MAX_MTU}")]
    Mtu(u16),
}

impl IpamError {
    /// Whether the request would be good if others did not stand in its way.
    pub fn is_conflict(&self) -> bool {
        use IpamError::{AddressInUse, Exhausted, MacInUse, NoSubnetLeft, Overlap};
        matches!(self, Overlap { .. } | AddressInUse { .. } | MacInUse { .. } | Exhausted(_) | NoSubnetLeft)
    }
}

/// Checks a new network's subnet against rules and against the subnets of the `others`.
///
/// # Errors
/// Why it cannot be used.
pub fn check_subnet(
    subnet: IpNet,
    others: impl IntoIterator<Item = (String, Ipv4Net)>,
) -> Result<Ipv4Net, IpamError> {
    let IpNet::V4(subnet) = subnet else {
        return Err(IpamError::Ipv6Subnet(subnet));
    };
    // First: to cut the address to the prefix would advise 0.0.0.0.
    if subnet.prefix_len() < MIN_PREFIX {
        return Err(IpamError::TooLarge(subnet));
    }
    if subnet.addr() != subnet.network() {
        return Err(IpamError::HostBits { given: subnet, subnet: subnet.trunc() });
    }
    if subnet.prefix_len() > 30 {
        return Err(IpamError::TooSmall(subnet));
    }
    // 0.0.0.0/8, 127.0.0.0/8 and everything from 224.0.0.0 on (RFC 6890).
    let reserved = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([224, 0, 0, 0], 3)];
    if reserved.iter().any(|&(start, prefix)| overlap(subnet, Ipv4Net::new_assert(start.into(), prefix))) {
        return Err(IpamError::Reserved(subnet));
    }
    match others.into_iter().find(|(_, other)| overlap(subnet, *other)) {
        Some((owner, other)) => Err(IpamError::Overlap { subnet, other, owner }),
        None => Ok(subnet),
    }
}

/// The gateway's address: the one `wanted`, or the subnet's first.
///
/// # Errors
/// It is not an address of a host in the subnet.
pub fn gateway(subnet: Ipv4Net, wanted: Option<IpAddr>) -> Result<Ipv4Addr, IpamError> {
    let Some(wanted) = wanted else {
        return Ok(first_host(subnet));
    };
    host_in(subnet, wanted).map_err(|reason| IpamError::Gateway { address: wanted, subnet, reason })
}

/// The subnets that networks get which ask for none, in Docker's order: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in
/// steps of /20.
pub fn default_subnets() -> impl Iterator<Item = Ipv4Net> {
    let large = (17..=31).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..=240).step_by(16).map(|third| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, third, 0), 20));
    large.chain(small)
}

/// The first of the [`default_subnets`] that overlaps none of the `taken` ones.
///
/// # Errors
/// All of them do.
pub fn free_subnet(taken: impl IntoIterator<Item = Ipv4Net>) -> Result<Ipv4Net, IpamError> {
    let taken: Vec<Ipv4Net> = taken.into_iter().collect();
    let free = |subnet: &Ipv4Net| !taken.iter().any(|other| overlap(*subnet, *other));
    default_subnets().find(free).ok_or(IpamError::NoSubnetLeft)
}

/// Checks the part of a subnet that addresses shall be chosen from.
///
/// # Errors
/// It is not in the subnet.
pub fn check_range(subnet: Ipv4Net, range: IpNet) -> Result<Ipv4Net, IpamError> {
    let refuse = |reason| IpamError::Range { range, subnet, reason };
    let IpNet::V4(part) = range else { return Err(refuse("it is IPv6")) };
    if part.addr() != part.network() {
        return Err(IpamError::HostBits { given: part, subnet: part.trunc() });
    }
    if part.prefix_len() < subnet.prefix_len() || !subnet.contains(&part.network()) {
        return Err(refuse("it is not inside"));
    }
    Ok(part)
}

/// Checks addresses that no endpoint shall get.
///
/// # Errors
/// One of them cannot be a host's in the subnet, or is somebody else's already.
pub fn check_reserved(
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    wanted: &BTreeMap<String, IpAddr>,
) -> Result<BTreeMap<String, Ipv4Addr>, IpamError> {
    let mut reserved: BTreeMap<String, Ipv4Addr> = BTreeMap::new();
    for (name, &wanted) in wanted {
        let refuse = |reason| IpamError::Address { address: wanted, subnet, reason };
        let address = host_in(subnet, wanted).map_err(refuse)?;
        if address == gateway {
            return Err(refuse("it is the gateway's"));
        }
        if let Some((other, _)) = reserved.iter().find(|(_, it)| **it == address) {
            return Err(IpamError::AddressInUse {
                address,
                owner: format!("{other}, for whom it is reserved"),
            });
        }
        reserved.insert(name.clone(), address);
    }
    Ok(reserved)
}

/// What addresses are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space<'a> {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The part of it that addresses are chosen from; all of it when none.
    pub range: Option<Ipv4Net>,
    /// The gateway's address; none where there is no gateway yet.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses that nobody gets, by the names of who has them.
    pub reserved: &'a BTreeMap<String, Ipv4Addr>,
}

/// An address: the one `wanted`, or the next one that nobody has. `holder` says who has one, `memory` whose turn it is.
///
/// # Errors
/// It cannot be a station's, somebody has it, or none is left.
pub fn address<H: ToString>(
    space: Space<'_>,
    memory: &Memory,
    holder: impl Fn(Ipv4Addr) -> Option<H>,
    wanted: Option<IpAddr>,
) -> Result<Ipv4Addr, IpamError> {
    let Space { subnet, range, gateway, reserved } = space;
    let reserved_for =
        |address: Ipv4Addr| reserved.iter().find(|(_, it)| **it == address).map(|(name, _)| name);
    let Some(wanted) = wanted else {
        let free = |it| gateway != Some(it) && reserved_for(it).is_none() && holder(it).is_none();
        return memory.next(subnet, range, free).ok_or(IpamError::Exhausted(range.unwrap_or(subnet)));
    };
    let refuse = |reason| IpamError::Address { address: wanted, subnet, reason };
    let address = host_in(subnet, wanted).map_err(refuse)?;
    if gateway == Some(address) {
        return Err(refuse("it is the gateway's"));
    }
    let reserved = reserved_for(address).map(|name| format!("{name}, for whom it is reserved"));
    match reserved.or_else(|| holder(address).map(|holder| holder.to_string())) {
        Some(owner) => Err(IpamError::AddressInUse { address, owner }),
        None => Ok(address),
    }
}

/// An endpoint's MAC: the one `wanted`, or 02:42 and the four bytes of its address. `used` says who has which.
///
/// # Errors
/// It cannot be a station's, or it is in use.
pub fn mac(
    address: Ipv4Addr,
    used: &BTreeMap<MacAddr, &str>,
    wanted: Option<MacAddr>,
) -> Result<MacAddr, IpamError> {
    let mac = wanted.unwrap_or_else(|| MacAddr::from_ipv4(address));
    check_station(mac)?;
    match used.get(&mac) {
        Some(owner) => Err(IpamError::MacInUse { mac, owner: (*owner).to_owned() }),
        None => Ok(mac),
    }
}

/// Checks that a MAC can be a single station's.
///
/// # Errors
/// It is all zeros or a group's.
pub fn check_station(mac: MacAddr) -> Result<(), IpamError> {
    let reason = match mac {
        MacAddr::ZERO => "it is all zeros",
        MacAddr::BROADCAST => "it is the broadcast address",
        _ if mac.0[0] & 1 != 0 => "it is a multicast address",
        _ => return Ok(()),
    };
    Err(IpamError::Mac { mac, reason })
}

/// Checks a network's MTU.
///
/// # Errors
/// It is out of bounds.
pub fn check_mtu(mtu: u16) -> Result<(), IpamError> {
    if (MIN_MTU..=MAX_MTU).contains(&mtu) { Ok(()) } else { Err(IpamError::Mtu(mtu)) }
}

/// The MTU nearest to `bytes` that a network may have.
pub fn nearest_mtu(bytes: u32) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX).clamp(MIN_MTU, MAX_MTU)
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn first_host(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

fn host_in(subnet: Ipv4Net, address: IpAddr) -> Result<Ipv4Addr, &'static str> {
    match address {
        IpAddr::V6(_) => Err("it is IPv6"),
        IpAddr::V4(address) if !subnet.contains(&address) => Err("it is outside"),
        IpAddr::V4(address) if address == subnet.network() => Err("it is the subnet's own address"),
        IpAddr::V4(address) if address == subnet.broadcast() => Err("it is the subnet's broadcast address"),
        IpAddr::V4(address) => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn subnets() {
        let others = || [("the network old".to_owned(), net("10.1.0.0/16"))];
        let check = |text: &str| check_subnet(text.parse().unwrap(), others());
        assert_eq!(check("10.88.0.0/24"), Ok(net("10.88.0.0/24")));
        assert_eq!(check("192.0.2.0/30"), Ok(net("192.0.2.0/30")));
        let says = |text: &str| check(text).unwrap_err().to_string();
        assert_eq!(
            says("10.88.0.5/24"),
            "10.88.0.5/24 is an address, not a subnet; its subnet is 10.88.0.0/24"
        );
        assert!(says("10.88.0.0/31").contains("too small"));
        for large in ["10.99.0.0/0", "0.0.0.0/0", "16.0.0.0/7"] {
            assert!(says(large).contains("too large"), "{large}");
        }
        assert_eq!(check("11.0.0.0/8"), Ok(net("11.0.0.0/8")));
        assert!(says("fd00::/64").contains("IPv6"));
        for inside_or_around in ["10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"] {
            assert!(says(inside_or_around).contains("overlaps with 10.1.0.0/16 of the network old"));
        }
        for reserved in ["127.0.0.0/24", "224.0.0.0/8", "0.0.0.0/8", "255.255.255.0/24"] {
            assert!(says(reserved).contains("reserved"), "{reserved}");
        }
    }

    #[test]
    fn gateways() {
        let subnet = net("10.88.0.0/29");
        assert_eq!(gateway(subnet, None), Ok(Ipv4Addr::new(10, 88, 0, 1)));
        assert_eq!(gateway(subnet, Some([10, 88, 0, 6].into())), Ok(Ipv4Addr::new(10, 88, 0, 6)));
        for bad in ["10.88.0.0", "10.88.0.7", "10.88.0.8", "fd00::1"] {
            assert!(gateway(subnet, Some(bad.parse().unwrap())).is_err(), "{bad}");
        }
    }

    #[test]
    fn default_subnets_are_dockers_and_avoid_what_is_taken() {
        let all: Vec<Ipv4Net> = default_subnets().collect();
        assert_eq!(all.len(), 15 + 16);
        assert_eq!((all[0], all[14]), (net("172.17.0.0/16"), net("172.31.0.0/16")));
        assert_eq!((all[15], all[30]), (net("192.168.0.0/20"), net("192.168.240.0/20")));
        assert_eq!(free_subnet([]), Ok(all[0]));
        assert_eq!(free_subnet([net("172.17.9.0/24"), net("172.18.0.0/15")]), Ok(net("172.20.0.0/16")));
        assert_eq!(free_subnet([net("172.16.0.0/12"), net("192.168.1.0/24")]), Ok(net("192.168.16.0/20")));
        let error = free_subnet([net("172.16.0.0/12"), net("192.168.0.0/16")]).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("give a subnet"), "{error}");
    }

    #[test]
    fn ranges_are_parts_of_their_subnet() {
        let subnet = net("10.88.0.0/24");
        let check = |range: &str| check_range(subnet, range.parse().unwrap());
        for good in ["10.88.0.0/24", "10.88.0.128/25", "10.88.0.7/32"] {
            assert_eq!(check(good), Ok(net(good)));
        }
        for (bad, words) in [
            ("10.88.0.0/16", "not inside"),
            ("10.89.0.0/25", "not inside"),
            ("fd00::/64", "IPv6"),
            ("10.88.0.9/25", "its subnet is 10.88.0.0/25"),
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn reserved_addresses_are_nobody_elses() {
        let (subnet, gateway) = (net("10.88.0.0/24"), Ipv4Addr::new(10, 88, 0, 1));
        let check = |addresses: &[(&str, &str)]| {
            let all = addresses.iter().map(|(name, it)| ((*name).to_owned(), it.parse().unwrap()));
            check_reserved(subnet, gateway, &all.collect()).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[("a", "10.88.0.5"), ("b", "10.88.0.6")]).unwrap().len(), 2);
        for (bad, words) in [
            (&[("a", "10.88.0.1")][..], "gateway's"),
            (&[("a", "10.88.1.1")], "outside"),
            (&[("a", "10.88.0.255")], "broadcast"),
            (&[("a", "10.88.0.5"), ("b", "10.88.0.5")], "in use by a, for whom it is reserved"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    const NOBODY: &BTreeMap<String, Ipv4Addr> = &BTreeMap::new();

    fn ask(
        space: Space<'_>,
        used: &BTreeMap<Ipv4Addr, &str>,
        wanted: Option<IpAddr>,
    ) -> Result<Ipv4Addr, IpamError> {
        address(space, &Memory::default(), |address| used.get(&address).copied(), wanted)
    }

    #[test]
    fn chosen_from_the_range_and_never_a_reserved_one() {
        let reserved = BTreeMap::from([("router".to_owned(), Ipv4Addr::new(10, 88, 0, 130))]);
        let space = Space {
            subnet: net("10.88.0.0/24"),
            range: Some(net("10.88.0.128/30")),
            gateway: Some([10, 88, 0, 1].into()),
            reserved: &reserved,
        };
        let mut used = BTreeMap::new();
        for expected in [128, 129, 131] {
            let chosen = ask(space, &used, None).unwrap();
            assert_eq!(chosen, Ipv4Addr::new(10, 88, 0, expected));
            used.insert(chosen, "x");
        }
        let error = ask(space, &used, None).unwrap_err().to_string();
        assert!(error.contains("10.88.0.128/30 has no free address left"), "{error}");
        assert_eq!(ask(space, &used, Some([10, 88, 0, 7].into())), Ok([10, 88, 0, 7].into()));
        let error = ask(space, &used, Some([10, 88, 0, 130].into())).unwrap_err().to_string();
        assert!(error.contains("in use by router, for whom it is reserved"), "{error}");
    }

    #[test]
    fn lowest_free_address_until_none_is_left() {
        let subnet = net("10.88.0.0/29");
        let space = Space { subnet, range: None, gateway: Some([10, 88, 0, 2].into()), reserved: NOBODY };
        let mut used = BTreeMap::new();
        for expected in [1, 3, 4, 5, 6] {
            let chosen = ask(space, &used, None).unwrap();
            assert_eq!(chosen, Ipv4Addr::new(10, 88, 0, expected));
            used.insert(chosen, "x");
        }
        assert_eq!(ask(space, &used, None), Err(IpamError::Exhausted(subnet)));
        used.remove(&Ipv4Addr::new(10, 88, 0, 4));
        assert_eq!(ask(space, &used, None), Ok(Ipv4Addr::new(10, 88, 0, 4)));
    }

    #[test]
    fn refuses_addresses_that_cannot_be() {
        let subnet = net("10.88.0.0/24");
        let used = BTreeMap::from([(Ipv4Addr::new(10, 88, 0, 9), "web")]);
        let says = |text: &str| {
            let space = Space { subnet, range: None, gateway: Some([10, 88, 0, 1].into()), reserved: NOBODY };
            ask(space, &used, Some(text.parse().unwrap())).map_err(|error| error.to_string())
        };
        assert_eq!(says("10.88.0.200"), Ok(Ipv4Addr::new(10, 88, 0, 200)));
        for (bad, reason) in [
            ("10.88.1.1", "outside"),
            ("10.88.0.0", "subnet's own"),
            ("10.88.0.255", "broadcast"),
            ("10.88.0.1", "gateway's"),
            ("fd00::2", "IPv6"),
            ("10.88.0.9", "in use by web"),
        ] {
            let error = says(bad).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn macs() {
        let address = Ipv4Addr::new(10, 88, 0, 2);
        let free = "02:00:00:00:00:09".parse().unwrap();
        let taken = MacAddr::from_ipv4(address);
        let used = BTreeMap::from([(taken, "web")]);
        assert_eq!(mac(address, &BTreeMap::new(), None), Ok(taken));
        assert_eq!(mac(address, &used, Some(free)), Ok(free));
        assert_eq!(mac(address, &used, None), Err(IpamError::MacInUse { mac: taken, owner: "web".into() }));
        for bad in ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "03:42:00:00:00:00"] {
            assert!(mac(address, &used, Some(bad.parse().unwrap())).is_err(), "{bad}");
        }
    }
}
