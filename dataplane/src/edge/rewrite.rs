//! Translation of a packet's headers: addresses, ports or identifier, TTL, the MSS of a SYN, and every checksum over them.
//!
//! Only the head of a frame is written anew, whatever its length: checksums are changed by the difference (RFC 1624), so
//! that a super-frame costs as much as a small one, a wrong checksum stays wrong, and one that the sender left partial
//! stays partial. What a checksum says of itself:
//!
//! | | covers | after a change |
//! |---|---|---|
//! | IPv4 header | the header | follows addresses and TTL |
//! | TCP, UDP | addresses (pseudo-header), ports, payload | follows addresses, ports and MSS |
//! | the same, partial | the pseudo-header alone, not complemented | follows addresses |
//! | UDP, 0 | nothing | stays 0; one that becomes 0 is written as 0xffff (RFC 768) |
//! | ICMP echo | the message | follows the identifier |
//! | ICMP echo, partial | nothing | stays |
//!
//! A first fragment holds the checksum of its whole datagram, which changes by the same difference.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet::{
    Content, IPV4_MIN_HEADER_LEN, Packet, SHORT_HEADER_LEN, TCP_CHECKSUM_AT, TCP_MIN_HEADER_LEN, TcpFlags,
    icmp,
};
use super::tuple::{Protocol, Tuple};
use crate::addr::MacAddr;
use crate::checksum::{Changes, Sum};
use crate::frame::{ETHERNET_HEADER_LEN, Frame, ethertype};
use crate::offload::Offload;
use crate::out::{MAX_HEADERS_LEN, NewHead};
use crate::verdict::DropReason;

mod mss;
#[cfg(test)]
mod tests;

/// What becomes of a packet on its way through the edge. Its TTL is always one less; DSCP, ECN, identification and
/// options stay.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Destination MAC of the frame that leaves.
    pub dst_mac: MacAddr,
    /// Source MAC of the frame that leaves.
    pub src_mac: MacAddr,
    /// What the packet's tuple becomes; of an ICMP error, the tuple of its quote; of a fragment, only the addresses
    /// count. None: the packet is routed as it is.
    pub tuple: Option<&'a Tuple>,
    /// Largest segment that a TCP SYN may announce, in bytes.
    pub max_segment_size: Option<u16>,
}

/// The maximum segment size in bytes that a TCP packet announces (RFC 9293, section 3.7.1), if it does.
pub fn announced_segment_size(frame: &Frame<'_>, packet: &Packet) -> Option<u16> {
    let start = packet.payload_offset();
    mss::announced(frame.bytes.get(start..start + mss::header_len(frame, packet))?)
}

/// Writes the headers with which `packet` leaves. For use with
/// [`Out::forward_rewritten_with`](crate::out::Out::forward_rewritten_with). The new Ethernet header has no tags. The caller
/// has seen to it that the TTL is greater than 1.
///
/// # Errors
/// [`DropReason::EdgeProtocol`] when a tuple is wanted for what has none (ICMP errors have a
/// [function of their own](super::quote::rewrite)), [`DropReason::EdgeMalformed`] when `packet` is not that of `frame`.
// Always, and so all that it calls: what is returned in pieces through memory and then moved stalls on store forwarding, 6 to 8 ns
// each time.
#[inline(always)]
pub fn rewrite(
    frame: &Frame<'_>,
    packet: &Packet,
    change: &Change<'_>,
    headers: &mut [u8; MAX_HEADERS_LEN],
) -> Result<NewHead, DropReason> {
    let protocol = match packet.content {
        Content::Tcp { .. } => Some(Protocol::Tcp),
        Content::Udp { .. } => Some(Protocol::Udp),
        Content::Echo { .. } => Some(Protocol::Icmp),
        Content::Fragment => None,
        Content::IcmpError | Content::OtherIcmp | Content::Other if change.tuple.is_some() => {
            return Err(DropReason::EdgeProtocol);
        }
        Content::IcmpError | Content::OtherIcmp | Content::Other => None,
    };
    let clamp = match packet.content {
        Content::Tcp { flags, .. } if flags.has(TcpFlags::SYN) => change.max_segment_size,
        _ => None,
    };
    let transport_len = match protocol {
        Some(Protocol::Tcp) if clamp.is_some() => mss::header_len(frame, packet),
        Some(Protocol::Tcp) => TCP_MIN_HEADER_LEN,
        Some(Protocol::Udp | Protocol::Icmp) => SHORT_HEADER_LEN,
        None => 0,
    };
    let skip = packet.payload_offset() + transport_len;
    let (new, head) = copy_head(frame, packet, change, skip, headers)?;
    let (mut network, mut transport) = head.split_at(packet.header_len.into())?;
    let addresses = change.tuple.map_or((packet.src, packet.dst), addresses);
    let pseudo = translate_network(&mut network, addresses, 1)?;
    if let (Some(protocol), Some(tuple)) = (protocol, change.tuple) {
        translate_transport(protocol, &mut transport, tuple, pseudo, frame.offload.needs_checksum);
    }
    if let Some(limit) = clamp {
        mss::clamp(transport.new, limit, frame.offload.needs_checksum);
    }
    Ok(new)
}

