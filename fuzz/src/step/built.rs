//! The whole decision with any settings of ports, on frames that get far: built, not found.

use core::time::Duration;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use pontoon_dataplane::network::{PortSettings, Snapshot, StormLimits};
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::{Frame, MacAddr, PortId};

use super::{MAX_FRAMES, PORTS, World, identity, snapshot};
use crate::edge::packets::ipv4;
use crate::input::{each, one_of, within};

/// Few enough for a hundred frames to be more.
const LIMITS: [u32; 4] = [0, 1, 3, 20];
const MTUS: [u16; 4] = [1500, 600, 1280, 9000];

/// What is set for a port.
#[derive(Arbitrary)]
struct Settings {
    learning: bool,
    flood: bool,
    isolated: bool,
    hairpin: bool,
    guard: bool,
    loop_guard: bool,
    #[arbitrary(with = one_of(&MTUS))]
    mtu: u16,
    #[arbitrary(with = one_of(&LIMITS))]
    broadcast: u32,
    #[arbitrary(with = one_of(&LIMITS))]
    multicast: u32,
    #[arbitrary(with = one_of(&LIMITS))]
    unknown_unicast: u32,
}

impl Settings {
    fn apply_to(&self, snapshot: &mut Snapshot, number: u8) {
        let Some(Some(port)) = snapshot.ports.get_mut(usize::from(number)) else { return };
        let &Settings { learning, flood, isolated, hairpin, guard, loop_guard, .. } = self;
        let &Settings { broadcast, multicast, unknown_unicast, .. } = self;
        let storm = StormLimits { broadcast, multicast, unknown_unicast };
        port.settings = PortSettings { learning, flood, isolated, hairpin, guard, loop_guard, storm };
        port.identity = guard.then(|| Arc::new(identity(number)));
        // One is an existing interface, whose own MAC is the stranger's.
        port.own_mac = (number == 6).then_some(station(number, Whose::Strangers).0);
        port.mtu = self.mtu;
    }
}

/// A frame that comes.
#[derive(Arbitrary)]
struct Arrival {
    #[arbitrary(with = within(0..=PORTS))]
    port: u8,
    /// Since the one before it, in units of 64 ms.
    delay: u8,
    from: Whose,
    to: To,
    /// The second byte of a VLAN's tag.
    tag: Option<u8>,
    what: What,
}

/// Whose a MAC and addresses are.
#[derive(Clone, Copy, Arbitrary)]
enum Whose {
    /// The endpoint's behind the port.
    Own,
    /// One's of the first ports.
    Member(#[arbitrary(with = within(0..=7))] u8),
    Gateways,
    Strangers,
}

/// The MAC that a frame is for.
#[derive(Clone, Copy, Arbitrary)]
enum To {
    All,
    /// One of IPv6's groups.
    Group(u8),
    /// One that no bridge passes on, and neighbours of those.
    Reserved(#[arbitrary(with = within(0..=31))] u8),
    One(Whose),
}

/// What a frame carries. Lengths are in units of eight bytes, but for the last.
#[derive(Clone, Copy, Arbitrary)]
enum What {
    Arp {
        operation: u8,
        target: Whose,
    },
    Udp {
        len: u8,
        ttl: u8,
        to: Whose,
    },
    UdpV6 {
        len: u8,
    },
    Echo {
        len: u8,
        ttl: u8,
    },
    /// A piece of an echo request of 64 bytes or twice that; most of them are where they may belong.
    Piece {
        #[arbitrary(with = within(0..=3))]
        place: u8,
        overlaps: bool,
        more: bool,
        twice: bool,
        #[arbitrary(with = within(0..=15))]
        ident: u8,
    },
    Discovery {
        kind: u8,
        about: Whose,
        says: Whose,
    },
    SuperFrame {
        is_v4: bool,
        flags: u8,
        len: u8,
        size: u8,
        to: Whose,
    },
    Other {
        #[arbitrary(with = one_of(&ETHERTYPES))]
        ethertype: u16,
        len: u8,
        fill: u8,
    },
}

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ETHERTYPES: [u16; 6] = [0x88cc, 0x9000, 0x0800, 0x0806, 0x86dd, 0x0040];

/// Input: for each of eight ports its [`Settings`], then [`Arrival`]s. What must hold is what must hold for [`step`](super::step).
pub fn step_built(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(settings) = input.arbitrary::<[Settings; PORTS as usize]>() else { return };
    let mut snapshot = snapshot();
    (0..PORTS).zip(settings).for_each(|(number, settings)| settings.apply_to(&mut snapshot, number));
    let mut world = World::of(snapshot);
    for arrival in each::<Arrival>(&mut input, MAX_FRAMES) {
        world.wait(Duration::from_millis(u64::from(arrival.delay) * 64));
        let (bytes, offload) = arrival.frame();
        world.receive(PortId(arrival.port.into()), &Frame { bytes: &bytes, offload });
    }
    world.check_counters();
}

/// MAC and addresses of those, seen from a port.
fn station(port: u8, whose: Whose) -> (MacAddr, Ipv4Addr, Ipv6Addr) {
    let number = match whose {
        Whose::Own => port,
        Whose::Member(number) => number,
        Whose::Gateways => 1,
        Whose::Strangers => 200,
    };
    let address = Ipv4Addr::new(10, 0, u8::from(port >= 6), number);
    let mac = if number == 1 { MacAddr::from_ipv4(address) } else { MacAddr([2, 0x42, 10, 0, 0, number]) };
    (mac, address, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()))
}

impl Arrival {
    fn frame(&self) -> (Vec<u8>, Offload) {
        let station = |whose| station(self.port, whose);
        let dst = match self.to {
            To::All => MacAddr::BROADCAST,
            To::Group(last) => MacAddr([0x33, 0x33, 0, 0, 0, last]),
            To::Reserved(last) => MacAddr([1, 0x80, 0xc2, 0, 0, last]),
            To::One(whose) => station(whose).0,
        };
        let mut bytes = [dst.0, station(self.from).0.0].concat();
        bytes.extend(self.tag.iter().flat_map(|&low| [0x81, 0, 0x20, low]));
        let (ethertype, payload) = self.payload();
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(payload);
        let offload = self.offload();
        (bytes, if self.tag.is_some() && offload != Offload::NONE { offload.shifted(4) } else { offload })
    }

