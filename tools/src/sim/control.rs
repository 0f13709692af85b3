//! A small model of control: what a host's kernel and the daemon answer the edge.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use pontoon_dataplane::PortId;
use pontoon_dataplane::edge::punt::{Answer, Request, Route};
use pontoon_dataplane::edge::tuple::Protocol;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr};

use super::agenda::{MILLI, Micros, SECOND};
use super::frames::{Station, arp_reply};
use crate::random::Random;
use pontoon_dataplane::MacAddr;

/// The first port of the pool.
const POOL: u16 = 20_000;
/// Ports that are held at the start, and more with each request.
const BLOCK: u16 = 128;

/// Control of one host, as far as its edge is concerned.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) uplink: PortId,
    /// The host's MAC and address on the uplink.
    pub(super) host: Station,
    /// Blocks of the pool that are held: TCP, UDP.
    blocks: [u16; 2],
    kept: BTreeSet<(Protocol, u16)>,
    /// Thousandths of the single ports that somebody else has.
    refuses: usize,
    /// How long an answer takes at most.
    pub(super) delay: Micros,
    random: Random,
}

impl Control {
    pub(super) fn new(uplink: PortId, host: Station, random: &mut Random) -> Control {
        let refuses = random.within(0, 1000) as usize;
        // Sometimes so slow that much has to wait.
        let delay = if random.chance(250, 1000) { 2 * SECOND } else { random.within(1, 20) * MILLI };
        Control {
            uplink,
            host,
            blocks: [0; 2],
            kept: BTreeSet::new(),
            refuses,
            delay,
            random: Random::new(random.bits()),
        }
    }

    /// What the edge is told when it begins: the pool, and nothing is kept.
    pub(super) fn begin(&mut self) -> Vec<Answer> {
        self.kept.clear();
        self.blocks = [0; 2];
        [Protocol::Tcp, Protocol::Udp].map(|protocol| self.more(protocol)).into()
    }

    fn more(&mut self, protocol: Protocol) -> Answer {
        let block = &mut self.blocks[usize::from(protocol == Protocol::Udp)];
        let first = POOL + *block * BLOCK;
        *block += 1;
        // Past a few blocks there is nothing to be had.
        let ports = if *block < 16 { vec![(first, first + BLOCK - 1)] } else { Vec::new() };
        Answer::PortsHeld { protocol, ports }
    }

    /// How long the next answer takes.
    pub(super) fn patience(&mut self) -> Micros {
        self.random.within(0, self.delay)
    }

    /// The answer, if one is due.
    pub(super) fn answer(&mut self, request: &Request) -> Option<Answer> {
        match *request {
            Request::Route { network, destination } => {
                let is_near = destination.octets()[..3] == self.host.1.octets()[..3];
                let (uplink, source) = (self.uplink, self.host.1);
                let route = Route { uplink, next_hop: destination, source, mtu: 1500, neighbour: None };
                Some(Answer::Route { network, destination, route: is_near.then_some(route) })
            }
            Request::KeepPort { protocol, port } if self.random.chance(self.refuses, 1000) || port < 1024 => {
                Some(Answer::PortRefused { protocol, port })
            }
            Request::KeepPort { protocol, port } => {
                self.kept.insert((protocol, port));
                Some(Answer::PortKept { protocol, port })
            }
            Request::ReleasePort { protocol, port } => {
                self.kept.remove(&(protocol, port));
                None
            }
            Request::MorePorts { protocol } => Some(self.more(protocol)),
        }
    }

    /// Ports that are held for NAT: TCP, UDP.
    pub(super) fn held(&self) -> (u32, u32) {
        let held = |protocol: Protocol| {
            let blocks = self.blocks[usize::from(protocol == Protocol::Udp)].min(15);
            let kept = self
                .kept
                .iter()
                .filter(|(it, port)| *it == protocol && !(POOL..POOL + blocks * BLOCK).contains(port));
            u32::from(blocks * BLOCK) + kept.count() as u32
        };
        (held(Protocol::Tcp), held(Protocol::Udp))
    }

    /// What the host's kernel answers to a frame on the uplink: ARP for its address.
    pub(super) fn kernel(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let message = ArpPacket::new_checked(frame.get(14..)?).ok().filter(|_| frame[12..14] == [8, 6])?;
        match ArpRepr::parse(&message).ok()? {
            ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: mac,
                source_protocol_addr: address,
                target_protocol_addr,
                ..
            } if target_protocol_addr == self.host.1 => {
                let asker: (MacAddr, Ipv4Addr) = (MacAddr(mac.0), address);
                Some(arp_reply(self.host.0, self.host, asker))
            }
            _ => None,
        }
    }
}
