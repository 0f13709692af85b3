//! What passes between two ports of one network on its way over the bridge: nothing between isolated members but what a link
//! allows, to the host only what is meant for all and rules permit, and from the host everything, noted where rules would take the
//! answer for something new.
//!
//! Members are endpoints and existing interfaces alike. Only endpoints can be linked: behind an interface there may be anybody.
//!
//! A link lets ARP pass between its two endpoints, and IPv4 from the one to the other's service, which may answer within the session
//! and begin nothing. Such sessions stand in the edge's one table without a translation. IPv6 does not pass: nothing keeps sessions
//! of it yet.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Edge;
use super::config::{Link, NetworkEdge, Rule};
use super::forward::tcp_flags;
use super::ingress::Flow;
use super::open::untranslated;
use super::packet::{Content, Packet};
use super::rules::{first_match, first_match_untracked, permits};
use super::session::{Direction, Hop, NewSession, Session};
use super::tuple::Tuple;
use crate::frame::{EthernetView, Frame, ethertype};
use crate::network::{Network, Port, PortId, Snapshot};
use crate::time::Timestamp;
use crate::trace::decision::{Bridging, Ended, RuleList, Tracking};
use crate::verdict::{DropReason, Translation, Wait};

/// A frame on its way from one port of a network to another.
#[derive(Debug, Clone, Copy)]
pub struct Bridged<'a> {
    /// What the core decides by.
    pub snapshot: &'a Snapshot,
    /// The network.
    pub network: &'a Network,
    /// Where it came in.
    pub ingress: &'a Port,
    /// Where it would leave.
    pub egress: &'a Port,
    /// Its Ethernet header.
    pub view: &'a EthernetView,
    /// The frame.
    pub frame: &'a Frame<'a>,
}

/// What stands between two ports.
#[derive(Debug, Clone, Copy)]
pub enum Passage<'a> {
    /// Nothing.
    Open,
    /// The network's rules: this one decides, or none.
    Ruled(Option<&'a Rule>),
    /// The edge, which keeps a session and decides by it ([`Edge::admit`](super::Edge::admit)).
    Tracked,
    /// Isolation.
    Closed,
}

/// What stands between two ports of `network` for `frame` from the one to the other.
#[inline(always)]
pub fn passage<'a>(
    network: &'a Network,
    ingress: &Port,
    egress: &Port,
    view: &EthernetView,
    frame: &Frame<'_>,
) -> Passage<'a> {
    let edge = &network.edge;
    if view.dst.is_group() && egress.is_host() {
        return to_all_and_host(network, view, frame);
    }
    if edge.isolated && ingress.is_member() && egress.is_member() {
        return between_isolated(edge, ingress.id, egress.id, view);
    }
    let is_packet_of_host =
        ingress.has_gateway_address() && view.ethertype == ethertype::IPV4 && !view.dst.is_group();
    if is_packet_of_host && !edge.rules.is_empty() { Passage::Tracked } else { Passage::Open }
}

/// Whether nothing stands between two ports for any frame to a station.
pub fn is_open(network: &Network, ingress: &Port, egress: &Port) -> bool {
    let isolated = network.edge.isolated && ingress.is_member() && egress.is_member();
    !isolated && !ingress.has_gateway_address()
}

/// A frame to a group is the host's as well when it is ARP, or IPv4 to all or to a group that rules permit. A kernel takes a packet
/// to one of its own addresses from any such frame, and there it would not have passed the gateway, which asks the rules about
/// it. The host port has no IPv6.
fn to_all_and_host<'a>(network: &'a Network, view: &EthernetView, frame: &Frame<'_>) -> Passage<'a> {
    match view.ethertype {
        _ if view.in_vlan => Passage::Closed,
        ethertype::ARP => Passage::Open,
        ethertype::IPV4 => match Packet::parse(view, frame) {
            Ok(packet) if is_for_all(network, packet.dst) => Passage::Ruled(deciding_rule(network, &packet)),
            _ => Passage::Closed,
        },
        _ => Passage::Closed,
    }
}

fn is_for_all(network: &Network, dst: Ipv4Addr) -> bool {
    dst.is_multicast()
        || dst.is_broadcast()
        || network.gateway.is_some_and(|gateway| gateway.is_subnet_broadcast(dst))
}

fn deciding_rule<'a>(network: &'a Network, packet: &Packet) -> Option<&'a Rule> {
    let &Packet { src, dst, protocol, .. } = packet;
    let rules = &network.edge.rules;
    match packet.tuple() {
        Some(tuple) => first_match(rules, &tuple),
        None => first_match_untracked(rules, src, dst, protocol),
    }
}

fn between_isolated(
    edge: &NetworkEdge,
    ingress: PortId,
    egress: PortId,
    view: &EthernetView,
) -> Passage<'static> {
    let linked = |from, to| edge.links.iter().any(|link| link.from == from && link.to == to);
    match view.ethertype {
        _ if view.in_vlan || !linked(ingress, egress) && !linked(egress, ingress) => Passage::Closed,
        ethertype::ARP => Passage::Open,
        ethertype::IPV4 if !view.dst.is_group() => Passage::Tracked,
        _ => Passage::Closed,
    }
}

