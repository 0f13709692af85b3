//! What the kernel is asked, and what it tells: interfaces, addresses, routes and neighbours, over sockets of our own that
//! block, for an answer within microseconds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use pontoon_dataplane::MacAddr;
use pontoon_dataplane::edge::punt::Neighbour;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::net::sockopt::Timeout;

/// What is in front of the IP header on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkLayer {
    /// Ethernet, with this MAC.
    Ethernet(MacAddr),
    /// Nothing (tun, WireGuard, PPP, IP tunnels).
    None,
    /// Something else, which the data plane does not speak.
    Other,
}

/// An interface, with all that uplinks are chosen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) alias: String,
    pub(super) kind: String,
    pub(super) link_layer: LinkLayer,
    pub(super) mtu: u16,
    pub(super) up: bool,
    /// It has carrier, as far as its driver knows.
    pub(super) running: bool,
    pub(super) loopback: bool,
    /// Its stations are asked for their MAC; otherwise (IFF_NOARP) each is sent to by the interface's own, unless the neighbour
    /// table says another.
    pub(super) arp: bool,
    /// The bridge, bond or VRF that it is a port of.
    pub(super) controller: Option<u32>,
    /// IPv4 addresses with their prefixes, in the order in which the kernel would choose one as a source.
    pub(super) addresses: Vec<(Ipv4Addr, u8)>,
}

/// Every interface of the namespace, by number.
pub(super) type Interfaces = BTreeMap<u32, Interface>;

/// Which way?
#[derive(Debug, Clone, Copy)]
pub(super) struct RouteQuery {
    pub(super) destination: Ipv4Addr,
    /// The source that policy rules shall see; must be an address of the host.
    pub(super) source: Option<Ipv4Addr>,
    /// The interface that it must leave by.
    pub(super) interface: Option<u32>,
}

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) interface: u32,
    /// The router; none: the destination is on the link.
    pub(super) gateway: Option<Ipv4Addr>,
    /// The source that the route itself names, or the kernel's own choice when the query named none.
    pub(super) source: Option<Ipv4Addr>,
    /// The path's MTU in bytes, where the route or an earlier ICMP error tells one.
    pub(super) mtu: Option<u32>,
    /// The length of the prefix that the table's entry is for; 0: it is a default route.
    pub(super) prefix_len: u8,
}

/// Why packets cannot go that way.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoute {
    #[error("the kernel says: {0}")]
    Refused(String),
    #[error("it is no unicast destination elsewhere")]
    NotElsewhere,
    #[error("its next hop is an IPv6 router")]
    Ipv6NextHop,
    #[error("it goes by an encapsulation that is a property of the route")]
    Encapsulated,
    #[error("the kernel's answer names no interface")]
    NoInterface,
}

/// A socket to ask by.
#[derive(Debug)]
pub(super) struct Kernel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The kernel fills datagrams of a dump up to this size (net/netlink/af_netlink.c, netlink_dump).
pub(super) const BUFFER_BYTES: usize = 32 << 10;

/// The kernel answers before the question's system call returns; longer than this it never takes.
const PATIENCE: Duration = Duration::from_secs(5);

