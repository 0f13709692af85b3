use proptest::prelude::*;

use super::*;

/// Pings with one frame and holds the answer against the request.
fn ping(lab: &mut Lab, data: &[u8], mtu: usize) {
    let verdict = lab.ask(&ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(data)));
    assert_eq!(verdict, Verdict::Reply(Reply::Echo), "{} bytes", data.len());
    assert_answers(&lab.made(), data, mtu);
}

fn assert_answers(made: &[(PortId, Vec<u8>)], data: &[u8], mtu: usize) {
    let (kind, answer) = read_icmp(made, to_asker(), mtu);
    assert_eq!(kind, Icmpv4Type::EchoReply(IcmpEchoHeader { id: 0x1234, seq: 0x5678 }));
    assert!(answer == data, "{} bytes came back for {}", answer.len(), data.len());
}

#[test]
fn any_size_at_any_mtu() {
    for mtu in [576, 1280, 1500, 9000, 65_535] {
        let mut lab = Lab::with_mtu(mtu);
        for len in [0, 1, 548, 549, 1472, 1473, 8000, 8972, 8973, 65_507] {
            ping(&mut lab, &pattern(len), mtu.into());
        }
    }
}

#[test]
fn fragments_are_as_few_as_the_mtu_allows() {
    let mut lab = Lab::with_mtu(1500);
    for (len, frames) in [(1472, 1), (1473, 2), (8000, 6), (65_507, 45)] {
        ping(&mut lab, &pattern(len), 1500);
        assert_eq!(lab.made().len(), frames, "{len} bytes");
    }
    // The port's MTU counts too.
    lab.change(|snapshot| snapshot.ports[usize::from(ASKER)].as_mut().unwrap().mtu = 576);
    ping(&mut lab, &pattern(1000), 576);
}

#[test]
fn an_answer_that_cannot_be_made_is_no_answer() {
    let mut lab = Lab::new([ASKER]);
    lab.change(|snapshot| Arc::make_mut(snapshot.networks[0].as_mut().unwrap()).mtu = 0);
    ping(&mut lab, &pattern(1000), 68);
    let huge = ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(&pattern(65_507)));
    assert_eq!(lab.ask(&huge), Verdict::Drop(DropReason::TooBig));
    assert_eq!(lab.made(), []);
}

#[test]
fn replies_differ_in_identification_and_keep_the_service_class() {
    let mut lab = Lab::new([ASKER]);
    let mut request = ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(b"x"));
    let header = Ipv4Header::from_slice(&request).unwrap().0;
    request = rewrite(header, |header| header.dscp = 46.try_into().unwrap(), &request[20..]);
    let mut idents = std::collections::HashSet::new();
    for _ in 0..3 {
        assert_eq!(lab.ask(&request), Verdict::Reply(Reply::Echo));
        let reply = Ipv4Header::from_slice(&lab.made()[0].1[14..]).unwrap().0;
        assert_eq!(reply.dscp.value(), 46);
        idents.insert(reply.identification);
    }
    assert_eq!(idents.len(), 3);
}

#[test]
fn who_asks_is_answered_where_it_is() {
    let mut lab = Lab::new([ASKER, 3]);
    let outside = Ipv4Addr::new(198, 51, 100, 7);
    assert_eq!(
        lab.ask(&ipv4(outside, GATEWAY.address, ICMP, &echo_request(b"far"))),
        Verdict::Reply(Reply::Echo)
    );
    read_icmp(&lab.made(), (ASKER, mac(ASKER), outside), 1500);

    for src in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [10, 0, 0, 255]] {
        let verdict = lab.ask(&ipv4(src.into(), GATEWAY.address, ICMP, &echo_request(b"x")));
        assert_eq!((verdict, lab.made().len()), (NO_ANSWER, 0), "from {src:?}");
    }
    for dst in [[10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
        let verdict = lab.ask(&ipv4(address(ASKER), dst.into(), ICMP, &echo_request(b"x")));
        let nobody = Verdict::Drop(DropReason::EdgeDestination);
        assert_eq!((verdict, lab.made().len()), (nobody, 0), "to {dst:?}");
    }
    let tag = |control| {
        let packet = ipv4(address(ASKER), GATEWAY.address, ICMP, &echo_request(b"tag"));
        tagged(&ethernet(GATEWAY.mac, mac(ASKER), ethertype::IPV4, &packet), ethertype::VLAN, control)
    };
    assert_eq!(lab.send(ASKER, &tag(0xe000)), Verdict::Reply(Reply::Echo));
    assert_answers(&lab.made(), b"tag", 1500);
    assert_eq!(lab.send(ASKER, &tag(7)), Verdict::Drop(DropReason::GatewayTagged));
}

