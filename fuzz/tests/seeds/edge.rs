//! What the edge is to see: packets there and back, ICMP errors, fragments.

/// The format is told at `pontoon_fuzz::edge`.
pub(crate) fn edge_seeds() -> Vec<(&'static str, Vec<u8>)> {
    // A route to 192.0.2.7 with a known next hop; packets of UDP and TCP by ports 2 and 9; time; changes.
    const ROUTE: [u8; 3] = [6, 0, 0x18];
    let packet = |port: u8, kind: u8, src: u8, dst: u8, ports: u8, flags: u8, shape: u8| {
        vec![0, port, kind, src, dst, ports, flags, shape, 1]
    };
    let out = |shape| packet(0, 0x11, 0, 8, 0x46, 0, shape);
    let back = |shape| packet(5, 0x11, 8, 6, 0x04, 0, shape);
    let syn = packet(5, 0x10, 8, 6, 0x36, 2, 2);
    let answer = packet(1, 0x10, 1, 8, 0x66, 0x12, 2);
    let hairpin = packet(0, 0x10, 0, 6, 0x36, 2, 2);
    let ping = packet(0, 0x12, 0, 8, 0x06, 1, 2);
    let error = packet(5, 0x12, 8, 6, 0x04, 4, 2);
    let linked = packet(0, 0x80, 0, 1, 0x36, 2, 2);
    let answered = |packet: &[u8]| [&[3], &packet[1..]].concat();
    let later = |time: u16| [&[5][..], &time.to_le_bytes()].concat();
    vec![
        ("outbound-and-back", [&ROUTE[..], &out(2), &back(2), &error, &ping].concat()),
        (
            "answered",
            [&ROUTE[..], &answered(&out(2)), &answered(&ping), &answered(&syn), &answered(&hairpin)].concat(),
        ),
        ("waits-for-a-route", [out(2), later(200), ROUTE.to_vec(), later(1000), out(2)].concat()),
        ("fragments", [&ROUTE[..], &out(0xc2), &out(0x82), &back(0xc2), &back(0x82)].concat()),
        ("published-and-unpublished", [&ROUTE[..], &syn, &answer, &[7, 16], &syn, &answer].concat()),
        // A route of 68 bytes, and one that comes when the client waits already.
        ("published-far-away", [&[6, 0, 0x98][..], &syn, &answer].concat()),
        ("published-waits-for-a-route", [&syn[..], &answer, &ROUTE, &answer].concat()),
        ("hairpin", [hairpin.clone(), later(40_000), hairpin].concat()),
        ("rules-change", [&ROUTE[..], &out(2), &[7, 4], &out(2), &[7, 4], &out(2)].concat()),
        ("open-mapping", [&[7, 8][..], &ROUTE, &out(2), &back(2), &[7, 8], &back(2)].concat()),
        ("links", [&[7, 2][..], &linked, &[7, 2], &linked, &[7, 64], &linked].concat()),
        ("routes-change", [&ROUTE[..], &out(2), &[6, 3, 0], &out(2), &[6, 0, 0xd8], &out(2)].concat()),
    ]
}