/// Whether a frame is for the host of which that rule of the network decides whether it is, if any does; the rule counts it. Workers
/// without the edge trace nothing.
pub fn passes(edge: Option<&mut Edge>, network: &Network, rule: Option<&Rule>) -> bool {
    if let Some(edge) = edge {
        return edge.passes(RuleList::Network(network.id), &network.edge.rules, rule);
    }
    if let Some(rule) = rule {
        rule.hits.count();
    }
    permits(rule)
}

/// The link of `edge` that lets `from` open a session of this tuple to `to`, if one does.
fn admitting<'a>(edge: &'a NetworkEdge, from: PortId, to: PortId, tuple: &Tuple) -> Option<&'a Link> {
    let serves = |link: &Link| {
        link.service.is_none_or(|(protocol, port)| protocol == tuple.protocol && port == tuple.dst_port)
    };
    edge.links.iter().find(|link| link.from == from && link.to == to && serves(link))
}

/// Whether a session without a translation may go on by the present rules of `network`.
pub(super) fn may_stay(snapshot: &Snapshot, network: &Network, session: &Session) -> bool {
    let original = session.tuple(Direction::Original);
    let is_of_host = |address: Ipv6Addr| {
        address.to_ipv4_mapped().is_some_and(|address| {
            snapshot.edge.is_host_address(address)
                || network.gateway.is_some_and(|gateway| gateway.address == address)
        })
    };
    let rules_permit = || permits(first_match(&network.edge.rules, original));
    let [from, to] = [Direction::Reply, Direction::Original].map(|direction| session.hop(direction).egress);
    is_of_host(original.src)
        || if is_of_host(original.dst) {
            rules_permit()
        } else {
            admitting(&network.edge, from, to, original).is_some()
        }
}

impl Edge {
    /// A frame between two ports of one network that only passes within a session. Returns what it waits for, if it cannot go on
    /// now.
    ///
    /// # Errors
    /// The reason for dropping the frame.
    pub fn admit(&mut self, now: Timestamp, bridged: &Bridged<'_>) -> Result<Option<Wait>, DropReason> {
        let &Bridged { snapshot, ingress, view, frame, .. } = bridged;
        let packet = match Packet::parse(view, frame) {
            Ok(packet) => packet,
            // What the host sends is its own business.
            Err(_) if ingress.has_gateway_address() => return Ok(None),
            Err(reason) => return Err(reason),
        };
        let (tuple, error) = match self.flow(now, snapshot, ingress.id, frame, &packet)? {
            Flow::Of(tuple) => {
                // Nothing here waits for anything else.
                self.has_decided(now, ingress.id, &packet);
                (tuple, false)
            }
            Flow::Error(quote) => (quote.tuple.inverted(), true),
            Flow::Unknown(wait) => return Ok(Some(wait)),
            Flow::Other if ingress.has_gateway_address() => return Ok(None),
            Flow::Other => return Err(DropReason::LinkDenied),
        };
        if let Some((id, direction)) = self.find_session(&tuple)
            && self.sessions.get(id).translation(direction) == Translation::None
        {
            if self.may_go_on(snapshot, id) {
                if !error && !self.is_dry() {
                    self.sessions.seen(id, direction, now, tcp_flags(&packet));
                }
                return Ok(None);
            }
            self.tell(|| Tracking::Ends(Ended::NotAdmitted));
            self.remove_session(id, now);
        }
        if ingress.has_gateway_address() {
            return self.follow_host(now, bridged, &packet, &tuple, error);
        }
        self.open_linked(now, bridged, &packet, &tuple, error).map(|()| None)
    }

    /// A packet of the host's to an endpoint, noted so that the answer is not taken for something new. The host is never denied:
    /// where there is no room, the answer has the rules against it.
    fn follow_host(
        &mut self,
        now: Timestamp,
        bridged: &Bridged<'_>,
        packet: &Packet,
        tuple: &Tuple,
        error: bool,
    ) -> Result<Option<Wait>, DropReason> {
        self.tell(|| Bridging::HostSpeaks);
        if !error && packet.content != Content::Fragment {
            let new = untranslated(bridged.snapshot, bridged.egress.id, tuple);
            let _ = self.insert_session(now, &new, tcp_flags(packet));
        }
        Ok(None)
    }

    /// The first packet of a session that a link may allow.
    fn open_linked(
        &mut self,
        now: Timestamp,
        bridged: &Bridged<'_>,
        packet: &Packet,
        tuple: &Tuple,
        error: bool,
    ) -> Result<(), DropReason> {
        let &Bridged { snapshot, network, ingress, egress, .. } = bridged;
        let begins = !error && packet.content != Content::Fragment;
        let by = admitting(&network.edge, ingress.id, egress.id, tuple).filter(|_| begins);
        self.tell(|| Bridging::Link { from: ingress.id, to: egress.id, by: by.copied() });
        if by.is_none() {
            return Err(DropReason::LinkDenied);
        }
        let hop = |port: &Port| Hop { egress: port.id, ..Hop::UNKNOWN };
        let new =
            NewSession { hops: [hop(egress), hop(ingress)], ..untranslated(snapshot, ingress.id, tuple) };
        self.insert_session(now, &new, tcp_flags(packet))
    }
}
