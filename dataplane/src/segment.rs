//! Software segmentation of super-frames and completion of partial checksums.
//!
//! Frames pass through the bridge as they came; only when an egress device cannot be left the sender's unfinished
//! work is it done here, as the kernel does it in front of such a device: [`needs_work`] says what, [`segment`]
//! does it. Headers are those of the super-frame but for what must differ:
//!
//! | field | TCP | UDP (USO) | UDP fragments (UFO) |
//! |---|---|---|---|
//! | IP length | own | own | own |
//! | IPv4 identification | counts up, DF or not | counts up, DF or not | the same |
//! | IPv4 fragment field | the same | the same | offset and MF |
//! | IPv4 header checksum | anew | anew | anew |
//! | sequence number | advances | | |
//! | FIN, PSH | last segment only | | |
//! | CWR | first segment only | | |
//! | UDP length | | own | the same |
//! | checksum | own | own | the same |
//!
//! Sources: net/ipv4/af_inet.c `inet_gso_segment`, net/ipv4/tcp_offload.c `tcp_gso_segment`,
//! net/ipv4/udp_offload.c `__udp_gso_segment` and `udp4_ufo_fragment`.

use core::ops::Range;

use smoltcp::wire::{TcpPacket, TcpSeqNumber, UDP_HEADER_LEN, UdpPacket};

use crate::checksum::{Sum, complete};
use crate::frame::Frame;
use crate::offload::{Gso, Offload};
use crate::port::Offloads;
use crate::verdict::DropReason;

mod headers;

use headers::{Headers, Transport};

/// The most frames that one super-frame is cut into, so that no sender can make a worker's turn long by asking for
/// tiny segments. 64 KiB in 2048 pieces is 32 bytes each; Linux never sends TCP segments of less than 48 bytes less
/// 12 of timestamps (net.ipv4.tcp_min_snd_mss), and at most 128 datagrams at once (UDP_MAX_SEGMENTS).
pub const MAX_SEGMENTS: usize = 2048;

/// What must be done to a frame before a device can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The device takes it as it is.
    Nothing,
    /// Complete its checksum.
    Checksum,
    /// Cut it into segments.
    Segment,
}

/// What must be done to a frame with `offload` before a device that can be left `egress` takes it.
#[inline]
pub fn needs_work(offload: &Offload, egress: Offloads) -> Work {
    let checksum = egress.vnet_header && egress.checksum;
    let takes_whole = match offload.gso {
        Gso::None if offload.needs_checksum && !checksum => return Work::Checksum,
        Gso::None => true,
        Gso::TcpV4 | Gso::TcpV6 => checksum && egress.tso,
        Gso::Udp => checksum && egress.uso,
        // No port asks its device for UFO, which the kernel itself gave up in 4.14.
        Gso::UdpFragments => false,
    };
    if takes_whole { Work::Nothing } else { Work::Segment }
}

