//! Every rung of offloads: what one side leaves to the bridge, done for a side that cannot, and judged by the kernel's own
//! checksum verification.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::engine::{EngineConfig, PortSpec};
use pontoon_dataplane::network::{Place, PortSettings};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::memory::{self, MemoryPeer, OwnedFrame};
use pontoon_dataplane::port::{Device, Offloads};
use pontoon_tools::lab::{Lab, Namespace, Wire, address, address6};
use pontoon_tools::peek::Peek;
use pontoon_tools::ping::{Answer, Pinger};
use pontoon_tools::traffic::{udp_each, udp_super_frame};
use pontoon_tools::transfer;

use crate::daemon::{GATEWAY, PATIENCE, until};
use crate::frames::{ethernet, udp};
use crate::{Test, full, test};

/// An Ethernet frame of the MTU's size.
const WHOLE: usize = 1514;

const RUNGS: [(&str, Offloads); 5] = [
    ("all", Offloads::ALL),
    ("no-uso", Offloads { uso: false, ..Offloads::ALL }),
    ("no-tso", Offloads { uso: false, tso: false, ..Offloads::ALL }),
    ("no-checksum", Offloads { uso: false, tso: false, checksum: false, ..Offloads::ALL }),
    ("no-header", Offloads::NONE),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (name, rung) in RUNGS {
        let wires = [
            ("tap-tap", [Wire::Tap(Offloads::ALL), Wire::Tap(rung)]),
            ("veth-tap", [Wire::Veth(Offloads::ALL), Wire::Tap(rung)]),
            ("tap-veth", [Wire::Tap(Offloads::ALL), Wire::Veth(rung)]),
        ];
        for (kinds, wires) in wires {
            tests.push(test(format!("offloads/{name}/{kinds}"), move || both_ways(&wires, rung)));
        }
    }
    tests.push(test("offloads/memory/gets-complete-frames", memory_gets_complete_frames));
    tests.push(test("offloads/memory/sends-partial-frames", memory_sends_partial_frames));
    tests
}

/// `wires`: the first has all offloads, the second only those of `rung`.
fn both_ways(wires: &[Wire], rung: Offloads) {
    let lab = Lab::wired(wires, EngineConfig::default(), 1500).unwrap();
    let [a, b] = &lab.sandboxes[..] else { panic!("two") };
    // What the second kernel is given, as it is given; no more than a socket's buffer holds.
    let bytes = 1 << 20;
    let peek = Peek::open(b, "eth0").unwrap();
    let sizes = || [1, 2, 17, 1471, 1472, 1473, 1480, 4000, 65_507];
    let to_b: [IpAddr; 2] = [address(1).into(), address6(1).into()];
    let to_a: [IpAddr; 2] = [address(0).into(), address6(0).into()];
    for address in to_b {
        transfer::tcp(a, b, address, bytes).unwrap();
        // IPv6's header is larger.
        udp_each(a, b, address, sizes().map(|size| size.min(65_487))).unwrap();
        for (size, count) in [(1400, 40), (100, 20), (1, 3)] {
            udp_super_frame(a, b, address, size, count).unwrap();
        }
    }
    let last = [0x5a; 33];
    let mut largest = [0, 0];
    end_mark(&lab, &last);
    let seen = peek.until(PATIENCE, |frame| frame.bytes.ends_with(&last)).unwrap();
    for frame in &seen {
        let udp = usize::from(is_udp(&frame.bytes));
        largest[udp] = largest[udp].max(frame.bytes.len());
        assert!(rung.checksum || !frame.offload.needs_checksum, "{frame:?}");
    }
    let [tcp, udp] = largest;
    assert_eq!(tcp > WHOLE, rung.tso, "TCP frames of up to {tcp} bytes");
    assert_eq!(udp > WHOLE, rung.uso, "UDP frames of up to {udp} bytes");
    let bytes = if full() { 100 << 20 } else { 4 << 20 };
    drop(peek);
    transfer::tcp(a, b, to_b[0], bytes).unwrap();
    for address in to_a {
        transfer::tcp(b, a, address, bytes).unwrap();
        udp_each(b, a, address, sizes().map(|size| size.min(65_487))).unwrap();
        udp_super_frame(b, a, address, 1400, 40).unwrap();
    }
    for sandbox in [a, b] {
        for protocol in ["Tcp", "Udp"] {
            assert_eq!(
                figure(sandbox, protocol, "InCsumErrors"),
                0,
                "{protocol} packets with a wrong checksum"
            );
        }
        // TCP heals segments that were cut wrong by sending them again, one by one. A busy machine loses some, but not a third.
        let (sent, again) = (figure(sandbox, "Tcp", "OutSegs"), figure(sandbox, "Tcp", "RetransSegs"));
        assert!(again * 3 < sent, "{again} of {sent} segments were sent again");
    }
}

