//! A place for the edge to work in: a guarded endpoint, and an uplink whose route, next hop and ports are known.
#![allow(clippy::expect_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::counters::PortCounters;
use pontoon_dataplane::edge::config::{EdgeConfig, Limits, NetworkEdge, Uplink};
use pontoon_dataplane::edge::punt::{Answer, Neighbour, Route};
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::fdb::{DEFAULT_AGEING, Fdb, FdbConfig};
use pontoon_dataplane::network::{Gateway, Identity, Network, Place, Port, PortSettings, Snapshot};
use pontoon_dataplane::out::Out;
use pontoon_dataplane::step::Core;
use pontoon_dataplane::{Frame, MacAddr, NetworkId, PortId, Timestamp, Verdict};

/// When everything happens.
pub const NOW: Timestamp = Timestamp::from_secs(1000);
const NETWORK: NetworkId = NetworkId(0);
/// The endpoint's port.
pub const ENDPOINT: PortId = PortId(0);
/// The uplink's port.
pub const UPLINK: PortId = PortId(1);
const GATEWAY: (MacAddr, Ipv4Addr) = (MacAddr([2, 0x42, 10, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
const STATION: (MacAddr, Ipv4Addr) = (MacAddr([2, 0x42, 10, 0, 0, 2]), Ipv4Addr::new(10, 0, 0, 2));
const HOST: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 5, 5]), Ipv4Addr::new(203, 0, 113, 5));
const ROUTER: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 1, 1]), Ipv4Addr::new(203, 0, 113, 1));
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// The flags of a TCP segment that opens a connection.
pub const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
/// Those of one within it.
pub const ACK: u8 = 0x10;

/// One core and its two ports.
#[derive(Debug)]
pub struct Site {
    core: Core,
    out: Out,
}

impl Site {
    /// With 16,384 ports held and no session.
    ///
    /// # Panics
    /// The edge does not do what it is for.
    pub fn new() -> Site {
        let mut core = Core::with_seed(0, 1);
        core.adopt(Timestamp::ZERO, Arc::new(snapshot()));
        core.answer(NOW, &Answer::PortsHeld { protocol: Protocol::Tcp, ports: vec![(16_384, 32_767)] });
        let mut site = Site { core, out: Out::new() };
        site.step(ENDPOINT, &outbound(0, SYN));
        let route = Route {
            uplink: UPLINK,
            next_hop: ROUTER.1,
            source: HOST.1,
            mtu: 1500,
            neighbour: Some(Neighbour::Learned(ROUTER.0)),
        };
        site.core.answer(NOW, &Answer::Route { network: NETWORK, destination: REMOTE, route: Some(route) });
        let held = site.core.next_ready().expect("the frame that waited for the route");
        let frame = Frame { bytes: &held.bytes, offload: held.offload };
        let verdict = site.core.resume(NOW, held.ingress, &frame, &mut site.out);
        assert!(matches!(verdict, Verdict::Route { .. }), "{verdict}");
        site
    }

    /// Decides about one frame.
    #[inline]
    pub fn step(&mut self, ingress: PortId, frame: &[u8]) -> Verdict {
        self.core.step(NOW, ingress, &Frame::plain(frame), &mut self.out)
    }

    /// Established sessions: a packet of each that goes out, and one that comes in.
    ///
    /// # Panics
    /// The edge does not let them through.
    pub fn establish(&mut self, flows: u32) -> [Vec<[u8; 60]>; 2] {
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
        flooded: Arc::default(),
        fdb: Arc::new(Fdb::with_seed(
            FdbConfig { capacity: 1024, port_share: 256, ageing: DEFAULT_AGEING },
            1,
        )),
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

/// A segment of flow number `number` from the endpoint.
pub fn outbound(number: u32, flags: u8) -> [u8; 60] {
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

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// Numbers below `count` in an order that no prefetcher follows.
pub fn shuffled(count: usize) -> impl FnMut() -> usize {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * count as u64) >> 32) as usize
    }
}
