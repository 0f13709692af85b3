//! ICMP errors about what is said over the edge, from whom they may come and from whom not, with embedded packets of every kind.

use core::time::Duration;
use std::net::Ipv4Addr;

use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::edge::view::{SessionFilter, SessionView};
use pontoon_dataplane::network::Place;
use pontoon_dataplane::{Frame, PortId, Verdict};

use super::operations::{Part, Way, route};
use super::packets::{addresses, checksum_at, ends, error, finish, flow, framed, header_len, ipv4, message};
use super::{ADDRESSES, MAX_OPERATIONS, PORTS, UPLINK, World};
use crate::input::{each, maybe, within};

/// Types of errors: a byte says which one of these, unless it is itself one.
const KINDS: [u8; 8] = [3, 4, 11, 12, 5, 3, 11, 1];
const ECHO: [u8; 2] = [0, 8];
const ACK: u8 = 0x10;
/// What ways outside take, in bytes. The packets that are said fit the narrowest that there is (RFC 791, section 3.2).
const WIDE: u16 = 1500;
const NARROW: u16 = 68;

/// Input: ICMP errors ([`Hostile`]), each about one of the packets that are said before. An error
/// that passes is about a session, comes from where the quoted packet went, goes to who sent that, and quotes what he sent; the rest
/// of it stays as it was as far as its way takes it, and checksums that were right are. Right ones do pass. None changes a session, and nobody
/// answers one. All that once where nothing is too large, and once where every way outside is as narrow as can be.
pub fn edge_errors(data: &[u8]) {
    for mtu in [WIDE, NARROW] {
        errors_where(data, mtu);
    }
}

fn errors_where(data: &[u8], mtu: u16) {
    let mut world = World::new();
    let said = conversations(&mut world, mtu);
    // A session that is refreshed shows it.
    world.pass(Duration::from_secs(1));
    for hostile in each::<Hostile>(&mut Unstructured::new(data), MAX_OPERATIONS) {
        let before = sessions(&world);
        hostile.send(&mut world, &said, mtu);
        assert_eq!(sessions(&world), before, "an error has changed a session");
        world.resume();
        world.check_bounds();
    }
    // Everybody is still understood.
    for said in &said {
        said.again(&mut world);
    }
    world.check_counters();
}

/// A packet at both ends of its way.
struct Said {
    sent: (u16, Vec<u8>),
    arrived: (u16, Vec<u8>),
}

impl Said {
    /// The packet of a flow, sent by that port, and how it arrives.
    fn new(world: &mut World, port: u16, tuple: &Tuple) -> Said {
        let [src, dst] = addresses(tuple);
        let packet = ipv4(tuple.protocol as u8, src, dst, (64, 0), 7, &message(tuple, ACK, &[0x5a; 24]));
        let frame = framed(port, &packet);
        let verdict = world.receive(port, &Frame::plain(&frame), true);
        let mut left = world.left(&Frame::plain(&frame));
        assert!(left.len() == 1, "{tuple} by {port}: {verdict}");
        Said { sent: (port, packet), arrived: left.remove(0) }
    }

    fn again(&self, world: &mut World) {
        let tuple = flow(&self.sent.1).expect("a packet of a flow");
        let now = Said::new(world, self.sent.0, &tuple);
        assert_eq!((now.arrived.0, flow(&now.arrived.1)), (self.arrived.0, flow(&self.arrived.1)));
    }
}

/// Questions and answers of every kind, where ways outside take so much.
fn conversations(world: &mut World, mtu: u16) -> Vec<Said> {
    let [one, two, _, five, ..] = ADDRESSES;
    let (host, remote, other) = (ADDRESSES[6], ADDRESSES[8], ADDRESSES[9]);
    let ways = if mtu == NARROW { [Way::Narrow; 3] } else { [Way::Routed, Way::Tunnelled, Way::Routed] };
    for ((network, to), way) in [(0, remote), (0, other), (1, remote)].into_iter().zip(ways) {
        world.core.answer(world.now, &route(network, to, Some(way), true));
    }
    let questions = [
        (2, Tuple::v4(Protocol::Tcp, (one, 40_000), (remote, 80))),
        (2, Tuple::v4(Protocol::Udp, (one, 40_001), (remote, 5060))),
        (2, Tuple::v4(Protocol::Icmp, (one, 40_000), (remote, 0))),
        (2, Tuple::v4(Protocol::Udp, (one, 40_000), (other, 5060))),
        (3, Tuple::v4(Protocol::Udp, (two, 40_001), (remote, 5060))),
        (5, Tuple::v4(Protocol::Udp, (five, 40_000), (remote, 5060))),
        (UPLINK, Tuple::v4(Protocol::Tcp, (other, 40_000), (host, 80))),
        (UPLINK, Tuple::v4(Protocol::Udp, (other, 40_001), (host, 53))),
        (2, Tuple::v4(Protocol::Tcp, (one, 40_001), (host, 80))),
        (2, Tuple::v4(Protocol::Udp, (one, 40_001), (host, 53))),
    ];
    let mut said = Vec::new();
    for (port, question) in questions {
        let asked = Said::new(world, port, &question);
        let arrived = flow(&asked.arrived.1).expect("a packet of a flow");
        said.push(Said::new(world, asked.arrived.0, &arrived.inverted()));
        said.push(asked);
    }
    said
}

