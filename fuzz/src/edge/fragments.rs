//! Fragments of many packets at once: in any order, twice, over one another, tiny, far behind, without a first one.

use core::time::Duration;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::{Frame, PortId, Verdict};

use super::packets::{ETHERNET, addresses, ends, flow, framed, header_len, ipv4, is_sound, message};
use super::{ADDRESSES, MAX_OPERATIONS, UPLINK, World};
use crate::input::Input;

const ACK: u8 = 0x10;
const MORE: u16 = 0x2000;
/// What waits for each port at most.
const PORT_FRAMES: u32 = 64;
/// As much of a packet as translation may change.
const HEADERS: usize = 20;

/// Input: operations, each a byte and what it needs. 0 to 2: a fragment of a flow, with its identification, offset in units of eight
/// bytes, length, and whether more follow; 3 and 4: a datagram in pieces ([`Pieces`]); 5: time passes, in units of 256 ms; 6: an
/// answer of control; 7: a whole packet of a flow. A fragment that passes goes where a whole packet of its flow goes, between the same
/// addresses, and as it was but for ports and checksums; a datagram whose flow passes arrives whole, with right checksums. What
/// waits is bounded, and does not wait for ever.
pub fn edge_fragments(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new();
    let mut firsts = HashMap::new();
    for _ in 0..MAX_OPERATIONS {
        let done = match input.byte().map(|byte| byte % 8) {
            Some(0..=2) => fragment(&mut input).map(|(port, frame)| {
                receive(&mut world, &mut firsts, port, &frame);
            }),
            Some(3 | 4) => Pieces::read(&mut input).map(|pieces| pieces.send(&mut world, &mut firsts)),
            Some(5) => input.byte().map(|delay| world.pass(Duration::from_millis(u64::from(delay) * 256))),
            Some(6) => input.array().map(|words| world.answer(words)),
            Some(7) => input.byte().map(|which| {
                let (port, tuple) = flow_of(which);
                receive(&mut world, &mut firsts, port, &whole(port, &tuple));
            }),
            _ => None,
        };
        if done.is_none() {
            break;
        }
        settle(&mut world, &mut firsts);
        world.check_bounds();
        let senders = world.received.iter().filter(|frames| **frames > 0).count();
        assert!(world.stats().waiting <= PORT_FRAMES * senders as u32, "too many wait");
    }
    // Some wait for one thing after another: for a route, for a port, for their first.
    for _ in 0..45 {
        world.pass(Duration::from_secs(1));
        settle(&mut world, &mut firsts);
    }
    assert_eq!(world.stats().waiting, 0, "something waits for ever");
    world.check_counters();
}

/// Who sends what: out, to published ports from both sides, answers, to the host, to where it must not go.
fn flow_of(which: u8) -> (u16, Tuple) {
    let [one, two, three, five, gateway, ..] = ADDRESSES;
    let (host, remote, other) = (ADDRESSES[6], ADDRESSES[8], ADDRESSES[9]);
    match which % 14 {
        0 => (2, Tuple::v4(Protocol::Udp, (one, 40_000), (remote, 5060))),
        1 => (UPLINK, Tuple::v4(Protocol::Udp, (remote, 5060), (host, 20_000 + u16::from(which >> 6)))),
        2 => (2, Tuple::v4(Protocol::Tcp, (one, 40_000), (remote, 80))),
        3 => (2, Tuple::v4(Protocol::Icmp, (one, 40_000), (remote, 0))),
        4 => (UPLINK, Tuple::v4(Protocol::Udp, (other, 40_001), (host, 53))),
        5 => (3, Tuple::v4(Protocol::Udp, (two, 40_000), (other, 40_001))),
        6 => (UPLINK, Tuple::v4(Protocol::Tcp, (other, 40_001), (host, 80))),
        7 => (2, Tuple::v4(Protocol::Udp, (one, 40_001), (host, 53))),
        8 => (2, Tuple::v4(Protocol::Udp, (one, 40_001), (other, 5060))),
        9 => (5, Tuple::v4(Protocol::Udp, (five, 40_000), (remote, 5060))),
        // With a port that it would like to keep.
        10 => (4, Tuple::v4(Protocol::Udp, (three, 5060), (remote, 5060))),
        11 => (2, Tuple::v4(Protocol::Udp, (one, 40_000), (gateway, 5060))),
        12 => (2, Tuple::v4(Protocol::Udp, (one, 40_000), (five, 5060))),
        _ => (UPLINK, Tuple::v4(Protocol::Udp, (remote, 5060), (host, 9))),
    }
}

