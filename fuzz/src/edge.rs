//! The edge over time: packets from networks and uplinks, fragments, answers of control, changes of the snapshot.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arbitrary::Unstructured;
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::counters::{CounterSum, PortCounters};
use pontoon_dataplane::edge::config::{EdgeConfig, Limits, Link, NetworkEdge, Publication, Uplink};
use pontoon_dataplane::edge::punt::Answer;
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::edge::view::EdgeStats;
use pontoon_dataplane::fdb::{Fdb, FdbConfig};
use pontoon_dataplane::network::{
    DEFAULT_AGEING, Gateway, Identity, Network, NetworkId, Place, Port, PortSettings, Snapshot,
};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::verdict::Translation;
use pontoon_dataplane::{DropReason, Frame, MacAddr, PortId, Timestamp, Verdict};

use self::operations::{Change, Operation};
use crate::input::each;
use crate::reach;
use crate::rehearsal::Log;

mod answers;
mod errors;
mod fragments;
mod operations;
pub(crate) mod packets;

pub use self::errors::edge_errors;
pub use self::fragments::edge_fragments;

const MAX_OPERATIONS: usize = 200;
/// Ports 2 and 3 are guarded endpoints of the first network, 4 is anybody's there, 5 an endpoint of the second, 8 the host's,
/// 9 and 10 are uplinks, the latter without MACs.
const PORTS: [u16; 7] = [2, 3, 4, 5, 8, 9, 10];
const HOST: u16 = 8;
const UPLINK: u16 = 9;
const TUNNEL: u16 = 10;
const UPLINK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);
const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 1]);
const LIMITS: Limits = Limits { sessions: 24, sessions_per_endpoint: 12 };

/// Addresses that packets are from and to.
const ADDRESSES: [Ipv4Addr; 12] = [
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 0, 3),
    Ipv4Addr::new(10, 0, 0, 4),
    Ipv4Addr::new(10, 0, 5, 5),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 0, 5, 1),
    Ipv4Addr::new(198, 51, 100, 2),
    Ipv4Addr::new(203, 0, 113, 2),
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(192, 0, 2, 8),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(224, 0, 0, 1),
];
/// Ports that they are from and to: some of the pool, some published, some anybody's.
const TRANSPORT_PORTS: [u16; 8] = [20_000, 20_001, 20_002, 80, 53, 5060, 40_000, 40_001];

/// Input: operations, each a byte and what it needs. 0 to 2: a [`Packet`]; 3: the same, and whoever gets it answers; 4: any frame, with its
/// virtio-net header and length; 5: time passes, in units of 8 ms; 6: an answer of control; 7: a [`Change`] of the snapshot. Whatever
/// happens, nothing crosses networks untranslated, leaves by the port it came in by, or leaves by an
/// uplink from an address of the inside; translated checksums are right, and answers to translated packets come back as those of what
/// was sent; tables keep their bounds, and counters add up.
pub fn edge(data: &[u8]) {
    run(data, None);
}

/// The same, with what happens written down.
pub(crate) fn run(data: &[u8], log: Option<Log>) -> Option<Log> {
    let mut world = World { log, ..World::new() };
    for operation in each(&mut Unstructured::new(data), MAX_OPERATIONS) {
        match operation {
            Operation::Packet(packet) => _ = world.receive(packet.port, &Frame::plain(&packet.frame()), true),
            Operation::Answered(packet) => world.receive_and_answer(packet.port, &packet.frame()),
            Operation::Frame(port, frame) => _ = world.receive(port, &frame, false),
            Operation::Time(delay) => world.pass(delay),
            Operation::Answer(answer) => world.core.answer(world.now, &answer),
            Operation::Change(change) => world.change(&change),
        }
        world.resume();
        world.check_bounds();
    }
    world.check_counters();
    world.log
}

fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0x42, 10, 0, 0, n])
}

fn gateway(network: u8) -> Gateway {
    let address = Ipv4Addr::new(10, 0, 5 * network, 1);
    Gateway { mac: MacAddr::from_ipv4(address), address, prefix_len: 24 }
}

