use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::checksum;
use crate::offload::Offload;
use crate::testing::*;

const OWN: u8 = 2;
const OTHER: u8 = 3;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn on(port: &Port, frame: &[u8]) -> Result<(), DropReason> {
    let view = EthernetView::parse(frame).unwrap();
    check(Some(&GATEWAY), port, &view, &Frame::plain(frame))
}

/// What the guarded port of endpoint 2 says, untagged, and with a priority, a customer and two tags, which
/// must all be judged alike.
fn guarded(frame: &[u8]) -> Result<(), DropReason> {
    let port = guarded_port(OWN);
    let untagged = on(&port, frame);
    let customer = tagged(frame, ethertype::VLAN, 7);
    for disguise in
        [tagged(frame, ethertype::VLAN, 0xe000), tagged(&customer, ethertype::SERVICE_VLAN, 9), customer]
    {
        assert_eq!(on(&port, &disguise), untagged, "a tag changed the verdict");
    }
    untagged
}

fn open(frame: &[u8]) -> Result<(), DropReason> {
    on(&open_port(OWN), frame)
}

fn from_own(kind: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(mac(OTHER), mac(OWN), kind, payload)
}

fn to_gateway(kind: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(GATEWAY.mac, mac(OWN), kind, payload)
}

#[test]
fn nobody_may_be_the_gateway() {
    let claims_mac = ethernet(mac(OTHER), GATEWAY.mac, 0x9000, &[0; 46]);
    let claims_ipv4 = from_own(ethertype::IPV4, &ipv4(GATEWAY.address, address(OTHER), UDP, &[0; 8]));
    let arp_from =
        |mac, address| from_own(ethertype::ARP, &arp(2, (mac, address), (MacAddr::ZERO, GATEWAY.address)));
    for check in [guarded, open] {
        assert_eq!(check(&claims_mac), Err(DropReason::GatewayMacClaimed));
        assert_eq!(check(&claims_ipv4), Err(DropReason::GatewayAddressClaimed));
        assert_eq!(check(&arp_from(mac(OWN), GATEWAY.address)), Err(DropReason::GatewayAddressClaimed));
        assert_eq!(check(&arp_from(GATEWAY.mac, address(OWN))), Err(DropReason::GatewayAddressClaimed));
        let padded = [arp_from(mac(OWN), GATEWAY.address), vec![0; 18]].concat();
        assert_eq!(check(&padded), Err(DropReason::GatewayAddressClaimed));
    }
    let mut as_802 = arp_from(mac(OWN), GATEWAY.address);
    as_802[15] = 6;
    assert_eq!(open(&as_802), Err(DropReason::GatewayAddressClaimed), "Linux takes hardware type 6 too");
    // Speaking to the gateway is no claim.
    assert_eq!(open(&to_gateway(ethertype::IPV4, &ipv4(address(9), GATEWAY.address, UDP, &[]))), Ok(()));
    // Without a gateway there is nothing to claim.
    let view = EthernetView::parse(&claims_mac).unwrap();
    assert_eq!(check(None, &open_port(OWN), &view, &Frame::plain(&claims_mac)), Ok(()));
}

#[test]
fn an_open_port_passes_what_is_malformed_or_foreign() {
    for frame in [
        ethernet(
            mac(9),
            mac(OTHER),
            ethertype::IPV4,
            &ipv4(Ipv4Addr::new(192, 0, 2, 1), address(9), UDP, &[]),
        ),
        from_own(ethertype::IPV4, &[0x45]),
        from_own(ethertype::IPV4, &[]),
        from_own(ethertype::IPV6, &[0x60]),
        from_own(ethertype::ARP, &[0, 1, 8, 0, 6, 4]),
        from_own(ethertype::RARP, &arp(3, (mac(OTHER), address(OTHER)), (MacAddr::ZERO, address(9)))),
    ] {
        assert_eq!(open(&frame), Ok(()), "{frame:02x?}");
    }
}

#[test]
fn the_source_mac_is_judged_first() {
    let frame = ethernet(mac(9), mac(OTHER), ethertype::IPV4, &ipv4(GATEWAY.address, address(9), UDP, &[]));
    assert_eq!(guarded(&frame), Err(DropReason::GuardMac));
    assert_eq!(guarded(&ethernet(mac(9), mac(OTHER), 0x9000, &[0; 46])), Err(DropReason::GuardMac));
    assert_eq!(guarded(&ethernet(mac(9), mac(OWN), 0x9000, &[0; 46])), Ok(()));
    // Guard on, nobody known behind the port: not guarded.
    let unknown = Port { identity: None, ..guarded_port(OWN) };
    assert_eq!(on(&unknown, &ethernet(mac(9), mac(OTHER), 0x9000, &[0; 46])), Ok(()));
}

