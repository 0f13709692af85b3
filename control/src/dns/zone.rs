//! The names that pontoon gave, and who may know them.
//!
//! A name belongs to a network, and whoever asks is told of those of his own networks alone: all those that his sandbox has an endpoint on.
//! What stands here is made anew with every change of the state and never changes afterwards.
//!
//! `web` is an endpoint's own name or one of its aliases; `web.blue` is the one of the network `blue`, where several of the asker's networks have
//! a `web`. The other way round an address leads to `web.blue`.
//!
//! Not every name in question is one of ours, but some must not be asked for elsewhere whether we know them or not: those
//! of a single label, for they mean something on this host alone, and the addresses of pontoon's subnets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::rr::Name;
use ipnet::Ipv4Net;

use crate::netns::NetnsId;

/// The port that names are asked for at.
pub const PORT: u16 = 53;

/// A network, its endpoints and their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNames {
    /// Its name.
    pub name: String,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Its gateway's address.
    pub gateway: Ipv4Addr,
    /// Whether its endpoints may ask for names of the outside: where nothing leaves a network, no question does.
    pub forwards: bool,
    /// Whom to ask for those instead of the host's resolvers, in order; nobody in particular when empty.
    pub upstreams: Vec<IpAddr>,
    /// Its endpoints.
    pub stations: Vec<Station>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The sandbox that it is in.
    pub sandbox: NetnsId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its own name, and its aliases after it.
    pub names: Vec<String>,
    /// Whom its sandbox asks instead of its networks' upstreams; nobody in particular when empty.
    pub upstreams: Vec<IpAddr>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Somebody in a sandbox, at its loopback.
    Sandbox(NetnsId),
    /// Somebody at the gateway of a network, from this address, which the guard vouches for.
    Station {
        /// The network.
        network: String,
        /// The address.
        address: Ipv4Addr,
    },
}

/// What there is to say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The name has these addresses.
    Addresses(Vec<Ipv4Addr>),
    /// The address has this name.
    Name(Name),
    /// `localhost` and what lies below it (RFC 6761, section 6.3).
    Localhost,
    /// It is not there, and nobody else is to be asked.
    Nothing,
    /// It is none of ours.
    Elsewhere,
}

/// Whom to ask for what is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding<'a> {
    /// Nobody.
    No,
    /// These, in order.
    To(&'a [IpAddr]),
    /// Whoever the host asks.
    ToTheHosts,
}

/// All names.
#[derive(Debug, Default)]
pub struct Zone {
    networks: Vec<Network>,
    by_name: HashMap<String, usize>,
    /// First address and number of each network, by address; subnets never overlap.
    subnets: Vec<(u32, usize)>,
    sandboxes: HashMap<NetnsId, Sandbox>,
}

#[derive(Debug)]
struct Network {
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    forwards: bool,
    upstreams: Vec<IpAddr>,
    /// Addresses by `web`.
    plain: HashMap<Name, Vec<Ipv4Addr>>,
    /// Addresses by `web.blue`.
    qualified: HashMap<Name, Vec<Ipv4Addr>>,
    stations: HashMap<Ipv4Addr, (NetnsId, Option<Name>)>,
}

#[derive(Debug, Default)]
struct Sandbox {
    networks: Vec<usize>,
    addresses: Vec<Ipv4Addr>,
    forwards: bool,
    upstreams: Vec<IpAddr>,
}

/// A name of the control plane as one of the DNS; none where it has an empty label.
fn dns_name(name: &str) -> Option<Name> {
    if name.split('.').any(str::is_empty) {
        None
    } else {
        Name::from_labels(name.split('.').map(str::as_bytes)).ok()
    }
}

/// `web.blue`.
fn qualify(name: &Name, network: Option<&Name>) -> Option<Name> {
    name.clone().append_domain(network?).ok()
}

