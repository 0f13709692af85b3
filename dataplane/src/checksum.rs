//! Internet checksums (RFC 1071), complete and incremental (RFC 1624).
//!
//! A [`Sum`] is the ones' complement sum as a number in network byte order; the checksum on the wire is
//! its complement. The sum of a range that starts at an even offset may be added to any other.

use core::ops::Add;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::verdict::DropReason;

/// A ones' complement sum of 16-bit words, not yet complemented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// The sum of `bytes`; an odd last byte counts as the high half of a word.
    pub fn of(bytes: &[u8]) -> Sum {
        // Words are added as they lie in memory, 64 bits at a time with all carries above them, and bytes are swapped once at the
        // end (RFC 1071, section 2 B): an addition and one with carry for eight bytes, which vector registers do not beat.
        let (pairs, rest) = bytes.as_chunks::<16>();
        let (mut even, mut odd) = (0u128, 0u128);
        for pair in pairs {
            let (words, _) = pair.as_chunks::<8>();
            even += u128::from(u64::from_ne_bytes(words[0]));
            odd += u128::from(u64::from_ne_bytes(words[1]));
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let (words, _) = last.as_chunks::<8>();
        let total =
            even + odd + u128::from(u64::from_ne_bytes(words[0])) + u128::from(u64::from_ne_bytes(words[1]));
        let (sum, carry) = ((total >> 64) as u64).overflowing_add(total as u64);
        Sum(u16::from_be(fold(sum + u64::from(carry))))
    }

    /// The sum of one word, in the machine's byte order: a length, a port, a protocol number.
    #[inline]
    pub fn word(word: u16) -> Sum {
        Sum(word)
    }

    /// As [`Sum::of`], for few bytes of a length that the compiler knows and that is a multiple of four: a header.
    #[inline]
    pub fn of_header<const N: usize>(header: &[u8; N]) -> Sum {
        const { assert!(N.is_multiple_of(4)) };
        let mut total = 0;
        for word in header.as_chunks::<4>().0 {
            total += u64::from(u32::from_ne_bytes(*word));
        }
        Sum(u16::from_be(fold(total)))
    }

    /// The pseudo-header of TCP and UDP over IPv4 (RFC 9293, section 3.1); `length` counts the transport header
    /// and its payload.
    pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
        Sum::of(&source.octets()) + Sum::of(&destination.octets()) + Sum(u16::from(protocol)) + Sum(length)
    }

    /// The pseudo-header of any transport over IPv6 (RFC 8200, section 8.1); `length` counts the transport
    /// header and its payload, without extension headers.
    pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u32) -> Sum {
        Sum::of(&source.octets())
            + Sum::of(&destination.octets())
            + Sum(u16::from(protocol))
            + Sum(fold(u64::from(length)))
    }

    /// The sum itself, as a partial checksum field holds it.
    #[inline]
    pub fn partial(self) -> u16 {
        self.0
    }

    /// The checksum: the sum's complement.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.0
    }

    /// What a range adds to the sum of a greater one when every byte of it is zeroed; to be followed by the sum of what
    /// is there instead.
    #[inline]
    #[must_use]
    pub fn negated(self) -> Sum {
        Sum(!self.0)
    }

    /// The sum that belongs to a checksum.
    #[inline]
    pub fn from_checksum(checksum: u16) -> Sum {
        Sum(!checksum)
    }

    /// The sum after a word of its range changed from `old` to `new`.
    #[inline]
    #[must_use]
    pub fn replaced(self, old: u16, new: u16) -> Sum {
        self + Sum(!old) + Sum(new)
    }
}

impl Add for Sum {
    type Output = Sum;

    #[inline]
    fn add(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u16::from(carry))
    }
}

/// By how much a sum changes when words of its range do (RFC 1624, equation 3, for many words at once): words as they lie in memory, their
/// carries above them, so that each costs an addition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes(u64);

impl Changes {
    /// Nothing changes.
    pub const NONE: Changes = Changes(0);

    /// A word at a place that is a multiple of two becomes another one.
    #[inline]
    pub fn of(old: [u8; 4], new: [u8; 4]) -> Changes {
        Changes(u64::from(!u32::from_ne_bytes(old)) + u64::from(u32::from_ne_bytes(new)))
    }

    /// The same, for half a word.
    #[inline]
    pub fn of_half(old: [u8; 2], new: [u8; 2]) -> Changes {
        Changes(u64::from(!u16::from_ne_bytes(old)) + u64::from(u16::from_ne_bytes(new)))
    }

    /// The checksum after the changes. It becomes 0xffff, which stands for a sum of zero, only when everything is zero.
    #[inline]
    pub fn checksum(self, before: [u8; 2]) -> [u8; 2] {
        let sum = !u16::from_ne_bytes(before);
        (!fold(self.0 + u64::from(sum))).to_ne_bytes()
    }

    /// The sum after the changes, as a partial checksum field holds it.
    #[inline]
    pub fn partial(self, before: [u8; 2]) -> [u8; 2] {
        fold(self.0 + u64::from(u16::from_ne_bytes(before))).to_ne_bytes()
    }
}

impl Add for Changes {
    type Output = Changes;

    #[inline]
    fn add(self, other: Changes) -> Changes {
        // A packet changes in few places, and there is room for four billion.
        Changes(self.0 + other.0)
    }
}

/// Brings a sum down to 16 bits, carries added in.
#[inline]
fn fold(total: u64) -> u16 {
    // After a carry the sum is less than its greatest: adding it in gives no other.
    let (sum, carry) = ((total >> 32) as u32).overflowing_add(total as u32);
    let sum = sum + u32::from(carry);
    let (sum, carry) = ((sum >> 16) as u16).overflowing_add(sum as u16);
    sum + u16::from(carry)
}

