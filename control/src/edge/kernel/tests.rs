use rtnetlink::packet_route::route::{RouteVia, RouteVia::Inet6};

use super::*;

/// A message of that length field, padded to four bytes.
fn raw(len: u32, bytes: usize) -> Vec<u8> {
    let mut message = len.to_ne_bytes().to_vec();
    message.resize(bytes, 0);
    message
}

#[test]
fn datagrams_are_taken_apart_and_never_read_beyond() {
    let lens = |datagram: &[u8]| messages(datagram).map(<[u8]>::len).collect::<Vec<_>>();
    assert_eq!(lens(&[raw(16, 16), raw(21, 24), raw(16, 16)].concat()), [16, 21, 16]);
    // The last one without its padding; a length beyond the end; one shorter than a header; zero; nothing.
    assert_eq!(lens(&[raw(16, 16), raw(21, 21)].concat()), [16, 21]);
    assert_eq!(lens(&[raw(16, 16), raw(40, 24)].concat()), [16]);
    assert_eq!(lens(&[raw(16, 16), raw(15, 16)].concat()), [16]);
    assert!(lens(&raw(0, 16)).is_empty());
    assert!(lens(&raw(u32::MAX, 16)).is_empty());
    assert!(lens(&[16, 0, 0]).is_empty());
}

fn address(own: Option<[u8; 4]>, address: [u8; 4], scope: u8, secondary: bool) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.index, message.header.prefix_len, message.header.scope) = (7, 24, scope.into());
    message.header.flags.set(AddressHeaderFlags::Secondary, secondary);
    message.attributes.push(AddressAttribute::Address(IpAddr::from(address)));
    message.attributes.extend(own.map(|own| AddressAttribute::Local(IpAddr::from(own))));
    message
}

#[test]
fn addresses_stand_in_the_order_of_choice() {
    let mut ranked = [
        address(None, [192, 0, 2, 4], 253, false),
        address(None, [192, 0, 2, 3], 0, true),
        // Point to point: ADDRESS is the other end.
        address(Some([192, 0, 2, 1]), [198, 51, 100, 9], 0, false),
        address(Some([192, 0, 2, 2]), [192, 0, 2, 2], 0, false),
    ]
    .each_ref()
    .map(|message| ranked_address(message).unwrap());
    ranked.sort_by_key(|&(rank, ..)| rank);
    let expected: [Ipv4Addr; 4] = [1, 2, 4, 3].map(|last| [192, 0, 2, last].into());
    assert_eq!(ranked.map(|(_, _, address, _)| address), expected);
    assert_eq!(ranked_address(&AddressMessage::default()), None);
}

fn answer(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.kind = kind;
    message.attributes = attributes;
    RouteNetlinkMessage::NewRoute(message)
}

const QUERY: RouteQuery =
    RouteQuery { destination: Ipv4Addr::new(203, 0, 113, 9), source: None, interface: None };
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

fn read(
    query: RouteQuery,
    more: Vec<RouteAttribute>,
    entry: Vec<RouteAttribute>,
) -> Result<KernelRoute, NoRoute> {
    let mut attributes = vec![
        RouteAttribute::Oif(7),
        RouteAttribute::Gateway(RouteAddress::Inet(ROUTER)),
        RouteAttribute::PrefSource(RouteAddress::Inet(HOST)),
    ];
    attributes.extend(more);
    reading(query, &answer(RouteType::Unicast, attributes), &answer(RouteType::Unicast, entry))
}

#[test]
fn the_two_answers_are_read_together() {
    let plain =
        KernelRoute { interface: 7, gateway: Some(ROUTER), source: Some(HOST), mtu: None, prefix_len: 0 };
    assert_eq!(read(QUERY, vec![], vec![]), Ok(plain));
    // Asked in the gateway's name, the kernel only repeats that.
    let named = RouteQuery { source: Some(HOST), ..QUERY };
    assert_eq!(read(named, vec![], vec![]), Ok(KernelRoute { source: None, ..plain }));
    let entry = vec![RouteAttribute::PrefSource(RouteAddress::Inet(OTHER))];
    for query in [QUERY, named] {
        assert_eq!(read(query, vec![], entry.clone()), Ok(KernelRoute { source: Some(OTHER), ..plain }));
    }
    let metrics = |mtu| vec![RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(9), RouteMetric::Mtu(mtu)])];
    assert_eq!(read(QUERY, metrics(1280), vec![]), Ok(KernelRoute { mtu: Some(1280), ..plain }));
    assert_eq!(read(QUERY, metrics(0), vec![]), Ok(plain));
}

#[test]
fn what_no_frame_can_follow_is_no_route() {
    let via: RouteVia = Inet6("fe80::1".parse().unwrap());
    assert_eq!(read(QUERY, vec![RouteAttribute::Via(via)], vec![]), Err(NoRoute::Ipv6NextHop));
    assert_eq!(read(QUERY, vec![RouteAttribute::Encap(vec![])], vec![]), Err(NoRoute::Encapsulated));
    let none = answer(RouteType::Unicast, vec![]);
    assert_eq!(reading(QUERY, &none, &none), Err(NoRoute::NoInterface));
    for kind in [RouteType::Local, RouteType::Broadcast, RouteType::Multicast, RouteType::BlackHole] {
        let there = answer(kind, vec![RouteAttribute::Oif(7)]);
        assert_eq!(reading(QUERY, &there, &there), Err(NoRoute::NotElsewhere), "{kind:?}");
    }
}

#[test]
fn the_loopback_interface_is_seen_with_its_address() {
    let interfaces = Kernel::open().unwrap().interfaces().unwrap();
    let lo = interfaces.values().find(|it| it.name == "lo").unwrap();
    assert!(lo.loopback && lo.controller.is_none());
    assert_eq!(lo.link_layer, LinkLayer::Other);
}