/// Headers as they came, and their copy that leaves; both of the same length. What is read is read of the former: the
/// processor cannot forward what has just been copied to loads of another width.
pub(super) struct Headers<'a> {
    pub(super) old: &'a [u8],
    pub(super) new: &'a mut [u8],
}

impl<'a> Headers<'a> {
    /// Those before and those from `at`.
    #[inline(always)]
    pub(super) fn split_at(self, at: usize) -> Result<(Headers<'a>, Headers<'a>), DropReason> {
        let old = self.old.split_at_checked(at).ok_or(DropReason::EdgeMalformed)?;
        let new = self.new.split_at_mut_checked(at).ok_or(DropReason::EdgeMalformed)?;
        Ok((Headers { old: old.0, new: new.0 }, Headers { old: old.1, new: new.1 }))
    }

    /// The first `N` bytes, if there are as many.
    #[inline(always)]
    fn first<const N: usize>(&mut self) -> Option<(&[u8; N], &mut [u8; N])> {
        self.old.first_chunk().zip(self.new.first_chunk_mut())
    }
}

/// Copies the frame's head from the IPv4 header to `skip`, behind a new Ethernet header.
#[inline(always)]
pub(super) fn copy_head<'a>(
    frame: &Frame<'a>,
    packet: &Packet,
    change: &Change<'_>,
    skip: usize,
    headers: &'a mut [u8; MAX_HEADERS_LEN],
) -> Result<(NewHead, Headers<'a>), DropReason> {
    let old = frame.bytes.get(usize::from(packet.network_offset)..skip).ok_or(DropReason::EdgeMalformed)?;
    let (ethernet, rest) =
        headers.split_first_chunk_mut::<ETHERNET_HEADER_LEN>().ok_or(DropReason::EdgeMalformed)?;
    let new = rest.get_mut(..old.len()).ok_or(DropReason::EdgeMalformed)?;
    ethernet[..6].copy_from_slice(&change.dst_mac.0);
    ethernet[6..12].copy_from_slice(&change.src_mac.0);
    ethernet[12..].copy_from_slice(&ethertype::IPV4.to_be_bytes());
    new.copy_from_slice(old);
    let len = ETHERNET_HEADER_LEN + old.len();
    let offload = match usize::from(packet.network_offset) {
        ETHERNET_HEADER_LEN => frame.offload,
        tagged => without_tags(frame.offload, tagged),
    };
    Ok((NewHead { len, skip, end: packet.end(), offload }, Headers { old, new }))
}

/// What must be done to a frame whose IPv4 header has moved from `network_offset` to where it is without tags.
#[cold]
fn without_tags(offload: Offload, network_offset: usize) -> Offload {
    // A checksum lies behind the tags; the cast is exact, for they lie in a frame of 64 KiB.
    let len = network_offset.saturating_sub(ETHERNET_HEADER_LEN) as u16;
    let csum_start = if offload.needs_checksum { len } else { 0 };
    Offload {
        csum_start: offload.csum_start.saturating_sub(csum_start),
        header_len: offload.header_len.saturating_sub(len),
        ..offload
    }
}

