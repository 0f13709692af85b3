//! There and back through the whole edge: whatever a packet is, both ends see a flow of their own. The one that asked sees the answer
//! come from whom it asked, the one that answers sees a client that it can answer; payloads, options, DSCP, ECN, identification and flags
//! arrive as they were sent, every checksum is that of a full computation, and the TTL is one less. Errors quote what their reader sent.

use proptest::prelude::*;

use super::*;
use crate::edge::specimen::{Checksum, TcpOption, any_specimen, any_tcp_options, parse, tcp_options};
use crate::offload::Gso;
use crate::port::memory::OwnedFrame;
use crate::testing::cases;

const SYN: u8 = 0x02;
/// The MTU of every hop unless a test says otherwise: no specimen is larger.
const LARGE: u16 = 9000;
/// A router far away.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// A client outside.
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// How a flow crosses the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From an endpoint to the outside.
    Out,
    /// The same by the uplink without Ethernet headers.
    OutByTunnel,
    /// From outside to a published port.
    Published,
    /// From one endpoint to another's published port.
    Hairpin,
    /// From anybody outside to an open mapping.
    Mapped,
}

/// Which flow it is.
#[derive(Debug, Clone, Copy)]
struct Course {
    way: Way,
    protocol: Protocol,
    client: u16,
    service: u16,
    /// Control gets the ports that it is asked for.
    keeps: bool,
    /// Of the routes outside.
    mtu: u16,
}

impl Course {
    /// What SYNs may announce.
    fn segment(&self) -> u16 {
        let mtu = if self.way == Way::Hairpin { LARGE } else { self.mtu };
        mtu.saturating_sub(40)
    }
}

/// Who sits at an end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Endpoint(u8),
    Uplink,
    Tunnel,
}

impl End {
    fn port(self) -> u16 {
        match self {
            End::Endpoint(n) => n.into(),
            End::Uplink => UPLINK,
            End::Tunnel => TUNNEL,
        }
    }

    /// Its own MAC, and ours towards it.
    fn macs(self) -> (MacAddr, MacAddr) {
        match self {
            End::Endpoint(n) => (mac(n), GATEWAY.mac),
            End::Uplink => (ROUTER_MAC, UPLINK_MAC),
            End::Tunnel => (Uplink::PEER_MAC, Uplink::OWN_MAC),
        }
    }

    /// A frame that it sends.
    fn sends(self, specimen: &Specimen) -> OwnedFrame {
        let (own, ours) = self.macs();
        between(specimen.frame(), ours, own)
    }

    /// A frame that it gets when nothing changes on the way but the TTL.
    fn gets(self, specimen: &Specimen) -> Left {
        let (own, ours) = self.macs();
        let specimen = Specimen { ttl: specimen.ttl - 1, ..specimen.clone() };
        let OwnedFrame { bytes, offload } = between(specimen.left(), own, ours);
        Left { port: self.port(), bytes, offload }
    }
}

fn between(mut frame: OwnedFrame, dst: MacAddr, src: MacAddr) -> OwnedFrame {
    frame.bytes[..12].copy_from_slice(&[dst.0, src.0].concat());
    frame
}

/// A flow on its way through an edge.
struct Crossing {
    world: World,
    /// Who asks and who answers.
    ends: [End; 2],
    /// Its packets at the end that asks.
    asked: Tuple,
    /// The same at the end that answers, once a packet has arrived there.
    arrived: Option<Tuple>,
    course: Course,
}

impl Crossing {
    /// Nobody has said anything yet. `client` and `service` are ports; of echo, only the first one counts.
    fn new(course: Course) -> Crossing {
        let Course { way, protocol, client, service, mtu, .. } = course;
        let mut world = World::ready();
        widen(&mut world);
        let (uplink, source) = match way {
            Way::OutByTunnel => (TUNNEL, TUNNEL_HOST),
            _ => (UPLINK, HOST),
        };
        let neighbour = Some(Neighbour::Learned(ROUTER_MAC));
        let route = Route { uplink: PortId(uplink), next_hop: ROUTER, source, mtu, neighbour };
        for destination in [REMOTE, STRANGER] {
            world.answer(&Answer::Route { network: NETWORK, destination, route: Some(route) });
        }
        world.publish(1, None, Protocol::Tcp, service, (3, 8080));
        world.publish(2, None, Protocol::Udp, service, (3, 8080));
        let stranger = (STRANGER, client);
        let (ends, src, dst) = match way {
            Way::Out => ([End::Endpoint(2), End::Uplink], (address(2), client), (REMOTE, service)),
            Way::OutByTunnel => ([End::Endpoint(2), End::Tunnel], (address(2), client), (REMOTE, service)),
            Way::Published => ([End::Uplink, End::Endpoint(3)], stranger, (HOST, service)),
            Way::Hairpin => ([End::Endpoint(2), End::Endpoint(3)], (address(2), client), (HOST, service)),
            Way::Mapped => {
                ([End::Uplink, End::Endpoint(2)], stranger, (HOST, open_mapping(&mut world, protocol)))
            }
        };
        let service = if protocol == Protocol::Icmp { 0 } else { dst.1 };
        Crossing { world, ends, asked: Tuple::v4(protocol, src, (dst.0, service)), arrived: None, course }
    }

