//! What a trace says is what happens, and it changes nothing: two worlds live the same life, and in one of them every frame is
//! traced before it comes.

use proptest::prelude::*;

use super::*;
use crate::edge::config::{Action, Hits, Limits, Link, Mapping, NetworkEdge, Rule, UplinkChoice};
use crate::edge::punt::Neighbour;
use crate::edge::specimen::any_specimen;
use crate::edge::view::SessionFilter;
use crate::testing::cases;
use crate::trace::decision::{Decision, Routing, Tracking};
use crate::trace::{KnownRoute, Trace};

const LIMITS: Limits = Limits { sessions: 12, sessions_per_endpoint: 6 };
const PORTS: (u16, u16) = (20_000, 20_005);
/// Where packets come in.
const INGRESS: [u16; 7] = [2, 3, 4, NEIGHBOUR, HOST_PORT, UPLINK, TUNNEL];
/// Whom they are from and to, where anything goes.
const ADDRESSES: [Ipv4Addr; 10] = [
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 0, 3),
    Ipv4Addr::new(10, 0, 0, 4),
    OTHER_ENDPOINT,
    GATEWAY.address,
    HOST,
    REMOTE,
    REMOTE_TOO,
    ROUTER,
    Ipv4Addr::new(10, 0, 0, 255),
];
const REMOTE_TOO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
/// Ports of those who begin: anybody's, of the pool, wished for.
const OWN: [u16; 4] = [40_000, 40_001, 20_000, 5060];
/// Ports of those who answer: published ones, and others.
const SERVICES: [u16; 2] = [80, 53];
/// Ports of the host that NAT may have.
const HELD: [u16; 7] = [20_000, 20_001, 20_002, 20_003, 20_004, 20_005, 5060];

#[derive(Debug, Clone)]
enum Operation {
    Packet(Packet),
    /// Whatever it is, from an endpoint to its gateway.
    Any(Specimen),
    /// An endpoint asks for an address, or the router says that it has one.
    Arp {
        ingress: u8,
        address: u8,
    },
    Pass(u64),
    Answer {
        what: u8,
        address: u8,
        port: u8,
    },
    /// Each bit turns something round.
    Change(u8),
}

#[derive(Debug, Clone)]
struct Packet {
    course: Course,
    protocol: Protocol,
    /// What is left to choose, a byte for each.
    choice: [u8; 6],
    tcp_flags: u8,
    ttl: u8,
    /// Which fragment it is.
    part: u8,
    payload_len: usize,
    dont_fragment: bool,
    /// If it waits, all that it waits for comes.
    fulfil: bool,
}

/// From whom to whom.
#[derive(Debug, Clone, Copy)]
enum Course {
    Outwards,
    /// The answer to that, or what looks like one.
    Back,
    ToPublication,
    FromPublished,
    Hairpin,
    FromHairpin,
    /// Between two endpoints.
    Bridged,
    ToHost,
    FromHost,
    /// An ICMP error from outside about what went out.
    Error,
    Anywhere,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Course::*;
    let protocol = prop::sample::select(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Icmp][..]);
    let course = prop_oneof![
        6 => Just(Outwards), 5 => Just(Back), 2 => Just(ToPublication), 2 => Just(FromPublished), 1 => Just(Hairpin),
        2 => Just(FromHairpin), 3 => Just(Bridged), 1 => Just(ToHost), 1 => Just(FromHost), 1 => Just(Error), 3 => Just(Anywhere),
    ];
    let flags = prop::sample::select(&[0x02u8, 0x02, 0x02, 0x12, 0x10, 0x11, 0x04][..]);
    let ttl = prop_oneof![20 => Just(64u8), 1 => 0..3u8];
    let part = prop_oneof![10 => Just(9u8), 1 => 0..2u8];
    let payload_len = prop_oneof![6 => 0..40usize, 1 => 1400..2000usize];
    let packet = (course, protocol, any::<[u8; 6]>(), flags, (ttl, part, payload_len), any::<(bool, bool)>());
    let packet = packet.prop_map(|(course, protocol, choice, tcp_flags, shape, flags)| {
        let ((ttl, part, payload_len), (dont_fragment, fulfil)) = (shape, flags);
        Operation::Packet(Packet {
            course,
            protocol,
            choice,
            tcp_flags,
            ttl,
            part,
            payload_len,
            dont_fragment,
            fulfil,
        })
    });
    let byte = any::<u8>;
    prop_oneof![
        40 => packet,
        2 => any_specimen().prop_map(Operation::Any),
        2 => (byte(), byte()).prop_map(|(ingress, address)| Operation::Arp { ingress, address }),
        2 => prop_oneof![4 => 0..1500u64, 2 => 0..40_000u64, 1 => 0..400_000u64].prop_map(Operation::Pass),
        3 => (byte(), byte(), byte()).prop_map(|(what, address, port)| Operation::Answer { what, address, port }),
        1 => byte().prop_map(Operation::Change),
    ]
}

