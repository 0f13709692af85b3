//! Everything here goes through `Core::step`, `Core::tick` and `Core::answer`, as in production. What a packet must become is the
//! same packet built with other addresses ([`super::specimen`]).

mod basic;
mod hairpin;
mod links;
mod origins;
mod recent;
mod rehearsal;
mod resolver;
mod sessions;
mod shapes;
mod there_and_back;
mod trace;
mod way_back;

use core::time::Duration;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::config::{EdgeConfig, Publication, Uplink};
use super::punt::{Answer, Neighbour, Request, Route};
use super::specimen::Specimen;
use super::tuple::{Protocol, Tuple};
use crate::addr::MacAddr;
use crate::counters::CounterSum;
use crate::frame::{Frame, ethertype};
use crate::network::{Gateway, Network, NetworkId, Place, Port, PortId, Snapshot};
use crate::offload::Offload;
use crate::out::Out;
use crate::step::Core;
use crate::testing::{GATEWAY, NETWORK, address, arp, ethernet, guarded_port, mac, open_port, snapshot};
use crate::time::Timestamp;
use crate::verdict::{DropReason, Reply, Taken, Translation, Verdict, Wait};

/// The host's port on the network, its uplinks (the second without Ethernet headers), an endpoint of another network.
const HOST_PORT: u16 = 8;
const UPLINK: u16 = 9;
const TUNNEL: u16 = 10;
const NEIGHBOUR: u16 = 5;

const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const TUNNEL_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const UPLINK_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 9]);
const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 9, 1]);
/// The gateway of the other network, and its endpoint.
const OTHER: Gateway =
    Gateway { mac: MacAddr([0x02, 0x42, 10, 1, 0, 1]), address: Ipv4Addr::new(10, 1, 0, 1), prefix_len: 24 };
const OTHER_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
/// The ports that NAT has.
const POOL: (u16, u16) = (20_000, 20_999);

/// A frame that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    port: u16,
    bytes: Vec<u8>,
    offload: Offload,
}

impl Left {
    fn packet(&self) -> &[u8] {
        &self.bytes[14..]
    }

    /// Destination and source port of its TCP or UDP.
    fn ports(&self) -> (u16, u16) {
        let word = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        (word(34), word(36))
    }

    fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[26], self.bytes[27], self.bytes[28], self.bytes[29])
    }
}

/// A host with two networks and two uplinks.
struct World {
    core: Core,
    out: Out,
    now: Timestamp,
    asked: Vec<Request>,
}

impl World {
    /// Nothing is known yet.
    fn new() -> World {
        World::of(Core::new(0))
    }

    fn of(mut core: Core) -> World {
        let now = Timestamp::from_secs(1000);
        core.adopt(now, Arc::new(world()));
        World { core, out: Out::new(), now, asked: Vec::new() }
    }

    /// Ports are held, and the route to [`REMOTE`] and its next hop are known.
    fn ready() -> World {
        let mut world = World::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            world.answer(&Answer::PortsHeld { protocol, ports: vec![POOL] });
        }
        world.learn_route(REMOTE);
        world
    }

    fn learn_route(&mut self, destination: Ipv4Addr) {
        let route = Route {
            uplink: PortId(UPLINK),
            next_hop: ROUTER,
            source: HOST,
            mtu: 1500,
            neighbour: Some(Neighbour::Learned(ROUTER_MAC)),
        };
        self.answer(&Answer::Route { network: NETWORK, destination, route: Some(route) });
    }

    fn answer(&mut self, answer: &Answer) {
        self.core.answer(self.now, answer);
    }

    fn change(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(self.core.snapshot());
        change(&mut snapshot);
        self.core.adopt(self.now, Arc::new(snapshot));
    }

    fn change_network(&mut self, change: impl FnOnce(&mut Network)) {
        self.change(|snapshot| change(Arc::make_mut(snapshot.networks[0].as_mut().unwrap())));
    }

    fn change_edge(&mut self, change: impl FnOnce(&mut EdgeConfig)) {
        self.change(|snapshot| {
            let edge = Arc::make_mut(&mut snapshot.edge);
            change(edge);
            edge.rules_generation += 1;
        });
    }

    fn publish(&mut self, id: u32, address: Option<Ipv4Addr>, protocol: Protocol, host: u16, to: (u8, u16)) {
        self.change_edge(|edge| {
            edge.publications.push(Arc::new(Publication {
                id,
                address,
                protocol,
                ports: (host, host),
                network: NETWORK,
                endpoint: PortId(to.0.into()),
                to_address: crate::testing::address(to.0),
                to_port: to.1,
                rules: Arc::default(),
            }));
        });
    }

    fn step(&mut self, port: u16, bytes: &[u8]) -> (Verdict, Vec<Left>) {
        self.step_with(port, bytes, Offload::NONE)
    }

    fn step_with(&mut self, port: u16, bytes: &[u8], offload: Offload) -> (Verdict, Vec<Left>) {
        let frame = Frame { bytes, offload };
        let verdict = self.core.step(self.now, PortId(port), &frame, &mut self.out);
        (verdict, self.collect(&frame))
    }

    /// A packet from an endpoint of the network to its gateway.
    fn inside(&mut self, endpoint: u8, packet: &Specimen) -> (Verdict, Vec<Left>) {
        let frame = ethernet(GATEWAY.mac, mac(endpoint), ethertype::IPV4, &packet.packet());
        self.step(endpoint.into(), &frame)
    }

    /// A packet by the uplink, from the router.
    fn outside(&mut self, packet: &Specimen) -> (Verdict, Vec<Left>) {
        self.step(UPLINK, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::IPV4, &packet.packet()))
    }

    /// What waited and goes on.
    fn resume(&mut self) -> Vec<(Verdict, Vec<Left>)> {
        let mut all = Vec::new();
        while let Some(held) = self.core.next_ready() {
            let frame = Frame { bytes: &held.bytes, offload: held.offload };
            let verdict = self.core.resume(self.now, held.ingress, &frame, &mut self.out);
            all.push((verdict, self.collect(&frame)));
        }
        all
    }

    fn collect(&mut self, frame: &Frame<'_>) -> Vec<Left> {
        self.asked.extend(self.out.requests());
        let copies = self.out.copies().iter().map(|egress| (*egress, frame.bytes.to_vec(), frame.offload));
        let rewritten = self.out.rewritten().map(|head| (head.egress, head.assemble(frame), head.offload));
        let made = self.out.made().map(|(egress, made)| (egress, made.bytes.to_vec(), made.offload));
        copies
            .chain(rewritten)
            .chain(made)
            .map(|(egress, bytes, offload)| Left { port: egress.0, bytes, offload })
            .collect()
    }

    /// Lets time pass, with ticks when the core wants them; what leaves meanwhile.
    fn pass(&mut self, time: Duration) -> Vec<Left> {
        let (until, mut left) = (self.now + time, Vec::new());
        loop {
            let next = self.core.tick(self.now, &mut self.out);
            left.extend(self.collect(&Frame::plain(&[])));
            match next {
                Some(due) if due <= until => self.now = due,
                _ => break,
            }
        }
        self.now = until;
        left
    }

    fn drops(&self, port: u16, reason: DropReason) -> u64 {
        CounterSum::of(&self.core.snapshot().port(PortId(port)).unwrap().counters).dropped(reason)
    }

    fn sessions(&self) -> u32 {
        self.core.edge().unwrap().stats().sessions
    }
}

