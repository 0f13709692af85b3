//! ICMP errors about translated packets: the packet that is quoted must be the one that its sender knows.

use std::net::Ipv4Addr;

use super::*;
use crate::inputs::{Case, Timeline};

/// A router far away, which nobody here has an address of.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

const PORT_CLOSED: (u8, u8) = (3, 3);
const TOO_LARGE: (u8, u8) = (3, 4);
const PROHIBITED: (u8, u8) = (3, 13);
const QUENCH: (u8, u8) = (4, 0);
const REDIRECT: (u8, u8) = (5, 1);
const TIME_EXCEEDED: (u8, u8) = (11, 0);
const PARAMETER: (u8, u8) = (12, 0);

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("nat-errors-cut", nat_errors_cut()),
        ("nat-errors-from-inside", nat_errors_from_inside()),
        ("nat-errors-from-outside", nat_errors_from_outside()),
        ("nat-errors-hairpin", nat_errors_hairpin()),
    ]
}

/// The packet in `frame` with another TTL, as whoever quotes it has it.
fn quoted(frame: &[u8], ttl: u8) -> Vec<u8> {
    packet(&with_ttl(frame, ttl)).to_vec()
}

/// Errors of routers and of the remote about UDP, TCP and pings of endpoint 2, quoted in part and whole; then those that are nobody's.
fn nat_errors_from_outside() -> Case {
    let (inside, nat, names, web) = (endpoint(2), (HOST, NAT_PORT), (REMOTE, 53), (REMOTE, 80));
    let from = |src, what, word, quoted: &[u8]| error(from_router(), (src, HOST), what, word, quoted);
    // As they are outside.
    let udp = datagram(from_router(), nat, names, b"question");
    let tcp =
        syn_with(from_router(), nat, web, false, &[etherparse::TcpOptionElement::MaximumSegmentSize(1460)]);
    let ping = echo_request(from_router(), HOST, REMOTE, NAT_IDENTIFIERS[0], b"ping");
    let optional = with_header(&tcp, |header| header.options = [0x94, 4, 0, 0].into());
    let bare = [&udp[..40], &[0, 0], &udp[42..]].concat();
    let first = &fragmented(&datagram(from_router(), nat, names, &data(2000)), 800)[0];
    let later = &fragmented(&datagram(from_router(), nat, names, &data(2000)), 800)[1];
    let mut broken = from(FAR, PORT_CLOSED, 0, packet(&udp));
    broken[36] ^= 1;
    let strange = datagram(from_router(), nat, (REMOTE, 54), b"question");
    let about_an_error = from(FAR, PORT_CLOSED, 0, packet(&udp));
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, names, b"question"))
        .send(UPLINK, router_answers())
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(2, echo_request(from_endpoint(2), address(2), REMOTE, 7, b"ping"))
        .send(UPLINK, from(REMOTE, PORT_CLOSED, 0, packet(&udp)))
        .send(UPLINK, from(FAR, TOO_LARGE, 1280, &quoted(&udp, 60)))
        .send(UPLINK, from(FAR, TIME_EXCEEDED, 0, &quoted(&udp, 0)[..28]))
        .send(UPLINK, from(FAR, QUENCH, 0, packet(&bare)))
        .send(UPLINK, from(FAR, TOO_LARGE, 1400, &packet(first)[..548]))
        .send(UPLINK, from(REMOTE, PROHIBITED, 0, packet(&tcp)))
        .send(UPLINK, from(FAR, TOO_LARGE, 1280, &quoted(&tcp, 1)[..28]))
        // Half of the checksum is there, and all of it.
        .send(UPLINK, from(FAR, TIME_EXCEEDED, 0, &packet(&tcp)[..37]))
        .send(UPLINK, from(FAR, TIME_EXCEEDED, 0, &packet(&tcp)[..38]))
        .send(UPLINK, from(FAR, PARAMETER, 20 << 24, packet(&optional)))
        .send(UPLINK, from(FAR, TIME_EXCEEDED, 0, &quoted(&ping, 1)))
        .send(UPLINK, from(REMOTE, PROHIBITED, 0, &packet(&ping)[..28]))
        // The host's own, all of them: about no session, about an error, too short, not the first, wrong, no error.
        .send(UPLINK, from(FAR, PORT_CLOSED, 0, packet(&strange)))
        .send(UPLINK, from(FAR, PORT_CLOSED, 0, packet(&about_an_error)))
        .send(UPLINK, from(FAR, PORT_CLOSED, 0, &packet(&udp)[..27]))
        .send(UPLINK, from(FAR, TIME_EXCEEDED, 0, packet(later)))
        .send(UPLINK, broken)
        .send(UPLINK, from(ROUTER, REDIRECT, 0x0a00_0001, packet(&udp)))
        .done()
}

