//! The engine with memory ports: frames through real workers, one of them the edge's.

// A test's way to fail.
#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::counters::TrafficSum;
use pontoon_dataplane::edge::config::{EdgeConfig, NetworkEdge, Uplink};
use pontoon_dataplane::edge::punt::{Answer, Neighbour, Request, Route};
use pontoon_dataplane::edge::tuple::Protocol;
use pontoon_dataplane::edge::view::SessionFilter;
use pontoon_dataplane::engine::{Engine, EngineConfig, EngineError, Event, NetworkSpec, PortSpec, Reader};
use pontoon_dataplane::network::{Gateway, NetworkId, Place, PortId, PortSettings, StormLimits};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::memory::{MemoryPeer, OwnedFrame, pair};
use pontoon_dataplane::port::{Device, Offloads};
use pontoon_dataplane::verdict::DropReason;

const PATIENCE: Duration = Duration::from_secs(10);
const GATEWAY: Gateway =
    Gateway { mac: MacAddr([0x02, 0x42, 10, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1), prefix_len: 24 };
/// An address of the host on its uplink, the uplink's MAC, and the router there.
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const UPLINK_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 5, 5]);
const ROUTER: (Ipv4Addr, MacAddr) = (Ipv4Addr::new(203, 0, 113, 1), MacAddr([0x02, 0, 0, 0, 1, 1]));
/// Somebody far away.
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const POOL: (u16, u16) = (61_000, 61_099);

struct Site {
    engine: Engine,
    network: NetworkId,
}

impl Site {
    fn with_workers(workers: usize) -> Site {
        let engine = Engine::start(EngineConfig { workers, ..EngineConfig::default() }).unwrap();
        let network = engine.add_network(network_spec(NetworkEdge::default())).unwrap();
        Site { engine, network }
    }

    /// A port; they are read by the workers in turn, uplinks by the first.
    fn port(&self, place: Place, offloads: Offloads) -> (PortId, MemoryPeer) {
        let (memory, peer) = pair(1024, offloads).unwrap();
        let spec = PortSpec { place, settings: PortSettings::default(), identity: None, mtu: 1500 };
        (self.engine.add_port(spec, Device::Memory(memory)).unwrap(), peer)
    }

    fn endpoint(&self) -> (PortId, MemoryPeer) {
        self.port(Place::Member(self.network), Offloads::ALL)
    }

    fn host_port(&self) -> (PortId, MemoryPeer) {
        let (id, peer) = self.port(Place::Host(self.network), Offloads::ALL);
        let edge = NetworkEdge { host_port: Some(id), ..NetworkEdge::default() };
        self.engine.set_network(self.network, network_spec(edge)).unwrap();
        self.engine.set_edge(EdgeConfig { host_addresses: vec![HOST], ..EdgeConfig::default() }).unwrap();
        (id, peer)
    }

    /// An uplink without offloads, with ports of the host to translate to.
    fn uplink(&self) -> (PortId, MemoryPeer) {
        let (id, peer) = self.port(Place::Uplink, Offloads::NONE);
        let uplink = Uplink {
            port: id,
            interface_index: 7,
            name: "up0".into(),
            mac: Some(UPLINK_MAC),
            addresses: vec![(HOST, 24)],
            mtu: 1500,
        };
        let edge = EdgeConfig { uplinks: vec![uplink], host_addresses: vec![HOST], ..EdgeConfig::default() };
        self.engine.set_edge(edge).unwrap();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            self.engine.answer(Answer::PortsHeld { protocol, ports: vec![POOL] }).unwrap();
        }
        (id, peer)
    }

    /// Answers the edge's next question, which must be for the way to [`REMOTE`].
    fn tell_route(&self, uplink: PortId) {
        let asked = self.engine.requests().recv_timeout(PATIENCE).unwrap();
        assert_eq!(asked, Request::Route { network: self.network, destination: REMOTE });
        let route = Route {
            uplink,
            next_hop: ROUTER.0,
            source: HOST,
            mtu: 1500,
            neighbour: Some(Neighbour::Learned(ROUTER.1)),
        };
        let answer = Answer::Route { network: self.network, destination: REMOTE, route: Some(route) };
        self.engine.answer(answer).unwrap();
    }
}

fn network_spec(edge: NetworkEdge) -> NetworkSpec {
    NetworkSpec { gateway: Some(GATEWAY), mtu: 1500, ageing: Duration::from_secs(300), edge }
}

fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0x42, 10, 0, 0, n])
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

fn send(peer: &MemoryPeer, bytes: Vec<u8>, offload: Offload) {
    peer.send(OwnedFrame { bytes, offload }).unwrap();
}

/// The next frame that is an IPv4 packet.
fn next(peer: &MemoryPeer) -> OwnedFrame {
    loop {
        let frame = peer.frames().recv_timeout(PATIENCE).expect("a frame");
        if frame.bytes[12..14] == [0x08, 0x00] {
            return frame;
        }
    }
}

fn udp(macs: (MacAddr, MacAddr), from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0.0, macs.1.0)
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// A super-frame of TCP whose checksum is left to the device.
fn tcp_super_frame(payload: &[u8]) -> (Vec<u8>, Offload) {
    let builder = PacketBuilder::ethernet2(mac(2).0, GATEWAY.mac.0)
        .ipv4(address(2).octets(), REMOTE.octets(), 64)
        .tcp(40_000, 80, 1_000, 1_000)
        .ack(1);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, payload).unwrap();
    // The sum of the pseudo-header alone stands in the field.
    let len = (bytes.len() - 34) as u32;
    let words = bytes[26..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum::<u32>() + 6 + len;
    let folded = (sum & 0xffff) + (sum >> 16);
    bytes[50..52].copy_from_slice(&(folded as u16).to_be_bytes());
    let offload = Offload {
        needs_checksum: true,
        gso: Gso::TcpV4,
        gso_size: 1_460,
        header_len: 54,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    (bytes, offload)
}

#[test]
fn frames_go_where_their_destination_was_learned() {
    for workers in [1, 2] {
        let site = Site::with_workers(workers);
        let peers = [2, 3, 4].map(|n| (n, site.endpoint()));
        for (n, (_, peer)) in &peers {
            send(
                peer,
                udp((mac(*n), MacAddr::BROADCAST), (address(*n), 1), (address(255), 1), b"here"),
                Offload::NONE,
            );
        }
        for (n, (_, peer)) in &peers {
            let mut heard = [next(peer), next(peer)].map(|frame| frame.bytes[11]);
            heard.sort_unstable();
            assert_eq!(heard.to_vec(), [2, 3, 4].into_iter().filter(|it| it != n).collect::<Vec<_>>());
        }
        let frame = udp((mac(2), mac(4)), (address(2), 1), (address(4), 2), b"for you");
        send(&peers[0].1.1, frame.clone(), Offload::NONE);
        assert_eq!(next(&peers[2].1.1).bytes, frame);
        assert!(peers[1].1.1.frames().is_empty());
    }
}

#[test]
fn of_a_super_frame_that_is_cut_what_left_and_what_was_lost_are_counted() {
    let site = Site::with_workers(1);
    let (_, peer) = site.endpoint();
    let spec = PortSpec {
        place: Place::Member(site.network),
        settings: PortSettings::default(),
        identity: None,
        mtu: 1500,
    };
    // A queue for four frames.
    let (memory, narrow) = pair(4, Offloads::NONE).unwrap();
    let egress = site.engine.add_port(spec, Device::Memory(memory)).unwrap();
    let (mut bytes, offload) = tcp_super_frame(&[7; 10 * 1_460]);
    bytes[..6].copy_from_slice(&mac(3).0);
    send(&peer, bytes, offload);
    let counted = || site.engine.port_counters(egress).unwrap();
    while counted().tx.frames + counted().dropped(DropReason::PortFull) < 10 {
        std::thread::yield_now();
    }
    assert_eq!(counted().tx, TrafficSum { frames: 4, bytes: 4 * 1_514 });
    assert_eq!(counted().drops, [(DropReason::PortFull, TrafficSum { frames: 6, bytes: 6 * 1_514 })]);
    assert_eq!(narrow.frames().len(), 4);
}

#[test]
fn frames_for_the_host_are_handed_over_in_order() {
    let site = Site::with_workers(2);
    // The first worker reads the host's port, the second the endpoint's.
    let (_, host) = site.host_port();
    let (endpoint, peer) = site.endpoint();
    let mut expected = 0u32;
    // No more at once than the queue between the workers takes.
    for burst in [1u32, 200, 1, 200, 200, 3] {
        for number in expected..expected + burst {
            let payload = number.to_be_bytes();
            let frame = udp((mac(2), GATEWAY.mac), (address(2), 4000), (HOST, 53), &payload);
            send(&peer, frame, Offload::NONE);
        }
        for number in expected..expected + burst {
            let frame = next(&host);
            let payload = number.to_be_bytes();
            assert_eq!(frame.bytes, udp((mac(2), GATEWAY.mac), (address(2), 4000), (HOST, 53), &payload));
        }
        expected += burst;
    }
    let counted = site.engine.port_counters(endpoint).unwrap();
    assert_eq!(counted.rx.frames, u64::from(expected), "handed over and counted once");
    assert_eq!(counted.drops, []);
}

#[test]
fn a_port_that_is_moved_between_workers_loses_nothing_and_keeps_its_order() {
    let site = Site::with_workers(2);
    let (_, host) = site.host_port();
    let (endpoint, peer) = site.endpoint();
    let (_, other) = site.endpoint();
    // The station that is spoken to beside the host.
    send(
        &other,
        udp((mac(3), MacAddr::BROADCAST), (address(3), 1), (address(255), 1), b"here"),
        Offload::NONE,
    );
    next(&host);
    next(&peer);
    let to_host = |n: u32| udp((mac(2), GATEWAY.mac), (address(2), 4000), (HOST, 53), &n.to_be_bytes());
    let to_other = |n: u32| udp((mac(2), mac(3)), (address(2), 4000), (address(3), 53), &n.to_be_bytes());
    let rounds = if std::env::var("PONTOON_FULL").is_ok_and(|value| value == "1") { 1000 } else { 100u32 };
    for round in 0..rounds {
        let numbers = round * 64..(round + 1) * 64;
        for number in numbers.clone() {
            send(&peer, to_host(number), Offload::NONE);
            send(&peer, to_other(number), Offload::NONE);
        }
        let reader = if round % 2 == 0 { Reader::Edge } else { Reader::Home };
        site.engine.set_reader(endpoint, reader).unwrap();
        for number in numbers {
            assert_eq!(next(&host).bytes, to_host(number));
            assert_eq!(next(&other).bytes, to_other(number));
        }
    }
    let counted = site.engine.port_counters(endpoint).unwrap();
    assert_eq!((counted.rx.frames, counted.drops), (u64::from(rounds) * 128, vec![]));
    // It is gone for whoever reads it.
    site.engine.set_reader(endpoint, Reader::Edge).unwrap();
    site.engine.remove_port(endpoint).unwrap();
    assert!(matches!(site.engine.set_reader(endpoint, Reader::Home), Err(EngineError::NoSuchPort(_))));
}

#[test]
fn a_port_that_speaks_to_the_host_is_asked_to_be_read_by_the_edges_worker() {
    let site = Site::with_workers(2);
    let (_, host) = site.host_port();
    let (endpoint, peer) = site.endpoint();
    let events = site.engine.events();
    let speak = |times: u32| {
        for number in 0..times {
            let frame = udp((mac(2), GATEWAY.mac), (address(2), 4000), (HOST, 53), &number.to_be_bytes());
            send(&peer, frame, Offload::NONE);
            next(&host);
        }
    };
    speak(600);
    let asked = Event::ReadElsewhere { port: endpoint, reader: Reader::Edge };
    assert_eq!(events.try_iter().collect::<Vec<_>>(), std::slice::from_ref(&asked));
    assert_eq!(site.engine.reader(endpoint), Some(1));
    site.engine.set_reader(endpoint, Reader::Edge).unwrap();
    assert_eq!(site.engine.reader(endpoint), Some(0));
    speak(600);
    assert!(!events.try_iter().any(|event| event == asked), "it is where it wants to be");
}

#[test]
fn a_super_frame_is_translated_and_cut_for_an_uplink_without_offloads() {
    for workers in [1, 2] {
        let site = Site::with_workers(workers);
        let (uplink, wire) = site.uplink();
        let (endpoint, peer) = site.endpoint();
        let payload: Vec<u8> = (0..30_000u32).map(|n| (n % 251) as u8).collect();
        let (bytes, offload) = tcp_super_frame(&payload);
        send(&peer, bytes, offload);
        // It waits for the route, and goes on with the answer.
        site.tell_route(uplink);
        let mut arrived = Vec::new();
        while arrived.len() < payload.len() {
            let frame = next(&wire);
            assert!(frame.bytes.len() <= 1514 && frame.offload == Offload::NONE, "{}", frame.bytes.len());
            assert_eq!(frame.bytes[..12], [ROUTER.1.0, UPLINK_MAC.0].concat());
            let packet = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
            assert_eq!((ip.header().source_addr(), ip.header().destination_addr()), (HOST, REMOTE));
            assert_eq!(ip.header().ttl(), 63);
            assert!((POOL.0..=POOL.1).contains(&tcp.source_port()));
            assert_eq!(tcp.sequence_number(), 1_000 + arrived.len() as u32);
            assert_eq!(
                tcp.calc_checksum_ipv4(ip.header().to_header().source, REMOTE.octets()),
                Ok(tcp.checksum())
            );
            arrived.extend_from_slice(tcp.payload());
        }
        assert_eq!(arrived, payload);
        let sent = site.engine.port_counters(uplink).unwrap().tx;
        let (segments, bytes) = (payload.len().div_ceil(1_460) as u64, payload.len() as u64);
        assert!(sent.frames >= segments && sent.bytes >= bytes + 54 * segments, "{sent:?}");

        let (sessions, more) = site.engine.sessions(SessionFilter::default(), 0, 10).unwrap();
        assert_eq!((sessions.len(), more, sessions[0].owner), (1, None, endpoint));
        assert_eq!(site.engine.edge_stats().unwrap().per_endpoint, [(endpoint, 1)]);
        let others = SessionFilter { owner: Some(uplink), publication: None };
        assert_eq!(site.engine.flush_sessions(others).unwrap(), 0);
        assert_eq!(site.engine.flush_sessions(SessionFilter::default()).unwrap(), 1);
        assert_eq!(site.engine.edge_stats().unwrap().sessions, 0);
    }
}

#[test]
fn answers_from_outside_reach_the_endpoint() {
    for workers in [1, 2] {
        let site = Site::with_workers(workers);
        let (uplink, wire) = site.uplink();
        let (endpoint, peer) = site.endpoint();
        send(&peer, udp((mac(2), GATEWAY.mac), (address(2), 40_000), (REMOTE, 53), b"?"), Offload::NONE);
        site.tell_route(uplink);
        let question = next(&wire).bytes;
        let port = u16::from_be_bytes([question[34], question[35]]);
        for n in 0..3 {
            send(&wire, udp((ROUTER.1, UPLINK_MAC), (REMOTE, 53), (HOST, port), &[n]), Offload::NONE);
            let mut expected = udp((GATEWAY.mac, mac(2)), (REMOTE, 53), (address(2), 40_000), &[n]);
            let answer = next(&peer).bytes;
            // The time to live is one less, and the header's checksum goes with it.
            expected[22] -= 1;
            expected[24..26].copy_from_slice(&answer[24..26]);
            assert_eq!(answer, expected);
        }
        // What is for nobody inside is the host's own business.
        send(&wire, udp((ROUTER.1, UPLINK_MAC), (REMOTE, 53), (HOST, POOL.0 - 1), b"x"), Offload::NONE);
        site.engine.remove_port(endpoint).unwrap();
        assert_eq!(site.engine.edge_stats().unwrap().sessions, 0, "sessions go with their endpoint");
        let counted = site.engine.port_counters(uplink).unwrap();
        assert_eq!(counted.drops, []);
    }
}

/// Waits until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "this did not come about: {what}");
        std::thread::yield_now();
    }
}