fn world() -> Snapshot {
    let host = Port { place: Place::Host(NETWORK), ..open_port(HOST_PORT as u8) };
    let mut neighbour = Port { place: Place::Member(NetworkId(1)), ..guarded_port(NEIGHBOUR as u8) };
    neighbour.identity = neighbour.identity.map(|identity| {
        let own = vec![OTHER_ENDPOINT.into()];
        let mut identity = (*identity).clone();
        (identity.addresses, identity.sandbox_addresses) = (own.clone(), own);
        Arc::new(identity)
    });
    let uplink = |number: u16| Port { place: Place::Uplink, ..open_port(number as u8) };
    let ports = vec![
        guarded_port(2),
        guarded_port(3),
        guarded_port(4),
        neighbour,
        host,
        uplink(UPLINK),
        uplink(TUNNEL),
    ];
    let mut snapshot = snapshot(ports);
    let mut first = Network::clone(snapshot.networks[0].as_ref().unwrap());
    first.members.retain(|member| *member != PortId(NEIGHBOUR));
    first.edge.host_port = Some(PortId(HOST_PORT));
    let second = Network {
        id: NetworkId(1),
        gateway: Some(OTHER),
        members: vec![PortId(NEIGHBOUR)],
        edge: super::config::NetworkEdge::default(),
        ..first.clone()
    };
    snapshot.networks = vec![Some(Arc::new(first)), Some(Arc::new(second))];
    snapshot.edge = Arc::new(EdgeConfig {
        uplinks: vec![
            Uplink {
                port: PortId(UPLINK),
                interface_index: 2,
                name: "eth0".into(),
                mac: Some(UPLINK_MAC),
                addresses: vec![(HOST, 24)],
                mtu: 1500,
            },
            Uplink {
                port: PortId(TUNNEL),
                interface_index: 3,
                name: "wg0".into(),
                mac: None,
                addresses: vec![(TUNNEL_HOST, 24)],
                mtu: 1420,
            },
        ],
        host_addresses: vec![HOST, TUNNEL_HOST],
        ..EdgeConfig::default()
    });
    snapshot
}

/// A packet of a flow, and the same one after a router.
fn flow(protocol: Protocol, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Specimen {
    Specimen::new(Tuple::v4(protocol, src, dst), b"what a flow carries")
}

fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Specimen {
    flow(Protocol::Udp, src, dst)
}

fn tcp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> Specimen {
    Specimen { tcp_flags: flags, payload: Vec::new(), ..flow(Protocol::Tcp, src, dst) }
}

/// That a packet has become another one, one hop further, and leaves by that port between those MACs; next hops may be asked
/// beside that.
#[track_caller]
fn assert_left(left: &[Left], port: u16, (dst, src): (MacAddr, MacAddr), expected: &Specimen) {
    let expected = Specimen { ttl: expected.ttl - 1, ..expected.clone() };
    let frame = ethernet(dst, src, ethertype::IPV4, &expected.packet());
    let left: Vec<&Left> = left.iter().filter(|left| left.bytes[12..14] != [0x08, 0x06]).collect();
    assert_eq!(left, [&Left { port, bytes: frame, offload: Offload::NONE }]);
}

/// Towards the router.
const OUT: (MacAddr, MacAddr) = (ROUTER_MAC, UPLINK_MAC);

/// Towards an endpoint.
fn to_endpoint(n: u8) -> (MacAddr, MacAddr) {
    (mac(n), GATEWAY.mac)
}

fn routed(port: u16, translation: Translation) -> Verdict {
    Verdict::Route { egress: PortId(port), translation }
}
