//! Our reading of packets against somebody else's: an example for whoever wants to hold a parser of his own against this one.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pontoon_dataplane::Frame;
use pontoon_dataplane::checksum::checksum;
use pontoon_dataplane::edge::packet::{Content, Packet};
use pontoon_dataplane::frame::EthernetView;

/// Input: a frame. Where the edge takes it for a packet, as it is or with the right checksum in its IPv4 header, etherparse reads the same
/// from it.
pub fn parsers(data: &[u8]) {
    compare(data);
    if let Some(sound) = with_header_checksum(data) {
        compare(&sound);
    }
}

fn with_header_checksum(data: &[u8]) -> Option<Vec<u8>> {
    let start = EthernetView::parse(data).ok()?.payload_offset;
    let len = usize::from(data.get(start)? & 0x0f) * 4;
    let mut sound = data.to_vec();
    let header = sound.get_mut(start..start + len).filter(|header| header.len() >= 20)?;
    header[10..12].fill(0);
    let sum = checksum(header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    Some(sound)
}

fn compare(data: &[u8]) {
    let frame = Frame::plain(data);
    let Ok(view) = EthernetView::parse(data) else { return };
    let Ok(ours) = Packet::parse(&view, &frame) else { return };
    let theirs = LaxSlicedPacket::from_ethernet(data).expect("whoever reads the packet reads the frame");
    // It gives up behind the third tag.
    let Some(LaxNetSlice::Ipv4(packet)) = &theirs.net else {
        return assert!(view.payload_offset > 14 + 3 * 4, "no IPv4 packet in {data:02x?}");
    };
    let header = packet.header();
    assert_eq!((ours.src, ours.dst), (header.source_addr(), header.destination_addr()));
    assert_eq!((ours.ttl, ours.protocol), (header.ttl(), header.protocol().0));
    assert_eq!(u16::from(ours.header_len), u16::from(header.ihl()) * 4);
    assert_eq!(ours.total_len, header.total_len());
    assert_eq!(ours.fragment_offset, header.fragments_offset().value() * 8);
    assert_eq!((ours.dont_fragment, ours.more_fragments), (header.dont_fragment(), header.more_fragments()));
    match (ours.content, &theirs.transport) {
        (Content::Tcp { src_port, dst_port, flags }, Some(TransportSlice::Tcp(tcp))) => {
            assert_eq!((src_port, dst_port), (tcp.source_port(), tcp.destination_port()));
            assert_eq!(flags.0, tcp.slice()[13]);
        }
        (Content::Udp { src_port, dst_port }, Some(TransportSlice::Udp(udp))) => {
            assert_eq!((src_port, dst_port), (udp.source_port(), udp.destination_port()));
        }
        // Neither speaks of what it cannot see whole: fragments, and what is cut.
        _ => {}
    }
}
