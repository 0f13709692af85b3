//! Everything here goes through `Core::step` and `Core::tick`, as in production; replies are read by etherparse.

mod echo;
mod errors;
mod fragments;

use std::net::Ipv4Addr;
use std::sync::Arc;

use core::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Ipv4Header, NetSlice, SlicedPacket};

use proptest::prelude::*;

use crate::addr::MacAddr;
use crate::counters::CounterSum;
use crate::edge::config::UplinkChoice;
use crate::fdb::Stickiness;
use crate::frame::{Frame, ethertype};
use crate::network::{PortId, Snapshot};
use crate::offload::Offload;
use crate::out::Out;
use crate::step::Core;
use crate::testing::*;
use crate::time::Timestamp;
use crate::verdict::{DropReason, FloodCause, Reply, Taken, Verdict};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The endpoint that asks, behind the port of the same number.
const ASKER: u8 = 2;
const NO_ANSWER: Verdict = Verdict::Taken(Taken::NoAnswerDue);

/// A core with the one network, and what it sent last.
struct Lab {
    core: Core,
    out: Out,
    now: Timestamp,
}

impl Lab {
    /// Open ports of these numbers.
    fn new(ports: impl IntoIterator<Item = u8>) -> Self {
        let mut lab = Lab { core: Core::new(0), out: Out::new(), now: Timestamp::from_secs(1000) };
        lab.core.adopt(lab.now, Arc::new(snapshot(ports.into_iter().map(open_port).collect())));
        // Nothing leads outside, so that no route is asked for.
        lab.change(|snapshot| {
            Arc::make_mut(snapshot.networks[0].as_mut().unwrap()).edge.uplinks = UplinkChoice::None;
        });
        lab
    }

    fn with_mtu(mtu: u16) -> Self {
        let mut lab = Lab::new([ASKER, 3]);
        lab.change(|snapshot| Arc::make_mut(snapshot.networks[0].as_mut().unwrap()).mtu = mtu);
        lab.change(|snapshot| snapshot.ports.iter_mut().flatten().for_each(|port| port.mtu = mtu.max(1500)));
        lab
    }

    fn change(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(self.core.snapshot());
        change(&mut snapshot);
        self.core.adopt(self.now, Arc::new(snapshot));
    }

    fn send(&mut self, port: u8, frame: &[u8]) -> Verdict {
        self.send_with(port, frame, Offload::NONE)
    }

    fn send_with(&mut self, port: u8, bytes: &[u8], offload: Offload) -> Verdict {
        self.core.step(self.now, PortId(port.into()), &Frame { bytes, offload }, &mut self.out)
    }

    /// An IPv4 packet from the asker to the gateway's MAC.
    fn ask(&mut self, packet: &[u8]) -> Verdict {
        self.send(ASKER, &ethernet(GATEWAY.mac, mac(ASKER), ethertype::IPV4, packet))
    }

    fn made(&self) -> Vec<(PortId, Vec<u8>)> {
        self.out.made().map(|(egress, frame)| (egress, frame.bytes.to_vec())).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn tick(&mut self) -> Option<Timestamp> {
        self.core.tick(self.now, &mut self.out)
    }

    fn counters(&self, port: u8) -> CounterSum {
        CounterSum::of(&self.core.snapshot().port(PortId(port.into())).unwrap().counters)
    }
}

/// An echo request as an ICMP message.
fn echo_request(data: &[u8]) -> Vec<u8> {
    let kind = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 0x1234, seq: 0x5678 });
    [&Icmpv4Header::with_checksum(kind, data).to_bytes()[..], data].concat()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// The ICMP message in these frames, put together as a host would that trusts nothing.