fn snapshot() -> Snapshot {
    let port = |number: u16| {
        let place = match number {
            HOST => Place::Host(NetworkId(0)),
            UPLINK | TUNNEL => Place::Uplink,
            number => Place::Member(NetworkId(u16::from(number == 5))),
        };
        let is_endpoint = matches!(number, 2 | 3 | 5);
        let own: Vec<IpAddr> =
            vec![Ipv4Addr::new(10, 0, if number == 5 { 5 } else { 0 }, number as u8).into()];
        let identity = Identity { mac: mac(number as u8), addresses: own.clone(), sandbox_addresses: own };
        Port {
            id: PortId(number),
            place,
            settings: PortSettings { guard: is_endpoint, ..PortSettings::default() },
            identity: is_endpoint.then(|| Arc::new(identity)),
            own_mac: None,
            mtu: 1500,
            counters: Arc::from([PortCounters::default()]),
        }
    };
    let network = |number: u8, members: &[u16]| {
        let fdb = FdbConfig { capacity: 16, port_share: 8, ageing: DEFAULT_AGEING };
        Some(Arc::new(Network {
            id: NetworkId(number.into()),
            gateway: Some(gateway(number)),
            mtu: 1500,
            flooded: Arc::default(),
            fdb: Arc::new(Fdb::with_seed(fdb, 0)),
            members: members.iter().copied().map(PortId).collect(),
            edge: NetworkEdge {
                host_port: (number == 0).then_some(PortId(HOST)),
                links: Arc::from([Link { from: PortId(2), to: PortId(3), service: None }]),
                ..NetworkEdge::default()
            },
        }))
    };
    let uplink = |port, mac, address, mtu| Uplink {
        port: PortId(port),
        interface_index: port.into(),
        name: String::new(),
        mac,
        addresses: vec![(address, 24)],
        mtu,
    };
    Snapshot {
        generation: 1,
        networks: vec![network(0, &[2, 3, 4, HOST]), network(1, &[5])],
        ports: (0..=TUNNEL).map(|number| PORTS.contains(&number).then(|| port(number))).collect(),
        edge: Arc::new(EdgeConfig {
            uplinks: vec![
                uplink(UPLINK, Some(UPLINK_MAC), ADDRESSES[6], 1500),
                uplink(TUNNEL, None, ADDRESSES[7], 68),
            ],
            host_addresses: vec![ADDRESSES[6], ADDRESSES[7]],
            publications: vec![publication(1, Protocol::Tcp, 80), publication(2, Protocol::Udp, 53)],
            limits: LIMITS,
            ..EdgeConfig::default()
        }),
    }
}

fn publication(id: u32, protocol: Protocol, port: u16) -> Arc<Publication> {
    Arc::new(Publication {
        id,
        address: None,
        protocol,
        ports: (port, port),
        network: NetworkId(0),
        endpoint: PortId(3),
        to_address: ADDRESSES[1],
        to_port: 40_000,
        rules: Arc::default(),
    })
}

struct World {
    core: Core,
    out: Out,
    now: Timestamp,
    next_tick: Option<Timestamp>,
    /// Frames in by port, and frames dropped by the verdicts.
    received: [u64; TUNNEL as usize + 1],
    dropped: [u64; TUNNEL as usize + 1],
    log: Option<Log>,
}

impl World {
    fn new() -> World {
        let mut core = Core::with_seed(0, 0);
        core.adopt(Timestamp::ZERO, Arc::new(snapshot()));
        let mut world = World {
            core,
            out: Out::new(),
            now: Timestamp::ZERO,
            next_tick: Some(Timestamp::ZERO),
            received: Default::default(),
            dropped: Default::default(),
            log: None,
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            world.core.answer(world.now, &Answer::PortsHeld { protocol, ports: vec![(20_000, 20_002)] });
        }
        world
    }

    fn pass(&mut self, delay: Duration) {
        self.now = self.now + delay;
        let since = self.core.edge().and_then(|edge| edge.due());
        if [self.next_tick, since].into_iter().flatten().any(|due| due <= self.now) {
            self.next_tick = self.core.tick(self.now, &mut self.out);
            assert!(self.next_tick.is_none_or(|due| due > self.now), "a worker would tick for ever");
            assert!(self.out.copies().is_empty() && self.out.rewritten().is_none());
        }
    }

    fn change(&mut self, change: &Change) {
        let mut snapshot = Snapshot::clone(self.core.snapshot());
        change.apply_to(&mut snapshot);
        if change.port {
            // What the old one counted is gone.
            (self.received[2], self.dropped[2]) = (0, 0);
        }
        self.core.adopt(self.now, Arc::new(snapshot));
    }

    fn receive(&mut self, port: u16, frame: &Frame<'_>, sound: bool) -> Verdict {
        if let Some(log) = &mut self.log {
            log.before(&mut self.core, self.now, PortId(port), frame);
        }
        let verdict = self.core.step(self.now, PortId(port), frame, &mut self.out);
        reach::note(verdict);
        self.received[usize::from(port)] += 1;
        self.check(port, frame, verdict, sound);
        verdict
    }

    fn resume(&mut self) {
        self.resume_with(|_, _, _, _| {});
    }