#[test]
fn arp_senders() {
    let none = Ipv4Addr::UNSPECIFIED;
    let zero = MacAddr::ZERO;
    let foreign = Err(DropReason::GuardArp);
    let message = |op, sender| arp(op, sender, (zero, address(9)));
    let table = [
        ("request of its own", message(1, (mac(OWN), address(OWN))), Ok(())),
        ("reply of its own", message(2, (mac(OWN), address(OWN))), Ok(())),
        ("probe", message(1, (mac(OWN), none)), Ok(())),
        ("another's address", message(1, (mac(OWN), address(OTHER))), foreign),
        ("another's address in a reply", message(2, (mac(OWN), address(OTHER))), foreign),
        ("another's MAC", message(2, (mac(OTHER), address(OWN))), foreign),
        ("another's MAC in a probe", message(1, (mac(OTHER), none)), foreign),
        ("address of the sandbox", message(1, (mac(OWN), elsewhere(OWN).0)), foreign),
        ("cut short", message(1, (mac(OWN), address(OWN)))[..27].to_vec(), Err(DropReason::GuardMalformed)),
        ("empty", vec![], Err(DropReason::GuardMalformed)),
    ];
    for (what, message, expected) in table {
        assert_eq!(guarded(&from_own(ethertype::ARP, &message)), expected, "{what}");
        let padded = [from_own(ethertype::ARP, &message), vec![0; 18]].concat();
        if message.len() == 28 {
            assert_eq!(guarded(&padded), expected, "{what}, padded");
        }
    }
    let by_other_endpoint = arp(1, (mac(OWN), elsewhere(OWN).0), (zero, GATEWAY.address));
    assert_eq!(guarded(&to_gateway(ethertype::ARP, &by_other_endpoint)), Ok(()));
    // Each field that says what kind of addresses follow.
    for (at, value) in [(1, 6), (2, 9), (4, 8), (4, 0), (5, 16), (5, 0)] {
        let mut message = arp(1, (mac(OWN), address(OWN)), (zero, address(9)));
        message[at] = value;
        message.resize(64, 0);
        assert_eq!(guarded(&from_own(ethertype::ARP, &message)), Err(DropReason::GuardArp), "byte {at}");
    }
    let reverse = arp(3, (mac(OWN), address(OWN)), (mac(OWN), none));
    assert_eq!(guarded(&from_own(ethertype::RARP, &reverse)), Err(DropReason::GuardArp));
}

#[test]
fn ipv4_sources() {
    let (sandbox, _) = elsewhere(OWN);
    let packet = |source| ipv4(source, Ipv4Addr::new(192, 0, 2, 1), UDP, &[0; 8]);
    let sent = |source| guarded(&from_own(ethertype::IPV4, &packet(source)));
    let sent_to_gateway = |source| guarded(&to_gateway(ethertype::IPV4, &packet(source)));
    assert_eq!(sent(address(OWN)), Ok(()));
    assert_eq!(sent(Ipv4Addr::UNSPECIFIED), Ok(()));
    assert_eq!(sent(address(OTHER)), Err(DropReason::GuardIpv4));
    assert_eq!(sent(sandbox), Err(DropReason::GuardIpv4));
    assert_eq!(sent_to_gateway(sandbox), Ok(()));
    assert_eq!(sent_to_gateway(elsewhere(OTHER).0), Err(DropReason::GuardIpv4));

    let good = packet(address(OWN));
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        guarded(&from_own(ethertype::IPV4, &packet))
    };
    assert_eq!(broken(&|_| {}), Ok(()));
    assert_eq!(broken(&|p| p.truncate(19)), Err(DropReason::GuardMalformed));
    assert_eq!(broken(&|p| p.truncate(0)), Err(DropReason::GuardMalformed));
    assert_eq!(broken(&|p| p[0] = 0x65), Err(DropReason::GuardMalformed), "version 6");
    assert_eq!(broken(&|p| p[0] = 0x44), Err(DropReason::GuardMalformed), "header of 16 bytes");
    assert_eq!(broken(&|p| p[0] = 0x4f), Err(DropReason::GuardMalformed), "header longer than the packet");
    assert_eq!(broken(&|p| p[2..4].fill(0xff)), Err(DropReason::GuardMalformed), "longer than the frame");
}

