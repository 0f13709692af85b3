//! What hosts leave to their devices: segments of one connection in a super-frame, and checksums unfinished.
//!
//! The stacks of simulated hosts make plain segments. What one of them sends in one go is joined here as a kernel would not have cut it,
//! and leaves by ports whose device takes that. The other way round this is the judge of what a switch cuts: joined again it must be the
//! super-frame that came.

use pontoon_dataplane::Frame;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::Offloads;

use crate::diff::nat::ip::{set_word, sum, word};

const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
/// Longest IP packet in bytes.
const LONGEST: usize = 65_535;

/// Where things are in a frame with TCP or UDP over IPv4 without options or IPv6 without extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    is_v4: bool,
    protocol: u8,
    transport: usize,
    payload: usize,
    end: usize,
}

impl Layout {
    fn of(frame: &[u8]) -> Option<Layout> {
        let (is_v4, protocol, transport, end) = match frame.get(12..14)? {
            [0x08, 0x00] if word(frame, 20)? & 0x3fff == 0 && frame.get(14) == Some(&0x45) => {
                (true, *frame.get(23)?, 34, 14 + usize::from(word(frame, 16)?))
            }
            [0x86, 0xdd] => (false, *frame.get(20)?, 54, 54 + usize::from(word(frame, 18)?)),
            _ => return None,
        };
        let payload = match protocol {
            TCP => transport + usize::from(frame.get(transport + 12)? >> 4) * 4,
            UDP => transport + 8,
            _ => return None,
        };
        (payload <= end && end <= frame.len()).then_some(Layout { is_v4, protocol, transport, payload, end })
    }

    /// Where the transport's checksum stands behind its header's start.
    fn checksum(&self) -> u16 {
        if self.protocol == TCP { 16 } else { 6 }
    }

    fn field(&self) -> usize {
        self.transport + usize::from(self.checksum())
    }

    /// The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
    fn pseudo_header(&self, frame: &[u8]) -> u16 {
        let addresses = if self.is_v4 { 26..34 } else { 22..54 };
        sum(u32::from(self.protocol) + (self.end - self.transport) as u32, &frame[addresses])
    }
}

/// What a host hands to a device that can be left `offloads`: `frames` are what its stack sends in one go.
pub(super) fn hand_over(frames: Vec<Vec<u8>>, offloads: Offloads) -> Vec<(Vec<u8>, Offload)> {
    let mut handed = Vec::new();
    let mut rest = &frames[..];
    while let Some((first, others)) = rest.split_first() {
        let joined = (2..=rest.len()).map_while(|count| join(&rest[..count])).last();
        match joined.filter(|_| offloads.tso) {
            Some((frame, offload, count)) => {
                handed.push((frame, offload));
                rest = &rest[count..];
            }
            None => {
                handed.push(if offloads.checksum {
                    leave_unfinished(first)
                } else {
                    (first.clone(), Offload::NONE)
                });
                rest = others;
            }
        }
    }
    handed
}

/// A frame whose checksum is left to the device.
fn leave_unfinished(frame: &[u8]) -> (Vec<u8>, Offload) {
    let mut bytes = frame.to_vec();
    let Some(layout) = Layout::of(frame) else { return (bytes, Offload::NONE) };
    set_word(&mut bytes, layout.field(), layout.pseudo_header(frame));
    let (csum_start, csum_offset) = (layout.transport as u16, layout.checksum());
    (bytes, Offload { needs_checksum: true, csum_start, csum_offset, ..Offload::NONE })
}

/// The super-frame of consecutive segments, and of how many; none: they do not make one.
fn join(segments: &[impl AsRef<[u8]>]) -> Option<(Vec<u8>, Offload, usize)> {
    let first = segments.first()?.as_ref();
    let layout = Layout::of(first).filter(|layout| layout.protocol == TCP)?;
    let size = layout.end - layout.payload;
    let mut bytes = first[..layout.end].to_vec();
    let mut seq = sequence(first, layout.transport);
    for (number, segment) in segments.iter().map(AsRef::as_ref).enumerate() {
        let its = Layout::of(segment)?;
        let len = its.end - its.payload;
        let is_last = number + 1 == segments.len();
        let flags = segment[its.transport + 13];
        let fits = sequence(segment, its.transport) == seq
            && headers(segment, &its) == headers(first, &layout)
            && (len == size || is_last && (1..size).contains(&len))
            && (is_last || flags & (FIN | PSH) == 0)
            && bytes.len() + len <= LONGEST;
        if !fits || size == 0 {
            return None;
        }
        seq = seq.wrapping_add(len as u32);
        if number > 0 {
            bytes.extend_from_slice(&segment[its.payload..its.end]);
            bytes[layout.transport + 13] |= flags;
        }
    }
    let total = bytes.len();
    if layout.is_v4 {
        set_word(&mut bytes, 16, (total - 14) as u16);
        set_word(&mut bytes, 24, 0);
        let header = !sum(0, &bytes[14..34]);
        set_word(&mut bytes, 24, header);
    } else {
        set_word(&mut bytes, 18, (total - 54) as u16);
    }
    let (bytes, partial) = leave_unfinished(&bytes);
    let gso = if layout.is_v4 { Gso::TcpV4 } else { Gso::TcpV6 };
    let offload = Offload { gso, gso_size: size as u16, header_len: layout.payload as u16, ..partial };
    Some((bytes, offload, segments.len()))
}

