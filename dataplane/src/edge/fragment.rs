//! Cutting a packet that is too large for its egress into fragments (RFC 791, section 3.2).
//!
//! A fragment's own fragments take its place in the datagram: offsets go on from its own, and the last one says whether
//! more follow as it did. Options go with the first one, those that say so with all of them.

use crate::checksum::{checksum, complete};
use crate::frame::{ETHERNET_HEADER_LEN, Frame};
use crate::network::PortId;
use crate::offload::Offload;
use crate::out::{Out, Rewritten};
use crate::port::Offloads;
use crate::segment::segment;
use crate::verdict::DropReason;

use super::packet::{Header, IPV4_MAX_HEADER_LEN, IPV4_MIN_HEADER_LEN};

#[cfg(test)]
mod tests;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Cuts packets; keeps its working space between them.
#[derive(Debug, Default)]
pub struct Fragmenter {
    /// The frame as it would leave.
    whole: Vec<u8>,
    /// One segment of it.
    segment: Vec<u8>,
}

impl Fragmenter {
    /// The packet that `out` forwards rewritten, made from `ingress`, leaves in fragments of at most `mtu` bytes instead.
    /// Returns how many. A super-frame is cut into its segments first, and those into fragments.
    ///
    /// # Errors
    /// [`DropReason::TooBig`] when the packet must not be fragmented, there is no room for all fragments, or `mtu` leaves
    /// none for payload; the reasons of [`segment`] for a super-frame. Nothing leaves then.
    pub fn cut(&mut self, ingress: &Frame<'_>, mtu: u16, out: &mut Out) -> Result<usize, DropReason> {
        let rewritten = out.take_rewritten().ok_or(DropReason::EdgeMalformed)?;
        let mark = out.made_mark();
        let cut = self.cut_rewritten(ingress, &rewritten, mtu.into(), out);
        if cut.is_err() {
            out.unmake(mark);
        }
        cut
    }

    fn cut_rewritten(
        &mut self,
        ingress: &Frame<'_>,
        rewritten: &Rewritten,
        mtu: usize,
        out: &mut Out,
    ) -> Result<usize, DropReason> {
        self.whole.clear();
        self.whole.extend_from_slice(rewritten.headers());
        self.whole.extend_from_slice(rewritten.rest(ingress));
        let Offload { needs_checksum, csum_start, csum_offset, .. } = rewritten.offload;
        if !rewritten.offload.is_super_frame() {
            if needs_checksum {
                complete(&mut self.whole, csum_start.into(), csum_offset.into())?;
            }
            return fragment(&self.whole, rewritten.egress, mtu, out);
        }
        let whole = Frame { bytes: &self.whole, offload: rewritten.offload };
        let mut made = Ok(0);
        segment(&whole, Offloads::NONE, &mut self.segment, &mut |piece| {
            if let Ok(before) = made {
                made = fragment(piece.bytes, rewritten.egress, mtu, out).map(|more| before + more);
            }
        })?;
        made
    }
}

/// Makes the fragments of one packet, or the packet itself when it fits. Returns how many.
fn fragment(frame: &[u8], egress: PortId, mtu: usize, out: &mut Out) -> Result<usize, DropReason> {
    let (ethernet, packet) =
        frame.split_first_chunk::<ETHERNET_HEADER_LEN>().ok_or(DropReason::EdgeMalformed)?;
    if packet.len() <= mtu {
        let room = out.make(&[egress], frame.len(), |bytes| bytes.copy_from_slice(frame));
        return if room { Ok(1) } else { Err(DropReason::TooBig) };
    }
    let header = Header::parse(packet).ok_or(DropReason::EdgeMalformed)?;
    if header.dont_fragment() {
        return Err(DropReason::TooBig);
    }
    let (first_header, mut rest) = packet.split_at(header.len());
    let later = LaterHeader::of(first_header);
    let mut header_bytes = first_header;
    let mut offset = header.fragment_offset();
    let mut made = 0;
    while !rest.is_empty() {
        let room = mtu.checked_sub(header_bytes.len()).ok_or(DropReason::TooBig)?;
        let len = if rest.len() <= room { rest.len() } else { room & !7 };
        let (payload, others) = rest.split_at(len);
        let more = header.more_fragments() || !others.is_empty();
        let fits = len > 0
            && out.make(&[egress], ETHERNET_HEADER_LEN + header_bytes.len() + len, |bytes| {
                let (start, packet) = bytes.split_at_mut(ETHERNET_HEADER_LEN);
                start.copy_from_slice(ethernet);
                let (header, body) = packet.split_at_mut(header_bytes.len());
                header.copy_from_slice(header_bytes);
                body.copy_from_slice(payload);
                finish(header, len, offset, more);
            });
        if !fits {
            return Err(DropReason::TooBig);
        }
        // The offset of the last byte of a datagram has 16 bits.
        offset = offset.saturating_add(len as u16);
        (header_bytes, rest) = (later.bytes(), others);
        made += 1;
    }
    Ok(made)
}

/// Writes what the header of a fragment with `len` bytes of payload says of it alone.
fn finish(header: &mut [u8], len: usize, offset: u16, more: bool) {
    // Neither is longer than the packet, whose lengths come from the same fields.
    let total_len = (header.len() + len) as u16;
    let words = header.len() as u8 / 4;
    header[0] = header[0] & 0xf0 | words;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    let place = (offset >> 3) & OFFSET_MASK | if more { MORE_FRAGMENTS } else { 0 };
    header[6..8].copy_from_slice(&place.to_be_bytes());
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The header of all fragments but the first.
struct LaterHeader {
    bytes: [u8; IPV4_MAX_HEADER_LEN],
    len: usize,
}

impl LaterHeader {
    /// The fixed part of `first`, and the options in it that are to be copied. Options that make no sense end the list.
    fn of(first: &[u8]) -> LaterHeader {
        const END_OF_OPTIONS: u8 = 0;
        const NO_OPERATION: u8 = 1;
        const COPIED: u8 = 0x80;
        let (fixed, mut options) = first.split_at(IPV4_MIN_HEADER_LEN);
        let mut bytes = [0; IPV4_MAX_HEADER_LEN];
        bytes[..fixed.len()].copy_from_slice(fixed);
        let mut len = fixed.len();
        loop {
            let option = match options {
                [] | [END_OF_OPTIONS, ..] => break,
                [NO_OPERATION, ..] => 1,
                [_, len, ..] if *len >= 2 => usize::from(*len),
                _ => break,
            };
            let Some((option, rest)) = options.split_at_checked(option) else { break };
            if option[0] & COPIED != 0 {
                bytes[len..len + option.len()].copy_from_slice(option);
                len += option.len();
            }
            options = rest;
        }
        // Filled up with END_OF_OPTIONS.
        LaterHeader { bytes, len: len.next_multiple_of(4) }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
