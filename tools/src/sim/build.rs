//! A world that follows from a seed: sites of switches joined by trunks, each with an edge to the outside, hosts on all of them, and
//! what each is to do or to suffer.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use pontoon_dataplane::edge::config::{
    EdgeConfig, Limits, Mapping, NetworkEdge, Publication, Timeouts, Uplink,
};
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::fdb::{DEFAULT_AGEING, Fdb, FdbConfig};
use pontoon_dataplane::network::{Gateway, Identity, Network, Place, Port, PortSettings};
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::{MacAddr, NetworkId, PortId};

use super::agenda::{Agenda, MILLI, Micros, SECOND};
use super::control::Control;
use super::errand::{Errand, Order};
use super::faults::{self, Trouble};
use super::frames;
use super::hostile;
use super::lane::Lane;
use super::link::{End, Link, Quality};
use super::station::{self, SERVICE, Station, Zone};
use super::switch::{Switch, WORKERS, counters};
use super::trace::Trace;
use super::world::{Host, Lan, World};
use super::{Options, Sabotage};
use crate::random::Random;

/// The outside.
pub(super) const OUTSIDE: usize = 0;
/// The first three bytes of its addresses.
const OUTSIDE_PREFIX: [u8; 3] = [198, 51, 100];

/// The first hosts of a LAN serve names; none of them asks itself.
const NAME_SERVERS: usize = 2;

/// A builder at work.
struct Builder {
    world: World,
    random: Random,
    options: Options,
}

/// The world of `seed`.
pub(super) fn build(seed: u64, options: Options) -> World {
    let mut random = Random::new(seed);
    let world = World {
        now: 0,
        agenda: Agenda::new(),
        random: Random::new(random.bits()),
        switches: Vec::new(),
        controls: Vec::new(),
        hosts: Vec::new(),
        links: Vec::new(),
        lans: Vec::new(),
        networks: BTreeMap::new(),
        hostiles: Vec::new(),
        faults: Vec::new(),
        quiet_from: 12 * SECOND,
        trace: Trace::new(options.tell),
        events: 0,
        tiny: random.chance(200, 1000) || Trouble::of_turn(seed) == Trouble::TinyTables,
    };
    let mut builder = Builder { world, random, options };
    builder.outside();
    let sites = builder.random.within(1, 2);
    for site in 0..sites {
        builder.site(site as u8);
    }
    builder.people();
    hostile::place(&mut builder.world, &mut builder.random, seed);
    if options.sabotage == Some(Sabotage::NoGuard) {
        builder.world.leave_unguarded();
    }
    for switch in 0..builder.world.switches.len() {
        builder.world.switches[switch].publish(0);
        builder.world.begin_control(switch);
    }
    builder.errands();
    faults::plan(&mut builder.world, &mut builder.random, seed);
    builder.world
}

impl Builder {
    fn outside(&mut self) {
        let lan = Lan { prefix: OUTSIDE_PREFIX, gateway: None, edge: None, switches: Vec::new() };
        self.world.lans.push(lan);
        let switch = self.switch();
        self.part_of(switch, OUTSIDE);
    }

    /// One host of pontoon's: its root switch has the edge, and others hang on it.
    fn site(&mut self, site: u8) {
        let root = self.switch();
        let networks = self.random.within(1, 2) as u8;
        let lans: Vec<usize> = (0..networks)
            .map(|network| {
                let prefix = [10, site, network];
                let gateway = (MacAddr([2, 0x42, 10, site, network, 1]), Ipv4Addr::new(10, site, network, 1));
                let (gateway, edge) = (Some(gateway), Some(root));
                self.world.lans.push(Lan { prefix, gateway, edge, switches: Vec::new() });
                self.world.lans.len() - 1
            })
            .collect();
        lans.iter().for_each(|&lan| self.part_of(root, lan));
        let mut site_switches = vec![root];
        for _ in 0..self.random.within(0, 2) {
            let parent = site_switches[self.random.below(site_switches.len())];
            let leaf = self.switch();
            for &lan in &lans {
                self.part_of(leaf, lan);
                self.trunk(parent, leaf, lan);
            }
            site_switches.push(leaf);
        }
        self.uplink(root, site);
    }

    fn switch(&mut self) -> usize {
        let number = self.world.switches.len();
        let cost = self.random.within(20, 60);
        let workers = self.random.within(1, WORKERS as u64) as usize;
        let mut switch = Switch::new(number, self.random.bits(), cost, workers);
        switch.loses_answers = self.options.sabotage == Some(Sabotage::LostAnswers);
        // Clocks of different machines differ.
        switch.jumped = Duration::from_millis(self.random.within(0, 100_000));
        self.world.switches.push(switch);
        self.world.controls.push(None);
        number
    }

