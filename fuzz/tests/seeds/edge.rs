//! What the edge is to see: packets there and back, ICMP errors, fragments.

/// A route is said to be there, or not, as the target's lists count networks, addresses and ways.
fn route(network: u8, destination: u8, way: u8) -> Vec<u8> {
    let (answer, is_resolved) = (6, 1);
    vec![answer, 0, network, destination, way, is_resolved]
}

/// What is turned round in the snapshot, in the order of the target's.
#[derive(Clone, Copy)]
enum Change {
    Internal,
    Isolated,
    Rule,
    Mapping,
    Publications,
    Tunnel,
    Port,
    Uplinks,
    SnatAddress,
    HostAddress,
}

/// How many of those there are.
const CHANGES: u8 = 10;

const NOWHERE: u8 = 0;
const ROUTED: u8 = 1;
const NARROW: u8 = 2;
const TUNNELLED: u8 = 3;

/// The format is told at `pontoon_fuzz::edge`.
pub(crate) fn edge_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const TCP: u8 = 0;
    const UDP: u8 = 1;
    const ICMP: u8 = 2;
    const ANOTHER: u8 = 3;
    const GATEWAY: u8 = 0;
    const GATEWAYS_OWN: u8 = 3;
    const NEIGHBOUR: u8 = 5;
    const WHOLE: u8 = 0;
    const FIRST: u8 = 2;
    const SECOND: u8 = 3;
    const SYN: u8 = 2;
    const ACK: u8 = 0x10;
    const REQUEST: u8 = 1;
    const ERROR: u8 = 4;
    // Ports by which packets come, addresses and transport ports, by their places in the target's lists.
    const UPLINK: u8 = 5;
    const CLIENT: (u8, u8) = (0, 6);
    const REMOTE: u8 = 8;
    const HOST: u8 = 6;
    let packet = |port: u8, protocol: u8, src: (u8, u8), dst: (u8, u8), flags: u8, part: u8| {
        vec![0, port, GATEWAY, protocol, src.0, dst.0, src.1, dst.1, flags, 2, part, 1]
    };
    let with_ttl = |mut packet: Vec<u8>, ttl| {
        packet[9] = ttl;
        packet
    };
    let to_remote = |part| packet(0, UDP, CLIENT, (REMOTE, 4), 0, part);
    let out = || to_remote(WHOLE);
    // Whichever of the host's three ports it went out by.
    let by_any = |make: &dyn Fn(u8) -> Vec<u8>| (0..3).flat_map(make).collect::<Vec<u8>>();
    let back = |part| by_any(&|to| packet(UPLINK, UDP, (REMOTE, 4), (HOST, to), 0, part));
    let syn = packet(UPLINK, TCP, (REMOTE, 6), (HOST, 3), SYN, WHOLE);
    let answer = packet(1, TCP, (1, 6), (REMOTE, 6), SYN | ACK, WHOLE);
    let hairpin = packet(0, TCP, CLIENT, (HOST, 3), SYN, WHOLE);
    let ping = packet(0, ICMP, CLIENT, (REMOTE, 0), REQUEST, WHOLE);
    let error = by_any(&|from| packet(UPLINK, ICMP, (REMOTE, 4), (HOST, from), ERROR, WHOLE));
    let for_mac = |mut packet: Vec<u8>, mac| {
        packet[2] = mac;
        packet
    };
    let linked = for_mac(packet(0, TCP, CLIENT, (1, 3), SYN, WHOLE), NEIGHBOUR);
    let by_host = packet(4, UDP, (1, 7), (5, 0), 0, FIRST);
    let answered = |packet: &[u8]| [&[3], &packet[1..]].concat();
    let later = |time: u16| [&[5][..], &time.to_le_bytes()].concat();
    let routed = route(0, REMOTE, ROUTED);
    let routes = [&routed[..], &route(0, 9, ROUTED)].concat();
    let many = |port: u8, half: u8| {
        let flow = |to: u8| packet(port, UDP, (port, 6), (REMOTE + to / 8, to % 8), 0, WHOLE);
        (0..13).map(|to| to + half).flat_map(flow).collect::<Vec<u8>>()
    };
    let no_more_ports = [6, 8, UDP, 0];
    let by_a_port_each = |from: core::ops::Range<u8>| {
        let flow = |from| packet(0, UDP, (0, from), (REMOTE, 4), 0, WHOLE);
        from.flat_map(flow).collect::<Vec<u8>>()
    };
    let from_four = packet(2, UDP, (2, 6), (REMOTE, 4), 0, WHOLE);
    let unresolved = |mut route: Vec<u8>| {
        route[5] = 0;
        route
    };
    let change = |what: Change| {
        [7].into_iter().chain((0..CHANGES).map(|it| (it == what as u8).into())).collect::<Vec<u8>>()
    };
    vec![
        ("outbound-and-back", [&routed, &out(), &back(WHOLE), &error, &ping].map(Vec::as_slice).concat()),
        (
            "answered",
            [&routed[..], &answered(&out()), &answered(&ping), &answered(&syn), &answered(&hairpin)].concat(),
        ),
        // Found by fuzzing: the host sends to the gateway's MAC, which it has itself.
        ("host-to-itself", for_mac(by_host, GATEWAYS_OWN)),
        // Found by fuzzing: a connection is begun in the name of an endpoint, which then uses it, and whose answers went astray.
        (
            "begun-in-anothers-name",
            [&packet(2, TCP, CLIENT, (HOST, 3), SYN, WHOLE)[..], &answered(&hairpin)].concat(),
        ),
        // The first one does not go on, and a new rule denies their session.
        (
            "fragments-that-are-denied",
            [&routed[..], &out(), &change(Change::Rule), &with_ttl(to_remote(FIRST), 0), &to_remote(SECOND)]
                .concat(),
        ),
        ("last-hop", [routed.clone(), with_ttl(out(), 0), with_ttl(out(), 1)].concat()),
        ("waits-for-a-route", [out(), later(200), routed.clone(), later(1000), out()].concat()),
        (
            "fragments",
            [&routed[..], &to_remote(SECOND), &to_remote(FIRST), &back(SECOND), &back(FIRST)].concat(),
        ),
        (
            "published-and-unpublished",
            [&routed[..], &syn, &answer, &change(Change::Publications), &syn, &answer].concat(),
        ),
        ("published-far-away", [route(0, REMOTE, NARROW), syn.clone(), answer.clone()].concat()),
        ("published-waits-for-a-route", [&syn[..], &answer, &routed, &answer].concat()),
        ("hairpin", [hairpin.clone(), later(40_000), hairpin].concat()),
        (
            "rules-change",
            [&routed[..], &out(), &change(Change::Rule), &out(), &change(Change::Rule), &out()].concat(),
        ),
        (
            "open-mapping",
            [
                &change(Change::Mapping)[..],
                &routed,
                &out(),
                &back(WHOLE),
                &change(Change::Mapping),
                &back(WHOLE),
            ]
            .concat(),
        ),
        (
            "links",
            [
                &change(Change::Isolated)[..],
                &linked,
                &change(Change::Isolated),
                &linked,
                &change(Change::Port),
                &linked,
            ]
            .concat(),
        ),
        ("no-route", [route(0, REMOTE, NOWHERE), out()].concat()),
        ("no-uplink-is-left", [route(0, REMOTE, TUNNELLED), out(), change(Change::Tunnel), out()].concat()),
        ("no-uplink-may-be-used", [&routed[..], &change(Change::Uplinks), &out(), &syn].concat()),
        (
            "no-address-is-left",
            [route(0, REMOTE, TUNNELLED), out(), change(Change::HostAddress), out()].concat(),
        ),
        (
            "address-of-the-network",
            [&routed[..], &change(Change::SnatAddress), &out(), &change(Change::HostAddress), &out()]
                .concat(),
        ),
        ("next-hop-is-silent", [unresolved(routed.clone()), out(), later(130).repeat(5), out()].concat()),
        // Which no one answers, to as many destinations: they do not yield to one another so soon.
        ("more-than-an-endpoint-may-have", [&routes[..], &many(0, 0), &many(0, 1)].concat()),
        ("more-than-there-may-be", [&routes[..], &many(0, 0), &many(1, 1), &from_four].concat()),
        (
            "more-than-there-are-ports",
            [&routed[..], &by_a_port_each(0..4), &no_more_ports, &later(130), &by_a_port_each(4..5)].concat(),
        ),
        ("internal", [&change(Change::Internal)[..], &routed, &out()].concat()),
        (
            "no-link",
            [
                &change(Change::Isolated)[..],
                &linked,
                &for_mac(packet(1, TCP, (1, 6), (0, 3), SYN, WHOLE), NEIGHBOUR - 1),
            ]
            .concat(),
        ),
        ("no-host-port", packet(3, TCP, (3, 6), (HOST, 7), SYN, WHOLE)),
        ("to-a-group", packet(0, UDP, CLIENT, (11, 4), 0, WHOLE)),
        ("another-protocol", packet(0, ANOTHER, CLIENT, (REMOTE, 0), 0, WHOLE)),
        (
            "routes-change",
            [&routed[..], &out(), &[6, 3], &out(), &route(0, REMOTE, TUNNELLED), &out()].concat(),
        ),
    ]
}

