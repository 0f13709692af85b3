//! Packets and ICMP errors on their way through the edge.

use std::net::Ipv4Addr;

use arbitrary::Unstructured;
use pontoon_dataplane::checksum::Sum;
use pontoon_dataplane::edge::fragment::Fragmenter;
use pontoon_dataplane::edge::packet::{Content, Packet};
use pontoon_dataplane::edge::quote::{self, Quote};
use pontoon_dataplane::edge::rewrite::{Change, rewrite};
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::network::PortId;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::out::Out;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::{DropReason, Frame, MacAddr};

use crate::input::{at_most, offload};

const TO: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const FROM: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const EGRESS: PortId = PortId(1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Input: the new addresses and ports ([`Ends`]), the largest segment that may be announced and the egress MTU (a word
/// each, 0: none), the virtio-net header, the frame. What leaves must carry the new tuple and hold every checksum that
/// the frame held; translated back, it must be what it was.
pub fn rewrite_packet(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((ends, limit, mtu)) = input.arbitrary::<(Ends, u16, u16)>() else { return };
    let Ok(offload) = offload(&mut input) else { return };
    let frame = OwnedFrame { bytes: input.take_rest().to_vec(), offload };
    let Ok(packet) = read(&frame) else { return };
    if packet.tuple().is_some_and(|tuple| is_ambiguous(&tuple)) {
        return;
    }
    let wanted = packet.tuple().map(|tuple| with_ends(&tuple, ends));
    let fallback = Tuple::v4(Protocol::Tcp, ends.0, ends.1);
    let limit = (limit > 0).then_some(limit);
    let Some(there) = leave(&frame, wanted.as_ref().unwrap_or(&fallback), limit) else {
        assert!(!matches!(packet.content, Content::Fragment) && wanted.is_none(), "what has a tuple leaves");
        return;
    };

    let after = read(&there).expect("what leaves is a packet");
    assert_eq!(after.tuple(), wanted);
    assert_eq!(there.bytes.len(), after.end(), "padding is left out");
    assert_eq!((after.ttl, after.total_len), (packet.ttl.saturating_sub(1), packet.total_len));
    if holds(&frame, &packet) {
        assert!(holds(&there, &after), "a right checksum is right afterwards");
    }
    if let (Some(tuple), None) = (packet.tuple(), limit) {
        let back = leave(&there, &tuple, None).expect("what left comes back");
        assert_same(
            &frame.bytes[packet.payload_offset()..packet.end()],
            &back.bytes[after.payload_offset()..],
            &packet,
        );
    }
    if mtu > 0 && !packet.dont_fragment && !offload.is_super_frame() {
        check_fragments(&frame, &packet, mtu);
    }
}

/// Input: a byte that chooses the error's type, the new addresses and ports of the quoted packet ([`Ends`]), the quote.
/// An error that leaves must have right checksums, quote the new tuple, and, translated back, be what it was.
pub fn icmp_error(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((choice, ends)) = input.arbitrary::<(u8, Ends)>() else { return };
    let Ok(quoted) = at_most(&mut input, 1400) else { return };
    let frame = error(choice, quoted);
    let Some((quote, there)) = leave_error(&frame, |tuple| with_ends(tuple, ends)) else { return };
    if is_ambiguous(&quote.tuple) {
        return;
    }
    let (after, _) = leave_error(&there, |tuple| *tuple).expect("an error that leaves is one");
    assert_eq!(after.tuple, with_ends(&quote.tuple, ends));
    let packet = read(&there).expect("what leaves is a packet");
    assert_eq!(Sum::of(&there.bytes[packet.payload_offset()..]).checksum(), 0, "ICMP checksum");
    assert_eq!(packet.dst, after.tuple.source(), "it goes to the source of what it quotes");
    let (_, back) = leave_error(&there, |_| quote.tuple).expect("what left comes back");
    let quoted = packet.payload_offset() + 8;
    for (at, (old, new)) in frame.bytes[quoted..].iter().zip(&back.bytes[quoted..]).enumerate() {
        let is_checksum = (10..12).contains(&at) || checksum_in(&frame.bytes[quoted..]).contains(&at);
        assert!(old == new || is_checksum, "byte {at} of the quote");
    }
}

/// Source and destination with their ports.
type Ends = ((Ipv4Addr, u16), (Ipv4Addr, u16));

/// The same kind of tuple with other ends. An echo request stays one.
fn with_ends(tuple: &Tuple, (src, dst): Ends) -> Tuple {
    match tuple.protocol {
        Protocol::Icmp if tuple.dst_port == 0 => Tuple::v4(Protocol::Icmp, src, (dst.0, 0)),
        Protocol::Icmp => Tuple::v4(Protocol::Icmp, (src.0, 0), dst),
        protocol => Tuple::v4(protocol, src, dst),
    }
}

/// An ICMP echo with identifier 0, whose tuple does not say whether it is a request or a reply.
fn is_ambiguous(tuple: &Tuple) -> bool {
    tuple.protocol == Protocol::Icmp && (tuple.src_port, tuple.dst_port) == (0, 0)
}

fn borrowed(frame: &OwnedFrame) -> Frame<'_> {
    Frame { bytes: &frame.bytes, offload: frame.offload }
}

fn read(frame: &OwnedFrame) -> Result<Packet, DropReason> {
    let frame = borrowed(frame);
    Packet::parse(&EthernetView::parse(frame.bytes)?, &frame)
}

fn change(tuple: &Tuple, max_segment_size: Option<u16>) -> Change<'_> {
    Change { dst_mac: TO, src_mac: FROM, tuple: Some(tuple), max_segment_size }
}