/// Carries what leaves by either port into the other, as a cable between the two would.
fn carry(ends: [&MemoryPeer; 2]) {
    for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        for frame in from.frames().try_iter() {
            // A full queue loses it, as a cable does not.
            let _ = to.send(frame);
        }
    }
}

#[test]
fn a_loop_is_told_and_a_blocked_port_ends_it() {
    for workers in [1, 3] {
        let site = Site::with_workers(workers);
        let (_, station) = site.endpoint();
        let loose_ends = [site.endpoint(), site.endpoint()];
        let cable = [&loose_ends[0].1, &loose_ends[1].1];
        let shout = || udp((mac(2), MacAddr::BROADCAST), (address(2), 1), (address(255), 1), b"hey");
        send(&station, shout(), Offload::NONE);
        let events = site.engine.events();
        let mut seen = None;
        until("the loop is told", || {
            carry(cable);
            // Ports that are kept busy may ask for another worker meanwhile.
            seen = events.try_iter().find_map(|event| {
                if let Event::LoopSeen(loop_seen) = event { Some(loop_seen) } else { None }
            });
            seen.is_some()
        });
        let seen = seen.unwrap();
        let blocked = loose_ends.iter().find(|(id, _)| *id == seen.port).expect("it is one of the two");
        let open = loose_ends.iter().find(|(id, _)| *id != seen.port).unwrap();
        assert_ne!(seen.other, blocked.0);
        assert_eq!(seen.station, mac(2));
        site.engine.set_blocked(blocked.0, true).unwrap();
        // What was on its way has been read when this mark, which is dropped too, has been counted.
        let dropped = || site.engine.port_counters(blocked.0).unwrap().dropped(DropReason::Loop);
        let received = || site.engine.port_counters(blocked.0).unwrap().rx.frames;
        let expected = received() + 1;
        send(&blocked.1, shout(), Offload::NONE);
        until("it has been read", || received() == expected);
        for peer in [&station, &open.1, &blocked.1] {
            peer.frames().try_iter().for_each(drop);
        }
        // One copy leaves by the other port, and ends where it comes back.
        let frame = udp((mac(2), MacAddr::BROADCAST), (address(2), 1), (address(255), 1), b"again");
        send(&station, frame.clone(), Offload::NONE);
        while next(&open.1).bytes != frame {}
        let before = dropped();
        send(&blocked.1, frame, Offload::NONE);
        until("what comes back is dropped", || dropped() > before);
        assert!(blocked.1.frames().is_empty() && station.frames().is_empty());
        // A port that takes part again gets its copy.
        site.engine.set_blocked(blocked.0, false).unwrap();
        send(&station, shout(), Offload::NONE);
        assert_eq!(next(&blocked.1).bytes, shout());
        site.engine.set_blocked(blocked.0, true).unwrap();
        site.engine.remove_port(blocked.0).unwrap();
        assert!(matches!(site.engine.set_blocked(blocked.0, false), Err(EngineError::NoSuchPort(_))));
    }
}