/// An ICMP error; `which` counts what is said, in pairs: an answer, and before it its question. The type is by its place in the
/// target's list, as are the port and addresses.
#[derive(Clone, Copy)]
struct About {
    which: u8,
    door: Option<u8>,
    src: Option<u8>,
    dst: Option<u8>,
    has_wrong_sum: bool,
    has_options: bool,
    quotes_options: bool,
    is_nested: bool,
    kind: u8,
    ttl: u8,
    part: u8,
    word: [u8; 4],
    len: u16,
    edits: &'static [[u8; 2]],
}

impl About {
    const PLAIN: About = About {
        which: 0,
        door: None,
        src: None,
        dst: None,
        has_wrong_sum: false,
        has_options: false,
        quotes_options: false,
        is_nested: false,
        kind: 0,
        ttl: 63,
        part: 0,
        word: [0, 0, 5, 0],
        len: 1500,
        edits: &[],
    };

    fn seed(self) -> Vec<u8> {
        let maybe = |choice: Option<u8>| choice.map_or(vec![0], |choice| vec![1, choice]);
        let flags = [self.has_wrong_sum, self.has_options, self.quotes_options, self.is_nested];
        let code = 3;
        [
            &[self.which][..],
            &maybe(self.door),
            &maybe(self.src),
            &maybe(self.dst),
            &flags.map(u8::from),
            &[self.kind, code, self.ttl, self.part],
            &self.word,
            &self.len.to_le_bytes(),
            &[self.edits.len() as u8],
            self.edits.as_flattened(),
        ]
        .concat()
    }

