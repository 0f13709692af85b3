//! The guard's IPv6 half: the source, and neighbour discovery wherever extension headers may have put it.

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{
    IPV6_HEADER_LEN, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6ExtHeader, Ipv6Packet, NdiscOption,
    NdiscOptionType,
};

use super::{Partial, Speaker};
use crate::addr::MacAddr;
use crate::verdict::DropReason;

/// Extension headers that the guard walks past. RFC 8200 names six kinds, destination options twice;
/// whoever stacks more has something to hide.
const MAX_EXTENSION_HEADERS: usize = 8;
/// Length in bytes of a fragment header (RFC 8200, section 4.5).
const FRAGMENT_HEADER_LEN: usize = 8;
/// Length in bytes of a link-layer address option, in units of eight (RFC 4861, section 4.6.1).
const LINK_LAYER_OPTION_UNITS: u8 = 1;

/// Where an ICMPv6 message has its checksum (RFC 4443, section 2.1).
const ICMPV6_CHECKSUM_AT: usize = 2;

pub(super) fn check(
    speaker: Speaker<'_>,
    payload: &[u8],
    partial: Option<Partial>,
) -> Result<(), DropReason> {
    let packet = Ipv6Packet::new_checked(payload).map_err(|_| DropReason::GuardMalformed)?;
    if packet.version() != 6 {
        return Err(DropReason::GuardMalformed);
    }
    let source = packet.src_addr();
    if !source.is_unspecified() && !owns(speaker, source) {
        return Err(DropReason::GuardIpv6);
    }
    let upper = upper_layer(&packet)?;
    if partial.is_some_and(|partial| !is_harmless(partial, &packet, upper.as_ref())) {
        return Err(DropReason::MalformedOffload);
    }
    match upper {
        Some(UpperLayer { protocol: IpProtocol::Icmpv6, bytes, fragmented }) => {
            check_icmpv6(speaker, bytes, fragmented)
        }
        _ => Ok(()),
    }
}

/// Whether completing the checksum leaves alone what is checked here: extension headers, and ICMPv6 but for its own
/// checksum. Fragments never come with one.
fn is_harmless(partial: Partial, packet: &Ipv6Packet<&[u8]>, upper: Option<&UpperLayer<'_>>) -> bool {
    let Some(upper) = upper.filter(|upper| !upper.fragmented) else { return false };
    let upper_at = IPV6_HEADER_LEN + packet.payload().len() - upper.bytes.len();
    match upper.protocol {
        IpProtocol::Icmpv6 => (partial.start, partial.offset) == (upper_at, ICMPV6_CHECKSUM_AT),
        _ => partial.start >= upper_at,
    }
}

/// Whether `address` is the speaker's: given to it, or the link-local one made from its MAC.
fn owns(speaker: Speaker<'_>, address: Ipv6Addr) -> bool {
    address == link_local(speaker.identity.mac) || speaker.owns(IpAddr::V6(address))
}

/// The link-local address with the interface identifier made from `mac` (RFC 4291, appendix A).
pub(super) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f])
}

struct UpperLayer<'a> {
    protocol: IpProtocol,
    bytes: &'a [u8],
    /// A fragment header came before it.
    fragmented: bool,
}

/// What follows the extension headers; `None` in a fragment that is not its packet's first.
fn upper_layer<'a>(packet: &Ipv6Packet<&'a [u8]>) -> Result<Option<UpperLayer<'a>>, DropReason> {
    let mut protocol = packet.next_header();
    let mut bytes = packet.payload();
    let mut fragmented = false;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let header_len = match protocol {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let header = Ipv6ExtHeader::new_checked(bytes).map_err(|_| DropReason::GuardMalformed)?;
                (usize::from(header.header_len()) + 1) * 8
            }
            // Measured in units of four bytes, less two (RFC 4302, section 2.2).
            IpProtocol::IpSecAh => (usize::from(*bytes.get(1).ok_or(DropReason::GuardMalformed)?) + 2) * 4,
            IpProtocol::Ipv6Frag => {
                let &[_, _, offset_high, offset_low, ..] = bytes else {
                    return Err(DropReason::GuardMalformed);
                };
                if u16::from_be_bytes([offset_high, offset_low]) >> 3 != 0 {
                    return Ok(None);
                }
                fragmented = true;
                FRAGMENT_HEADER_LEN
            }
            _ => return Ok(Some(UpperLayer { protocol, bytes, fragmented })),
        };
        protocol = IpProtocol::from(*bytes.first().ok_or(DropReason::GuardMalformed)?);
        bytes = bytes.get(header_len..).ok_or(DropReason::GuardMalformed)?;
    }
    Err(DropReason::GuardMalformed)
}

fn check_icmpv6(speaker: Speaker<'_>, bytes: &[u8], fragmented: bool) -> Result<(), DropReason> {
    let message = Icmpv6Message::from(*bytes.first().ok_or(DropReason::GuardMalformed)?);
    match message {
        Icmpv6Message::RouterAdvert | Icmpv6Message::Redirect => return Err(DropReason::GuardRouter),
        Icmpv6Message::RouterSolicit | Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert => {}
        _ => return Ok(()),
    }
    // Nodes must ignore neighbour discovery in fragments (RFC 6980, section 5); not all of them do.
    if fragmented {
        return Err(DropReason::GuardMalformed);
    }
    let message_view = Icmpv6Packet::new_checked(bytes).map_err(|_| DropReason::GuardMalformed)?;
    let mut options = bytes.get(message_view.header_len()..).ok_or(DropReason::GuardMalformed)?;
    if message == Icmpv6Message::NeighborAdvert && !owns(speaker, message_view.target_addr()) {
        return Err(DropReason::GuardNd);
    }
    // Each option is eight bytes at least, so the packet's length bounds the walk.
    while !options.is_empty() {
        let option = NdiscOption::new_checked(options).map_err(|_| DropReason::GuardMalformed)?;
        let names_mac = matches!(
            option.option_type(),
            NdiscOptionType::SourceLinkLayerAddr | NdiscOptionType::TargetLinkLayerAddr
        );
        let is_own = option.data_len() == LINK_LAYER_OPTION_UNITS
            && options.get(2..8).is_some_and(|mac| speaker.has_mac(mac));
        if names_mac && !is_own {
            return Err(DropReason::GuardNd);
        }
        options = options.get(usize::from(option.data_len()) * 8..).ok_or(DropReason::GuardMalformed)?;
    }
    Ok(())
}
