//! The buffer that a frame is read into and written from: read once, written once, never copied.
//!
//! ```text
//! 0        8                 18
//! | room   | virtio-net (10) | frame ...
//! ```
//! The room takes a VLAN tag that the kernel has stripped: header and MACs move four bytes to the left.
//! The frame starts at 18 so that the IP header behind 14 bytes of Ethernet is aligned.

use crate::checksum;
use crate::frame::{ETHERNET_HEADER_LEN, EthernetView, Frame, MAX_FRAME_LEN, VLAN_TAG_LEN, ethertype};
use crate::offload::{Gso, Offload, VNET_HEADER_LEN};
use crate::out::Rewritten;
use crate::verdict::DropReason;

/// Length in bytes of the Ethernet header that a bare packet gets.
pub(crate) const BARE_HEADER_LEN: usize = ETHERNET_HEADER_LEN;

/// Who a bare packet's Ethernet header says that it goes to and comes from: nobody, for there is no such station.
const BARE_MACS: [u8; 12] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];

const HEADER_AT: usize = 8;
const FRAME_AT: usize = HEADER_AT + VNET_HEADER_LEN;
const BARE_PACKET_AT: usize = FRAME_AT + BARE_HEADER_LEN;

/// One frame with its virtio-net header in front of it, and room to grow on the left.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    offload: Offload,
}

impl Buffer {
    /// An empty buffer for a frame of up to [`MAX_FRAME_LEN`] bytes.
    pub fn new() -> Self {
        let bytes = vec![0; FRAME_AT + MAX_FRAME_LEN].into_boxed_slice();
        Self { bytes, start: FRAME_AT, end: FRAME_AT, offload: Offload::NONE }
    }

