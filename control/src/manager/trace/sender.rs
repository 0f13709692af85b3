//! The frame that a packet in words comes in, as its sender's kernel would make it: to the next station's MAC on the link. What had to
//! be assumed for that is said.

use std::net::Ipv4Addr;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::trace::Probe;

use crate::error::Error;
use crate::manager::Manager;
use crate::state::{NetworkState, PortName};
use crate::store::EndpointRecord;
use crate::world::Ingress;

/// Who sends what comes from a station whose MAC nobody knows, and to whom on an uplink without MACs.
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const BARE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A frame, and what was assumed when it was made.
pub(super) struct Made {
    pub(super) frame: Vec<u8>,
    pub(super) assumed: Vec<String>,
}

impl Manager {
    /// The frame of a packet in words.
    pub(super) fn make(&self, network: &NetworkState, ingress: &Ingress, words: &str) -> Result<Made, Error> {
        let probe: Probe =
            words.parse().map_err(|error| Error::Declaration(format!("\"{words}\": {error}")))?;
        match ingress {
            Ingress::Uplink(name) => {
                let own = self.world.link(None, name)?.and_then(|link| link.mac);
                let assumed =
                    format!("from {STRANGER}, which stands for the MAC of whoever sends it to {name}");
                let assumed = own.map(|_| assumed).into_iter().collect();
                Ok(Made { frame: probe.frame(STRANGER, own.unwrap_or(BARE)), assumed })
            }
            Ingress::Port(name) => Ok(self.make_inside(network, name, &probe)),
        }
    }

    fn make_inside(&self, network: &NetworkState, name: &PortName, probe: &Probe) -> Made {
        let sender = Sender { manager: self, network, endpoint: network.endpoints.get(&name.port) };
        let mut assumed = Vec::new();
        let from = match sender.endpoint {
            Some(endpoint) => endpoint.mac.0,
            None if network.record.host_interface.as_ref() == Some(&name.port) => {
                network.record.gateway_mac.0
            }
            None => {
                let (mac, words) = sender.station(probe.source());
                assumed.push(words);
                mac
            }
        };
        if probe.is_arp() {
            return Made { frame: probe.frame(from, MacAddr::BROADCAST), assumed };
        }
        let destination = probe.destination();
        let frame = match sender.next_station(destination) {
            Some((to, words)) => {
                assumed.push(words);
                probe.frame(from, to)
            }
            None => {
                assumed.push(format!(
                    "{destination} is on {}, but neither an endpoint nor in an ARP table: its sender has to ask for its MAC first, and this follows that question",
                    network.record.subnet
                ));
                Probe::arp_request(probe.source(), destination).frame(from, MacAddr::BROADCAST)
            }
        };
        Made { frame, assumed }
    }
}

/// Who sends a packet on a network.
struct Sender<'a> {
    manager: &'a Manager,
    network: &'a NetworkState,
    /// None: the host, or a station behind an existing interface.
    endpoint: Option<&'a EndpointRecord>,
}

impl Sender<'_> {
    /// The MAC that packets to an address are sent to, and why; none where it has to be asked for.
    fn next_station(&self, to: Ipv4Addr) -> Option<(MacAddr, String)> {
        let record = &self.network.record;
        let gateway = record.gateway_mac.0;
        if to.is_broadcast() || record.subnet.prefix_len() < 31 && to == record.subnet.broadcast() {
            return Some((
                MacAddr::BROADCAST,
                format!("sent to {}, for it is meant for all", MacAddr::BROADCAST),
            ));
        }
        if to.is_multicast() {
            // RFC 1112, section 6.4.
            let [_, b, c, d] = to.octets();
            let group = MacAddr([0x01, 0, 0x5e, b & 0x7f, c, d]);
            return Some((group, format!("sent to the group {group}")));
        }
        if to == record.gateway {
            return Some((gateway, format!("sent to {gateway}, the gateway")));
        }
        if !record.subnet.contains(&to) {
            return Some((
                gateway,
                format!("sent to {gateway}, the gateway, for {to} is not on {}", record.subnet),
            ));
        }
        let endpoint = self.network.endpoints.values().find(|it| it.address == to);
        let own = self.endpoint.filter(|it| it.address == to);
        match (own, endpoint) {
            (Some(own), _) => {
                let name = own.port();
                Some((
                    own.mac.0,
                    format!("{to} is {name}'s own address: in truth its kernel keeps the packet to itself"),
                ))
            }
            (None, Some(endpoint)) => {
                Some((endpoint.mac.0, format!("sent to {}, {}", endpoint.mac.0, endpoint.port())))
            }
            (None, None) => {
                let (mac, whose) = self.ask_arp_tables(to)?;
                Some((mac, format!("sent to {mac}, which has {to} by the ARP table of {whose}")))
            }
        }
    }

    /// The MAC that packets from an address come from, which is a station's behind an existing interface.
    fn station(&self, address: Ipv4Addr) -> (MacAddr, String) {
        match self.ask_arp_tables(address) {
            Some((mac, whose)) => {
                (mac, format!("from {mac}, which has {address} by the ARP table of {whose}"))
            }
            None => (
                STRANGER,
                format!("from {STRANGER}, which stands for the MAC of {address}: it is in no ARP table"),
            ),
        }
    }

    /// The MAC of a station on the link by the ARP tables of the sender, the host and all other endpoints, and by whose.
    fn ask_arp_tables(&self, address: Ipv4Addr) -> Option<(MacAddr, String)> {
        let world = &self.manager.world;
        let of_endpoint = |it: &EndpointRecord| {
            Some((world.neighbour(Some(it), &it.ifname, address)?, it.port().to_string()))
        };
        let of_host =
            |interface: &String| Some((world.neighbour(None, interface, address)?, "the host".into()));
        self.endpoint
            .and_then(of_endpoint)
            .or_else(|| self.network.record.host_interface.as_ref().and_then(of_host))
            .or_else(|| self.network.endpoints.values().find_map(of_endpoint))
    }
}
