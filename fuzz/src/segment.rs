//! Segmentation of arbitrary frames with arbitrary metadata.

use arbitrary::Unstructured;
use pontoon_dataplane::checksum::complete;
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::segment::{MAX_SEGMENTS, Work, needs_work, segment as cut};
use pontoon_dataplane::{DropReason, Frame};

use crate::input::offload;

mod built;

pub use built::segment_built;

/// Input: what the egress takes (a byte of flags), the virtio-net header, the frame. Whatever is emitted must be
/// something that the egress takes, and the segments must hold the payload of the super-frame.
pub fn segment(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let (Ok(flags), Ok(offload)) = (input.arbitrary::<u8>(), offload(&mut input)) else { return };
    let frame = Frame { bytes: input.take_rest(), offload };
    let [vnet_header, checksum, tso, uso] = [1, 2, 4, 8].map(|flag| flags & flag != 0);
    let egress = Offloads { vnet_header, checksum, tso, uso };
    let Ok(emitted) = run(&frame, egress) else { return };

    assert!((1..=MAX_SEGMENTS).contains(&emitted.len()));
    for piece in &emitted {
        assert_eq!(needs_work(&piece.offload, egress), Work::Nothing);
        assert!(piece.offload.is_consistent(piece.bytes.len()));
    }
    match needs_work(&offload, egress) {
        Work::Nothing => assert_eq!(emitted[0], OwnedFrame { bytes: frame.bytes.to_vec(), offload }),
        Work::Checksum => assert_eq!(emitted[0].bytes.len(), frame.bytes.len()),
        Work::Segment => check_segments(&frame, &emitted),
    }
}

fn run(frame: &Frame<'_>, egress: Offloads) -> Result<Vec<OwnedFrame>, DropReason> {
    let mut emitted = Vec::new();
    let count = cut(frame, egress, &mut Vec::new(), &mut |piece| {
        emitted.push(OwnedFrame { bytes: piece.bytes.to_vec(), offload: piece.offload });
    })?;
    assert_eq!(count, emitted.len());
    Ok(emitted)
}

fn check_segments(frame: &Frame<'_>, emitted: &[OwnedFrame]) {
    let partial = Offloads { vnet_header: true, checksum: true, ..Offloads::NONE };
    for (plain, left) in run(frame, Offloads::NONE).iter().flatten().zip(run(frame, partial).iter().flatten())
    {
        // Completing what was left partial gives the same as completing it at once.
        let mut bytes = left.bytes.clone();
        if left.offload.needs_checksum {
            let Offload { csum_start, csum_offset, .. } = left.offload;
            assert_eq!(complete(&mut bytes, csum_start.into(), csum_offset.into()), Ok(()));
        }
        assert_eq!(bytes, plain.bytes);
    }

    let mut payload = Vec::new();
    let mut start = 0;
    for piece in emitted {
        let bytes = &piece.bytes;
        let view = EthernetView::parse(bytes).expect("what was cut has a header");
        let packet = view.payload(bytes);
        if packet[0] >> 4 == 4 {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
            assert_eq!(naive_sum(&packet[..header_len]), 0xffff, "IPv4 header checksum");
        } else {
            assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, packet.len());
        }
        let transport = usize::from(frame.offload.csum_start);
        start = match frame.offload.gso {
            Gso::TcpV4 | Gso::TcpV6 => transport + usize::from(bytes[transport + 12] >> 4) * 4,
            Gso::Udp | Gso::None => {
                let len = u16::from_be_bytes([bytes[transport + 4], bytes[transport + 5]]);
                assert_eq!(usize::from(len), bytes.len() - transport, "UDP length");
                transport + 8
            }
            Gso::UdpFragments => view.payload_offset + usize::from(packet[0] & 0x0f) * 4,
        };
        assert!(bytes.len() - start <= usize::from(frame.offload.gso_size));
        payload.extend(&bytes[start..]);
    }
    let mut original = frame.bytes[start..start + payload.len()].to_vec();
    if frame.offload.gso == Gso::UdpFragments {
        // The one thing in a fragmented datagram that is ours to write.
        original[6..8].copy_from_slice(&payload[6..8]);
    }
    assert!(payload == original, "the payload is not the super-frame's");
}

/// RFC 1071, section 1, word for word.
fn naive_sum(bytes: &[u8]) -> u32 {
    let sum: u32 = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    (sum & 0xffff) + (sum >> 16)
}
