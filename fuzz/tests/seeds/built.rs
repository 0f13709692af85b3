//! Seeds of what is built, in words: each struct is written as `pontoon_fuzz::segment_built` and `step_built` derive theirs.

/// A choice of so many as `arbitrary` derives it: the higher bits of four bytes say which.
fn variant(which: u64, of: u64) -> [u8; 4] {
    ((which << 32).div_ceil(of) as u32).to_le_bytes()
}

/// A super-frame.
#[derive(Clone, Copy)]
struct Spec {
    is_tcp: bool,
    is_v4: bool,
    tags: u8,
    option_words: u8,
    padding: u8,
    flags: u8,
    sequence: u32,
    ident: u16,
    gso_size: u16,
    len: u16,
    begin: u8,
    takes_partial: bool,
}

impl Spec {
    fn seed(self) -> Vec<u8> {
        let dont_fragment = true;
        [
            &[self.is_tcp.into(), self.is_v4.into(), dont_fragment.into()][..],
            &[self.tags, self.option_words, self.padding, self.flags],
            &self.sequence.to_le_bytes(),
            &self.ident.to_le_bytes(),
            &self.gso_size.to_le_bytes(),
            &self.len.to_le_bytes(),
            &[self.begin, self.takes_partial.into()],
        ]
        .concat()
    }
}

pub(crate) fn segment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const TCP: Spec = Spec {
        is_tcp: true,
        is_v4: true,
        tags: 0,
        option_words: 0,
        padding: 0,
        flags: 0x18,
        sequence: 1000,
        ident: 7,
        gso_size: 100,
        len: 250,
        begin: 0x5a,
        takes_partial: false,
    };
    const UDP: Spec = Spec { is_tcp: false, gso_size: 1000, len: 4500, ..TCP };
    let wrapping = Spec { flags: 0x19, sequence: u32::MAX - 50, ident: u16::MAX, len: 300, ..TCP };
    let tcp_v6 = Spec { is_v4: false, option_words: 10, flags: 0x19, gso_size: 1428, len: 65_000, ..TCP };
    // Found by fuzzing: the sixth segment's checksum is zero, which may be written either way.
    let zero = Spec {
        tags: 1,
        option_words: 4,
        padding: 2,
        flags: 0,
        sequence: 280,
        ident: 0x9903,
        gso_size: 512,
        len: 0x2b00,
        begin: 6,
        takes_partial: true,
        ..TCP
    };
    let specs = [
        ("tcp-v4", Spec { option_words: 3, gso_size: 1448, len: 20_000, ..TCP }),
        ("tcp-v4-every-flag", Spec { flags: 0xff, ..TCP }),
        ("tcp-v4-numbers-wrap", wrapping),
        ("tcp-v4-left-partial", Spec { takes_partial: true, ..TCP }),
        ("tcp-v4-two-tags-and-padding", Spec { tags: 2, option_words: 1, padding: 15, ..TCP }),
        ("tcp-v4-without-payload", Spec { flags: 0x10, len: 0, ..TCP }),
        ("tcp-v4-too-many-pieces", Spec { flags: 0x10, gso_size: 1, len: 3000, ..TCP }),
        ("tcp-v4-checksum-of-zero", zero),
        ("tcp-v6", tcp_v6),
        ("udp-v4", UDP),
        ("udp-v6-one-byte-left", Spec { is_v4: false, len: 1001, ..UDP }),
    ];
    specs.map(|(name, spec)| (name, spec.seed())).into()
}

/// What is set for every port; the MTU and limits by their places in the target's lists.
#[derive(Clone, Copy, Default)]
struct Settings {
    learning: bool,
    flood: bool,
    isolated: bool,
    hairpin: bool,
    guard: bool,
    loop_guard: bool,
    mtu: u8,
    broadcast: u8,
    multicast: u8,
    unknown_unicast: u8,
}

impl Settings {
    /// Eight ports of those, and frames that come.
    fn seed(&self, frames: &[Vec<u8>]) -> Vec<u8> {
        let switches = [self.learning, self.flood, self.isolated, self.hairpin, self.guard, self.loop_guard];
        let numbers = [self.mtu, self.broadcast, self.multicast, self.unknown_unicast];
        [[&switches.map(u8::from)[..], &numbers].concat().repeat(8), frames.concat()].concat()
    }
}

/// Whose an address is.
#[derive(Clone, Copy)]
enum Whose {
    Own,
    Member(u8),
    Gateways,
    Strangers,
}

impl Whose {
    fn bytes(self) -> Vec<u8> {
        match self {
            Whose::Own => variant(0, 4).to_vec(),
            Whose::Member(number) => [&variant(1, 4)[..], &[number]].concat(),
            Whose::Gateways => variant(2, 4).to_vec(),
            Whose::Strangers => variant(3, 4).to_vec(),
        }
    }
}

fn to_all() -> Vec<u8> {
    variant(0, 4).to_vec()
}

fn to_group(last: u8) -> Vec<u8> {
    [&variant(1, 4)[..], &[last]].concat()
}

fn to(whose: Whose) -> Vec<u8> {
    [&variant(3, 4)[..], &whose.bytes()].concat()
}

fn what(kind: u64, bytes: &[u8]) -> Vec<u8> {
    [&variant(kind, 8)[..], bytes].concat()
}

fn arp(operation: u8) -> Vec<u8> {
    what(0, &[&[operation][..], &Whose::Own.bytes()].concat())
}

fn udp(len: u8, to: Whose) -> Vec<u8> {
    what(1, &[&[len, 64][..], &to.bytes()].concat())
}

