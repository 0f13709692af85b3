//! The edge through `step`: packets of established sessions both ways, and the first packets of new ones.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::counters::PortCounters;
use pontoon_dataplane::edge::config::{EdgeConfig, Limits, NetworkEdge, Uplink};
use pontoon_dataplane::edge::punt::{Answer, Route};
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::fdb::{DEFAULT_AGEING, Fdb, FdbConfig};
use pontoon_dataplane::network::{Gateway, Identity, Network, Place, Port, PortSettings, Snapshot};
use pontoon_dataplane::out::Out;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::{Frame, MacAddr, NetworkId, PortId, Timestamp, Verdict};

const NOW: Timestamp = Timestamp::from_secs(1000);
const NETWORK: NetworkId = NetworkId(0);
const ENDPOINT: PortId = PortId(0);
const UPLINK: PortId = PortId(1);
const GATEWAY: (MacAddr, Ipv4Addr) = (MacAddr([2, 0x42, 10, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
const STATION: (MacAddr, Ipv4Addr) = (MacAddr([2, 0x42, 10, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));
const HOST: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 5, 5]), Ipv4Addr::new(203, 0, 113, 5));
const ROUTER: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 1, 1]), Ipv4Addr::new(203, 0, 113, 1));
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
/// Frames in a batch.
const BATCH: usize = 256;
/// As many flows as one core is filled with.
const MAX_FLOWS: u32 = 900_000;

struct Site {
    core: Core,
    out: Out,
}

impl Site {
    /// A guarded endpoint, and an uplink whose route and ports are known.
    fn new() -> Site {
        let mut core = Core::new(0);
        core.adopt(Arc::new(snapshot()));
        core.answer(NOW, &Answer::PortsHeld { protocol: Protocol::Tcp, ports: vec![(16_384, 32_767)] });
        let mut site = Site { core, out: Out::new() };
        site.step(ENDPOINT, &outbound(0, SYN));
        let route = Route {
            uplink: UPLINK,
            next_hop: ROUTER.1,
            source: HOST.1,
            mtu: 1500,
            neighbour: Some(ROUTER.0),
        };
        site.core.answer(NOW, &Answer::Route { network: NETWORK, destination: REMOTE, route: Some(route) });
        let held = site.core.next_ready().expect("the frame that waited for the route");
        let frame = Frame { bytes: &held.bytes, offload: held.offload };
        let verdict = site.core.resume(NOW, held.ingress, &frame, &mut site.out);
        assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
        site
    }

    fn step(&mut self, ingress: PortId, frame: &[u8]) -> Verdict {
        self.core.step(NOW, ingress, &Frame::plain(frame), &mut self.out)
    }

    /// Established sessions: a packet of each that goes out, and one that comes in.
    fn establish(&mut self, flows: u32) -> [Vec<[u8; 60]>; 2] {
        (0..flows)
            .map(|number| {
                self.step(ENDPOINT, &outbound(number, SYN));
                let rewritten = self.out.rewritten().expect("the SYN leaves");
                let port = u16::from_be_bytes([rewritten.headers()[34], rewritten.headers()[35]]);
                self.step(UPLINK, &inbound(number, port, SYN_ACK));
                self.step(ENDPOINT, &outbound(number, ACK));
                (outbound(number, ACK), inbound(number, port, ACK))
            })
            .collect::<(Vec<_>, Vec<_>)>()
            .into()
    }
}

fn snapshot() -> Snapshot {
    let network = Network {
        id: NETWORK,
        gateway: Some(Gateway { mac: GATEWAY.0, address: GATEWAY.1, prefix_len: 24 }),
        mtu: 1500,
        fdb: Arc::new(Fdb::new(FdbConfig { capacity: 1024, port_share: 256, ageing: DEFAULT_AGEING })),
        members: vec![ENDPOINT],
        edge: NetworkEdge::default(),
    };
    let identity = Identity {
        mac: STATION.0,
        addresses: vec![STATION.1.into()],
        sandbox_addresses: vec![STATION.1.into()],
    };
    let port = |id, place, identity| Port {
        id,
        place,
        settings: PortSettings { guard: true, ..PortSettings::default() },
        identity,
        own_mac: None,
        mtu: 1500,
        counters: Arc::new([PortCounters::default()]),
    };
    let uplink = Uplink {
        port: UPLINK,
        interface_index: 2,
        name: "up0".into(),
        mac: Some(HOST.0),
        addresses: vec![(HOST.1, 24)],
        mtu: 1500,
    };
    let limits = Limits { sessions: 1_000_000, sessions_per_endpoint: 1_000_000 };
    Snapshot {
        generation: 1,
        networks: vec![Some(Arc::new(network))],
        ports: vec![
            Some(port(ENDPOINT, Place::Member(NETWORK), Some(Arc::new(identity)))),
            Some(port(UPLINK, Place::Uplink, None)),
        ],
        edge: Arc::new(EdgeConfig {
            uplinks: vec![uplink],
            host_addresses: vec![HOST.1],
            limits,
            ..EdgeConfig::default()
        }),
    }
}