    /// What has waited goes on; `told` is told of it.
    fn resume_with(&mut self, mut told: impl FnMut(&mut World, u16, &Frame<'_>, Verdict)) {
        while let Some(held) = self.core.next_ready() {
            let frame = Frame { bytes: &held.bytes, offload: held.offload };
            let verdict = self.core.resume(self.now, held.ingress, &frame, &mut self.out);
            reach::note(verdict);
            self.check(held.ingress.0, &frame, verdict, false);
            told(self, held.ingress.0, &frame, verdict);
        }
    }

    /// The IPv4 packets that leave in place of `frame`, which was decided about last, and by which port.
    fn left(&self, frame: &Frame<'_>) -> Vec<(u16, Vec<u8>)> {
        let rewritten = self.out.rewritten().map(|it| (it.egress.0, it.assemble(frame)));
        let made = self.out.made().map(|(egress, made)| (egress.0, made.bytes.to_vec()));
        let all = rewritten.into_iter().chain(made).filter(|(_, bytes)| bytes.get(12..14) == Some(&[8, 0]));
        all.map(|(egress, bytes)| (egress, bytes[packets::ETHERNET..].to_vec())).collect()
    }

    fn stats(&self) -> EdgeStats {
        self.core.edge().expect("worker 0 has the edge").stats()
    }

    fn check(&mut self, ingress: u16, frame: &Frame<'_>, verdict: Verdict, sound: bool) {
        if let Some(log) = &mut self.log {
            log.after(verdict, frame, &self.out);
        }
        if let Verdict::Drop(_) = verdict {
            self.dropped[usize::from(ingress)] += 1;
            assert!(self.out.copies().is_empty() && self.out.rewritten().is_none(), "{verdict}");
        }
        let snapshot = self.core.snapshot();
        let place = snapshot.port(PortId(ingress)).expect("frames come by ports that there are").place;
        for &egress in self.out.copies() {
            let egress = snapshot.port(egress).expect("a frame leaves by a port that there is");
            assert!(egress.id.0 != ingress, "{verdict}");
            assert_eq!(egress.place.network(), place.network(), "{verdict}");
        }
        let is_hairpin = matches!(verdict, Verdict::Route { translation: Translation::Both, .. });
        let rewritten = self.out.rewritten().map(|it| (it.egress, it.assemble(frame), it.offload));
        if let Some((egress, bytes, offload)) = &rewritten {
            assert!(matches!(verdict, Verdict::Route { egress: said, .. } if said == *egress), "{verdict}");
            let leaves = snapshot.port(*egress).expect("a frame leaves by a port that there is").place;
            assert!(is_hairpin || egress.0 != ingress, "{verdict}");
            assert!(is_hairpin || leaves.network().is_none() || place.network().is_none(), "{verdict}");
            check_packet(bytes, offload, leaves == Place::Uplink, sound);
        }
        for (egress, made) in self.out.made() {
            let egress = snapshot.port(egress).expect("a frame leaves by a port that there is");
            if made.bytes.get(12..14) == Some(&[8, 0]) {
                check_packet(made.bytes, &made.offload, egress.place == Place::Uplink, sound);
            }
        }
    }

    fn check_bounds(&self) {
        let stats = self.stats();
        assert!(stats.sessions <= LIMITS.sessions, "{stats:?}");
        assert!(stats.per_endpoint.iter().all(|(_, sessions)| *sessions <= LIMITS.sessions_per_endpoint));
        assert_eq!(stats.per_endpoint.iter().map(|(_, sessions)| sessions).sum::<u32>(), stats.sessions);
        assert!(stats.waiting <= 1024);
    }

    fn check_counters(&self) {
        for port in self.core.snapshot().ports.iter().flatten() {
            let counted = CounterSum::of(&port.counters);
            let number = usize::from(port.id.0);
            assert_eq!(counted.rx.frames, self.received[number], "{}", port.id);
            // Time alone drops what waits, and no verdict speaks of it.
            let by_time = [
                DropReason::FragmentTimeout,
                DropReason::FragmentLost,
                DropReason::RouteTimeout,
                DropReason::NeighbourTimeout,
                DropReason::PortsExhausted,
            ];
            let drops: u64 = counted.drops.iter().map(|(_, traffic)| traffic.frames).sum();
            let timed: u64 = by_time.iter().map(|&reason| counted.dropped(reason)).sum();
            assert!((drops - timed..=drops).contains(&self.dropped[number]), "{counted:?}");
        }
    }
}

/// A packet that the edge has made or rewritten: header checksum right, never from the inside to an uplink; what came with right
/// checksums leaves with right ones.
fn check_packet(bytes: &[u8], offload: &Offload, to_uplink: bool, sound: bool) {
    let packet = &bytes[14..];
    let header = &packet[..usize::from(packet[0] & 0x0f) * 4];
    assert!(checksum(header) == 0 || offload.is_super_frame(), "header checksum");
    let [src, dst] =
        [12, 16].map(|at| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
    assert!(!to_uplink || ADDRESSES[6..8].contains(&src), "{src} is not to be seen outside");
    let is_whole = packet[6] & 0x3f == 0 && packet[7] == 0;
    if !sound || !is_whole || offload.needs_checksum {
        return;
    }
    let payload = &packet[header.len()..];
    let pseudo = match header[9] {
        1 => Vec::new(),
        protocol => {
            let len = (payload.len() as u16).to_be_bytes();
            [&src.octets()[..], &dst.octets(), &[0, protocol], &len].concat()
        }
    };
    assert_eq!(checksum(&[&pseudo[..], payload].concat()), 0, "checksum of protocol {}", header[9]);
}