fn v6(source: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    ipv6(source, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), next_header, payload)
}

fn judge6(source: Ipv6Addr, next_header: u8, payload: &[u8]) -> Result<(), DropReason> {
    guarded(&from_own(ethertype::IPV6, &v6(source, next_header, payload)))
}

#[test]
fn ipv6_sources() {
    let (_, sandbox) = elsewhere(OWN);
    let sent = |source| judge6(source, UDP, &[0; 8]);
    // 02:42:0a:00:00:02 makes fe80::42:aff:fe00:2.
    let link_local: Ipv6Addr = "fe80::42:aff:fe00:2".parse().unwrap();
    for own in [address6(OWN), link_local, Ipv6Addr::UNSPECIFIED] {
        assert_eq!(sent(own), Ok(()), "{own}");
    }
    for foreign in [address6(OTHER), super::ipv6::link_local(mac(OTHER)), sandbox] {
        assert_eq!(sent(foreign), Err(DropReason::GuardIpv6), "{foreign}");
    }
    let by_gateway = |source| guarded(&to_gateway(ethertype::IPV6, &v6(source, UDP, &[0; 8])));
    assert_eq!(by_gateway(sandbox), Ok(()));
    assert_eq!(by_gateway(elsewhere(OTHER).1), Err(DropReason::GuardIpv6));

    let mut packet = v6(address6(OWN), UDP, &[0; 8]);
    for cut in [0, 1, 39, 47] {
        let frame = from_own(ethertype::IPV6, &packet[..cut]);
        assert_eq!(guarded(&frame), Err(DropReason::GuardMalformed), "{cut} bytes");
    }
    packet[0] = 0x40;
    assert_eq!(guarded(&from_own(ethertype::IPV6, &packet)), Err(DropReason::GuardMalformed));
}

const RS: u8 = 133;
const RA: u8 = 134;
const NS: u8 = 135;
const NA: u8 = 136;
const REDIRECT: u8 = 137;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

fn option(kind: u8, mac: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &mac.0[..]].concat()
}

fn nd(kind: u8, target: Option<Ipv6Addr>, options: &[u8]) -> Vec<u8> {
    let target = target.map_or(vec![], |target| target.octets().to_vec());
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target[..], options].concat()
}

#[test]
fn neighbour_discovery() {
    let own = Some(address6(OWN));
    let other = Some(address6(OTHER));
    let source_own = option(SOURCE_LINK_LAYER, mac(OWN));
    let source_other = option(SOURCE_LINK_LAYER, mac(OTHER));
    let target_own = option(TARGET_LINK_LAYER, mac(OWN));
    let target_other = option(TARGET_LINK_LAYER, mac(OTHER));
    let nonce = vec![14, 1, 1, 2, 3, 4, 5, 6];
    let long = [&[TARGET_LINK_LAYER, 2][..], &mac(OWN).0[..], &[0; 8]].concat();
    let foreign = Err(DropReason::GuardNd);
    let malformed = Err(DropReason::GuardMalformed);
    let table = [
        ("RS", nd(RS, None, &source_own), Ok(())),
        ("RS without option", nd(RS, None, &[]), Ok(())),
        ("RS with another's MAC", nd(RS, None, &source_other), foreign),
        ("NS for another", nd(NS, other, &source_own), Ok(())),
        ("NS with another's MAC", nd(NS, other, &source_other), foreign),
        (
            "NS, another's MAC behind a nonce",
            nd(NS, other, &[nonce.clone(), source_other.clone()].concat()),
            foreign,
        ),
        ("NA", nd(NA, own, &target_own), Ok(())),
        ("NA for its link-local", nd(NA, Some(super::ipv6::link_local(mac(OWN))), &target_own), Ok(())),
        ("NA without option", nd(NA, own, &[]), Ok(())),
        ("NA for another", nd(NA, other, &target_own), foreign),
        ("NA for another, bare", nd(NA, other, &[]), foreign),
        ("NA with another's MAC", nd(NA, own, &target_other), foreign),
        ("NA with an endless MAC", nd(NA, own, &long), foreign),
        ("RA", nd(RA, None, &[0; 8]), Err(DropReason::GuardRouter)),
        ("redirect", nd(REDIRECT, own, &[0; 16]), Err(DropReason::GuardRouter)),
        ("RA of one byte", vec![RA], Err(DropReason::GuardRouter)),
        ("no type", vec![], malformed),
        ("NS of one byte", vec![NS], malformed),
        ("NS without its target", nd(NS, None, &[]), malformed),
        ("RS cut short", nd(RS, None, &[])[..7].to_vec(), malformed),
        ("option of length 0", nd(NS, other, &[SOURCE_LINK_LAYER, 0, 0, 0, 0, 0, 0, 0]), malformed),
        ("option past the end", nd(NS, other, &[14, 2, 0, 0, 0, 0, 0, 0]), malformed),
        ("half an option", nd(NS, other, &[SOURCE_LINK_LAYER]), malformed),
        ("echo", nd(128, None, &[]), Ok(())),
        ("unknown type", vec![250], Ok(())),
    ];
    for (what, message, expected) in table {
        assert_eq!(judge6(address6(OWN), ICMPV6, &message), expected, "{what}");
        // Each extension header in front of it changes nothing.
        for (kind, header) in [
            (0u8, vec![ICMPV6, 0, 1, 4, 0, 0, 0, 0]),
            (60, [&[ICMPV6, 1, 1, 12][..], &[0; 12]].concat()),
            (43, vec![ICMPV6, 0, 0, 0, 0, 0, 0, 0]),
            (51, [&[ICMPV6, 4, 0, 0][..], &[0; 20]].concat()),
        ] {
            let hidden = [&header[..], &message].concat();
            assert_eq!(judge6(address6(OWN), kind, &hidden), expected, "{what} behind header {kind}");
        }
    }
    let detection = nd(NS, other, &[]);
    assert_eq!(judge6(Ipv6Addr::UNSPECIFIED, ICMPV6, &detection), Ok(()), "duplicate address detection");
}

