//! What a bridge does: learning, flooding, isolation, tags, sizes, super-frames.

use std::time::Duration;

use etherparse::PacketBuilder;
use pontoon_dataplane::MacAddr;

use super::frames::{address, ip, leave_partial, mac, plain, tagged, udp, who_has};
use super::{Case, Timeline};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("ageing", ageing()),
        ("ageing-zero", ageing_zero()),
        ("flood", flood()),
        ("flood-off", flood_off()),
        ("hairpin", hairpin()),
        ("isolated", isolated()),
        ("learning-and-forwarding", learning_and_forwarding()),
        ("learning-off", learning_off()),
        ("malformed", malformed()),
        ("move", moves()),
        ("mtu", mtu()),
        ("offloads", offloads()),
        ("reserved-groups", reserved_groups()),
        ("sticky", sticky()),
        ("vlan", vlan()),
    ]
}

fn learning_and_forwarding() -> Case {
    let mut line = Timeline::default();
    // 2 is not known yet: flooded. Its answer goes to 3... and from then on both are known.
    line.talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3);
    // A second station behind port 2 is reached through it, and the two do not need us.
    line.talk(2, 22, 3).talk(3, 3, 22).talk(2, 22, 2);
    // Port 4 hears only what is flooded.
    line.talk(4, 4, 2).done()
}

fn flood() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 99);
    line.send(2, who_has(2, 3));
    line.send(2, plain(MacAddr([0x01, 0x00, 0x5e, 0, 0, 251]), mac(2), 46));
    line.send(2, plain(MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]), mac(2), 46));
    line.done()
}

fn flood_off() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 99).send(2, plain(MacAddr::BROADCAST, mac(2), 46));
    line.send(2, plain(MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]), mac(2), 46));
    // Towards port 3 alone: nobody takes it.
    line.talk(4, 4, 99);
    // Known addresses are reached all the same.
    line.talk(3, 3, 2).talk(2, 2, 3).done()
}

fn reserved_groups() -> Case {
    let mut line = Timeline::default();
    for last in 0..=0x10 {
        line.send(2, plain(MacAddr([0x01, 0x80, 0xc2, 0, 0, last]), mac(2), 46));
    }
    line.done()
}

fn malformed() -> Case {
    let mut line = Timeline::default();
    let whole = plain(mac(3), mac(2), 46);
    for len in [0, 1, 12, 13, 14] {
        line.send(2, whole[..len].to_vec());
    }
    let tag = tagged(&whole, 0x8100, 5);
    line.send(2, tag[..16].to_vec()).send(2, tag[..17].to_vec()).send(2, tag[..18].to_vec());
    let mut stacked = whole.clone();
    for _ in 0..8 {
        stacked = tagged(&stacked, 0x8100, 5);
    }
    line.send(2, stacked.clone()).send(2, tagged(&stacked, 0x8100, 5));
    line.send(2, plain(mac(3), MacAddr::BROADCAST, 46));
    line.send(2, plain(mac(3), MacAddr([0x33, 0x33, 0, 0, 0, 1]), 46));
    line.send(2, plain(mac(3), MacAddr::ZERO, 46));
    // Frames 14 and 15: metadata whose checksum lies outside, or that cannot be cut (see case.txt).
    line.send(2, whole.clone()).send(2, whole).done()
}

fn isolated() -> Case {
    let mut line = Timeline::default();
    // 2 and 3 are isolated, 4 is not.
    line.send(2, who_has(2, 3)).send(3, who_has(3, 2)).send(4, who_has(4, 2));
    line.talk(2, 2, 3).talk(2, 2, 4).talk(4, 4, 3).done()
}

fn hairpin() -> Case {
    let mut line = Timeline::default();
    // Two stations behind port 2, which may send frames back, and two behind port 3, which may not.
    line.send(2, who_has(2, 22)).talk(2, 22, 2);
    line.send(3, who_has(3, 33)).talk(3, 33, 3).done()
}

fn learning_off() -> Case {
    let mut line = Timeline::default();
    // Port 2 does not learn: frames for 2 are flooded for ever.
    line.talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3).talk(3, 3, 2).done()
}

