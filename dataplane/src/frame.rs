//! A frame as the core sees it: bytes, offload metadata, and a view of its Ethernet header.

use crate::addr::MacAddr;
use crate::offload::{Gso, Offload};
use crate::verdict::DropReason;

/// Length in bytes of an Ethernet header without tags.
pub const ETHERNET_HEADER_LEN: usize = 14;
/// Length in bytes of one VLAN tag.
pub const VLAN_TAG_LEN: usize = 4;
/// Longest frame that any port takes: 64 KiB of packet, the header, and room for a tag.
pub const MAX_FRAME_LEN: usize = 65_536 + ETHERNET_HEADER_LEN + VLAN_TAG_LEN;

/// Ethertypes that the core looks at.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Reverse ARP (RFC 903).
    pub const RARP: u16 = 0x8035;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// A frame on its way: layer 2 from the destination MAC on, without frame check sequence.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// What must still be done to them.
    pub offload: Offload,
}

impl<'a> Frame<'a> {
    /// A frame that needs no work.
    pub fn plain(bytes: &'a [u8]) -> Self {
        Self { bytes, offload: Offload::NONE }
    }
}

/// The Ethernet header, tags included, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetView {
    /// Destination MAC.
    pub dst: MacAddr,
    /// Source MAC.
    pub src: MacAddr,
    /// The type behind all tags (or, below 1536, an IEEE 802.3 length).
    pub ethertype: u16,
    /// Where the payload behind all tags starts, in bytes from the destination MAC.
    pub payload_offset: usize,
    /// The frame carries a tag with a VLAN id other than 0. A priority tag (id 0) alone leaves a
    /// frame untagged: receivers treat it so, and the guard must not be passed by adding one.
    pub in_vlan: bool,
}

impl EthernetView {
    /// Reads the header.
    ///
    /// # Errors
    /// [`DropReason::Runt`] for fewer than 14 bytes, [`DropReason::TruncatedTag`] when the frame ends inside
    /// a tag or has more than eight of them (nobody stacks so many, and the walk must be bounded).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<EthernetView, DropReason> {
        let header = bytes.first_chunk::<ETHERNET_HEADER_LEN>().ok_or(DropReason::Runt)?;
        let (Some((dst, rest)), Some(outer)) = (header.split_first_chunk::<6>(), header.last_chunk::<2>())
        else {
            return Err(DropReason::Runt);
        };
        let src = rest.first_chunk::<6>().ok_or(DropReason::Runt)?;
        // The view is built once, when all of it is known: one that is built in pieces and then moved costs 10 ns,
        // for the processor cannot forward stores to loads of another width.
        let (ethertype, payload_offset, in_vlan) = match u16::from_be_bytes(*outer) {
            ethertype::VLAN | ethertype::SERVICE_VLAN => skip_tags(bytes)?,
            untagged => (untagged, ETHERNET_HEADER_LEN, false),
        };
        Ok(EthernetView { dst: MacAddr(*dst), src: MacAddr(*src), ethertype, payload_offset, in_vlan })
    }

    /// The header of a frame without tags, whose type is known.
    #[inline(always)]
    pub(crate) fn untagged(bytes: &[u8], ethertype: u16) -> Option<EthernetView> {
        let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] =
            bytes.first_chunk::<ETHERNET_HEADER_LEN>()?;
        let (dst, src) = (MacAddr([d0, d1, d2, d3, d4, d5]), MacAddr([s0, s1, s2, s3, s4, s5]));
        Some(EthernetView { dst, src, ethertype, payload_offset: ETHERNET_HEADER_LEN, in_vlan: false })
    }

    /// What follows the header and all tags.
    ///
    /// # Panics
    /// When `bytes` is not the frame that the view was read from.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.payload_offset..]
    }

    /// Bytes of the layer-3 packet in each frame that goes on the wire: the segments of a super-frame
    /// count, not its length.
    #[inline]
    pub fn packet_len(&self, frame: &Frame<'_>) -> usize {
        let whole = frame.bytes.len() - self.payload_offset;
        if !frame.offload.is_super_frame() {
            return whole;
        }
        // The headers end where TCP's (20 to 60 bytes, from its data offset) or UDP's (8) end; those of
        // fragments where IPv4's end, and they need no checksum metadata that would say where.
        let transport = usize::from(frame.offload.csum_start).saturating_sub(self.payload_offset);
        let packet = &frame.bytes[self.payload_offset..];
        let headers = match frame.offload.gso {
            Gso::TcpV4 | Gso::TcpV6 => {
                transport + packet.get(transport + 12).map_or(60, |offset| usize::from(offset >> 4) * 4)
            }
            Gso::UdpFragments => packet.first().map_or(60, |version_ihl| usize::from(version_ihl & 0x0f) * 4),
            Gso::Udp | Gso::None => transport + 8,
        };
        whole.min(headers + usize::from(frame.offload.gso_size))
    }
}

