//! Which flows are translated, and to what: out and back, published ports, echo, open mappings, links.

use std::net::Ipv4Addr;
use std::time::Duration;

use pontoon_dataplane::MacAddr;

use super::*;
use crate::inputs::frames::{arp, tagged, who_has};
use crate::inputs::{Case, Timeline};

pub(super) fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("nat-echo", nat_echo()),
        ("nat-hairpin", nat_hairpin()),
        ("nat-header-less", nat_header_less()),
        ("nat-links", nat_links()),
        ("nat-open-mapping", nat_open_mapping()),
        ("nat-outbound", nat_outbound()),
        ("nat-peers", nat_peers()),
        ("nat-published", nat_published()),
    ]
}

/// TCP and UDP of endpoint 2 go out and are answered; what nobody asked for is the host's own.
fn nat_outbound() -> Case {
    let (inside, outside, nat) = (endpoint(2), (REMOTE, 53), (HOST, NAT_PORT));
    let web = (REMOTE, 80);
    Timeline::default()
        .send(2, datagram(from_endpoint(2), inside, outside, b"question"))
        .send(UPLINK, router_answers())
        .send(UPLINK, datagram(from_router(), outside, nat, b"answer"))
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(UPLINK, syn(from_router(), web, nat, true))
        .send(2, segment(from_endpoint(2), inside, web, b"GET /"))
        .send(UPLINK, datagram(from_router(), (REMOTE, 54), nat, b"nobody asked"))
        .send(2, datagram(from_endpoint(2), inside, (Ipv4Addr::new(203, 0, 113, 1), 53), b"no route"))
        .wait(Duration::from_secs(301))
        .send(UPLINK, datagram(from_router(), outside, nat, b"too late"))
        .done()
}

/// Clients reach endpoint 3 by the host's ports 80 (TCP) and 53 (UDP) and keep their addresses.
fn nat_published() -> Case {
    let (client, host, server) = ((REMOTE, 5000), (HOST, 80), (address(3), 8080));
    let (name_server, names) = ((address(3), 5353), (HOST, 53));
    Timeline::default()
        .send(UPLINK, syn(from_router(), client, host, false))
        .send(3, syn(from_endpoint(3), server, client, true))
        .send(UPLINK, segment(from_router(), client, host, b"GET /"))
        .send(3, segment(from_endpoint(3), server, client, b"200 OK"))
        .send(UPLINK, syn(from_router(), client, (HOST, 81), false))
        .send(UPLINK, datagram(from_router(), client, names, b"question"))
        .send(3, datagram(from_endpoint(3), name_server, client, b"answer"))
        .send(UPLINK, datagram(from_router(), (REMOTE, 5001), names, b"another client"))
        .send(3, datagram(from_endpoint(3), name_server, (REMOTE, 5001), b"another answer"))
        .send(UPLINK, datagram(from_router(), client, (HOST, 80), b"published for TCP alone"))
        .done()
}

/// Endpoints 2 and 3 reach endpoint 3 by the host's address; 2 reaches the host itself.
fn nat_hairpin() -> Case {
    let (host, server) = ((HOST, 80), (address(3), 8080));
    let gateway = (GATEWAY_ADDRESS, NAT_PORT);
    let (names, name_server) = ((HOST, 53), (address(3), 5353));
    Timeline::default()
        .send(2, syn(from_endpoint(2), endpoint(2), host, false))
        .send(3, syn(from_endpoint(3), server, gateway, true))
        .send(2, segment(from_endpoint(2), endpoint(2), host, b"GET /"))
        .send(2, syn(from_endpoint(2), (address(2), 40_001), (HOST, 22), false))
        .send(2, datagram(from_endpoint(2), (address(2), 40_001), (address(3), 8080), b"by the gateway"))
        .send(3, datagram(from_endpoint(3), endpoint(3), names, b"of itself"))
        .send(3, datagram(from_endpoint(3), name_server, gateway, b"to itself"))
        .send(2, datagram(from_endpoint(2), endpoint(2), (GATEWAY_ADDRESS, 53), b"by the gateway's address"))
        .done()
}