fn read_icmp(made: &[(PortId, Vec<u8>)], to: (u8, MacAddr, Ipv4Addr), mtu: usize) -> (Icmpv4Type, Vec<u8>) {
    let mut message = Vec::new();
    let mut idents = std::collections::HashSet::new();
    for (index, (egress, frame)) in made.iter().enumerate() {
        assert_eq!(*egress, PortId(to.0.into()));
        let decoded = SlicedPacket::from_ethernet(frame).unwrap();
        let link = decoded.link.as_ref().unwrap().to_header().unwrap().ethernet2().unwrap();
        assert_eq!((link.destination, link.source), (to.1.0, GATEWAY.mac.0));
        let Some(NetSlice::Ipv4(packet)) = decoded.net else { panic!("not IPv4: {frame:02x?}") };
        let header: Ipv4Header = packet.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.source, header.destination), (GATEWAY.address.octets(), to.2.octets()));
        assert_eq!((header.protocol.0, header.time_to_live, header.dont_fragment), (ICMP, 64, false));
        assert!(frame.len() - 14 <= mtu, "{} bytes of packet", frame.len() - 14);
        assert_eq!(usize::from(header.total_len), frame.len() - 14);
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, message.len());
        assert_eq!(header.more_fragments, index + 1 < made.len());
        idents.insert(header.identification);
        message.extend(&frame[14 + header.header_len()..]);
    }
    assert_eq!(idents.len(), 1, "all fragments have the same identification");
    let (header, data) = Icmpv4Header::from_slice(&message).unwrap();
    assert_eq!(header.checksum, header.icmp_type.calc_checksum(data));
    (header.icmp_type, data.to_vec())
}

fn to_asker() -> (u8, MacAddr, Ipv4Addr) {
    (ASKER, mac(ASKER), address(ASKER))
}

/// What answers an ARP request for the gateway's address by `port`.
fn read_arp(made: &[(PortId, Vec<u8>)], port: u8) -> (MacAddr, Ipv4Addr) {
    let [(egress, frame)] = made else { panic!("{} frames", made.len()) };
    assert_eq!(*egress, PortId(port.into()));
    let decoded = SlicedPacket::from_ethernet(frame).unwrap();
    assert!(decoded.link_exts.is_empty(), "no tag");
    let Some(NetSlice::Arp(message)) = decoded.net else { panic!("not ARP") };
    assert_eq!(message.operation().0, 2);
    assert_eq!(message.sender_hw_addr(), GATEWAY.mac.0);
    assert_eq!(message.sender_protocol_addr(), GATEWAY.address.octets());
    assert_eq!(frame[..6], *message.target_hw_addr());
    assert_eq!(frame[6..12], GATEWAY.mac.0);
    let target: [u8; 4] = message.target_protocol_addr().try_into().unwrap();
    (MacAddr::from_prefix(message.target_hw_addr()), target.into())
}

#[test]
fn arp_requests_are_answered() {
    let mut lab = Lab::new([ASKER, 3]);
    let question = |sender| arp(1, (mac(ASKER), sender), (MacAddr::ZERO, GATEWAY.address));
    let flooded = Verdict::Flood { cause: FloodCause::Broadcast, copies: 1, answered: true };
    for (dst, expected) in [(MacAddr::BROADCAST, flooded), (GATEWAY.mac, Verdict::Reply(Reply::Arp))] {
        for sender in [address(ASKER), Ipv4Addr::UNSPECIFIED] {
            let frame = ethernet(dst, mac(ASKER), ethertype::ARP, &question(sender));
            let padded = [&frame[..], &[0; 18]].concat();
            let in_priority = tagged(&frame, ethertype::VLAN, 0xa000);
            for frame in [&frame, &padded, &in_priority] {
                assert_eq!(lab.send(ASKER, frame), expected);
                assert_eq!(read_arp(&lab.made(), ASKER), (mac(ASKER), sender));
            }
        }
    }
}

#[test]
fn what_does_not_ask_for_the_gateway_is_not_answered() {
    let mut lab = Lab::new([ASKER, 3]);
    let nobody = MacAddr::ZERO;
    let own = (mac(ASKER), address(ASKER));
    for (what, message) in [
        ("another's address", arp(1, own, (nobody, address(9)))),
        ("gratuitous request", arp(1, own, (nobody, address(ASKER)))),
        ("reply", arp(2, own, (GATEWAY.mac, GATEWAY.address))),
        ("a group asks", arp(1, (MacAddr::BROADCAST, address(ASKER)), (nobody, GATEWAY.address))),
    ] {
        let verdict = lab.send(ASKER, &ethernet(MacAddr::BROADCAST, mac(ASKER), ethertype::ARP, &message));
        assert!(matches!(verdict, Verdict::Flood { answered: false, .. }), "{what}: {verdict}");
        assert_eq!(lab.made(), [], "{what}");
        let verdict = lab.send(ASKER, &ethernet(GATEWAY.mac, mac(ASKER), ethertype::ARP, &message));
        assert_eq!((verdict, lab.made().len()), (NO_ANSWER, 0), "{what}");
    }
    let question = arp(1, own, (nobody, GATEWAY.address));
    let cut = ethernet(GATEWAY.mac, mac(ASKER), ethertype::ARP, &question[..20]);
    assert_eq!(lab.send(ASKER, &cut), Verdict::Drop(DropReason::GatewayMalformed));

    let in_vlan = |dst| tagged(&ethernet(dst, mac(ASKER), ethertype::ARP, &question), ethertype::VLAN, 5);
    assert_eq!(lab.send(ASKER, &in_vlan(GATEWAY.mac)), Verdict::Drop(DropReason::GatewayTagged));
    let verdict = lab.send(ASKER, &in_vlan(MacAddr::BROADCAST));
    assert!(matches!(verdict, Verdict::Flood { answered: false, .. }), "{verdict}");
    assert_eq!(lab.made(), []);
}