    /// What is sent goes from the one who asks to the one who answers, or `back`, and arrives as that one must see it.
    fn pass(&mut self, back: bool, sent: &Sent) {
        let [from, to] = if back { [self.ends[1], self.ends[0]] } else { self.ends };
        let before = if back { self.arrived.unwrap().inverted() } else { self.asked };
        let left = self.send(from, &sent.pieces(before, None));
        if !back && self.arrived.is_none() {
            self.arrived = left.first().and_then(tuple_of);
        }
        let after = if back { self.asked.inverted() } else { self.arrived.expect("something arrives") };
        let mut expected: Vec<_> =
            sent.pieces(after, Some(self.course.segment())).iter().map(|piece| to.gets(piece)).collect();
        expected.sort_by_key(offset);
        assert_eq!(left, expected, "{:?} of {sent:?}", self.ends);
    }

    /// As [`Crossing::pass`] to where it may have to be cut: the pieces fit, and make up what was sent.
    fn pass_cut(&mut self, back: bool, sent: &Sent) {
        let Course { mtu, .. } = self.course;
        let before = if back { self.arrived.unwrap().inverted() } else { self.asked };
        let left = self.send(self.ends[usize::from(back)], &sent.pieces(before, None));
        let arrived = tuple_of(&left[0]).expect("something arrives");
        let whole = sent.whole(arrived, Some(self.course.segment()));
        let whole = Specimen { ttl: whole.ttl - 1, ..if left.len() > 1 { whole.completed() } else { whole } };
        let mut datagram = Vec::new();
        for (number, piece) in left.iter().enumerate() {
            let (header, payload) = etherparse::Ipv4Header::from_slice(piece.packet()).unwrap();
            assert!(piece.packet().len() <= usize::from(mtu), "{} for {mtu}", piece.packet().len());
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!((header.identification, header.time_to_live), (whole.ident, whole.ttl));
            assert_eq!(usize::from(header.fragment_offset.value()) * 8, datagram.len());
            assert_eq!(header.more_fragments, number + 1 < left.len());
            assert!(number > 0 || header.options.as_slice() == whole.options);
            datagram.extend_from_slice(payload);
        }
        assert_eq!(datagram, whole.datagram(), "{sent:?}");
    }

    /// The packets that leave when `from` sends these, by their place in the datagram.
    fn send(&mut self, from: End, pieces: &[Specimen]) -> Vec<Left> {
        let mut left = Vec::new();
        for piece in pieces {
            let OwnedFrame { bytes, offload } = from.sends(piece);
            left.extend(self.world.step_with(from.port(), &bytes, offload).1);
            left.extend(self.settle());
        }
        left.retain(|left| left.bytes[12..14] == [0x08, 0x00]);
        left.sort_by_key(offset);
        left
    }

    /// Control answers, and what has waited goes on.
    fn settle(&mut self) -> Vec<Left> {
        for request in std::mem::take(&mut self.world.asked) {
            match request {
                Request::KeepPort { protocol, port } if self.course.keeps => {
                    self.world.answer(&Answer::PortKept { protocol, port });
                }
                Request::KeepPort { protocol, port } => {
                    self.world.answer(&Answer::PortRefused { protocol, port });
                }
                _ => {}
            }
        }
        self.world.resume().into_iter().flat_map(|(_, left)| left).collect()
    }

