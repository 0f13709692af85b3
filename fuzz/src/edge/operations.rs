//! What inputs let happen at the edge.

use core::time::Duration;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::edge::config::{Action, Mapping, Rule, UplinkChoice};
use pontoon_dataplane::edge::punt::{Answer, Neighbour, Route};
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::network::{NetworkId, Snapshot};
use pontoon_dataplane::{Frame, PortId};

use super::packets::{between, error, framed, ipv4, message};
use super::{ADDRESSES, HOST, PORTS, ROUTER_MAC, TRANSPORT_PORTS, TUNNEL, UPLINK, gateway, mac};
use crate::input::{at_most, offload, one_of, within};

/// What happens next.
#[derive(Debug)]
pub(super) enum Operation<'a> {
    Packet(Packet),
    Answered(Packet),
    Frame(u16, Frame<'a>),
    Time(Duration),
    Answer(Answer),
    Change(Change),
}

// Not derived: a derived choice takes four bytes, three of which hardly matter, and packets are to be many.
impl<'a> Arbitrary<'a> for Operation<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Operation<'a>> {
        Ok(match input.int_in_range(0..=7u8)? {
            0..=2 => Operation::Packet(input.arbitrary()?),
            3 => Operation::Answered(input.arbitrary()?),
            4 => any_frame(input)?,
            5 => Operation::Time(Duration::from_millis(u64::from(input.arbitrary::<u16>()?) * 8)),
            6 => Operation::Answer(answer(input)?),
            _ => Operation::Change(input.arbitrary()?),
        })
    }
}

/// One of IPv4's that sessions are not kept for.
const ESP: u8 = 50;

/// A packet with right checksums.
#[derive(Debug, Arbitrary)]
pub(super) struct Packet {
    /// The port that it comes in by.
    #[arbitrary(with = one_of(&PORTS))]
    pub(super) port: u16,
    /// The number of the MAC that it is for; the gateway's, or who is behind the host's port, when there is none.
    #[arbitrary(with = one_of(&[None, None, None, Some(1), Some(2), Some(3)]))]
    to_mac: Option<u8>,
    /// None is another one.
    #[arbitrary(with = one_of(&[Some(Protocol::Tcp), Some(Protocol::Udp), Some(Protocol::Icmp), None]))]
    protocol: Option<Protocol>,
    #[arbitrary(with = one_of(&ADDRESSES))]
    src: Ipv4Addr,
    #[arbitrary(with = one_of(&ADDRESSES))]
    dst: Ipv4Addr,
    #[arbitrary(with = one_of(&TRANSPORT_PORTS))]
    from: u16,
    #[arbitrary(with = one_of(&TRANSPORT_PORTS))]
    to: u16,
    /// TCP's. Of ICMP: 1 a request; 4 an error about a packet the other way, whose code is in the high bits.
    flags: u8,
    #[arbitrary(with = within(0..=3))]
    ttl: u8,
    part: Part,
    #[arbitrary(with = within(0..=3))]
    ident: u8,
}

/// How much of a message is in a packet: all, what is in front of the 24th byte, or what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    Second,
}

impl Arbitrary<'_> for Part {
    fn arbitrary(input: &mut Unstructured<'_>) -> Result<Part> {
        one_of(&[Part::Whole, Part::Whole, Part::First, Part::Second])(input)
    }
}

impl Part {
    /// That part, and what says in a header which fragment it is.
    pub(super) fn of(self, message: &[u8]) -> (&[u8], u16) {
        let (first, second) = message.split_at(message.len().min(24));
        match self {
            Part::Whole => (message, 0),
            Part::First => (first, 0x2000),
            Part::Second => (second, 3),
        }
    }
}

impl Packet {
    pub(super) fn frame(&self) -> Vec<u8> {
        let message = self.message();
        let (part, place) = self.part.of(&message);
        let protocol = self.protocol.map_or(ESP, |protocol| protocol as u8);
        let bytes = ipv4(protocol, self.src, self.dst, (self.ttl, place), self.ident, part);
        match (self.port, self.to_mac) {
            (HOST, Some(number)) => between(mac(number), gateway(0).mac, &bytes),
            (2..=5, Some(number)) => between(mac(number), mac(self.port as u8), &bytes),
            (port, _) => framed(port, &bytes),
        }
    }

    fn message(&self) -> Vec<u8> {
        let &Packet { src, dst, from, to, flags, .. } = self;
        let payload = [0x5a; 40];
        match self.protocol {
            None => payload.to_vec(),
            Some(Protocol::Icmp) if flags & 4 != 0 => {
                let quoted = message(&Tuple::v4(Protocol::Udp, (dst, to), (src, from)), 0, &payload);
                let quoted = ipv4(Protocol::Udp as u8, dst, src, (64, 0), 7, &quoted);
                error([3, flags >> 4], [0, 0, 5, 0], &quoted)
            }
            Some(Protocol::Icmp) if flags & 1 == 0 => {
                message(&Tuple::v4(Protocol::Icmp, (src, 0), (dst, from)), 0, &payload)
            }
            Some(Protocol::Icmp) => message(&Tuple::v4(Protocol::Icmp, (src, from), (dst, 0)), 0, &payload),
            Some(protocol) => message(&Tuple::v4(protocol, (src, from), (dst, to)), flags, &payload),
        }
    }
}