#[test]
fn only_sound_requests_are_answered() {
    let mut lab = Lab::new([ASKER]);
    let mut ask = |message: &[u8], offload: Offload| {
        let packet = ipv4(address(ASKER), GATEWAY.address, ICMP, message);
        let frame = ethernet(GATEWAY.mac, mac(ASKER), ethertype::IPV4, &packet);
        (lab.send_with(ASKER, &frame, offload), lab.made())
    };
    let good = echo_request(b"data");
    let mut wrong = good.clone();
    wrong[9] ^= 0x10;
    let malformed = Verdict::Drop(DropReason::GatewayMalformed);
    assert_eq!(ask(&wrong, Offload::NONE).0, malformed);
    assert_eq!(ask(&good[..7], Offload::NONE).0, malformed);
    assert_eq!(ask(&[], Offload::NONE).0, Verdict::Drop(DropReason::EdgeMalformed), "not even a type");

    // A checksum that is still to be filled in does not count, and the answer's is right all the same.
    let partial = Offload { needs_checksum: true, csum_start: 34, csum_offset: 2, ..Offload::NONE };
    let mut unfinished = good.clone();
    unfinished[2..4].fill(0);
    for offload in [partial, Offload { checksum_valid: true, ..Offload::NONE }] {
        let (verdict, made) = ask(&unfinished, offload);
        assert_eq!(verdict, Verdict::Reply(Reply::Echo));
        assert_answers(&made, b"data", 1500);
    }
    for kind in [
        Icmpv4Type::EchoReply(IcmpEchoHeader { id: 1, seq: 1 }),
        Icmpv4Type::Unknown { type_u8: 8, code_u8: 1, bytes5to8: [0; 4] },
        Icmpv4Type::Unknown { type_u8: 13, code_u8: 0, bytes5to8: [0; 4] },
    ] {
        let message = Icmpv4Header::with_checksum(kind.clone(), &[]).to_bytes();
        let (verdict, made) = ask(&message, Offload::NONE);
        assert_eq!((verdict, made.len()), (NO_ANSWER, 0), "{kind:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    /// Whatever the size, the cut and the order, repeated fragments or not: one answer, and the right one.
    #[test]
    fn fragmented_requests_in_any_order(
        len in prop_oneof![0usize..3000, 60_000usize..=65_507, Just(65_507)],
        share in 1usize..190,
        shuffle in any::<u64>(),
        repeat in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let data = pattern(len);
        let message = echo_request(&data);
        // Seven fragments or more would be many for a large packet cut small: keep the frames under a thousand.
        let share = (share * 8).max(message.len() / 1000 / 8 * 8 + 8);
        let mut fragments: Vec<Vec<u8>> = message
            .chunks(share)
            .enumerate()
            .map(|(index, piece)| {
                let offset = index * share;
                let place = FragmentOf { id: 99, offset, more: offset + piece.len() < message.len() };
                ipv4_fragment(address(ASKER), GATEWAY.address, ICMP, piece, place)
            })
            .collect();
        // Fisher and Yates, from a seed that proptest can shrink.
        let mut seed = shuffle;
        for index in (1..fragments.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            fragments.swap(index, (seed >> 33) as usize % (index + 1));
        }
        let mut lab = Lab::new([ASKER]);
        let last = fragments.len() - 1;
        for (index, fragment) in fragments.iter().enumerate() {
            let verdict = lab.ask(fragment);
            if index < last {
                prop_assert_eq!(verdict, Verdict::Taken(Taken::Fragment));
                if repeat.is_some_and(|repeat| repeat.index(fragments.len()) == index) {
                    prop_assert_eq!(lab.ask(fragment), Verdict::Taken(Taken::Fragment));
                }
            } else {
                prop_assert_eq!(verdict, Verdict::Reply(Reply::Echo));
            }
        }
        assert_answers(&lab.made(), &data, 1500);
    }
}
