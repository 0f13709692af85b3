//! Where packets leave: by the kernel's route and a next hop towards the outside, as they came, or to an endpoint behind its port.

use std::net::Ipv4Addr;

use super::Edge;
use super::config::{Uplink, UplinkChoice};
use super::ingress::Ingress;
use super::neighbour::{NeighbourKey, Resolved};
use super::punt::Route;
use super::route::{RouteKey, Way};
use super::session::Hop;
use super::waiting::Awaited;
use crate::addr::MacAddr;
use crate::gateway::errors::{HOST_UNREACHABLE, NETWORK_UNREACHABLE};
use crate::network::{Network, PortId, Snapshot};
use crate::trace::decision::Routing;
use crate::verdict::{DropReason, Wait};

/// What deciding about a packet takes.
pub(super) enum Found<T> {
    /// This.
    Known(T),
    /// That is not known yet: the packet is kept.
    Wait(Wait),
}

impl Edge {
    /// The way from a network to a destination outside: the hop, and the address of the host to send from.
    pub(super) fn way_out(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        destination: Ipv4Addr,
    ) -> Result<Found<(Hop, Ipv4Addr)>, DropReason> {
        let config = &it.snapshot.edge;
        let route = match self.route_towards(it, network, destination)? {
            Found::Known(route) => route,
            Found::Wait(wait) => return Ok(Found::Wait(wait)),
        };
        let uplink =
            route.and_then(|route| config.uplink(route.uplink)).filter(|uplink| match network.edge.uplinks {
                UplinkChoice::Only(index) => uplink.interface_index == index,
                _ => true,
            });
        let (Some(route), Some(uplink)) = (route, uplink) else {
            return Err(it.drop_with(NETWORK_UNREACHABLE, DropReason::NoRoute));
        };
        let source = network.edge.snat_address.unwrap_or(route.source);
        if !config.is_host_address(source) {
            let reason = match network.edge.snat_address {
                Some(_) => DropReason::SnatAddress,
                None => DropReason::NoRoute,
            };
            return Err(it.drop_with(NETWORK_UNREACHABLE, reason));
        }
        self.tell(|| Routing::Route(route));
        let mac = match self.next_hop(it, uplink, route)? {
            Found::Known(mac) => mac,
            Found::Wait(wait) => return Ok(Found::Wait(wait)),
        };
        let generation = self.generation(it.now);
        self.call_at(it.now + core::time::Duration::from_secs(1));
        Ok(Found::Known((uplink_hop(uplink, mac, uplink.mtu.min(route.mtu), generation), source)))
    }

    /// The way from a network back to a client who came by that uplink, from the station `from`. The kernel's route need not lead there; if
    /// it does, its MTU holds (RFC 4787, REQ-13). Who finds no room to wait for it does without, so that a flood of clients, who may all
    /// be forged, keeps nobody out.
    pub(super) fn way_back(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        client: Ipv4Addr,
        uplink: &Uplink,
        from: MacAddr,
    ) -> Found<Hop> {
        let route = match self.route_towards(it, network, client) {
            Ok(Found::Wait(wait)) => return Found::Wait(wait),
            Ok(Found::Known(route)) => route.filter(|route| route.uplink == uplink.port),
            Err(_) => None,
        };
        let mtu = route.map_or(uplink.mtu, |route| uplink.mtu.min(route.mtu));
        Found::Known(uplink_hop(uplink, from, mtu, self.generation))
    }

    /// The kernel's route from a network to a destination outside, if there is one.
    ///
    /// # Errors
    /// [`DropReason::WaitFull`]: it is not known, and there is no room to wait for it.
    fn route_towards(
        &mut self,
        it: &mut Ingress<'_>,
        network: &Network,
        destination: Ipv4Addr,
    ) -> Result<Found<Option<Route>>, DropReason> {
        let key = RouteKey { network: network.id, destination };
        // A sender at its share cannot have more questions put than frames kept.
        let may_wait = self.waiting.has_room(it.port.id, it.frame.bytes.len());
        let way = match network.edge.uplinks {
            UplinkChoice::None => Way::None,
            _ if self.is_dry() => self.rehearse_route(it, key, may_wait),
            _ => self.routes.lookup(it.now, key, may_wait, it.out),
        };
        Ok(match way {
            Way::Known(route) => Found::Known(Some(route)),
            Way::None => Found::Known(None),
            Way::Asked => {
                let wait = self.hold(it.now, it.snapshot, Awaited::Route(key), it.port.id, it.frame)?;
                let Some(route) = self.answered_route(key) else { return Ok(Found::Wait(wait)) };
                self.goes_on(Awaited::Route(key), it.out, || Routing::AsksRoute(destination));
                Found::Known(route)
            }
        })
    }

    /// The MAC of a route's next hop.
    fn next_hop(
        &mut self,
        it: &mut Ingress<'_>,
        uplink: &Uplink,
        route: Route,
    ) -> Result<Found<MacAddr>, DropReason> {
        let key = NeighbourKey { uplink: uplink.port, address: route.next_hop };
        let may_wait = self.waiting.has_room(it.port.id, it.frame.bytes.len());
        let known = (route.next_hop, route.neighbour);
        let resolved = match uplink.mac {
            None => Resolved::Mac(Uplink::PEER_MAC),
            Some(_) if self.is_dry() => self.rehearse_next_hop(it, uplink, known, may_wait),
            Some(_) => self.neighbours.resolve(it.now, uplink, known, may_wait, it.out),
        };
        Ok(Found::Known(match resolved {
            Resolved::Mac(mac) => {
                self.tell(|| Routing::NextHop { address: route.next_hop, mac });
                mac
            }
            Resolved::Asked => {
                let wait = self.hold(it.now, it.snapshot, Awaited::Neighbour(key), it.port.id, it.frame)?;
                if !self.goes_on(Awaited::Neighbour(key), it.out, || Routing::AsksNextHop(route.next_hop)) {
                    return Ok(Found::Wait(wait));
                }
                MacAddr::ZERO
            }
            Resolved::Failed => return Err(it.drop_with(HOST_UNREACHABLE, DropReason::NeighbourTimeout)),
        }))
    }

    /// Where answers to the endpoint that sent the packet leave.
    pub(super) fn hop_back_inside(&self, it: &Ingress<'_>) -> Option<Hop> {
        endpoint_hop(it.snapshot, it.port.id, it.view.src, self.generation)
    }
}

/// The way to a station behind an uplink.
pub(super) fn uplink_hop(uplink: &Uplink, dst_mac: MacAddr, mtu: u16, generation: u32) -> Hop {
    let src_mac = uplink.mac.unwrap_or(Uplink::OWN_MAC);
    Hop { egress: uplink.port, mtu, dst_mac, src_mac, generation }
}

/// The way to the endpoint behind a port: its own MAC, or the one that it was seen with. None: the port has no gateway any more.
pub(super) fn endpoint_hop(snapshot: &Snapshot, port: PortId, seen: MacAddr, generation: u32) -> Option<Hop> {
    let port = snapshot.port(port)?;
    let network = snapshot.network(port.place.home()?)?;
    let gateway = network.gateway?;
    let dst_mac = port.identity.as_ref().map_or(seen, |identity| identity.mac);
    let mtu = port.mtu.min(network.mtu);
    dst_mac.is_station().then_some(Hop { egress: port.id, mtu, dst_mac, src_mac: gateway.mac, generation })
}