    /// The switch has a part of the LAN; the one with the edge is its gateway.
    fn part_of(&mut self, switch: usize, lan: usize) {
        let capacity = if self.world.tiny { self.random.within(16, 48) as usize } else { 1024 };
        let config = FdbConfig { capacity, port_share: capacity / 4, ageing: DEFAULT_AGEING };
        let Lan { gateway, edge, switches, .. } = &mut self.world.lans[lan];
        switches.push(switch);
        let gateway = gateway.filter(|_| *edge == Some(switch));
        let networks = &mut self.world.switches[switch].snapshot.networks;
        let id = NetworkId(networks.len() as u16);
        let mut network = NetworkEdge::default();
        if self.random.chance(300, 1000) {
            network.mapping = Mapping::EndpointIndependent;
        }
        // Broken on purpose: one port may have all of the table, and more.
        let unshared = FdbConfig { port_share: 16 * capacity, capacity: 4 * capacity, ..config };
        let made = if self.options.sabotage == Some(Sabotage::NoShare) { unshared } else { config };
        networks.push(Some(Arc::new(Network {
            id,
            gateway: gateway.map(|(mac, address)| Gateway { mac, address, prefix_len: 24 }),
            mtu: 1500,
            fdb: Arc::new(Fdb::with_seed(made, self.random.bits())),
            members: Vec::new(),
            edge: network,
            flooded: Arc::default(),
        })));
        self.world.networks.insert((switch, lan), (id, config));
    }

    fn trunk(&mut self, parent: usize, leaf: usize, lan: usize) {
        let link = self.world.links.len();
        let ends = [(parent, 0), (leaf, 1)].map(|(switch, end)| {
            let port = self.world.add_port(switch, Some(lan), None, (link, end));
            End::Port(switch, port)
        });
        let quality = Quality::any(&mut self.random);
        self.world.links.push(Link::new(ends, quality));
    }

    fn uplink(&mut self, root: usize, site: u8) {
        let link = self.world.links.len();
        let [a, b, c] = OUTSIDE_PREFIX;
        let host = (MacAddr([2, 0, 0, 0, 5, site]), Ipv4Addr::new(a, b, c, 2 + site));
        let port = self.world.add_port(root, None, None, (link, 0));
        let beyond = self.world.add_port(0, Some(OUTSIDE), None, (link, 1));
        let quality = Quality::any(&mut self.random);
        self.world.links.push(Link::new([End::Port(root, port), End::Port(0, beyond)], quality));
        let limits = match self.world.tiny {
            true => Limits { sessions: 512, sessions_per_endpoint: 64 },
            false => Limits { sessions: 8192, sessions_per_endpoint: 256 },
        };
        let edge = EdgeConfig {
            uplinks: vec![Uplink {
                port,
                interface_index: 7,
                name: "up0".to_owned(),
                mac: Some(host.0),
                addresses: vec![(host.1, 24)],
                mtu: 1500,
            }],
            host_addresses: vec![host.1],
            limits,
            timeouts: Timeouts::default(),
            ..EdgeConfig::default()
        };
        self.world.switches[root].snapshot.edge = Arc::new(edge);
        self.world.controls[root] = Some(Control::new(port, host, &mut self.random));
    }

    /// Honest hosts on every LAN, with a stack each.
    fn people(&mut self) {
        for lan in 0..self.world.lans.len() {
            for _ in 0..self.random.within(2, 4) {
                let Lan { switches, edge, .. } = &self.world.lans[lan];
                let any = switches[self.random.below(switches.len())];
                // Only what is at the switch with the edge can be published.
                let switch = edge.filter(|_| self.world.members(lan).next().is_none()).unwrap_or(any);
                let guarded = self.random.chance(700, 1000) && lan != OUTSIDE;
                self.world.add_host(lan, switch, guarded, &mut self.random);
            }
        }
        self.publish();
        let zone = Rc::new(self.zone());
        for number in 0..self.world.hosts.len() {
            let lan = self.world.hosts[number].lan;
            let serves_names = self.world.members(lan).take(NAME_SERVERS).any(|server| server == number);
            let outward = lan != OUTSIDE && self.random.chance(500, 1000);
            let asks = if outward { OUTSIDE } else { lan };
            self.world.give_stack(number, asks, serves_names.then(|| Rc::clone(&zone)), &mut self.random);
        }
    }

