//! A machine outside without a kernel: it sends what the test writes and nothing else, and nobody answers for it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use pontoon::link::Links;
use pontoon_dataplane::MacAddr;
use pontoon_tools::lab::Namespace;
use pontoon_tools::outside::{HOST, UPLINK};
use pontoon_tools::peek::Peek;

use crate::daemon::PATIENCE;
use crate::edge::{Edge, try_connect};
use crate::frames::{Segment, ethernet, flag, segment, tcp};

/// Its address: behind the machine outside, which takes frames for it and thinks nothing of them.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

/// The machine.
#[derive(Debug)]
pub(crate) struct Remote {
    wire: Peek,
    own: MacAddr,
    host: MacAddr,
}

impl Remote {
    /// On the direct wire to the host's uplink.
    pub(crate) fn new(edge: &Edge) -> Remote {
        let mac = |at: &Namespace, name: &str| {
            let link = at.run(|| Links::open()?.get(name)).unwrap().unwrap();
            link.mac.expect("an Ethernet interface")
        };
        Remote {
            wire: Peek::open(&edge.outside.machine, "eth0").unwrap(),
            own: mac(&edge.outside.machine, "eth0"),
            host: mac(edge.host(), UPLINK),
        }
    }

    /// Sends an IPv4 packet to the host's uplink.
    pub(crate) fn send(&self, packet: &[u8]) {
        self.wire.send(&ethernet(self.host, self.own, 0x0800, packet)).unwrap();
    }

    /// Sends one with an 802.1Q tag in front.
    pub(crate) fn send_tagged(&self, tag: u16, packet: &[u8]) {
        let tagged = [&tag.to_be_bytes(), &[0x08, 0][..], packet].concat();
        self.wire.send(&ethernet(self.host, self.own, 0x8100, &tagged)).unwrap();
    }

    /// Waits for the IPv4 packet from the host that `wanted` picks.
    pub(crate) fn receive(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        let mut is_wanted = |bytes: &[u8]| bytes.get(12..14) == Some(&[0x08, 0]) && wanted(&bytes[14..]);
        let seen = self.wire.until(PATIENCE, |frame| is_wanted(&frame.bytes)).unwrap();
        seen.last().expect("the wanted one").bytes[14..].to_vec()
    }

    /// Waits for a packet to [`NOBODY`] of that protocol.
    pub(crate) fn receive_own(&self, protocol: u8) -> Vec<u8> {
        self.receive(|packet| packet[16..20] == NOBODY.octets() && packet[9] == protocol)
    }

    /// Waits for a TCP segment with exactly these flags to [`NOBODY`]; its source port and what it says.
    pub(crate) fn receive_segment(&self, flags: u8) -> (u16, Segment) {
        let packet = self.receive(|packet| {
            packet[16..20] == NOBODY.octets() && packet[9] == 6 && segment(packet).2.flags == flags
        });
        let (from, port, segment) = segment(&packet);
        assert_eq!(from, HOST, "whom outside sees");
        (port, segment)
    }

    /// Sends a TCP segment from a port of [`NOBODY`] to a port of the host.
    pub(crate) fn send_segment(&self, from_port: u16, to_port: u16, segment: Segment) {
        self.send(&tcp((NOBODY, from_port), (HOST, to_port), segment));
    }

    /// Accepts a connection of a sandbox to a port of [`NOBODY`]: the sandbox's end, its port as outside sees it, and the sequence
    /// numbers that come next, ours and the sandbox's.
    pub(crate) fn accept(&self, from: &Namespace, own_port: u16) -> (TcpStream, u16, [u32; 2]) {
        const OWN: u32 = 1000;
        std::thread::scope(|scope| {
            let any = (Ipv4Addr::UNSPECIFIED, 0);
            let connecting = scope.spawn(move || try_connect(from, any, (NOBODY, own_port), PATIENCE));
            let (port, syn) = self.receive_segment(flag::SYN);
            let acknowledgement = syn.sequence.wrapping_add(1);
            let flags = flag::SYN | flag::ACK;
            self.send_segment(own_port, port, Segment { sequence: OWN, acknowledgement, flags, mss: None });
            let (same, ack) = self.receive_segment(flag::ACK);
            assert_eq!((same, ack.acknowledgement), (port, OWN + 1));
            (connecting.join().unwrap().unwrap(), port, [OWN + 1, acknowledgement])
        })
    }

    /// Connects from a port of [`NOBODY`] to a published port, which leads to the listener: as [`Remote::accept`].
    pub(crate) fn connect(
        &self,
        listener: &TcpListener,
        own_port: u16,
        published: u16,
    ) -> (TcpStream, u16, [u32; 2]) {
        const OWN: u32 = 1000;
        self.send_segment(
            own_port,
            published,
            Segment { sequence: OWN, flags: flag::SYN, ..Segment::default() },
        );
        let (_, answer) = self.receive_segment(flag::SYN | flag::ACK);
        let next = [OWN + 1, answer.sequence.wrapping_add(1)];
        let [sequence, acknowledgement] = next;
        self.send_segment(
            own_port,
            published,
            Segment { sequence, acknowledgement, flags: flag::ACK, mss: None },
        );
        let (stream, _) = listener.accept().unwrap();
        (stream, published, next)
    }
}
