//! The spoof guard: what a port may say of itself.
//!
//! Three rules. Nobody may be the gateway but the host and the resolver by their own ports: that holds for every port, whatever its settings. And a guarded port may be
//! nobody but itself: source MAC, ARP sender, IPv4 and IPv6 source, and neighbour discovery must carry the endpoint's
//! own addresses. Towards the gateway's MAC any address of the same sandbox will do, for a sandbox with several
//! endpoints answers by whichever its route names. Sources of zero pass: probes and DHCP begin so. The host speaks for itself: it is
//! no router to its endpoints, even where its kernel forwards between its other interfaces ([`check_host`]).
//!
//! A partial checksum is a licence to rewrite two bytes of the frame after the guard has read it: whoever completes it
//! writes at an offset that the sender chose, and any program that may open a packet socket chooses freely. So it must lie
//! behind everything that the guard reads.
//!
//! The guard looks through VLAN tags (the view is behind them), and not into other encapsulations: what hides an ARP
//! message in a tunnel reaches nobody's neighbour table.

mod ipv6;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::{ArpHardware, ArpPacket, EthernetProtocol, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Ipv4Packet};

use crate::addr::MacAddr;
use crate::edge::config::EdgeConfig;
use crate::fdb::Stickiness;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::network::{Gateway, Identity, Port};
use crate::verdict::DropReason;

/// Whether the port's frames must carry its identity.
#[inline]
pub fn is_guarded(port: &Port) -> bool {
    port.settings.guard && port.identity.is_some()
}

/// How the source of a frame that came in by `port` is learned: the guard vouches for it, or nobody does.
#[inline]
pub fn stickiness(port: &Port) -> Stickiness {
    if is_guarded(port) { Stickiness::Sticky } else { Stickiness::Free }
}

/// Holds a frame against the port's identity, and against the gateway's, which nobody may claim.
///
/// # Errors
/// The reason for dropping the frame.
#[inline(always)]
pub fn check(
    gateway: Option<&Gateway>,
    port: &Port,
    view: &EthernetView,
    frame: &Frame<'_>,
) -> Result<(), DropReason> {
    let gateway = gateway.filter(|_| !port.has_gateway_address());
    if gateway.is_some_and(|gateway| view.src == gateway.mac) {
        return Err(DropReason::GatewayMacClaimed);
    }
    let speaker = match &port.identity {
        Some(identity) if port.settings.guard => {
            if view.src != identity.mac {
                return Err(DropReason::GuardMac);
            }
            let to_gateway = gateway.is_some_and(|gateway| view.dst == gateway.mac);
            Some(Speaker { identity, to_gateway })
        }
        _ => None,
    };
    let payload = view.payload(frame.bytes);
    let partial = match frame.offload.needs_checksum {
        true => Some(Partial::behind_headers(view, frame)?),
        false => None,
    };
    match view.ethertype {
        ethertype::IPV4 => check_ipv4(gateway, speaker, payload),
        ethertype::IPV6 => speaker.map_or(Ok(()), |speaker| ipv6::check(speaker, payload, partial)),
        ethertype::ARP => check_arp(gateway, speaker, payload),
        // Hosts that still listen to reverse ARP would take an address from it; no endpoint needs to speak it.
        ethertype::RARP if speaker.is_some() => Err(DropReason::GuardArp),
        length if length < FIRST_ETHERTYPE && speaker.is_some() && hides_guarded_protocol(payload) => {
            Err(DropReason::GuardMalformed)
        }
        _ => Ok(()),
    }
}

/// Holds a frame from a port that has the gateway's address against the addresses that whoever is behind it has: the gateway's, and those of
/// `edge` if it is the host. What has another source the host's kernel forwards, for whoever routes by this host and knows an endpoint's
/// address, past rules and publications.
///
/// # Errors
/// [`DropReason::HostForwards`].
#[inline]
pub fn check_host(
    gateway: Option<&Gateway>,
    edge: Option<&EdgeConfig>,
    view: &EthernetView,
    frame: &Frame<'_>,
) -> Result<(), DropReason> {
    let payload = view.payload(frame.bytes);
    let sender = match view.ethertype {
        ethertype::IPV4 => Ipv4Packet::new_checked(payload).ok().map(|packet| packet.src_addr()),
        ethertype::ARP => ArpPacket::new_checked(payload).ok().and_then(|message| {
            let octets: [u8; 4] = message.source_protocol_addr().try_into().ok()?;
            Some(octets.into())
        }),
        _ => None,
    };
    let is_own = |sender: Ipv4Addr| {
        gateway.is_some_and(|gateway| gateway.address == sender)
            || edge.is_some_and(|edge| edge.is_host_address(sender))
            || sender.is_unspecified()
    };
    // What cannot be read no kernel forwards, and no endpoint takes.
    if sender.is_none_or(is_own) { Ok(()) } else { Err(DropReason::HostForwards) }
}

