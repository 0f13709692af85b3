//! What would become of a frame, in words.

use std::fmt::Write;
use std::net::Ipv4Addr;

use pontoon_dataplane::edge::explain::Decision;
use pontoon_dataplane::edge::punt::Route;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::trace::{Probe, describe};
use pontoon_dataplane::{Frame, MacAddr, PortId, Verdict};

use super::Manager;
use crate::api::types::{Trace, TraceFrame, TraceRequest};
use crate::error::Error;
use crate::state::{NetworkState, PortName};
use crate::world::{Ingress, TraceView};

/// Who sends a frame of words that comes by an uplink, and to whom where the uplink has no MAC.
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const BARE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// The largest frame in bytes: a super-frame with its Ethernet header.
const MAX_FRAME: usize = 65_535 + 14;

impl Manager {
    /// Follows a frame through the production decisions without sending it; nothing is left of it.
    ///
    /// # Errors
    /// There is no such network or port, or the frame is none.
    pub fn trace(&self, request: &TraceRequest) -> Result<Trace, Error> {
        let network = self.state().network(&request.network)?.clone();
        let ingress = ingress(&network, &request.from)?;
        let bytes = match (&request.packet, &request.frame) {
            (Some(words), None) => self.frame_of(&network, &ingress, words)?,
            (None, Some(hex)) => bytes_of(hex)?,
            _ => return Err(Error::Declaration("give either a packet in words or a frame".into())),
        };
        let view = self.world.trace(&ingress, &bytes)?;
        let from = match &ingress {
            Ingress::Port(name) => name.to_string(),
            Ingress::Uplink(name) => format!("uplink:{name}"),
        };
        Ok(told(from, &bytes, &view))
    }

    /// The frame that a packet in words would come in, with the MACs that its sender would use.
    fn frame_of(&self, network: &NetworkState, ingress: &Ingress, words: &str) -> Result<Vec<u8>, Error> {
        let probe: Probe =
            words.parse().map_err(|error| Error::Declaration(format!("\"{words}\": {error}")))?;
        let gateway = network.record.gateway_mac.0;
        let inside = |address: Ipv4Addr| {
            network.endpoints.values().find(|it| it.address == address).map_or(gateway, |it| it.mac.0)
        };
        let (src, dst) = match ingress {
            Ingress::Uplink(name) => {
                let own = self.world.link(None, name)?.and_then(|link| link.mac);
                (STRANGER, own.unwrap_or(BARE))
            }
            Ingress::Port(name) => {
                let endpoint = network.endpoints.get(&name.port).map(|it| it.mac.0);
                let is_host = network.record.host_interface.as_ref() == Some(&name.port);
                let src = endpoint.unwrap_or(if is_host { gateway } else { STRANGER });
                (src, inside(probe.destination()))
            }
        };
        Ok(probe.frame(src, dst))
    }
}