#[test]
fn other_protocols_are_refused_by_name() {
    let mut lab = Lab::new([ASKER]);
    for kind in [ethertype::IPV6, 0x8847, 0x0026] {
        let frame = ethernet(GATEWAY.mac, mac(ASKER), kind, &[0x60; 60]);
        assert_eq!(lab.send(ASKER, &frame), Verdict::Drop(DropReason::GatewayUnsupported), "{kind:04x}");
    }
}

#[test]
fn malformed_ipv4_is_dropped() {
    let mut lab = Lab::new([ASKER]);
    let good = ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(b"hello"));
    assert_eq!(lab.ask(&good), Verdict::Reply(Reply::Echo));
    type Change = (&'static str, fn(&mut Vec<u8>));
    let changes: [Change; 6] = [
        ("empty", |p| p.clear()),
        ("cut short", |p| p.truncate(19)),
        ("shorter than it says", |p| p.truncate(p.len() - 1)),
        ("version 6", |p| {
            // With a checksum that agrees.
            p[0] = 0x65;
            p[10..12].fill(0);
            let sum = !smoltcp::wire::checksum::data(&p[..20]);
            p[10..12].copy_from_slice(&sum.to_be_bytes());
        }),
        ("header of 16 bytes", |p| p[0] = 0x44),
        ("header checksum", |p| p[10] ^= 1),
    ];
    for (what, change) in changes {
        let mut packet = good.clone();
        change(&mut packet);
        assert_eq!(lab.ask(&packet), Verdict::Drop(DropReason::GatewayMalformed), "{what}");
        assert_eq!(lab.made(), [], "{what}");
    }
    assert_eq!(
        lab.ask(&[&good[..], &[0; 20]].concat()),
        Verdict::Reply(Reply::Echo),
        "padding is none of it"
    );
}

/// Checks one announcement to these ports.
fn assert_announced(made: &[(PortId, Vec<u8>)], ports: &[u8]) {
    let egresses: Vec<PortId> = made.iter().map(|(egress, _)| *egress).collect();
    assert_eq!(egresses, ports.iter().map(|&port| PortId(port.into())).collect::<Vec<_>>());
    let nobody = (MacAddr::ZERO, GATEWAY.address);
    let message = arp(1, (GATEWAY.mac, GATEWAY.address), nobody);
    let expected = ethernet(MacAddr::BROADCAST, GATEWAY.mac, ethertype::ARP, &message);
    assert!(made.iter().all(|(_, frame)| *frame == expected));
}

#[test]
fn a_gateway_announces_itself_twice() {
    let mut lab = Lab::new([ASKER, 3, 4]);
    lab.tick();
    assert_eq!(lab.made(), []);
    lab.core.announce(NETWORK, lab.now);
    let start = lab.now;
    assert_eq!(lab.tick(), Some(start + Duration::from_secs(2)));
    assert_announced(&lab.made(), &[ASKER, 3, 4]);
    lab.wait(Duration::from_millis(1999));
    assert_eq!(lab.tick(), Some(start + Duration::from_secs(2)));
    assert_eq!(lab.made(), []);
    lab.wait(Duration::from_millis(1));
    let sweep_alone = lab.tick();
    assert_announced(&lab.made(), &[ASKER, 3, 4]);
    lab.wait(Duration::from_secs(10));
    assert_eq!(lab.tick(), sweep_alone, "nothing but the sweep of the FDB is due");
    assert_eq!(lab.made(), []);
}

