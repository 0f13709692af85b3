//! Fragments of many packets at once: in any order, twice, over one another, tiny, far behind, without a first one.

use core::time::Duration;
use std::collections::HashMap;
use std::net::Ipv4Addr;

use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::edge::punt::Answer;
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::{Frame, PortId, Verdict};

use super::operations::answer;
use super::packets::{ETHERNET, addresses, ends, flow, framed, header_len, ipv4, is_sound, message};
use super::{ADDRESSES, MAX_OPERATIONS, UPLINK, World};
use crate::input::{at_most, each};

const ACK: u8 = 0x10;
const MORE: u16 = 0x2000;
/// What waits for each port at most.
const PORT_FRAMES: u32 = 64;
/// As much of a packet as translation may change.
const HEADERS: usize = 20;

/// What happens next.
enum Operation {
    Fragment(Fragment),
    Pieces(Pieces),
    Time(Duration),
    Answer(Answer),
    Whole(u8),
}

// Not derived: fragments are to be many.
impl Arbitrary<'_> for Operation {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Operation> {
        Ok(match input.int_in_range(0..=7u8)? {
            0..=2 => Operation::Fragment(input.arbitrary()?),
            3 | 4 => Operation::Pieces(input.arbitrary()?),
            5 => Operation::Time(Duration::from_millis(u64::from(input.arbitrary::<u8>()?) * 256)),
            6 => Operation::Answer(answer(input)?),
            _ => Operation::Whole(input.arbitrary()?),
        })
    }
}

/// Input: operations, each a byte and what it needs. 0 to 2: a [`Fragment`] of a flow; 3 and 4: a datagram in pieces ([`Pieces`]); 5: time
/// passes, in units of 256 ms; 6: an answer of control; 7: a whole packet of a flow. A fragment that passes goes where a whole packet of its flow goes, between the same
/// addresses, and as it was but for ports and checksums; a datagram whose flow passes arrives whole, with right checksums. What
/// waits is bounded, and does not wait for ever.
pub fn edge_fragments(data: &[u8]) {
    let mut world = World::new();
    let mut firsts = HashMap::new();
    for operation in each(&mut Unstructured::new(data), MAX_OPERATIONS) {
        match operation {
            Operation::Fragment(fragment) => fragment.send(&mut world, &mut firsts),
            Operation::Pieces(pieces) => pieces.send(&mut world, &mut firsts),
            Operation::Time(delay) => world.pass(delay),
            Operation::Answer(answer) => world.core.answer(world.now, &answer),
            Operation::Whole(which) => {
                let (port, tuple) = flow_of(which);
                receive(&mut world, &mut firsts, port, &whole(port, &tuple));
            }
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

/// A fragment of a flow, as an input describes it.
#[derive(Arbitrary)]
struct Fragment {
    which: u8,
    ident: u8,
    /// In units of eight bytes; three bits are left out.
    offset: u16,
    len: u8,
    more: bool,
}

impl Fragment {
    fn send(&self, world: &mut World, firsts: &mut Firsts) {
        let (port, tuple) = flow_of(self.which);
        let offset = self.offset & 0x1fff;
        let place = offset | if self.more { MORE } else { 0 };
        let datagram = message(&tuple, ACK, &payload(300));
        let begin = if offset == 0 { 0 } else { 8 };
        let part = &datagram[begin..begin + usize::from(self.len)];
        receive(world, firsts, port, &piece(port, &tuple, self.ident, place, part));
    }
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

impl Arbitrary<'_> for Pieces {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Pieces> {
        let [which, ident, size] = input.arbitrary()?;
        let cuts = input.int_in_range(0..=11)?;
        let (port, tuple) = flow_of(which);
        Ok(Pieces {
            port,
            tuple,
            ident,
            size: 8 * usize::from(size),
            cuts: at_most(input, cuts)?.iter().map(|&cut| 8 * usize::from(cut).max(1)).collect(),
            order: at_most(input, cuts + 1)?.to_vec(),
        })
    }
}

impl Pieces {
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
