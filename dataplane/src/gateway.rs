//! The network's router address, answered by the core itself: ARP, ICMP echo, and ICMP errors for what goes nowhere.
//!
//! Each worker has a state of its own and shares nothing: a port belongs to one worker, and so do its fragments and
//! its limits. What is sent depends on the frame, the snapshot and the time given, on nothing else.

mod announce;
mod arp;
mod echo;
mod errors;
mod limit;
mod packet;
mod reassembly;
#[cfg(test)]
mod tests;

use core::time::Duration;

use smoltcp::wire::{IpProtocol, Ipv4Packet};

use self::announce::Announcements;
use self::errors::IcmpError;
use self::limit::ErrorLimit;
use self::reassembly::{Fragment, Key, Lost, Reassembly};
use crate::frame::{EthernetView, Frame, ethertype};
use crate::network::{Gateway, Network, NetworkId, Port, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Reply, Taken, Verdict};

/// How often a worker looks for what is too old: fragments that came since it last looked and, as worker 0,
/// learned addresses.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// A frame whose destination is a gateway's MAC, and where it came in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// What the core decides by.
    pub snapshot: &'a Snapshot,
    /// The network that the frame came in by.
    pub network: &'a Network,
    /// That network's gateway.
    pub gateway: &'a Gateway,
    /// The port that the frame came in by.
    pub port: &'a Port,
    /// The frame's Ethernet header.
    pub view: &'a EthernetView,
    /// The frame.
    pub frame: &'a Frame<'a>,
}

/// What one worker remembers for the gateways of all networks.
#[derive(Debug)]
pub struct GatewayState {
    worker: usize,
    announcements: Announcements,
    error_limit: ErrorLimit,
    reassembly: Reassembly,
    /// Identification of the last IPv4 packet sent.
    ident: u16,
    next_sweep: Timestamp,
}

