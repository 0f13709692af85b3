//! Answers to clients outside go back as they came, in packets that the route towards the client takes.

use super::shapes::read_error;
use super::*;
use crate::edge::config::{Action, Hits, Rule};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const NARROW: u16 = 1300;
const CLIENT: (Ipv4Addr, u16) = (REMOTE, 5000);
const SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 3), 8080);
/// Longer than a hop is believed.
const LATER: Duration = Duration::from_secs(9);

/// A world where endpoint 3 is published, and the route to the client by that uplink takes so much; none: there is no route.
fn published(route: Option<(u16, u16)>) -> World {
    let mut world = World::ready();
    world.publish(1, None, Protocol::Tcp, 80, (3, SERVICE.1));
    learn(&mut world, route);
    world
}

fn learn(world: &mut World, route: Option<(u16, u16)>) {
    let neighbour = Some(Neighbour::Learned(ROUTER_MAC));
    let route = route.map(|(uplink, mtu)| Route {
        uplink: PortId(uplink),
        next_hop: ROUTER,
        source: HOST,
        mtu,
        neighbour,
    });
    world.answer(&Answer::Route { network: NETWORK, destination: REMOTE, route });
}

/// A rule that lets everybody in, and counts.
fn allow() -> Rule {
    Rule {
        number: 1,
        action: Action::Allow,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        hits: Arc::new(Hits::default()),
    }
}

fn with_segment_size(specimen: Specimen, size: u16) -> Specimen {
    Specimen { tcp_options: [&[2, 4][..], &size.to_be_bytes()].concat(), ..specimen }
}

/// A segment of the answer: a packet of `len` bytes.
fn answer(len: usize, flags: u16) -> Specimen {
    Specimen { payload: vec![0x5a; len - 40], flags, ..tcp(SERVICE, CLIENT, ACK) }
}

const DONT_FRAGMENT: u16 = 0x4000;

/// The largest answer that need not be cut: what the endpoint is told of a larger one.
fn told(world: &mut World) -> u16 {
    let (verdict, left) = world.inside(3, &answer(1500, DONT_FRAGMENT));
    if verdict == routed(UPLINK, Translation::Source) || verdict == routed(TUNNEL, Translation::Source) {
        return 1500;
    }
    assert_eq!(verdict, Verdict::Reply(Reply::FragmentationNeeded));
    let (source, kind, quote) = read_error(&left[0]);
    assert_eq!((left[0].port, source, kind), (3, GATEWAY.address, [3, 4]));
    assert_eq!(quote, answer(1500, DONT_FRAGMENT).packet()[..548], "as its sender sent it");
    u16::from_be_bytes([left[0].packet()[26], left[0].packet()[27]])
}

#[test]
fn answers_of_a_published_port_fit_the_route_to_the_client() {
    let mut world = published(Some((UPLINK, NARROW)));
    let size = NARROW - 40;
    let (_, left) = world.outside(&with_segment_size(tcp(CLIENT, (HOST, 80), SYN), 1460));
    assert_left(&left, 3, to_endpoint(3), &with_segment_size(tcp(CLIENT, SERVICE, SYN), size));
    let (_, left) = world.inside(3, &with_segment_size(tcp(SERVICE, CLIENT, SYN_ACK), 1460));
    assert_left(&left, UPLINK, OUT, &with_segment_size(tcp((HOST, 80), CLIENT, SYN_ACK), size));

    assert_eq!(told(&mut world), NARROW);
    let fits = answer(NARROW.into(), DONT_FRAGMENT);
    assert_eq!(world.inside(3, &fits).0, routed(UPLINK, Translation::Source));
    let (verdict, left) = world.inside(3, &answer(1500, 0));
    assert_eq!(verdict, routed(UPLINK, Translation::Source));
    let lengths: Vec<usize> = left.iter().map(|left| left.packet().len()).collect();
    assert_eq!(lengths, [1300, 220], "cut");
    // What comes in has passed that way already.
    let packet = Specimen { payload: vec![0x5a; 1460], flags: DONT_FRAGMENT, ..tcp(CLIENT, (HOST, 80), ACK) };
    assert_eq!(world.outside(&packet).0, routed(3, Translation::Destination));
}

