//! Work that the sender left to the device: the virtio-net header that travels beside a frame.
//!
//! Layout and meaning: virtio 1.2, section 5.1.6, and include/uapi/linux/virtio_net.h. Ports use the
//! ten-byte form everywhere: it is the default of TAP and of PACKET_VNET_HDR alike, so a frame that is
//! read from one can be written to the other from the same buffer, and it leaves the IP header aligned.

/// Length in bytes of the header in front of a frame.
pub const VNET_HEADER_LEN: usize = 10;

/// How a super-frame is to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gso {
    /// Not a super-frame.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv4 or IPv6, into datagrams of their own (kernel: USO, `SKB_GSO_UDP_L4`).
    Udp,
    /// UDP over IPv4 or IPv6, into IP fragments (UFO; kernels before 4.14, and still accepted from VMs).
    UdpFragments,
}

/// What must still be done to a frame before it goes on a wire without offloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// The checksum at `csum_start + csum_offset` holds only the pseudo-header's part
    /// (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub needs_checksum: bool,
    /// The sender vouches for the checksums (VIRTIO_NET_HDR_F_DATA_VALID).
    pub checksum_valid: bool,
    /// The kind of super-frame.
    pub gso: Gso,
    /// A TCP super-frame with the CWR bit set: it belongs on the first segment only.
    pub ecn: bool,
    /// Bytes of headers to copy to every segment, from the destination MAC on. A hint, never relied on.
    pub header_len: u16,
    /// Payload bytes of each segment; 0 unless a super-frame.
    pub gso_size: u16,
    /// Where the checksum's range starts, in bytes from the destination MAC.
    pub csum_start: u16,
    /// Where the checksum stands, in bytes from `csum_start`.
    pub csum_offset: u16,
}

const FLAG_NEEDS_CSUM: u8 = 1;
const FLAG_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

impl Offload {
    /// Nothing left to do: the frame is as it goes on a wire.
    pub const NONE: Offload = Offload {
        needs_checksum: false,
        checksum_valid: false,
        gso: Gso::None,
        ecn: false,
        header_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Reads the header in the machine's byte order; `None` for a kind of super-frame that virtio does not know.
    #[inline]
    pub fn parse(header: &[u8; VNET_HEADER_LEN]) -> Option<Offload> {
        let [flags, gso_type, h0, h1, s0, s1, c0, c1, o0, o1] = *header;
        let gso = match gso_type & !GSO_ECN {
            GSO_NONE => Gso::None,
            GSO_TCPV4 => Gso::TcpV4,
            GSO_TCPV6 => Gso::TcpV6,
            GSO_UDP_L4 => Gso::Udp,
            GSO_UDP => Gso::UdpFragments,
            _ => return None,
        };
        Some(Offload {
            needs_checksum: flags & FLAG_NEEDS_CSUM != 0,
            checksum_valid: flags & FLAG_DATA_VALID != 0,
            gso,
            ecn: gso_type & GSO_ECN != 0,
            header_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([s0, s1]),
            csum_start: u16::from_ne_bytes([c0, c1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        })
    }

    /// Writes the header in the machine's byte order.
    #[inline]
    pub fn emit(&self) -> [u8; VNET_HEADER_LEN] {
        let flags = if self.needs_checksum { FLAG_NEEDS_CSUM } else { 0 }
            | if self.checksum_valid { FLAG_DATA_VALID } else { 0 };
        let gso_type = match self.gso {
            Gso::None => GSO_NONE,
            Gso::TcpV4 => GSO_TCPV4,
            Gso::TcpV6 => GSO_TCPV6,
            Gso::Udp => GSO_UDP_L4,
            Gso::UdpFragments => GSO_UDP,
        } | if self.ecn { GSO_ECN } else { 0 };
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [s0, s1] = self.gso_size.to_ne_bytes();
        let [c0, c1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [flags, gso_type, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    /// Whether the frame is a super-frame.
    #[inline]
    pub fn is_super_frame(&self) -> bool {
        self.gso != Gso::None
    }

    /// Whether the metadata fits a frame of `frame_len` bytes: the checksum lies inside it, and a
    /// super-frame has a segment size and (UFO aside) a checksum to complete.
    #[inline(always)]
    pub fn is_consistent(&self, frame_len: usize) -> bool {
        let checksum_inside = !self.needs_checksum
            || usize::from(self.csum_start) + usize::from(self.csum_offset) + 2 <= frame_len;
        let cuttable = !self.is_super_frame()
            || (self.gso_size > 0 && (self.needs_checksum || self.gso == Gso::UdpFragments));
        checksum_inside && cuttable
    }

    /// The same frame after `bytes` bytes were inserted before the checksum's range (a VLAN tag).
    #[inline]
    pub fn shifted(self, bytes: u16) -> Offload {
        Offload {
            csum_start: if self.needs_checksum {
                self.csum_start.saturating_add(bytes)
            } else {
                self.csum_start
            },
            header_len: if self.header_len > 0 { self.header_len.saturating_add(bytes) } else { 0 },
            ..self
        }
    }

    /// The same frame after `bytes` bytes were taken away before the checksum's range (an Ethernet header).
    #[inline]
    pub fn shifted_back(self, bytes: u16) -> Offload {
        Offload {
            csum_start: self.csum_start.saturating_sub(bytes),
            header_len: self.header_len.saturating_sub(bytes),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip() {
        let offload = Offload {
            needs_checksum: true,
            gso: Gso::TcpV6,
            ecn: true,
            header_len: 74,
            gso_size: 1440,
            csum_start: 54,
            csum_offset: 16,
            ..Offload::NONE
        };
        assert_eq!(Offload::parse(&offload.emit()), Some(offload));
        assert_eq!(Offload::parse(&[0; VNET_HEADER_LEN]), Some(Offload::NONE));
        assert_eq!(Offload::parse(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn inconsistent_metadata_is_seen() {
        let partial = Offload { needs_checksum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE };
        assert!(partial.is_consistent(60));
        assert!(partial.is_consistent(52));
        assert!(!partial.is_consistent(51));
        assert!(!Offload { gso: Gso::TcpV4, gso_size: 1448, ..Offload::NONE }.is_consistent(3000));
        assert!(!Offload { gso: Gso::TcpV4, ..partial }.is_consistent(3000));
    }
}
