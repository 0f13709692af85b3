//! ICMP errors, and the packet that each quotes.
//!
//! An error is about a packet that went the other way: the packet's headers in it are translated back to what its
//! sender sent, and the error goes to that sender (RFC 5508, sections 4.2 and 7.1). What is read of the quote and changed
//! in it:
//!
//! ```text
//! IPv4 | ICMP type code checksum ... | IPv4 header with options | TCP, UDP or echo: 8 bytes or more | padding, extensions
//!  ^ ^               ^                   ^ addresses, checksum     ^ ports or identifier, checksum
//! ```
//!
//! The quote is somebody's claim. Its length field, options and transport are held against the bytes that there are; its
//! checksums are not verified, for routers quote packets whose TTL they have already counted down, and follow the
//! changes, right or wrong. Whether there is such a session is the caller's question.

use std::net::Ipv4Addr;

use super::packet::{Content, Header, Packet, SHORT_HEADER_LEN, TCP_CHECKSUM_AT, icmp, ports};
use super::rewrite::{
    Change, Headers, addresses, copy_head, set_total_len, translate_network, translate_transport,
};
use super::tuple::{Protocol, Tuple};
use crate::checksum::Sum;
use crate::frame::{ETHERNET_HEADER_LEN, Frame};
use crate::out::{MAX_HEADERS_LEN, NewHead};
use crate::verdict::DropReason;

#[cfg(test)]
mod tests;

/// The packet that an ICMP error is about, as far as it is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The flow of the packet that the error is about: the error goes to its source.
    pub tuple: Tuple,
    /// Where its IPv4 header starts in the frame, in bytes from the destination MAC.
    network_offset: usize,
    /// Where its TCP, UDP or ICMP header starts.
    transport_offset: usize,
    /// Where the bytes end that may have to change, checksum included.
    end: usize,
}

impl Quote {
    /// Reads what the ICMP error in `packet` is about.
    ///
    /// # Errors
    /// [`DropReason::EdgeMalformed`] for a wrong ICMP checksum or a quote that is no IPv4 packet with at least eight bytes
    /// of its payload; [`DropReason::NoSession`] for a quote that cannot belong to a session: a fragment other than the
    /// first, another ICMP error, another protocol.
    pub fn parse(frame: &Frame<'_>, packet: &Packet) -> Result<Quote, DropReason> {
        let start = packet.payload_offset();
        let message = frame.bytes.get(start..packet.end()).ok_or(DropReason::EdgeMalformed)?;
        let checksum_moot = frame.offload.needs_checksum || frame.offload.checksum_valid;
        if packet.content != Content::IcmpError || !checksum_moot && Sum::of(message).checksum() != 0 {
            return Err(DropReason::EdgeMalformed);
        }
        let quoted = message.get(SHORT_HEADER_LEN..).ok_or(DropReason::EdgeMalformed)?;
        let header = Header::parse(quoted).ok_or(DropReason::EdgeMalformed)?;
        let transport = quoted.get(header.len()..header.total_len().min(quoted.len()));
        let transport = transport.ok_or(DropReason::EdgeMalformed)?;
        let begin: &[u8; SHORT_HEADER_LEN] = transport.first_chunk().ok_or(DropReason::EdgeMalformed)?;
        let protocol = Protocol::from_number(header.protocol()).filter(|_| header.fragment_offset() == 0);
        let (src_port, dst_port) = match (protocol, begin[0]) {
            (Some(Protocol::Tcp | Protocol::Udp), _) => ports(begin),
            (Some(Protocol::Icmp), icmp::ECHO_REQUEST) => (u16::from_be_bytes([begin[4], begin[5]]), 0),
            (Some(Protocol::Icmp), icmp::ECHO_REPLY) => (0, u16::from_be_bytes([begin[4], begin[5]])),
            _ => return Err(DropReason::NoSession),
        };
        let protocol = protocol.ok_or(DropReason::NoSession)?;
        let tcp_checksum_end = TCP_CHECKSUM_AT + 2;
        let len = match protocol {
            Protocol::Tcp if transport.len() >= tcp_checksum_end => tcp_checksum_end,
            _ => SHORT_HEADER_LEN,
        };
        let network_offset = start + SHORT_HEADER_LEN;
        let transport_offset = network_offset + header.len();
        Ok(Quote {
            tuple: Tuple::v4(protocol, (header.src(), src_port), (header.dst(), dst_port)),
            network_offset,
            transport_offset,
            end: transport_offset + len,
        })
    }
}