#[test]
fn a_route_that_leads_elsewhere_or_nowhere_says_nothing_of_the_way_back() {
    for route in [Some((TUNNEL, NARROW)), None] {
        let mut world = published(route);
        assert_eq!(world.outside(&tcp(CLIENT, (HOST, 80), SYN)).0, routed(3, Translation::Destination));
        assert_eq!(told(&mut world), 1500, "{route:?}");
    }
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_and_one_that_becomes_wide() {
    let mut world = published(Some((UPLINK, 1500)));
    world.outside(&tcp(CLIENT, (HOST, 80), SYN));
    assert_eq!(told(&mut world), 1500);
    for mtu in [NARROW, 1500] {
        learn(&mut world, Some((UPLINK, mtu)));
        world.pass(LATER);
        assert_eq!(told(&mut world), mtu);
    }
    // Nobody has said for a while whether the route is still there: the answer waits for that.
    world.answer(&Answer::RoutesChanged);
    world.pass(LATER);
    assert_eq!(world.inside(3, &answer(100, DONT_FRAGMENT)).0, Verdict::Wait(Wait::Route));
    learn(&mut world, Some((UPLINK, NARROW)));
    let [(verdict, _)] = &world.resume()[..] else { panic!("one packet waits") };
    assert_eq!(*verdict, routed(UPLINK, Translation::Source));
    assert_eq!(told(&mut world), NARROW);
}

#[test]
fn a_client_who_moves_keeps_his_route_by_the_same_uplink_and_gets_that_of_another() {
    let mut world = published(Some((UPLINK, NARROW)));
    let syn = tcp(CLIENT, (HOST, 80), SYN);
    world.outside(&syn);
    // By another router.
    let other = MacAddr([0x02, 0, 0, 0, 9, 2]);
    let frame = ethernet(UPLINK_MAC, other, ethertype::IPV4, &with_segment_size(syn.clone(), 1460).packet());
    let (_, left) = world.step(UPLINK, &frame);
    let told_inside = with_segment_size(tcp(CLIENT, SERVICE, SYN), NARROW - 40);
    assert_left(&left, 3, to_endpoint(3), &told_inside);
    assert_eq!(told(&mut world), NARROW);
    let (_, left) = world.inside(3, &answer(100, DONT_FRAGMENT));
    assert_eq!(left[0].bytes[..6], other.0);
    // By another uplink, where nothing is known but its own MTU, until the route leads there too.
    let by_tunnel = ethernet(Uplink::OWN_MAC, Uplink::PEER_MAC, ethertype::IPV4, &syn.packet());
    world.step(TUNNEL, &by_tunnel);
    assert_eq!(told(&mut world), 1420);
    learn(&mut world, Some((TUNNEL, NARROW)));
    world.pass(LATER);
    assert_eq!(told(&mut world), NARROW);
}

#[test]
fn strangers_wait_for_their_routes_as_far_as_there_is_room_and_are_let_in_beyond() {
    let mut world = published(None);
    let allow = allow();
    let hits = Arc::clone(&allow.hits);
    world.change_network(|network| network.edge.rules = [allow].into());
    let syn = |n: u16| tcp((Ipv4Addr::from(0xc612_0000 + u32::from(n)), 5000), (HOST, 80), SYN);
    for n in 0..64 {
        assert_eq!(world.outside(&syn(n)).0, Verdict::Wait(Wait::Route), "{n}");
    }
    assert_eq!((world.asked.len(), world.sessions(), hits.get()), (64, 0, 0));
    assert_eq!(world.outside(&syn(64)).0, routed(3, Translation::Destination));
    assert_eq!((world.asked.len(), world.drops(UPLINK, DropReason::WaitFull)), (64, 0));
    // Its answer has room, for it comes from elsewhere.
    let to = syn(64).tuple.src.to_ipv4_mapped().unwrap();
    let answer = tcp(SERVICE, (to, 5000), SYN_ACK);
    assert_eq!(world.inside(3, &answer).0, routed(UPLINK, Translation::Source), "as it came, for a while");

    for request in std::mem::take(&mut world.asked) {
        let Request::Route { network, destination } = request else { panic!("{request:?}") };
        world.answer(&Answer::Route { network, destination, route: None });
    }
    let resumed = world.resume();
    assert!(resumed.iter().all(|(verdict, _)| *verdict == routed(3, Translation::Destination)));
    assert_eq!((resumed.len(), world.sessions(), hits.get()), (64, 65, 65), "each is counted once");
}
