//! IPv4 packets, read and written plainly: what is judged must not be read by the code that is judged.

use std::net::Ipv4Addr;

/// The protocols that NAT translates.
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;

/// Where the transport's header begins; none: no IPv4 header.
pub fn header_len(packet: &[u8]) -> Option<usize> {
    let len = usize::from(packet.first()? & 0x0f) * 4;
    (packet[0] >> 4 == 4 && (20..=packet.len()).contains(&len)).then_some(len)
}

/// Two bytes in network order.
pub fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

/// Writes two bytes in network order, where there is room.
pub fn set_word(packet: &mut [u8], at: usize, value: u16) {
    if let Some(two) = packet.get_mut(at..at + 2) {
        two.copy_from_slice(&value.to_be_bytes());
    }
}

/// The source's address.
pub fn src(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(12..)?.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets))
}

/// The destination's address.
pub fn dst(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(16..)?.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets))
}

/// Whether it is a fragment, of which only the first one has a transport header.
pub fn is_fragment(packet: &[u8]) -> bool {
    word(packet, 6).is_some_and(|flags| flags & 0x3fff != 0)
}

/// Where an ICMP error's quoted packet begins.
pub fn quote(packet: &[u8]) -> Option<usize> {
    let at = header_len(packet)?;
    let is_error = packet[9] == ICMP && matches!(packet.get(at)?, 3 | 4 | 5 | 11 | 12);
    (is_error && !is_fragment(packet)).then_some(at + 8)
}

/// Where the checksum behind the IP header stands.
pub fn checksum_place(packet: &[u8]) -> Option<usize> {
    let offset = match *packet.get(9)? {
        ICMP => 2,
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    Some(header_len(packet)? + offset)
}

/// Writes the length and both checksums anew; a UDP checksum of zero, which is none, stays.
pub fn finish(packet: &mut [u8]) {
    let Some(at) = header_len(packet) else { return };
    finish_header(packet, at);
    let Some(place) = checksum_place(packet) else { return };
    if is_fragment(packet) || packet[9] == UDP && word(packet, place) == Some(0) {
        return;
    }
    set_word(packet, place, 0);
    let transport = !sum(pseudo_header(packet, at), &packet[at..]);
    set_word(packet, place, if transport == 0 && packet[9] == UDP { 0xffff } else { transport });
}

/// Writes the length and the checksum of a header of `len` bytes anew.
pub fn finish_header(packet: &mut [u8], len: usize) {
    let packet_len = packet.len() as u16;
    set_word(packet, 2, packet_len);
    set_word(packet, 10, 0);
    let header = !sum(0, &packet[..len]);
    set_word(packet, 10, header);
}

/// Takes "don't fragment" from a packet that was fragmented already. The kernel does not always say it of fragments that it makes anew, and
/// it concerns routers alone.
pub fn allow_fragments(packet: &mut [u8]) {
    let Some(at) = header_len(packet) else { return };
    packet[6] &= !0x40;
    finish_header(packet, at);
}

/// Whether lengths and checksums are right.
pub fn is_sound(packet: &[u8]) -> bool {
    let Some(at) = header_len(packet) else { return false };
    if word(packet, 2).map(usize::from) != Some(packet.len()) || sum(0, &packet[..at]) != 0xffff {
        return false;
    }
    let has_none = || {
        let place = checksum_place(packet);
        packet[9] == UDP && place.and_then(|place| word(packet, place)) == Some(0)
    };
    let transport = packet.len() - at;
    let fits = match packet[9] {
        UDP => word(packet, at + 4).is_some_and(|len| (8..=transport).contains(&len.into())),
        TCP => {
            packet.get(at + 12).is_some_and(|words| (20..=transport).contains(&(usize::from(words >> 4) * 4)))
        }
        ICMP => transport >= 8,
        _ => true,
    };
    is_fragment(packet)
        || checksum_place(packet).is_none()
        || fits && has_none()
        || fits && sum(pseudo_header(packet, at), &packet[at..]) == 0xffff
}

/// What goes into the transport's sum besides its bytes (RFC 9293, section 3.1); ICMP has nothing of the kind.
fn pseudo_header(packet: &[u8], at: usize) -> u32 {
    if packet[9] == ICMP {
        return 0;
    }
    u32::from(sum(0, &packet[12..20])) + u32::from(packet[9]) + (packet.len() - at) as u32
}

/// The sum in one's complement (RFC 1071).
pub fn sum(start: u32, bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum = words.fold(start, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn what_a_builder_writes_is_sound_and_stays_so() {
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 7], 64).udp(4000, 53);
        let mut udp = Vec::new();
        builder.write(&mut udp, b"question").unwrap();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 7], 64).tcp(4000, 80, 1, 512);
        let mut tcp = Vec::new();
        builder.write(&mut tcp, b"odd").unwrap();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [192, 0, 2, 7], 64).icmpv4_echo_request(1, 2);
        let mut echo = Vec::new();
        builder.write(&mut echo, b"ping").unwrap();
        for packet in [udp, tcp, echo] {
            assert!(is_sound(&packet));
            let mut again = packet.clone();
            finish(&mut again);
            assert_eq!(again, packet);
            let mut damaged = packet.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert!(!is_sound(&damaged));
            let mut damaged = packet.clone();
            damaged[8] -= 1;
            assert!(!is_sound(&damaged));
        }
    }
}