/// Source and destination of a tuple of IPv4 addresses.
#[inline]
pub(super) fn addresses(tuple: &Tuple) -> (Ipv4Addr, Ipv4Addr) {
    let last_four = |address: Ipv6Addr| {
        let [.., a, b, c, d] = address.octets();
        Ipv4Addr::new(a, b, c, d)
    };
    (last_four(tuple.src), last_four(tuple.dst))
}

/// Gives an IPv4 header new addresses and takes `hops` from its TTL. Returns by how much the addresses change a sum.
#[inline(always)]
pub(super) fn translate_network(
    headers: &mut Headers<'_>,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    hops: u8,
) -> Result<Changes, DropReason> {
    let (old, new) = headers.first::<IPV4_MIN_HEADER_LEN>().ok_or(DropReason::EdgeMalformed)?;
    let pseudo = exchange(old, new, 12, src.octets()) + exchange(old, new, 16, dst.octets());
    new[8] = old[8].saturating_sub(hops);
    let hop = Changes::of_half([old[8], old[9]], [new[8], old[9]]);
    new[10..12].copy_from_slice(&(pseudo + hop).checksum([old[10], old[11]]));
    Ok(pseudo)
}

/// Gives an IPv4 header another total length.
#[cold]
pub(super) fn set_total_len(header: &mut [u8], len: u16) -> Result<(), DropReason> {
    let header: &mut [u8; IPV4_MIN_HEADER_LEN] = header.first_chunk_mut().ok_or(DropReason::EdgeMalformed)?;
    let [old, checksum] = [2, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
    let sum = Sum::from_checksum(checksum).replaced(old, len);
    header[2..4].copy_from_slice(&len.to_be_bytes());
    header[10..12].copy_from_slice(&sum.checksum().to_be_bytes());
    Ok(())
}

/// Gives a TCP, UDP or ICMP echo header the ports or the identifier of `tuple`, where its addresses have changed a sum by
/// `pseudo`. What a cut header no longer has is left out. `partial`: the checksum is.
#[inline(always)]
pub(super) fn translate_transport(
    protocol: Protocol,
    headers: &mut Headers<'_>,
    tuple: &Tuple,
    pseudo: Changes,
    partial: bool,
) {
    let Some((old, new)) = headers.first::<SHORT_HEADER_LEN>() else { return };
    let (checksum_at, pseudo, own) = match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let [a, b] = tuple.src_port.to_be_bytes();
            let [c, d] = tuple.dst_port.to_be_bytes();
            let own = exchange(old, new, 0, [a, b, c, d]);
            (if protocol == Protocol::Tcp { TCP_CHECKSUM_AT } else { 6 }, pseudo, own)
        }
        Protocol::Icmp => {
            let ident = if old[0] == icmp::ECHO_REQUEST { tuple.src_port } else { tuple.dst_port };
            let [a, b] = ident.to_be_bytes();
            (2, Changes::NONE, exchange(old, new, 4, [a, b, old[6], old[7]]))
        }
    };
    let field = checksum_at..checksum_at + 2;
    let (Some(&[a, b]), Some(new)) = (headers.old.get(field.clone()), headers.new.get_mut(field)) else {
        return;
    };
    let checksum = if partial {
        pseudo.partial([a, b])
    } else {
        match (protocol, [a, b], (pseudo + own).checksum([a, b])) {
            (Protocol::Udp, [0, 0], _) => [0, 0],
            (Protocol::Udp, _, [0, 0]) => [0xff, 0xff],
            (_, _, checksum) => checksum,
        }
    };
    new.copy_from_slice(&checksum);
}

/// Writes four bytes and returns by how much that changes a sum.
#[inline]
fn exchange<const N: usize>(old: &[u8; N], new: &mut [u8; N], at: usize, value: [u8; 4]) -> Changes {
    new[at..at + 4].copy_from_slice(&value);
    Changes::of([old[at], old[at + 1], old[at + 2], old[at + 3]], value)
}
