//! How a packet travels: whole, in fragments, damaged on its way; and what its receiver makes of what arrives.
//!
//! Connection tracking puts a datagram together before it decides, and takes it apart again as it likes; pontoon passes fragments on one
//! by one. Both are right if receivers get the same, so what is compared is what a receiver has put together. He does it as Linux does
//! (`inet_frag_queue_insert`, net/ipv4/inet_fragment.c): a repeated fragment is ignored, one that overlaps ends its datagram.

use std::collections::HashMap;
use std::ops::Range;

use pontoon_dataplane::frame::ETHERNET_HEADER_LEN;

use super::ip;
use crate::random::Random;

/// Longest fragment in bytes, without the IPv4 header and the options that it may have.
const LONGEST: usize = 1472;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// What becomes of a packet on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Travels {
    /// What is wrong with it. It was before it was cut.
    pub damage: Option<Damage>,
    /// The parts of its payload that travel as fragments, in this order; none: it travels whole.
    pub fragments: Vec<Range<usize>>,
}

/// What is wrong with a packet. Whoever gets it drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The checksum of the IPv4 header.
    HeaderChecksum,
    /// That of TCP, UDP or ICMP.
    Checksum,
    /// It ends within the transport's header, and says so.
    CutHeader,
    /// It says that it is longer than it is.
    TooLong,
    /// The IPv4 header says that it is longer than the packet.
    HeaderLen,
    /// UDP says that it is longer than the packet, TCP that its header is shorter than one can be.
    TransportLen,
}

const DAMAGES: [Damage; 6] = [
    Damage::HeaderChecksum,
    Damage::Checksum,
    Damage::CutHeader,
    Damage::TooLong,
    Damage::HeaderLen,
    Damage::TransportLen,
];

impl Travels {
    /// Something for a packet of `protocol` with `len` bytes behind its IPv4 header.
    pub fn random(random: &mut Random, protocol: u8, len: usize) -> Travels {
        let damage = random.chance(1, 60).then(|| *random.pick(&DAMAGES));
        // A damaged header is seen in a packet that is whole.
        let may_be_cut = matches!(damage, None | Some(Damage::Checksum));
        let must_be_cut = len > LONGEST;
        let cut = may_be_cut && random.chance(1, 12) || must_be_cut;
        let fragments = if cut { fragments(random, protocol, len) } else { Vec::new() };
        Travels { damage: damage.filter(|_| may_be_cut || !must_be_cut), fragments }
    }

    /// Nothing happens to it.
    pub fn is_plain(&self) -> bool {
        *self == Travels::default()
    }

    /// Whether nobody can make anything of it; there are `len` bytes behind the IPv4 header.
    pub fn is_lost(&self, len: usize) -> bool {
        let mut receiver = Partial::default();
        let whole = |fragment: &Range<usize>| receiver.add(fragment, fragment.end < len) == Some(len);
        self.damage.is_some() || !self.fragments.is_empty() && !self.fragments.iter().any(whole)
    }

    /// What travels in the place of `packet`.
    pub fn sent(&self, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
        if let Some(damage) = self.damage {
            damage.befall(&mut packet);
        }
        let Some(at) = ip::header_len(&packet).filter(|_| !self.fragments.is_empty()) else {
            return vec![packet];
        };
        self.fragments.iter().map(|range| fragment(&packet, at, range)).collect()
    }
}

/// Where a datagram is cut, and in which order its fragments come.
fn fragments(random: &mut Random, protocol: u8, len: usize) -> Vec<Range<usize>> {
    // All of the transport's header that has no options is in the first one (RFC 3128).
    let least = if protocol == ip::TCP { 24 } else { 8 };
    let mut fragments = Vec::new();
    let mut start = 0;
    while start < len {
        let rest = len - start;
        let size = if start == 0 { random.between(least, LONGEST) } else { random.between(64, LONGEST) };
        // Short ones are cut as well, but few into many.
        let size = if rest <= LONGEST { size.min(rest / 2).max(least) } else { size } & !7;
        let size = if fragments.len() > 3 { LONGEST } else { size }.min(rest);
        fragments.push(start..start + size);
        start += size;
    }
    if fragments.len() < 2 {
        return Vec::new();
    }
    match random.below(16) {
        0..4 => fragments.reverse(),
        4..7 => fragments.rotate_left(1),
        7..9 => fragments.rotate_right(1),
        9 => fragments.insert(0, fragments[fragments.len() - 1].clone()),
        10 if random.chance(1, 2) => {
            fragments.remove(random.below(fragments.len()));
        }
        // In their order: how one that overlaps is dealt with depends on what had come before it.
        11 if random.chance(1, 2) => {
            let start = random.between(least, len - 1) & !7;
            let at = random.between(1, fragments.len());
            fragments.insert(at, start..(start + 16).min(len));
        }
        _ => {}
    }
    fragments
}

