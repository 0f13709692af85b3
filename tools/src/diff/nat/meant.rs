//! Where pontoon's NAT differs from the kernel's on purpose. Flows of the generator have nothing of this but where [`super::compare`]
//! makes the two alike; each difference has a flow of its own that shows it, and a test plays them all.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::flows::{Flow, Sent, Step, remote};
use super::ip;
use super::labs::endpoint;
use super::travels::Travels;

/// A difference that is meant.
#[derive(Debug)]
pub struct Meant {
    /// A short name.
    pub name: &'static str,
    /// What each does, and why pontoon's way is kept.
    pub reason: &'static str,
    /// Shown between labs that nobody has made alike; otherwise it is there all the same.
    pub plain: bool,
    /// Packets from inside that show it.
    steps: fn() -> Vec<Vec<u8>>,
    /// The fragments that they travel in.
    fragments: &'static [Range<usize>],
}

impl Meant {
    /// A flow that shows it.
    pub fn example(&self) -> Flow {
        let travels = Travels { damage: None, fragments: self.fragments.to_vec() };
        let sent = |packet| Sent { step: Step::Out(packet), travels: travels.clone() };
        let steps = (self.steps)().into_iter().map(sent).collect();
        Flow { number: 1, inside: 0, published: false, far: 80, steps }
    }
}

/// All of them.
pub const ALL: &[Meant] = &[
    Meant {
        name: "what belongs to no connection",
        reason: "With Docker's rules the kernel forwards what its connection tracking finds invalid as it is, with the endpoint's own address \
                 for a source. Pontoon drops it (no-session). In comparisons the kernel has one rule more: INVALID is dropped.",
        plain: true,
        fragments: &[],
        steps: || {
            vec![packet(
                ip::TCP,
                64,
                0,
                0,
                &[0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x12, 1, 0, 0, 0, 0, 0],
            )]
        },
    },
    Meant {
        name: "how a router marks its own errors",
        reason: "The kernel gives them the type of service of the packet that they are about, with precedence 6 (RFC 1812). Pontoon marks all of \
                 them class selector 6 (RFC 2474), which took the place of that field. Identifications are each router's own as well.",
        plain: true,
        fragments: &[],
        steps: || vec![packet(ip::UDP, 1, 0x10, 0, &[0x10, 0, 0, 80, 0, 8, 0, 1])],
    },
    Meant {
        name: "fragments",
        reason: "Connection tracking puts a datagram together before it decides, and takes it apart again. Pontoon translates each fragment as it \
                 comes, and lets those wait that come before the first. What receivers put together is compared.",
        plain: true,
        fragments: &[],
        steps: || {
            vec![packet(ip::UDP, 64, 0, 0x2000, &[0x10, 0, 0, 80, 0, 32, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])]
        },
    },
    Meant {
        name: "other protocols",
        reason: "The kernel translates the addresses of any protocol, for one endpoint at a time if it has no ports. Pontoon translates TCP, UDP and \
                 ICMP echo, and drops the rest by name (edge-protocol).",
        plain: true,
        fragments: &[],
        steps: || vec![packet(253, 64, 0, 0, &[1, 2, 3, 4])],
    },
    Meant {
        name: "other queries of ICMP",
        reason: "The kernel translates timestamp, information and address mask queries, which nobody uses any more. Pontoon knows echo.",
        plain: true,
        fragments: &[],
        steps: || {
            vec![packet(ip::ICMP, 64, 0, 0, &[13, 0, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]
        },
    },
    Meant {
        name: "wrong checksums",
        reason: "Connection tracking finds a packet with a wrong transport checksum invalid. Pontoon looks at no payload: what was wrong stays as \
                 wrong, and its receiver drops it: that is compared.",
        plain: true,
        fragments: &[],
        steps: || {
            let mut packet = packet(ip::UDP, 64, 0, 0, &[0x10, 0, 0, 80, 0, 8, 0, 1]);
            let place = ip::checksum_place(&packet).unwrap_or_default();
            ip::set_word(&mut packet, place, 0x1234);
            vec![packet]
        },
    },
    Meant {
        name: "first fragments without a whole header",
        reason: "Connection tracking has put the datagram together before it looks. Pontoon reads ports and flags in the first fragment, and drops one \
                 that is too short for them (edge-malformed; RFC 1858, RFC 3128): no honest sender makes any.",
        plain: false,
        fragments: &[0..8, 8..24],
        steps: || vec![packet(ip::TCP, 64, 0, 0, &ACKNOWLEDGED)],
    },
    Meant {
        name: "fragments that overwrite TCP's header",
        reason: "To the kernel the datagram overlaps, and nothing is left of it. Pontoon drops the one fragment by name (edge-malformed; RFC 3128), \
                 and the receiver gets the others.",
        plain: false,
        fragments: &[0..24, 8..32, 24..32],
        steps: || vec![packet(ip::TCP, 64, 0, 0, &[&ACKNOWLEDGED[..], &[7; 8]].concat())],
    },
    Meant {
        name: "overlapping fragments before the first",
        reason: "The kernel forgets the datagram when they come. In pontoon they wait for the first, which goes before them: if the datagram is whole \
                 then, its receiver takes it, and what overlaps comes too late. Ports cannot be overwritten.",
        plain: false,
        fragments: &[16..32, 8..24, 0..16],
        steps: || vec![packet(ip::UDP, 64, 0, 0, &[&[0x10, 0, 0, 80, 0, 32, 0, 0][..], &[7; 24]].concat())],
    },
    Meant {
        name: "errors about what came in fragments",
        reason: "The kernel quotes the datagram that it has put together. Pontoon quotes the first fragment, as routers do.",
        plain: false,
        fragments: &[0..16, 16..32],
        steps: || vec![packet(ip::UDP, 1, 0, 0, &[&[0x10, 0, 0, 80, 0, 32, 0, 0][..], &[7; 24]].concat())],
    },
];

/// A segment of a connection that began before the NAT did.
const ACKNOWLEDGED: [u8; 24] =
    [0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];

/// A packet of the flow's endpoint. `fragment` is the word of flags and offset.
fn packet(protocol: u8, ttl: u8, tos: u8, fragment: u16, transport: &[u8]) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    let mut packet = vec![0x45, tos, 0, 0, 0x12, 0x34, high, low, ttl, protocol, 0, 0];
    let (src, dst): (Ipv4Addr, Ipv4Addr) = (endpoint(0), remote(1));
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(transport);
    ip::finish(&mut packet);
    packet
}
