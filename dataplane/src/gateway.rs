//! The network's router address, answered by the core itself: ARP, ICMP echo, and ICMP errors for what goes nowhere.
//!
//! Each worker has a state of its own and shares nothing: a port belongs to one worker, and so do its fragments and
//! its limits. What is sent depends on the frame, the snapshot and the time given, on nothing else.

mod announce;
pub(crate) mod arp;
mod echo;
pub(crate) mod errors;
pub(crate) mod limit;
pub(crate) mod packet;
mod reassembly;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::net::Ipv4Addr;

use smoltcp::wire::{IpProtocol, Ipv4Packet};

use self::announce::Announcements;
use self::errors::IcmpError;
use self::limit::PortLimit;
use self::packet::Back;
use self::reassembly::{Fragment, Key, Lost, Reassembly};
use crate::frame::{EthernetView, Frame, ethertype};
use crate::network::{Gateway, Network, NetworkId, Port, PortId, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Reply, Taken, Verdict};

/// How often a worker looks for what is too old: fragments that came since it last looked and, as worker 0,
/// learned addresses.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// ICMP type of an echo request (RFC 792).
const ECHO_REQUEST: u8 = 8;

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
#[derive(Debug, Clone)]
pub struct GatewayState {
    worker: usize,
    announcements: Announcements,
    error_limit: PortLimit,
    question_limit: PortLimit,
    reassembly: Reassembly,
    /// Identification of the last IPv4 packet sent.
    ident: u16,
    next_sweep: Timestamp,
    /// It belongs to a trace, and counts nothing.
    is_rehearsal: bool,
}

impl GatewayState {
    /// Nothing remembered yet. Worker number `worker` has its block in each port's counters.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            announcements: Announcements::default(),
            error_limit: PortLimit::new(limit::ERRORS),
            question_limit: PortLimit::new(limit::QUESTIONS),
            reassembly: Reassembly::default(),
            ident: 0,
            next_sweep: Timestamp::ZERO,
            is_rehearsal: false,
        }
    }

    /// A copy for a trace: whatever becomes of it, nothing is counted.
    pub(crate) fn rehearsal(&self) -> Self {
        Self { is_rehearsal: true, ..self.clone() }
    }

    /// Drops what is remembered of ports that `snapshot` no longer has.
    pub fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        self.reassembly.forget_missing_ports(snapshot);
        self.error_limit.forget_missing_ports(snapshot);
        self.question_limit.forget_missing_ports(snapshot);
    }

    /// A frame for the gateway itself (see [`GatewayState::is_meant`]): answers it, keeps it, or names why it is dropped.
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

    /// Whether a frame to the gateway's MAC is for the gateway itself and asks for nothing that it would have to know from
    /// elsewhere, so that every worker can answer: what is not IPv4, and ICMP echo requests to its address. Fragments of
    /// ICMP messages are requests only where the host has no port to send replies by.
    #[inline]
    pub fn is_meant(received: &Received<'_>) -> bool {
        if received.view.ethertype != ethertype::IPV4 || received.view.in_vlan {
            return true;
        }
        let bytes = received.view.payload(received.frame.bytes);
        // Nearly all packets are for somebody else, and the edge will read them whole.
        let Some(&[a, b, c, d]) = bytes.get(16..20) else { return true };
        if Ipv4Addr::new(a, b, c, d) != received.gateway.address {
            return false;
        }
        let Ok(packet) = Ipv4Packet::new_checked(bytes) else {
            return true;
        };
        packet.next_header() == IpProtocol::Icmp
            && if packet.more_frags() || packet.frag_offset() != 0 {
                received.network.edge.host_port.is_none()
            } else {
                packet.payload().first() == Some(&ECHO_REQUEST)
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

    /// Whether `port` may send one more packet to the resolver at its gateway.
    pub(crate) fn may_ask(&mut self, now: Timestamp, port: PortId) -> bool {
        self.question_limit.take(now, port)
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
        let error = match packet.next_header() {
            IpProtocol::Icmp => return self.receive_icmp(now, received, &packet, out),
            IpProtocol::Udp | IpProtocol::Tcp => errors::PORT_UNREACHABLE,
            _ => errors::PROTOCOL_UNREACHABLE,
        };
        self.refuse(now, Some(received.gateway), &Back::of(received), error, packet.into_inner(), out)
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
        let (worker, is_rehearsal) = (self.worker, self.is_rehearsal);
        let evicted = |lost| {
            if !is_rehearsal {
                count(received.snapshot, worker, DropReason::FragmentsFull, lost);
            }
        };
        match self.reassembly.add(now, key, fragment, evicted)? {
            None => Ok(Verdict::Taken(Taken::Fragment)),
            Some(bytes) => {
                echo::answer(received, echo::Message { bytes, checksum_moot: false, ..whole }, ident, out)
            }
        }
    }

    /// The packet that starts `packet` goes nowhere: tells its sender, if that is allowed. `gateway` is that of the network
    /// that it came from.
    ///
    /// # Errors
    /// [`DropReason::ReplyLimited`], [`DropReason::GatewayMalformed`].
    pub(crate) fn refuse(
        &mut self,
        now: Timestamp,
        gateway: Option<&Gateway>,
        back: &Back,
        error: IcmpError,
        packet: &[u8],
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let packet = Ipv4Packet::new_checked(packet).map_err(|_| DropReason::GatewayMalformed)?;
        if !errors::may_be_sent(gateway, &packet) {
            return Ok(Verdict::Taken(Taken::NoAnswerDue));
        }
        if !self.error_limit.take(now, back.egress) {
            return Err(DropReason::ReplyLimited);
        }
        errors::send(back, error, &packet, self.next_ident(), out);
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
        Ok(None) if arp::parse_reply(payload).is_some() => Ok(pass_to_askers(received, out)),
        Ok(None) => Ok(Verdict::Taken(Taken::NoAnswerDue)),
        Err(arp::Malformed) => Err(DropReason::GatewayMalformed),
    }
}

/// An ARP reply to the gateway: the host or the resolver has asked in its name, and only they know which.
fn pass_to_askers(received: &Received<'_>, out: &mut Out) -> Verdict {
    let edge = &received.network.edge;
    let there = |port: Option<PortId>| port.filter(|&id| received.snapshot.port(id).is_some());
    let mut verdict = Verdict::Taken(Taken::NoAnswerDue);
    for egress in [there(edge.resolver_port), there(edge.host_port)].into_iter().flatten() {
        out.forward(egress);
        verdict = Verdict::Forward { egress };
    }
    verdict
}

/// Counts a packet that was given up, once, on the port it came by.
fn count(snapshot: &Snapshot, worker: usize, reason: DropReason, lost: Lost) {
    if let Some(port) = snapshot.port(lost.port) {
        port.counters[worker].drop(reason, lost.bytes);
    }
}