/// Below this the field behind the MACs is a length (IEEE 802.3, 3.2.6).
const FIRST_ETHERTYPE: u16 = 0x0600;

/// Whether an IEEE 802.3 payload is a protocol that the guard reads, in an LLC/SNAP header (RFC 1042). Linux ignores such packets,
/// other stacks take them, and no endpoint needs to speak so.
fn hides_guarded_protocol(payload: &[u8]) -> bool {
    let [0xaa, 0xaa, 0x03, 0, 0, 0, high, low, ..] = *payload else { return false };
    let inner = u16::from_be_bytes([high, low]);
    matches!(
        inner,
        ethertype::IPV4
            | ethertype::IPV6
            | ethertype::ARP
            | ethertype::RARP
            | ethertype::VLAN
            | ethertype::SERVICE_VLAN
    )
}

/// What is left to be asked of packets of IPv4 without tags, when [`check`] has let one pass and another comes by the same port between
/// the same two stations: its header, its checksum, and whether its source is this one (or, of a port that is not guarded, another).
#[derive(Debug, Clone, Copy)]
pub struct SourceRule {
    address: Ipv4Addr,
    is_only: bool,
}

impl SourceRule {
    /// Asks for an address that no packet has.
    pub const NONE: SourceRule = SourceRule { address: Ipv4Addr::BROADCAST, is_only: true };

    /// What follows from `frame`, which passed.
    pub fn of(
        gateway: Option<&Gateway>,
        port: &Port,
        view: &EthernetView,
        frame: &Frame<'_>,
    ) -> Option<SourceRule> {
        let header = view.payload(frame.bytes).first_chunk::<IPV4_HEADER_LEN>()?;
        Some(match gateway {
            _ if is_guarded(port) => SourceRule { address: source_of(header), is_only: true },
            Some(gateway) => SourceRule { address: gateway.address, is_only: false },
            // Who is not guarded may say anything then. This address is as good as any to be looked at twice.
            None => SourceRule { address: Ipv4Addr::BROADCAST, is_only: false },
        })
    }

    /// Whether [`check`] would let `frame` pass. False: ask it.
    #[inline(always)]
    pub fn admits(self, view: &EthernetView, frame: &Frame<'_>) -> bool {
        let payload = view.payload(frame.bytes);
        let Some(header) = payload.first_chunk::<IPV4_HEADER_LEN>() else { return false };
        header[0] >> 4 == 4
            && is_ipv4(header, payload.len())
            && (source_of(header) == self.address) == self.is_only
            && (!frame.offload.needs_checksum || Partial::behind_headers(view, frame).is_ok())
    }
}

/// A checksum that is still to be completed, in bytes from the payload behind all tags.
#[derive(Clone, Copy)]
struct Partial {
    /// Where its range starts.
    start: usize,
    /// Where it stands, from there on.
    offset: usize,
}

impl Partial {
    /// Where the frame's partial checksum lies, when that is behind the Ethernet and IP headers.
    #[inline]
    fn behind_headers(view: &EthernetView, frame: &Frame<'_>) -> Result<Partial, DropReason> {
        let headers_len = match view.ethertype {
            ethertype::IPV4 => {
                let first = view.payload(frame.bytes).first().ok_or(DropReason::MalformedOffload)?;
                (usize::from(first & 0x0f) * 4).max(IPV4_HEADER_LEN)
            }
            ethertype::IPV6 => IPV6_HEADER_LEN,
            // These have no checksum.
            ethertype::ARP | ethertype::RARP => return Err(DropReason::MalformedOffload),
            _ => 0,
        };
        let start = usize::from(frame.offload.csum_start).checked_sub(view.payload_offset);
        start
            .filter(|&start| start >= headers_len)
            .map(|start| Partial { start, offset: frame.offload.csum_offset.into() })
            .ok_or(DropReason::MalformedOffload)
    }
}

