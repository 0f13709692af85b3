//! Seeds of what is built: few bytes, each of which means something. The formats are told at `pontoon_fuzz::segment_built` and `step_built`.

/// Super-frames: shape, options and padding, TCP flags, sequence number, identification, segment size, payload length.
pub(crate) fn segment_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seed = |shape: u8, more: u8, flags: u8, sequence: u32, ident: u16, size: u16, len: u16| {
        let mut seed = vec![shape, more, flags];
        seed.extend(sequence.to_le_bytes());
        [ident, size, len].iter().for_each(|word| seed.extend(word.to_le_bytes()));
        seed
    };
    const ALL_FLAGS: u8 = 0xff;
    vec![
        ("tcp-v4", seed(0, 3, 0x18, 1000, 7, 1448, 20_000)),
        ("tcp-v4-every-flag", seed(0, 0, ALL_FLAGS, 1000, 7, 100, 250)),
        ("tcp-v4-numbers-wrap", seed(0, 0, 0x19, u32::MAX - 50, u16::MAX, 100, 300)),
        ("tcp-v4-left-partial", seed(0x80, 0, 0x18, 1, 2, 100, 250)),
        ("tcp-v4-two-tags-and-padding", seed(16, 0xf3, 0x18, 1, 2, 100, 250)),
        ("tcp-v4-without-payload", seed(0, 0, 0x10, 1, 2, 100, 0)),
        ("tcp-v4-too-many-pieces", seed(0, 0, 0x10, 1, 2, 1, 3000)),
        ("tcp-v6", seed(2, 10, 0x19, 1, 2, 1428, 65_000)),
        ("udp-v4", seed(1, 0, 0, 0, 9, 1000, 4500)),
        ("udp-v6-one-byte-left", seed(3, 0, 0, 0, 0, 1000, 1001)),
    ]
}

/// Settings of eight ports, then frames: port, delay, whose, for whom, what, and three bytes for that.
pub(crate) fn step_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const LEARNING: u8 = 1;
    const FLOOD: u8 = 2;
    const ISOLATED: u8 = 4;
    const HAIRPIN: u8 = 8;
    const GUARD: u8 = 16;
    const LOOP_GUARD: u8 = 32;
    const SMALL: u8 = 64;
    const PLAIN: u8 = LEARNING | FLOOD;
    const OWN: u8 = 0;
    const TO_ALL: u8 = 0;
    const TO_GATEWAY: u8 = 0x40;
    const TO_GROUP: u8 = 0x80;
    // The third station, as a MAC and as an address.
    const TO_THREE: u8 = 0xcc;
    const TO_STRANGER: u8 = 0xe0;
    const ARP: u8 = 0;
    const UDP: u8 = 1;
    const ECHO: u8 = 2;
    const PIECE: u8 = 3;
    const DISCOVERY: u8 = 4;
    const SUPER_FRAME: u8 = 6;
    const OTHER: u8 = 7;
    let seed = |switches: u8, limits: u8, frames: &[[u8; 8]]| {
        [&[switches, limits].repeat(8)[..], frames.as_flattened()].concat()
    };
    let ask = |port: u8| [port, 0, OWN, TO_ALL, ARP, 0, 0, 0];
    let to_three = |port: u8| [port, 0, OWN, TO_THREE, UDP, 1, 2, 64];
    let to_stranger = |port: u8| [port, 0, OWN, TO_STRANGER, UDP, 1, 2, 64];
    let piece = |at: u8, kind: u8| [2, 0, OWN, TO_GATEWAY, PIECE, kind, at, 1];
    vec![
        ("everybody-asks", seed(PLAIN, 0, &[ask(0), ask(2), ask(3), ask(6), to_three(0)])),
        (
            "guarded",
            seed(
                PLAIN | GUARD,
                0,
                &[ask(2), [2, 0, 4, TO_ALL, ARP, 0, 0, 0], [3, 0, 6, TO_ALL, ARP, 1, 0, 0]],
            ),
        ),
        ("isolated", seed(PLAIN | ISOLATED, 0, &[ask(2), ask(3), to_three(2)])),
        ("hairpin", seed(PLAIN | HAIRPIN, 0, &[ask(3), to_three(3)])),
        ("nothing-is-learned-or-flooded", seed(0, 0, &[ask(3), to_three(2)])),
        ("one-broadcast-a-second", seed(PLAIN, 1, &[ask(2), ask(2), [2, 20, OWN, TO_ALL, ARP, 0, 0, 0]])),
        ("one-group-frame-a-second", seed(PLAIN, 4, &[[2, 0, OWN, TO_GROUP, DISCOVERY, 2, 0, 0]; 3])),
        ("one-for-strangers-a-second", seed(PLAIN, 16, &[to_stranger(2), to_stranger(2)])),
        ("to-the-interface-itself", seed(PLAIN, 0, &[to_stranger(6)])),
        (
            "a-loop",
            seed(
                PLAIN | LOOP_GUARD,
                0,
                &[[0, 0, 7, TO_ALL, OTHER, 0, 0, 50], [4, 0, 7, TO_ALL, OTHER, 0, 0, 50]].repeat(40),
            ),
        ),
        (
            "small-mtu",
            seed(
                PLAIN | SMALL,
                0,
                &[ask(3), [2, 0, OWN, TO_THREE, UDP, 1, 100, 64], [2, 0, OWN, TO_ALL, UDP, 1, 100, 64]],
            ),
        ),
        ("pieces-for-the-gateway", seed(PLAIN, 0, &[piece(0, 0), piece(1, 1)])),
        ("pieces-that-overlap", seed(PLAIN, 0, &[piece(0, 0x80), piece(1, 0x40)])),
        ("echo", seed(PLAIN, 0, &[[2, 0, OWN, TO_GATEWAY, ECHO, 0, 9, 64]])),
        ("super-frame", seed(PLAIN, 0, &[ask(3), [2, 0, OWN, TO_THREE, SUPER_FRAME, 0x18, 90, 90]])),
        (
            "super-frame-v6-in-a-vlan",
            seed(PLAIN, 0, &[[2, 0, OWN, TO_ALL, 0xc0 | SUPER_FRAME, 0x11, 90, 90]]),
        ),
        (
            "router-from-an-endpoint",
            seed(
                PLAIN | GUARD,
                0,
                &[[2, 0, OWN, TO_GROUP, DISCOVERY, 1, 0, 0], [2, 0, OWN, TO_GROUP, DISCOVERY, 3, 1, 0]],
            ),
        ),
    ]
}