    /// An error about what `sent` was when it arrived, from whoever it arrived at or from a router on the way, is about what its
    /// sender has sent. `back`: it is about an answer.
    fn pass_error(&mut self, back: bool, sent: &Sent, (kind, code): (u8, u8), (ttl, len): (u8, usize)) {
        let arrived = self.arrived.unwrap();
        let [to, from] = if back { [self.ends[1], self.ends[0]] } else { self.ends };
        let (here, there) =
            if back { (self.asked.inverted(), arrived.inverted()) } else { (arrived, self.asked) };
        let quote = |tuple| sent.quoted(tuple, ttl, len);
        let of = |tuple: &Tuple| tuple.dst.to_ipv4_mapped().unwrap();
        // Inside nobody but the addressee may complain; seen from the other side that is whoever was spoken to.
        let (source, known_as) = match from {
            End::Endpoint(_) => (of(&here), of(&there)),
            End::Uplink | End::Tunnel => (FAR, FAR),
        };
        let (own, ours) = from.macs();
        let error = shapes::error(kind, code, 1280, source, &quote(here));
        let (verdict, left) = self.world.step(from.port(), &ethernet(ours, own, ethertype::IPV4, &error));
        let (own, ours) = to.macs();
        let mut expected = shapes::error(kind, code, 1280, known_as, &quote(there));
        expected[8] -= 1;
        expected[10..12].fill(0);
        let sum = crate::checksum::checksum(&expected[..20]);
        expected[10..12].copy_from_slice(&sum.to_be_bytes());
        let bytes = ethernet(own, ours, ethertype::IPV4, &expected);
        let expected = Left { port: to.port(), bytes, offload: Offload::NONE };
        assert_eq!(left, [expected], "{verdict}: type {kind}, {len} bytes of {sent:?}");
    }
}

/// Where a packet that has left belongs in its datagram, in units of eight bytes.
fn offset(left: &Left) -> u16 {
    u16::from_be_bytes([left.packet()[6] & 0x1f, left.packet()[7]])
}

/// Nothing is too large for anybody.
fn widen(world: &mut World) {
    world.change_network(|network| network.mtu = LARGE);
    world.change(|snapshot| snapshot.ports.iter_mut().flatten().for_each(|port| port.mtu = LARGE));
    world.change_edge(|edge| edge.uplinks.iter_mut().for_each(|uplink| uplink.mtu = LARGE));
}

/// Endpoint 2 has spoken to somebody, and anybody may answer to that port of the host.
fn open_mapping(world: &mut World, protocol: Protocol) -> u16 {
    world.change_network(|network| {
        network.edge.mapping = crate::edge::config::Mapping::EndpointIndependent;
    });
    let first = Specimen { tcp_flags: SYN, ..flow(protocol, (address(2), 40_000), (REMOTE, 6000)) };
    world.inside(2, &first).1[0].ports().0
}

/// The flow of a packet that has left, as the packet says.
fn tuple_of(left: &Left) -> Option<Tuple> {
    parse(&OwnedFrame { bytes: left.bytes.clone(), offload: left.offload }).ok()?.tuple()
}

/// What is sent: one packet, whole or in pieces, in the order in which they go.
#[derive(Debug, Clone)]
struct Sent {
    specimen: Specimen,
    options: Vec<TcpOption>,
    /// Of how many bytes the first fragments are; the rest is the last one.
    cuts: Vec<usize>,
    /// What the order is made of.
    shuffle: u64,
}

impl Sent {
    /// The packet of that flow, at an end that was announced no larger segments than `limit`.
    fn whole(&self, tuple: Tuple, limit: Option<u16>) -> Specimen {
        let is_syn = self.specimen.tcp_flags & SYN != 0;
        let tcp_options = tcp_options(&self.options, limit.filter(|_| is_syn));
        Specimen { tcp_options, ..self.specimen.with_tuple(tuple) }
    }

    fn pieces(&self, tuple: Tuple, limit: Option<u16>) -> Vec<Specimen> {
        let whole = self.whole(tuple, limit);
        let len = whole.datagram().len();
        let mut pieces = Vec::new();
        let mut offset = 0;
        for cut in self.cuts.iter().copied().chain([len]) {
            if offset < len {
                let more = offset + cut < len;
                pieces.push(Specimen { part: Some((offset, cut, more)), ..whole.clone() });
                offset += cut;
            }
        }
        if let [_] = pieces[..] {
            return vec![whole];
        }
        let mut shuffle = self.shuffle;
        for last in (1..pieces.len()).rev() {
            pieces.swap(last, (shuffle % (last as u64 + 1)) as usize);
            shuffle /= last as u64 + 1;
        }
        pieces
    }

    /// At most the first `len` bytes of what a router has of its first fragment or whole; devices have done their part by then.
    fn quoted(&self, tuple: Tuple, ttl: u8, len: usize) -> Vec<u8> {
        let mut pieces = self.pieces(tuple, Some(LARGE - 40));
        pieces.retain(|piece| piece.part.is_none_or(|(offset, ..)| offset == 0));
        let mut packet = Specimen { ttl, ..pieces.remove(0) }.completed().packet();
        let header = 20 + self.specimen.options.len();
        // A checksum of TCP that is cut in half cannot be translated, and nobody looks at it.
        let half = tuple.protocol == Protocol::Tcp && len == header + 17;
        packet.truncate(if half { len + 1 } else { len.max(header + 8) });
        packet
    }
}

