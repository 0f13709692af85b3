//! What unit tests share: one network with its gateway and endpoints, and frames built by etherparse, which is
//! no part of the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};

use crate::addr::MacAddr;
use crate::counters::PortCounters;
use crate::edge::config::NetworkEdge;
use crate::fdb::{Fdb, FdbConfig};
use crate::network::{
    DEFAULT_AGEING, Gateway, Identity, Network, NetworkId, Place, Port, PortId, PortSettings, Snapshot,
};

/// The gateway of the one network: 10.0.0.1/24.
pub(crate) const GATEWAY: Gateway =
    Gateway { mac: MacAddr([0x02, 0x42, 10, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1), prefix_len: 24 };
/// The number of the one network.
pub(crate) const NETWORK: NetworkId = NetworkId(0);

/// The MAC of endpoint `n`.
pub(crate) fn mac(n: u8) -> MacAddr {
    MacAddr([0x02, 0x42, 10, 0, 0, n])
}

/// The IPv4 address of endpoint `n`.
pub(crate) fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

/// The IPv6 address of endpoint `n`.
pub(crate) fn address6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n))
}

/// Addresses that the sandbox of endpoint `n` has by another endpoint.
pub(crate) fn elsewhere(n: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 9, 0, n), Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, u16::from(n)))
}

/// Who endpoint `n` is.
pub(crate) fn identity(n: u8) -> Identity {
    let own: Vec<IpAddr> = vec![address(n).into(), address6(n).into()];
    let (other, other6) = elsewhere(n);
    let sandbox_addresses = own.iter().copied().chain([other.into(), other6.into()]).collect();
    Identity { mac: mac(n), addresses: own, sandbox_addresses }
}

/// Port number `n` with the settings of a port on an existing interface.
pub(crate) fn open_port(n: u8) -> Port {
    Port {
        id: PortId(n.into()),
        place: Place::Member(NETWORK),
        settings: PortSettings::default(),
        identity: None,
        own_mac: None,
        mtu: 1500,
        counters: Arc::from(vec![PortCounters::default()]),
    }
}

/// Port number `n`, guarded, with endpoint `n` behind it.
pub(crate) fn guarded_port(n: u8) -> Port {
    let settings = PortSettings { guard: true, ..PortSettings::default() };
    Port { settings, identity: Some(Arc::new(identity(n))), ..open_port(n) }
}

/// The one network with these ports.
pub(crate) fn snapshot(ports: Vec<Port>) -> Snapshot {
    let fdb = Fdb::new(FdbConfig { capacity: 1024, port_share: 256, ageing: DEFAULT_AGEING });
    let network = Network {
        id: NETWORK,
        gateway: Some(GATEWAY),
        mtu: 1500,
        flooded: Arc::default(),
        fdb: Arc::new(fdb),
        members: ports.iter().filter(|port| port.place.network().is_some()).map(|port| port.id).collect(),
        edge: NetworkEdge::default(),
    };
    let mut by_number: Vec<Option<Port>> = Vec::new();
    for port in ports {
        by_number.resize_with(by_number.len().max(port.id.index() + 1), || None);
        let place = port.id.index();
        by_number[place] = Some(port);
    }
    Snapshot {
        generation: 1,
        networks: vec![Some(Arc::new(network))],
        ports: by_number,
        edge: Arc::default(),
    }
}

/// An Ethernet frame.
pub(crate) fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat()
}

/// `frame` with a VLAN tag put in.
pub(crate) fn tagged(frame: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    [&frame[..12], &protocol.to_be_bytes()[..], &control.to_be_bytes()[..], &frame[12..]].concat()
}

/// An ARP message for Ethernet and IPv4.
pub(crate) fn arp(operation: u16, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        message.extend(mac.0);
        message.extend(address.octets());
    }
    message
}

/// An IPv4 packet without options, whole, TTL 64.
pub(crate) fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(src, dst, protocol, payload, FragmentOf { id: 7, offset: 0, more: false })
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FragmentOf {
    /// The packet's identification.
    pub(crate) id: u16,
    /// Bytes before it in the packet's payload.
    pub(crate) offset: usize,
    /// More fragments follow.
    pub(crate) more: bool,
}

/// A fragment of an IPv4 packet.
pub(crate) fn ipv4_fragment(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
    fragment: FragmentOf,
) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        payload.len().try_into().unwrap(),
        64,
        IpNumber(protocol),
        src.octets(),
        dst.octets(),
    )
    .unwrap();
    header.identification = fragment.id;
    header.more_fragments = fragment.more;
    header.fragment_offset = u16::try_from(fragment.offset / 8).unwrap().try_into().unwrap();
    rewrite(header, |_| {}, payload)
}

/// An IPv4 packet with a header that `change` had its hands on; the checksum is right.
pub(crate) fn rewrite(
    mut header: Ipv4Header,
    change: impl FnOnce(&mut Ipv4Header),
    payload: &[u8],
) -> Vec<u8> {
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// An IPv6 packet.
pub(crate) fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: payload.len().try_into().unwrap(),
        next_header: IpNumber(next_header),
        hop_limit: 255,
        source: src.octets(),
        destination: dst.octets(),
    };
    [&header.to_bytes()[..], payload].concat()
}

/// How many random cases a property is held against: `everyday`, or fifty times as many with `PONTOON_FULL=1`.
pub(crate) fn cases(everyday: u32) -> u32 {
    if std::env::var("PONTOON_FULL").is_ok_and(|value| value == "1") { everyday * 50 } else { everyday }
}