/// Ports of flow number `number`: the endpoint's, which it was given by its kernel, and the remote's.
fn ports(number: u32) -> (u16, u16) {
    (40_000 + (number % 16) as u16, 1 + (number / 16) as u16)
}

fn outbound(number: u32, flags: u8) -> [u8; 60] {
    let (own, remote) = ports(number);
    tcp((GATEWAY.0, STATION.0), (STATION.1, own), (REMOTE, remote), flags)
}

fn inbound(number: u32, port: u16, flags: u8) -> [u8; 60] {
    tcp((HOST.0, ROUTER.0), (REMOTE, ports(number).1), (HOST.1, port), flags)
}

/// A TCP segment without payload, padded; its checksum is not looked at.
fn tcp((to, from): (MacAddr, MacAddr), src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> [u8; 60] {
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..12].copy_from_slice(&from.0);
    bytes[12..18].copy_from_slice(&[0x08, 0x00, 0x45, 0x00, 0x00, 40]);
    bytes[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
    bytes[26..30].copy_from_slice(&src.0.octets());
    bytes[30..34].copy_from_slice(&dst.0.octets());
    bytes[34..36].copy_from_slice(&src.1.to_be_bytes());
    bytes[36..38].copy_from_slice(&dst.1.to_be_bytes());
    bytes[46..48].copy_from_slice(&[5 << 4, flags]);
    let sum = checksum(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Numbers below `count` in an order that no prefetcher follows.
fn shuffled(count: usize) -> impl FnMut() -> usize {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * count as u64) >> 32) as usize
    }
}

/// Packets of established sessions, a batch as a worker reads it at a time. Filling the batch is not measured: a frame has just been
/// read when it is decided about.
fn established(c: &mut Criterion) {
    let mut group = c.benchmark_group("edge, established");
    for (name, flows) in [("1 flow", 1u32), ("10,000 at random", 10_000), ("250,000 at random", 250_000)] {
        let mut site = Site::new();
        let [out, back] = site.establish(flows);
        for (way, ingress, frames) in [("out", ENDPOINT, &out), ("in", UPLINK, &back)] {
            let mut next = shuffled(frames.len());
            let mut batch = [[0; 60]; BATCH];
            group.bench_function(format!("{name}, {way}"), |b| {
                b.iter_custom(|iterations| {
                    let (mut spent, mut left) = (Duration::ZERO, iterations as usize);
                    while left > 0 {
                        let batch = &mut batch[..left.min(BATCH)];
                        batch.iter_mut().for_each(|frame| *frame = frames[next()]);
                        let start = Instant::now();
                        for frame in &*batch {
                            let verdict = site.step(ingress, black_box(frame));
                            debug_assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
                            black_box(verdict);
                        }
                        spent += start.elapsed();
                        left -= batch.len();
                    }
                    spent
                });
            });
        }
    }
    group.finish();
}

fn new_sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("edge");
    let (mut site, mut number) = (Site::new(), 1);
    group.bench_function("new session", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = u32::try_from(iterations).unwrap_or(u32::MAX);
            while left > 0 {
                if number >= MAX_FLOWS {
                    (site, number) = (Site::new(), 1);
                }
                let end = number + left.min(MAX_FLOWS - number);
                left -= end - number;
                let start = Instant::now();
                for number in number..end {
                    let verdict = site.step(ENDPOINT, black_box(&outbound(number, SYN)));
                    debug_assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
                }
                spent += start.elapsed();
                number = end;
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, established, new_sessions);
criterion_main!(benches);
