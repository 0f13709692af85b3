//! ARP: who has the gateway's address (RFC 826, RFC 5227).

use std::net::Ipv4Addr;

use smoltcp::wire::{ArpHardware, ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol};

use super::packet::make_ethernet;
use crate::addr::MacAddr;
use crate::network::{Gateway, PortId};
use crate::out::Out;

/// Length in bytes of an ARP message for Ethernet and IPv4.
const MESSAGE_LEN: usize = 28;

/// Somebody asks for the gateway's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    mac: MacAddr,
    /// 0.0.0.0 when somebody probes whether it may take the address: it must hear that it may not.
    address: Ipv4Addr,
}

impl Request {
    /// Reads an ARP message, padded or not; `None` unless it is a request for the gateway's address by a station.
    ///
    /// # Errors
    /// [`Malformed`] when the message is cut short.
    pub(super) fn parse(gateway: &Gateway, payload: &[u8]) -> Result<Option<Request>, Malformed> {
        let message = ArpPacket::new_checked(payload).map_err(|_| Malformed)?;
        let is_request = message.hardware_type() == ArpHardware::Ethernet
            && message.protocol_type() == EthernetProtocol::Ipv4
            && (message.hardware_len(), message.protocol_len()) == (6, 4)
            && message.operation() == ArpOperation::Request
            && message.target_protocol_addr() == gateway.address.octets();
        if !is_request {
            return Ok(None);
        }
        let mac = MacAddr::from_prefix(message.source_hardware_addr());
        let &[a, b, c, d] = message.source_protocol_addr() else { return Ok(None) };
        Ok(mac.is_station().then_some(Request { mac, address: Ipv4Addr::new(a, b, c, d) }))
    }

    /// Answers by unicast to the MAC that asks. Returns whether there was room.
    pub(super) fn answer(self, gateway: &Gateway, port: PortId, out: &mut Out) -> bool {
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(gateway.mac.0),
            source_protocol_addr: gateway.address,
            target_hardware_addr: EthernetAddress(self.mac.0),
            target_protocol_addr: self.address,
        };
        make(gateway.mac, (&[port], self.mac), reply, out)
    }
}

/// The message is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The gateway tells everybody its address: a request for its own (RFC 5227, section 2.3). Returns whether
/// there was room.
pub(super) fn announce(gateway: &Gateway, members: &[PortId], out: &mut Out) -> bool {
    let announcement = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(gateway.mac.0),
        source_protocol_addr: gateway.address,
        target_hardware_addr: EthernetAddress(MacAddr::ZERO.0),
        target_protocol_addr: gateway.address,
    };
    make(gateway.mac, (members, MacAddr::BROADCAST), announcement, out)
}

/// Asks `to` by `egress` who has an address; `from` is the asker. Returns whether there was room.
pub(crate) fn ask(
    from: (MacAddr, Ipv4Addr),
    (to, address): (MacAddr, Ipv4Addr),
    egress: PortId,
    out: &mut Out,
) -> bool {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(from.0.0),
        source_protocol_addr: from.1,
        target_hardware_addr: EthernetAddress(MacAddr::ZERO.0),
        target_protocol_addr: address,
    };
    make(from.0, (&[egress], to), request, out)
}

/// Who says in an ARP reply that he has which address; `None` for anything else.
pub(crate) fn parse_reply(payload: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    parse(payload).filter(|(operation, ..)| *operation == ArpOperation::Reply).map(|(_, sender, _)| sender)
}

/// Who says, asked or not, that he has which address: in a reply, or in a request for his own (RFC 5227, section 2.3), as a router
/// sends it that takes over from another.
pub(crate) fn parse_announcement(payload: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    let (operation, sender, target) = parse(payload)?;
    (operation == ArpOperation::Reply || target == sender.1).then_some(sender)
}

fn parse(payload: &[u8]) -> Option<(ArpOperation, (MacAddr, Ipv4Addr), Ipv4Addr)> {
    let message = ArpPacket::new_checked(payload).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&message).ok()?
    else {
        return None;
    };
    Some((operation, (MacAddr(source_hardware_addr.0), source_protocol_addr), target_protocol_addr))
}

fn make(src: MacAddr, to: (&[PortId], MacAddr), message: ArpRepr, out: &mut Out) -> bool {
    make_ethernet(src, to, EthernetProtocol::Arp, MESSAGE_LEN, out, |bytes| {
        message.emit(&mut ArpPacket::new_unchecked(bytes));
    })
}
