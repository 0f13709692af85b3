//! What the core decided about a frame, and every reason there is for dropping one.

use core::fmt;

use crate::id::PortId;

/// The decision about one frame. [`fmt::Display`] says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The destination is known; the frame leaves by one port.
    Forward {
        /// Where it leaves.
        egress: PortId,
    },
    /// The frame leaves by every port that takes it.
    Flood {
        /// Why it was not sent to one port alone.
        cause: FloodCause,
        /// Ports it leaves by.
        copies: u16,
        /// The gateway answered it as well (a broadcast ARP request for its address).
        answered: bool,
    },
    /// The packet goes through the edge: its headers are rewritten and it leaves by one port.
    Route {
        /// Where it leaves.
        egress: PortId,
        /// What was done to its addresses.
        translation: Translation,
    },
    /// The packet waits for something that the edge must know before it can go on.
    Wait(Wait),
    /// The packet is for the edge, which another worker owns.
    HandOver,
    /// The frame was for the gateway, which answered.
    Reply(Reply),
    /// The frame was for the gateway, which took it and has nothing to say (yet).
    Taken(Taken),
    /// The frame goes nowhere.
    Drop(DropReason),
}

/// What the edge does to a packet's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// Nothing: it is only routed.
    None,
    /// The source is the host's instead of the endpoint's.
    Source,
    /// The destination is the endpoint's instead of the host's; the source keeps its address.
    Destination,
    /// Both: an endpoint speaks to another by the host's address.
    Both,
}

/// What a packet waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// The kernel's route to the destination.
    Route,
    /// The next hop's MAC.
    Neighbour,
    /// A port of the host.
    Port,
    /// The first fragment, which says to which session the others belong.
    FirstFragment,
}

/// Why a frame is flooded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodCause {
    /// The destination is `ff:ff:ff:ff:ff:ff`.
    Broadcast,
    /// The destination is a group.
    Multicast,
    /// The destination is a station that the FDB does not know.
    UnknownUnicast,
}

/// What the gateway sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// ARP reply with the gateway's MAC.
    Arp,
    /// ICMP echo reply.
    Echo,
    /// ICMP time exceeded.
    TimeExceeded,
    /// ICMP destination unreachable: network.
    NetworkUnreachable,
    /// ICMP destination unreachable: host.
    HostUnreachable,
    /// ICMP destination unreachable: port (nothing listens on the gateway).
    PortUnreachable,
    /// ICMP destination unreachable: protocol.
    ProtocolUnreachable,
    /// ICMP destination unreachable: fragmentation needed.
    FragmentationNeeded,
    /// ICMP destination unreachable: communication administratively prohibited.
    Prohibited,
}

/// Why a frame for the gateway has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A fragment that waits for the rest of its packet.
    Fragment,
    /// Something that asks for no answer: an ARP reply, an ICMP error.
    NoAnswerDue,
    /// It came by an uplink and is the host's own business.
    HostsOwn,
    /// An ARP message of an uplink's neighbour.
    Neighbour,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Forward { egress } => write!(f, "forward to {egress}"),
            Verdict::Flood { cause, copies, answered } => {
                let why = match cause {
                    FloodCause::Broadcast => "broadcast",
                    FloodCause::Multicast => "multicast",
                    FloodCause::UnknownUnicast => "unknown unicast",
                };
                write!(f, "flood to {copies} ports ({why})")?;
                if *answered { write!(f, ", and answered by the gateway") } else { Ok(()) }
            }
            Verdict::Route { egress, translation } => {
                let what = match translation {
                    Translation::None => "route",
                    Translation::Source => "translate the source and route",
                    Translation::Destination => "translate the destination and route",
                    Translation::Both => "translate source and destination and route",
                };
                write!(f, "{what} to {egress}")
            }
            Verdict::Wait(wait) => {
                let what = match wait {
                    Wait::Route => "the kernel's route",
                    Wait::Neighbour => "the next hop's MAC",
                    Wait::Port => "a port of the host",
                    Wait::FirstFragment => "the packet's first fragment",
                };
                write!(f, "the edge keeps it until it has {what}")
            }
            Verdict::HandOver => write!(f, "hand over to the edge's worker"),
            Verdict::Reply(reply) => {
                let what = match reply {
                    Reply::Arp => "ARP reply",
                    Reply::Echo => "ICMP echo reply",
                    Reply::TimeExceeded => "ICMP time exceeded",
                    Reply::NetworkUnreachable => "ICMP network unreachable",
                    Reply::HostUnreachable => "ICMP host unreachable",
                    Reply::PortUnreachable => "ICMP port unreachable",
                    Reply::ProtocolUnreachable => "ICMP protocol unreachable",
                    Reply::FragmentationNeeded => "ICMP fragmentation needed",
                    Reply::Prohibited => "ICMP administratively prohibited",
                };
                write!(f, "the gateway answers: {what}")
            }
            Verdict::Taken(Taken::Fragment) => {
                write!(f, "the gateway keeps the fragment until its packet is whole")
            }
            Verdict::Taken(Taken::NoAnswerDue) => write!(f, "the gateway takes it; no answer is due"),
            Verdict::Taken(Taken::HostsOwn) => write!(f, "the host's own business"),
            Verdict::Taken(Taken::Neighbour) => write!(f, "the edge notes who is there; no answer is due"),
            Verdict::Drop(reason) => write!(f, "drop, {reason}: {}", reason.sentence()),
        }
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $sentence:literal;)*) => {
        /// Why a frame was dropped. Each reason has a name (stable, for counters and JSON) and a sentence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $sentence] $(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name, in kebab case.
            pub fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name,)* }
            }

            /// One sentence for people.
            pub fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => $sentence,)* }
            }
        }
    };
}