    /// One host of each inner LAN is published.
    fn publish(&mut self) {
        for lan in 1..self.world.lans.len() {
            let Some(root) = self.world.lans[lan].edge else { continue };
            let at_root = |host: &usize| self.world.hosts[*host].place.0 == root;
            let candidates: Vec<usize> = self.world.members(lan).filter(at_root).collect();
            let host = candidates[self.random.below(candidates.len())];
            let endpoint = self.world.hosts[host].place.1;
            let publication = Publication {
                id: lan as u32,
                address: None,
                protocol: Protocol::Tcp,
                ports: (8000 + lan as u16, 8000 + lan as u16),
                network: self.world.networks[&(root, lan)].0,
                endpoint,
                to_address: self.world.hosts[host].own.1,
                to_port: SERVICE,
                rules: Arc::default(),
            };
            self.world.change_edge(root, |edge| edge.publications.push(Arc::new(publication)));
        }
    }

    /// `h3.sim` is host number 3, `p1.sim` what stands for LAN number 1 outside.
    fn zone(&self) -> BTreeMap<String, Ipv4Addr> {
        let hosts =
            self.world.hosts.iter().enumerate().map(|(number, host)| (format!("h{number}.sim"), host.own.1));
        let published = self.world.lans.iter().enumerate().filter_map(|(lan, it)| {
            let control = self.world.controls[it.edge?].as_ref()?;
            Some((format!("p{lan}.sim"), control.host.1))
        });
        hosts.chain(published).collect()
    }

    fn errands(&mut self) {
        for number in 0..self.world.hosts.len() {
            if self.world.hosts[number].station.is_none() || self.world.hosts[number].is_deaf {
                continue;
            }
            for _ in 0..self.random.within(1, 3) {
                let order = self.order(number);
                if let Some(station) = &mut self.world.hosts[number].station {
                    station.errands.push(Errand::new(order));
                }
            }
        }
    }

    /// A neighbour, a host outside, or what is published of some LAN.
    fn order(&mut self, host: usize) -> Order {
        let lan = self.world.hosts[host].lan;
        let edge = self.world.lans[lan].edge;
        let (start, key) = (self.random.within(0, 8 * SECOND), self.random.bits() as u32);
        let size = self.random.within(100, 60_000) as u32;
        let published = 1 + self.random.below(self.world.lans.len() - 1);
        let (name, address, port, edges) = match self.random.within(0, 2) {
            0 => self.host_order(host, lan, Vec::new()),
            1 if lan != OUTSIDE => self.host_order(host, OUTSIDE, edge.into_iter().collect()),
            _ => {
                let beyond = self.world.lans[published].edge.unwrap_or(0);
                let address =
                    self.world.controls[beyond].as_ref().map_or(Ipv4Addr::UNSPECIFIED, |it| it.host.1);
                let edges = edge.into_iter().chain([beyond]).collect();
                (format!("p{published}.sim"), address, 8000 + published as u16, edges)
            }
        };
        let again_after = self.random.chance(400, 1000).then(|| self.random.within(SECOND, 10 * SECOND));
        // There is no gateway for IPv6.
        let by_ipv6 = edges.is_empty() && self.random.chance(400, 1000);
        Order { name, address, by_ipv6, port, edges, start, size, key, again_after }
    }

    fn host_order(
        &mut self,
        host: usize,
        lan: usize,
        edges: Vec<usize>,
    ) -> (String, Ipv4Addr, u16, Vec<usize>) {
        let honest = |it: &usize| {
            *it != host && self.world.hosts[*it].station.is_some() && !self.world.hosts[*it].is_deaf
        };
        let servers: Vec<usize> = self.world.members(lan).filter(honest).collect();
        let server = servers[self.random.below(servers.len())];
        (format!("h{server}.sim"), self.world.hosts[server].own.1, SERVICE, edges)
    }
}