fn sequence(frame: &[u8], transport: usize) -> u32 {
    u32::from_be_bytes([4, 5, 6, 7].map(|at| frame[transport + at]))
}

/// What all segments of a super-frame have in common: all headers without lengths, identification, checksums, sequence number and the
/// flags that only the last one has.
fn headers(frame: &[u8], layout: &Layout) -> Vec<u8> {
    let mut headers = frame[..layout.payload].to_vec();
    let ip: &[usize] = if layout.is_v4 { &[16, 18, 24] } else { &[18] };
    let own = [layout.transport + 4, layout.transport + 6, layout.field()];
    ip.iter().chain(&own).for_each(|&at| set_word(&mut headers, at, 0));
    headers[layout.transport + 13] &= !(FIN | PSH);
    headers
}

/// Whether a device that was left something has been given `frames` in the place of `whole`.
pub(super) fn is_cut_right(whole: &Frame<'_>, frames: &[Vec<u8>]) -> bool {
    let joined;
    let again = match frames {
        [only] => only,
        _ => match join(frames) {
            Some((frame, offload, _)) if offload.gso_size == whole.offload.gso_size => {
                joined = frame;
                &joined
            }
            _ => return false,
        },
    };
    match (Layout::of(whole.bytes), Layout::of(again)) {
        (Some(layout), Some(its)) => {
            let without_sums = |frame: &[u8]| {
                let mut bytes = frame[..layout.end].to_vec();
                let places = [if layout.is_v4 { 24 } else { layout.field() }, layout.field()];
                places.iter().for_each(|&at| set_word(&mut bytes, at, 0));
                bytes
            };
            layout == its && without_sums(whole.bytes) == without_sums(again)
        }
        (whole, again) => whole == again,
    }
}

/// The frame as the receiving stack sees it when its device has been left the rest.
///
/// # Errors
/// What is wrong with it.
pub(super) fn receive(bytes: &[u8], offload: Offload) -> Result<Vec<u8>, String> {
    let mut bytes = bytes.to_vec();
    if !offload.needs_checksum {
        return if offload.is_super_frame() {
            Err("a super-frame with a checksum".into())
        } else {
            Ok(bytes)
        };
    }
    let layout = Layout::of(&bytes).ok_or("a checksum is left open where there is none")?;
    let place = (layout.transport as u16, layout.checksum());
    if (offload.csum_start, offload.csum_offset) != place {
        return Err(format!(
            "the checksum is said to be at {:?}, and is at {place:?}",
            (offload.csum_start, offload.csum_offset)
        ));
    }
    if offload.gso == Gso::None && layout.end - 14 > 1500 {
        return Err(format!("a plain frame of {} bytes", layout.end));
    }
    let checksum = !sum(0, &bytes[layout.transport..layout.end]);
    set_word(&mut bytes, layout.field(), if checksum == 0 { 0xffff } else { checksum });
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    /// A TCP segment.
    fn segment(is_v4: bool, seq: u32, payload: &[u8], push: bool) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = match is_v4 {
            true => ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
            false => ethernet.ipv6([1; 16], [2; 16], 64),
        };
        let builder = builder.tcp(80, 4000, seq, 512).ack(1);
        let mut bytes = Vec::new();
        if push { builder.psh() } else { builder }.write(&mut bytes, payload).unwrap();
        bytes
    }

    #[test]
    fn segments_become_a_super_frame_and_what_is_cut_otherwise_is_noticed() {
        for is_v4 in [true, false] {
            let frames = vec![
                segment(is_v4, 5, &[1; 100], false),
                segment(is_v4, 105, &[2; 100], false),
                segment(is_v4, 205, &[3; 50], true),
                segment(is_v4, 255, &[4; 100], false),
            ];
            let handed = hand_over(frames.clone(), Offloads::ALL);
            let [(whole, offload), (alone, left)] = &handed[..] else { panic!("{handed:?}") };
            assert_eq!((offload.gso_size, left.gso), (100, Gso::None));
            let frame = Frame { bytes: whole, offload: *offload };
            assert!(is_cut_right(&frame, &frames[..3]));
            // The receiver's own device finishes what was left.
            assert_eq!(receive(alone, *left).unwrap(), frames[3]);
            let mut broken = frames[..3].to_vec();
            broken[2] = segment(is_v4, 205, &[3; 50], false);
            assert!(!is_cut_right(&frame, &broken), "PSH is lost");
            broken[2] = segment(is_v4, 206, &[3; 50], true);
            assert!(!is_cut_right(&frame, &broken), "another place");
            assert!(!is_cut_right(&frame, &frames[..2]));
            let plain = hand_over(frames.clone(), Offloads::NONE);
            assert!(
                plain
                    .iter()
                    .zip(&frames)
                    .all(|((bytes, offload), frame)| { bytes == frame && *offload == Offload::NONE })
            );
        }
    }
}
