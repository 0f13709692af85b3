//! Flows, from a seed: what endpoints and machines outside send to one another, and what routers say about it.
//!
//! Every flow has a remote address of its own, `100.64.0.0` and its number, by which whatever belongs to it is known on either side.

use std::net::Ipv4Addr;

use super::ip;
use super::labs::{HOST, INSIDE, endpoint};
use super::travels::{Damage, Travels};
use crate::random::Random;

/// The published ports of the host, and where they lead: protocol, the host's port, which endpoint, its port.
pub const PUBLISHED: [(u8, u16, usize, u16); 2] = [(ip::TCP, 8080, 0, 80), (ip::UDP, 5353, 1, 53)];

/// One thing that is sent. Packets are complete but for the port that NAT has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The flow's endpoint sends.
    Out(Vec<u8>),
    /// The flow's endpoint answers what it got; without that it has nothing to say.
    Reply(Vec<u8>),
    /// Somebody outside sends, to the port that was chosen for the flow.
    Back(Vec<u8>),
    /// Somebody outside sends to a port that is published.
    In(Vec<u8>),
    /// A router outside has something to say about the last packet of the flow that went by.
    ErrorBack(Complaint),
    /// The endpoint has something to say about the last packet that it got.
    ErrorOut(Complaint),
    /// Somebody outside claims that of a packet with another port than the flow's.
    Forged(Complaint),
}

/// A step, and what becomes of its packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// What is sent.
    pub step: Step,
    /// How it travels.
    pub travels: Travels,
}

impl From<Step> for Sent {
    fn from(step: Step) -> Sent {
        Sent { step, travels: Travels::default() }
    }
}

/// An ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complaint {
    /// Type and code.
    pub kind: (u8, u8),
    /// The MTU, with "fragmentation needed".
    pub mtu: u16,
    /// How much is quoted of what is behind the IP header.
    pub quoted: usize,
    /// It is about the first fragment of the packet.
    pub fragment: bool,
}

/// A flow.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Its number.
    pub number: u16,
    /// Which endpoint.
    pub inside: usize,
    /// It goes to a published port; otherwise the endpoint speaks first.
    pub published: bool,
    /// The remote's port.
    pub far: u16,
    /// What happens, in order.
    pub steps: Vec<Sent>,
}

/// The address of a flow's remote.
pub fn remote(number: u16) -> Ipv4Addr {
    coded(64, number)
}

/// Addresses that say which flow they belong to.
fn coded(second: u8, number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(100, second, high, low)
}

/// The flow that a packet belongs to.
pub fn number_of(packet: &[u8]) -> Option<u16> {
    let of = |packet: &[u8]| {
        [ip::src(packet)?, ip::dst(packet)?].iter().find_map(|address| match address.octets() {
            [100, 64..=66, high, low] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        })
    };
    of(packet).or_else(|| of(packet.get(ip::quote(packet)?..)?))
}

/// Flow number `number` of that seed.
pub fn flow(seed: u64, number: u16, stream: u64) -> Flow {
    let mut random = Random::stream(seed ^ 0x6e61_7400, stream);
    let published = random.chance(1, 4).then(|| *random.pick(&PUBLISHED));
    let inside = published.map_or_else(|| random.below(INSIDE), |(_, _, inside, _)| inside);
    let protocol = match published {
        Some((protocol, ..)) => protocol,
        None => *random.pick(&[ip::TCP, ip::TCP, ip::UDP, ip::UDP, ip::ICMP]),
    };
    let ports = match published {
        Some((_, host, _, own)) => Ports { own, host, far: random.between(1024, 65535) as u16 },
        None => {
            let far = *random.pick(&[80, 443, 53, 5000, 65535]);
            let own = random.between(1, 65535) as u16;
            Ports { own, host: own, far }
        }
    };
    let mut talk =
        Talk { random, number, inside, protocol, ports, published: published.is_some(), steps: Vec::new() };
    match protocol {
        ip::TCP => talk.tcp(),
        ip::UDP => talk.udp(),
        _ => talk.echo(),
    }
    Flow { number, inside, published: talk.published, far: talk.ports.far, steps: talk.steps }
}

/// The ports of a flow: the endpoint's, what stands for it outside, and the remote's.
struct Ports {
    own: u16,
    host: u16,
    far: u16,
}

struct Talk {
    random: Random,
    number: u16,
    inside: usize,
    protocol: u8,
    ports: Ports,
    published: bool,
    steps: Vec<Sent>,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

impl Talk {
    fn out(&mut self, transport: &[u8]) {
        let step = if self.published { Step::Reply } else { Step::Out };
        self.send(step, endpoint(self.inside), remote(self.number), transport);
    }