/// Writes the headers with which an ICMP error leaves: from `source`, to the source of what the quoted packet becomes
/// (`change.tuple`; RFC 5508, REQ-4 and REQ-5).
///
/// # Errors
/// [`DropReason::EdgeMalformed`] when `packet` or `quote` is not that of `frame`, [`DropReason::NoSession`] without a tuple.
pub fn rewrite(
    frame: &Frame<'_>,
    packet: &Packet,
    quote: &Quote,
    source: Ipv4Addr,
    change: &Change<'_>,
    headers: &mut [u8; MAX_HEADERS_LEN],
) -> Result<NewHead, DropReason> {
    let tuple = change.tuple.ok_or(DropReason::NoSession)?;
    let (quoted_src, quoted_dst) = addresses(tuple);
    let (new, head) = copy_head(frame, packet, change, quote.end, headers)?;
    let (mut outer, message) = head.split_at(packet.header_len.into())?;
    translate_network(&mut outer, (source, quoted_src), 1)?;
    let (begin, Headers { old, new: quoted }) = message.split_at(SHORT_HEADER_LEN)?;
    let both = Headers { old, new: &mut *quoted };
    let (mut network, mut transport) = both.split_at(quote.transport_offset - quote.network_offset)?;
    let pseudo = translate_network(&mut network, (quoted_src, quoted_dst), 0)?;
    translate_transport(tuple.protocol, &mut transport, tuple, pseudo, false);
    // Without a pseudo-header, a partial checksum knows nothing of the message.
    if !frame.offload.needs_checksum {
        let checksum = Sum::from_checksum(u16::from_be_bytes([begin.old[2], begin.old[3]]));
        let sum = checksum + Sum::of(old).negated() + Sum::of(quoted);
        begin.new[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    }
    Ok(new)
}

/// Cuts an ICMP error whose headers [`rewrite`] has written, as `new` says, to a packet of at most `mtu` bytes: nobody is told that an error is
/// too large, and of what it quotes the beginning is all that its reader needs (RFC 1812, section 4.3.2.3). Extensions behind the quote (RFC
/// 4884) are lost with it.
///
/// # Errors
/// [`DropReason::TooBig`] when `mtu` leaves no room for the quoted headers, [`DropReason::EdgeMalformed`] when `packet` or `quote` is not that of
/// `frame`.
pub fn cut(
    frame: &Frame<'_>,
    packet: &Packet,
    quote: &Quote,
    new: NewHead,
    mtu: u16,
    headers: &mut [u8; MAX_HEADERS_LEN],
) -> Result<NewHead, DropReason> {
    if packet.total_len <= mtu {
        return Ok(new);
    }
    // Whole words, as the header has them, so that what is cut off has its place in the sum.
    let len = mtu & !3;
    let end = usize::from(packet.network_offset) + usize::from(len);
    if end < quote.end {
        return Err(DropReason::TooBig);
    }
    let lost = frame.bytes.get(end..packet.end()).ok_or(DropReason::EdgeMalformed)?;
    let (_, head) =
        headers.split_first_chunk_mut::<ETHERNET_HEADER_LEN>().ok_or(DropReason::EdgeMalformed)?;
    set_total_len(head, len)?;
    let message = head.get_mut(packet.header_len.into()..).ok_or(DropReason::EdgeMalformed)?;
    let begin: &mut [u8; SHORT_HEADER_LEN] = message.first_chunk_mut().ok_or(DropReason::EdgeMalformed)?;
    let extended =
        matches!(begin[0], icmp::DESTINATION_UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM);
    let words = if extended { core::mem::take(&mut begin[5]) } else { 0 };
    if !frame.offload.needs_checksum {
        let checksum = Sum::from_checksum(u16::from_be_bytes([begin[2], begin[3]]));
        let sum = checksum.replaced(words.into(), 0) + Sum::of(lost).negated();
        begin[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    }
    Ok(NewHead { end, ..new })
}