/// A fragment header before `rest`.
fn fragment(next_header: u8, offset: u16, more: bool, rest: &[u8]) -> Vec<u8> {
    let [high, low] = ((offset & !7) | u16::from(more)).to_be_bytes();
    [&[next_header, 0, high, low, 0, 0, 0, 1][..], rest].concat()
}

#[test]
fn neighbour_discovery_in_fragments() {
    let malformed = Err(DropReason::GuardMalformed);
    let judge = |payload: &[u8]| judge6(address6(OWN), 44, payload);
    let solicitation = nd(NS, Some(address6(OTHER)), &option(SOURCE_LINK_LAYER, mac(OWN)));
    let options_then_icmp = [ICMPV6, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(judge(&fragment(ICMPV6, 0, true, &solicitation)), malformed);
    assert_eq!(judge(&fragment(ICMPV6, 0, false, &solicitation)), malformed, "atomic fragment");
    assert_eq!(judge(&fragment(ICMPV6, 0, true, &nd(RA, None, &[0; 8]))), Err(DropReason::GuardRouter));
    assert_eq!(judge(&fragment(ICMPV6, 0, true, &[])), malformed, "too short to tell");
    assert_eq!(judge(&fragment(60, 0, true, &options_then_icmp)), malformed, "type in the next fragment");
    assert_eq!(judge(&fragment(60, 0, true, &options_then_icmp[..4])), malformed, "half a header");
    assert_eq!(judge(&fragment(ICMPV6, 0, true, &nd(128, None, &[0; 8]))), Ok(()), "a large ping");
    assert_eq!(judge(&fragment(ICMPV6, 1448, false, &[0; 64])), Ok(()), "and its second half");
    assert_eq!(judge(&fragment(UDP, 0, true, &[0; 64])), Ok(()));
    assert_eq!(judge(&[ICMPV6, 0, 0]), malformed, "half a fragment header");
    let stolen = v6(address6(OTHER), 44, &fragment(UDP, 1448, false, &[0; 64]));
    assert_eq!(guarded(&from_own(ethertype::IPV6, &stolen)), Err(DropReason::GuardIpv6));
}

#[test]
fn endless_chains_are_refused() {
    let chain = |length: usize, last: u8| {
        let mut headers = [60u8, 0, 1, 4, 0, 0, 0, 0].repeat(length);
        headers[(length - 1) * 8] = last;
        [headers, vec![0; 8]].concat()
    };
    assert_eq!(judge6(address6(OWN), 60, &chain(8, UDP)), Ok(()));
    assert_eq!(judge6(address6(OWN), 60, &chain(9, UDP)), Err(DropReason::GuardMalformed));
    // Without payload length, receivers that look for a jumbogram option would read on: nothing is there for us.
    let mut jumbo =
        v6(address6(OWN), 0, &[&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &nd(RA, None, &[0; 8])].concat());
    jumbo[4..6].fill(0);
    assert_eq!(guarded(&from_own(ethertype::IPV6, &jumbo)), Err(DropReason::GuardMalformed));
}

/// Frames that are right at first and then changed in a few bytes: these come further than noise does.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let seeds = vec![
        from_own(ethertype::IPV4, &ipv4(address(OWN), address(9), UDP, &[0; 16])),
        to_gateway(ethertype::IPV4, &ipv4(elsewhere(OWN).0, address(9), UDP, &[0; 16])),
        from_own(ethertype::ARP, &arp(1, (mac(OWN), address(OWN)), (mac(9), address(9)))),
        from_own(
            ethertype::IPV6,
            &v6(address6(OWN), ICMPV6, &nd(NA, Some(address6(OWN)), &option(2, mac(OWN)))),
        ),
        from_own(ethertype::IPV6, &v6(address6(OWN), 0, &[ICMPV6, 0, 1, 4, 0, 0, 0, 0, NS, 0, 0, 0])),
        from_own(ethertype::IPV6, &v6(address6(OWN), 44, &fragment(UDP, 8, true, &[0; 24]))),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(seeds), changes, any::<bool>(), 0usize..20).prop_map(|(seed, changes, tag, cut)| {
        let mut frame = if tag { tagged(&seed, ethertype::VLAN, 0) } else { seed };
        for (index, value) in changes {
            let at = index.index(frame.len());
            frame[at] = value;
        }
        frame.truncate((frame.len() - cut).max(14));
        frame
    })
}