impl Zone {
    /// The names of these networks.
    pub fn new(networks: Vec<NetworkNames>) -> Zone {
        let mut zone = Zone::default();
        let mut given: HashMap<NetnsId, Vec<IpAddr>> = HashMap::new();
        for (number, network) in networks.into_iter().enumerate() {
            for station in &network.stations {
                let sandbox = zone.sandboxes.entry(station.sandbox).or_default();
                sandbox.addresses.push(station.address);
                given.entry(station.sandbox).or_default().extend(&station.upstreams);
                if sandbox.networks.last() != Some(&number) {
                    sandbox.networks.push(number);
                    sandbox.forwards |= network.forwards;
                    sandbox.upstreams.extend(network.upstreams.iter().filter(|_| network.forwards));
                }
            }
            zone.subnets.push((network.subnet.network().into(), number));
            zone.by_name.insert(network.name.clone(), number);
            zone.networks.push(Network::new(network));
        }
        zone.subnets.sort_unstable();
        for (netns, upstreams) in given.into_iter().filter(|(_, upstreams)| !upstreams.is_empty()) {
            zone.sandboxes.entry(netns).or_default().upstreams = upstreams;
        }
        zone
    }

    /// What there is to say to `asker` about a name.
    pub fn find(&self, asker: &Asker, name: &Name) -> Found {
        if name.is_localhost() {
            return Found::Localhost;
        }
        let networks = self.networks_of(asker);
        let known = |of: fn(&Network) -> &HashMap<Name, Vec<Ipv4Addr>>| {
            let all = networks.iter().filter_map(|&number| of(self.networks.get(number)?).get(name));
            let mut all: Vec<Ipv4Addr> = all.flatten().copied().collect();
            all.dedup();
            (!all.is_empty()).then_some(Found::Addresses(all))
        };
        known(|it| &it.plain).or_else(|| known(|it| &it.qualified)).unwrap_or_else(|| match labels(name) {
            1 => Found::Nothing,
            _ => self.find_reverse(networks, name),
        })
    }

    /// As [`Zone::find`], for names that may stand for an address of a subnet, or for many of them.
    fn find_reverse(&self, networks: &[usize], name: &Name) -> Found {
        let Some((address, known_octets)) = reverse(name) else { return Found::Elsewhere };
        let Some(number) = self.network_around(address) else { return Found::Elsewhere };
        let Some(network) = self.networks.get(number) else { return Found::Elsewhere };
        match known_octets {
            4 if networks.contains(&number) && labels(name) == 6 => {
                let name = network.stations.get(&address).and_then(|(_, name)| name.clone());
                name.map_or(Found::Nothing, Found::Name)
            }
            // A zone around our subnet is somebody else's.
            octets if octets * 8 < usize::from(network.subnet.prefix_len()) => Found::Elsewhere,
            _ => Found::Nothing,
        }
    }

