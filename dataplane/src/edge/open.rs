//! New sessions: out of a network, into one by a published port, by an open mapping, back into one by the host's address, and
//! between a network and the host where rules decide about that.

use core::time::Duration;
use std::sync::Arc;

use super::Edge;
use super::config::{Mapping, Publication, Rule, UplinkChoice};
use super::forward::{max_segment_size, tcp_flags};
use super::hairpin::Mapped;
use super::ingress::Ingress;
use super::packet::Content;
use super::ports::Lease;
use super::rules::{first_match, permits};
use super::session::tcp::TcpFlags;
use super::session::{Hop, NewSession, Refused};
use super::tuple::Tuple;
use super::waiting::Awaited;
use super::way::{Found, endpoint_hop};
use super::wish::Asker;
use crate::addr::MacAddr;
use crate::gateway::Received;
use crate::gateway::errors::{TIME_EXCEEDED, is_single_host};
use crate::network::{Network, PortId, Snapshot};
use crate::trace::decision::{RuleList, Tracking};
use crate::verdict::{DropReason, Verdict, Wait};

/// Which port of the host a flow gets.
pub(super) enum Chosen {
    Port(u16),
    Wait(Wait),
}

impl Edge {
    /// The first packet of a flow from a network to the outside.
    pub(super) fn open_outbound(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
    ) -> Result<Verdict, DropReason> {
        let network = received.network;
        may_begin(it, tuple)?;
        if network.edge.internal {
            return Err(it.prohibit(DropReason::NetworkInternal));
        }
        if it.packet.ttl <= 1 {
            return it.refuse(TIME_EXCEEDED);
        }
        let rule = self.admitting_rule(it, RuleList::Network(network.id), &network.edge.rules, tuple)?;
        let (hop, source) = match self.way_out(it, network, it.packet.dst)? {
            Found::Known(way) => way,
            Found::Wait(wait) => return Ok(Verdict::Wait(wait)),
        };
        let back = self.hop_back_inside(it).ok_or(DropReason::UnknownPort)?;
        let reply = Tuple { dst: source.to_ipv6_mapped(), ..tuple.inverted() };
        let (reply, lease) = match self.mapped(it, network, tuple, &reply)? {
            (Chosen::Port(port), lease) => (Tuple { dst_port: port, ..reply }, lease),
            (Chosen::Wait(wait), _) => return Ok(Verdict::Wait(wait)),
        };
        // Only now, for a packet that waits is asked about again.
        self.count_hit(rule);
        let new = NewSession {
            original: *tuple,
            reply,
            hops: [hop, back],
            owner: it.port.id,
            lease,
            publication: None,
            rules_generation: it.snapshot.edge.rules_generation,
        };
        self.open(it, &new)
    }

    /// The port of the host for a flow whose answers look like `reply`, and how it is held.
    pub(super) fn mapped(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        tuple: &Tuple,
        reply: &Tuple,
    ) -> Result<(Chosen, Lease), DropReason> {
        let lease = match network.edge.mapping {
            Mapping::PortDependent => Lease::Shared,
            Mapping::EndpointIndependent => Lease::Mapped,
        };
        if lease == Lease::Mapped {
            let internal = (tuple.src, tuple.src_port);
            let mapping = self.sessions.mapping_from(tuple.protocol, internal);
            match mapping.filter(|_| !self.has_ended_mapping(internal)) {
                Some((address, port)) if address == reply.dst => return Ok((Chosen::Port(port), lease)),
                // The mapping stands on an address that is left: flows that still use it end one by one.
                Some(_) => return Ok((self.choose_port(it, tuple, reply, Lease::Shared)?, Lease::Shared)),
                None => {}
            }
        }
        Ok((self.choose_port(it, tuple, reply, lease)?, lease))
    }

    fn choose_port(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        reply: &Tuple,
        lease: Lease,
    ) -> Result<Chosen, DropReason> {
        let (protocol, own) = (tuple.protocol, tuple.src_port);
        let asker = Asker { endpoint: it.port.id, address: tuple.src };
        if !self.sessions.ports().is_held(protocol, own)
            && self.wishes.is_worth_waiting(it.now, &asker, protocol, own)
        {
            let wait = self.hold(it.now, it.snapshot, Awaited::Port(protocol, own), it.port.id, it.frame)?;
            if self.is_dry() {
                return self.rehearse_wish(it, tuple, reply, lease);
            }
            // Only for a packet that waits.
            self.wishes.ask(it.now, asker.endpoint, protocol, own, it.out);
            return Ok(Chosen::Wait(wait));
        }
        self.choose_any_port(it, tuple, reply, lease)
    }

