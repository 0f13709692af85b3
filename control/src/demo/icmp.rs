//! ICMP echo over IPv4 (RFC 792): just enough to ping with.

use std::net::Ipv4Addr;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const HEADER_LEN: usize = 8;

/// An echo request with this identifier, sequence number and payload.
pub(super) fn echo_request(id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_LEN + payload.len());
    message.extend_from_slice(&[ECHO_REQUEST, 0, 0, 0]);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&sequence.to_be_bytes());
    message.extend_from_slice(payload);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The payload of an IPv4 packet that is a sound echo reply with this identifier and sequence number.
pub(super) fn echo_reply(packet: &[u8], id: u16, sequence: u16) -> Option<&[u8]> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header_len..).filter(|m| m.len() >= HEADER_LEN)?;
    let (header, payload) = message.split_at(HEADER_LEN);
    let [kind, code, _, _, i0, i1, s0, s1] = *header else { return None };
    let ours = (kind, code) == (ECHO_REPLY, 0)
        && u16::from_be_bytes([i0, i1]) == id
        && u16::from_be_bytes([s0, s1]) == sequence
        && checksum(message) == 0;
    ours.then_some(payload)
}

/// Whoever sent an IPv4 packet that is an echo request, and its identifier.
pub(super) fn echo_requester(packet: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let [ECHO_REQUEST, 0, _, _, i0, i1] = *packet.get(header_len..)?.first_chunk()? else { return None };
    let source = *packet.get(12..)?.first_chunk::<4>()?;
    Some((source.into(), u16::from_be_bytes([i0, i1])))
}

/// The Internet checksum (RFC 1071); zero over a message that holds its own.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 header without options in front of `message`; only its first byte is looked at.
    fn packet(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet.extend_from_slice(message);
        packet
    }

    fn reply_to(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = ECHO_REPLY;
        reply[2..4].fill(0);
        let sum = checksum(&reply);
        reply[2..4].copy_from_slice(&sum.to_be_bytes());
        reply
    }

    #[test]
    fn a_request_is_laid_out_as_rfc_792_says() {
        // What `ping -s 3` of iputils would send with this identifier.
        assert_eq!(echo_request(0x1234, 1, b"abc"), [8, 0, 0x21, 0x68, 0x12, 0x34, 0, 1, b'a', b'b', b'c']);
    }

    #[test]
    fn a_reply_gives_its_payload_back() {
        let reply = reply_to(&echo_request(7, 9, b"payload"));
        assert_eq!(echo_reply(&packet(&reply), 7, 9), Some(&b"payload"[..]));
    }

    #[test]
    fn a_request_tells_who_sent_it() {
        let mut request = packet(&echo_request(7, 9, b"payload"));
        request[12..16].copy_from_slice(&[192, 0, 2, 7]);
        assert_eq!(echo_requester(&request), Some((Ipv4Addr::new(192, 0, 2, 7), 7)));
        assert_eq!(echo_requester(&packet(&reply_to(&echo_request(7, 9, b"payload")))), None, "a reply");
        for len in 0..26 {
            assert_eq!(echo_requester(&request[..len]), None, "cut to {len}");
        }
    }

    #[test]
    fn others_and_damaged_ones_are_not_ours() {
        let request = echo_request(7, 9, b"payload");
        let reply = packet(&reply_to(&request));
        assert_eq!(echo_reply(&packet(&request), 7, 9), None, "a request");
        assert_eq!(echo_reply(&reply, 8, 9), None, "another identifier");
        assert_eq!(echo_reply(&reply, 7, 10), None, "another sequence number");
        let mut damaged = reply.clone();
        damaged[30] ^= 1;
        assert_eq!(echo_reply(&damaged, 7, 9), None, "a flipped bit");
        for len in 0..28 {
            assert_eq!(echo_reply(&reply[..len], 7, 9), None, "cut to {len}");
        }
    }
}
