//! A frame in one line of words, much as tcpdump has it.

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, Icmpv4Packet};

use crate::addr::MacAddr;
use crate::edge::packet::{Content, Packet, TcpFlags};
use crate::edge::quote::Quote;
use crate::frame::{EthernetView, Frame, ethertype};

/// What the frame is: its packet, as far as the edge would understand it.
pub fn describe(frame: &Frame<'_>) -> String {
    let len = frame.bytes.len();
    let Ok(view) = EthernetView::parse(frame.bytes) else {
        return format!("{len} bytes, not an Ethernet frame");
    };
    match Packet::parse(&view, frame) {
        Ok(packet) => format!("{}, {len} bytes", packet_words(&packet, frame)),
        Err(_) => arp_words(&view, frame.bytes).unwrap_or_else(|| {
            format!("{len} bytes from {} to {}, EtherType 0x{:04x}", view.src, view.dst, view.ethertype)
        }),
    }
}

fn packet_words(packet: &Packet, frame: &Frame<'_>) -> String {
    let Packet { src, dst, ttl, .. } = *packet;
    let fragment = if packet.is_fragment() { ", a fragment" } else { "" };
    match (packet.tuple(), packet.content) {
        (Some(tuple), Content::Tcp { flags, .. }) => {
            format!("{tuple} {} ttl {ttl}{fragment}", flag_words(flags))
        }
        (Some(tuple), Content::Echo { request, .. }) => {
            let kind = if request { "request" } else { "reply" };
            format!("{tuple}, echo {kind}, ttl {ttl}{fragment}")
        }
        (Some(tuple), _) => format!("{tuple} ttl {ttl}{fragment}"),
        (None, Content::IcmpError) => format!("icmp {src} > {dst}{}, ttl {ttl}", error_words(packet, frame)),
        (None, Content::Fragment) => {
            format!("{src} > {dst}, a fragment from byte {} on, ttl {ttl}", packet.fragment_offset)
        }
        (None, _) => format!("{src} > {dst}, protocol {}, ttl {ttl}{fragment}", packet.protocol),
    }
}

/// What an ICMP error says, and about whom.
fn error_words(packet: &Packet, frame: &Frame<'_>) -> String {
    let message = frame.bytes.get(packet.payload_offset()..packet.end());
    let Some(message) = message.and_then(|bytes| Icmpv4Packet::new_checked(bytes).ok()) else {
        return String::new();
    };
    let about =
        Quote::parse(frame, packet).map(|quote| format!(" about {}", quote.tuple)).unwrap_or_default();
    format!(", {} (code {}){about}", message.msg_type(), message.msg_code())
}

fn flag_words(flags: TcpFlags) -> String {
    const PSH: TcpFlags = TcpFlags(0x08);
    let names = [
        (TcpFlags::SYN, "syn"),
        (TcpFlags::FIN, "fin"),
        (TcpFlags::RST, "rst"),
        (PSH, "psh"),
        (TcpFlags::ACK, "ack"),
    ];
    let set: Vec<&str> = names.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| *name).collect();
    if set.is_empty() { "no flags".to_owned() } else { set.join(",") }
}

fn arp_words(view: &EthernetView, bytes: &[u8]) -> Option<String> {
    if view.ethertype != ethertype::ARP || view.in_vlan {
        return None;
    }
    let packet = ArpPacket::new_checked(bytes.get(view.payload_offset..)?).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    Some(match operation {
        ArpOperation::Request => format!("arp who-has {target_protocol_addr} tell {source_protocol_addr}"),
        _ => format!("arp {source_protocol_addr} is-at {}", MacAddr(source_hardware_addr.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Probe;

    #[test]
    fn what_was_written_is_read_again() {
        let (src, dst) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        for (text, words) in [
            ("tcp 10.0.0.2:1234 > 192.0.2.7:80", "tcp 10.0.0.2:1234 > 192.0.2.7:80 syn ttl 64, 54 bytes"),
            ("udp 10.0.0.2:1234 > 192.0.2.7:53 ttl=3", "udp 10.0.0.2:1234 > 192.0.2.7:53 ttl 3, "),
            ("icmp 10.0.0.2 > 192.0.2.7 id 7", "icmp 10.0.0.2 > 192.0.2.7 id 7, echo request, ttl 64, "),
            ("arp who-has 10.0.0.1 tell 10.0.0.2", "arp who-has 10.0.0.1 tell 10.0.0.2"),
        ] {
            let bytes = text.parse::<Probe>().unwrap().frame(src, dst);
            let described = describe(&Frame::plain(&bytes));
            assert!(described.starts_with(words), "{described}");
        }
        assert_eq!(describe(&Frame::plain(&[1, 2, 3])), "3 bytes, not an Ethernet frame");
        let mut strange = [0; 60];
        strange[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        let words = "60 bytes from 02:00:00:00:00:01 to 02:00:00:00:00:02, EtherType 0x86dd";
        assert_eq!(describe(&Frame::plain(&strange)), words);
    }
}