/// Who speaks by a guarded port, and whether to the gateway.
#[derive(Clone, Copy)]
struct Speaker<'a> {
    identity: &'a Identity,
    to_gateway: bool,
}

impl Speaker<'_> {
    /// Whether the speaker may say that `address` is its own.
    #[inline]
    fn owns(self, address: IpAddr) -> bool {
        let is_it = |own: &IpAddr| *own == address;
        self.identity.addresses.iter().any(is_it)
            || (self.to_gateway && self.identity.sandbox_addresses.iter().any(is_it))
    }

    #[inline]
    fn has_mac(self, mac: &[u8]) -> bool {
        mac == self.identity.mac.0
    }
}

#[inline(always)]
fn check_ipv4(
    gateway: Option<&Gateway>,
    speaker: Option<Speaker<'_>>,
    payload: &[u8],
) -> Result<(), DropReason> {
    // Read by hand, at half the cost of a wire library's view: this is asked of every packet.
    let Some(header) =
        payload.first_chunk::<IPV4_HEADER_LEN>().filter(|header| is_ipv4(header, payload.len()))
    else {
        // Malformed frames on an unguarded port are bridged as they came: no host takes them.
        return if speaker.is_some() { Err(DropReason::GuardMalformed) } else { Ok(()) };
    };
    let source = source_of(header);
    if gateway.is_some_and(|gateway| source == gateway.address) {
        return Err(DropReason::GatewayAddressClaimed);
    }
    let Some(speaker) = speaker else { return Ok(()) };
    if header[0] >> 4 != 4 {
        Err(DropReason::GuardMalformed)
    } else if source.is_unspecified() || speaker.owns(IpAddr::V4(source)) {
        Ok(())
    } else {
        Err(DropReason::GuardIpv4)
    }
}

#[inline]
fn source_of(header: &[u8; IPV4_HEADER_LEN]) -> Ipv4Addr {
    Ipv4Addr::new(header[12], header[13], header[14], header[15])
}

/// Whether the header's lengths lie within each other and within the `len` bytes that begin with it.
#[inline]
fn is_ipv4(header: &[u8; IPV4_HEADER_LEN], len: usize) -> bool {
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    (IPV4_HEADER_LEN..=total_len).contains(&header_len) && total_len <= len
}

fn check_arp(
    gateway: Option<&Gateway>,
    speaker: Option<Speaker<'_>>,
    payload: &[u8],
) -> Result<(), DropReason> {
    // Frames are padded to 60 bytes: the message may be longer than its fields.
    let Ok(message) = ArpPacket::new_checked(payload) else {
        return if speaker.is_some() { Err(DropReason::GuardMalformed) } else { Ok(()) };
    };
    if message.hardware_len() != 6 || message.protocol_len() != 4 {
        return if speaker.is_some() { Err(DropReason::GuardArp) } else { Ok(()) };
    }
    let sender_mac = MacAddr::from_prefix(message.source_hardware_addr());
    let &[a, b, c, d] = message.source_protocol_addr() else { return Err(DropReason::GuardMalformed) };
    let sender = Ipv4Addr::new(a, b, c, d);
    // Whatever the hardware type says: Linux takes IEEE 802 (6) for Ethernet (1), net/ipv4/arp.c.
    if gateway.is_some_and(|gateway| sender == gateway.address || sender_mac == gateway.mac) {
        return Err(DropReason::GatewayAddressClaimed);
    }
    let Some(speaker) = speaker else { return Ok(()) };
    let is_ethernet_ipv4 =
        message.hardware_type() == ArpHardware::Ethernet && message.protocol_type() == EthernetProtocol::Ipv4;
    // Sender 0.0.0.0 is a probe (RFC 5227, section 2.1.1).
    let sender_is_own = sender.is_unspecified() || speaker.owns(IpAddr::V4(sender));
    if is_ethernet_ipv4 && speaker.has_mac(&sender_mac.0) && sender_is_own {
        Ok(())
    } else {
        Err(DropReason::GuardArp)
    }
}