/// One fragment of a packet with `at` bytes of header; options go with the first one.
fn fragment(packet: &[u8], at: usize, range: &Range<usize>) -> Vec<u8> {
    let header = if range.start == 0 { at } else { 20 };
    let payload = &packet[at..];
    let end = range.end.min(payload.len());
    let mut bytes = [&packet[..header], payload.get(range.start..end).unwrap_or_default()].concat();
    bytes[0] = 0x40 + header as u8 / 4;
    let more = if end < payload.len() { MORE_FRAGMENTS } else { 0 };
    let flags = ip::word(packet, 6).unwrap_or_default() & !(OFFSET | MORE_FRAGMENTS);
    ip::set_word(&mut bytes, 6, flags | more | (range.start / 8) as u16);
    ip::finish_header(&mut bytes, header);
    bytes
}

impl Damage {
    fn befall(self, packet: &mut Vec<u8>) {
        let (Some(at), Some(checksum)) = (ip::header_len(packet), ip::checksum_place(packet)) else { return };
        let transport = packet.len() - at;
        match self {
            Damage::HeaderChecksum => spoil(packet, 10),
            Damage::Checksum => spoil(packet, checksum),
            Damage::CutHeader => {
                packet.truncate(at + 5);
                ip::finish_header(packet, at);
            }
            Damage::TooLong => {
                let len = packet.len();
                packet.resize(len + 100, 0);
                ip::finish_header(packet, at);
                packet.truncate(len);
            }
            Damage::HeaderLen => {
                packet[0] = 0x4f;
                packet.truncate(40);
            }
            Damage::TransportLen => {
                match packet[9] {
                    ip::UDP => ip::set_word(packet, at + 4, transport as u16 + 1),
                    ip::TCP => packet[at + 12] = 0x40,
                    // ICMP says nothing of its length.
                    _ => packet.truncate(at + 7),
                }
                ip::finish(packet);
            }
        }
    }
}

/// Makes a checksum wrong, and not zero, by which UDP says that there is none.
fn spoil(packet: &mut [u8], place: usize) {
    let right = ip::word(packet, place);
    ip::set_word(packet, place, if right == Some(0x1234) { 0x4321 } else { 0x1234 });
}

/// What a receiver makes of the frames that arrive: fragments become the datagram that they are of, where it is whole.
pub fn received(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut partials: HashMap<Vec<u8>, Partial> = HashMap::new();
    let mut received = Vec::new();
    for frame in frames {
        let packet = frame.get(ETHERNET_HEADER_LEN..).unwrap_or_default();
        // One that nobody takes for a fragment is told as it is.
        if !ip::is_fragment(packet) || !ip::is_sound(packet) {
            received.push(frame);
            continue;
        }
        // What routers do to one fragment they do to all.
        let common: [&[u8]; 5] =
            [&frame[..ETHERNET_HEADER_LEN], &packet[1..2], &packet[4..6], &packet[8..10], &packet[12..20]];
        received.extend(partials.entry(common.concat()).or_default().take(&frame));
    }
    received
}

