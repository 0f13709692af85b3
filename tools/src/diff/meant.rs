//! Where pontoon differs from the kernel's bridge on purpose, and where the kernel's bridge here is not itself.
//!
//! Frames that such a difference is about are left out of a comparison, and counted. Each difference has a script of its own that shows
//! it, and a test plays them all: one that is not there any more has no business in this list.

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::frame::{ETHERNET_HEADER_LEN, VLAN_TAG_LEN, ethertype};

use super::frames::{Content, Station, ethernet};
use super::script::{Event, Script};
use super::wires::{mtu, port_mac};

/// A difference that is meant.
#[derive(Debug)]
pub struct Meant {
    /// A short name.
    pub name: &'static str,
    /// What each does, and why pontoon's way is kept.
    pub reason: &'static str,
    /// Whether it is about a frame.
    about: fn(&Headers) -> bool,
    /// What shows it on ports 0 to 3.
    pub example: fn() -> Script,
}

/// All of them.
pub const ALL: &[Meant] = &[
    Meant {
        name: "too many tags",
        reason: "Pontoon looks through tags up to the eighth, for its guard must see what is behind them; the kernel without VLAN \
                 filtering sees none and passes any number.",
        about: |headers| headers.tags > MAX_TAGS || headers.is_cut_in_tag,
        example: || vec![frame(0, MacAddr::BROADCAST, &[(0x8100, 5); MAX_TAGS + 1], &[0; 46])],
    },
    Meant {
        name: "four bytes more",
        reason: "The kernel lets a frame out that is four bytes larger than the port's MTU allows, room for one tag, tagged or not, and \
                 counts every tag but the first one as payload. Pontoon counts the packet alone.",
        about: |headers| headers.is_near_limit(),
        example: || vec![frame(2, MacAddr::BROADCAST, &[], &[0; 1502])],
    },
    Meant {
        name: "a full frame with a service tag",
        reason: "A packet socket, which pontoon sends by, has room beyond the MTU for one 802.1Q tag and no other (net/packet/af_packet.c, \
                 packet_extra_vlan_len_allowed): what is larger with its tags is dropped by name at such a port (too-big). The kernel's \
                 bridge takes no such way out.",
        about: |headers| headers.is_too_much_for_socket(),
        example: || vec![frame(2, MacAddr::BROADCAST, &[(0x88a8, 5)], &[0; 1500])],
    },
    Meant {
        name: "pause frames",
        reason: "The kernel drops them before it learns where they came from, pontoon after that. They are for the next MAC alone, which \
                 takes them before any bridge sees them.",
        about: |headers| headers.dst == PAUSE,
        example: || {
            let to_station = frame(1, station(0).mac, &[], &[0; 46]);
            vec![frame(0, PAUSE, &[], &[0; 46]), to_station]
        },
    },
    Meant {
        name: "PPPoE cut short",
        reason: "br_netfilter, where the kernel has it, drops a PPPoE frame that is too short for its header even when it is told to leave \
                 frames alone (br_nf_pre_routing). Pontoon has no business in there.",
        about: |headers| headers.ethertype == PPPOE_SESSION && headers.payload_len < PPPOE_HEADER_LEN,
        example: || {
            let content = Content { ethertype: PPPOE_SESSION, payload: vec![0x11, 0, 0, 1], group: None };
            let bytes = ethernet(MacAddr::BROADCAST, station(0).mac, &[], &content);
            vec![Event::plain(0, bytes)]
        },
    },
    Meant {
        name: "a port's own MAC",
        reason: "The kernel takes a frame to the MAC of any of its ports for the host's own. On pontoon's packet ports the host neither hears \
                 nor answers, so nobody has that address but whoever is seen to use it: the frame is looked up, and flooded.",
        about: |headers| headers.has_port_mac(),
        example: || vec![frame(0, port_mac(1), &[], &[0; 46])],
    },
];

/// How many tags pontoon looks through (`EthernetView::parse`).
const MAX_TAGS: usize = 8;
/// Where pause frames go (IEEE 802.3, annex 31B).
const PAUSE: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x01]);
const PPPOE_SESSION: u16 = 0x8864;
/// The header, and the protocol behind it (kernel: PPPOE_SES_HLEN).
const PPPOE_HEADER_LEN: usize = 8;

/// The first difference that a frame is about, if there is any.
pub fn of(bytes: &[u8]) -> Option<&'static Meant> {
    let headers = Headers::of(bytes)?;
    ALL.iter().find(|meant| (meant.about)(&headers))
}

/// What differences are about, read without the code that they are about.
#[derive(Debug)]
struct Headers {
    dst: MacAddr,
    src: MacAddr,
    len: usize,
    /// The type behind the MACs.
    outer: u16,
    tags: usize,
    is_cut_in_tag: bool,
    ethertype: u16,
    payload_len: usize,
}

impl Headers {
    fn of(bytes: &[u8]) -> Option<Headers> {
        let (dst, src) = (MacAddr(*bytes.first_chunk()?), MacAddr(*bytes.get(6..)?.first_chunk()?));
        let (mut at, mut tags) = (12, 0);
        let (ethertype, is_cut_in_tag) = loop {
            match bytes.get(at..at + 2) {
                Some([high, low]) => match u16::from_be_bytes([*high, *low]) {
                    ethertype::VLAN | ethertype::SERVICE_VLAN => (at, tags) = (at + VLAN_TAG_LEN, tags + 1),
                    other => break (other, false),
                },
                _ => break (0, tags > 0),
            }
        };
        let outer = bytes.get(12..14).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
        let payload_len = bytes.len().saturating_sub(at + 2);
        Some(Headers { dst, src, len: bytes.len(), outer, tags, is_cut_in_tag, ethertype, payload_len })
    }

    /// Whether what the kernel counts and what pontoon counts may lie on different sides of a port's MTU.
    fn is_near_limit(&self) -> bool {
        [0, 2].iter().any(|&port| {
            let mtu = usize::from(mtu(port));
            let by_kernel =
                self.len - VLAN_TAG_LEN * self.tags.min(1) <= mtu + ETHERNET_HEADER_LEN + VLAN_TAG_LEN;
            let by_pontoon = self.payload_len <= mtu;
            by_kernel != by_pontoon
        })
    }

    fn is_too_much_for_socket(&self) -> bool {
        let room = ETHERNET_HEADER_LEN + if self.outer == ethertype::VLAN { VLAN_TAG_LEN } else { 0 };
        [0, 2].iter().any(|&port| {
            let mtu = usize::from(mtu(port));
            self.payload_len <= mtu && self.len > mtu + room
        })
    }

    fn has_port_mac(&self) -> bool {
        let prefix = &port_mac(0).0[..5];
        self.dst.0.starts_with(prefix) || self.src.0.starts_with(prefix)
    }
}

fn station(port: usize) -> Station {
    Station::new(port as u16 + 2, port)
}

/// A frame from the station behind `port`.
fn frame(port: usize, dst: MacAddr, tags: &[(u16, u16)], payload: &[u8]) -> Event {
    let content = Content { ethertype: 0x88b6, payload: payload.to_vec(), group: None };
    Event::plain(port, ethernet(dst, station(port).mac, tags, &content))
}