/// Errors of endpoints about answers from outside and about clients of a published port: nobody inside is named. Then those that
/// an endpoint may not send.
fn nat_errors_from_inside() -> Case {
    let (inside, nat, names, web) = (endpoint(2), (HOST, NAT_PORT), (REMOTE, 53), (REMOTE, 80));
    let of = |n: u8, what, quoted: &[u8]| error(from_endpoint(n), (address(n), REMOTE), what, 0, quoted);
    // As they are inside.
    let udp = datagram(from_endpoint(2), names, inside, b"answer");
    let tcp = syn(from_endpoint(2), web, inside, true);
    let pong = echo_reply(from_endpoint(2), REMOTE, address(2), 7, b"ping");
    let (client, server, name_server) = ((REMOTE, 5000), (address(3), 8080), (address(3), 5353));
    let request = datagram(from_endpoint(3), client, name_server, b"question");
    let opening = syn(from_endpoint(3), client, server, false);
    let strange = datagram(from_endpoint(2), (REMOTE, 54), inside, b"answer");
    let long = of(2, PORT_CLOSED, packet(&datagram(from_endpoint(2), names, inside, &data(1200))));
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, names, b"question"))
        .send(UPLINK, router_answers())
        .send(UPLINK, datagram(from_router(), names, nat, b"answer"))
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(UPLINK, syn(from_router(), web, nat, true))
        .send(2, echo_request(from_endpoint(2), address(2), REMOTE, 7, b"ping"))
        .send(UPLINK, echo_reply(from_router(), REMOTE, HOST, NAT_IDENTIFIERS[0], b"ping"))
        .send(UPLINK, datagram(from_router(), client, (HOST, 53), b"question"))
        .send(UPLINK, syn(from_router(), client, (HOST, 80), false))
        .send_all(2, [of(2, PORT_CLOSED, &quoted(&udp, 63)), of(2, PORT_CLOSED, &packet(&udp)[..28])])
        .send_all(2, [of(2, PROHIBITED, packet(&tcp)), of(2, PROHIBITED, &packet(&tcp)[..28])])
        .send_all(2, [of(2, PROHIBITED, packet(&pong)), of(2, PROHIBITED, &packet(&pong)[..28])])
        .send_all(3, [of(3, PORT_CLOSED, packet(&request)), of(3, PROHIBITED, &packet(&opening)[..28])])
        // About no session, about another's, too short, about an error, in fragments.
        .send(2, of(2, PORT_CLOSED, packet(&strange)))
        .send(3, of(3, PORT_CLOSED, packet(&udp)))
        .send(2, of(2, PORT_CLOSED, &packet(&udp)[..27]))
        .send(2, of(2, PORT_CLOSED, packet(&of(2, PORT_CLOSED, packet(&udp)))))
        .send_all(2, fragmented(&long, 800))
        .done()
}

/// Errors that quote more than the next hop takes: 601 bytes to endpoint 2, 68 to endpoint 4, 1280 to the outside. They are cut, whether
/// they may be fragmented or not; headers that are quoted are not, and no error is made about it.
fn nat_errors_cut() -> Case {
    let from = |what, word, quoted: &[u8]| error(from_router(), (FAR, HOST), what, word, quoted);
    let (nat, names, other) = ((HOST, NAT_PORT), (REMOTE, 53), (REMOTE, 54));
    let udp = datagram(from_router(), nat, names, &data(1400));
    let too_large = from(TOO_LARGE, 1280, packet(&udp));
    // The quote is said to have 32 words, and extensions behind it (RFC 4884).
    let extended = from(TIME_EXCEEDED, 32 << 16, &[&packet(&udp)[..128], &data(500)].concat());
    let short = datagram(from_router(), nat, other, b"question for endpoint 4");
    let optional = with_header(&short, |header| header.options = [1; 20].into());
    let (client, name_server) = ((REMOTE, 5000), (address(3), 5353));
    let request = datagram(from_endpoint(3), client, name_server, &data(1400));
    let closed = error(from_endpoint(3), (address(3), REMOTE), PORT_CLOSED, 0, packet(&request));
    Timeline::default()
        .send(2, datagram(from_endpoint(2), endpoint(2), names, b"question"))
        .send(UPLINK, router_answers())
        .send_all(UPLINK, [may_be_cut(&too_large), too_large, extended])
        .send(4, datagram(from_endpoint(4), endpoint(4), other, b"question"))
        .send_all(UPLINK, [from(PORT_CLOSED, 0, packet(&short)), from(PORT_CLOSED, 0, packet(&optional))])
        .send(UPLINK, datagram(from_router(), client, (HOST, 53), b"question"))
        .send_all(3, [may_be_cut(&closed), closed])
        .done()
}

/// Errors between endpoint 2 and endpoint 3, which it reached by the host's address.
fn nat_errors_hairpin() -> Case {
    let (client, gateway) = (endpoint(2), (GATEWAY_ADDRESS, NAT_PORT));
    let (web, server) = ((HOST, 80), (address(3), 8080));
    let (names, name_server) = ((HOST, 53), (address(3), 5353));
    // Of the server, about requests as it has them; of the client, about answers as it has them.
    let of_server =
        |what, quoted: &[u8]| error(from_endpoint(3), (address(3), GATEWAY_ADDRESS), what, 0, quoted);
    let of_client = |what, quoted: &[u8]| error(from_endpoint(2), (address(2), HOST), what, 0, quoted);
    let opening = syn(from_endpoint(3), gateway, server, false);
    let request = datagram(from_endpoint(3), gateway, name_server, b"question");
    let accepting = syn(from_endpoint(2), web, client, true);
    let answer = datagram(from_endpoint(2), names, client, b"answer");
    Timeline::default()
        .send(2, syn(from_endpoint(2), client, web, false))
        .send(2, datagram(from_endpoint(2), client, names, b"question"))
        .send_all(
            3,
            [of_server(PROHIBITED, packet(&opening)), of_server(PROHIBITED, &packet(&opening)[..28])],
        )
        .send_all(
            3,
            [of_server(PORT_CLOSED, &quoted(&request, 63)), of_server(TOO_LARGE, &packet(&request)[..28])],
        )
        .send(3, syn(from_endpoint(3), server, gateway, true))
        .send(3, datagram(from_endpoint(3), name_server, gateway, b"answer"))
        .send_all(2, [of_client(PROHIBITED, packet(&accepting)), of_client(PORT_CLOSED, packet(&answer))])
        .send_all(2, [of_client(TIME_EXCEEDED, &packet(&answer)[..28])])
        .done()
}