/// The type behind all tags, where the payload starts, and whether a tag names a VLAN.
#[cold]
fn skip_tags(bytes: &[u8]) -> Result<(u16, usize, bool), DropReason> {
    const MAX_TAGS: usize = 8;
    let mut payload_offset = ETHERNET_HEADER_LEN;
    let mut in_vlan = false;
    for _ in 0..MAX_TAGS {
        let &[tci_high, tci_low, type_high, type_low] = bytes
            .get(payload_offset..payload_offset + VLAN_TAG_LEN)
            .and_then(|tag| tag.first_chunk::<VLAN_TAG_LEN>())
            .ok_or(DropReason::TruncatedTag)?;
        in_vlan |= u16::from_be_bytes([tci_high, tci_low]) & 0x0fff != 0;
        payload_offset += VLAN_TAG_LEN;
        let inner = u16::from_be_bytes([type_high, type_low]);
        if !matches!(inner, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            return Ok((inner, payload_offset, in_vlan));
        }
    }
    Err(DropReason::TruncatedTag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTAGGED: [u8; 16] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x06, 0xaa, 0xbb];

    #[test]
    fn reads_untagged_and_tagged_headers() {
        let view = EthernetView::parse(&UNTAGGED).unwrap();
        assert_eq!((view.ethertype, view.payload_offset, view.in_vlan), (ethertype::ARP, 14, false));
        let mut tagged = UNTAGGED[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0xe0, 0x00, 0x08, 0x00, 0x45]);
        let view = EthernetView::parse(&tagged).unwrap();
        assert_eq!((view.ethertype, view.payload_offset, view.in_vlan), (ethertype::IPV4, 22, true));
        assert_eq!(view.payload(&tagged), [0x45]);
    }

    #[test]
    fn a_priority_tag_is_no_vlan() {
        let mut tagged = UNTAGGED[..12].to_vec();
        tagged.extend([0x81, 0x00, 0xe0, 0x00, 0x08, 0x06]);
        assert!(!EthernetView::parse(&tagged).unwrap().in_vlan);
    }

    #[test]
    fn runts_and_cut_tags_are_named() {
        for len in 0..14 {
            assert_eq!(EthernetView::parse(&UNTAGGED[..len]), Err(DropReason::Runt));
        }
        let mut tagged = UNTAGGED[..12].to_vec();
        tagged.extend([0x81, 0x00, 0x00, 0x07, 0x08]);
        assert_eq!(EthernetView::parse(&tagged), Err(DropReason::TruncatedTag));
        let mut endless = UNTAGGED[..12].to_vec();
        endless.extend([0x81, 0x00, 0x00, 0x07].repeat(9));
        assert_eq!(EthernetView::parse(&endless), Err(DropReason::TruncatedTag));
    }

    #[test]
    fn a_super_frame_is_measured_by_its_segments() {
        let mut bytes = vec![0u8; 14 + 40 + 30_000];
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        bytes[34 + 12] = 5 << 4;
        let offload = Offload {
            needs_checksum: true,
            gso: Gso::TcpV4,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
            ..Offload::NONE
        };
        let view = EthernetView::parse(&bytes).unwrap();
        assert_eq!(view.packet_len(&Frame { bytes: &bytes, offload }), 40 + 1448);
        assert_eq!(view.packet_len(&Frame::plain(&bytes)), 30_040);
        // Fragments carry the UDP header as payload.
        bytes[14] = 0x45;
        let fragments = Offload { gso: Gso::UdpFragments, gso_size: 1480, ..Offload::NONE };
        assert_eq!(view.packet_len(&Frame { bytes: &bytes, offload: fragments }), 1500);
    }
}
