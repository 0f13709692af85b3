//! What must hold, whatever happens.

use core::time::Duration;
use std::collections::BTreeMap;

use pontoon_dataplane::PortId;
use pontoon_dataplane::frame::{EthernetView, ethertype};
use smoltcp::wire::{
    ArpPacket, ArpRepr, Icmpv6Packet, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet, NdiscRepr,
};

use super::build::OUTSIDE;
use super::frames::ipv6_of;
use super::link::{Origin, Wire};
use super::switch::Effects;
use super::world::World;

/// Longer than anything is remembered: TCP sessions for 2 h 4 min, ports for two minutes more.
const SILENCE: Duration = Duration::from_secs(3 * 3600);

/// What a frame says of its sender.
#[derive(Debug, Default)]
struct Claims {
    mac: pontoon_dataplane::MacAddr,
    arp_mac: Option<pontoon_dataplane::MacAddr>,
    address: Option<Ipv4Address>,
    address6: Option<Ipv6Address>,
    /// Where neighbour discovery says that an address is.
    neighbour: Option<(Ipv6Address, pontoon_dataplane::MacAddr)>,
}

impl Claims {
    fn of(bytes: &[u8]) -> Option<Claims> {
        let view = EthernetView::parse(bytes).ok()?;
        let payload = view.payload(bytes);
        let mut claims = Claims { mac: view.src, ..Claims::default() };
        if view.ethertype == ethertype::IPV4 {
            claims.address = Ipv4Packet::new_checked(payload).ok().map(|packet| packet.src_addr());
        } else if view.ethertype == ethertype::IPV6 {
            let packet = Ipv6Packet::new_checked(payload).ok()?;
            claims.address6 = Some(packet.src_addr()).filter(|address| !address.is_unspecified());
            claims.neighbour = discovered(&packet);
        } else if view.ethertype == ethertype::ARP
            && let Ok(ArpRepr::EthernetIpv4 { source_hardware_addr, source_protocol_addr, .. }) =
                ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?)
        {
            claims.arp_mac = Some(pontoon_dataplane::MacAddr(source_hardware_addr.0));
            claims.address = Some(source_protocol_addr);
        }
        claims.address = claims.address.filter(|address| !address.is_unspecified());
        Some(claims)
    }
}

/// What a message of neighbour discovery says of whom it names, if it does: an advertisement of its target, a question of its sender.
fn discovered(packet: &Ipv6Packet<&[u8]>) -> Option<(Ipv6Address, pontoon_dataplane::MacAddr)> {
    if packet.next_header() != IpProtocol::Icmpv6 {
        return None;
    }
    let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let (address, mac) = match NdiscRepr::parse(&icmp).ok()? {
        NdiscRepr::NeighborAdvert { target_addr, lladdr, .. } => (target_addr, lladdr?),
        NdiscRepr::NeighborSolicit { lladdr, .. } => (packet.src_addr(), lladdr?),
        _ => return None,
    };
    Some((address, pontoon_dataplane::MacAddr(mac.as_bytes().try_into().ok()?)))
}

impl World {
    /// Whatever reaches a host may come from there, and does not lie about it where lies are caught.
    pub(super) fn check_delivery(&mut self, host: usize, wire: &Wire) {
        if let Some(what) = self.wrong_delivery(host, wire) {
            let from = wire.origin;
            self.find(&format!("host {host} gets what it must not get, from {from:?}: {what}"));
        }
    }

    fn wrong_delivery(&self, host: usize, wire: &Wire) -> Option<String> {
        let receiver = &self.hosts[host];
        let claims = Claims::of(&wire.bytes)?;
        let lan = &self.lans[receiver.lan];
        let in_lan = |address: Ipv4Address| address.octets()[..3] == lan.prefix;
        if wire.routed {
            return match claims.address {
                Some(address) if receiver.lan == OUTSIDE && !in_lan(address) => {
                    Some(format!("{address} is known outside"))
                }
                Some(address) if !in_lan(address) && address.octets()[..3] != self.lans[OUTSIDE].prefix => {
                    Some(format!("{address} is of another network"))
                }
                _ => None,
            };
        }
        let Origin::Host(sender) = wire.origin else { return Some("a switch made it up".to_owned()) };
        let sender_host = &self.hosts[sender];
        let mut lies = Vec::new();
        if sender == host && !self.has_hairpin(host) {
            lies.push("its own frame".to_owned());
        }
        if sender_host.lan != receiver.lan {
            lies.push("it is of another network".to_owned());
        }
        let (mac, address) = sender_host.own;
        let gateway = lan.gateway;
        let claims_gateway = gateway.is_some_and(|(gateway, its)| {
            claims.mac == gateway || claims.arp_mac == Some(gateway) || claims.address == Some(its)
        });
        if claims_gateway {
            lies.push("it says that it is the gateway".to_owned());
        }
        if sender_host.guarded {
            if claims.mac != mac || claims.arp_mac.is_some_and(|it| it != mac) {
                lies.push(format!("it says that it is {}", claims.arp_mac.unwrap_or(claims.mac)));
            }
            if let Some(claimed) = claims.address.filter(|it| *it != address) {
                lies.push(format!("it says that it is {claimed}"));
            }
            let address6 = ipv6_of(address);
            if let Some(claimed) = claims.address6.filter(|it| *it != address6) {
                lies.push(format!("it says that it is {claimed}"));
            }
            if let Some((claimed, at)) = claims.neighbour.filter(|it| *it != (address6, mac)) {
                lies.push(format!("it says that {claimed} is at {at}"));
            }
        }
        (!lies.is_empty()).then(|| lies.join(", "))
    }