/// A small packet of a flow.
fn whole(port: u16, tuple: &Tuple) -> Vec<u8> {
    piece(port, tuple, 7, 0, &message(tuple, ACK, b"!"))
}

fn piece(port: u16, tuple: &Tuple, ident: u8, place: u16, part: &[u8]) -> Vec<u8> {
    let [src, dst] = addresses(tuple);
    framed(port, &ipv4(tuple.protocol as u8, src, dst, (64, place), ident, part))
}

/// Payload that tells where it belongs.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 256 + at) as u8).collect()
}

fn fragment(input: &mut Input<'_>) -> Option<(u16, Vec<u8>)> {
    let ([which, ident], offset, [len, more]) = (input.array()?, input.word()?, input.array()?);
    let (port, tuple) = flow_of(which);
    let place = offset & 0x1fff | if more & 1 != 0 { MORE } else { 0 };
    let datagram = message(&tuple, ACK, &payload(300));
    let part = match offset & 0x1fff {
        0 => &datagram[..usize::from(len)],
        _ => &datagram[8..8 + usize::from(len)],
    };
    Some((port, piece(port, &tuple, ident, place, part)))
}

/// What fragments of a packet have in common, and where it comes in.
type Key = (u16, [Ipv4Addr; 2], u8, u8);
/// The flow that the last first fragment of each packet was of.
type Firsts = HashMap<Key, Tuple>;

fn key(port: u16, packet: &[u8]) -> Key {
    (port, ends(packet), packet[5], packet[9])
}

fn place_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

/// A frame comes in. Returns what leaves for it.
fn receive(world: &mut World, firsts: &mut Firsts, port: u16, bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let frame = Frame::plain(bytes);
    // What is cut off a datagram may say that it is all of it, and has no right checksum then.
    let verdict = world.receive(port, &frame, false);
    check(world, firsts, port, &frame, verdict)
}

/// What has waited goes on. Returns what leaves.
fn settle(world: &mut World, firsts: &mut Firsts) -> Vec<(u16, Vec<u8>)> {
    let mut left = Vec::new();
    world.resume_with(|world, port, frame, verdict| left.extend(check(world, firsts, port, frame, verdict)));
    left
}

/// Where a whole packet of that flow would go now, and as which one.
fn way_of(world: &mut World, port: u16, tuple: &Tuple) -> Option<(u16, Tuple)> {
    let bytes = whole(port, tuple);
    let trace = world.core.trace(world.now, PortId(port), &Frame::plain(&bytes), None);
    match (trace.verdict, trace.leaves.first()) {
        (Verdict::Route { egress, .. }, Some(left)) if trace.waits.is_empty() => {
            Some((egress.0, flow(&left.frame.bytes[ETHERNET..])?))
        }
        _ => None,
    }
}

/// A frame has been decided about. Returns what leaves for it, if that was translated.
fn check(
    world: &mut World,
    firsts: &mut Firsts,
    port: u16,
    frame: &Frame<'_>,
    verdict: Verdict,
) -> Vec<(u16, Vec<u8>)> {
    let packet = &frame.bytes[ETHERNET..];
    let own = flow(packet);
    if let Some(tuple) = own.filter(|_| place_of(packet) & MORE != 0) {
        firsts.insert(key(port, packet), tuple);
    }
    if !matches!(verdict, Verdict::Route { .. }) {
        return Vec::new();
    }
    let left = world.left(frame);
    let first = || firsts.get(&key(port, packet)).copied();
    let tuple = own.or_else(first).expect("nothing passes without its first fragment");
    let (egress, arrived) = way_of(world, port, &tuple).expect("a flow that passes has a way");
    let mut bytes = Vec::new();
    for (by, leaves) in &left {
        assert_eq!((*by, ends(leaves)), (egress, addresses(&arrived)), "a fragment of {tuple}");
        assert!(flow(leaves).is_none_or(|flow| flow == arrived), "a fragment of {tuple}");
        assert_eq!((&leaves[4..6], leaves[9]), (&packet[4..6], packet[9]));
        assert_eq!(
            usize::from(place_of(leaves) & 0x1fff) * 8,
            usize::from(place_of(packet) & 0x1fff) * 8 + bytes.len()
        );
        bytes.extend_from_slice(&leaves[header_len(leaves)..]);
    }
    let begin = if place_of(packet) & 0x1fff == 0 { HEADERS } else { 0 };
    let sent = &packet[header_len(packet)..];
    assert_eq!(bytes.len(), sent.len());
    assert!(sent.iter().zip(&bytes).skip(begin).all(|(old, new)| old == new), "what a fragment carries");
    let last = left.last().expect("what passes leaves");
    assert_eq!(place_of(&last.1) & MORE, place_of(packet) & MORE);
    left
}

