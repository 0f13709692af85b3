//! The maximum segment size that a TCP SYN announces (RFC 9293, section 3.7.1), made smaller where the path is.

use crate::checksum::Sum;
use crate::edge::packet::{Packet, TCP_CHECKSUM_AT, TCP_MIN_HEADER_LEN};
use crate::frame::Frame;

/// Kinds of TCP options (RFC 9293, section 3.2).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Length in bytes of the packet's TCP header with its options, as far as they are in the packet.
pub(super) fn header_len(frame: &Frame<'_>, packet: &Packet) -> usize {
    let start = packet.payload_offset();
    let len = frame.bytes.get(start + 12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    len.min(packet.end().saturating_sub(start)).max(TCP_MIN_HEADER_LEN)
}

/// The size that a TCP header announces, if it does.
pub(super) fn announced(header: &[u8]) -> Option<u16> {
    let options = header.get(TCP_MIN_HEADER_LEN..)?;
    options.get(find(options)?..)?.first_chunk().map(|size| u16::from_be_bytes(*size))
}

/// Brings the announced size down to `limit`. A header without the option, or with options that make no sense, stays
/// as it is.
pub(super) fn clamp(header: &mut [u8], limit: u16, partial: bool) {
    let Some(at) = find(header.get(TCP_MIN_HEADER_LEN..).unwrap_or_default()) else { return };
    let at = TCP_MIN_HEADER_LEN + at;
    let Some(field) = header.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = *field;
    if u16::from_be_bytes(old) <= limit {
        return;
    }
    let new = limit.to_be_bytes();
    *field = new;
    if partial {
        return;
    }
    // A field at an odd place lies across two words: it counts as if its bytes were swapped (RFC 1071, section 2 B).
    let word = if at.is_multiple_of(2) { u16::from_be_bytes } else { u16::from_le_bytes };
    let Some(checksum) = header.get_mut(TCP_CHECKSUM_AT..).and_then(|rest| rest.first_chunk_mut::<2>())
    else {
        return;
    };
    let sum = Sum::from_checksum(u16::from_be_bytes(*checksum)).replaced(word(old), word(new));
    *checksum = sum.checksum().to_be_bytes();
}

/// Where the size stands in the options.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [NO_OPERATION, ..] => at += 1,
            [END_OF_OPTIONS, ..] => return None,
            [MAXIMUM_SEGMENT_SIZE, 4, _, _, ..] => return Some(at + 2),
            [MAXIMUM_SEGMENT_SIZE, ..] => return None,
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}