impl GatewayState {
    /// Nothing remembered yet. Worker number `worker` has its block in each port's counters.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            announcements: Announcements::default(),
            error_limit: ErrorLimit::new(),
            reassembly: Reassembly::default(),
            ident: 0,
            next_sweep: Timestamp::ZERO,
        }
    }

    /// Drops what is remembered of ports that `snapshot` no longer has.
    pub fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        self.reassembly.forget_missing_ports(snapshot);
        self.error_limit.forget_missing_ports(snapshot);
    }

    /// A frame whose destination is the gateway's MAC: answers it, keeps it, or names why it is dropped.
    ///
    /// # Errors
    /// The reason for dropping the frame.
    pub fn receive(
        &mut self,
        now: Timestamp,
        received: &Received<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        if received.view.in_vlan {
            return Err(DropReason::GatewayTagged);
        }
        match received.view.ethertype {
            ethertype::ARP => receive_arp(received, out),
            ethertype::IPV4 => self.receive_ipv4(now, received, out),
            _ => Err(DropReason::GatewayUnsupported),
        }
    }

    /// A frame to a group: answers an ARP request for the gateway's address. Returns whether it answered.
    pub fn answer_group(
        &mut self,
        gateway: &Gateway,
        port: &Port,
        view: &EthernetView,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> bool {
        if view.in_vlan || view.ethertype != ethertype::ARP {
            return false;
        }
        match arp::Request::parse(gateway, view.payload(frame.bytes)) {
            Ok(Some(request)) => request.answer(gateway, port.id, out),
            _ => false,
        }
    }

    fn receive_ipv4(
        &mut self,
        now: Timestamp,
        received: &Received<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let packet = Ipv4Packet::new_checked(received.view.payload(received.frame.bytes))
            .map_err(|_| DropReason::GatewayMalformed)?;
        // Each segment of a super-frame gets a header checksum of its own, so the one of the whole says nothing.
        let checksum_holds = received.frame.offload.is_super_frame() || packet.verify_checksum();
        if packet.version() != 4 || !checksum_holds {
            return Err(DropReason::GatewayMalformed);
        }
        if packet.dst_addr() != received.gateway.address {
            // Nothing is routed yet.
            let error = if packet.hop_limit() <= 1 {
                errors::TIME_EXCEEDED
            } else if received.gateway.contains(packet.dst_addr()) {
                errors::HOST_UNREACHABLE
            } else {
                errors::NETWORK_UNREACHABLE
            };
            return self.refuse(now, received, &packet, error, out);
        }
        match packet.next_header() {
            IpProtocol::Icmp => self.receive_icmp(now, received, &packet, out),
            IpProtocol::Udp | IpProtocol::Tcp => {
                self.refuse(now, received, &packet, errors::PORT_UNREACHABLE, out)
            }
            _ => self.refuse(now, received, &packet, errors::PROTOCOL_UNREACHABLE, out),
        }
    }

    fn receive_icmp(
        &mut self,
        now: Timestamp,
        received: &Received<'_>,
        packet: &Ipv4Packet<&[u8]>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let ident = self.next_ident();
        let offload = &received.frame.offload;
        let whole = echo::Message {
            src: packet.src_addr(),
            dscp: packet.dscp(),
            bytes: packet.payload(),
            checksum_moot: offload.needs_checksum || offload.checksum_valid,
        };
        if !packet.more_frags() && packet.frag_offset() == 0 {
            return echo::answer(received, whole, ident, out);
        }
        let key = Key { port: received.port.id, src: packet.src_addr(), ident: packet.ident() };
        let fragment = Fragment {
            header_len: packet.header_len().into(),
            offset: packet.frag_offset().into(),
            more: packet.more_frags(),
            payload: packet.payload(),
        };
        let worker = self.worker;
        let evicted = |lost| count(received.snapshot, worker, DropReason::FragmentsFull, lost);
        match self.reassembly.add(now, key, fragment, evicted)? {
            None => Ok(Verdict::Taken(Taken::Fragment)),
            Some(bytes) => {
                echo::answer(received, echo::Message { bytes, checksum_moot: false, ..whole }, ident, out)
            }
        }
    }

    /// The packet goes nowhere: tells its sender, if that is allowed.
    fn refuse(
        &mut self,
        now: Timestamp,
        received: &Received<'_>,
        packet: &Ipv4Packet<&[u8]>,
        error: IcmpError,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        if !errors::may_be_sent(received.gateway, packet) {
            return Ok(Verdict::Taken(Taken::NoAnswerDue));
        }
        if !self.error_limit.take(now, received.port.id) {
            return Err(DropReason::ReplyLimited);
        }
        errors::send(received, error, packet, self.next_ident(), out);
        Ok(Verdict::Reply(error.reply))
    }

    fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    /// Announces gateways that are due, gives up fragments that waited too long (counting each packet on its port),
    /// and, as worker 0, drops learned addresses that are too old. Returns when it wants to be called again.
    pub fn tick(&mut self, now: Timestamp, snapshot: &Snapshot, out: &mut Out) -> Option<Timestamp> {
        let announcement = self.announcements.tick(now, snapshot, out);
        let expiry = self
            .reassembly
            .expire(now, |lost| count(snapshot, self.worker, DropReason::FragmentTimeout, lost));
        let sweep = self.sweep(now, snapshot);
        [announcement, expiry, Some(sweep)].into_iter().flatten().min()
    }

    /// The FDB is every worker's; one of them sweeps it. The others want to be called as well: nothing else tells
    /// them of fragments that came after a tick.
    fn sweep(&mut self, now: Timestamp, snapshot: &Snapshot) -> Timestamp {
        if self.next_sweep <= now {
            if self.worker == 0 {
                for network in snapshot.networks.iter().flatten() {
                    network.fdb.sweep(now);
                }
            }
            self.next_sweep = now + SWEEP_INTERVAL;
        }
        self.next_sweep
    }

    /// The gateway of `network` announces itself with the next ticks.
    pub fn announce(&mut self, network: NetworkId, now: Timestamp) {
        self.announcements.schedule(network, now);
    }
}

fn receive_arp(received: &Received<'_>, out: &mut Out) -> Result<Verdict, DropReason> {
    let payload = received.view.payload(received.frame.bytes);
    match arp::Request::parse(received.gateway, payload) {
        Ok(Some(request)) => {
            request.answer(received.gateway, received.port.id, out);
            Ok(Verdict::Reply(Reply::Arp))
        }
        Ok(None) => Ok(Verdict::Taken(Taken::NoAnswerDue)),
        Err(arp::Malformed) => Err(DropReason::GatewayMalformed),
    }
}

/// Counts a packet that was given up, once, on the port it came by.
fn count(snapshot: &Snapshot, worker: usize, reason: DropReason, lost: Lost) {
    if let Some(port) = snapshot.port(lost.port) {
        port.counters[worker].drop(reason, lost.bytes);
    }
}
