//! Packets from networks to their gateways.

use std::sync::Arc;

use super::Edge;
use super::config::Publication;
use super::forward::Passed;
use super::hairpin::Mapped;
use super::ingress::{Flow, Ingress};
use super::packet::Content;
use super::quote::Quote;
use super::rules::first_match_untracked;
use super::session::{Direction, SessionId};
use super::tuple::{Protocol, Tuple};
use crate::gateway::Received;
use crate::gateway::errors::{HOST_UNREACHABLE, TIME_EXCEEDED, is_single_host};
use crate::guard;
use crate::network::{Network, PortId};
use crate::trace::decision::{Routing, RuleList, Tracking};
use crate::verdict::{DropReason, Translation, Verdict};

/// The port of a resolver (RFC 1035, section 4.2).
const NAMES: u16 = 53;

/// Where a packet from a network goes.
enum Destination<'a> {
    /// A published port of the host.
    Published(Arc<Publication>),
    /// The resolver at the gateway, behind this port.
    Resolver(PortId),
    /// A port of the host that is another endpoint's to everybody.
    Mapped(Mapped<'a>),
    /// The host.
    Host,
    /// Its own network: nobody routes back.
    OwnNetwork,
    /// Another network.
    OtherNetwork,
    /// No single host.
    Nobody,
    /// Somewhere outside.
    Outside,
}

impl Edge {
    /// A packet from a network.
    #[inline(always)]
    pub(super) fn decide_inside(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
    ) -> Result<Verdict, DropReason> {
        if !may_be_source(it, received) {
            return Err(DropReason::EdgeSource);
        }
        if let Some(tuple) = it.plain_flow() {
            self.tell(|| Tracking::Flow(tuple));
            return self.flow_from_inside(it, received, &tuple);
        }
        self.decide_odd_inside(it, received)
    }

    /// A fragment, an ICMP error, or what no sessions are kept for.
    #[inline(never)]
    fn decide_odd_inside(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
    ) -> Result<Verdict, DropReason> {
        match self.flow(it.now, it.snapshot, it.port.id, it.frame, &it.packet)? {
            Flow::Of(tuple) => {
                let verdict = self.flow_from_inside(it, received, &tuple);
                if !matches!(verdict, Ok(Verdict::Wait(_))) {
                    self.has_decided(it.now, it.port.id, &it.packet);
                }
                verdict
            }
            Flow::Error(quote) => self.error_from_inside(it, received, &quote),
            Flow::Other => self.without_session(it, received),
            Flow::Unknown(wait) => Ok(Verdict::Wait(wait)),
        }
    }

    #[inline(always)]
    fn flow_from_inside(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
    ) -> Result<Verdict, DropReason> {
        if let Some((id, direction)) = self.find_session(tuple) {
            if !self.comes_from_inside(id, direction) {
                return Err(DropReason::EdgeSource);
            }
            match self.forward(it, id, direction)? {
                Passed::Done(verdict) => return Ok(verdict),
                Passed::ToHost => match self.destination(received, tuple) {
                    Destination::Resolver(port) => return self.ask_resolver(it, port),
                    Destination::Host | Destination::Published(_) => {
                        return to_host_port(it, received.network);
                    }
                    _ => {}
                },
                // The packet may open a new one.
                Passed::Ended => {}
            }
        }
        match self.destination(received, tuple) {
            Destination::Published(publication) => self.open_hairpin(it, received, tuple, &publication),
            Destination::Resolver(port) => {
                self.tell(|| Routing::Resolver);
                if !received.network.edge.rules.is_empty() {
                    self.open_to_host(it, received, tuple)?;
                }
                self.ask_resolver(it, port)
            }
            Destination::Mapped(mapped) => self.open_mapped_hairpin(it, received, tuple, &mapped),
            Destination::Host => self.decide_host(it, received, tuple),
            Destination::Outside => self.open_outbound(it, received, tuple),
            nowhere => refuse_nowhere(it, received, &nowhere),
        }
    }