    /// The same about all that is said.
    fn about_all(self) -> Vec<u8> {
        (0..20).flat_map(|which| About { which, ..self }.seed()).collect()
    }
}

/// The format is told at `pontoon_fuzz::edge_errors`.
pub(crate) fn error_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const PLAIN: About = About::PLAIN;
    const TCP: About = About { which: 1, ..PLAIN };
    const UDP: About = About { which: 3, ..PLAIN };
    const ECHO: About = About { which: 5, ..PLAIN };
    const TIME_EXCEEDED: u8 = 2;
    let every_length =
        |about: About, most| (0..=most).flat_map(|len| About { len, ..about }.seed()).collect::<Vec<u8>>();
    let by_every_port = |which| {
        (0..7).flat_map(|door| About { which, door: Some(door), ..PLAIN }.seed()).collect::<Vec<u8>>()
    };
    let edited = |edits| About { edits, ..PLAIN }.about_all();
    let kinds = (0..8).chain(128..160);
    vec![
        ("right-about-everything", PLAIN.about_all()),
        ("eight-bytes-of-everything", About { kind: TIME_EXCEEDED, len: 28, ..PLAIN }.about_all()),
        ("every-type", kinds.flat_map(|kind| About { kind, ..TCP }.seed()).collect()),
        ("tcp-every-length", every_length(TCP, 64)),
        ("udp-every-length", every_length(UDP, 52)),
        ("echo-every-length", every_length(ECHO, 52)),
        ("options-in-the-quote", About { quotes_options: true, ..PLAIN }.about_all()),
        ("options-in-front", About { has_options: true, kind: 1, ..PLAIN }.about_all()),
        ("with-extensions", About { quotes_options: true, word: [0, 32, 5, 0], ..PLAIN }.about_all()),
        ("about-an-error", About { is_nested: true, ..PLAIN }.about_all()),
        ("wrong-checksum", About { has_wrong_sum: true, ..PLAIN }.about_all()),
        ("last-hop", About { ttl: 1, ..PLAIN }.about_all()),
        (
            "in-fragments",
            [About { part: 2, ..PLAIN }.about_all(), About { part: 3, ..PLAIN }.about_all()].concat(),
        ),
        ("tcp-by-every-port", by_every_port(1)),
        ("hairpin-by-every-port", by_every_port(17)),
        ("published-by-every-port", by_every_port(13)),
        ("by-another-than-was-spoken-to", About { src: Some(1), ..PLAIN }.about_all()),
        (
            "by-one-without-a-guard",
            About { door: Some(2), src: Some(2), word: [0; 4], len: 255, ..PLAIN }.about_all(),
        ),
        ("to-another-than-has-spoken", About { dst: Some(1), ..PLAIN }.about_all()),
        ("length-too-small", edited(&[[2, 0], [3, 27]])),
        ("length-too-large", edited(&[[2, 0xff], [3, 0xff]])),
        ("header-too-long", edited(&[[0, 0x4f]])),
        ("header-too-short", edited(&[[0, 0x44]])),
        ("another-version", edited(&[[0, 0x65]])),
        ("about-a-first-fragment", edited(&[[6, 0x20]])),
        ("about-a-later-fragment", edited(&[[7, 3]])),
        ("another-protocol", edited(&[[9, 50]])),
        ("another-port", edited(&[[20, 1]])),
        ("checksum-all-ones", edited(&[[26, 0xff], [27, 0xff]])),
    ]
}

