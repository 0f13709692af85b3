//! What packets look like before and after: header fields, fragments, sizes, super-frames.

use std::time::Duration;

use etherparse::TcpOptionElement::{
    MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
};

use super::*;
use crate::inputs::frames::{leave_partial, tagged};
use crate::inputs::{Case, Timeline};

const TCP: u8 = 6;
const UDP: u8 = 17;

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("nat-fragments", nat_fragments()),
        ("nat-headers", nat_headers()),
        ("nat-segment-size", nat_segment_size()),
        ("nat-sizes", nat_sizes()),
        ("nat-sizes-back", nat_sizes_back()),
        ("nat-super-frames", nat_super_frames()),
        ("nat-time-to-live", nat_time_to_live()),
    ]
}

/// What must stay as it is: options, DSCP, ECN, identification, flags, an absent checksum, a wrong one. What does not stay: padding
/// and a priority tag.
fn nat_headers() -> Case {
    let (inside, outside, nat) = (endpoint(2), (REMOTE, 53), (HOST, NAT_PORT));
    let web = (REMOTE, 80);
    let question = datagram(from_endpoint(2), inside, outside, b"question");
    let answer = datagram(from_router(), outside, nat, b"answer");
    let marked = |frame: &[u8]| {
        with_header(frame, |header| {
            (header.dscp, header.ecn) = (46.try_into().expect("six bits"), 3.try_into().expect("two bits"));
            (header.identification, header.dont_fragment) = (0xbeef, false);
        })
    };
    // Router alert, and nothing for as long as a header can be.
    let optional = |frame: &[u8], len: usize| {
        let options: Vec<u8> = [0x94, 4, 0, 0].into_iter().chain([1; 36]).take(len).collect();
        with_header(frame, |header| header.options = options[..].try_into().expect("words"))
    };
    let without_checksum = |frame: &[u8]| [&frame[..40], &[0, 0], &frame[42..]].concat();
    let mut wrong = segment(from_endpoint(2), inside, web, b"GET /");
    wrong[50] ^= 0x55;
    // What is left of the sum makes it zero once translated, which is written as all ones.
    let left = datagram(from_router(), nat, outside, &[0, 0]);
    let zero = datagram(from_endpoint(2), inside, outside, &left[40..42]);
    let padded = [&datagram(from_endpoint(2), inside, outside, b"?")[..], &[0; 17]].concat();
    Timeline::default()
        .send(2, question.clone())
        .send(UPLINK, router_answers())
        .send_all(2, [marked(&question), optional(&question, 4), optional(&question, 40)])
        .send_all(UPLINK, [marked(&answer), optional(&answer, 4), optional(&answer, 40)])
        .send(2, without_checksum(&question))
        .send(UPLINK, without_checksum(&answer))
        .send_all(2, [zero, padded, tagged(&question, 0x8100, 0x6000)])
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(2, optional(&segment(from_endpoint(2), inside, web, b"GET /"), 8))
        .send(2, wrong)
        .done()
}

/// The last hop is here: packets with a TTL of 1 go no further, and their senders are told; a TTL of 2 becomes 1.
fn nat_time_to_live() -> Case {
    let (inside, outside, nat) = (endpoint(2), (REMOTE, 53), (HOST, NAT_PORT));
    let question = |ttl| with_ttl(&datagram(from_endpoint(2), inside, outside, b"question"), ttl);
    let answer = |ttl| with_ttl(&datagram(from_router(), outside, nat, b"answer"), ttl);
    let client = |ttl| with_ttl(&syn(from_router(), (REMOTE, 5000), (HOST, 80), false), ttl);
    let hairpin = |ttl| with_ttl(&syn(from_endpoint(2), inside, (HOST, 80), false), ttl);
    let ping = echo_request(from_endpoint(2), address(2), REMOTE, 7, b"ping");
    let to_host = syn(from_endpoint(2), inside, (HOST, 22), false);
    Timeline::default()
        .send(2, question(1))
        .send(2, question(2))
        .send(UPLINK, router_answers())
        .send_all(2, [question(0), question(1), question(255)])
        .send_all(UPLINK, [answer(1), answer(2)])
        .send_all(UPLINK, [client(1), client(2), client(1)])
        .send_all(2, [hairpin(1), hairpin(2)])
        .send_all(2, [with_ttl(&ping, 1), with_ttl(&ping, 2)])
        // No hop at all.
        .send(2, with_ttl(&to_host, 1))
        .done()
}