fn any_frame<'a>(input: &mut Unstructured<'a>) -> Result<Operation<'a>> {
    let (port, offload, len) = (one_of(&PORTS)(input)?, offload(input)?, input.arbitrary()?);
    Ok(Operation::Frame(port, Frame { bytes: at_most(input, len)?, offload }))
}

/// Where a route leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// To a router.
    Routed,
    /// To neighbours, by a way that takes no more than 68 bytes.
    Narrow,
    /// Through the tunnel.
    Tunnelled,
}

/// What control says about the way from a network to a destination: none when there is none.
pub(super) fn route(network: u16, destination: Ipv4Addr, way: Option<Way>, is_resolved: bool) -> Answer {
    let (router, [own, tunnel]) = (ADDRESSES[10], [ADDRESSES[6], ADDRESSES[7]]);
    let route = way.map(|way| {
        let (uplink, next_hop, source, mtu) = match way {
            Way::Routed => (UPLINK, router, own, 1500),
            Way::Narrow => (UPLINK, destination, own, 68),
            Way::Tunnelled => (TUNNEL, destination, tunnel, 1500),
        };
        let neighbour = is_resolved.then_some(Neighbour::Learned(ROUTER_MAC));
        Route { uplink: PortId(uplink), next_hop, source, mtu, neighbour }
    });
    Answer::Route { network: NetworkId(network), destination, route }
}

/// Reads an answer of control: about a route mostly.
pub(super) fn answer(input: &mut Unstructured<'_>) -> Result<Answer> {
    const WAYS: [Option<Way>; 4] = [None, Some(Way::Routed), Some(Way::Narrow), Some(Way::Tunnelled)];
    let kind = input.int_in_range(0..=8u8)?;
    if kind <= 2 {
        let (network, destination) = (one_of(&[0, 1])(input)?, one_of(&ADDRESSES)(input)?);
        return Ok(route(network, destination, one_of(&WAYS)(input)?, input.arbitrary()?));
    }
    if kind == 3 {
        return Ok(Answer::RoutesChanged);
    }
    let protocol = one_of(&[Protocol::Tcp, Protocol::Udp])(input)?;
    let port = one_of(&TRANSPORT_PORTS)(input)?;
    Ok(match kind {
        4 => Answer::PortsHeld { protocol, ports: vec![(port, port)] },
        5 => Answer::PortKept { protocol, port },
        6 => Answer::PortsLost { protocol, ports: vec![port] },
        7 => Answer::PortRefused { protocol, port },
        // There are no more.
        _ => Answer::PortsHeld { protocol, ports: Vec::new() },
    })
}

/// What is turned round in the snapshot, mostly of the first network.
#[derive(Debug, Arbitrary)]
pub(super) struct Change {
    internal: bool,
    isolated: bool,
    /// UDP to port 53 is denied.
    rule: bool,
    mapping: bool,
    /// The second publication takes the first one's place; later there is none left but that.
    publications: bool,
    /// The tunnel is no uplink any more.
    tunnel: bool,
    /// Another port 2 takes the place of that.
    pub(super) port: bool,
    /// It may use no uplink.
    uplinks: bool,
    /// Its packets are to leave from the tunnel's address.
    snat_address: bool,
    /// That is none of the host's any more, and later is one again.
    host_address: bool,
}

impl Change {
    pub(super) fn apply_to(&self, snapshot: &mut Snapshot) {
        if let Some(network) = snapshot.networks.first_mut().and_then(Option::as_mut) {
            let edge = &mut Arc::make_mut(network).edge;
            edge.internal ^= self.internal;
            edge.isolated ^= self.isolated;
            if self.uplinks {
                edge.uplinks = match edge.uplinks {
                    UplinkChoice::None => UplinkChoice::default(),
                    _ => UplinkChoice::None,
                };
            }
            if self.snat_address {
                edge.snat_address = edge.snat_address.xor(Some(ADDRESSES[7]));
            }
            if self.rule {
                edge.rules = if edge.rules.is_empty() { [no_dns()].into() } else { [].into() };
            }
            if self.mapping {
                edge.mapping = match edge.mapping {
                    Mapping::PortDependent => Mapping::EndpointIndependent,
                    Mapping::EndpointIndependent => Mapping::PortDependent,
                };
            }
        }
        let edge = Arc::make_mut(&mut snapshot.edge);
        edge.rules_generation += 1;
        if self.publications {
            edge.publications.rotate_left(1);
            edge.publications.truncate(1);
        }
        if self.tunnel {
            edge.uplinks.retain(|uplink| uplink.port != PortId(TUNNEL));
        }
        if self.host_address && edge.host_addresses.pop_if(|last| *last == ADDRESSES[7]).is_none() {
            edge.host_addresses.push(ADDRESSES[7]);
        }
        if let Some(port) = snapshot.ports.get_mut(2).filter(|_| self.port) {
            *port = super::snapshot().ports.swap_remove(2);
        }
    }
}

fn no_dns() -> Rule {
    Rule {
        number: 1,
        action: Action::Deny,
        source: None,
        destination: None,
        protocol: Some(Protocol::Udp),
        ports: Some((53, 53)),
        hits: Arc::default(),
    }
}