fn ageing() -> Case {
    let mut line = Timeline::default();
    let seconds = Duration::from_secs;
    line.talk(2, 2, 3);
    // Known after 9 s, and still 9 s after it was seen again; not 11 s after that.
    line.wait(seconds(9)).talk(3, 3, 2).talk(2, 2, 3);
    line.wait(seconds(9)).talk(3, 3, 2);
    line.wait(seconds(2)).talk(3, 3, 2).done()
}

fn ageing_zero() -> Case {
    Timeline::default().talk(2, 2, 3).talk(3, 3, 2).talk(2, 2, 3).done()
}

fn moves() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 9).talk(3, 3, 2);
    // 2 turns up behind port 4.
    line.talk(4, 2, 9).talk(3, 3, 2).done()
}

fn sticky() -> Case {
    let mut line = Timeline::default();
    line.talk(2, 2, 9).talk(3, 3, 2);
    // Port 4 is not guarded and says it were 2: that is bridged, but 2 stays where the guard vouches for it.
    line.talk(4, 2, 9).talk(3, 3, 2).done()
}

fn vlan() -> Case {
    let mut line = Timeline::default();
    let whole = ip(2, 3, address(2), address(3));
    let back = ip(3, 2, address(3), address(2));
    line.send(3, tagged(&back, 0x8100, 100));
    line.send(2, tagged(&whole, 0x8100, 100));
    line.send(2, tagged(&tagged(&whole, 0x8100, 200), 0x88a8, 100));
    line.send(2, tagged(&whole, 0x8100, 0xe000));
    line.send(2, tagged(&who_has(2, 3), 0x8100, 100));
    // Frame 5: a super-frame in a VLAN.
    line.send(2, tagged(&tcp(2, 3, 3000), 0x8100, 100));
    line.done()
}

fn mtu() -> Case {
    let mut line = Timeline::default();
    // Port 2 takes 1400 bytes, the others 1500.
    line.send(3, plain(mac(2), mac(3), 1500)).send(3, plain(mac(2), mac(3), 1501));
    line.talk(2, 2, 3);
    line.send(3, plain(mac(2), mac(3), 1400)).send(3, plain(mac(2), mac(3), 1401));
    // A tag is no part of the packet.
    line.send(3, tagged(&plain(mac(2), mac(3), 1400), 0x8100, 100));
    // Frames 6 and 7: super-frames, whose segments count.
    line.send(3, tcp(3, 2, 20_000)).send(3, tcp(3, 2, 20_000)).done()
}

/// A TCP segment of `len` bytes of data whose checksum field holds the pseudo-header's sum, 54 bytes of headers.
fn tcp(src: u8, dst: u8, len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|i| (i / 256 + i) as u8).collect();
    let builder = PacketBuilder::ethernet2(mac(src).0, mac(dst).0)
        .ipv4(address(src).octets(), address(dst).octets(), 64)
        .tcp(1000, 2000, 0xffff_f000, 8192)
        .ack(1)
        .psh();
    let mut frame = Vec::new();
    builder.write(&mut frame, &payload).expect("a vector takes everything");
    leave_partial(&mut frame, 6, 16);
    frame
}

/// From port 2 to one that takes everything, one that takes nothing, and one that completes checksums; case.txt has
/// the metadata.
fn offloads() -> Case {
    let mut line = Timeline::default();
    line.talk(3, 3, 99).talk(4, 4, 99).talk(5, 5, 99);
    for dst in 3..=5 {
        line.send(2, tcp(2, dst, 3500));
        line.send(2, tcp(2, dst, 100));
        let data: Vec<u8> = (0..2500).map(|i| i as u8).collect();
        let mut datagrams = udp((mac(2), mac(dst)), (address(2), address(dst)), &data);
        leave_partial(&mut datagrams, 17, 6);
        line.send(2, datagrams);
    }
    // The last one: metadata that says TCP of a frame that is not.
    line.send(2, udp((mac(2), mac(3)), (address(2), address(3)), b"no TCP"));
    line.send(2, udp((mac(2), mac(4)), (address(2), address(4)), b"no TCP"));
    line.done()
}