    /// Any port that is free for the flow. Asks for more before they are all in use, and waits for those that were asked for.
    pub(super) fn choose_any_port(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        reply: &Tuple,
        lease: Lease,
    ) -> Result<Chosen, DropReason> {
        if self.is_dry() {
            return self.rehearse_port(it, tuple, reply, lease, false);
        }
        let protocol = tuple.protocol;
        let own = (tuple.src, tuple.src_port);
        if self.sessions.ports().wants_more(protocol) {
            self.supply.want(it.now, protocol, it.out);
        }
        let more = self.supply.is_expected(it.now, protocol);
        let port = self.sessions.choose_port(it.now, it.port.id, own, reply, lease, more);
        if let Some(port) = port {
            Ok(Chosen::Port(port))
        } else if more {
            self.hold(it.now, it.snapshot, Awaited::MorePorts(protocol), it.port.id, it.frame)
                .map(Chosen::Wait)
        } else {
            self.sessions.count_refused(protocol);
            Err(it.prohibit(DropReason::PortsExhausted))
        }
    }

    /// The first packet of a flow from outside to a published port.
    pub(super) fn open_published(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        publication: &Arc<Publication>,
    ) -> Result<Verdict, DropReason> {
        let network = it.snapshot.network(publication.network).ok_or(DropReason::UnknownPort)?;
        self.tell_published(publication, tuple);
        self.may_come_from_outside(it, tuple, network)?;
        let rules = [
            self.admitting_rule(it, RuleList::Network(network.id), &network.edge.rules, tuple)?,
            self.admitting_rule(it, RuleList::Publication(publication.id), &publication.rules, tuple)?,
        ];
        let hops = match self.hops_from_outside(it, network, publication.endpoint)? {
            Found::Known(hops) => hops,
            Found::Wait(wait) => return Ok(Verdict::Wait(wait)),
        };
        // Only now, for a packet that waits is asked about again.
        rules.into_iter().for_each(|rule| self.count_hit(rule));
        let reply = Tuple {
            src: publication.to_address.to_ipv6_mapped(),
            src_port: publication.target_port(tuple.dst_port),
            ..tuple.inverted()
        };
        let new = NewSession {
            original: *tuple,
            reply: self.sessions.tell_apart(tuple, reply),
            hops,
            owner: publication.endpoint,
            lease: Lease::None,
            publication: Some(publication.id),
            rules_generation: it.snapshot.edge.rules_generation,
        };
        self.open(it, &new)
    }

    /// The first packet of a flow from outside to an endpoint-independent mapping.
    pub(super) fn open_mapped(
        &mut self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        mapped: &Mapped<'_>,
    ) -> Result<Verdict, DropReason> {
        let &Mapped { network, endpoint, internal: (src, src_port) } = mapped;
        self.tell_mapped(mapped);
        self.may_come_from_outside(it, tuple, network)?;
        let rule = self.admitting_rule(it, RuleList::Network(network.id), &network.edge.rules, tuple)?;
        let hops = match self.hops_from_outside(it, network, endpoint)? {
            Found::Known(hops) => hops,
            Found::Wait(wait) => return Ok(Verdict::Wait(wait)),
        };
        self.count_hit(rule);
        let new = NewSession {
            original: *tuple,
            reply: Tuple { src, src_port, ..tuple.inverted() },
            hops,
            owner: endpoint,
            lease: Lease::Mapped,
            publication: None,
            rules_generation: it.snapshot.edge.rules_generation,
        };
        self.open(it, &new)
    }

    /// The first packet of a flow from a network with rules to the host: noted, so that the rules are asked once, and answers to
    /// the host are told from new flows.
    pub(super) fn open_to_host(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
    ) -> Result<(), DropReason> {
        may_begin(it, tuple)?;
        self.check_rules(it, RuleList::Network(received.network.id), &received.network.edge.rules, tuple)?;
        let new = untranslated(it.snapshot, it.port.id, tuple);
        self.insert_session(it.now, &new, tcp_flags(&it.packet)).map_err(|reason| it.prohibit(reason))
    }

    /// Asks a list of rules about a new session.
    pub(super) fn check_rules(
        &mut self,
        it: &mut Ingress<'_>,
        list: RuleList,
        rules: &[Rule],
        tuple: &Tuple,
    ) -> Result<(), DropReason> {
        let rule = self.admitting_rule(it, list, rules, tuple)?;
        self.count_hit(rule);
        Ok(())
    }