/// Gives `emit` the frame as a device that can be left `egress` takes it: untouched, with its checksum
/// completed, or cut into segments, in order. Segments are left partial where the device completes checksums.
/// `scratch` holds one frame at a time; keep one for a worker, then nothing is allocated here.
///
/// Returns how many frames were emitted.
///
/// # Errors
/// [`DropReason::MalformedOffload`] when metadata and headers contradict each other, [`DropReason::Unsegmentable`]
/// for what cannot be cut: more than [`MAX_SEGMENTS`] pieces, UFO over IPv6 (no current kernel makes it, and
/// fragments would need identifications that we have no part in choosing), IPv6 extension headers other than
/// hop-by-hop, routing and destination options. Nothing is emitted then.
pub fn segment(
    frame: &Frame<'_>,
    egress: Offloads,
    scratch: &mut Vec<u8>,
    emit: &mut dyn FnMut(&Frame<'_>),
) -> Result<usize, DropReason> {
    if !frame.offload.is_consistent(frame.bytes.len()) {
        return Err(DropReason::MalformedOffload);
    }
    match needs_work(&frame.offload, egress) {
        Work::Nothing => {
            emit(frame);
            Ok(1)
        }
        Work::Checksum => {
            scratch.clear();
            scratch.extend_from_slice(frame.bytes);
            complete(scratch, usize::from(frame.offload.csum_start), usize::from(frame.offload.csum_offset))?;
            emit(&Frame::plain(scratch));
            Ok(1)
        }
        Work::Segment => {
            let headers = Headers::locate(frame)?;
            if frame.offload.gso == Gso::UdpFragments {
                fragment(frame, &headers, scratch, emit)
            } else {
                let leave_partial = egress.vnet_header && egress.checksum;
                cut(frame, &headers, leave_partial, scratch, emit)
            }
        }
    }
}

/// One piece of a super-frame's payload.
struct Piece {
    index: usize,
    range: Range<usize>,
    is_last: bool,
}

/// The pieces of at most `size` bytes that make up `len` bytes; one empty piece for none.
fn pieces(len: usize, size: usize) -> Result<impl Iterator<Item = Piece>, DropReason> {
    let count = len.div_ceil(size).max(1);
    if count > MAX_SEGMENTS {
        return Err(DropReason::Unsegmentable);
    }
    Ok((0..count).map(move |index| Piece {
        index,
        range: index * size..((index + 1) * size).min(len),
        is_last: index + 1 == count,
    }))
}

/// TCP segments or UDP datagrams with transport headers of their own.
fn cut(
    frame: &Frame<'_>,
    headers: &Headers,
    leave_partial: bool,
    scratch: &mut Vec<u8>,
    emit: &mut dyn FnMut(&Frame<'_>),
) -> Result<usize, DropReason> {
    let (head, payload) = frame.bytes[..headers.end].split_at(headers.payload);
    let transport = headers.transport;
    let csum_offset = headers.kind.checksum_offset();
    let field = transport + csum_offset;
    // The field is the only place that knows the pseudo-header for certain (a routing header changes the
    // destination that counts), so its sum is kept and just the length in it exchanged.
    let whole_sum = Sum::word(u16::from_be_bytes([head[field], head[field + 1]]));
    let whole_len = u16::try_from(headers.end - transport).map_err(|_| DropReason::MalformedOffload)?;

    let offload = if leave_partial {
        Offload {
            needs_checksum: true,
            csum_start: frame.offload.csum_start,
            csum_offset: frame.offload.csum_offset,
            ..Offload::NONE
        }
    } else {
        Offload::NONE
    };

    let mut emitted = 0;
    for piece in pieces(payload.len(), usize::from(frame.offload.gso_size))? {
        scratch.clear();
        scratch.extend_from_slice(head);
        scratch.extend_from_slice(&payload[piece.range.clone()]);
        headers.finish_ip(scratch, piece.index);
        // No longer than the whole, which fits.
        let len = (scratch.len() - transport) as u16;
        match headers.kind {
            Transport::Tcp => finish_tcp(&mut scratch[transport..], &piece),
            Transport::Udp => UdpPacket::new_unchecked(&mut scratch[transport..]).set_len(len),
        }
        let sum = whole_sum.replaced(whole_len, len);
        scratch[field..field + 2].copy_from_slice(&sum.partial().to_be_bytes());
        if !leave_partial {
            complete(scratch, transport, csum_offset)?;
        }
        emit(&Frame { bytes: scratch, offload });
        emitted += 1;
    }
    Ok(emitted)
}

/// What differs between the segments of one TCP super-frame. CWR goes with the first one alone whether or not the
/// metadata says so: that is what the bit means, and what the kernel does.
fn finish_tcp(segment: &mut [u8], piece: &Piece) {
    let mut tcp = TcpPacket::new_unchecked(segment);
    // Modulo 2^32 (RFC 9293, section 3.4); the cast back is exact.
    let sequence = (tcp.seq_number().0 as u32).wrapping_add(piece.range.start as u32);
    tcp.set_seq_number(TcpSeqNumber(sequence as i32));
    if piece.index > 0 {
        tcp.set_cwr(false);
    }
    if !piece.is_last {
        tcp.set_fin(false);
        tcp.set_psh(false);
    }
}

/// IPv4 fragments of one UDP datagram.
fn fragment(
    frame: &Frame<'_>,
    headers: &Headers,
    scratch: &mut Vec<u8>,
    emit: &mut dyn FnMut(&Frame<'_>),
) -> Result<usize, DropReason> {
    if !headers.is_v4() {
        return Err(DropReason::Unsegmentable);
    }
    // All fragments but the last carry a multiple of eight bytes (RFC 791, section 3.2).
    let size = usize::from(frame.offload.gso_size) & !7;
    if size == 0 {
        return Err(DropReason::MalformedOffload);
    }
    let (head, datagram) = frame.bytes[..headers.end].split_at(headers.transport);
    let checksum = if frame.offload.needs_checksum {
        Sum::of(datagram).checksum()
    } else {
        u16::from_be_bytes([datagram[6], datagram[7]])
    };

    let mut emitted = 0;
    for piece in pieces(datagram.len(), size)? {
        scratch.clear();
        scratch.extend_from_slice(head);
        scratch.extend_from_slice(&datagram[piece.range.clone()]);
        if piece.index == 0 {
            let field = &mut scratch[headers.transport..][6..UDP_HEADER_LEN];
            let zero_is_none = frame.offload.needs_checksum && checksum == 0;
            field.copy_from_slice(&(if zero_is_none { 0xffff } else { checksum }).to_be_bytes());
        }
        headers.finish_fragment(scratch, piece.range.start, piece.is_last);
        emit(&Frame::plain(scratch));
        emitted += 1;
    }
    Ok(emitted)
}

#[cfg(test)]
mod tests;