/// A packet of any shape that a flow may have. `first`: it may begin one.
fn any_sent(first: bool) -> impl Strategy<Value = Sent> {
    let flags = if first { Just(SYN).boxed() } else { any::<u8>().boxed() };
    let cuts = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(1..60usize, 1..4)];
    (any_specimen(), any_tcp_options(), flags, cuts, any::<u64>()).prop_map(
        |(specimen, options, tcp_flags, mut cuts, shuffle)| {
            let whole = Specimen { part: None, tcp_flags, ..specimen };
            // The first one has all of the headers, as any sender has it.
            let is_plain = whole.checksum != Checksum::Partial;
            cuts.iter_mut().for_each(|cut| *cut *= 8);
            if let Some(first) = cuts.first_mut() {
                *first += 56;
            }
            Sent { specimen: whole, options, cuts: if is_plain { cuts } else { Vec::new() }, shuffle }
        },
    )
}

/// The packet with a protocol of the flow's: what does not go with that is left out.
fn of_protocol(sent: Sent, protocol: Protocol) -> Sent {
    let Sent { mut specimen, .. } = sent;
    if specimen.checksum == Checksum::Absent && protocol != Protocol::Udp {
        specimen.checksum = Checksum::Complete;
    }
    specimen.gso = match (specimen.gso, protocol) {
        (Gso::None, _) | (_, Protocol::Icmp) => Gso::None,
        (_, Protocol::Tcp) => Gso::TcpV4,
        (Gso::UdpFragments, Protocol::Udp) => Gso::UdpFragments,
        (_, Protocol::Udp) => Gso::Udp,
    };
    Sent { specimen, ..sent }
}

fn any_course() -> impl Strategy<Value = Course> {
    let ways = [Way::Out, Way::OutByTunnel, Way::Published, Way::Hairpin, Way::Mapped];
    let flow = prop::sample::select(&Protocol::ALL[..]).prop_flat_map(move |protocol| {
        // Pings cross nothing but the way out.
        let ways = if protocol == Protocol::Icmp { &ways[..2] } else { &ways[..] };
        (prop::sample::select(ways.to_vec()), Just(protocol))
    });
    (flow, 1..=u16::MAX, 1..20_000u16, any::<bool>()).prop_map(|((way, protocol), client, service, keeps)| {
        Course { way, protocol, client, service, keeps, mtu: LARGE }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(400)))]

    #[test]
    fn a_question_and_its_answers_are_themselves_at_both_ends(
        course in any_course(),
        question in any_sent(true), answers in prop::collection::vec((any::<bool>(), any_sent(false)), 1..4),
    ) {
        let mut crossing = Crossing::new(course);
        crossing.pass(false, &of_protocol(question, course.protocol));
        for (back, sent) in answers {
            crossing.pass(back, &of_protocol(sent, course.protocol));
        }
    }

    #[test]
    fn an_error_is_about_what_its_reader_has_sent(
        course in any_course(), question in any_sent(true), answer in any_sent(false),
        back in any::<bool>(), kind in prop::sample::select(&[3u8, 4, 11, 12][..]), code in any::<u8>(),
        ttl in any::<u8>(), len in prop_oneof![28..130usize, 130..1500usize],
    ) {
        let mut crossing = Crossing::new(course);
        let (question, answer) = (of_protocol(question, course.protocol), of_protocol(answer, course.protocol));
        crossing.pass(false, &question);
        crossing.pass(true, &answer);
        crossing.pass_error(back, if back { &answer } else { &question }, (kind, code), (ttl, len));
    }

    /// No MTU is so small that a header of TCP, ports and checksum, would not fit behind the longest one of IPv4.
    #[test]
    fn what_is_cut_on_the_way_is_whole_at_its_end(
        course in any_course(), mtu in prop_oneof![84..200u16, 200..1500u16], question in any_sent(true), sent in any_sent(true),
    ) {
        let way = if course.way == Way::Hairpin { Way::Out } else { course.way };
        let mut sent = of_protocol(sent, course.protocol);
        (sent.specimen.gso, sent.specimen.flags) = (Gso::None, 0);
        let mut crossing = Crossing::new(Course { way, mtu, ..course });
        let is_answer = matches!(way, Way::Published | Way::Mapped);
        if is_answer {
            crossing.pass(false, &of_protocol(question, course.protocol));
        }
        crossing.pass_cut(is_answer, &sent);
    }
}