/// A datagram as an input describes it: of which flow, its identification, how long it is in units of eight bytes, the pieces' lengths in
/// the same units, and for each piece which one of those that are left comes next; its first bit says that it comes twice.
struct Pieces {
    port: u16,
    tuple: Tuple,
    ident: u8,
    size: usize,
    cuts: Vec<usize>,
    order: Vec<u8>,
}

impl Pieces {
    fn read(input: &mut Input<'_>) -> Option<Pieces> {
        let [which, ident, size, cuts] = input.array()?;
        let cuts = usize::from(cuts % 12);
        let (port, tuple) = flow_of(which);
        Some(Pieces {
            port,
            tuple,
            ident,
            size: 8 * usize::from(size),
            cuts: input.bytes(cuts).iter().map(|&cut| 8 * usize::from(cut).max(1)).collect(),
            order: input.bytes(cuts + 1).to_vec(),
        })
    }

    /// Offset and bytes of each piece, in the order in which they come.
    fn in_order<'a>(&self, datagram: &'a [u8]) -> Vec<(usize, &'a [u8])> {
        let (mut pieces, mut rest, mut offset) = (Vec::new(), datagram, 0);
        for &cut in self.cuts.iter().chain([&usize::MAX]) {
            let (piece, others) = rest.split_at(cut.min(rest.len()));
            if !piece.is_empty() {
                pieces.push((offset, piece));
            }
            (offset, rest) = (offset + piece.len(), others);
        }
        let mut ordered = Vec::new();
        for &next in self.order.iter().chain(&[0; 13]) {
            if pieces.is_empty() {
                break;
            }
            let piece = pieces.remove(usize::from(next >> 1) % pieces.len());
            ordered.push(piece);
            ordered.extend((next & 1 != 0).then_some(piece));
        }
        ordered
    }

    fn send(&self, world: &mut World, firsts: &mut Firsts) {
        let Pieces { port, ref tuple, ident, .. } = *self;
        let datagram = message(tuple, ACK, &payload(self.size));
        let pieces = self.in_order(&datagram);
        let first = piece(port, tuple, ident, MORE, &datagram[..8]);
        let is_new = world.stats().waiting == 0 && !firsts.contains_key(&key(port, &first[ETHERNET..]));
        let (mut left, mut passes) = (Vec::new(), false);
        for (offset, part) in &pieces {
            let more = offset + part.len() < datagram.len();
            let place = (offset / 8) as u16 | if more { MORE } else { 0 };
            let now = receive(world, firsts, port, &piece(port, tuple, ident, place, part));
            passes |= *offset == 0 && !now.is_empty();
            left.extend(now);
            left.extend(settle(world, firsts));
        }
        if let Some((_, arrived)) = way_of(world, port, tuple)
            && is_new
            && passes
        {
            check_whole(&left, &arrived, &datagram);
        }
    }
}

/// What has left makes up the datagram.
fn check_whole(left: &[(u16, Vec<u8>)], arrived: &Tuple, datagram: &[u8]) {
    let mut whole = vec![None; datagram.len()];
    for (_, packet) in left {
        let offset = usize::from(place_of(packet) & 0x1fff) * 8;
        for (place, &byte) in whole[offset..].iter_mut().zip(&packet[header_len(packet)..]) {
            assert!(place.is_none_or(|other| other == byte), "a piece that comes twice arrives twice");
            *place = Some(byte);
        }
    }
    let whole: Option<Vec<u8>> = whole.into_iter().collect();
    let whole = whole.expect("all pieces arrive");
    assert!(is_sound(arrived, &whole), "the checksum over all pieces of {arrived}");
}