fn pick<T: Copy>(from: &[T], which: u8) -> T {
    from[usize::from(which) % from.len()]
}

impl Packet {
    /// The port that it comes in by, the MACs to and from which, and both ends.
    fn ends(&self) -> (u16, (MacAddr, MacAddr), [(Ipv4Addr, u16); 2]) {
        let [a, b, c, d, e, f] = self.choice;
        let (endpoint, other) = (pick(&[2, 2, 3, 4], a), pick(&[3, 2, 4], b));
        let own = (address(endpoint), pick(&OWN, c));
        let remote = (pick(&[REMOTE, REMOTE, REMOTE_TOO], d), pick(&SERVICES, e));
        let client = (REMOTE, pick(&OWN, c));
        let (inwards, outwards) = ((UPLINK_MAC, ROUTER_MAC), (GATEWAY.mac, mac(endpoint)));
        let published = (address(3), 40_000);
        let service = if self.protocol == Protocol::Udp { 53 } else { 80 };
        match self.course {
            Course::Outwards => (endpoint.into(), outwards, [own, remote]),
            Course::Back | Course::Error => (UPLINK, inwards, [remote, (HOST, pick(&HELD, c))]),
            Course::ToPublication => (UPLINK, inwards, [client, (HOST, service)]),
            Course::FromPublished => (3, (GATEWAY.mac, mac(3)), [published, client]),
            Course::Hairpin => (endpoint.into(), outwards, [own, (HOST, service)]),
            Course::FromHairpin => (3, (GATEWAY.mac, mac(3)), [published, (GATEWAY.address, pick(&HELD, c))]),
            Course::Bridged => {
                let to = pick(&[mac(other), mac(other), mac(other), mac(77), MacAddr::BROADCAST], f);
                let back = e & 1 != 0;
                let (from, to_port) = if back { (80, pick(&OWN, c)) } else { (pick(&OWN, c), 80) };
                (endpoint.into(), (to, mac(endpoint)), [(own.0, from), (address(other), to_port)])
            }
            Course::ToHost => (endpoint.into(), outwards, [own, (pick(&[HOST, GATEWAY.address], d), 22)]),
            Course::FromHost => (
                HOST_PORT,
                (mac(other), GATEWAY.mac),
                [(GATEWAY.address, 22), (address(other), pick(&OWN, c))],
            ),
            Course::Anywhere => {
                let ingress = pick(&INGRESS, a);
                let to =
                    pick(&[GATEWAY.mac, OTHER.mac, UPLINK_MAC, mac(3), MacAddr([1, 0, 0x5e, 0, 0, 1])], b);
                let ends = [(pick(&ADDRESSES, c), pick(&OWN, e)), (pick(&ADDRESSES, d), pick(&SERVICES, f))];
                (ingress, (to, mac_of(ingress)), ends)
            }
        }
    }

