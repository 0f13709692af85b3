//! ICMP echo: a gateway can be pinged, with any size.

use std::net::Ipv4Addr;

use smoltcp::wire::{IPV4_HEADER_LEN, Icmpv4Message, Icmpv4Packet, checksum};

use super::Received;
use super::errors::is_single_host;
use super::packet::{Back, HEADERS_LEN, Header, make_icmp};
use crate::out::{MAX_MADE_BYTES, Out};
use crate::verdict::{DropReason, Reply, Taken, Verdict};

/// Smallest MTU that IPv4 knows (RFC 791, section 3.2).
const MIN_MTU: usize = 68;

/// An ICMP message to the gateway, whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) src: Ipv4Addr,
    pub(super) dscp: u8,
    pub(super) bytes: &'a [u8],
    /// The sender's device vouches for the checksum, or would still have to fill it in.
    pub(super) checksum_moot: bool,
}

/// Answers an echo request; any other message is taken in silence. `ident` is the reply's identification.
pub(super) fn answer(
    received: &Received<'_>,
    message: Message<'_>,
    ident: u16,
    out: &mut Out,
) -> Result<Verdict, DropReason> {
    let request = Icmpv4Packet::new_checked(message.bytes).map_err(|_| DropReason::GatewayMalformed)?;
    if !message.checksum_moot && !request.verify_checksum() {
        return Err(DropReason::GatewayMalformed);
    }
    let is_request = request.msg_type() == Icmpv4Message::EchoRequest && request.msg_code() == 0;
    if !is_request || !is_single_host(Some(received.gateway), message.src) {
        return Ok(Verdict::Taken(Taken::NoAnswerDue));
    }
    reply(received, message, ident, out)?;
    Ok(Verdict::Reply(Reply::Echo))
}

/// The same message with the type of a reply, in as many fragments as the MTU asks for.
fn reply(received: &Received<'_>, message: Message<'_>, ident: u16, out: &mut Out) -> Result<(), DropReason> {
    let len = message.bytes.len();
    let mtu = usize::from(received.network.mtu.min(received.port.mtu)).max(MIN_MTU);
    let room = mtu - IPV4_HEADER_LEN;
    // Fragments but the last are cut at multiples of eight bytes.
    let share = if len <= room { len } else { room & !7 };
    if len + len.div_ceil(share) * HEADERS_LEN > MAX_MADE_BYTES {
        return Err(DropReason::TooBig);
    }
    // Type and code of a reply are zero, so only what follows the checksum counts.
    let [sum_high, sum_low] = (!checksum::data(&message.bytes[4..])).to_be_bytes();
    for (index, piece) in message.bytes.chunks(share).enumerate() {
        let offset = index * share;
        let header = Header {
            dst: message.src,
            dscp: message.dscp,
            ident,
            offset: offset as u16,
            more: offset + piece.len() < len,
        };
        make_icmp(&Back::of(received), header, piece.len(), out, |payload| {
            payload.copy_from_slice(piece);
            if index == 0 {
                payload[..4].copy_from_slice(&[0, 0, sum_high, sum_low]);
            }
        });
    }
    Ok(())
}