impl Kernel {
    /// Asks in the calling thread's network namespace, from any thread.
    pub(super) fn open() -> io::Result<Kernel> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Kernel { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Every interface with its addresses. A change in the midst of it is told by a [`Monitor`](super::monitor::Monitor) that was
    /// opened before.
    pub(super) fn interfaces(&mut self) -> io::Result<Interfaces> {
        let links = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        let mut question = AddressMessage::default();
        question.header.family = AddressFamily::Inet;
        let addresses = self.dump(RouteNetlinkMessage::GetAddress(question))?;
        let links = links.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(interface(link)),
            _ => None,
        });
        let mut interfaces: Interfaces = links.map(|it| (it.index, it)).collect();
        let mut ranked: Vec<_> = addresses
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(message) => ranked_address(message),
                _ => None,
            })
            .collect();
        ranked.sort_by_key(|&(rank, ..)| rank);
        for (_, index, address, prefix_len) in ranked {
            if let Some(interface) = interfaces.get_mut(&index) {
                interface.addresses.push((address, prefix_len));
            }
        }
        Ok(interfaces)
    }

    /// Destinations of the main table's routes to elsewhere with the interface of each, default routes left out.
    pub(super) fn routed_subnets(&mut self) -> io::Result<Vec<(Ipv4Addr, u8, Option<u32>)>> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet;
        let routes = self.dump(RouteNetlinkMessage::GetRoute(question))?;
        Ok(routes.iter().filter_map(subnet_of).collect())
    }

    /// Subnets that local routes make the host's own: of each of its addresses the kernel has one, and people add others (AnyIP).
    pub(super) fn local_subnets(&mut self) -> io::Result<Vec<Ipv4Net>> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet;
        question.header.table = libc::RT_TABLE_LOCAL;
        // So that kernels from 4.20 on leave out the other tables, which may have a million routes.
        let _ = self.socket.set_netlink_get_strict_chk(true);
        let routes = self.dump(RouteNetlinkMessage::GetRoute(question));
        let _ = self.socket.set_netlink_get_strict_chk(false);
        Ok(routes?.iter().filter_map(local_subnet).collect())
    }

    /// The way to a destination.
    pub(super) fn route(&mut self, query: RouteQuery) -> io::Result<Result<KernelRoute, NoRoute>> {
        // Twice in one system call: as packets would go, and the table's entry. The first chooses among several next hops and
        // knows what ICMP errors said; the second names the entry's own source, which the first hides behind the one that was asked
        // with, and refuses where the first would take anything for on-link because the interface was named.
        let as_sent = route_question(query, RouteFlags::empty());
        let entry = route_question(query, RouteFlags::FibMatch);
        let first = self.send(&[(as_sent, 0), (entry, 0)])?;
        let as_sent = self.answer(first)?;
        let entry = self.answer(first.wrapping_add(1))?;
        Ok(match (as_sent, entry) {
            (Ok(as_sent), Ok(entry)) => reading(query, &as_sent, &entry),
            (Err(error), _) | (_, Err(error)) => Err(NoRoute::Refused(error.to_string())),
        })
    }

    /// What the kernel knows of the MAC of a station on an interface. Kernels before 5.0 cannot look up a single one and tell
    /// nothing.
    pub(super) fn neighbour(&mut self, interface: u32, address: Ipv4Addr) -> io::Result<Option<Neighbour>> {
        Ok(self.neighbour_entry(interface, address)?.as_ref().and_then(usable))
    }

    /// Its MAC, also while the kernel asks whether it still is that one, as it does while it uses it (NUD_DELAY, NUD_PROBE).
    pub(super) fn known_neighbour(
        &mut self,
        interface: u32,
        address: Ipv4Addr,
    ) -> io::Result<Option<MacAddr>> {
        let entry = self.neighbour_entry(interface, address)?;
        Ok(entry.as_ref().and_then(|entry| match entry.header.state {
            NeighbourState::Delay | NeighbourState::Probe => mac_of(entry),
            _ => usable(entry).map(Neighbour::mac),
        }))
    }

    fn neighbour_entry(&mut self, interface: u32, address: Ipv4Addr) -> io::Result<Option<NeighbourMessage>> {
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Inet;
        question.header.ifindex = interface;
        question.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        let sequence = self.send(&[(RouteNetlinkMessage::GetNeighbour(question), 0)])?;
        Ok(match self.answer(sequence)? {
            Ok(RouteNetlinkMessage::NewNeighbour(neighbour)) => Some(neighbour),
            _ => None,
        })
    }

    /// Sends questions in one datagram; returns the sequence number of the first.
    fn send(&mut self, questions: &[(RouteNetlinkMessage, u16)]) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        self.buffer.clear();
        for (question, flags) in questions {
            self.sequence = self.sequence.wrapping_add(1);
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | flags;
            header.sequence_number = self.sequence;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question.clone()));
            message.finalize();
            let start = self.buffer.len();
            self.buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut self.buffer[start..]);
        }
        self.socket.send(&self.buffer, 0)?;
        Ok(first)
    }

    /// The one answer to a question, or the kernel's refusal.
    fn answer(&mut self, sequence: u32) -> io::Result<io::Result<RouteNetlinkMessage>> {
        loop {
            let mut found = None;
            self.receive(sequence, |message| {
                found = Some(match message?.payload {
                    NetlinkPayload::InnerMessage(inner) => Ok(inner),
                    NetlinkPayload::Error(error) => Err(error.to_io()),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                });
                Ok(())
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    fn dump(&mut self, question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let sequence = self.send(&[(question, NLM_F_DUMP)])?;
        let (mut all, mut done) = (Vec::new(), false);
        while !done {
            self.receive(sequence, |message| {
                match message.map(|message| message.payload) {
                    Ok(NetlinkPayload::InnerMessage(inner)) => all.push(inner),
                    Ok(NetlinkPayload::Done(_)) => done = true,
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(_) => {}
                    // One odd interface must not hide all the others.
                    Err(error) => tracing::debug!("{error}"),
                }
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Waits for one datagram and gives out the answers in it to the question of that number.
    fn receive(
        &mut self,
        sequence: u32,
        mut take: impl FnMut(io::Result<NetlinkMessage<RouteNetlinkMessage>>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received.map(drop)?,
            }
        }
        let is_answer = |message: &&[u8]| message.get(8..12) == Some(&sequence.to_ne_bytes());
        let unreadable = |error| io::Error::other(format!("the kernel sent what cannot be read: {error}"));
        let mut answers = messages(&self.buffer).filter(is_answer);
        answers.try_for_each(|message| take(NetlinkMessage::deserialize(message).map_err(unreadable)))
    }
}

/// The messages of a datagram, with their headers (netlink(7)).
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    const HEADER_LEN: usize = 16;
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..len).filter(|message| message.len() >= HEADER_LEN)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn interface(message: &LinkMessage) -> Interface {
    let flags = message.header.flags;
    let mut interface = Interface {
        index: message.header.index,
        name: String::new(),
        alias: String::new(),
        kind: String::new(),
        link_layer: LinkLayer::Other,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        arp: !flags.contains(LinkFlags::Noarp),
        controller: None,
        addresses: Vec::new(),
    };
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => interface.alias.clone_from(alias),
            LinkAttribute::Mtu(mtu) => interface.mtu = u16::try_from(*mtu).unwrap_or(u16::MAX),
            LinkAttribute::Controller(index) => interface.controller = (*index != 0).then_some(*index),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr),
            LinkAttribute::LinkInfo(infos) => {
                interface.kind = infos.iter().find_map(kind_of).unwrap_or_default();
            }
            _ => {}
        }
    }
    interface.link_layer = match (message.header.link_layer_type, mac) {
        (LinkLayerType::Ether, Some(mac)) => LinkLayer::Ethernet(mac),
        (LinkLayerType::None | LinkLayerType::Ppp | LinkLayerType::Tunnel | LinkLayerType::Rawip, _) => {
            LinkLayer::None
        }
        _ => LinkLayer::Other,
    };
    interface
}

fn kind_of(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// The order among its interface's addresses in which the kernel would choose it as a source (net/ipv4/devinet.c,
/// inet_select_addr: primary ones, of the widest scope), the interface, the host's own address and its prefix.
fn ranked_address(message: &AddressMessage) -> Option<((bool, u8), u32, Ipv4Addr, u8)> {
    let header = &message.header;
    let (mut own, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface IFA_ADDRESS is the peer's.
            AddressAttribute::Local(IpAddr::V4(it)) => own = Some(*it),
            AddressAttribute::Address(IpAddr::V4(it)) => address = Some(*it),
            _ => {}
        }
    }
    let rank = (header.flags.contains(AddressHeaderFlags::Secondary), u8::from(header.scope));
    Some((rank, header.index, own.or(address)?, header.prefix_len))
}

fn subnet_of(message: &RouteNetlinkMessage) -> Option<(Ipv4Addr, u8, Option<u32>)> {
    let RouteNetlinkMessage::NewRoute(route) = message else { return None };
    let (mut destination, mut interface) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    let elsewhere = route.header.kind == RouteType::Unicast && route.header.destination_prefix_length > 0;
    elsewhere.then_some((destination?, route.header.destination_prefix_length, interface))
}

fn local_subnet(message: &RouteNetlinkMessage) -> Option<Ipv4Net> {
    let RouteNetlinkMessage::NewRoute(route) = message else { return None };
    let header = &route.header;
    // Other tables have local routes for packets that policy rules pick out, as those of a transparent proxy.
    let is_local = header.table == libc::RT_TABLE_LOCAL && header.kind == RouteType::Local;
    let destination = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    });
    is_local.then(|| Ipv4Net::new(destination?, header.destination_prefix_length).ok()).flatten()
}