    /// An ICMP error from a network. In a session it passes if it comes from whom the packet was for that it is about, as with what
    /// he sends otherwise: no router stands between him and his gateway.
    fn error_from_inside(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        quote: &Quote,
    ) -> Result<Verdict, DropReason> {
        if let Some((id, direction)) = self.find_session(&quote.tuple.inverted())
            && self.comes_from_inside(id, direction)
            && quote.tuple.dst.to_ipv4_mapped() == Some(it.packet.src)
        {
            if self.sessions.get(id).translation(direction) != Translation::None {
                return self.forward_error(it, quote, id, direction);
            }
            if self.may_go_on(it.snapshot, id)
                && let Destination::Host = self.whereabouts(received, it.packet.dst)
            {
                return to_host_port(it, received.network);
            }
        }
        self.without_session(it, received)
    }

    /// A packet that no session is kept for, or an ICMP error about what is none.
    fn without_session(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
    ) -> Result<Verdict, DropReason> {
        let dst = it.packet.dst;
        match self.whereabouts(received, dst) {
            Destination::Host if received.network.edge.internal => {
                Err(it.prohibit(DropReason::NetworkInternal))
            }
            Destination::Host if received.network.edge.host_port.is_some() => {
                self.untracked_to_host(it, received)
            }
            Destination::Host => self.host_is_away(it, received),
            Destination::Outside | Destination::Published(_) | Destination::Mapped(_) => {
                match it.packet.content {
                    Content::IcmpError | Content::OtherIcmp => Err(DropReason::NoSession),
                    _ => Err(DropReason::EdgeProtocol),
                }
            }
            nowhere => refuse_nowhere(it, received, &nowhere),
        }
    }

    /// The session of a flow.
    #[inline(always)]
    pub(super) fn find_session(&mut self, tuple: &Tuple) -> Option<(SessionId, Direction)> {
        let found = self.sessions.find(tuple);
        if self.is_dry() {
            let told = found.map_or(Tracking::NoSession, |(id, direction)| {
                let state = self.sessions.get(id).state();
                Tracking::Session { number: id.number(), direction, state }
            });
            self.tell(|| told);
        }
        found
    }

    /// Whether packets of that direction come from a network: all but those that an uplink brings to be translated.
    #[inline(always)]
    pub(super) fn comes_from_inside(&self, id: SessionId, direction: Direction) -> bool {
        self.sessions.get(id).translation(direction) != Translation::Destination
    }

