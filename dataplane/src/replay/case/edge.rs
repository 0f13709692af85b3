//! The lines of a case that are about the edge: uplinks, publications, links, and what the kernel would answer.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::{Parsed, PortLine, pairs, port_id, unknown, value};
use crate::addr::MacAddr;
use crate::edge::config::{EdgeConfig, Link, Mapping, Publication, Uplink};
use crate::edge::punt::Route;
use crate::edge::tuple::Protocol;
use crate::network::{NetworkId, PortId};
use crate::replay::Kernel;

/// What the lines say.
#[derive(Default)]
pub(super) struct EdgeLines {
    pub(super) config: EdgeConfig,
    pub(super) kernel: Kernel,
    pub(super) host_port: Option<PortId>,
    pub(super) links: Vec<Link>,
}

impl EdgeLines {
    /// `uplink N mac=M address=A/P mtu=1500 offloads=all`: a port and the interface behind it. Without `mac` the interface
    /// carries bare packets.
    pub(super) fn uplink(&mut self, port: PortId, settings: &[&str]) -> Parsed<PortLine> {
        let (mut mac, mut addresses, mut rest) = (None::<MacAddr>, Vec::new(), Vec::new());
        for (key, text) in pairs(settings)? {
            match key {
                "mac" => mac = Some(value(key, text)?),
                "address" => {
                    let net: Ipv4Net = value(key, text)?;
                    addresses.push((net.addr(), net.prefix_len()));
                }
                _ => rest.push(format!("{key}={text}")),
            }
        }
        let line = PortLine::parse(&rest.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.config.host_addresses.extend(addresses.iter().map(|(address, _)| *address));
        self.config.host_addresses.sort_unstable();
        self.config.uplinks.push(Uplink {
            port,
            interface_index: u32::from(port.0),
            name: format!("uplink-{}", port.0),
            mac,
            addresses,
            mtu: line.mtu,
        });
        Ok(line)
    }

    /// `publish protocol=tcp port=80 to=10.0.0.3:8080 endpoint=3`.
    pub(super) fn publish(&mut self, settings: &[&str]) -> Parsed<()> {
        let (mut protocol, mut port, mut to, mut endpoint) = (None, None, None::<SocketAddrV4>, None);
        for (key, text) in pairs(settings)? {
            match key {
                "protocol" => protocol = Some(protocol_of(text)?),
                "port" => port = Some(value::<u16>(key, text)?),
                "to" => to = Some(value(key, text)?),
                "endpoint" => endpoint = Some(port_id(text)?),
                _ => return Err(unknown(key)),
            }
        }
        let (Some(protocol), Some(port), Some(to), Some(endpoint)) = (protocol, port, to, endpoint) else {
            return Err("publish needs protocol, port, to and endpoint".to_owned());
        };
        self.config.publications.push(Arc::new(Publication {
            id: self.config.publications.len() as u32 + 1,
            address: None,
            protocol,
            ports: (port, port),
            network: NetworkId(0),
            endpoint,
            to_address: *to.ip(),
            to_port: to.port(),
            rules: Arc::default(),
        }));
        Ok(())
    }

    /// `link from=2 to=3 protocol=tcp port=80`, or without a service.
    pub(super) fn link(&mut self, settings: &[&str]) -> Parsed<()> {
        let (mut from, mut to, mut protocol, mut port) = (None, None, None, None);
        for (key, text) in pairs(settings)? {
            match key {
                "from" => from = Some(port_id(text)?),
                "to" => to = Some(port_id(text)?),
                "protocol" => protocol = Some(protocol_of(text)?),
                "port" => port = Some(value::<u16>(key, text)?),
                _ => return Err(unknown(key)),
            }
        }
        let (Some(from), Some(to)) = (from, to) else { return Err("link needs from and to".to_owned()) };
        if protocol.is_some() != port.is_some() {
            return Err("a link's protocol and port go together".to_owned());
        }
        self.links.push(Link { from, to, service: protocol.zip(port) });
        Ok(())
    }

    /// `route to=192.0.2.0/24 by=9 via=198.51.100.1 from=198.51.100.2 mtu=1500`.
    pub(super) fn route(&mut self, settings: &[&str]) -> Parsed<()> {
        let (mut to, mut by, mut via, mut from, mut mtu) = (None::<Ipv4Net>, None, None, None, 1500);
        for (key, text) in pairs(settings)? {
            match key {
                "to" => to = Some(value(key, text)?),
                "by" => by = Some(port_id(text)?),
                "via" => via = Some(value::<Ipv4Addr>(key, text)?),
                "from" => from = Some(value::<Ipv4Addr>(key, text)?),
                "mtu" => mtu = value(key, text)?,
                _ => return Err(unknown(key)),
            }
        }
        let (Some(to), Some(uplink), Some(next_hop), Some(source)) = (to, by, via, from) else {
            return Err("route needs to, by, via and from".to_owned());
        };
        self.kernel.routes.push((to, Route { uplink, next_hop, source, mtu, neighbour: None }));
        Ok(())
    }

    /// `lease tcp=20000-20009 udp=20000-20009`.
    pub(super) fn lease(&mut self, settings: &[&str]) -> Parsed<()> {
        for (key, text) in pairs(settings)? {
            let (first, last) = text.split_once('-').ok_or("write ports as 20000-20009".to_owned())?;
            self.kernel.ports.push((protocol_of(key)?, (value(key, first)?, value(key, last)?)));
        }
        Ok(())
    }
}

pub(super) fn mapping(text: &str) -> Parsed<Mapping> {
    match text {
        "port-dependent" => Ok(Mapping::PortDependent),
        "endpoint-independent" => Ok(Mapping::EndpointIndependent),
        _ => Err(format!("mapping is port-dependent or endpoint-independent, not \"{text}\"")),
    }
}

fn protocol_of(text: &str) -> Parsed<Protocol> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!("a protocol is tcp or udp, not \"{text}\"")),
    }
}