fn may_say(address: IpAddr, to_gateway: bool) -> bool {
    let identity = identity(OWN);
    let link_local: Ipv6Addr = "fe80::42:aff:fe00:2".parse().unwrap();
    address.is_unspecified()
        || address == IpAddr::V6(link_local)
        || identity.addresses.contains(&address)
        || (to_gateway && identity.sandbox_addresses.contains(&address))
}

/// Another decoder finds no false source in what the guard lets through.
fn passes_only_the_truth(frame: &[u8]) {
    use etherparse::{NetSlice, SlicedPacket};
    let Ok(view) = EthernetView::parse(frame) else { return };
    let _ = check(Some(&GATEWAY), &open_port(OWN), &view, &Frame::plain(frame));
    if check(Some(&GATEWAY), &guarded_port(OWN), &view, &Frame::plain(frame)).is_err() {
        return;
    }
    assert_eq!(frame[6..12], mac(OWN).0);
    let to_gateway = frame[..6] == GATEWAY.mac.0;
    let Ok(decoded) = SlicedPacket::from_ethernet(frame) else { return };
    let source: IpAddr = match decoded.net {
        Some(NetSlice::Ipv4(packet)) => packet.header().source_addr().into(),
        Some(NetSlice::Ipv6(packet)) => packet.header().source_addr().into(),
        Some(NetSlice::Arp(message)) => {
            assert_eq!(message.sender_hw_addr(), mac(OWN).0);
            let octets: [u8; 4] = message.sender_protocol_addr().try_into().unwrap();
            octets.into()
        }
        None => return,
    };
    assert!(may_say(source, to_gateway), "{source} passed");
}

proptest! {
    #[test]
    fn noise_neither_panics_nor_lies(mut frame in prop::collection::vec(any::<u8>(), 0..200), own in any::<bool>(),
                                     kind in prop::sample::select(vec![0x0800u16, 0x0806, 0x86dd, 0x8100, 0x8035])) {
        if own && frame.len() >= 14 {
            frame[6..12].copy_from_slice(&mac(OWN).0);
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
        }
        passes_only_the_truth(&frame);
    }

    #[test]
    fn near_misses_neither_panic_nor_lie(frame in nearly_right()) {
        passes_only_the_truth(&frame);
    }
}

/// `frame` with a checksum that is still to be completed.
fn partial(frame: &[u8], start: usize, offset: usize) -> Frame<'_> {
    let (csum_start, csum_offset) = (start as u16, offset as u16);
    Frame {
        bytes: frame,
        offload: Offload { needs_checksum: true, csum_start, csum_offset, ..Offload::NONE },
    }
}

