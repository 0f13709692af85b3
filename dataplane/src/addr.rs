//! MAC addresses.

use core::fmt;
use core::str::FromStr;
use std::net::Ipv4Addr;

/// An Ethernet (EUI-48) address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

/// The text was not six hexadecimal bytes with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address; write it as 02:42:0a:00:00:02")]
pub struct MacParseError(String);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// `00:00:00:00:00:00`, never a valid source.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// Docker's convention: `02:42` and then the four bytes of the IPv4 address.
    pub fn from_ipv4(address: Ipv4Addr) -> MacAddr {
        let [a, b, c, d] = address.octets();
        MacAddr([0x02, 0x42, a, b, c, d])
    }

    /// The address that starts `bytes`.
    ///
    /// # Panics
    /// When `bytes` holds fewer than six; callers check the frame's length first.
    #[inline]
    pub fn from_prefix(bytes: &[u8]) -> MacAddr {
        MacAddr([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
    }

    /// Group bit set: multicast, broadcast included (IEEE 802, first bit on the wire).
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All six bytes are `ff`.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == MacAddr::BROADCAST
    }

    /// A station's own address: neither a group nor all zero (`is_valid_ether_addr` of the kernel).
    #[inline]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != MacAddr::ZERO
    }

    /// `01:80:c2:00:00:01` to `:0f`: never forwarded by a bridge. `:00` is missing on purpose: with
    /// the spanning tree protocol off a kernel bridge forwards it (net/bridge/br_input.c, `br_handle_frame`).
    #[inline]
    pub fn is_reserved_link_local(self) -> bool {
        self.0[..5] == [0x01, 0x80, 0xc2, 0x00, 0x00] && (1..=0x0f).contains(&self.0[5])
    }

    /// The address as the low 48 bits of a word, first byte highest.
    #[inline]
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The inverse of [`MacAddr::to_u64`]; the high 16 bits are ignored.
    #[inline]
    pub fn from_u64(word: u64) -> MacAddr {
        let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
        MacAddr([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || MacParseError(text.to_owned());
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(part.ok_or_else(refuse)?, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() { Err(refuse()) } else { Ok(MacAddr(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_refusals() {
        let mac: MacAddr = "02:42:0A:00:00:02".parse().unwrap();
        assert_eq!(mac, MacAddr::from_ipv4(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(mac.to_string(), "02:42:0a:00:00:02");
        assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
        for bad in [
            "",
            "02:42:0a:00:00",
            "02:42:0a:00:00:02:03",
            "2:42:0a:00:00:02",
            "+2:42:0a:00:00:02",
            "02-42-0a-00-00-02",
        ] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_groups_are_01_to_0f() {
        let group = |last| MacAddr([0x01, 0x80, 0xc2, 0, 0, last]);
        assert!(!group(0x00).is_reserved_link_local());
        assert!((0x01..=0x0f).all(|last| group(last).is_reserved_link_local()));
        assert!(!group(0x10).is_reserved_link_local());
    }
}