    /// The frame, and the port that it comes in by.
    fn frame(&self) -> (u16, Vec<u8>) {
        let (ingress, (to, from), [src, dst]) = self.ends();
        let is_answer = matches!(self.course, Course::Back | Course::FromHairpin | Course::FromPublished);
        let (src, dst) = match self.protocol {
            Protocol::Icmp if is_answer => ((src.0, 0), dst),
            Protocol::Icmp => (src, (dst.0, 0)),
            _ => (src, dst),
        };
        let mut specimen = Specimen {
            ttl: self.ttl,
            tcp_flags: self.tcp_flags,
            payload: vec![0x5a; 32 + self.payload_len],
            flags: if self.dont_fragment { 0x4000 } else { 0 },
            ident: u16::from(self.choice[5] & 3),
            ..flow(self.protocol, src, dst)
        };
        specimen.part = match self.part {
            0 => Some((0, 24, true)),
            1 => Some((24, 2000, false)),
            _ => None,
        };
        let packet = match self.course {
            Course::Error => {
                let about = specimen.with_tuple(specimen.tuple.inverted());
                super::shapes::error_to(3, pick(&[3, 4], self.choice[0]), ROUTER, HOST, &about.packet())
            }
            _ => specimen.packet(),
        };
        (ingress, ethernet(to, from, ethertype::IPV4, &packet))
    }
}

fn mac_of(ingress: u16) -> MacAddr {
    match ingress {
        HOST_PORT => GATEWAY.mac,
        UPLINK => ROUTER_MAC,
        TUNNEL => Uplink::PEER_MAC,
        endpoint => mac(endpoint as u8),
    }
}

/// Two worlds. The first one is traced.
struct Twins([World; 2]);