#[test]
fn a_partial_checksum_is_no_way_past_the_guard() {
    let own6 =
        |next_header, payload: &[u8]| from_own(ethertype::IPV6, &v6(address6(OWN), next_header, payload));
    let advertisement = nd(NA, Some(address6(OWN)), &option(TARGET_LINK_LAYER, mac(OWN)));
    let fragment = [&[ICMPV6, 0, 0, 8, 0, 0, 0, 7][..], &[0; 16]].concat();
    let behind_options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &[0; 16]].concat();
    let frames = [
        from_own(ethertype::IPV4, &ipv4(address(OWN), address(OTHER), UDP, &[0; 16])),
        from_own(ethertype::ARP, &arp(2, (mac(OWN), address(OWN)), (mac(OTHER), address(OTHER)))),
        own6(UDP, &[0; 16]),
        own6(60, &behind_options),
        own6(44, &fragment),
        own6(ICMPV6, &advertisement),
    ];
    for (port, plain) in frames.iter().flat_map(|plain| [(guarded_port(OWN), plain), (open_port(OWN), plain)])
    {
        for frame in [plain.clone(), tagged(plain, ethertype::VLAN, 7)] {
            let view = EthernetView::parse(&frame).unwrap();
            assert_eq!(on(&port, &frame), Ok(()));
            for (start, offset) in
                (0..frame.len()).flat_map(|start| (0..frame.len()).map(move |to| (start, to)))
            {
                if check(Some(&GATEWAY), &port, &view, &partial(&frame, start, offset)).is_err() {
                    continue;
                }
                let mut completed = frame.clone();
                if checksum::complete(&mut completed, start, offset).is_ok() {
                    let read = if port.settings.guard && view.ethertype == ethertype::IPV6 { 40 } else { 20 };
                    let kept = ..view.payload_offset + read;
                    assert_eq!(completed[kept], frame[kept], "{start} + {offset} rewrites an address");
                    assert_eq!(on(&port, &completed), Ok(()), "{start} + {offset} passes the guard");
                }
            }
        }
    }
}

#[test]
fn the_partial_checksums_of_honest_senders_pass() {
    let at = |frame: &[u8], start, offset| {
        let view = EthernetView::parse(frame).unwrap();
        check(Some(&GATEWAY), &guarded_port(OWN), &view, &partial(frame, start, offset))
    };
    let udp4 = from_own(ethertype::IPV4, &ipv4(address(OWN), address(OTHER), UDP, &[0; 16]));
    assert_eq!(at(&udp4, 34, 6), Ok(()));
    assert_eq!(at(&tagged(&udp4, ethertype::VLAN, 7), 38, 6), Ok(()));
    assert_eq!(at(&udp4, 42, 4), Ok(()), "of a packet in a tunnel");
    let udp6 = from_own(ethertype::IPV6, &v6(address6(OWN), UDP, &[0; 16]));
    assert_eq!(at(&udp6, 54, 6), Ok(()));
    // An echo request that would become a router advertisement.
    let echo = from_own(ethertype::IPV6, &v6(address6(OWN), ICMPV6, &[128, 0, 0, 0, 0, 1, 0, 1, 0x79, 0xff]));
    assert_eq!(at(&echo, 54, 2), Ok(()));
    assert_eq!(at(&echo, 54, 0), Err(DropReason::MalformedOffload));
    assert_eq!(at(&echo, 50, 4), Err(DropReason::MalformedOffload));
}

#[test]
fn snap_headers_hide_nothing_from_the_guard() {
    let snap = |kind: u16, inner: &[u8]| {
        let [high, low] = kind.to_be_bytes();
        let payload = [&[0xaa, 0xaa, 3, 0, 0, 0, high, low], inner].concat();
        from_own(u16::try_from(payload.len()).unwrap(), &payload)
    };
    let lie = ipv4(address(OTHER), address(9), UDP, &[0; 8]);
    for kind in [ethertype::IPV4, ethertype::IPV6, ethertype::ARP, ethertype::RARP, ethertype::VLAN] {
        assert_eq!(guarded(&snap(kind, &lie)), Err(DropReason::GuardMalformed), "{kind:#06x}");
        assert_eq!(open(&snap(kind, &lie)), Ok(()));
    }
    // Spanning tree, AppleTalk and the like are nobody's address.
    assert_eq!(guarded(&from_own(38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])), Ok(()));
    assert_eq!(guarded(&snap(0x809b, &[0; 20])), Ok(()));
}
