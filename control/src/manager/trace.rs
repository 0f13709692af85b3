//! What would become of a frame, in words.

mod sender;

use std::fmt::Write;

use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::offload::{Gso, Offload};
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::trace::{Leaving, Names, describe, left_to_device};
use pontoon_dataplane::verdict::Wait;
use pontoon_dataplane::{Frame, Verdict};

use self::sender::Made;
use super::Manager;
use crate::api::types::{Trace, TraceFrame, TraceRequest};
use crate::error::Error;
use crate::state::{NetworkState, PortName};
use crate::world::{Ingress, TraceView};

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
        let Made { frame, mut assumed } = match (&request.packet, &request.frame) {
            (Some(words), None) => self.make(&network, &ingress, words)?,
            (None, Some(hex)) => Made { frame: bytes_of(hex)?, assumed: Vec::new() },
            _ => return Err(Error::Declaration("give either a packet in words or a frame".into())),
        };
        let mtu = self.mtu(&network, &ingress);
        let offload = match left_to_device(&frame, mtu, request.segment_size) {
            // A device cuts datagrams only for programs that ask for it, whose frames captures show.
            offload if offload.gso == Gso::Udp && request.packet.is_some() => Offload::NONE,
            offload => offload,
        };
        let frame = OwnedFrame { bytes: frame, offload };
        assumed.extend(size_words(&frame, mtu));
        let view = self.world.trace(&ingress, &frame)?;
        let from = match &ingress {
            Ingress::Port(name) => name.to_string(),
            Ingress::Uplink(name) => format!("uplink:{name}"),
        };
        Ok(told(from, &frame, assumed, &view))
    }

    /// The largest packet that comes in there in one piece, in bytes.
    fn mtu(&self, network: &NetworkState, ingress: &Ingress) -> u16 {
        let uplink = match ingress {
            Ingress::Port(_) => None,
            Ingress::Uplink(name) => self.world.uplinks().into_iter().find(|it| it.interface == *name),
        };
        uplink.map_or(network.record.mtu, |uplink| uplink.mtu)
    }
}