    /// Tables are within their bounds and shares, and counters add up.
    pub(super) fn inspect(&mut self) {
        for switch in 0..self.switches.len() {
            self.check_books(switch);
            self.check_fdb(switch);
            self.check_sessions(switch);
        }
    }

    pub(super) fn check_books(&mut self, switch: usize) {
        let it = &self.switches[switch];
        if let Err(what) = it.ledger.check(it.waiting()) {
            self.find(&format!("the counters of switch {switch} do not add up: {what}"));
        }
    }

    fn check_fdb(&mut self, switch: usize) {
        let mut findings = Vec::new();
        let clock = self.switches[switch].clock(self.now);
        for (&(_, lan), (network, bounds)) in self.networks.range((switch, 0)..(switch + 1, 0)) {
            let Some(network) = self.switches[switch].snapshot.network(*network) else { continue };
            let entries = network.fdb.entries(clock);
            let mut shares: BTreeMap<PortId, usize> = BTreeMap::new();
            entries.iter().for_each(|entry| *shares.entry(entry.port).or_default() += 1);
            if network.fdb.stats().entries > bounds.capacity {
                findings.push(format!("the FDB of LAN {lan} has {} entries", entries.len()));
            }
            if let Some((port, count)) = shares.iter().find(|(_, count)| **count > bounds.port_share) {
                findings.push(format!("{port} has {count} addresses in the FDB of LAN {lan}"));
            }
        }
        for finding in findings {
            self.find(&format!("switch {switch}: {finding}"));
        }
    }

    fn check_sessions(&mut self, switch: usize) {
        let it = &self.switches[switch];
        let (Some(edge), Some(control)) = (it.edge(), &self.controls[switch]) else { return };
        let (stats, limits) = (edge.stats(), it.snapshot.edge.limits);
        let most = stats.per_endpoint.iter().map(|(_, sessions)| *sessions).max().unwrap_or(0);
        let mut findings = Vec::new();
        if stats.sessions > limits.sessions || most > limits.sessions_per_endpoint {
            findings.push(format!("{} sessions, {most} of one endpoint", stats.sessions));
        }
        let held = control.held();
        if stats.ports_held.0 > held.0 || stats.ports_held.1 > held.1 {
            findings.push(format!("it holds {:?} ports and was given {held:?}", stats.ports_held));
        }
        // The bound of `edge::waiting`.
        if stats.waiting > 1024 {
            findings.push(format!("{} frames wait", stats.waiting));
        }
        for finding in findings {
            self.find(&format!("switch {switch}: {finding}"));
        }
    }

    /// When all is over everything was fetched, and when all timers have run out nothing is left.
    pub(super) fn check_end(&mut self) {
        let mut findings = Vec::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let errands = host.station.iter().flat_map(|station| &station.errands);
            for errand in errands.filter(|errand| !errand.is_done()) {
                findings.push(format!(
                    "host {number} still has to fetch from {}: {}",
                    errand.name,
                    errand.progress()
                ));
            }
        }
        // After a failure more of them say nothing.
        if self.trace.has_failed() {
            return;
        }
        self.inspect();
        for finding in findings {
            self.find(&finding);
        }
        for switch in 0..self.switches.len() {
            self.check_empty(switch);
        }
    }

    fn check_empty(&mut self, switch: usize) {
        let mut effects = Effects::default();
        let control = &mut self.controls[switch];
        let it = &mut self.switches[switch];
        it.run_out(self.now, SILENCE, &mut effects, |request| control.as_mut()?.answer(request));
        let mut findings = effects.findings;
        for network in it.snapshot.networks.iter().flatten() {
            let entries = network.fdb.stats().entries;
            if entries > 0 {
                findings.push(format!("{entries} addresses are left in the FDB of {:?}", network.id));
            }
        }
        let stats = it.edge().map(|edge| edge.stats()).unwrap_or_default();
        if (stats.sessions, stats.waiting, stats.ports_used) != (0, 0, (0, 0)) {
            findings.push(format!("after all is over there is {stats:?}"));
        }
        for finding in findings {
            self.find(&format!("switch {switch}: {finding}"));
        }
        self.check_books(switch);
    }
}