    /// The frame.
    #[inline]
    pub fn frame(&self) -> Frame<'_> {
        Frame { bytes: &self.bytes[self.start..self.end], offload: self.offload }
    }

    /// The virtio-net header and the frame in one piece, as devices with that header take it.
    #[inline]
    pub(crate) fn with_header(&self) -> &[u8] {
        &self.bytes[self.start - VNET_HEADER_LEN..self.end]
    }

    /// Where a device writes header and frame.
    #[inline]
    pub(crate) fn space_with_header(&mut self) -> &mut [u8] {
        &mut self.bytes[HEADER_AT..]
    }

    /// Where a device without header writes a frame.
    #[inline]
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[FRAME_AT..]
    }

    /// `len` bytes were written, header included. Returns whether the header makes sense.
    #[inline]
    pub(crate) fn filled_with_header(&mut self, len: usize) -> bool {
        self.start = FRAME_AT;
        self.end = FRAME_AT.max((HEADER_AT + len).min(self.bytes.len()));
        let header = self.bytes[HEADER_AT..FRAME_AT].first_chunk();
        self.offload = Offload::NONE;
        let Some(offload) = header.and_then(Offload::parse).filter(|_| len >= VNET_HEADER_LEN) else {
            return false;
        };
        self.offload = offload;
        if offload.gso == Gso::TcpV4 {
            self.fill_in_ipv4_checksum();
        }
        true
    }

    /// `len` bytes of frame were written, without a header.
    #[inline]
    pub(crate) fn filled(&mut self, len: usize) {
        self.start = FRAME_AT;
        self.end = FRAME_AT + len.min(MAX_FRAME_LEN);
        self.set_offload(Offload::NONE);
    }

    /// Where a device without Ethernet headers writes a packet, behind its virtio-net header if it has one.
    pub(crate) fn bare_space(&mut self, vnet_header: bool) -> &mut [u8] {
        let before = if vnet_header { VNET_HEADER_LEN } else { 0 };
        &mut self.bytes[BARE_PACKET_AT - before..]
    }

    /// `len` bytes of packet were written, virtio-net header included: puts an Ethernet header in front, its type by the
    /// version that the packet says; what the offload metadata points at moves along.
    ///
    /// # Errors
    /// A virtio-net header that makes no sense, or a packet that is neither IPv4 nor IPv6.
    pub(crate) fn filled_bare(&mut self, len: usize, vnet_header: bool) -> Result<(), DropReason> {
        let before = if vnet_header { VNET_HEADER_LEN } else { 0 };
        let len = len.checked_sub(before).ok_or(DropReason::MalformedOffload)?;
        let offload = if vnet_header {
            let header = self.bytes[BARE_PACKET_AT - VNET_HEADER_LEN..].first_chunk();
            header.and_then(Offload::parse).ok_or(DropReason::MalformedOffload)?
        } else {
            Offload::NONE
        };
        let ethertype = match self.bytes[BARE_PACKET_AT] >> 4 {
            4 if len > 0 => ethertype::IPV4,
            6 if len > 0 => ethertype::IPV6,
            _ => return Err(DropReason::EdgeMalformed),
        };
        self.start = FRAME_AT;
        self.end = (BARE_PACKET_AT + len).min(self.bytes.len());
        self.bytes[FRAME_AT..FRAME_AT + BARE_MACS.len()].copy_from_slice(&BARE_MACS);
        self.bytes[BARE_PACKET_AT - 2..BARE_PACKET_AT].copy_from_slice(&ethertype.to_be_bytes());
        self.set_offload(offload.shifted(BARE_HEADER_LEN as u16));
        if offload.gso == Gso::TcpV4 {
            self.fill_in_ipv4_checksum();
        }
        Ok(())
    }

    /// Makes the frame the one that leaves with other headers: its payload stays where it is, its padding goes. Returns whether
    /// that fits.
    #[inline]
    pub fn rewrite(&mut self, rewritten: &Rewritten) -> bool {
        let headers = rewritten.headers();
        let end = self.start.saturating_add(rewritten.end).min(self.end);
        let payload_at = self.start + rewritten.skip;
        if headers.len() > rewritten.skip || payload_at > end {
            return false;
        }
        self.start = payload_at - headers.len();
        self.end = end;
        self.bytes[self.start..payload_at].copy_from_slice(headers);
        self.set_offload(rewritten.offload);
        true
    }

    /// Takes over a whole frame.
    ///
    /// Longer ones than [`MAX_FRAME_LEN`] are cut.
    pub fn load(&mut self, frame: &Frame<'_>) {
        let len = frame.bytes.len().min(MAX_FRAME_LEN);
        self.bytes[FRAME_AT..FRAME_AT + len].copy_from_slice(&frame.bytes[..len]);
        self.start = FRAME_AT;
        self.end = FRAME_AT + len;
        self.set_offload(frame.offload);
    }

    fn set_offload(&mut self, offload: Offload) {
        self.offload = offload;
        self.bytes[self.start - VNET_HEADER_LEN..self.start].copy_from_slice(&offload.emit());
    }

    /// Puts a VLAN tag back behind the MACs; what the offload metadata points at moves along.
    #[cold]
    pub(crate) fn insert_tag(&mut self, tpid: u16, tci: u16) {
        const MACS_LEN: usize = 12;
        if self.end - self.start < MACS_LEN || self.start < FRAME_AT {
            return;
        }
        self.bytes.copy_within(self.start..self.start + MACS_LEN, self.start - VLAN_TAG_LEN);
        self.start -= VLAN_TAG_LEN;
        let tag_at = self.start + MACS_LEN;
        self.bytes[tag_at..tag_at + 2].copy_from_slice(&tpid.to_be_bytes());
        self.bytes[tag_at + 2..tag_at + 4].copy_from_slice(&tci.to_be_bytes());
        self.set_offload(self.offload.shifted(VLAN_TAG_LEN as u16));
    }

    /// Some devices drop a TSO frame whose IPv4 header checksum is zero, as virtual machines send them.
    fn fill_in_ipv4_checksum(&mut self) {
        let frame = &mut self.bytes[self.start..self.end];
        let Ok(view) = EthernetView::parse(frame) else { return };
        if view.ethertype != ethertype::IPV4 {
            return;
        }
        let packet = &mut frame[view.payload_offset..];
        let header_len = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        if let Some(header) = packet.get_mut(..header_len).filter(|h| h.len() >= 20 && h[10..12] == [0, 0]) {
            let sum = checksum::checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PortId;
    use crate::out::Out;

    #[test]
    fn a_stripped_tag_comes_back_and_the_checksum_moves() {
        let mut frame = vec![0u8; 60];
        frame[..14].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00]);
        let offload = Offload { needs_checksum: true, csum_start: 34, csum_offset: 6, ..Offload::NONE };
        let mut buffer = Buffer::new();
        buffer.load(&Frame { bytes: &frame, offload });
        buffer.insert_tag(0x88a8, 0x2007);
        let tagged = buffer.frame();
        assert_eq!(tagged.bytes.len(), 64);
        assert_eq!(
            tagged.bytes[..18],
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xa8, 0x20, 0x07, 0x08, 0x00]
        );
        assert_eq!(tagged.offload.csum_start, 38);
        assert_eq!(Offload::parse(buffer.with_header().first_chunk().unwrap()), Some(tagged.offload));
        assert_eq!(&buffer.with_header()[VNET_HEADER_LEN..], tagged.bytes);
    }

    #[test]
    fn other_headers_take_the_place_of_the_first_bytes() {
        let frame = [b"old headers", &b"payload"[..], b"padding"].concat();
        let offload = Offload { needs_checksum: true, csum_start: 3, csum_offset: 2, ..Offload::NONE };
        for (headers, skip, end) in
            [(&b"new headers"[..], 11, 18), (b"shorter", 11, 18), (b"", 11, 18), (b"old", 3, usize::MAX)]
        {
            let mut out = Out::new();
            assert!(out.forward_rewritten(PortId(1), skip, headers, offload));
            let mut buffer = Buffer::new();
            buffer.load(&Frame::plain(&frame));
            let mut rewritten = *out.rewritten().unwrap();
            rewritten.end = end;
            assert!(buffer.rewrite(&rewritten));
            assert_eq!(buffer.frame().bytes, rewritten.assemble(&Frame::plain(&frame)));
            assert_eq!(buffer.frame().offload, offload);
            assert_eq!(Offload::parse(buffer.with_header().first_chunk().unwrap()), Some(offload));
            assert_eq!(&buffer.with_header()[VNET_HEADER_LEN..], buffer.frame().bytes);
        }
        let mut buffer = Buffer::new();
        buffer.load(&Frame::plain(b"short"));
        let mut out = Out::new();
        out.forward_rewritten(PortId(1), 6, b"longer", offload);
        assert!(!buffer.rewrite(out.rewritten().unwrap()));
        assert_eq!(buffer.frame().bytes, b"short");
    }

    #[test]
    fn a_bare_packet_gets_an_ethernet_header_and_the_checksum_moves() {
        let offload = Offload {
            needs_checksum: true,
            gso: Gso::TcpV6,
            gso_size: 1220,
            header_len: 60,
            csum_start: 40,
            csum_offset: 16,
            ..Offload::NONE
        };
        let packet = [&[0x60][..], &[7; 99]].concat();
        let read = [&offload.emit()[..], &packet].concat();
        let mut buffer = Buffer::new();
        buffer.bare_space(true)[..read.len()].copy_from_slice(&read);
        assert_eq!(buffer.filled_bare(read.len(), true), Ok(()));
        let frame = buffer.frame();
        assert_eq!(frame.bytes[..14], [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd]);
        assert_eq!(frame.bytes[14..], packet);
        assert_eq!(frame.offload, Offload { header_len: 74, csum_start: 54, ..offload });
        assert_eq!(frame.offload.shifted_back(14), offload);

        buffer.bare_space(false)[..2].copy_from_slice(&[0x45, 1]);
        assert_eq!(buffer.filled_bare(2, false), Ok(()));
        assert_eq!(buffer.frame().bytes[12..], [0x08, 0x00, 0x45, 1]);
        assert_eq!(buffer.frame().offload, Offload::NONE);
    }

    #[test]
    fn what_is_no_ip_packet_gets_no_ethernet_header() {
        let mut buffer = Buffer::new();
        buffer.bare_space(false)[..2].copy_from_slice(&[0x55, 1]);
        assert_eq!(buffer.filled_bare(2, false), Err(DropReason::EdgeMalformed));
        buffer.bare_space(false)[..1].copy_from_slice(&[0x45]);
        assert_eq!(buffer.filled_bare(0, false), Err(DropReason::EdgeMalformed), "the packet of before");
        assert_eq!(buffer.filled_bare(VNET_HEADER_LEN - 1, true), Err(DropReason::MalformedOffload));
    }

    #[test]
    fn a_short_read_is_an_empty_frame() {
        let mut buffer = Buffer::new();
        assert!(!buffer.filled_with_header(3));
        assert!(buffer.frame().bytes.is_empty());
    }

    #[test]
    fn a_zero_ipv4_checksum_of_a_super_frame_is_filled_in() {
        let mut read = vec![0u8; VNET_HEADER_LEN + 14 + 40];
        read[..2].copy_from_slice(&[1, 1]);
        read[VNET_HEADER_LEN + 12] = 0x08;
        read[VNET_HEADER_LEN + 14] = 0x45;
        let mut buffer = Buffer::new();
        buffer.space_with_header()[..read.len()].copy_from_slice(&read);
        assert!(buffer.filled_with_header(read.len()));
        let packet = &buffer.frame().bytes[14..34];
        assert_ne!(packet[10..12], [0, 0]);
        assert_eq!(checksum::checksum(packet), 0);
    }
}