/// Fragments out, the last one first, and back in order; one that is never followed by its first. The same of pings, and of a
/// published port, from outside and from inside.
fn nat_fragments() -> Case {
    let (inside, outside, nat) = (endpoint(2), (REMOTE, 53), (HOST, NAT_PORT));
    let payload: Vec<u8> = (0..2000u16).map(|i| i as u8).collect();
    let out = fragmented(&datagram(from_endpoint(2), inside, outside, &payload), 800);
    let back = fragmented(&datagram(from_router(), outside, nat, &payload), 800);
    let lost = fragmented(&datagram(from_endpoint(3), (address(3), 1), outside, &payload), 800);
    let ping = echo_request(from_endpoint(2), address(2), REMOTE, 7, &payload);
    let pong = echo_reply(from_router(), REMOTE, HOST, NAT_IDENTIFIERS[0], &payload);
    let (client, server) = ((REMOTE, 5000), (address(3), 5353));
    let request = datagram(from_router(), client, (HOST, 53), &payload);
    let answer = datagram(from_endpoint(3), server, client, &payload);
    let hairpin = datagram(from_endpoint(2), inside, (HOST, 53), &payload);
    let back_in = datagram(from_endpoint(3), server, (GATEWAY_ADDRESS, NAT_PORT), &payload);
    let reversed = |frame: &[u8]| fragmented(frame, 800).into_iter().rev();
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, outside, b"first"))
        .send(UPLINK, router_answers())
        .send_all(2, out.into_iter().rev())
        .send_all(UPLINK, back)
        .send(3, lost[1].clone())
        .wait(Duration::from_secs(31))
        .send_all(2, fragmented(&ping, 800))
        .send_all(UPLINK, reversed(&pong))
        .send_all(UPLINK, reversed(&request))
        .send_all(3, fragmented(&answer, 800))
        .send_all(2, reversed(&hairpin))
        .send_all(3, reversed(&back_in))
        .done()
}

/// A hop of 1280 bytes outside, and one inside: what may be is cut, what may not is refused, SYNs are clamped, a super-frame goes
/// whole if its segments fit.
fn nat_sizes() -> Case {
    let (inside, outside, web) = (endpoint(2), (REMOTE, 53), (REMOTE, 80));
    let large = datagram(from_endpoint(2), inside, outside, &[0x5a; 1400]);
    let super_frame = |link, src, dst| {
        let mut frame = segment(link, src, dst, &[0x5a; 5000]);
        leave_partial(&mut frame, TCP, 16);
        frame
    };
    let (client, names) = ((REMOTE, 5000), (HOST, 53));
    let request = datagram(from_router(), client, names, &data(1400));
    let fragments = fragmented(&datagram(from_router(), client, names, &data(2500)), 1400);
    Timeline::default()
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(UPLINK, router_answers())
        .send(2, large.clone())
        .send(2, may_be_cut(&large))
        .send(2, super_frame(from_endpoint(2), inside, web))
        .send(2, segment(from_endpoint(2), inside, web, &[0x5a; 1300]))
        .send(UPLINK, request.clone())
        .send(UPLINK, may_be_cut(&request))
        // Fragments are cut again.
        .send_all(UPLINK, fragments)
        .send(UPLINK, syn(from_router(), client, (HOST, 80), false))
        // Frames 7 and 8: super-frames whose segments are too large, to be refused and to be cut.
        .send(UPLINK, super_frame(from_router(), client, (HOST, 80)))
        .send(UPLINK, may_be_cut(&super_frame(from_router(), client, (HOST, 80))))
        .done()
}

/// Clients behind a hop of 1280 bytes, of published ports whose answers are larger: what SYNs announce, what is refused and what is cut.
fn nat_sizes_back() -> Case {
    let (client, web, names) = ((REMOTE, 5000), (HOST, 80), (HOST, 53));
    let (server, name_server) = ((address(3), 8080), (address(3), 5353));
    let large = datagram(from_endpoint(3), name_server, client, &data(1400));
    let mut super_frame = segment(from_endpoint(3), server, client, &data(4000));
    leave_partial(&mut super_frame, TCP, 16);
    Timeline::default()
        .send(UPLINK, syn(from_router(), client, web, false))
        // Frames 3 and 4 are super-frames: one whose segments fit, and one whose segments do not.
        .send(3, syn(from_endpoint(3), server, client, true))
        .send(3, segment(from_endpoint(3), server, client, &data(1300)))
        .send_all(3, [super_frame.clone(), super_frame])
        .send(UPLINK, datagram(from_router(), client, names, b"question"))
        .send_all(3, [large.clone(), may_be_cut(&large)])
        .send_all(3, fragmented(&datagram(from_endpoint(3), name_server, client, &data(2500)), 1400))
        .done()
}