#[test]
fn announcing_again_starts_anew_and_a_missing_network_ends_it() {
    let mut lab = Lab::new([ASKER]);
    lab.core.announce(NETWORK, lab.now);
    lab.tick();
    lab.core.announce(NETWORK, lab.now);
    for _ in 0..2 {
        lab.tick();
        assert_announced(&lab.made(), &[ASKER]);
        lab.wait(Duration::from_secs(2));
    }
    lab.tick();
    assert_eq!(lab.made(), []);

    lab.core.announce(NETWORK, lab.now);
    lab.change(|snapshot| snapshot.networks.clear());
    lab.tick();
    assert_eq!(lab.made(), []);
    lab.core.announce(crate::NetworkId(900), lab.now);
    lab.tick();
    assert_eq!(lab.made(), []);
    assert!(lab.tick() > Some(lab.now), "nothing stays due for ever");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(1024)))]

    /// Frames that are right but for a few bytes, one after the other, with any metadata: no panic, and whatever is
    /// sent comes from the gateway, goes to who asked, is whole and within the MTU.
    #[test]
    fn near_misses_do_no_harm(frames in prop::collection::vec(nearly_right(), 1..8), metadata: [u8; 10]) {
        let mut lab = Lab::new([ASKER, 3]);
        for frame in frames {
            let offload = Offload::parse(&metadata).unwrap_or_default();
            for offload in [Offload::NONE, offload] {
                lab.send_with(ASKER, &frame, offload);
                for (egress, reply) in lab.made() {
                    prop_assert_eq!(egress, PortId(ASKER.into()));
                    prop_assert_eq!(&reply[6..12], &GATEWAY.mac.0);
                    prop_assert_eq!(reply[0] & 1, 0, "replies are unicast");
                    prop_assert!(reply.len() <= 14 + 1500);
                    prop_assert!(SlicedPacket::from_ethernet(&reply).is_ok());
                }
            }
        }
        lab.wait(Duration::from_secs(60));
        lab.tick();
    }
}

fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let own = (mac(ASKER), address(ASKER));
    let fragment = |offset, more| {
        let place = FragmentOf { id: 1, offset, more };
        ipv4_fragment(address(ASKER), GATEWAY.address, ICMP, &pattern(64), place)
    };
    let ipv4_frame = |packet: &[u8]| ethernet(GATEWAY.mac, mac(ASKER), ethertype::IPV4, packet);
    let question = arp(1, own, (MacAddr::ZERO, GATEWAY.address));
    let seeds = vec![
        ethernet(MacAddr::BROADCAST, mac(ASKER), ethertype::ARP, &question),
        ethernet(GATEWAY.mac, mac(ASKER), ethertype::ARP, &question),
        ipv4_frame(&ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(&pattern(40)))),
        ipv4_frame(&ipv4(address(ASKER), Ipv4Addr::new(192, 0, 2, 9), UDP, &pattern(40))),
        ipv4_frame(&fragment(0, true)),
        ipv4_frame(&fragment(64, true)),
        ipv4_frame(&fragment(128, false)),
    ];
    let changes = prop::collection::vec((12usize..60, any::<u8>()), 0..3);
    (prop::sample::select(seeds), changes, any::<bool>(), 0usize..12).prop_map(
        |(mut frame, changes, mend, cut)| {
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if mend && frame.len() >= 34 && frame[12..14] == [8, 0] {
                // With a header checksum that is right, changes come further.
                frame[24..26].fill(0);
                let sum = !smoltcp::wire::checksum::data(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            frame.truncate(frame.len() - cut);
            frame
        },
    )
}

#[test]
fn only_worker_0_sweeps() {
    let lab = Lab::new([ASKER]);
    let fdb = &lab.core.snapshot().networks[0].as_ref().unwrap().fdb;
    fdb.learn(mac(ASKER), PortId(ASKER.into()), Stickiness::Free, lab.now);
    let expired = lab.now + fdb.ageing();
    let mut out = Out::new();
    let mut tick = |worker| {
        let mut core = Core::new(worker);
        core.adopt(lab.now, lab.core.snapshot().clone());
        core.tick(expired, &mut out)
    };
    tick(1);
    assert_eq!(fdb.stats().entries, 1);
    assert_eq!(tick(0), Some(expired + Duration::from_secs(15)));
    assert_eq!(fdb.stats().entries, 0);
}