/// A figure of the kernel's statistics of a protocol (IPv4 and, for TCP, IPv6).
fn figure(sandbox: &Namespace, protocol: &str, name: &str) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
    let text = sandbox.run(read).unwrap().unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut figures = names.split(' ').zip(values.split(' '));
    figures.find(|(found, _)| *found == name).expect("the figure").1.parse().expect("a number")
}

/// A last datagram from the first sandbox to the second.
fn end_mark(lab: &Lab, payload: &[u8]) {
    let socket = lab.sandboxes[0].run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    socket.send_to(payload, (address(1), 9)).unwrap();
}

fn is_udp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&17),
        // UDP, or a fragment of it.
        Some([0x86, 0xdd]) => matches!(frame.get(20), Some(17 | 44)),
        _ => false,
    }
}

/// A memory port of the station number 9 on the lab's network.
fn memory_port(lab: &Lab, offloads: Offloads) -> MemoryPeer {
    let wired = lab.engine();
    let (memory, peer) = memory::pair(256, offloads).unwrap();
    let spec = PortSpec {
        place: Place::Member(wired.network),
        settings: PortSettings::default(),
        identity: None,
        mtu: 1500,
    };
    wired.engine.add_port(spec, Device::Memory(memory)).unwrap();
    peer
}

fn next_udp(peer: &MemoryPeer) -> OwnedFrame {
    loop {
        let frame = peer.frames().recv_timeout(PATIENCE).expect("a frame comes");
        // Ports aside, which the test chose: neighbour discovery and the like are not meant.
        if frame.bytes.get(23) == Some(&17) && frame.bytes.get(36..38) == Some(&9u16.to_be_bytes()) {
            return frame;
        }
    }
}

fn memory_gets_complete_frames() {
    let lab = Lab::wired(&[Wire::Tap(Offloads::ALL)], EngineConfig::default(), 1500).unwrap();
    let (able, unable) = (memory_port(&lab, Offloads::ALL), memory_port(&lab, Offloads::NONE));
    let socket = lab.sandboxes[0].run(|| UdpSocket::bind((address(0), 1000))).unwrap().unwrap();
    socket.set_broadcast(true).unwrap();
    let payload = [7; 333];
    socket.send_to(&payload, (Ipv4Addr::BROADCAST, 9)).unwrap();
    let (partial, complete) = (next_udp(&able), next_udp(&unable));
    // The kernel did leave the checksum to us: else there was nothing to see.
    assert!(partial.offload.needs_checksum);
    assert!(!complete.offload.needs_checksum);
    let expected = udp((address(0), 1000), (Ipv4Addr::BROADCAST, 9), &payload, false);
    assert_eq!(complete.bytes[34..], expected[20..], "the UDP datagram");
}

fn memory_sends_partial_frames() {
    for rung in [Offloads::ALL, Offloads::NONE] {
        let lab = Lab::wired(&[Wire::Tap(rung), Wire::Veth(rung)], EngineConfig::default(), 1500).unwrap();
        let peer = memory_port(&lab, Offloads::ALL);
        for (number, sandbox) in (0u8..).zip(&lab.sandboxes) {
            let sink = sandbox.run(|| UdpSocket::bind((address(number), 9))).unwrap().unwrap();
            sink.set_read_timeout(Some(PATIENCE)).unwrap();
            // A new link loses frames until the kernel has noticed that it carries.
            let mut pinger = Pinger::new(sandbox, GATEWAY).unwrap();
            let answers = || pinger.ping(GATEWAY, 0, PATIENCE / 100).unwrap() == Answer::Reply;
            until("the link carries", answers);
            // One datagram, then a super-frame of three.
            for (payload, size) in [(vec![1; 100], 100), ((0..=255).cycle().take(3000).collect(), 1000)] {
                let packet = udp((address(9), 9), (address(number), 9), &payload, true);
                let (dst, src) = (MacAddr::from_ipv4(address(number)), MacAddr::from_ipv4(address(9)));
                let bytes = ethernet(dst, src, 0x0800, &packet);
                let gso = if payload.len() > size { Gso::Udp } else { Gso::None };
                let gso_size = if gso == Gso::Udp { size as u16 } else { 0 };
                let offload = Offload {
                    needs_checksum: true,
                    gso,
                    gso_size,
                    header_len: 42,
                    csum_start: 34,
                    csum_offset: 6,
                    ..Offload::NONE
                };
                peer.send(OwnedFrame { bytes, offload }).unwrap();
                let mut buffer = [0; 2048];
                for expected in payload.chunks(size) {
                    let len = sink.recv(&mut buffer).unwrap_or_else(|error| {
                        panic!(
                            "{rung:?}, sandbox {number}, {} bytes: {error}; {:?}",
                            payload.len(),
                            counters(&lab)
                        )
                    });
                    assert_eq!(buffer[..len], *expected);
                }
            }
        }
    }
}

fn counters(lab: &Lab) -> Vec<pontoon_dataplane::counters::CounterSum> {
    let wired = lab.engine();
    wired.ports.iter().map(|port| wired.engine.port_counters(*port).unwrap()).collect()
}