    fn back(&mut self, transport: &[u8]) {
        let step = if self.published { Step::In } else { Step::Back };
        self.send(step, remote(self.number), HOST, transport);
    }

    fn send(&mut self, step: fn(Vec<u8>) -> Step, src: Ipv4Addr, dst: Ipv4Addr, transport: &[u8]) {
        let travels = Travels::random(&mut self.random, self.protocol, transport.len());
        let mut packet = self.packet(src, dst, transport);
        if !travels.is_plain() && packet[8] < 2 {
            // Whoever complains quotes what he has got, which is a fragment or the whole.
            packet[8] = 2;
            ip::finish(&mut packet);
        }
        // Connection tracking expects that what was lost is sent again.
        let again = self.protocol == ip::TCP && travels.is_lost(transport.len());
        self.steps.push(Sent { step: step(packet.clone()), travels });
        self.steps.extend(again.then(|| step(packet).into()));
    }

    /// By whoever did not begin, or who did.
    fn answer(&mut self, forth: bool, transport_out: &[u8], transport_back: &[u8]) {
        if forth != self.published { self.out(transport_out) } else { self.back(transport_back) }
    }

    fn packet(&mut self, src: Ipv4Addr, dst: Ipv4Addr, transport: &[u8]) -> Vec<u8> {
        let random = &mut self.random;
        let ttl = if random.chance(1, 300) { 1 } else { random.between(2, 255) as u8 };
        let flags = if random.chance(1, 2) { 0x40 } else { 0 };
        let ident = (random.bits() as u16).to_be_bytes();
        // No operation, and the end.
        let options: &[u8] = if random.chance(1, 50) { &[1, 1, 1, 0] } else { &[] };
        let (version, tos) = (0x45 + options.len() as u8 / 4, random.below(256) as u8);
        let mut packet = vec![version, tos, 0, 0, ident[0], ident[1], flags, 0, ttl, self.protocol, 0, 0];
        packet.extend(src.octets());
        packet.extend(dst.octets());
        packet.extend(options);
        packet.extend(transport);
        ip::finish(&mut packet);
        packet
    }

    /// A router outside, or the endpoint, may have something to say by now; or somebody tries his luck.
    fn complain(&mut self) {
        if self.random.chance(1, 40) {
            self.stranger();
        }
        let random = &mut self.random;
        if !random.chance(1, 6) {
            return;
        }
        let kinds =
            [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 10), (3, 13), (11, 0), (11, 1), (12, 0), (4, 0)];
        let kind = *random.pick(&kinds);
        let mtu = if kind == (3, 4) { random.between(576, 1400) as u16 } else { 0 };
        let quoted = *random.pick(&[0, 7, 8, 8, 20, 28, 64, 500, 1400]);
        let complaint = Complaint { kind, mtu, quoted, fragment: random.chance(1, 8) };
        let damages = [Damage::HeaderChecksum, Damage::Checksum, Damage::CutHeader, Damage::TooLong];
        let damage = random.chance(1, 30).then(|| *random.pick(&damages));
        let step = match random.below(8) {
            0 => Step::Forged(complaint),
            1..3 => Step::ErrorOut(complaint),
            _ => Step::ErrorBack(complaint),
        };
        self.steps.push(Sent { step, travels: Travels { damage, ..Travels::default() } });
    }