impl Twins {
    fn new() -> Twins {
        let world = || {
            let mut world = World::of(Core::with_seed(0, 7));
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                world.answer(&Answer::PortsHeld { protocol, ports: vec![PORTS] });
            }
            world.change_edge(|edge| edge.limits = LIMITS);
            world.publish(1, None, Protocol::Tcp, 80, (3, 40_000));
            world.publish(2, Some(HOST), Protocol::Udp, 53, (2, 53));
            world.learn_route(REMOTE);
            world.change(|snapshot| {
                // Anybody may be behind this one.
                let port = snapshot.ports[4].as_mut().unwrap();
                (port.settings.guard, port.identity) = (false, None);
                let port = snapshot.ports[2].as_mut().unwrap();
                port.settings.storm.broadcast = 2;
                port.settings.storm.unknown_unicast = 2;
            });
            world
        };
        Twins([world(), world()])
    }

    fn both(&mut self, mut work: impl FnMut(&mut World)) {
        self.0.iter_mut().for_each(&mut work);
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Packet(packet) => {
                let (port, bytes) = packet.frame();
                self.receive(port, &bytes, Offload::NONE, packet.fulfil)?;
            }
            Operation::Any(specimen) => {
                let frame = specimen.frame();
                self.receive(2, &frame.bytes, frame.offload, false)?;
            }
            &Operation::Arp { ingress, address } => {
                let (port, address) = (pick(&INGRESS, ingress), pick(&ADDRESSES, address));
                let message = match port {
                    UPLINK | TUNNEL => arp(2, (mac_of(port), ROUTER), (UPLINK_MAC, HOST)),
                    port => arp(1, (mac_of(port), self::address(port as u8)), (MacAddr::ZERO, address)),
                };
                let dst = if port == UPLINK { UPLINK_MAC } else { MacAddr::BROADCAST };
                let frame = ethernet(dst, mac_of(port), ethertype::ARP, &message);
                self.receive(port, &frame, Offload::NONE, false)?;
            }
            &Operation::Pass(millis) => self.both(|world| drop(world.pass(Duration::from_millis(millis)))),
            &Operation::Answer { what, address, port } => {
                let answer = answer(what, pick(&ADDRESSES, address), pick(&HELD, port));
                self.both(|world| world.answer(&answer));
            }
            &Operation::Change(what) => self.both(|world| change(world, what)),
        }
        let [traced, other] = &mut self.0;
        prop_assert_eq!(traced.resume(), other.resume());
        prop_assert_eq!(traced.look(), other.look());
        Ok(())
    }

    /// A frame comes. What the trace says of it is what happens.
    fn receive(
        &mut self,
        port: u16,
        bytes: &[u8],
        offload: Offload,
        fulfil: bool,
    ) -> Result<(), TestCaseError> {
        let [traced, other] = &mut self.0;
        let frame = Frame { bytes, offload };
        let before = traced.look();
        let is_alone = traced.core.edge().unwrap().stats().waiting == 0;
        let mut trace = |known| traced.core.trace(traced.now, PortId(port), &frame, known);
        let first = trace(None);
        let known =
            first.lacks.map(|(network, destination)| KnownRoute { network, destination, route: Some(ROUTE) });
        let whole = known.map_or_else(|| first.clone(), |known| trace(Some(known)));
        prop_assert_eq!(&before, &traced.look());
        let (verdict, left) = traced.step_with(port, bytes, offload);
        let asked = traced.out.requests().to_vec();
        prop_assert_eq!(&(verdict, left.clone()), &other.step_with(port, bytes, offload));
        prop_assert_eq!(&asked, other.out.requests());
        for trace in [&first, &whole] {
            let said = trace.waits.first().map_or(trace.verdict, |wait| Verdict::Wait(*wait));
            prop_assert_eq!(&(said, leaving(trace, 0)), &(verdict, left.clone()), "{:#?}", trace.decisions);
            prop_assert_eq!(&trace.asks, &asked, "{:#?}", trace.decisions);
        }
        if is_alone && fulfil { self.fulfil(&whole, known) } else { Ok(()) }
    }

    /// All that the packet waits for comes: it goes on as the trace says.
    fn fulfil(&mut self, trace: &Trace, known: Option<KnownRoute>) -> Result<(), TestCaseError> {
        for (index, wait) in trace.waits.iter().enumerate() {
            match wait {
                Wait::Route => {
                    let KnownRoute { network, destination, route } = known.expect("it was given");
                    self.both(|world| world.answer(&Answer::Route { network, destination, route }));
                }
                Wait::Neighbour => {
                    let hop = told(trace, |it| match it {
                        Decision::Routing(Routing::Route(route)) => Some((route.uplink.0, route.next_hop)),
                        _ => None,
                    });
                    self.both(|world| drop(world.hear(hop)));
                }
                Wait::Port => {
                    let protocol = told(trace, |it| match it {
                        Decision::Tracking(Tracking::Flow(tuple)) => Some(tuple.protocol),
                        _ => None,
                    });
                    let kept = trace.decisions.iter().find_map(|it| match it {
                        Decision::Routing(Routing::AsksPort { port, .. }) => Some(*port),
                        _ => None,
                    });
                    // Nobody knows which ports of the pool will come.
                    let Some(port) = kept else { return Ok(()) };
                    self.both(|world| world.answer(&Answer::PortKept { protocol, port }));
                }
                Wait::FirstFragment => return Ok(()),
            }
            let [traced, other] = &mut self.0;
            let resumed = traced.resume();
            prop_assert_eq!(&resumed, &other.resume());
            let [(verdict, left)] = &resumed[..] else {
                panic!("one packet waits: {resumed:?} {:#?}", trace.decisions)
            };
            let said = trace.waits.get(index + 1).map_or(trace.verdict, |wait| Verdict::Wait(*wait));
            prop_assert_eq!(*verdict, said, "{:#?}", trace.decisions);
            let leaving = leaving(trace, index + 1);
            prop_assert_eq!(unresolved(left), unresolved(&leaving), "{:#?}", trace.decisions);
        }
        Ok(())
    }
}

/// What a trace tells of something, the last time that it does.
fn told<T>(trace: &Trace, find: impl Fn(&Decision) -> Option<T>) -> T {
    trace.decisions.iter().rev().find_map(find).expect("it is told")
}

/// What leaves when so many of the packet's waits are over.
fn leaving(trace: &Trace, after: usize) -> Vec<Left> {
    let then = trace.leaves.iter().filter(|it| it.after == after);
    then.map(|it| Left { port: it.port.0, bytes: it.frame.bytes.clone(), offload: it.frame.offload })
        .collect()
}

/// The same to a next hop whose MAC is not known yet.
fn unresolved(left: &[Left]) -> Vec<Left> {
    let mut left = left.to_vec();
    left.iter_mut().filter(|it| it.port == UPLINK).for_each(|it| it.bytes[..6].fill(0));
    left
}

const ROUTE: Route =
    Route { uplink: PortId(UPLINK), next_hop: ROUTER, source: HOST, mtu: 1500, neighbour: None };