fn assembled(frame: &OwnedFrame, out: &Out) -> OwnedFrame {
    let rewritten = out.rewritten().expect("it leaves");
    OwnedFrame { bytes: rewritten.assemble(&borrowed(frame)), offload: rewritten.offload }
}

/// The frame as it leaves.
fn leave(frame: &OwnedFrame, tuple: &Tuple, limit: Option<u16>) -> Option<OwnedFrame> {
    let packet = read(frame).ok()?;
    let mut out = Out::new();
    let written = out.forward_rewritten_with(EGRESS, |headers| {
        rewrite(&borrowed(frame), &packet, &change(tuple, limit), headers)
    });
    written.ok().map(|()| assembled(frame, &out))
}

fn leave_error(frame: &OwnedFrame, choose: impl FnOnce(&Tuple) -> Tuple) -> Option<(Quote, OwnedFrame)> {
    let packet = read(frame).ok()?;
    let quote = Quote::parse(&borrowed(frame), &packet).ok()?;
    let tuple = choose(&quote.tuple);
    let mut out = Out::new();
    out.forward_rewritten_with(EGRESS, |headers| {
        quote::rewrite(&borrowed(frame), &packet, &quote, ROUTER, &change(&tuple, None), headers)
    })
    .expect("a quote that was read is rewritten");
    Some((quote, assembled(frame, &out)))
}

/// Whether the checksum over the payload of a whole packet is right.
fn holds(frame: &OwnedFrame, packet: &Packet) -> bool {
    if packet.is_fragment() {
        return false;
    }
    let payload = &frame.bytes[packet.payload_offset()..packet.end()];
    let len = payload.len() as u16;
    let pseudo = Sum::pseudo_v4(packet.src, packet.dst, packet.protocol, len);
    match (packet.content, frame.offload.needs_checksum) {
        (Content::Tcp { .. }, true) => payload[16..18] == pseudo.partial().to_be_bytes(),
        (Content::Udp { .. }, true) => payload[6..8] == pseudo.partial().to_be_bytes(),
        (Content::Tcp { .. }, false) => (pseudo + Sum::of(payload)).checksum() == 0,
        (Content::Udp { .. }, false) => {
            payload[6..8] == [0, 0] || (pseudo + Sum::of(payload)).checksum() == 0
        }
        (Content::Echo { .. }, false) => Sum::of(payload).checksum() == 0,
        _ => false,
    }
}