    /// Somebody else sends to the flow's port.
    fn stranger(&mut self) {
        let transport = match self.protocol {
            ip::ICMP => vec![0, 0, 0, 0, 0, 0, 0, 1],
            _ => {
                let ports = [self.random.bits() as u16, self.ports.host].map(u16::to_be_bytes).concat();
                let rest: &[u8] = match self.protocol {
                    ip::UDP => &[0, 8, 0, 1],
                    _ => &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 1, 0, 0, 0, 0, 0],
                };
                [&ports[..], rest].concat()
            }
        };
        let packet = self.packet(coded(66, self.number), HOST, &transport);
        if !self.published {
            self.steps.push(Step::Back(packet).into());
        }
    }

    /// Of TCP never more than a segment.
    fn data(&mut self) -> Vec<u8> {
        let len = match self.random.below(4) {
            0 => 0,
            1 if self.protocol != ip::TCP && self.random.chance(1, 4) => self.random.between(1500, 5000),
            1 => self.random.between(1000, 1400),
            _ => self.random.below(200),
        };
        let mut data = vec![0; len];
        self.random.fill(&mut data);
        data
    }

    fn udp(&mut self) {
        for turn in 0..self.random.between(1, 6) {
            let data = self.data();
            let without_checksum = self.random.chance(1, 8);
            let datagram = |src: u16, dst: u16| {
                let mut bytes = Vec::new();
                for value in [src, dst, data.len() as u16 + 8, u16::from(!without_checksum)] {
                    bytes.extend(value.to_be_bytes());
                }
                [&bytes[..], &data].concat()
            };
            let Ports { own, host, far } = self.ports;
            let forth = turn == 0 || self.random.chance(1, 2);
            self.answer(forth, &datagram(own, far), &datagram(far, host));
            self.complain();
        }
    }

    fn echo(&mut self) {
        for seq in 0..self.random.between(1, 5) as u16 {
            let data = self.data();
            let message = |kind: u8, id: u16| {
                let mut bytes = vec![kind, 0, 0, 0];
                bytes.extend(id.to_be_bytes());
                bytes.extend(seq.to_be_bytes());
                [&bytes[..], &data].concat()
            };
            let Ports { own, host, .. } = self.ports;
            self.out(&message(8, own));
            self.complain();
            if self.random.chance(3, 4) {
                self.back(&message(0, host));
                self.complain();
            }
        }
    }

    fn tcp(&mut self) {
        let mut ends = Ends { seq: [self.random.bits() as u32, self.random.bits() as u32] };
        // Some connections began before the NAT did.
        let begin = if self.random.chance(1, 20) { ACK } else { SYN };
        self.segment(&mut ends, true, begin, &[]);
        self.complain();
        if self.random.chance(1, 12) {
            // Nobody is there, or he does not want to.
            if self.random.chance(1, 2) {
                self.segment(&mut ends, false, RST | ACK, &[]);
            }
            return;
        }
        self.segment(&mut ends, false, SYN | ACK, &[]);
        self.segment(&mut ends, true, ACK, &[]);
        for _ in 0..self.random.below(5) {
            let (data, forth) = (self.data(), self.random.chance(1, 2));
            self.segment(&mut ends, forth, PSH | ACK, &data);
            self.complain();
        }
        let first = self.random.chance(1, 2);
        match self.random.below(5) {
            0 => {}
            1 => self.segment(&mut ends, first, RST | ACK, &[]),
            _ => {
                self.segment(&mut ends, first, FIN | ACK, &[]);
                self.segment(&mut ends, !first, ACK, &[]);
                let data = self.data();
                self.segment(&mut ends, !first, PSH | ACK, &data);
                self.segment(&mut ends, !first, FIN | ACK, &[]);
                self.segment(&mut ends, first, ACK, &[]);
            }
        }
    }

    /// One segment in its place, by whoever opened the connection or the other.
    fn segment(&mut self, ends: &mut Ends, forth: bool, flags: u8, data: &[u8]) {
        let (own, other) = (usize::from(!forth), usize::from(forth));
        let (seq, ack) = (ends.seq[own], if flags & ACK != 0 { ends.seq[other] } else { 0 });
        ends.seq[own] = seq.wrapping_add(data.len() as u32 + u32::from(flags & (SYN | FIN) != 0));
        let options: &[u8] = if flags & SYN != 0 { &[2, 4, 0x05, 0xb4, 4, 2, 1, 1] } else { &[] };
        let bytes = |src: u16, dst: u16| {
            let mut bytes = [src.to_be_bytes(), dst.to_be_bytes()].concat();
            bytes.extend(seq.to_be_bytes());
            bytes.extend(ack.to_be_bytes());
            bytes.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            [&bytes[..], options, data].concat()
        };
        let Ports { own, host, far } = self.ports;
        self.answer(forth, &bytes(own, far), &bytes(far, host));
    }
}

/// The next sequence number of who opened the connection, and of the other.
struct Ends {
    seq: [u32; 2],
}

/// An ICMP error about `packet`, by a router of its own for each flow or by whoever `packet` was for.
pub fn complain(complaint: &Complaint, from: Ipv4Addr, packet: &[u8]) -> Option<Vec<u8>> {
    let quoted = ip::header_len(packet)? + complaint.quoted;
    let [high, low] = complaint.mtu.to_be_bytes();
    let mut error = vec![0x45, 0xc0, 0, 0, 0x12, 0x34, 0, 0, 64, ip::ICMP, 0, 0];
    error.extend(from.octets());
    error.extend(ip::src(packet)?.octets());
    error.extend([complaint.kind.0, complaint.kind.1, 0, 0, 0, 0, high, low]);
    let at = error.len();
    error.extend(&packet[..quoted.min(packet.len())]);
    if complaint.fragment {
        error[at + 6] |= 0x20;
    }
    ip::finish(&mut error);
    Some(error)
}

/// The router outside that has something to say about a flow.
pub fn router(number: u16) -> Ipv4Addr {
    coded(65, number)
}