/// A datagram of which something has come.
#[derive(Debug, Default)]
struct Partial {
    /// What has come, joined where it can be.
    parts: Vec<Range<usize>>,
    end: Option<usize>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Partial {
    /// Takes the frame of a fragment. Returns that of the datagram, if it is whole now.
    fn take(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let packet = &frame[ETHERNET_HEADER_LEN..];
        let at = ip::header_len(packet)?;
        let word = ip::word(packet, 6)?;
        let start = usize::from(word & OFFSET) * 8;
        let range = start..start + packet.len() - at;
        if start == 0 {
            self.headers = frame[..ETHERNET_HEADER_LEN + at].to_vec();
        }
        self.payload.resize(self.payload.len().max(range.end), 0);
        self.payload[range.clone()].copy_from_slice(&packet[at..]);
        let len = self.add(&range, word & MORE_FRAGMENTS != 0)?;
        let mut whole = [&self.headers[..], &self.payload[..len]].concat();
        let packet = &mut whole[ETHERNET_HEADER_LEN..];
        ip::set_word(packet, 6, word & !(OFFSET | MORE_FRAGMENTS));
        ip::finish_header(packet, self.headers.len() - ETHERNET_HEADER_LEN);
        Some(whole)
    }

    /// Takes note of a fragment. Returns how long the datagram is, if it is whole now.
    fn add(&mut self, range: &Range<usize>, more: bool) -> Option<usize> {
        let holds = |part: &Range<usize>| part.start <= range.start && range.end <= part.end;
        if self.parts.iter().any(holds) {
            return None;
        }
        if self.parts.iter().any(|part| part.start < range.end && range.start < part.end) {
            *self = Partial::default();
            return None;
        }
        self.parts.push(range.clone());
        self.parts.sort_by_key(|part| part.start);
        self.parts.dedup_by(|next, part| {
            let joins = part.end == next.start;
            if joins {
                part.end = next.end;
            }
            joins
        });
        if !more {
            self.end = Some(range.end);
        }
        let end = self.end?;
        let whole = matches!(&self.parts[..], [all] if *all == (0..end));
        if whole {
            self.parts.clear();
            self.end = None;
        }
        whole.then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a UDP packet that is sound.
    fn frame(payload: usize) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0, 0, 64, ip::UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend([0x10, 0, 0, 80]);
        packet.extend((payload as u16 + 8).to_be_bytes());
        packet.extend([0, 1]);
        packet.extend((0..payload).map(|byte| byte as u8));
        ip::finish(&mut packet);
        [&[2; 12][..], &[8, 0], &packet].concat()
    }

    fn arrive(travels: &Travels, frame: &[u8]) -> Vec<Vec<u8>> {
        let sent = travels.sent(frame[ETHERNET_HEADER_LEN..].to_vec());
        received(sent.iter().map(|packet| [&frame[..ETHERNET_HEADER_LEN], packet].concat()).collect())
    }

    #[test]
    fn fragments_become_what_was_cut_in_any_order_unless_one_is_missing_or_overlaps() {
        let frame = frame(100);
        let cut = |fragments: &[Range<usize>]| Travels { damage: None, fragments: fragments.to_vec() };
        for fragments in [
            &[0..8, 8..64, 64..108][..],
            &[64..108, 8..64, 0..8],
            &[8..64, 0..8, 8..64, 64..108],
            &[0..8, 8..64, 8..32, 64..108],
        ] {
            assert_eq!(arrive(&cut(fragments), &frame), std::slice::from_ref(&frame), "{fragments:?}");
            assert!(!cut(fragments).is_lost(108));
        }
        for fragments in [&[0..8, 8..64][..], &[8..64, 64..108], &[0..64, 8..72, 64..108]] {
            assert!(arrive(&cut(fragments), &frame).is_empty(), "{fragments:?}");
            assert!(cut(fragments).is_lost(108));
        }
    }

    #[test]
    fn a_fragment_that_was_treated_otherwise_belongs_to_no_datagram() {
        let frame = frame(100);
        let travels = Travels { damage: None, fragments: vec![0..64, 64..108] };
        let sent = travels.sent(frame[ETHERNET_HEADER_LEN..].to_vec());
        let mut frames: Vec<Vec<u8>> =
            sent.iter().map(|packet| [&frame[..ETHERNET_HEADER_LEN], packet].concat()).collect();
        frames[1][ETHERNET_HEADER_LEN + 8] -= 1;
        ip::finish_header(&mut frames[1][ETHERNET_HEADER_LEN..], 20);
        assert!(received(frames).is_empty());
    }

    #[test]
    fn whatever_is_damaged_is_not_sound() {
        for damage in DAMAGES {
            let travels = Travels { damage: Some(damage), fragments: Vec::new() };
            let [packet] = &travels.sent(frame(100)[ETHERNET_HEADER_LEN..].to_vec())[..] else { panic!() };
            assert!(!ip::is_sound(packet), "{damage:?}");
        }
    }
}