fn sessions(world: &World) -> Vec<SessionView> {
    let edge = world.core.edge().expect("worker 0 has the edge");
    edge.page(world.now, SessionFilter::default(), 0, 100).0
}

/// An ICMP error as an input describes it.
#[derive(Arbitrary)]
struct Hostile {
    /// What it is about.
    which: u8,
    /// Another port than the right one, and other addresses.
    #[arbitrary(with = maybe(&PORTS))]
    door: Option<u16>,
    #[arbitrary(with = maybe(&ADDRESSES))]
    src: Option<Ipv4Addr>,
    #[arbitrary(with = maybe(&ADDRESSES))]
    dst: Option<Ipv4Addr>,
    has_wrong_sum: bool,
    /// The packet that it is in has some.
    has_options: bool,
    /// What it quotes has some.
    quotes_options: bool,
    /// It quotes an error about the packet.
    is_nested: bool,
    #[arbitrary(with = kind)]
    kind: u8,
    code: u8,
    #[arbitrary(with = within(0..=63))]
    ttl: u8,
    part: Part,
    /// The second word of its header.
    word: [u8; 4],
    /// How much is quoted.
    len: u16,
    /// Places in the quote, and what is written there.
    #[arbitrary(with = edits)]
    edits: Vec<[u8; 2]>,
}

fn kind(input: &mut Unstructured<'_>) -> Result<u8> {
    let kind: u8 = input.arbitrary()?;
    let kind = if kind & 0x80 != 0 { kind } else { KINDS[usize::from(kind & 7)] };
    // Echoes are no errors.
    Ok(if ECHO.contains(&kind) { 3 } else { kind })
}

fn edits(input: &mut Unstructured<'_>) -> Result<Vec<[u8; 2]>> {
    (0..input.int_in_range(0..=15)?).map(|_| input.arbitrary()).collect()
}

impl Hostile {
    /// Whether it must pass, where there is room for what it says.
    fn is_right(&self, quoted: &[u8]) -> bool {
        let has_ends = self.door.is_none() && self.src.is_none() && self.dst.is_none();
        let is_plain = !self.has_wrong_sum && !self.is_nested && self.edits.is_empty() && self.ttl > 1;
        let is_error = matches!(self.kind, 3 | 4 | 11 | 12) && self.part == Part::Whole;
        has_ends && is_plain && is_error && !quoted.is_empty() && quoted.len() >= header_len(quoted) + 8
    }

    /// What it quotes of a packet.
    fn quote(&self, packet: &[u8]) -> Vec<u8> {
        let mut quoted = packet.to_vec();
        if self.quotes_options {
            quoted = with_options(&quoted);
        }
        if self.is_nested {
            let [src, dst] = ends(packet);
            quoted = ipv4(Protocol::Icmp as u8, src, dst, (64, 0), 7, &error([3, 3], [0; 4], packet));
        }
        quoted.truncate(self.len.into());
        for &[at, byte] in &self.edits {
            if let Some(place) = quoted.get_mut(usize::from(at)) {
                *place = byte;
            }
        }
        quoted
    }

    /// The packet that it is in.
    fn packet(&self, quoted: &[u8], about: &[u8]) -> Vec<u8> {
        let [src, dst] = ends(about);
        // Whoever the packet was for complains to whoever sent it.
        let (from, to) = (self.src.unwrap_or(dst), self.dst.unwrap_or(src));
        let mut message = error([self.kind, self.code], self.word, quoted);
        if self.has_wrong_sum {
            message[2] ^= 0x55;
        }
        let (part, place) = self.part.of(&message);
        let packet = ipv4(Protocol::Icmp as u8, from, to, (self.ttl, place), 9, part);
        if self.has_options { with_options(&packet) } else { packet }
    }