/// The format is told at `pontoon_fuzz::edge_errors`. What is said comes in pairs: an answer, and before it its question.
pub(crate) fn error_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const SAID: u8 = 20;
    const TCP: u8 = 1;
    const UDP: u8 = 3;
    const ECHO: u8 = 5;
    const WHOLE: u16 = 1500;
    let about = |which: u8, flags: u8, kind: u8, shape: u8, len: u16, edits: &[[u8; 2]]| {
        let [low, high] = len.to_le_bytes();
        let fixed = [which, 1, flags, kind, 3, 1, 1, shape, 0, 0, 5, 0, low, high, edits.len() as u8, 0];
        [&fixed[..], edits.as_flattened()].concat()
    };
    let all = |flags, kind, shape, len, edits: &[[u8; 2]]| {
        (0..SAID).flat_map(|which| about(which, flags, kind, shape, len, edits)).collect::<Vec<u8>>()
    };
    let plain = |which, len, edits: &[[u8; 2]]| about(which, 0, 0, 63, len, edits);
    let by_every_port = |which| {
        let by = |door| [&[which, door], &about(which, 1, 0, 63, WHOLE, &[])[2..]].concat();
        (0..7).flat_map(by).collect::<Vec<u8>>()
    };
    vec![
        ("right-about-everything", all(0, 0, 63, WHOLE, &[])),
        ("eight-bytes-of-everything", all(0, 2, 63, 28, &[])),
        ("every-type", (0..8).chain(128..160).flat_map(|kind| about(TCP, 0, kind, 63, WHOLE, &[])).collect()),
        ("tcp-every-length", (0..=64).flat_map(|len| plain(TCP, len, &[])).collect()),
        ("udp-every-length", (0..=52).flat_map(|len| plain(UDP, len, &[])).collect()),
        ("echo-every-length", (0..=52).flat_map(|len| plain(ECHO, len, &[])).collect()),
        ("options-in-the-quote", all(16, 0, 63, WHOLE, &[])),
        ("options-in-front", all(64, 1, 63, WHOLE, &[])),
        (
            "with-extensions",
            (0..SAID)
                .flat_map(|which| {
                    let mut error = about(which, 16, 0, 63, WHOLE, &[]);
                    error[9] = 32;
                    error
                })
                .collect(),
        ),
        ("about-an-error", all(32, 0, 63, WHOLE, &[])),
        ("wrong-checksum", all(8, 0, 63, WHOLE, &[])),
        ("last-hop", all(0, 0, 1, WHOLE, &[])),
        ("in-fragments", [all(0, 0, 0xbf, WHOLE, &[]), all(0, 0, 0xff, WHOLE, &[])].concat()),
        ("tcp-by-every-port", by_every_port(TCP)),
        ("hairpin-by-every-port", by_every_port(17)),
        ("published-by-every-port", by_every_port(13)),
        ("by-another-than-was-spoken-to", all(2, 0, 63, WHOLE, &[])),
        (
            "by-one-without-a-guard",
            (0..SAID)
                .flat_map(|which| vec![which, 2, 3, 0, 3, 2, 1, 63, 0, 0, 0, 0, 0xff, 0, 0, 0])
                .collect(),
        ),
        ("to-another-than-has-spoken", all(4, 0, 63, WHOLE, &[])),
        ("length-too-small", all(0, 0, 63, WHOLE, &[[2, 0], [3, 27]])),
        ("length-too-large", all(0, 0, 63, WHOLE, &[[2, 0xff], [3, 0xff]])),
        ("header-too-long", all(0, 0, 63, WHOLE, &[[0, 0x4f]])),
        ("header-too-short", all(0, 0, 63, WHOLE, &[[0, 0x44]])),
        ("another-version", all(0, 0, 63, WHOLE, &[[0, 0x65]])),
        ("about-a-first-fragment", all(0, 0, 63, WHOLE, &[[6, 0x20]])),
        ("about-a-later-fragment", all(0, 0, 63, WHOLE, &[[7, 3]])),
        ("another-protocol", all(0, 0, 63, WHOLE, &[[9, 50]])),
        ("another-port", all(0, 0, 63, WHOLE, &[[20, 1]])),
        ("checksum-all-ones", all(0, 0, 63, WHOLE, &[[26, 0xff], [27, 0xff]])),
    ]
}

/// The format is told at `pontoon_fuzz::edge_fragments`.
pub(crate) fn fragment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const FLOWS: u8 = 14;
    const OUT: u8 = 0;
    const BACK: u8 = 1;
    const TCP: u8 = 2;
    // Routes to both remotes for the one network, and to one for the other.
    const ROUTES: [u8; 9] = [6, 0, 0x18, 6, 0, 0xd9, 6, 0, 0x38];
    let fragment = |which: u8, ident: u8, offset: u16, len: u8, more: bool| {
        let [low, high] = offset.to_le_bytes();
        vec![0, which, ident, low, high, len, more.into()]
    };
    let datagram = |which: u8, ident: u8, size: u8, cuts: &[u8], order: &[u8]| {
        [&[3, which, ident, size, cuts.len() as u8], cuts, order].concat()
    };
    let each = |make: &dyn Fn(u8) -> Vec<u8>| {
        ROUTES.into_iter().chain((0..FLOWS).flat_map(make)).collect::<Vec<u8>>()
    };
    let with_routes = |parts: &[Vec<u8>]| [&ROUTES[..], &parts.concat()].concat();
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
        ("waits-for-a-route", [&two(1)[..], &later(3), &ROUTES, &two(2), &later(20)].concat()),
        ("waits-for-a-port", with_routes(&[datagram(10, 1, 40, &[10], &[2, 0]), later(1), vec![6, 5, 0x0b]])),
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