/// Endpoints 2 and 3 ping with the same identifier and get an answer each; who pings the host pings the host.
fn nat_echo() -> Case {
    let [first, second] = NAT_IDENTIFIERS;
    let marked = |frame: Vec<u8>| {
        with_header(&frame, |header| {
            (header.dscp, header.ecn) = (46.try_into().expect("six bits"), 1.try_into().expect("two bits"));
        })
    };
    Timeline::default()
        .send(2, echo_request(from_endpoint(2), address(2), REMOTE, 7, b"ping"))
        .send(UPLINK, router_answers())
        .send(UPLINK, echo_reply(from_router(), REMOTE, HOST, first, b"ping"))
        .send(3, marked(echo_request(from_endpoint(3), address(3), REMOTE, 7, b"odd")))
        .send(UPLINK, marked(echo_reply(from_router(), REMOTE, HOST, second, b"odd")))
        .send(2, echo_request(from_endpoint(2), address(2), REMOTE, 7, &data(1400)))
        .send(UPLINK, echo_reply(from_router(), REMOTE, HOST, first, &data(1400)))
        .send(UPLINK, echo_reply(from_router(), REMOTE, HOST, 7, b"nobody asked"))
        .send(UPLINK, echo_request(from_router(), REMOTE, HOST, first, b"for the host"))
        .send(2, echo_request(from_endpoint(2), address(2), HOST, 7, b"for the host too"))
        .send(2, echo_reply(from_endpoint(2), address(2), REMOTE, 8, b"nobody asked"))
        .wait(Duration::from_secs(61))
        .send(UPLINK, echo_reply(from_router(), REMOTE, HOST, first, b"too late"))
        .done()
}

/// Endpoint 2 has one external port for all remotes, and anybody may send to it; endpoint 3 gets none, for there is no other.
fn nat_open_mapping() -> Case {
    let (inside, nat) = (endpoint(2), (HOST, NAT_PORT));
    let remotes = [(REMOTE, 53), (Ipv4Addr::new(192, 0, 2, 8), 5060)];
    let stranger = (Ipv4Addr::new(192, 0, 2, 9), 6000);
    Timeline::default()
        .send(UPLINK, datagram(from_router(), stranger, nat, b"too early"))
        .send(2, datagram(from_endpoint(2), inside, remotes[0], b"question"))
        .send(UPLINK, router_answers())
        .send(2, datagram(from_endpoint(2), inside, remotes[1], b"another question"))
        .send(UPLINK, datagram(from_router(), remotes[1], nat, b"another answer"))
        .send(UPLINK, datagram(from_router(), stranger, nat, b"anybody"))
        .send(2, datagram(from_endpoint(2), inside, stranger, b"nice to meet you"))
        .send(3, datagram(from_endpoint(3), endpoint(3), remotes[0], b"no port is left"))
        .send(2, syn(from_endpoint(2), inside, (REMOTE, 80), false))
        .send(UPLINK, syn(from_router(), stranger, nat, false))
        .send(2, syn(from_endpoint(2), inside, stranger, true))
        .done()
}

/// Endpoints 2 and 3 have an external port each, and reach one another by that: each looks to the other as he looks outside.
fn nat_peers() -> Case {
    // As they are drawn; of TCP the other way round.
    let [one, other] = [NAT_PORT, NAT_PORT + 1].map(|port| (HOST, port));
    let (two, three) = (one, other);
    Timeline::default()
        .send(2, datagram(from_endpoint(2), endpoint(2), (REMOTE, 53), b"question"))
        .send(UPLINK, router_answers())
        .send(3, datagram(from_endpoint(3), endpoint(3), (REMOTE, 53), b"question"))
        .send(2, datagram(from_endpoint(2), endpoint(2), three, b"to a peer"))
        .send(3, datagram(from_endpoint(3), endpoint(3), two, b"and back"))
        .send(3, datagram(from_endpoint(3), endpoint(3), three, b"to itself"))
        // TCP: who listens where he has called from.
        .send(3, syn(from_endpoint(3), endpoint(3), (REMOTE, 80), false))
        .send(2, syn(from_endpoint(2), endpoint(2), one, false))
        .send(3, syn(from_endpoint(3), endpoint(3), other, true))
        .send(2, segment(from_endpoint(2), endpoint(2), one, b"GET /"))
        .send(
            3,
            error(
                from_endpoint(3),
                (address(3), HOST),
                (3, 13),
                0,
                packet(&segment(from_endpoint(3), other, endpoint(3), b"")),
            ),
        )
        .done()
}