/// Payloads that differ at most in which of the two zeros a checksum is written as.
fn assert_same(old: &[u8], new: &[u8], packet: &Packet) {
    let at = match packet.content {
        Content::Tcp { .. } => 16,
        Content::Udp { .. } => 6,
        _ => 2,
    };
    assert_eq!((&old[..at], &old[at + 2..]), (&new[..at], &new[at + 2..]));
    let [old, new] = [old, new].map(|bytes| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    assert!(old == new || [0, 0xffff].contains(&old) && [0, 0xffff].contains(&new), "{old:#x} {new:#x}");
}

fn check_fragments(frame: &OwnedFrame, packet: &Packet, mtu: u16) {
    let mut out = Out::new();
    let plain = Change { tuple: None, ..change(&Tuple::v4(Protocol::Tcp, (HOST, 0), (HOST, 0)), None) };
    let written =
        out.forward_rewritten_with(EGRESS, |headers| rewrite(&borrowed(frame), packet, &plain, headers));
    assert_eq!(written, Ok(()), "any packet may be routed");
    let whole = assembled(frame, &out);
    let Ok(count) = Fragmenter::default().cut(&borrowed(frame), mtu, &mut out) else {
        assert!(!out.has_made(), "all fragments leave or none");
        return;
    };
    assert_eq!(out.made().count(), count);
    let mut offset = packet.fragment_offset;
    let mut payload = Vec::new();
    for (number, (_, made)) in out.made().enumerate() {
        let made = OwnedFrame { bytes: made.bytes.to_vec(), offload: Offload::NONE };
        assert!(made.bytes.len() - 14 <= usize::from(mtu).max(whole.bytes.len() - 14));
        let more = packet.more_fragments || number + 1 < count;
        let header = u16::from_be_bytes([made.bytes[20], made.bytes[21]]);
        assert_eq!((header & 0x1fff, header & 0x2000 != 0), (offset >> 3, more));
        let start = 14 + usize::from(made.bytes[14] & 0x0f) * 4;
        assert_eq!(Sum::of(&made.bytes[14..start]).checksum(), 0, "IPv4 header checksum");
        offset = offset.saturating_add((made.bytes.len() - start) as u16);
        payload.extend_from_slice(&made.bytes[start..]);
    }
    let original = &whole.bytes[14 + usize::from(packet.header_len)..];
    assert_eq!(payload.len(), original.len());
    if !frame.offload.needs_checksum {
        assert!(payload == original, "the fragments together are the packet");
    }
}

/// An error from a router to the host about `quoted`, with right checksums.
fn error(choice: u8, quoted: &[u8]) -> OwnedFrame {
    let mut packet = vec![0x45, 0];
    packet.extend((28 + quoted.len() as u16).to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, 1, 0, 0]);
    packet.extend(ROUTER.octets());
    packet.extend(HOST.octets());
    packet.extend([[3, 4, 11, 12][usize::from(choice & 3)], choice >> 2, 0, 0, 0, 0, 0, 0]);
    packet.extend(quoted);
    for (range, at) in [(0..20, 10), (20..packet.len(), 22)] {
        let sum = Sum::of(&packet[range]).checksum();
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    OwnedFrame { bytes: [&FROM.0[..], &TO.0, &[8, 0], &packet].concat(), offload: Offload::NONE }
}

/// Where the checksum of the quoted transport stands.
fn checksum_in(quoted: &[u8]) -> core::ops::Range<usize> {
    let transport = usize::from(quoted[0] & 0x0f) * 4;
    let at = transport
        + match quoted[9] {
            6 => 16,
            17 => 6,
            _ => 2,
        };
    at..at + 2
}
