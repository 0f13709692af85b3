//! What leaves translated has right checksums, whatever is kept: so a case cannot be blessed wrong. The sums are etherparse's.

use std::collections::BTreeMap;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header};
use libtest_mimic::Failed;
use pontoon_dataplane::PortId;

use super::Capture;

/// Fails when more packets leave with wrong checksums than came in with such.
pub(crate) fn check(
    came: &BTreeMap<PortId, Capture>,
    left: &BTreeMap<PortId, Capture>,
) -> Result<(), Failed> {
    let wrong = |captures: &BTreeMap<PortId, Capture>| -> Vec<String> {
        let all = captures.iter().flat_map(|(port, frames)| (1..).zip(frames).map(move |it| (port, it)));
        let wrong =
            all.filter(|(_, (_, (_, bytes)))| bytes.get(12..14) == Some(&[8, 0]) && !is_sound(&bytes[14..]));
        wrong.map(|(port, (number, _))| format!("frame {number} of {port}")).collect()
    };
    let (before, after) = (wrong(came), wrong(left));
    if after.len() <= before.len() {
        return Ok(());
    }
    Err(format!("wrong checksums leave: {}; in came: {}", after.join(", "), before.join(", ")).into())
}

/// Whether every checksum of an IPv4 packet is right, or left to a device, as far as the packet is there: a fragment and a quote that
/// is cut cannot be held against theirs.
fn is_sound(packet: &[u8]) -> bool {
    let Ok((header, rest)) = Ipv4Header::from_slice(packet) else { return false };
    let payload = &rest[..rest.len().min(usize::from(header.total_len) - header.header_len())];
    let is_whole = usize::from(header.total_len) <= packet.len() && !header.is_fragmenting_payload();
    header.header_checksum == header.calc_header_checksum()
        && (!is_whole || payload_is_sound(&header, payload))
}

fn payload_is_sound(header: &Ipv4Header, payload: &[u8]) -> bool {
    let pseudo = Sum16BitWords::new()
        .add_slice(&header.source)
        .add_slice(&header.destination)
        .add_2bytes([0, header.protocol.0])
        .add_2bytes((payload.len() as u16).to_be_bytes());
    // Over what includes its own complement, a sum is all ones, and the complement of that is zero.
    let holds = |sum: Sum16BitWords| sum.add_slice(payload).ones_complement() == 0;
    // What a sender leaves to its device; etherparse sums words as they lie in memory.
    let partial = (!pseudo.ones_complement()).to_ne_bytes();
    match header.protocol {
        IpNumber::TCP => payload[16..18] == partial || holds(pseudo),
        IpNumber::UDP => payload[6..8] == [0, 0] || payload[6..8] == partial || holds(pseudo),
        IpNumber::ICMP => {
            let quotes = matches!(payload[0], 3 | 4 | 11 | 12);
            holds(Sum16BitWords::new()) && (!quotes || is_sound(&payload[8..]))
        }
        _ => true,
    }
}