drop_reasons! {
    Runt, "runt", "The frame is shorter than an Ethernet header.";
    TruncatedTag, "truncated-tag", "The frame ends inside a VLAN tag.";
    SourceGroup, "source-group", "The source MAC is a group address.";
    SourceZero, "source-zero", "The source MAC is all zero.";
    MalformedOffload, "malformed-offload", "The offload metadata points outside of the frame, contradicts it, or would rewrite its headers.";
    ReservedGroup, "reserved-group", "The destination is a link-local group that bridges never forward.";
    UnknownPort, "unknown-port", "The ingress port is not (or no longer) part of a network.";
    GatewayMacClaimed, "gateway-mac-claimed", "The source MAC is the gateway's.";
    GatewayAddressClaimed, "gateway-address-claimed", "The sender claims the gateway's address.";
    GuardMac, "guard-mac", "The source MAC is not the endpoint's own.";
    GuardArp, "guard-arp", "The ARP sender is not the endpoint's own address.";
    GuardIpv4, "guard-ipv4", "The IPv4 source is not the endpoint's own address.";
    GuardIpv6, "guard-ipv6", "The IPv6 source is not the endpoint's own address.";
    GuardNd, "guard-nd", "A neighbour discovery target or link-layer option is not the endpoint's own.";
    GuardRouter, "guard-router", "Endpoints may not send router advertisements or redirects.";
    HostForwards, "host-forwards", "The sender is not one of the host's own addresses: the host forwards it for somebody else.";
    GuardMalformed, "guard-malformed", "The header that the spoof guard must read is malformed or too deep.";
    SamePort, "same-port", "The destination is behind the port that the frame came from.";
    InterfaceMac, "interface-mac", "The destination is the MAC of the interface that the frame came by, and the host takes nothing there.";
    Isolated, "isolated", "Ingress and egress are both isolated ports.";
    BroadcastStorm, "broadcast-storm", "More broadcasts came in by the port than may in a second.";
    MulticastStorm, "multicast-storm", "More frames to groups came in by the port than may in a second.";
    UnicastStorm, "unicast-storm", "More frames to unknown stations came in by the port than may in a second.";
    Loop, "loop", "What is flooded comes back by the port: it is in a loop, and nothing is taken from it for a while.";
    NoEgress, "no-egress", "No port takes the flooded frame.";
    TooBig, "too-big", "The packet is larger than the egress port's MTU.";
    GatewayMalformed, "gateway-malformed", "The packet for the gateway is malformed.";
    GatewayUnsupported, "gateway-unsupported", "The gateway does not speak this protocol.";
    GatewayTagged, "gateway-tagged", "The gateway does not answer in a VLAN.";
    FragmentsFull, "fragments-full", "No room to wait for more fragments of packets for the gateway.";
    FragmentOverlap, "fragment-overlap", "Fragments of a packet for the gateway overlap or disagree.";
    FragmentTimeout, "fragment-timeout", "The rest of a fragmented packet for the gateway never came.";
    ReplyLimited, "reply-limited", "The gateway's limit of ICMP errors is used up.";
    EdgeMalformed, "edge-malformed", "The packet cannot be routed: its headers are malformed or contradict each other.";
    EdgeSource, "edge-source", "The packet's source is not an address of the network that it came from.";
    EdgeDestination, "edge-destination", "The packet's destination is no single host's address.";
    EdgeProtocol, "edge-protocol", "The edge translates TCP, UDP and ICMP echo, and this is another protocol.";
    EdgeBusy, "edge-busy", "The queue to the edge's worker is full.";
    RuleDenied, "rule-denied", "A rule denies it.";
    LinkDenied, "link-denied", "Members of this network are isolated (icc is off), and no link allows it.";
    NetworkInternal, "network-internal", "The network is internal: it reaches neither the host nor the outside.";
    NetworkIsolated, "network-isolated", "The destination is on another network; networks never reach one another.";
    NoHostPort, "no-host-port", "The destination is the host, which the network has no access to.";
    ResolverShare, "resolver-share", "The endpoint asks the resolver at the gateway more than one may.";
    NoRoute, "no-route", "The host has no route to the destination, or only by an uplink that the network may not use.";
    SnatAddress, "snat-address", "The network's packets are to leave with a source address (snat_ip) that the host does not have.";
    NoSession, "no-session", "An ICMP error or a reply that belongs to no session.";
    SessionShare, "session-share", "The endpoint has as many sessions as one may have.";
    SessionsFull, "sessions-full", "The table of sessions is full, and none of them is half open.";
    PortsExhausted, "ports-exhausted", "No port of the host is left to translate the source to.";
    WaitFull, "wait-full", "Too many packets wait for the edge to learn something.";
    RouteTimeout, "route-timeout", "The kernel's route was not told in time.";
    NeighbourTimeout, "neighbour-timeout", "The next hop does not answer ARP.";
    FragmentLost, "fragment-lost", "The packet's first fragment never came, or there is no room to remember it.";
    PortFull, "port-full", "The egress port's queue is full.";
    PortDown, "port-down", "The egress port's interface is down.";
    PortGone, "port-gone", "The egress port's device has vanished.";
    PortError, "port-error", "The egress port's device refused the frame.";
    Unsegmentable, "unsegmentable", "The super-frame cannot be segmented for an egress port without offloads.";
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_numbers_dense() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
        assert!(DropReason::ALL.iter().all(|r| r.sentence().ends_with('.')));
    }
}