fn route_question(query: RouteQuery, flags: RouteFlags) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = 32;
    message.header.flags = flags;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(query.destination)));
    if let Some(source) = query.source {
        message.header.source_prefix_length = 32;
        message.attributes.push(RouteAttribute::Source(RouteAddress::Inet(source)));
    }
    message.attributes.extend(query.interface.map(RouteAttribute::Oif));
    RouteNetlinkMessage::GetRoute(message)
}

/// What the two answers to [`Kernel::route`] mean together.
fn reading(
    query: RouteQuery,
    as_sent: &RouteNetlinkMessage,
    entry: &RouteNetlinkMessage,
) -> Result<KernelRoute, NoRoute> {
    let (RouteNetlinkMessage::NewRoute(as_sent), RouteNetlinkMessage::NewRoute(entry)) = (as_sent, entry)
    else {
        return Err(NoRoute::NoInterface);
    };
    if as_sent.header.kind != RouteType::Unicast {
        return Err(NoRoute::NotElsewhere);
    }
    let (mut interface, mut gateway, mut mtu, mut chosen) = (None, None, None, None);
    for attribute in &as_sent.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => chosen = Some(*address),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(mtu_of),
            RouteAttribute::Via(_) => return Err(NoRoute::Ipv6NextHop),
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => return Err(NoRoute::Encapsulated),
            _ => {}
        }
    }
    let named = entry.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    });
    let source = named.or(chosen.filter(|_| query.source.is_none()));
    let prefix_len = entry.header.destination_prefix_length;
    Ok(KernelRoute { interface: interface.ok_or(NoRoute::NoInterface)?, gateway, source, mtu, prefix_len })
}

fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    }
}

fn usable(message: &NeighbourMessage) -> Option<Neighbour> {
    let mac = mac_of(message)?;
    match message.header.state {
        NeighbourState::Reachable | NeighbourState::Stale => Some(Neighbour::Learned(mac)),
        NeighbourState::Permanent | NeighbourState::Noarp => Some(Neighbour::Fixed(mac)),
        _ => None,
    }
}

fn mac_of(message: &NeighbourMessage) -> Option<MacAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