fn ingress(network: &NetworkState, from: &str) -> Result<Ingress, Error> {
    let name = &network.record.name;
    if let Some(interface) = from.strip_prefix("uplink:") {
        return Ok(Ingress::Uplink(interface.to_owned()));
    }
    if network.port(from).is_some() {
        return Ok(Ingress::Port(PortName::new(name, from)));
    }
    match (&network.record.host_interface, from) {
        (Some(interface), "host") => Ok(Ingress::Port(PortName::new(name, interface))),
        (None, "host") => Err(Error::Conflict(format!(
            "the network {name} has no host access, so nothing comes to it from the host; `pontoon network set {name} --host-access` gives it"
        ))),
        _ => Err(Error::Missing { what: "port", name: format!("{name}/{from}"), list: "port ls" }),
    }
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, Error> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = hex.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect();
    let bytes = bytes.ok_or_else(|| Error::Declaration("the frame is not written in hexadecimal".into()))?;
    if bytes.len() > MAX_FRAME {
        let text = format!("the frame has {} bytes, and {MAX_FRAME} is the most", bytes.len());
        return Err(Error::Declaration(text));
    }
    Ok(bytes)
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The trace in words.
fn told(from: String, bytes: &[u8], view: &TraceView) -> Trace {
    let leaving = |(egress, frame): &(PortId, OwnedFrame)| TraceFrame {
        port: port(view, *egress),
        packet: describe(&Frame { bytes: &frame.bytes, offload: frame.offload }),
        frame: hex_of(&frame.bytes),
    };
    let verdict = view.trace.verdict;
    let decisions = view.trace.decisions.iter().map(|decision| words(view, decision));
    Trace {
        from,
        packet: describe(&Frame::plain(bytes)),
        decisions: decisions.chain([verdict_words(view, verdict)]).collect(),
        drop: match verdict {
            Verdict::Drop(reason) => Some(reason.name().to_owned()),
            _ => None,
        },
        leaves: view.trace.leaves.iter().map(leaving).collect(),
    }
}

/// A decision in words, with names for the engine's numbers.
fn words(view: &TraceView, decision: &Decision) -> String {
    match decision {
        Decision::Route(route) => {
            let Route { next_hop, source, mtu, .. } = route;
            format!("route by {} to {next_hop}, from {source}, MTU {mtu}", port(view, route.uplink))
        }
        Decision::Published { id, to: (address, port) } => {
            let id = view.publications.get(id).unwrap_or(id);
            format!("publication {id} leads to {address}:{port}")
        }
        decision => decision.to_string(),
    }
}

fn verdict_words(view: &TraceView, verdict: Verdict) -> String {
    let words = verdict.to_string();
    match verdict {
        Verdict::Forward { egress } | Verdict::Route { egress, .. } => {
            words.replace(&egress.to_string(), &port(view, egress))
        }
        _ => words,
    }
}

fn port(view: &TraceView, id: PortId) -> String {
    view.ports.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Lab;

    fn request(from: &str, packet: &str) -> TraceRequest {
        TraceRequest { network: "red".into(), from: from.into(), packet: Some(packet.into()), frame: None }
    }

    #[test]
    fn frames_come_with_the_macs_of_who_would_send_them() {
        let lab = Lab::new(&["a", "b"]);
        lab.create("red", "10.1.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        lab.attach("red", "b", "eth0").unwrap();
        let macs = |from: &str, packet: &str| {
            let trace = lab.manager.trace(&request(from, packet)).unwrap();
            (trace.leaves[0].frame[12..24].to_owned(), trace.leaves[0].frame[..12].to_owned(), trace.from)
        };
        let (a, b, gateway) = ("02420a010002", "02420a010003", "02420a010001");
        let of = |src: &str, dst: &str, from: &str| (src.to_owned(), dst.to_owned(), from.to_owned());
        assert_eq!(macs("a", "udp 10.1.0.2:1 > 192.0.2.7:53"), of(a, gateway, "red/a"));
        assert_eq!(macs("a", "udp 10.1.0.2:1 > 10.1.0.3:53"), of(a, b, "red/a"));
        assert_eq!(macs("host", "udp 10.1.0.1:1 > 10.1.0.3:53"), of(gateway, b, "red/ptn-red"));
        let (src, _, from) = macs("uplink:nic1", "tcp 192.0.2.7:1 > 198.51.100.1:80");
        assert_eq!((src.as_str(), from.as_str()), ("020000000002", "uplink:nic1"));
    }

    #[test]
    fn a_frame_may_be_given_whole() {
        let lab = Lab::new(&["a"]);
        lab.create("red", "10.1.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        let whole = |frame: &str| {
            let request = TraceRequest { packet: None, frame: Some(frame.into()), ..request("a", "") };
            lab.manager.trace(&request).map_err(|error| error.to_string())
        };
        let trace = whole("02420a01000102420a01000286dd00").unwrap();
        assert_eq!(trace.packet, "15 bytes from 02:42:0a:01:00:02 to 02:42:0a:01:00:01, EtherType 0x86dd");
        assert_eq!(trace.decisions, ["forward to red/somewhere"]);
        assert_eq!(trace.leaves[0].frame, "02420a01000102420a01000286dd00");
        for bad in ["0", "0g", "é"] {
            assert!(whole(bad).unwrap_err().contains("hexadecimal"), "{bad}");
        }
        assert!(whole(&"00".repeat(70_000)).unwrap_err().contains("70000 bytes"));
    }

    #[test]
    fn what_cannot_be_traced_is_said() {
        let lab = Lab::new(&["a"]);
        lab.create("red", "10.1.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        let good = "udp 10.1.0.2:1 > 192.0.2.7:53";
        let refused = |request: &TraceRequest| {
            let error = lab.manager.trace(request).unwrap_err();
            (error.status(), error.to_string())
        };
        for (from, packet, status, words) in [
            ("a", "nonsense", 400, "\"nonsense\": column 1: expected tcp, udp, icmp or arp"),
            ("nobody", good, 404, "there is no port red/nobody"),
            ("uplink:nic9", good, 404, "there is no uplink nic9"),
        ] {
            let (got, sentence) = refused(&request(from, packet));
            assert_eq!(got, status, "{sentence}");
            assert!(sentence.contains(words), "{sentence}");
        }
        let both = TraceRequest { frame: Some("00".into()), ..request("a", good) };
        assert_eq!(refused(&both).0, 400);
        let patch = crate::api::types::NetworkPatch { host_access: Some(false), ..Default::default() };
        lab.manager.set_network("red", &patch).unwrap();
        assert!(refused(&request("host", good)).1.contains("no host access"));
    }
}