    fn destination<'a>(&self, received: &Received<'a>, tuple: &Tuple) -> Destination<'a> {
        let Some(dst) = tuple.dst.to_ipv4_mapped() else { return Destination::Nobody };
        let is_question = tuple.dst_port == NAMES
            && dst == received.gateway.address
            && matches!(tuple.protocol, Protocol::Udp | Protocol::Tcp);
        if is_question && let Some(port) = received.network.edge.resolver_port {
            return Destination::Resolver(port);
        }
        match self.whereabouts(received, dst) {
            Destination::Host => match self.published.find(dst, tuple.protocol, tuple.dst_port) {
                Some(publication) => Destination::Published(Arc::clone(publication)),
                // A ping of the host's address is the host's, whoever has its identifier outside.
                None if tuple.protocol == Protocol::Icmp => Destination::Host,
                None => self
                    .behind_mapping(received.snapshot, tuple)
                    .map_or(Destination::Host, Destination::Mapped),
            },
            elsewhere => elsewhere,
        }
    }

    fn whereabouts(&self, received: &Received<'_>, dst: std::net::Ipv4Addr) -> Destination<'static> {
        if dst == received.gateway.address || received.snapshot.edge.is_host_address(dst) {
            return Destination::Host;
        }
        match self.places.find(dst) {
            // The host has the gateway's address of every network, but may be kept from this one.
            Some(inside) if inside.is_gateway && received.network.edge.host_port.is_some() => {
                Destination::Host
            }
            _ if !is_single_host(Some(received.gateway), dst) => Destination::Nobody,
            Some(inside) if inside.network == received.network.id => Destination::OwnNetwork,
            Some(_) => Destination::OtherNetwork,
            None => Destination::Outside,
        }
    }

    /// A packet to one of the host's own addresses.
    fn decide_host(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
    ) -> Result<Verdict, DropReason> {
        self.tell(|| Routing::Host);
        let network = received.network;
        let is_echo_request = tuple.protocol == Protocol::Icmp
            && tuple.dst_port == 0
            && it.packet.dst == received.gateway.address;
        if is_echo_request {
            return it.errors.receive(it.now, received, it.out);
        }
        if network.edge.internal {
            return Err(it.prohibit(DropReason::NetworkInternal));
        }
        if network.edge.host_port.is_none() {
            return self.host_is_away(it, received);
        }
        if !network.edge.rules.is_empty() {
            self.open_to_host(it, received, tuple)?;
        }
        to_host_port(it, network)
    }

    /// A packet to the resolver at the gateway. It leaves by the resolver's port, as it came.
    fn ask_resolver(&mut self, it: &mut Ingress<'_>, port: PortId) -> Result<Verdict, DropReason> {
        if !it.errors.may_ask(it.now, it.port.id) {
            return Err(DropReason::ResolverShare);
        }
        to_port(it, Some(port))
    }

    /// A packet to the host that no session can be kept for. Rules decide about each.
    fn untracked_to_host(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
    ) -> Result<Verdict, DropReason> {
        let rules = &received.network.edge.rules;
        let rule = first_match_untracked(rules, it.packet.src, it.packet.dst, it.packet.protocol);
        if self.passes(RuleList::Network(received.network.id), rules, rule) {
            to_host_port(it, received.network)
        } else {
            Err(it.prohibit(DropReason::RuleDenied))
        }
    }

    /// A packet to the host, which has no port on the network.
    fn host_is_away(&mut self, it: &mut Ingress<'_>, received: &Received<'_>) -> Result<Verdict, DropReason> {
        if it.packet.dst == received.gateway.address {
            return it.errors.receive(it.now, received, it.out);
        }
        Err(it.prohibit(DropReason::NoHostPort))
    }
}

/// Whether the packet's source is an address that may be behind its port. Guarded ports have been checked for that.
#[inline]
fn may_be_source(it: &Ingress<'_>, received: &Received<'_>) -> bool {
    let src = it.packet.src;
    let is_at_home = guard::is_guarded(it.port) || received.gateway.contains(src);
    is_at_home
        && src != received.gateway.address
        && !src.is_unspecified()
        && !received.snapshot.edge.is_host_address(src)
}

/// The packet leaves by the host's own port, as it came.
pub(super) fn to_host_port(it: &mut Ingress<'_>, network: &Network) -> Result<Verdict, DropReason> {
    to_port(it, network.edge.host_port)
}

fn to_port(it: &mut Ingress<'_>, port: Option<PortId>) -> Result<Verdict, DropReason> {
    let egress = port.and_then(|id| it.snapshot.port(id)).ok_or(DropReason::NoHostPort)?;
    if it.view.packet_len(it.frame) > usize::from(egress.mtu) {
        return Err(DropReason::TooBig);
    }
    it.out.forward(egress.id);
    Ok(Verdict::Forward { egress: egress.id })
}

/// The packet's destination is nobody that it is routed to.
fn refuse_nowhere(
    it: &mut Ingress<'_>,
    received: &Received<'_>,
    destination: &Destination<'_>,
) -> Result<Verdict, DropReason> {
    match destination {
        Destination::OwnNetwork if received.network.edge.isolated => Err(it.prohibit(DropReason::LinkDenied)),
        Destination::OwnNetwork if it.packet.ttl <= 1 => it.refuse(TIME_EXCEEDED),
        Destination::OwnNetwork => it.refuse(HOST_UNREACHABLE),
        Destination::OtherNetwork => Err(it.prohibit(DropReason::NetworkIsolated)),
        _ => Err(DropReason::EdgeDestination),
    }
}