    /// The rule of a list that admits a new session, if one had to; it has not counted that yet.
    pub(super) fn admitting_rule<'a>(
        &mut self,
        it: &mut Ingress<'_>,
        list: RuleList,
        rules: &'a [Rule],
        tuple: &Tuple,
    ) -> Result<Option<&'a Rule>, DropReason> {
        let rule = first_match(rules, tuple);
        self.tell_rule(list, rules, rule);
        if permits(rule) {
            return Ok(rule);
        }
        self.count_hit(rule);
        Err(it.prohibit(DropReason::RuleDenied))
    }

    /// Whether what that rule of a list decides about passes; the rule counts it.
    pub(super) fn passes(&mut self, list: RuleList, rules: &[Rule], rule: Option<&Rule>) -> bool {
        self.tell_rule(list, rules, rule);
        self.count_hit(rule);
        permits(rule)
    }

    fn tell_rule(&mut self, list: RuleList, rules: &[Rule], rule: Option<&Rule>) {
        self.tell(|| Tracking::Rules {
            list,
            is_empty: rules.is_empty(),
            hit: rule.map(|rule| (rule.number, rule.action)),
        });
    }

    pub(super) fn count_hit(&self, rule: Option<&Rule>) {
        if let Some(rule) = rule.filter(|_| !self.is_dry()) {
            rule.hits.count();
        }
    }

    /// Whether a packet from outside may open a session with an endpoint of `network`.
    fn may_come_from_outside(
        &self,
        it: &mut Ingress<'_>,
        tuple: &Tuple,
        network: &Network,
    ) -> Result<(), DropReason> {
        may_begin(it, tuple)?;
        let src = it.packet.src;
        if !is_single_host(None, src)
            || self.places.find(src).is_some()
            || it.snapshot.edge.is_host_address(src)
            || it.snapshot.edge.is_elsewhere(it.port.id, src)
        {
            return Err(DropReason::EdgeSource);
        }
        if network.edge.internal {
            return Err(it.prohibit(DropReason::NetworkInternal));
        }
        // Uplinks are there for other networks. In silence, as when there are none.
        if network.edge.uplinks == UplinkChoice::None {
            return Err(DropReason::NoRoute);
        }
        Ok(())
    }

    pub(super) fn tell_published(&mut self, publication: &Publication, tuple: &Tuple) {
        let to = (publication.to_address, publication.target_port(tuple.dst_port));
        self.tell(|| Tracking::Published { id: publication.id, to });
    }

    /// The way to an endpoint of `network`, and back to whoever sent the packet from outside.
    fn hops_from_outside(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        endpoint: PortId,
    ) -> Result<Found<[Hop; 2]>, DropReason> {
        let to = self.hop_to(it, endpoint)?;
        let (uplink, from) = (it.snapshot.edge.uplink(it.port.id), it.view.src);
        let uplink = uplink.ok_or(DropReason::UnknownPort)?;
        Ok(match self.way_back(it, network, it.packet.src, uplink, from) {
            Found::Known(back) => Found::Known([to, back]),
            Found::Wait(wait) => Found::Wait(wait),
        })
    }

    /// The way to an endpoint, and back to the one that sent the packet.
    pub(super) fn hops_within(&mut self, it: &Ingress<'_>, endpoint: PortId) -> Result<[Hop; 2], DropReason> {
        Ok([self.hop_to(it, endpoint)?, self.hop_back_inside(it).ok_or(DropReason::UnknownPort)?])
    }

    fn hop_to(&mut self, it: &Ingress<'_>, endpoint: PortId) -> Result<Hop, DropReason> {
        let generation = self.generation(it.now);
        endpoint_hop(it.snapshot, endpoint, MacAddr::ZERO, generation).ok_or(DropReason::UnknownPort)
    }

    /// Opens a session with its first packet, and sends that on.
    pub(super) fn open(&mut self, it: &mut Ingress<'_>, new: &NewSession) -> Result<Verdict, DropReason> {
        if it.packet.ttl <= 1 {
            return it.refuse(TIME_EXCEEDED);
        }
        let flags = tcp_flags(&it.packet);
        self.insert_session(it.now, new, flags).map_err(|reason| it.prohibit(reason))?;
        self.call_at(it.now + Duration::from_secs(1));
        let [hop, back] = &new.hops;
        let clamp = flags.and_then(|flags| max_segment_size(flags, hop, back));
        self.send(it, &new.reply.inverted(), new.translation(), hop, clamp)
    }
}

/// A session that is only followed.
pub(super) fn untranslated(snapshot: &Snapshot, owner: PortId, tuple: &Tuple) -> NewSession {
    NewSession {
        original: *tuple,
        reply: tuple.inverted(),
        hops: [Hop::UNKNOWN; 2],
        owner,
        lease: Lease::None,
        publication: None,
        rules_generation: snapshot.edge.rules_generation,
    }
}

/// Why a session was refused, as people read it.
pub(super) fn reason(refused: Refused) -> DropReason {
    match refused {
        Refused::Share => DropReason::SessionShare,
        Refused::Full => DropReason::SessionsFull,
        Refused::Collision => DropReason::PortsExhausted,
    }
}

/// Whether a packet can be the first of a session. A TCP segment without SYN may be: the connection was there before us. One that
/// answers a SYN that nobody has seen, or ends what nobody has seen begin, may not.
pub(super) fn may_begin(it: &Ingress<'_>, tuple: &Tuple) -> Result<(), DropReason> {
    match it.packet.content {
        Content::Fragment => Err(DropReason::FragmentLost),
        Content::Echo { request: false, .. } => Err(DropReason::NoSession),
        Content::Tcp { flags, .. }
            if [TcpFlags::RST, TcpFlags::FIN, TcpFlags::SYN_ACK].iter().any(|&it| flags.has(it)) =>
        {
            Err(DropReason::NoSession)
        }
        Content::Tcp { .. } | Content::Udp { .. } if tuple.src_port == 0 || tuple.dst_port == 0 => {
            Err(DropReason::EdgeMalformed)
        }
        _ => Ok(()),
    }
}