#[test]
fn what_is_more_than_a_port_may_flood_is_dropped_by_name() {
    let site = Site::with_workers(1);
    let (id, storm) = site.endpoint();
    let (_, other) = site.endpoint();
    let limits = StormLimits { broadcast: 1, ..StormLimits::NONE };
    site.engine.set_port(id, PortSettings { storm: limits, ..PortSettings::default() }).unwrap();
    for _ in 0..20 {
        let frame = udp((mac(2), MacAddr::BROADCAST), (address(2), 1), (address(255), 1), b"hey");
        send(&storm, frame, Offload::NONE);
    }
    let counted = || site.engine.port_counters(id).unwrap();
    until("they have been read", || counted().rx.frames == 20);
    // The last of them may still be on its way; a mark that follows it is not.
    let mark = udp((mac(2), MacAddr([0x03, 0, 0, 0, 0, 1])), (address(2), 1), (address(9), 1), b"mark");
    send(&storm, mark.clone(), Offload::NONE);
    let passed = std::iter::from_fn(|| Some(next(&other)).filter(|it| it.bytes != mark)).count() as u64;
    let dropped = counted().dropped(DropReason::BroadcastStorm);
    assert!(passed > 0 && dropped > 0 && passed + dropped == 20, "{passed} passed, {dropped} dropped");
}

#[test]
fn what_a_port_may_flood_is_no_more_when_it_is_moved() {
    let site = Site::with_workers(2);
    let (_, other) = site.endpoint();
    let (id, storm) = site.endpoint();
    let limits = StormLimits { broadcast: 1, ..StormLimits::NONE };
    site.engine.set_port(id, PortSettings { storm: limits, ..PortSettings::default() }).unwrap();
    let counted = || site.engine.port_counters(id).unwrap();
    let begin = Instant::now();
    for (sent, reader) in [Reader::Edge, Reader::Home].into_iter().cycle().take(20).enumerate() {
        let frame = udp((mac(2), MacAddr::BROADCAST), (address(2), 1), (address(255), 1), b"hey");
        send(&storm, frame, Offload::NONE);
        until("it has been read", || counted().rx.frames == sent as u64 + 1);
        site.engine.set_reader(id, reader).unwrap();
    }
    let passed = 20 - counted().dropped(DropReason::BroadcastStorm);
    assert!((1..=1 + begin.elapsed().as_secs()).contains(&passed), "{passed} passed, one a second may");
    assert_eq!(next(&other).bytes[..6], MacAddr::BROADCAST.0);
}