/// The same by an uplink that carries bare packets and has a smaller MTU: what is here in front of them, nobody sees.
fn nat_header_less() -> Case {
    let (inside, nat) = (endpoint(2), (TUNNEL_HOST, NAT_PORT));
    let (web, names) = ((TUNNEL_REMOTE, 80), (TUNNEL_REMOTE, 53));
    let large = datagram(from_endpoint(2), inside, names, &data(1400));
    Timeline::default()
        .send(2, syn(from_endpoint(2), inside, web, false))
        .send(TUNNEL, syn(from_tunnel(), web, nat, true))
        .send(2, segment(from_endpoint(2), inside, web, b"GET /"))
        .send(2, datagram(from_endpoint(2), inside, names, b"question"))
        .send(TUNNEL, datagram(from_tunnel(), names, nat, b"answer"))
        .send(2, large.clone())
        .send(2, may_be_cut(&large))
        .send(2, echo_request(from_endpoint(2), address(2), TUNNEL_REMOTE, 7, b"ping"))
        .send(TUNNEL, echo_reply(from_tunnel(), TUNNEL_REMOTE, TUNNEL_HOST, NAT_IDENTIFIERS[0], b"ping"))
        .send(TUNNEL, syn(from_tunnel(), (TUNNEL_REMOTE, 5000), (TUNNEL_HOST, 80), false))
        .send(3, syn(from_endpoint(3), (address(3), 8080), (TUNNEL_REMOTE, 5000), true))
        .send(
            TUNNEL,
            error(from_tunnel(), (TUNNEL_REMOTE, TUNNEL_HOST), (3, 3), 0, &{
                packet(&datagram(from_tunnel(), nat, names, b"question")).to_vec()
            }),
        )
        .done()
}

/// With icc off a link opens one service of endpoint 3 for endpoint 2, and nothing else; what passes is bridged as it is.
fn nat_links() -> Case {
    let between = |from: u8, to: u8| PacketBuilder::ethernet2(mac(from).0, mac(to).0);
    let (client, server) = (endpoint(2), (address(3), 80));
    let request = segment(between(2, 3), client, server, b"GET /");
    let refusal = error(between(3, 2), (address(3), address(2)), (3, 13), 0, packet(&request));
    let long = segment(between(2, 3), client, server, &data(2000));
    let mut line = Timeline::default();
    // All are heard of.
    line.send(2, who_has(2, GATEWAY)).send(3, who_has(3, GATEWAY)).send(4, who_has(4, GATEWAY));
    // Only the linked hear each other's ARP.
    line.send(2, who_has(2, 3)).send(3, arp(3, mac(2), 2, (mac(3), address(3)), (mac(2), address(2))));
    line.send(4, who_has(4, 3)).send(4, arp(4, mac(3), 2, (mac(4), address(4)), (MacAddr::ZERO, address(3))));
    line.send(3, syn(between(3, 2), server, client, true));
    line.send(2, syn(between(2, 3), client, server, false)).send(3, syn(between(3, 2), server, client, true));
    line.send(2, request.clone()).send(3, refusal).send_all(2, fragmented(&long, 1200).into_iter().rev());
    // Another service, another protocol, the other way, another endpoint, a tag, IPv6 or whatever it is.
    line.send(2, syn(between(2, 3), client, (address(3), 81), false));
    line.send(2, datagram(between(2, 3), client, server, b"no TCP"));
    line.send(3, syn(between(3, 2), endpoint(3), (address(2), 80), false));
    line.send(4, syn(between(4, 3), endpoint(4), server, false));
    line.send(2, syn(between(2, 4), client, (address(4), 80), false));
    line.send(2, tagged(&request, 0x8100, 5)).talk(2, 2, 3);
    // Nor does the gateway lead back.
    line.send(2, syn(from_endpoint(2), client, server, false));
    line.send(4, syn(from_endpoint(4), endpoint(4), server, false)).done()
}