/// A hop of 1280 bytes outside, and endpoint 3 behind one of 1400: what SYNs announce, both ways and wherever it stands.
fn nat_segment_size() -> Case {
    let (inside, web, nat) = (endpoint(2), (REMOTE, 80), (HOST, NAT_PORT));
    let out = |port, options: &[etherparse::TcpOptionElement]| {
        syn_with(from_endpoint(2), inside, (REMOTE, port), false, options)
    };
    let linux = [
        MaximumSegmentSize(1460),
        SelectiveAcknowledgementPermitted,
        Timestamp(0x0102_0304, 0),
        Noop,
        WindowScale(7),
    ];
    let mut partial = out(86, &linux);
    leave_partial(&mut partial, TCP, 16);
    let (client, server) = ((REMOTE, 5000), (address(3), 8080));
    let not_a_syn = PacketBuilder::ethernet2(mac(2).0, mac(GATEWAY).0)
        .ipv4(address(2).octets(), REMOTE.octets(), 64)
        .tcp(inside.1, 80, 1001, 65_000)
        .ack(1)
        .options(&[MaximumSegmentSize(1460)])
        .expect("one option");
    let mut later = Vec::new();
    not_a_syn.write(&mut later, b"data").expect("a vector takes everything");
    Timeline::default()
        .send(2, out(80, &[MaximumSegmentSize(1460)]))
        .send(UPLINK, router_answers())
        .send(UPLINK, syn(from_router(), web, nat, true))
        .send(2, out(81, &linux))
        // At an odd place its bytes lie in two words.
        .send(2, out(82, &[Noop, MaximumSegmentSize(8960), Noop, Noop]))
        .send_all(2, [out(83, &[MaximumSegmentSize(1240)]), out(84, &[MaximumSegmentSize(536)])])
        .send_all(2, [out(85, &[]), partial, later])
        .send(UPLINK, syn(from_router(), client, (HOST, 80), false))
        .send(3, syn(from_endpoint(3), server, client, true))
        .done()
}

/// Super-frames of TCP and UDP out of a device that makes them, into one, and where one end does not take them. case.txt has
/// the metadata.
fn nat_super_frames() -> Case {
    let partial = |mut frame: Vec<u8>, protocol| {
        leave_partial(&mut frame, protocol, if protocol == TCP { 16 } else { 6 });
        frame
    };
    let tcp = |link, src, dst| partial(segment(link, src, dst, &data(4000)), TCP);
    let udp = |link, src, dst| partial(may_be_cut(&datagram(link, src, dst, &data(2500))), UDP);
    let (inside, nat) = (endpoint(2), (HOST, NAT_PORT));
    let (web, names) = ((REMOTE, 80), (REMOTE, 53));
    let (client, server, name_server) = ((REMOTE, 5000), (address(3), 8080), (address(3), 5353));
    let (tunnel_web, tunnel_names) = ((TUNNEL_REMOTE, 80), (TUNNEL_REMOTE, 53));
    Timeline::default()
        // Frames 1 of ports 2 and 9.
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(UPLINK, router_answers())
        // 2 to 4 of port 2: as its kernel makes them.
        .send(2, tcp(from_endpoint(2), inside, web))
        .send(2, udp(from_endpoint(2), inside, names))
        .send(2, partial(segment(from_endpoint(2), inside, web, b"checksum alone"), TCP))
        // 2 to 4 of port 9: as a device has merged them.
        .send(UPLINK, tcp(from_router(), web, nat))
        .send(UPLINK, udp(from_router(), names, nat))
        .send(UPLINK, partial(segment(from_router(), web, nat, b"checksum alone"), TCP))
        // 5 to 8 of port 9: for an endpoint that takes none.
        .send(UPLINK, syn(from_router(), client, (HOST, 80), false))
        .send(UPLINK, tcp(from_router(), client, (HOST, 80)))
        .send(UPLINK, udp(from_router(), client, (HOST, 53)))
        .send(UPLINK, partial(segment(from_router(), client, (HOST, 80), b"checksum alone"), TCP))
        .send(3, segment(from_endpoint(3), server, client, b"200 OK"))
        .send(3, datagram(from_endpoint(3), name_server, client, b"answer"))
        // 5 to 8 of port 2: by an uplink that takes none; the last one in fragments, as a VM may have it.
        .send(2, syn(from_endpoint(2), inside, tunnel_web, false))
        .send(2, tcp(from_endpoint(2), inside, tunnel_web))
        .send(2, udp(from_endpoint(2), inside, tunnel_names))
        .send(2, udp(from_endpoint(2), inside, tunnel_names))
        .done()
}