/// What is assumed of a frame because of its size, and of what is left to its device.
fn size_words(frame: &OwnedFrame, mtu: u16) -> Option<String> {
    let OwnedFrame { bytes, offload } = frame;
    let packet_len = EthernetView::parse(bytes).map_or(0, |view| view.payload(bytes).len());
    match (offload.is_super_frame(), offload.needs_checksum) {
        (true, _) => Some(format!(
            "a super-frame: its device was to cut it into segments of {} bytes and to fill in their checksums",
            offload.gso_size
        )),
        (false, _) if packet_len > usize::from(mtu) => Some(format!(
            "{packet_len} bytes in one packet, though links carry {mtu}: its sender would send fragments, or nothing with df"
        )),
        (false, true) => Some("its device was to fill in its checksum".into()),
        (false, false) => None,
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
fn told(from: String, frame: &OwnedFrame, assumed: Vec<String>, view: &TraceView) -> Trace {
    let verdict = view.trace.verdict;
    let decisions = view.trace.decisions.iter().map(|decision| decision.words(view));
    Trace {
        from,
        packet: describe(&frame.as_frame()),
        assumed,
        decisions: decisions.chain([verdict_words(view, verdict)]).collect(),
        drop: match verdict {
            Verdict::Drop(reason) => Some(reason.name().to_owned()),
            _ => None,
        },
        leaves: view.trace.leaves.iter().map(|it| leaving(view, it)).collect(),
    }
}

fn leaving(view: &TraceView, leaving: &Leaving) -> TraceFrame {
    let OwnedFrame { bytes, offload } = &leaving.frame;
    let last_wait = leaving.after.checked_sub(1).and_then(|place| view.trace.waits.get(place));
    TraceFrame {
        port: view.port(leaving.port),
        packet: describe(&Frame { bytes, offload: *offload }),
        frame: hex_of(bytes),
        after: last_wait.map(|wait| {
            let what = match wait {
                Wait::Route => "the route is known",
                Wait::Neighbour => "the next hop has answered",
                Wait::Port => "the port is held",
                Wait::FirstFragment => "the first fragment has come",
            };
            what.to_owned()
        }),
    }
}

fn verdict_words(view: &TraceView, verdict: Verdict) -> String {
    let words = verdict.to_string();
    match verdict {
        Verdict::Forward { egress } | Verdict::Route { egress, .. } => {
            words.replace(&egress.to_string(), &view.port(egress))
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::InterfaceRequest;
    use crate::testing::Lab;
    use pontoon_dataplane::MacAddr;

    fn request(from: &str, packet: &str) -> TraceRequest {
        TraceRequest {
            network: "red".into(),
            from: from.into(),
            packet: Some(packet.into()),
            frame: None,
            segment_size: None,
        }
    }

    /// A network with two endpoints and an existing interface.
    fn lab() -> Lab {
        let lab = Lab::new(&["a", "b"]);
        lab.create("red", "10.1.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        lab.attach("red", "b", "eth0").unwrap();
        lab.manager.add_interface("red", &InterfaceRequest { interface: "nic0".into() }).unwrap();
        lab
    }

    /// The MACs that a packet is sent to and from, and what was assumed.
    fn macs(lab: &Lab, from: &str, packet: &str) -> (String, String, Vec<String>) {
        let trace = lab.manager.trace(&request(from, packet)).unwrap();
        let frame = &trace.leaves[0].frame;
        (frame[..12].to_owned(), frame[12..24].to_owned(), trace.assumed)
    }

    const GATEWAY: &str = "02420a010001";
    const A: &str = "02420a010002";
    const B: &str = "02420a010003";
    const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x50]);

    #[test]
    fn an_endpoint_sends_to_the_gateway_what_is_not_on_its_link() {
        let lab = lab();
        let to = |packet: &str| macs(&lab, "a", packet).0;
        for (packet, mac) in [
            ("udp 10.1.0.2:1 > 192.0.2.7:53", GATEWAY),
            ("udp 10.1.0.2:1 > 10.1.0.1:53", GATEWAY),
            ("udp 10.1.0.2:1 > 10.1.0.3:53", B),
            ("udp 10.1.0.2:1 > 10.1.0.255:53", "ffffffffffff"),
            ("udp 10.1.0.2:1 > 255.255.255.255:67", "ffffffffffff"),
            ("udp 10.1.0.2:1 > 224.128.0.251:5353", "01005e0000fb"),
        ] {
            assert_eq!(to(packet), mac, "{packet}");
        }
        let (_, from, assumed) = macs(&lab, "a", "udp 10.1.0.2:1 > 192.0.2.7:53");
        assert_eq!(from, A);
        assert_eq!(assumed, ["sent to 02:42:0a:01:00:01, the gateway, for 192.0.2.7 is not on 10.1.0.0/24"]);
        let own = macs(&lab, "a", "udp 10.1.0.2:1 > 10.1.0.2:53");
        assert!(own.0 == A && own.2[0].contains("keeps the packet to itself"), "{own:?}");
    }

    #[test]
    fn a_station_that_is_no_endpoint_is_sent_to_where_arp_tables_have_it() {
        let lab = lab();
        let station = [10, 1, 0, 50].into();
        let packet = "tcp 10.1.0.2:1 > 10.1.0.50:80";
        // Nobody has it, so the sender asks.
        let asked = lab.manager.trace(&request("a", packet)).unwrap();
        assert_eq!(asked.packet, "arp who-has 10.1.0.50 tell 10.1.0.2");
        assert!(asked.leaves[0].frame.starts_with("ffffffffffff02420a010002"), "{asked:?}");
        assert!(asked.assumed[0].contains("its sender has to ask for its MAC first"), "{asked:?}");

        let learn = |whose: Option<&str>, interface: &str, mac| {
            let key = (whose.map(str::to_owned), interface.to_owned(), station);
            lab.world.neighbours.lock().unwrap().insert(key, mac);
        };
        let to = |from: &str| {
            let (to, _, assumed) = macs(&lab, from, packet);
            (to, assumed.last().unwrap().rsplit_once("table of ").unwrap().1.to_owned())
        };
        learn(Some("b"), "eth0", STATION);
        assert_eq!(to("a"), ("020000000050".into(), "red/b".into()));
        learn(None, "ptn-red", MacAddr([2, 0, 0, 0, 0, 0x51]));
        assert_eq!(to("a"), ("020000000051".into(), "the host".into()));
        learn(Some("a"), "eth0", MacAddr([2, 0, 0, 0, 0, 0x52]));
        assert_eq!(to("a"), ("020000000052".into(), "red/a".into()), "its own comes first");
        assert_eq!(to("host").1, "the host");
        // What it sends itself comes from it.
        let (to, from, assumed) = macs(&lab, "nic0", "tcp 10.1.0.50:80 > 10.1.0.3:1");
        assert_eq!((to.as_str(), from.as_str()), (B, "020000000051"));
        assert_eq!(assumed.len(), 2, "{assumed:?}");
    }

    #[test]
    fn who_is_not_known_is_said_to_be_made_up() {
        let lab = lab();
        let (to, from, assumed) = macs(&lab, "nic0", "udp 10.1.0.60:1 > 192.0.2.7:53");
        assert_eq!((to.as_str(), from.as_str()), (GATEWAY, "020000000002"));
        assert!(assumed[0].contains("stands for the MAC of 10.1.0.60"), "{assumed:?}");
        let (_, from, assumed) = macs(&lab, "uplink:nic1", "tcp 192.0.2.7:1 > 198.51.100.1:80");
        assert_eq!((from.as_str(), assumed.len()), ("020000000002", 0), "an interface without MACs");
        let trace = lab.manager.trace(&request("host", "udp 10.1.0.1:1 > 10.1.0.3:53")).unwrap();
        assert_eq!(trace.from, "red/ptn-red");
        assert!(trace.leaves[0].frame.starts_with(&format!("{B}{GATEWAY}")), "{trace:?}");
    }

    #[test]
    fn what_is_larger_than_the_mtu_is_a_super_frame() {
        let lab = lab();
        let mut request = request("a", "tcp 10.1.0.2:1 > 10.1.0.3:80 len=20000 df flags=ack");
        let assumed = |request: &TraceRequest| lab.manager.trace(request).unwrap().assumed;
        // The network's MTU is 1420.
        let words = "a super-frame: its device was to cut it into segments of 1380 bytes and to fill in their checksums";
        assert_eq!(assumed(&request)[1], words);
        request.segment_size = Some(1200);
        assert!(assumed(&request)[1].contains("segments of 1200 bytes"));
        request.packet = Some("tcp 10.1.0.2:1 > 10.1.0.3:80 len=1000 flags=ack".into());
        assert_eq!(assumed(&request).len(), 1);
        request.packet = Some("udp 10.1.0.2:1 > 10.1.0.3:53 len=3000".into());
        assert!(assumed(&request)[1].starts_with("3028 bytes in one packet, though links carry 1420"));
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