/// The format is told at `pontoon_fuzz::edge_fragments`.
pub(crate) fn fragment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const FLOWS: u8 = 14;
    const OUT: u8 = 0;
    const BACK: u8 = 1;
    const TCP: u8 = 2;
    // Routes to both remotes for the one network, and to one for the other.
    let routes = [route(0, 8, ROUTED), route(0, 9, TUNNELLED), route(1, 8, ROUTED)].concat();
    let fragment = |which: u8, ident: u8, offset: u16, len: u8, more: bool| {
        let [low, high] = offset.to_le_bytes();
        vec![0, which, ident, low, high, len, more.into()]
    };
    let datagram = |which: u8, ident: u8, size: u8, cuts: &[u8], order: &[u8]| {
        [&[3, which, ident, size, cuts.len() as u8], cuts, order].concat()
    };
    let each = |make: &dyn Fn(u8) -> Vec<u8>| {
        routes.iter().copied().chain((0..FLOWS).flat_map(make)).collect::<Vec<u8>>()
    };
    let with_routes = |parts: &[Vec<u8>]| [&routes[..], &parts.concat()].concat();
    let later = |time: u8| vec![5, time];
    let two = |ident| [fragment(OUT, ident, 0, 48, true), fragment(OUT, ident, 6, 40, false)].concat();
    vec![
        ("in-order", each(&|which| datagram(which, 1, 40, &[10, 10], &[0, 0, 0]))),
        ("first-one-last", each(&|which| datagram(which, 2, 40, &[10, 10], &[4, 2, 0]))),
        ("each-of-them-twice", each(&|which| datagram(which, 3, 40, &[10, 10], &[1, 1, 1]))),
        (
            "twelve-pieces-shuffled",
            each(&|which| datagram(which, 4, 60, &[5; 11], &[7, 4, 20, 3, 9, 2, 8, 0, 1, 6, 1, 0])),
        ),
        ("eight-bytes-first", each(&|which| datagram(which, 5, 40, &[1, 1, 1], &[0, 0, 0, 0]))),
        ("cut-again-by-the-tunnel", with_routes(&[datagram(8, 6, 100, &[20, 50], &[4, 0, 0])])),
        (
            "tiny-first-fragments",
            with_routes(&(0..30).map(|len| fragment(TCP, len, 0, len, true)).collect::<Vec<_>>()),
        ),
        (
            "over-one-another",
            with_routes(&[
                fragment(TCP, 7, 0, 100, true),
                fragment(TCP, 7, 1, 100, true),
                fragment(TCP, 7, 3, 100, true),
                fragment(TCP, 7, 6, 200, false),
                fragment(TCP, 7, 0, 48, true),
            ]),
        ),
        (
            "far-behind",
            with_routes(&[
                fragment(OUT, 8, 0, 100, true),
                fragment(OUT, 8, 0x1fff, 7, false),
                fragment(OUT, 8, 0x1fff, 200, true),
                fragment(OUT, 8, 0x1fe0, 255, false),
            ]),
        ),
        (
            "without-a-first",
            [fragment(OUT, 9, 10, 100, false), fragment(BACK, 9, 10, 100, false), later(200)].concat(),
        ),
        ("many-packets", with_routes(&(0..60).map(two).collect::<Vec<_>>())),
        (
            "more-than-may-wait",
            (0..99).map(|ident| fragment(OUT, ident, 5, 40, true)).chain([later(130)]).flatten().collect(),
        ),
        (
            "more-than-may-wait-outside",
            (0..99).map(|ident| fragment(BACK, ident, 5, 40, true)).chain([later(130)]).flatten().collect(),
        ),
        ("waits-for-a-route", [&two(1)[..], &later(3), &routes, &two(2), &later(20)].concat()),
        ("waits-for-a-port", with_routes(&[datagram(10, 1, 40, &[10], &[2, 0]), later(1), vec![6, 5, 1, 5]])),
        (
            "another-identification",
            with_routes(&[fragment(OUT, 1, 0, 48, true), fragment(OUT, 2, 6, 40, false)]),
        ),
        (
            "one-identification-for-two-flows",
            with_routes(&[two(1), fragment(12, 1, 0, 48, true), fragment(OUT, 1, 6, 40, false)]),
        ),
        (
            "too-late",
            with_routes(&[
                fragment(OUT, 1, 0, 48, true),
                later(125),
                fragment(OUT, 1, 6, 40, false),
                later(125),
            ]),
        ),
        (
            "answers",
            with_routes(&[
                vec![7, OUT],
                datagram(BACK, 1, 40, &[10], &[2, 0]),
                datagram(0x41, 1, 40, &[10], &[2, 0]),
            ]),
        ),
    ]
}
