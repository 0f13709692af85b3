//! What is decided about a frame on its network.

use core::time::Duration;

use super::Names;
use crate::addr::MacAddr;
use crate::edge::config::Link;
use crate::fdb::EntryKind;
use crate::id::PortId;

/// A decision about a frame on its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bridging {
    /// The spoof guard lets the frame pass.
    Guard(Guard),
    /// The frame is for the gateway's MAC: it is answered, or its packet goes on by the edge.
    ToGateway,
    /// The FDB was asked.
    Fdb {
        /// About whom.
        mac: MacAddr,
        /// The port that the station is behind, how that is known, and for how long it has been silent.
        found: Option<(PortId, EntryKind, Duration)>,
    },
    /// A flooded frame does not leave by this port of its network.
    LeftOut {
        /// The port.
        port: PortId,
        /// What keeps the frame from it.
        why: LeftOut,
    },
    /// Endpoints of this network are isolated from each other, and no link joins these two.
    NotLinked {
        /// Whose frame it is.
        from: PortId,
        /// Whom it is for.
        to: PortId,
    },
    /// A link joins the two endpoints: whether it lets this session be opened.
    Link {
        /// Whose frame it is.
        from: PortId,
        /// Whom it is for.
        to: PortId,
        /// The link that does; none: links are for other services, or the other way.
        by: Option<Link>,
    },
    /// The host speaks to an endpoint of a network with rules. It may, and the session is kept for the answer.
    HostSpeaks,
}

/// Why the spoof guard lets a frame pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// It says of itself what this port's endpoint may say.
    Own(PortId),
    /// The port is not guarded, and the frame does not claim to be the gateway's.
    Off(PortId),
    /// It comes by the host's own port, and from one of the host's addresses.
    Host,
    /// It comes by the resolver's port, and from the gateway's address.
    Resolver,
}

/// What keeps a flooded frame from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// The port takes no frames to stations that nobody knows.
    FloodOff,
    /// Ingress and egress are isolated ports.
    Isolated,
    /// The network isolates its endpoints, and no link joins these.
    NotLinked,
    /// A link lets ARP pass, and sessions from one station to the other.
    OnlySessions,
    /// The packet is larger than the port's MTU.
    TooLarge {
        /// The MTU in bytes.
        mtu: u16,
    },
    /// The host takes ARP, and IPv4 that is meant for all.
    NotForHost,
    /// It is meant for all, but the rules keep it from the host.
    Denied,
    /// The resolver takes nothing that is for all.
    NotForResolver,
    /// The resolver asks in the name of the gateway, whose address the host has as well.
    ResolverAsks,
    /// The host need not hear a question that its gateway has answered.
    Answered,
}

impl Bridging {
    pub(super) fn words(&self, names: &dyn Names) -> String {
        let pair = |from: PortId, to: PortId| (names.port(from), names.port(to));
        match *self {
            Bridging::Guard(Guard::Own(port)) => {
                format!("guard: MAC and addresses are {}'s own", names.port(port))
            }
            Bridging::Guard(Guard::Off(port)) => format!("guard: off on {}", names.port(port)),
            Bridging::Guard(Guard::Host) => "guard: the sender is an address of the host".into(),
            Bridging::Guard(Guard::Resolver) => "guard: the sender is the gateway's address".into(),
            Bridging::ToGateway => "to the gateway's MAC".into(),
            Bridging::Fdb { mac, found: None } => format!("FDB: nobody knows where {mac} is"),
            Bridging::Fdb { mac, found: Some((port, kind, age)) } => {
                format!("FDB: {mac} is behind {} ({})", names.port(port), entry_words(kind, age))
            }
            Bridging::LeftOut { port, why } => format!("not to {}: {}", names.port(port), why.words()),
            Bridging::NotLinked { from, to } => {
                let (from, to) = pair(from, to);
                format!("endpoints are isolated, and no link joins {from} and {to}")
            }
            Bridging::Link { from, to, by: None } => {
                let (from, to) = pair(from, to);
                format!("endpoints are isolated, and no link lets {from} begin this with {to}")
            }
            Bridging::Link { from, to, by: Some(link) } => {
                let (from, to) = pair(from, to);
                let what = link.service.map_or("whatever it begins".into(), |(protocol, port)| {
                    format!("what it begins with port {port}/{protocol}")
                });
                format!("the link from {from} to {to} lets {what} pass")
            }
            Bridging::HostSpeaks => "the host may, and is answered whatever the rules say".into(),
        }
    }
}

fn entry_words(kind: EntryKind, age: Duration) -> String {
    match kind {
        EntryKind::Static => "static".to_owned(),
        EntryKind::Sticky => format!("sticky, seen {} s ago", age.as_secs()),
        EntryKind::Learned => format!("learned, seen {} s ago", age.as_secs()),
    }
}

impl LeftOut {
    fn words(self) -> String {
        match self {
            LeftOut::FloodOff => "flooding is off there".into(),
            LeftOut::Isolated => "both ports are isolated".into(),
            LeftOut::NotLinked => "endpoints are isolated, and no link joins these two".into(),
            LeftOut::OnlySessions => "the link lets only ARP and sessions pass".into(),
            LeftOut::TooLarge { mtu } => format!("the packet is larger than its MTU of {mtu}"),
            LeftOut::NotForHost => "the host takes ARP, and IPv4 that is meant for all".into(),
            LeftOut::Denied => "the rules keep it from the host".into(),
            LeftOut::NotForResolver => "the resolver takes nothing that is for all".into(),
            LeftOut::ResolverAsks => "the resolver asks in the gateway's name".into(),
            LeftOut::Answered => "the gateway answers for the host".into(),
        }
    }
}