    /// What is left to do in the frame, without a tag.
    fn offload(&self) -> Offload {
        let What::SuperFrame { is_v4, size, .. } = self.what else { return Offload::NONE };
        let gso_size = 100 + u16::from(size) * 8;
        let (gso, csum_start) = if is_v4 { (Gso::TcpV4, 34) } else { (Gso::TcpV6, 54) };
        Offload { needs_checksum: true, gso, gso_size, csum_start, csum_offset: 16, ..Offload::NONE }
    }

    fn payload(&self) -> (u16, Vec<u8>) {
        let station = |whose| station(self.port, whose);
        let (mac, own, own6) = station(self.from);
        let gateway = station(Whose::Gateways).1;
        match self.what {
            What::Arp { operation, target } => (ARP, arp(operation, (mac, own), station(target).1)),
            What::Udp { len, ttl, to } => {
                let datagram = [&[0, 9, 0, 9, 0, 0, 0, 0][..], &vec![len; usize::from(len) * 8]].concat();
                (IPV4, ipv4(17, own, station(to).1, (ttl, 0), 7, &datagram))
            }
            What::UdpV6 { len } => (IPV6, ipv6(17, own6, &vec![len; 8 + usize::from(len) * 8])),
            What::Echo { len, ttl } => {
                (IPV4, ipv4(1, own, gateway, (ttl, 0), 7, &echo(usize::from(len) * 8)))
            }
            What::Piece { place, overlaps, more, twice, ident } => {
                let place = u16::from(place) * if overlaps { 3 } else { 8 };
                let piece = echo(56).repeat(1 + usize::from(twice));
                let place = place | if more { 0x2000 } else { 0 };
                (IPV4, ipv4(1, own, gateway, (64, place), ident, &piece))
            }
            What::Discovery { kind, about, says } => {
                (IPV6, ipv6(58, own6, &discovery(kind, station(about).2, station(says).0)))
            }
            What::SuperFrame { is_v4, flags, len, to, .. } => {
                let mut segment = vec![0; 20 + usize::from(len) * 64];
                (segment[12], segment[13]) = (0x50, flags);
                match is_v4 {
                    true => (IPV4, ipv4(6, own, station(to).1, (64, 0), 7, &segment)),
                    false => (IPV6, ipv6(6, own6, &segment)),
                }
            }
            What::Other { ethertype, len, fill } => (ethertype, vec![fill; len.into()]),
        }
    }
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
