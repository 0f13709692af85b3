//! ICMP errors: what the gateway and the edge tell the sender of a packet that goes nowhere, and when they must not.

use std::net::Ipv4Addr;

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};

use super::packet::{Back, Header, make_icmp};
use crate::network::Gateway;
use crate::out::Out;
use crate::verdict::Reply;

/// An error: its ICMP type and code, and its name in verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IcmpError {
    kind: Icmpv4Message,
    code: u8,
    /// The next hop's MTU in bytes (RFC 1191, section 4); 0 in all errors but one.
    mtu: u16,
    /// What the verdict says.
    pub(super) reply: Reply,
}

pub(crate) const TIME_EXCEEDED: IcmpError =
    IcmpError { kind: Icmpv4Message::TimeExceeded, code: 0, mtu: 0, reply: Reply::TimeExceeded };
pub(crate) const NETWORK_UNREACHABLE: IcmpError = unreachable(0, Reply::NetworkUnreachable);
pub(crate) const HOST_UNREACHABLE: IcmpError = unreachable(1, Reply::HostUnreachable);
pub(super) const PROTOCOL_UNREACHABLE: IcmpError = unreachable(2, Reply::ProtocolUnreachable);
pub(super) const PORT_UNREACHABLE: IcmpError = unreachable(3, Reply::PortUnreachable);

pub(crate) const PROHIBITED: IcmpError = unreachable(13, Reply::Prohibited);

const fn unreachable(code: u8, reply: Reply) -> IcmpError {
    IcmpError { kind: Icmpv4Message::DstUnreachable, code, mtu: 0, reply }
}

/// Fragmentation is needed for a hop of `mtu` bytes, and forbidden.
pub(crate) const fn fragmentation_needed(mtu: u16) -> IcmpError {
    IcmpError { mtu, ..unreachable(4, Reply::FragmentationNeeded) }
}

/// Longest ICMP error as an IPv4 packet, in bytes (RFC 1812, section 4.3.2.3), and what that leaves for the quote.
const MAX_ERROR_LEN: usize = 576;
const MAX_QUOTE_LEN: usize = MAX_ERROR_LEN - 20 - ICMP_HEADER_LEN;
const ICMP_HEADER_LEN: usize = 8;
/// Errors carry precedence 6, internetwork control (RFC 1812, section 4.3.2.5): class selector 6.
const ERROR_DSCP: u8 = 48;

/// Whether `address` can be one host's: not this network (0/8), loopback, multicast, class E, or a broadcast.
pub(crate) fn is_single_host(gateway: Option<&Gateway>, address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    (1..224).contains(&first)
        && !address.is_loopback()
        && !gateway.is_some_and(|gateway| gateway.is_subnet_broadcast(address))
}

/// Whether an error about `packet` may be sent at all (RFC 1122, section 3.2.2; RFC 1812, section 4.3.2.7). The
/// frame came by unicast, or it would not be here.
pub(super) fn may_be_sent(gateway: Option<&Gateway>, packet: &Ipv4Packet<&[u8]>) -> bool {
    is_single_host(gateway, packet.src_addr())
        && is_single_host(gateway, packet.dst_addr())
        && packet.frag_offset() == 0
        && !is_icmp_error(packet)
}

/// Whether `packet` is, or must be taken for, an ICMP error: only the queries of RFC 792, 950, 1256 and 8335 are not.
fn is_icmp_error(packet: &Ipv4Packet<&[u8]>) -> bool {
    packet.next_header() == IpProtocol::Icmp
        && !matches!(packet.payload().first(), Some(0 | 8 | 9 | 10 | 13..=18 | 42 | 43))
}

/// Sends `error` about `packet` to whoever sent it. Returns whether there was room.
pub(super) fn send(
    back: &Back,
    error: IcmpError,
    packet: &Ipv4Packet<&[u8]>,
    ident: u16,
    out: &mut Out,
) -> bool {
    let whole = packet.as_ref();
    let quote = &whole[..usize::from(packet.total_len()).min(MAX_QUOTE_LEN).min(whole.len())];
    let header = Header { dst: packet.src_addr(), dscp: ERROR_DSCP, ident, offset: 0, more: false };
    make_icmp(back, header, ICMP_HEADER_LEN + quote.len(), out, |bytes| {
        let mut message = Icmpv4Packet::new_unchecked(bytes);
        message.set_msg_type(error.kind);
        message.set_msg_code(error.code);
        // Where an echo has its sequence number.
        message.set_echo_seq_no(error.mtu);
        message.data_mut().copy_from_slice(quote);
        message.fill_checksum();
    })
}