fn answer(what: u8, destination: Ipv4Addr, port: u16) -> Answer {
    let protocol = if what & 0x40 == 0 { Protocol::Tcp } else { Protocol::Udp };
    let known = if what & 0x80 == 0 { Neighbour::Learned } else { Neighbour::Fixed };
    let route = match what >> 4 & 3 {
        0 => Some(ROUTE),
        1 => Some(Route { next_hop: destination, mtu: 900, neighbour: Some(known(ROUTER_MAC)), ..ROUTE }),
        2 => Some(Route { uplink: PortId(TUNNEL), source: TUNNEL_HOST, ..ROUTE }),
        _ => None,
    };
    match what % 8 {
        0..=2 => Answer::Route { network: NETWORK, destination, route },
        3 => Answer::RoutesChanged,
        4 => Answer::PortsHeld { protocol, ports: vec![(port, port)] },
        5 => Answer::PortKept { protocol, port },
        6 => Answer::PortsLost { protocol, ports: vec![port] },
        _ => Answer::PortRefused { protocol, port },
    }
}

fn change(world: &mut World, what: u8) {
    world.change_network(|network| {
        let edge: &mut NetworkEdge = &mut network.edge;
        edge.internal ^= what & 0x81 == 0x81;
        edge.isolated ^= what & 2 != 0;
        let link = Link { from: PortId(2), to: PortId(3), service: Some((Protocol::Tcp, 80)) };
        edge.links = Arc::from([link]);
        if what & 4 != 0 {
            let is_empty = edge.rules.is_empty();
            edge.rules = if is_empty { Arc::from([rule(Action::Deny)]) } else { Arc::default() };
        }
        if what & 8 != 0 {
            edge.mapping = match edge.mapping {
                Mapping::PortDependent => Mapping::EndpointIndependent,
                Mapping::EndpointIndependent => Mapping::PortDependent,
            };
        }
        if what & 0x90 == 0x90 {
            edge.uplinks = UplinkChoice::Only(2);
        }
    });
    world.change_edge(|edge| {
        if what & 32 != 0 {
            edge.publications.rotate_left(1);
            edge.publications.truncate(1);
        }
        if what & 0xc0 == 0xc0 {
            edge.uplinks.retain(|uplink| uplink.port != PortId(TUNNEL));
        }
    });
}

fn rule(action: Action) -> Rule {
    Rule {
        number: 1,
        action,
        source: None,
        destination: None,
        protocol: Some(Protocol::Udp),
        ports: Some((53, 53)),
        hits: Arc::new(Hits::default()),
    }
}

impl World {
    /// A next hop says its MAC.
    fn hear(&mut self, (port, address): (u16, Ipv4Addr)) -> (Verdict, Vec<Left>) {
        let message = arp(2, (ROUTER_MAC, address), (UPLINK_MAC, HOST));
        self.step(port, &ethernet(UPLINK_MAC, ROUTER_MAC, ethertype::ARP, &message))
    }

    /// All that can be seen of it.
    fn look(&self) -> impl PartialEq + core::fmt::Debug + use<> {
        let edge = self.core.edge().unwrap();
        let snapshot = self.core.snapshot();
        let counters: Vec<CounterSum> =
            snapshot.ports.iter().flatten().map(|port| CounterSum::of(&port.counters)).collect();
        let networks = || snapshot.networks.iter().flatten();
        let stations: Vec<_> = networks().map(|network| network.fdb.held_entries(self.now)).collect();
        let learned: Vec<_> = networks().map(|network| network.fdb.stats()).collect();
        let hits: Vec<u64> =
            networks().flat_map(|network| network.edge.rules.iter()).map(|rule| rule.hits.get()).collect();
        let sessions = edge.page(self.now, SessionFilter::default(), 0, usize::MAX);
        (sessions, edge.stats(), edge.due(), counters, (stations, learned, hits))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(192)))]

    #[test]
    fn what_a_trace_says_is_what_happens(operations in prop::collection::vec(operation(), 1..80)) {
        let mut twins = Twins::new();
        for operation in &operations {
            twins.apply(operation)?;
        }
    }
}