impl World {
    /// Hosts of a LAN.
    pub(super) fn members(&self, lan: usize) -> impl Iterator<Item = usize> + '_ {
        self.hosts.iter().enumerate().filter(move |(_, host)| host.lan == lan).map(|(number, _)| number)
    }

    /// A port on the switch: of its part of the LAN, or an uplink.
    pub(super) fn add_port(
        &mut self,
        switch: usize,
        lan: Option<usize>,
        endpoint: Option<frames::Station>,
        link: (usize, usize),
    ) -> PortId {
        let id = PortId(self.switches[switch].snapshot.ports.len() as u16);
        self.switches[switch].snapshot.ports.push(None);
        self.switches[switch].lanes.push(None);
        let network = lan.and_then(|lan| self.networks.get(&(switch, lan))).map(|(network, _)| *network);
        let identity = endpoint.map(|(mac, address)| {
            let own = vec![address.into(), frames::ipv6_of(address).into()];
            Arc::new(Identity { mac, addresses: own.clone(), sandbox_addresses: own })
        });
        let port = Port {
            id,
            place: network.map_or(Place::Uplink, Place::Member),
            settings: PortSettings::default(),
            identity,
            own_mac: None,
            mtu: 1500,
            counters: counters(),
        };
        self.put_port(switch, port, link);
        id
    }

    /// The port is there from the next snapshot on.
    pub(super) fn put_port(&mut self, switch: usize, port: Port, link: (usize, usize)) {
        let (id, place) = (port.id, port.place);
        self.switches[switch].lanes[id.index()] = Some(Lane::new(link, self.offloads_at(link.0)));
        self.switches[switch].snapshot.ports[id.index()] = Some(port);
        if let Some(network) = place.network() {
            self.change_network(switch, network, |network| {
                network.members.push(id);
                network.members.sort_unstable();
            });
        }
    }

    /// What can be left to the device at a link: a host's, if there is one.
    fn offloads_at(&self, link: usize) -> Offloads {
        match self.links.get(link).map(|link| link.ends[0]) {
            Some(End::Host(host)) => self.hosts[host].offloads,
            _ => Offloads::NONE,
        }
    }

    /// Changes a network of the switch with the next snapshot.
    pub(super) fn change_network(&mut self, switch: usize, id: NetworkId, change: impl FnOnce(&mut Network)) {
        if let Some(Some(network)) = self.switches[switch].snapshot.networks.get_mut(id.index()) {
            change(Arc::make_mut(network));
        }
    }

    /// Changes what the edge decides by with the next snapshot; whatever was admitted before is asked about again.
    pub(super) fn change_edge(&mut self, switch: usize, change: impl FnOnce(&mut EdgeConfig)) {
        let edge = Arc::make_mut(&mut self.switches[switch].snapshot.edge);
        change(edge);
        edge.rules_generation += 1;
    }

    /// One more host, at a link of its own.
    pub(super) fn add_host(
        &mut self,
        lan: usize,
        switch: usize,
        guarded: bool,
        random: &mut Random,
    ) -> usize {
        let (number, link) = (self.hosts.len(), self.links.len());
        let [a, b, c] = self.lans[lan].prefix;
        let last = 10 + number as u8;
        // Only within a network do MACs differ: a site's other network has the same ones.
        let nth = 10 + self.members(lan).count() as u8;
        let own = (MacAddr([2, 0x42, a, b, 0, nth]), Ipv4Addr::new(a, b, c, last));
        let port = self.add_port(switch, Some(lan), Some(own), (link, 1));
        if let Some(Some(port)) = self.switches[switch].snapshot.ports.get_mut(port.index()) {
            port.settings.guard = guarded;
            if random.chance(300, 1000) {
                // Far more than honest hosts need, and far less than a storm.
                port.settings.storm.broadcast = random.within(100, 1000) as u32;
            }
        }
        self.links.push(Link::new([End::Host(number), End::Port(switch, port)], Quality::any(random)));
        let offloads = match random.within(0, 5) {
            0..2 => Offloads::ALL,
            2 => Offloads { tso: false, uso: false, ..Offloads::ALL },
            _ => Offloads::NONE,
        };
        if let Some(lane) = self.switches[switch].lane(port) {
            lane.offloads = offloads;
        }
        let mut host = Host::new(lan, own, guarded, link, (switch, port));
        host.offloads = offloads;
        self.hosts.push(host);
        number
    }

    /// The host has a stack. It asks the name server of the LAN `asks`, or is one and has a `zone`.
    pub(super) fn give_stack(&mut self, host: usize, asks: usize, zone: Option<Zone>, random: &mut Random) {
        let Host { lan, own: (mac, address), .. } = self.hosts[host];
        let servers = self.members(asks).take(NAME_SERVERS).filter(|server| *server != host);
        let name_server = servers.last().map_or(address, |server| self.hosts[server].own.1);
        let by_ipv6 = asks == lan && random.chance(300, 1000);
        let identity = station::Identity {
            mac,
            address,
            gateway: self.lans[lan].gateway.map(|(_, address)| address),
            name_server: if by_ipv6 { frames::ipv6_of(name_server).into() } else { name_server.into() },
            seed: random.bits(),
        };
        self.hosts[host].station = Some(Station::new(identity, zone));
    }

    /// Control of the switch's edge begins.
    pub(super) fn begin_control(&mut self, switch: usize) {
        let Some(control) = &mut self.controls[switch] else { return };
        for answer in control.begin() {
            self.tell_edge(switch, &answer);
        }
    }

    /// Broken on purpose: ports that must be guarded are not.
    pub(super) fn leave_unguarded(&mut self) {
        for switch in &mut self.switches {
            for port in switch.snapshot.ports.iter_mut().flatten() {
                port.settings.guard = false;
            }
        }
    }
}

/// When something begins that lasts `for_at_most`, early enough to disturb what goes on.
pub(super) fn some_time(random: &mut Random, at_most: Micros) -> (Micros, Micros) {
    let begins = random.within(200 * MILLI, 9 * SECOND);
    (begins, begins + random.within(at_most / 4, at_most))
}