/// The checksum of `bytes`; 0 for a range that holds a right one.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).checksum()
}

/// The checksum after a word of its range changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum).replaced(old, new).checksum()
}

/// Completes a partial checksum: the field at `csum_start + csum_offset` holds the pseudo-header's sum, the
/// range goes from `csum_start` to the frame's end. A result of 0 is written as 0xffff, which means the same and is
/// what UDP demands, for to UDP 0 says "no checksum" (kernel: net/core/dev.c, `skb_checksum_help`).
///
/// # Errors
/// [`DropReason::MalformedOffload`] when the field does not lie inside the frame.
pub fn complete(frame: &mut [u8], csum_start: usize, csum_offset: usize) -> Result<(), DropReason> {
    let range = frame.get_mut(csum_start..).ok_or(DropReason::MalformedOffload)?;
    let sum = match Sum::of(range).checksum() {
        0 => 0xffff,
        sum => sum,
    };
    let field = range.get_mut(csum_offset..).and_then(|rest| rest.first_chunk_mut::<2>());
    *field.ok_or(DropReason::MalformedOffload)? = sum.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::{IpProtocol, checksum as smoltcp_checksum};

    /// RFC 1071, section 1, word for word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for word in bytes.chunks(2) {
            sum += u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).partial(), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: where equation 2 gives 0xffff, equation 3 gives 0x0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn the_largest_sum_has_room() {
        assert_eq!(Sum::of(&vec![0xff; 70_000]).partial(), 0xffff);
        assert_eq!(Sum::of(&[]).partial(), 0);
    }

    #[test]
    fn completing_outside_of_the_frame_is_an_error() {
        let mut frame = [0u8; 20];
        assert_eq!(complete(&mut frame, 2, 16), Ok(()));
        assert_eq!(complete(&mut frame, 3, 16), Err(DropReason::MalformedOffload));
        assert_eq!(complete(&mut frame, 21, 0), Err(DropReason::MalformedOffload));
        assert_eq!(complete(&mut frame, usize::MAX, usize::MAX), Err(DropReason::MalformedOffload));
    }

    #[test]
    fn a_result_of_zero_is_written_as_all_ones() {
        let mut frame = [0xff, 0xff, 0, 0];
        complete(&mut frame, 0, 2).unwrap();
        assert_eq!(frame, [0xff, 0xff, 0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::of(&bytes).partial(), naive(&bytes));
            prop_assert_eq!(Sum::of(&bytes).partial(), smoltcp_checksum::data(&bytes));
            if let Some(header) = bytes.first_chunk::<20>() {
                prop_assert_eq!(Sum::of_header(header).partial(), naive(header));
            }
        }

        #[test]
        fn parts_add_up(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..100) {
            let (head, tail) = bytes.split_at((2 * at).min(bytes.len() & !1));
            prop_assert_eq!((Sum::of(head) + Sum::of(tail)).partial(), naive(&bytes));
        }

        #[test]
        fn pseudo_headers_agree_with_smoltcp(
            v4 in any::<[u32; 2]>(), v6 in any::<[u128; 2]>(), protocol in any::<u8>(), length in any::<u16>(),
        ) {
            let (source, destination) = (Ipv4Addr::from(v4[0]), Ipv4Addr::from(v4[1]));
            let theirs = smoltcp_checksum::pseudo_header_v4(
                &source, &destination, IpProtocol::from(protocol), u32::from(length));
            prop_assert_eq!(Sum::pseudo_v4(source, destination, protocol, length).partial(), theirs);
            let (source, destination) = (Ipv6Addr::from(v6[0]), Ipv6Addr::from(v6[1]));
            let theirs = smoltcp_checksum::pseudo_header_v6(
                &source, &destination, IpProtocol::from(protocol), u32::from(length));
            prop_assert_eq!(Sum::pseudo_v6(source, destination, protocol, u32::from(length)).partial(), theirs);
        }

        #[test]
        fn incremental_equals_anew(
            mut bytes in prop::collection::vec(any::<u8>(), 4..100), at in 0usize..48, new in any::<u16>(),
        ) {
            // Never all zero: RFC 1624 leaves open which of the two zeros that case gives.
            bytes.extend([0, 1]);
            let at = (2 * at).min((bytes.len() & !1) - 4);
            let before = checksum(&bytes);
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), checksum(&bytes));
        }

        #[test]
        fn changes_equal_anew(
            mut bytes in prop::collection::vec(any::<u8>(), 8..100), at in 0usize..48, new in any::<[u8; 4]>(),
            half in any::<[u8; 2]>(),
        ) {
            bytes.extend([0, 1]);
            let at = (2 * at).min((bytes.len() & !1) - 8);
            let (before, sum) = (checksum(&bytes).to_be_bytes(), Sum::of(&bytes).partial().to_be_bytes());
            let (old, rest) = bytes[at..].split_first_chunk_mut::<4>().unwrap();
            let old_half = rest.first_chunk_mut::<2>().unwrap();
            let changes = Changes::of(*old, new) + Changes::of_half(*old_half, half);
            (*old, *old_half) = (new, half);
            prop_assert_eq!(changes.checksum(before), checksum(&bytes).to_be_bytes());
            prop_assert_eq!(changes.partial(sum), Sum::of(&bytes).partial().to_be_bytes());
        }

        #[test]
        fn a_completed_range_verifies(
            mut frame in prop::collection::vec(any::<u8>(), 20..200), start in 0usize..10, offset in 0usize..4,
            pseudo in any::<u16>(),
        ) {
            let offset = 2 * offset;
            frame[start + offset..start + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
            complete(&mut frame, start, offset).unwrap();
            let sum = Sum::word(pseudo) + Sum::of(&frame[start..]);
            prop_assert_eq!(sum.checksum(), 0);
        }
    }
}
