//! Segmentation of super-frames that are what they should be, in every shape; etherparse builds what must come out.

use arbitrary::{Arbitrary, Result, Unstructured};
use etherparse::{IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader};
use pontoon_dataplane::checksum::complete;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::segment::MAX_SEGMENTS;
use pontoon_dataplane::{DropReason, Frame};

use super::run;
use crate::input::within;

/// So that headers and payload stay within an IP packet.
const LONGEST_PAYLOAD: u16 = 65_000;
const TAGS: [[u8; 4]; 2] = [[0x88, 0xa8, 0x00, 0x64], [0x81, 0x00, 0x20, 0x07]];

/// A super-frame in plain words.
#[derive(Arbitrary)]
struct Spec {
    is_tcp: bool,
    is_v4: bool,
    dont_fragment: bool,
    #[arbitrary(with = within(0..=TAGS.len()))]
    tags: usize,
    #[arbitrary(with = within(0..=10))]
    option_words: usize,
    #[arbitrary(with = within(0..=15))]
    padding: usize,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    flags: u8,
    sequence: u32,
    ident: u16,
    #[arbitrary(with = |input: &mut Unstructured<'_>| input.arbitrary().map(|size: u16| size.max(1)))]
    gso_size: u16,
    #[arbitrary(with = payload)]
    payload: Vec<u8>,
    /// The egress completes checksums.
    takes_partial: bool,
}

/// Its length, and what it begins with; no two pieces of it are the same.
fn payload(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let (len, begin) = input.arbitrary::<(u16, u8)>()?;
    Ok((0..len.min(LONGEST_PAYLOAD)).map(|at| begin.wrapping_add((at ^ at >> 8) as u8)).collect())
}

impl Spec {
    /// The frame with that part of the payload. Only the last part has FIN and PSH, only the first CWR (RFC 3168, section 6.1.2).
    fn frame(&self, index: usize, part: &[u8], is_last: bool) -> Vec<u8> {
        let ip = if self.is_v4 {
            let mut header =
                Ipv4Header { time_to_live: 64, protocol: IpNumber::UDP, ..Ipv4Header::default() };
            (header.source, header.destination) = ([10, 0, 0, 1], [10, 0, 0, 2]);
            header.identification = self.ident.wrapping_add(index as u16);
            header.dont_fragment = self.dont_fragment;
            IpHeaders::Ipv4(header, Default::default())
        } else {
            let (source, destination) = ([0xfd; 16], [0xfe; 16]);
            let (flow_label, next_header) = (Ipv6FlowLabel::ZERO, IpNumber::UDP);
            let header = Ipv6Header {
                traffic_class: 3,
                flow_label,
                payload_length: 0,
                next_header,
                hop_limit: 64,
                source,
                destination,
            };
            IpHeaders::Ipv6(header, Default::default())
        };
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip);
        let mut frame = Vec::new();
        if self.is_tcp {
            let at = index * usize::from(self.gso_size);
            let mut tcp = TcpHeader::new(80, 40_000, self.sequence.wrapping_add(at as u32), 512);
            let has = |flag: u8| self.flags & flag != 0;
            (tcp.fin, tcp.psh, tcp.cwr) = (has(1) && is_last, has(8) && is_last, has(128) && index == 0);
            (tcp.syn, tcp.rst, tcp.ack) = (has(2), has(4), has(16));
            (tcp.urg, tcp.ece) = (has(32), has(64));
            tcp.acknowledgment_number = 7;
            tcp.set_options_raw(&vec![1; 4 * self.option_words]).expect("at most 40 bytes");
            builder.tcp_header(tcp).write(&mut frame, part).expect("it fits");
        } else {
            builder.udp(53, 40_000).write(&mut frame, part).expect("it fits");
        }
        frame.splice(12..12, TAGS[..self.tags].concat());
        frame
    }

    fn transport(&self) -> usize {
        14 + 4 * self.tags + if self.is_v4 { 20 } else { 40 }
    }

    fn csum_offset(&self) -> usize {
        if self.is_tcp { 16 } else { 6 }
    }

    /// The super-frame: its checksum is that of the pseudo-header alone.
    fn whole(&self) -> (Vec<u8>, Offload) {
        let mut frame = self.frame(0, &self.payload, true);
        let (transport, network) = (self.transport(), 14 + 4 * self.tags);
        let addresses = if self.is_v4 { network + 12..network + 20 } else { network + 8..network + 40 };
        let protocol: u8 = if self.is_tcp { 6 } else { 17 };
        let len = (frame.len() - transport) as u32;
        let mut sum = frame[addresses].chunks(2).fold(u32::from(protocol) + len, |sum, word| {
            sum + (u32::from(word[0]) << 8) + u32::from(word[1])
        });
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let field = transport + self.csum_offset();
        frame[field..field + 2].copy_from_slice(&(sum as u16).to_be_bytes());
        frame.resize(frame.len() + self.padding, 0);
        let gso = match (self.is_tcp, self.is_v4) {
            (true, true) => Gso::TcpV4,
            (true, false) => Gso::TcpV6,
            (false, _) => Gso::Udp,
        };
        let offload = Offload {
            needs_checksum: true,
            gso,
            gso_size: self.gso_size,
            csum_start: transport as u16,
            csum_offset: self.csum_offset() as u16,
            ..Offload::NONE
        };
        (frame, offload)
    }
}

/// Input: a super-frame in plain words ([`Spec`]). What is cut is byte for byte what etherparse builds for each part.
pub fn segment_built(data: &[u8]) {
    let Ok(spec) = Unstructured::new(data).arbitrary::<Spec>() else { return };
    let checksum = spec.takes_partial;
    let egress = Offloads { vnet_header: checksum, checksum, tso: false, uso: false };
    let (bytes, offload) = spec.whole();
    let parts: Vec<&[u8]> = match &spec.payload[..] {
        [] => vec![&[]],
        payload => payload.chunks(spec.gso_size.into()).collect(),
    };
    let cut = run(&Frame { bytes: &bytes, offload }, egress);
    if parts.len() > MAX_SEGMENTS {
        assert_eq!(cut, Err(DropReason::Unsegmentable));
        return;
    }
    let cut = cut.expect("it is as it should be");
    assert_eq!(cut.len(), parts.len());
    for (index, (piece, part)) in cut.into_iter().zip(&parts).enumerate() {
        let mut bytes = piece.bytes;
        assert_eq!(piece.offload.needs_checksum, egress.checksum);
        if egress.checksum {
            assert_eq!(complete(&mut bytes, spec.transport(), spec.csum_offset()), Ok(()));
        }
        let mut expected = spec.frame(index, part, index + 1 == parts.len());
        // One's complement has two zeros. Of UDP only this one is a checksum, and of TCP it is as good (kernel: `skb_checksum_help`).
        let field = spec.transport() + spec.csum_offset();
        if expected[field..field + 2] == [0, 0] {
            expected[field..field + 2].fill(0xff);
        }
        assert_eq!(bytes, expected, "segment {index}");
    }
}