/// The first piece of a packet.
fn first_piece(ident: u8) -> Vec<u8> {
    what(4, &[0, 0, 1, 0, ident])
}

fn piece(place: u8, overlaps: bool, more: bool, twice: bool) -> Vec<u8> {
    what(4, &[place, overlaps.into(), more.into(), twice.into(), 1])
}

fn discovery(kind: u8, says: Whose) -> Vec<u8> {
    what(5, &[&[kind][..], &Whose::Gateways.bytes(), &says.bytes()].concat())
}

fn super_frame(is_v4: bool, flags: u8, to: Whose) -> Vec<u8> {
    what(6, &[&[is_v4.into(), flags, 90, 90][..], &to.bytes()].concat())
}

/// A frame by a port, with a time since the one before it.
fn later(port: u8, delay: u8, from: Whose, to: &[u8], what: &[u8]) -> Vec<u8> {
    const NO_TAG: u8 = 0;
    [&[port, delay][..], &from.bytes(), to, &[NO_TAG], what].concat()
}

fn frame(port: u8, from: Whose, to: &[u8], what: &[u8]) -> Vec<u8> {
    later(port, 0, from, to, what)
}

pub(crate) fn step_seeds() -> Vec<(&'static str, Vec<u8>)> {
    use Whose::{Gateways, Member, Own, Strangers};
    let plain = Settings { learning: true, flood: true, ..Settings::default() };
    let ask = |port| frame(port, Own, &to_all(), &arp(0));
    let to_three = |port| frame(port, Own, &to(Member(3)), &udp(2, Member(3)));
    let to_stranger = |port| frame(port, Own, &to(Strangers), &udp(2, Strangers));
    let to_gateway = |what: &[u8]| frame(2, Own, &to(Gateways), what);
    let solicit = || frame(2, Own, &to_group(2), &discovery(2, Own));
    let advertise = |kind, says| frame(2, Own, &to_group(kind), &discovery(kind, says));
    let strangers = |port| frame(port, Strangers, &to_all(), &what(7, &[0, 50, 0]));
    let long = |to: &[u8], whose| frame(2, Own, to, &udp(100, whose));
    let tagged = {
        let head = [&[2, 0][..], &Own.bytes(), &to_all(), &[1, 90]].concat();
        [head, super_frame(false, 0x11, Own)].concat()
    };
    vec![
        ("everybody-asks", plain.seed(&[ask(0), ask(2), ask(3), ask(6), to_three(0)])),
        (
            "guarded",
            Settings { guard: true, ..plain }.seed(&[
                ask(2),
                frame(2, Gateways, &to_all(), &arp(0)),
                frame(3, Member(0), &to_all(), &arp(1)),
            ]),
        ),
        ("isolated", Settings { isolated: true, ..plain }.seed(&[ask(2), ask(3), to_three(2)])),
        ("hairpin", Settings { hairpin: true, ..plain }.seed(&[ask(3), to_three(3)])),
        ("nothing-is-learned-or-flooded", Settings::default().seed(&[ask(3), to_three(2)])),
        (
            "one-broadcast-a-second",
            Settings { broadcast: 1, ..plain }.seed(&[ask(2), ask(2), later(2, 20, Own, &to_all(), &arp(0))]),
        ),
        (
            "one-group-frame-a-second",
            Settings { multicast: 1, ..plain }.seed(&[solicit(), solicit(), solicit()]),
        ),
        (
            "one-for-strangers-a-second",
            Settings { unknown_unicast: 1, ..plain }.seed(&[to_stranger(2), to_stranger(2)]),
        ),
        ("to-the-interface-itself", plain.seed(&[to_stranger(6)])),
        (
            "a-loop",
            Settings { loop_guard: true, ..plain }.seed(&vec![[strangers(0), strangers(4)].concat(); 40]),
        ),
        (
            "small-mtu",
            Settings { mtu: 1, ..plain }.seed(&[
                ask(3),
                long(&to(Member(3)), Member(3)),
                long(&to_all(), Own),
            ]),
        ),
        (
            "pieces-for-the-gateway",
            plain.seed(&[
                to_gateway(&piece(0, false, true, false)),
                to_gateway(&piece(1, false, false, false)),
            ]),
        ),
        (
            "pieces-that-overlap",
            plain.seed(&[to_gateway(&piece(0, false, true, true)), to_gateway(&piece(1, true, true, false))]),
        ),
        ("back-to-itself", plain.seed(&[ask(2), frame(2, Own, &to(Own), &udp(2, Own))])),
        ("by-no-port", plain.seed(&[ask(8)])),
        ("datagram-for-the-gateway", plain.seed(&[to_gateway(&udp(2, Gateways))])),
        ("discovery-for-the-gateway", plain.seed(&[to_gateway(&what(7, &[0, 50, 0]))])),
        ("half-a-packet-for-the-gateway", plain.seed(&[to_gateway(&what(7, &[2, 19, 0x45]))])),
        // Of the first one nobody hears again.
        (
            "pieces-of-more-than-may-wait",
            plain.seed(&(0..9).map(|ident| to_gateway(&first_piece(ident))).collect::<Vec<_>>()),
        ),
        ("echo", plain.seed(&[to_gateway(&what(3, &[9, 64]))])),
        (
            "super-frame",
            plain.seed(&[ask(3), frame(2, Own, &to(Member(3)), &super_frame(true, 0x18, Member(3)))]),
        ),
        ("super-frame-v6-in-a-vlan", plain.seed(&[tagged])),
        (
            "router-from-an-endpoint",
            Settings { guard: true, ..plain }.seed(&[advertise(1, Own), advertise(3, Gateways)]),
        ),
    ]
}