    fn send(&self, world: &mut World, said: &[Said], mtu: u16) {
        let about = &said[usize::from(self.which) % said.len()];
        let quoted = self.quote(&about.arrived.1);
        let packet = self.packet(&quoted, &about.arrived.1);
        let port = self.door.unwrap_or(about.arrived.0);
        let frame = framed(port, &packet);
        let verdict = world.receive(port, &Frame::plain(&frame), !self.has_wrong_sum);
        assert!(!world.out.has_made(), "an error is answered: {verdict}");
        let passes = matches!(verdict, Verdict::Route { .. });
        let uplink = world.core.snapshot().edge.uplink(PortId(about.sent.0));
        let mtu = uplink.map_or(WIDE, |uplink| uplink.mtu.min(mtu));
        let fits = packet.len() <= usize::from(mtu) || least(&packet) <= usize::from(mtu);
        assert!(passes || !fits || !self.is_right(&quoted), "a right error does not pass: {verdict}");
        let left = world.left(&Frame::plain(&frame));
        assert_eq!(passes, left.len() == 1, "{verdict}");
        for (egress, leaves) in &left {
            check_passed(world, said, (port, &packet), (*egress, leaves), mtu);
        }
    }
}

/// Eight bytes of options behind the header that a packet begins with.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let (header, rest) = packet.split_at(20);
    let mut packet = [header, &[0x94, 4, 0, 0, 1, 1, 1, 0], rest].concat();
    packet[0] += 2;
    let len = u16::from_be_bytes([packet[2], packet[3]]).saturating_add(8);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    finish(&mut packet);
    packet
}

fn is_uplink(world: &World, port: u16) -> bool {
    world.core.snapshot().port(PortId(port)).is_some_and(|port| port.place == Place::Uplink)
}

/// How much of an error must not be cut: all headers, as far as their checksums go.
fn least(error: &[u8]) -> usize {
    let start = header_len(error) + 8;
    let transport = start + error.get(start..).filter(|quoted| !quoted.is_empty()).map_or(0, header_len);
    let len = error.get(start + 9).copied() == Some(Protocol::Tcp as u8) && error.len() >= transport + 18;
    (transport + if len { 18 } else { 8 }).next_multiple_of(4)
}

/// An error came in by a port and left by another, whose way takes so much.
fn check_passed(
    world: &World,
    said: &[Said],
    (port, came): (u16, &[u8]),
    (egress, left): (u16, &[u8]),
    mtu: u16,
) {
    let start = header_len(came) + 8;
    let (quoted, told) = (&came[start..], &left[start..]);
    let flow_of = |packet: &[u8]| flow(&[packet, &[0; 20]].concat()).expect("a flow is quoted");
    let tuple = flow_of(quoted);
    let about = said.iter().find(|said| flow(&said.arrived.1) == Some(tuple)).expect("it was said");
    let sent = flow(&about.sent.1).expect("a packet of a flow");
    assert_eq!(
        (egress, flow_of(told)),
        (about.sent.0, sent),
        "it goes to whom it concerns, who knows his own"
    );
    let [[by, _], [_, to]] = [came, left].map(ends);
    assert_eq!(to, addresses(&sent)[0]);
    if is_uplink(world, about.arrived.0) {
        assert!(is_uplink(world, port), "an error about what went outside comes from there");
    } else {
        // Port 4 is not guarded: whoever is there may say that he is anybody of his network.
        assert!(port == about.arrived.0 || port == 4 && about.arrived.0 != 5, "an error by {port}");
        assert_eq!(by, addresses(&tuple)[1], "who complains was spoken to");
    }

    let len = if came.len() > usize::from(mtu) { usize::from(mtu & !3) } else { came.len() };
    assert_eq!((left.len(), u16::from_be_bytes([left[2], left[3]])), (len, len as u16), "of {mtu}");
    assert_eq!((&came[..2], &came[4..8]), (&left[..2], &left[4..8]));
    assert_eq!((came[8] - 1, came[9], &came[20..start - 6]), (left[8], left[9], &left[20..start - 6]));
    // Where extensions begin is no more told when they are cut off.
    let told_extensions = if len < came.len() && came[start - 8] != 4 { 0 } else { came[start - 3] };
    assert_eq!((came[start - 4], &came[start - 2..start]), (left[start - 4], &left[start - 2..start]));
    assert_eq!(left[start - 3], told_extensions);
    let transport = header_len(quoted);
    let sum = transport + checksum_at(tuple.protocol);
    let ends = if tuple.protocol == Protocol::Icmp {
        transport + 4..transport + 6
    } else {
        transport..transport + 4
    };
    let may_change = |at: usize| [10..20, ends.clone(), sum..sum + 2].iter().any(|range| range.contains(&at));
    for (at, (old, new)) in quoted.iter().zip(told).enumerate() {
        assert!(old == new || may_change(at), "byte {at} of the quote");
    }
    let holds = |packet: &[u8]| {
        packet.len() >= transport && pontoon_dataplane::checksum::checksum(&packet[..transport]) == 0
    };
    assert_eq!(holds(quoted), holds(told), "header checksum of the quote");
}
