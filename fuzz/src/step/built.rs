//! The whole decision with any settings of ports, on frames that get far: built, not found.

use core::time::Duration;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use pontoon_dataplane::network::{PortSettings, Snapshot, StormLimits};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::{Frame, MacAddr, PortId};

use super::{MAX_FRAMES, PORTS, World, identity, snapshot};
use crate::edge::packets::ipv4;
use crate::input::Input;

/// Few enough for a hundred frames to be more.
const LIMITS: [u32; 4] = [0, 1, 3, 20];
const MTUS: [u16; 4] = [1500, 600, 1280, 9000];

/// Input: for each of eight ports its settings, a byte of switches (learning, flood, isolated, hairpin, guard, loop guard, and two bits for
/// the MTU) and one of limits (two bits each: broadcast, multicast, unknown); then frames, each its port (modulo 9), the time since
/// the one before it (in units of 64 ms), whose it is, whom it is for, what it is and three bytes for that. What must hold is what must hold for
/// [`step`](super::step).
pub fn step_built(data: &[u8]) {
    let mut input = Input(data);
    let mut snapshot = snapshot();
    for number in 0..PORTS {
        let (Some(switches), Some(limits)) = (input.byte(), input.byte()) else { break };
        set(&mut snapshot, number, switches, limits);
    }
    let mut world = World::of(snapshot);
    for _ in 0..MAX_FRAMES {
        let Some([port, delay, choice @ ..]) = input.array::<8>() else { break };
        world.wait(Duration::from_millis(u64::from(delay) * 64));
        let port = port % (PORTS + 1);
        let (bytes, offload) = frame(port, choice);
        world.receive(PortId(port.into()), &Frame { bytes: &bytes, offload });
    }
    world.check_counters();
}

fn set(snapshot: &mut Snapshot, number: u8, switches: u8, limits: u8) {
    let Some(Some(port)) = snapshot.ports.get_mut(usize::from(number)) else { return };
    let [learning, flood, isolated, hairpin, guard, loop_guard] =
        [0, 1, 2, 3, 4, 5].map(|bit| switches >> bit & 1 != 0);
    let [broadcast, multicast, unknown_unicast] = [0, 2, 4].map(|bit| LIMITS[usize::from(limits >> bit & 3)]);
    let storm = StormLimits { broadcast, multicast, unknown_unicast };
    port.settings = PortSettings { learning, flood, isolated, hairpin, guard, loop_guard, storm };
    port.identity = guard.then(|| Arc::new(identity(number)));
    // One is an existing interface, whose own MAC is the stranger's.
    port.own_mac = (number == 6).then_some(station(number, 7).0);
    port.mtu = MTUS[usize::from(switches >> 6)];
}

/// A station's MAC and addresses: of the port's own endpoint, another's, the gateway, or a stranger.
fn station(port: u8, choice: u8) -> (MacAddr, Ipv4Addr, Ipv6Addr) {
    let network = u8::from(port >= 6);
    let number = match choice % 8 {
        0..=3 => port,
        4 => 1,
        5 => choice >> 3,
        6 => choice >> 5,
        _ => 200,
    };
    let address = Ipv4Addr::new(10, 0, network, number);
    let mac = if number == 1 { MacAddr::from_ipv4(address) } else { MacAddr([2, 0x42, 10, 0, 0, number]) };
    (mac, address, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()))
}

fn frame(port: u8, [whose, to, what, a, b, c]: [u8; 6]) -> (Vec<u8>, Offload) {
    let (src, own, own6) = station(port, whose);
    let (known, other, other6) = station(port, to.rotate_left(3));
    let gateway = station(port, 4);
    let dst = match to >> 5 {
        0 | 1 => MacAddr::BROADCAST,
        2 | 3 => gateway.0,
        4 => MacAddr([0x33, 0x33, 0, 0, 0, a]),
        5 => MacAddr([1, 0x80, 0xc2, 0, 0, a % 32]),
        _ => known,
    };
    let mut offload = Offload::NONE;
    let (ethertype, payload): (u16, Vec<u8>) = match what % 8 {
        0 => (0x0806, arp(a, (src, own), other)),
        1 => {
            let datagram = [&[0, 9, 0, 9, 0, 0, 0, 0][..], &vec![a; usize::from(b) * 8]].concat();
            (0x0800, ipv4(17, own, other, (c, 0), 7, &datagram))
        }
        2 => (0x0800, ipv4(1, own, gateway.1, (c, 0), 7, &echo(usize::from(b) * 8))),
        3 => {
            // A piece of a packet to the gateway, of 64 bytes or twice that; most of them are where they may belong.
            let place = u16::from(b % 4) * if a & 0x40 == 0 { 8 } else { 3 };
            let place = place | if a & 1 == 0 { 0x2000 } else { 0 };
            let piece = echo(56).repeat(1 + usize::from(a >> 7));
            (0x0800, ipv4(1, own, gateway.1, (64, place), c % 4, &piece))
        }
        4 => (0x86dd, ipv6(58, own6, &discovery(a, other6, if b & 1 == 0 { src } else { known }))),
        5 => (0x86dd, ipv6(17, own6, &vec![b; 8 + usize::from(c)])),
        6 => {
            let gso_size = 100 + u16::from(c) * 8;
            let (gso, csum_start) = if a & 1 == 0 { (Gso::TcpV4, 34) } else { (Gso::TcpV6, 54) };
            offload =
                Offload { needs_checksum: true, gso, gso_size, csum_start, csum_offset: 16, ..Offload::NONE };
            let mut segment = vec![0; 20 + usize::from(b) * 64];
            (segment[12], segment[13]) = (0x50, a);
            match gso {
                Gso::TcpV4 => (0x0800, ipv4(6, own, other, (64, 0), 7, &segment)),
                _ => (0x86dd, ipv6(6, own6, &segment)),
            }
        }
        _ => ([0x88cc, 0x9000, 0x0800, 0x0806, 0x86dd, 0x0040][usize::from(a) % 6], vec![b; usize::from(c)]),
    };
    let mut bytes = [&dst.0[..], &src.0].concat();
    if what & 0xc0 == 0xc0 {
        bytes.extend([0x81, 0, what & 0x20, c]);
        offload = offload.shifted(if offload == Offload::NONE { 0 } else { 4 });
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    (bytes, offload)
}

fn arp(operation: u8, sender: (MacAddr, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1 + operation % 3];
    message.extend(sender.0.0);
    message.extend(sender.1.octets());
    message.extend([0; 6]);
    message.extend(target.octets());
    message
}

fn echo(len: usize) -> Vec<u8> {
    let mut message = vec![0; 8 + len];
    message[0] = 8;
    let sum = pontoon_dataplane::checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn ipv6(protocol: u8, from: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([protocol, 255]);
    packet.extend(from.octets());
    packet.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
    packet.extend(payload);
    packet
}

/// Router and neighbour solicitation and advertisement, and redirects (RFC 4861, section 4).
fn discovery(kind: u8, target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let kind = 133 + kind % 5;
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    match kind {
        133 => {}
        134 => message.extend([0; 8]),
        137 => message.extend([target.octets(), target.octets()].concat()),
        _ => message.extend(target.octets()),
    }
    message.extend([if kind == 136 { 2 } else { 1 }, 1]);
    message.extend(mac.0);
    message
}
