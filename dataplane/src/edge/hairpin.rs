//! Back inside by an address of the host: from a network to a published port, or to another endpoint's mapping.
//!
//! Who comes by a published port is seen as the gateway of the network that he gets to, so that answers come back here whatever else
//! the sandbox is on. Who comes by a mapping is seen as he is outside (RFC 4787, REQ-9a): peers that exchange what they look like must
//! find one another wherever they are.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Edge;
use super::config::{Mapping, Publication, UplinkChoice};
use super::ingress::Ingress;
use super::open::{Chosen, may_begin};
use super::ports::Lease;
use super::session::NewSession;
use super::session::mapping::Transport;
use super::tuple::Tuple;
use crate::gateway::Received;
use crate::network::{Network, Port, PortId, Snapshot};
use crate::trace::decision::{RuleList, Tracking};
use crate::verdict::{DropReason, Verdict};

/// The endpoint behind an endpoint-independent mapping, which is open to all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped<'a> {
    pub(super) network: &'a Network,
    pub(super) endpoint: PortId,
    pub(super) internal: Transport,
}

impl Edge {
    /// Who is behind the mapping that `tuple` leads to, if it is one.
    pub(super) fn behind_mapping<'a>(&self, snapshot: &'a Snapshot, tuple: &Tuple) -> Option<Mapped<'a>> {
        let internal = self.sessions.mapping_to(tuple.protocol, (tuple.dst, tuple.dst_port))?;
        if self.has_ended_mapping(internal) {
            return None;
        }
        let address = internal.0.to_ipv4_mapped()?;
        let network = snapshot.network(self.places.find(address)?.network)?;
        let endpoint = endpoint_of(snapshot, network, address)?.id;
        let is_open = network.edge.mapping == Mapping::EndpointIndependent;
        is_open.then_some(Mapped { network, endpoint, internal })
    }

    /// The first packet of a flow from a network to an endpoint-independent mapping: it goes on from the address and port of the host
    /// that its sender has outside (RFC 4787, REQ-9a), so that it does not matter to peers whether they are neighbours.
    pub(super) fn open_mapped_hairpin(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
        mapped: &Mapped<'_>,
    ) -> Result<Verdict, DropReason> {
        let &Mapped { network: target, endpoint, internal: (src, src_port) } = mapped;
        let network = received.network;
        self.tell_mapped(mapped);
        may_begin(it, tuple)?;
        if network.edge.internal || target.edge.internal {
            return Err(it.prohibit(DropReason::NetworkInternal));
        }
        // Uplinks are there for other networks.
        if target.edge.uplinks == UplinkChoice::None {
            return Err(DropReason::NoRoute);
        }
        if is_kept_apart(network, target) {
            return Err(it.prohibit(DropReason::LinkDenied));
        }
        let rule = self.admitting_rule(it, RuleList::Network(network.id), &network.edge.rules, tuple)?;
        let target_rule = match target.id == network.id {
            true => None,
            false => self.admitting_rule(it, RuleList::Network(target.id), &target.edge.rules, tuple)?,
        };
        let internal = (tuple.src, tuple.src_port);
        let own = self.sessions.mapping_from(tuple.protocol, internal);
        let own = own.filter(|_| !self.has_ended_mapping(internal));
        let snat_address = network.edge.snat_address.filter(|&it_is| it.snapshot.edge.is_host_address(it_is));
        let dst = match (own, snat_address) {
            (Some((address, _)), _) => address,
            (None, Some(address)) => address.to_ipv6_mapped(),
            (None, None) => tuple.dst,
        };
        let reply = Tuple { src, src_port, dst, ..tuple.inverted() };
        let (dst_port, lease) = match self.mapped(it, network, tuple, &reply)? {
            (Chosen::Port(port), lease) => (port, lease),
            (Chosen::Wait(wait), _) => return Ok(Verdict::Wait(wait)),
        };
        // Only now, for a packet that waits is asked about again.
        self.count_hit(rule);
        self.count_hit(target_rule);
        let new = NewSession {
            original: *tuple,
            reply: Tuple { dst_port, ..reply },
            hops: self.hops_within(it, endpoint)?,
            owner: it.port.id,
            lease,
            publication: None,
            rules_generation: it.snapshot.edge.rules_generation,
        };
        self.open(it, &new)
    }

    /// The first packet of a flow from a network to a published port of the host: it goes on to the endpoint as if its gateway had
    /// sent it, so that the answer comes back here.
    pub(super) fn open_hairpin(
        &mut self,
        it: &mut Ingress<'_>,
        received: &Received<'_>,
        tuple: &Tuple,
        publication: &Arc<Publication>,
    ) -> Result<Verdict, DropReason> {
        let target = it.snapshot.network(publication.network).ok_or(DropReason::UnknownPort)?;
        let gateway = target.gateway.ok_or(DropReason::UnknownPort)?;
        self.tell_published(publication, tuple);
        may_begin(it, tuple)?;
        if received.network.edge.internal || target.edge.internal {
            return Err(it.prohibit(DropReason::NetworkInternal));
        }
        let from_rules = &received.network.edge.rules;
        let from_rule = self.admitting_rule(it, RuleList::Network(received.network.id), from_rules, tuple)?;
        let to_rule = match target.id == received.network.id {
            true => None,
            false => self.admitting_rule(it, RuleList::Network(target.id), &target.edge.rules, tuple)?,
        };
        let list = RuleList::Publication(publication.id);
        let publication_rule = self.admitting_rule(it, list, &publication.rules, tuple)?;
        let reply = Tuple {
            src: publication.to_address.to_ipv6_mapped(),
            src_port: publication.target_port(tuple.dst_port),
            dst: gateway.address.to_ipv6_mapped(),
            ..tuple.inverted()
        };
        let port = match self.choose_any_port(it, tuple, &reply, Lease::Shared)? {
            Chosen::Port(port) => port,
            Chosen::Wait(wait) => return Ok(Verdict::Wait(wait)),
        };
        // Only now, for a packet that waits is asked about again.
        [from_rule, to_rule, publication_rule].into_iter().for_each(|rule| self.count_hit(rule));
        let new = NewSession {
            original: *tuple,
            reply: Tuple { dst_port: port, ..reply },
            hops: self.hops_within(it, publication.endpoint)?,
            owner: it.port.id,
            lease: Lease::Shared,
            publication: Some(publication.id),
            rules_generation: it.snapshot.edge.rules_generation,
        };
        self.open(it, &new)
    }

    pub(super) fn tell_mapped(&mut self, mapped: &Mapped<'_>) {
        let (address, port) = mapped.internal;
        self.tell(|| Tracking::Mapped {
            to: (address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED), port),
        });
    }
}

/// Whether the edge must not lead endpoints of one network to those of the other by mappings, which nobody has opened on purpose:
/// isolated ones stay so.
pub(super) fn is_kept_apart(from: &Network, to: &Network) -> bool {
    from.id == to.id && from.edge.isolated
}

/// The port of the endpoint of `network` with that address.
fn endpoint_of<'a>(snapshot: &'a Snapshot, network: &Network, address: Ipv4Addr) -> Option<&'a Port> {
    let has_it = |port: &&Port| {
        port.identity.as_ref().is_some_and(|identity| identity.addresses.contains(&address.into()))
    };
    network.members.iter().filter_map(|&id| snapshot.port(id)).find(has_it)
}