    /// Whom `asker` asks for what is elsewhere.
    pub fn forwarding(&self, asker: &Asker) -> Forwarding<'_> {
        let (forwards, upstreams) = match (self.sandbox_of(asker), asker) {
            (Some(sandbox), _) => (sandbox.forwards, &sandbox.upstreams),
            (None, Asker::Station { network, .. }) => match self.network(network) {
                Some(network) => (network.forwards, &network.upstreams),
                None => return Forwarding::No,
            },
            // It has no endpoint yet.
            (None, Asker::Sandbox(_)) => return Forwarding::No,
        };
        match upstreams.as_slice() {
            _ if !forwards => Forwarding::No,
            [] => Forwarding::ToTheHosts,
            upstreams => Forwarding::To(upstreams),
        }
    }

    /// Whether to ask there would be to ask ourselves, or the asker, who asks us: questions would go round for ever.
    pub fn is_loop(&self, asker: &Asker, upstream: SocketAddr) -> bool {
        let IpAddr::V4(address) = upstream.ip().to_canonical() else { return false };
        let is_gateway = || {
            let network = self.network_around(address).and_then(|number| self.networks.get(number));
            network.is_some_and(|it| it.gateway == address)
        };
        let is_asker = || match asker {
            Asker::Station { address: own, .. } if *own == address => true,
            _ => self.sandbox_of(asker).is_some_and(|sandbox| sandbox.addresses.contains(&address)),
        };
        upstream.port() == PORT && (is_gateway() || is_asker())
    }

    /// The sandbox that is behind `asker`: whoever asks by several ways is one.
    pub fn identity(&self, asker: &Asker) -> Option<NetnsId> {
        match asker {
            Asker::Sandbox(netns) => Some(*netns),
            Asker::Station { network, address } => self.station(network, *address),
        }
    }

    /// Who has which names, for people: network, name, address.
    pub fn names(&self) -> Vec<(String, Name, Ipv4Addr)> {
        let mut names = Vec::new();
        for (network, &number) in &self.by_name {
            let plain = self.networks.get(number).into_iter().flat_map(|it| &it.plain);
            for (name, addresses) in plain {
                names.extend(addresses.iter().map(|address| (network.clone(), name.clone(), *address)));
            }
        }
        names.sort();
        names
    }

    fn network(&self, name: &str) -> Option<&Network> {
        self.networks.get(*self.by_name.get(name)?)
    }

    /// The sandbox of a network's endpoint; for an address of another network, of one that has an endpoint on this one as well. Whoever is behind
    /// an existing interface has none, and must not pass for somebody whom he cannot be.
    fn station(&self, network: &str, address: Ipv4Addr) -> Option<NetnsId> {
        let number = *self.by_name.get(network)?;
        let (netns, _) = self.networks.get(self.network_around(address)?)?.stations.get(&address)?;
        self.sandboxes.get(netns)?.networks.contains(&number).then_some(*netns)
    }

    fn sandbox_of(&self, asker: &Asker) -> Option<&Sandbox> {
        self.sandboxes.get(&self.identity(asker)?)
    }

    fn networks_of(&self, asker: &Asker) -> &[usize] {
        match (self.sandbox_of(asker), asker) {
            (Some(sandbox), _) => &sandbox.networks,
            (None, Asker::Station { network, .. }) => {
                self.by_name.get(network).map(std::slice::from_ref).unwrap_or_default()
            }
            (None, Asker::Sandbox(_)) => &[],
        }
    }

    /// The number of the network in whose subnet an address lies.
    fn network_around(&self, address: Ipv4Addr) -> Option<usize> {
        let behind = self.subnets.partition_point(|(first, _)| *first <= u32::from(address));
        let (_, number) = self.subnets.get(behind.checked_sub(1)?)?;
        self.networks.get(*number)?.subnet.contains(&address).then_some(*number)
    }
}

impl Network {
    fn new(names: NetworkNames) -> Network {
        let NetworkNames { name, subnet, gateway, forwards, upstreams, stations } = names;
        let own = dns_name(&name);
        let mut network = Network {
            subnet,
            gateway,
            forwards,
            upstreams,
            plain: HashMap::new(),
            qualified: HashMap::new(),
            stations: HashMap::new(),
        };
        for Station { sandbox, address, names, .. } in stations {
            let names: Vec<Name> = names.iter().filter_map(|name| dns_name(name)).collect();
            let first = names.first().and_then(|name| qualify(name, own.as_ref()));
            network.stations.insert(address, (sandbox, first));
            for name in names {
                if let Some(qualified) = qualify(&name, own.as_ref()) {
                    network.qualified.entry(qualified).or_default().push(address);
                }
                network.plain.entry(name).or_default().push(address);
            }
        }
        network
    }
}

/// How many labels a name has. Hickory's count leaves a first one out that is an asterisk.
fn labels(name: &Name) -> usize {
    name.iter().count()
}

/// What a name below `in-addr.arpa` (RFC 1035, section 3.5) stands for: an address, and how many of its octets the name says, from the first on.
/// The name may go on below that.
fn reverse(name: &Name) -> Option<(Ipv4Addr, usize)> {
    let mut labels = name.iter().rev();
    for expected in ["arpa", "in-addr"] {
        labels.next().filter(|label| label.eq_ignore_ascii_case(expected.as_bytes()))?;
    }
    let octet = |label: &[u8]| std::str::from_utf8(label).ok()?.parse::<u8>().ok();
    let said: Vec<u8> = labels.map_while(octet).take(4).collect();
    let mut octets = [0; 4];
    octets.iter_mut().zip(&said).for_each(|(place, octet)| *place = *octet);
    (!said.is_empty()).then_some((octets.into(), said.len()))
}

#[cfg(test)]
mod tests;
