//! A directory that describes a replay and what must come of it.
//!
//! | file | holds |
//! |---|---|
//! | `case.txt` | the network, in lines as below |
//! | `port-N.in.pcap` | what comes in by port N, with times |
//! | `port-N.out.pcap` | what leaves by port N |
//! | `events.txt` | what was decided and sent, a line each ([`Event`]) |
//! | `counters.txt` | what each port counted |
//!
//! ```text
//! # Comments and empty lines are skipped. A line is a word and settings, in any order.
//! network gateway=10.0.0.1/24 gateway-mac=02:42:0a:00:00:01 mtu=1500 ageing=300
//! port 1 mtu=1500 offloads=all learning=on flood=on isolated=off hairpin=off guard=off
//! port 2 guard=on mac=02:42:0a:00:00:02 address=10.0.0.2 sandbox-address=10.9.0.2 offloads=checksum,tso
//! offload port=1 frame=3 gso=tcp-v4 size=1448 checksum=34+16
//! host 8
//! uplink 9 mac=02:00:00:00:09:09 address=198.51.100.2/24 mtu=1500
//! publish protocol=tcp port=80 to=10.0.0.2:8080 endpoint=2
//! link from=2 to=1 protocol=tcp port=5432
//! route to=192.0.2.0/24 by=9 via=198.51.100.1 from=198.51.100.2 mtu=1500
//! lease tcp=20000-20009 udp=20000-20009
//! until 400
//! ```
//!
//! Settings left out are those of a port on an existing interface; a network without `gateway` has none. `internal=on`, `isolated=on`
//! and `mapping=endpoint-independent` say how a network is connected; `link` opens an isolated one, without a service for everything.
//! `broadcasts=5 multicasts=0 unknown=0` are a port's limits, frames a second, and `loop-guard=off` is one more setting.
//! `offload` gives frame 3 of port 1 (counting from 1) its metadata, which captures cannot hold. `until` lets time pass up to that
//! second after the first frame. `host` is the host's own port on the network; an `uplink` without `mac` carries bare packets. `route`
//! and `lease` are what the kernel would answer the edge: a destination without a route is unreachable, and no port is had but those
//! leased.

use core::fmt::Write as _;
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::edge::EdgeLines;
use super::{Arrival, Event, Kernel, Replay, What};
use crate::addr::MacAddr;
use crate::counters::{CounterSum, PortCounters};
use crate::edge::config::NetworkEdge;
use crate::fdb::{Fdb, FdbConfig};
use crate::network::{
    Gateway, Identity, MAX_PORTS, Network, NetworkId, Place, Port, PortId, PortSettings, Snapshot,
};
use crate::offload::{Gso, Offload};
use crate::port::Offloads;
use crate::port::memory::OwnedFrame;
use crate::port::pcap::{self, CaptureError};

mod edge;

/// A case could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A capture could not be read or written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A text file could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `read` or `write`.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line of `case.txt` is not as it should be.
    #[error("{}, line {line}: {what}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counting from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The description does not fit the captures.
    #[error("{}: {what}", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
}

/// A case, ready to run.
#[derive(Debug)]
pub struct Case {
    snapshot: Snapshot,
    kernel: Kernel,
    offloads: BTreeMap<PortId, Offloads>,
    arrivals: Vec<Arrival>,
    /// When the first frame came, since 1970.
    epoch: Duration,
    until: Duration,
}

/// What came of a case.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What left by each port, with its time since 1970 in the captures' count.
    pub sent: BTreeMap<PortId, Vec<(Duration, Vec<u8>)>>,
    /// Every event, a line each.
    pub events: String,
    /// What each port counted, a line for each count that is not zero.
    pub counters: String,
}

impl Case {
    /// Reads the description and the captures of a directory.
    ///
    /// # Errors
    /// See [`CaseError`].
    pub fn load(directory: &Path) -> Result<Case, CaseError> {
        let path = directory.join("case.txt");
        let text = std::fs::read_to_string(&path).map_err(|source| CaseError::Io {
            path: path.clone(),
            action: "read",
            source,
        })?;
        let description = Description::parse(&text).map_err(|(line, what)| CaseError::Line {
            path: path.clone(),
            line,
            what,
        })?;
        let mut captures = BTreeMap::new();
        for id in description.ports.keys() {
            let capture = directory.join(format!("port-{}.in.pcap", id.0));
            if capture.exists() {
                captures.insert(*id, pcap::read(&capture)?);
            }
        }
        description.with_captures(captures).map_err(|what| CaseError::Unfit { path, what })
    }

    /// The frames that come in, in order.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Runs the case from its start and collects what came of it.
    pub fn run(self) -> Outcome {
        let mut outcome = Outcome::default();
        let ids: Vec<PortId> = self.offloads.keys().copied().collect();
        let offloads = |id| self.offloads.get(&id).copied().unwrap_or(Offloads::NONE);
        let mut replay = Replay::new(Arc::new(self.snapshot), offloads).with_kernel(self.kernel);
        let mut collect = |event: &Event<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(outcome.events, "{event}");
            if event.what == What::Sent {
                let frame = (self.epoch + event.at, event.frame.bytes.to_vec());
                outcome.sent.entry(event.port).or_default().push(frame);
            }
        };
        for arrival in &self.arrivals {
            replay.feed(arrival, &mut collect);
        }
        replay.advance(self.until, &mut collect);
        for port in ids.iter().filter_map(|&id| replay.core().snapshot().port(id)) {
            describe_counters(port, &mut outcome.counters);
        }
        outcome
    }
}

impl Outcome {
    /// Writes the captures of what left, `events.txt` and `counters.txt` into a directory.
    ///
    /// # Errors
    /// See [`CaseError`].
    pub fn write(&self, directory: &Path) -> Result<(), CaseError> {
        for (port, frames) in &self.sent {
            let mut writer = pcap::Writer::create(&directory.join(format!("port-{}.out.pcap", port.0)))?;
            for (at, bytes) in frames {
                writer.write(*at, bytes)?;
            }
            writer.finish()?;
        }
        for (name, text) in [("events.txt", &self.events), ("counters.txt", &self.counters)] {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|source| CaseError::Io { path, action: "write", source })?;
        }
        Ok(())
    }
}

fn describe_counters(port: &Port, text: &mut String) {
    let CounterSum { rx, tx, drops } = CounterSum::of(&port.counters);
    let drops = drops.into_iter().map(|(reason, traffic)| (format!("drop {reason}"), traffic));
    let counts = [("rx".to_owned(), rx), ("tx".to_owned(), tx)].into_iter().chain(drops);
    for (what, traffic) in counts.filter(|(_, traffic)| traffic.frames > 0) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {what}: {} frames, {} bytes", port.id, traffic.frames, traffic.bytes);
    }
}

/// `case.txt`, as read.
#[derive(Default)]
struct Description {
    network: Option<NetworkLine>,
    ports: BTreeMap<PortId, PortLine>,
    offloads: Vec<OffloadLine>,
    edge: EdgeLines,
    until: Duration,
}

#[derive(Default)]
struct NetworkLine {
    gateway: Option<(std::net::Ipv4Addr, u8)>,
    gateway_mac: Option<MacAddr>,
    mtu: Option<u16>,
    ageing: Option<Duration>,
    edge: NetworkEdge,
}

struct PortLine {
    settings: PortSettings,
    identity: Option<Identity>,
    mtu: u16,
    offloads: Offloads,
}

struct OffloadLine {
    port: PortId,
    frame: usize,
    offload: Offload,
}

type Parsed<T> = Result<T, String>;

impl Description {
    fn parse(text: &str) -> Result<Description, (usize, String)> {
        let mut description = Description::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            description.line(first, &words.collect::<Vec<_>>()).map_err(|what| (index + 1, what))?;
        }
        Ok(description)
    }

    fn line(&mut self, first: &str, words: &[&str]) -> Parsed<()> {
        match (first, words) {
            ("network", settings) => self.network = Some(NetworkLine::parse(settings)?),
            ("port", [number, settings @ ..]) => {
                let id = port_id(number)?;
                self.port(id, PortLine::parse(settings)?)?;
            }
            ("host", [number, settings @ ..]) => {
                let id = port_id(number)?;
                self.edge.host_port = Some(id);
                self.port(id, PortLine::parse(settings)?)?;
            }
            ("uplink", [number, settings @ ..]) => {
                let id = port_id(number)?;
                let line = self.edge.uplink(id, settings)?;
                self.port(id, line)?;
            }
            ("publish", settings) => self.edge.publish(settings)?,
            ("link", settings) => self.edge.link(settings)?,
            ("route", settings) => self.edge.route(settings)?,
            ("lease", settings) => self.edge.lease(settings)?,
            ("offload", settings) => self.offloads.push(OffloadLine::parse(settings)?),
            ("until", [seconds]) => self.until = Duration::from_secs(value("until", seconds)?),
            _ => {
                return Err(format!(
                    "a line starts with \"network\", \"port N\", \"host N\", \"uplink N\", \"publish\", \"link\", \"route\", \
                     \"lease\", \"offload\" or \"until SECONDS\", not \"{first}\""
                ));
            }
        }
        Ok(())
    }

    fn port(&mut self, id: PortId, line: PortLine) -> Parsed<()> {
        match self.ports.insert(id, line) {
            Some(_) => Err(format!("{id} is described twice")),
            None => Ok(()),
        }
    }

    fn with_captures(mut self, captures: BTreeMap<PortId, Vec<(Duration, Vec<u8>)>>) -> Parsed<Case> {
        let epoch = captures.values().flatten().map(|(at, _)| *at).min().unwrap_or_default();
        let mut metadata = BTreeMap::new();
        for line in &self.offloads {
            if captures.get(&line.port).map_or(0, Vec::len) < line.frame {
                return Err(format!("there is no frame {} of {} to give metadata to", line.frame, line.port));
            }
            metadata.insert((line.port, line.frame), line.offload);
        }
        let mut arrivals = Vec::new();
        for (ingress, frames) in captures {
            for (index, (at, bytes)) in frames.into_iter().enumerate() {
                let offload = metadata.get(&(ingress, index + 1)).copied().unwrap_or_default();
                arrivals.push(Arrival { at: at - epoch, ingress, frame: OwnedFrame { bytes, offload } });
            }
        }
        // Stable: frames of one time go by port, and those of one port stay in order.
        arrivals.sort_by_key(|arrival| arrival.at);
        let offloads = self.ports.iter().map(|(&id, port)| (id, port.offloads)).collect();
        let (until, kernel) = (self.until, core::mem::take(&mut self.edge.kernel));
        Ok(Case { snapshot: self.snapshot()?, kernel, offloads, arrivals, epoch, until })
    }

    fn snapshot(self) -> Parsed<Snapshot> {
        let network = self.network.ok_or("there is no \"network\" line")?;
        let id = NetworkId(0);
        let mut ports: Vec<Option<Port>> = Vec::new();
        let EdgeLines { config, host_port, links, .. } = self.edge;
        let is_uplink = |port: PortId| config.uplink(port).is_some();
        let members = self.ports.keys().copied().filter(|&port| !is_uplink(port)).collect();
        for (port, line) in self.ports {
            let place = match port {
                port if host_port == Some(port) => Place::Host(id),
                port if is_uplink(port) => Place::Uplink,
                _ => Place::Member(id),
            };
            ports.resize_with(port.index(), || None);
            ports.push(Some(Port {
                id: port,
                place,
                settings: line.settings,
                identity: line.identity.map(Arc::new),
                own_mac: None,
                mtu: line.mtu,
                counters: Arc::from([PortCounters::default()]),
            }));
        }
        let mut fdb = FdbConfig::default();
        fdb.ageing = network.ageing.unwrap_or(fdb.ageing);
        let gateway = network.gateway.map(|(address, prefix_len)| Gateway {
            mac: network.gateway_mac.unwrap_or(MacAddr::from_ipv4(address)),
            address,
            prefix_len,
        });
        let mtu = network.mtu.unwrap_or(1500);
        let network = Network {
            id,
            gateway,
            mtu,
            flooded: Arc::default(),
            fdb: Arc::new(Fdb::with_seed(fdb, 0)),
            members,
            edge: NetworkEdge { host_port, links: links.into(), ..network.edge },
        };
        Ok(Snapshot { generation: 1, networks: vec![Some(Arc::new(network))], ports, edge: Arc::new(config) })
    }
}

impl NetworkLine {
    fn parse(settings: &[&str]) -> Parsed<NetworkLine> {
        let mut line = NetworkLine::default();
        for (key, text) in pairs(settings)? {
            match key {
                "gateway" => {
                    let (address, prefix) =
                        text.split_once('/').ok_or("write gateway as 10.0.0.1/24".to_owned())?;
                    let prefix: u8 = value(key, prefix)?;
                    if prefix > 32 {
                        return Err(format!("/{prefix} is longer than an IPv4 address"));
                    }
                    line.gateway = Some((value(key, address)?, prefix));
                }
                "gateway-mac" => line.gateway_mac = Some(value(key, text)?),
                "mtu" => line.mtu = Some(value(key, text)?),
                "ageing" => line.ageing = Some(Duration::from_secs(value(key, text)?)),
                "internal" => line.edge.internal = switch(key, text)?,
                "isolated" => line.edge.isolated = switch(key, text)?,
                "mapping" => line.edge.mapping = edge::mapping(text)?,
                _ => return Err(unknown(key)),
            }
        }
        Ok(line)
    }
}

impl PortLine {
    fn parse(settings: &[&str]) -> Parsed<PortLine> {
        let mut line = PortLine {
            settings: PortSettings::default(),
            identity: None,
            mtu: 1500,
            offloads: Offloads::NONE,
        };
        let (mut mac, mut addresses, mut sandbox_addresses) = (None, Vec::new(), Vec::new());
        for (key, text) in pairs(settings)? {
            match key {
                "learning" => line.settings.learning = switch(key, text)?,
                "flood" => line.settings.flood = switch(key, text)?,
                "isolated" => line.settings.isolated = switch(key, text)?,
                "hairpin" => line.settings.hairpin = switch(key, text)?,
                "guard" => line.settings.guard = switch(key, text)?,
                "broadcasts" => line.settings.storm.broadcast = value(key, text)?,
                "multicasts" => line.settings.storm.multicast = value(key, text)?,
                "unknown" => line.settings.storm.unknown_unicast = value(key, text)?,
                "loop-guard" => line.settings.loop_guard = switch(key, text)?,
                "mac" => mac = Some(value(key, text)?),
                "address" => addresses.push(value(key, text)?),
                "sandbox-address" => sandbox_addresses.push(value(key, text)?),
                "mtu" => line.mtu = value(key, text)?,
                "offloads" => line.offloads = offloads(text)?,
                _ => return Err(unknown(key)),
            }
        }
        sandbox_addresses.extend(&addresses);
        line.identity = mac.map(|mac| Identity { mac, addresses, sandbox_addresses });
        Ok(line)
    }
}

impl OffloadLine {
    fn parse(settings: &[&str]) -> Parsed<OffloadLine> {
        let (mut port, mut frame, mut offload) = (None, None, Offload::NONE);
        for (key, text) in pairs(settings)? {
            match key {
                "port" => port = Some(port_id(text)?),
                "frame" => frame = Some(value(key, text)?),
                "gso" => {
                    offload.gso = match text {
                        "tcp-v4" => Gso::TcpV4,
                        "tcp-v6" => Gso::TcpV6,
                        "udp" => Gso::Udp,
                        "udp-fragments" => Gso::UdpFragments,
                        _ => return Err("gso is tcp-v4, tcp-v6, udp or udp-fragments".to_owned()),
                    }
                }
                "size" => offload.gso_size = value(key, text)?,
                "checksum" => {
                    let (start, offset) = text.split_once('+').ok_or("write checksum as 34+16".to_owned())?;
                    offload.needs_checksum = true;
                    offload.csum_start = value(key, start)?;
                    offload.csum_offset = value(key, offset)?;
                }
                _ => return Err(unknown(key)),
            }
        }
        match (port, frame) {
            (Some(port), Some(frame)) if frame > 0 => Ok(OffloadLine { port, frame, offload }),
            _ => Err("offload needs port=N and frame=M, counting from 1".to_owned()),
        }
    }
}

fn pairs<'a>(settings: &[&'a str]) -> Parsed<Vec<(&'a str, &'a str)>> {
    let split =
        |word: &&'a str| word.split_once('=').ok_or(format!("\"{word}\" is no setting; write key=value"));
    settings.iter().map(split).collect()
}

fn value<T: FromStr>(key: &str, text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("\"{text}\" is no value for {key}"))
}

fn switch(key: &str, text: &str) -> Parsed<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{key} is on or off, not \"{text}\"")),
    }
}

fn unknown(key: &str) -> String {
    format!("there is no setting \"{key}\" here")
}

fn port_id(text: &str) -> Parsed<PortId> {
    let id = PortId(value("port", text)?);
    if id.index() < MAX_PORTS { Ok(id) } else { Err(format!("port numbers are below {MAX_PORTS}")) }
}

fn offloads(text: &str) -> Parsed<Offloads> {
    let mut takes = Offloads { vnet_header: true, ..Offloads::NONE };
    for name in text.split(',') {
        match name {
            "none" => takes = Offloads::NONE,
            "all" => takes = Offloads::ALL,
            "checksum" => takes.checksum = true,
            "tso" => takes.tso = true,
            "uso" => takes.uso = true,
            _ => return Err(format!("offloads are all, none, or of checksum, tso, uso; not \"{name}\"")),
        }
    }
    Ok(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (usize, String) {
        Description::parse(text).err().expect("it is refused")
    }

    #[test]
    fn the_example_of_the_header_is_read() {
        let example: String = include_str!("case.rs")
            .lines()
            .skip_while(|line| *line != "//! ```text")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| format!("{}\n", &line[4..]))
            .collect();
        let description = Description::parse(&example).unwrap();
        assert_eq!(description.until, Duration::from_secs(400));
        let guarded = &description.ports[&PortId(2)];
        assert!(guarded.settings.guard);
        assert_eq!(guarded.offloads, Offloads { uso: false, ..Offloads::ALL });
        assert_eq!(guarded.identity.as_ref().unwrap().sandbox_addresses.len(), 2);
        assert_eq!(description.offloads[0].offload.csum_start, 34);
        let snapshot = description.snapshot().unwrap();
        assert_eq!(snapshot.networks[0].as_ref().unwrap().members, [PortId(1), PortId(2), PortId(8)]);
        assert_eq!(snapshot.port(PortId(9)).unwrap().place, Place::Uplink);
        assert_eq!(snapshot.edge.publications[0].to_port, 8080);
        let link = &snapshot.networks[0].as_ref().unwrap().edge.links[0];
        assert_eq!((link.from, link.to), (PortId(2), PortId(1)));
        assert_eq!(link.service, Some((crate::edge::tuple::Protocol::Tcp, 5432)));
        assert_eq!(snapshot.port(PortId(2)).unwrap().id, PortId(2));
        assert!(snapshot.port(PortId(0)).is_none());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        assert_eq!(refusal("# fine\n\nnetwork mtu=big").0, 3);
        for (text, word) in [
            ("bridge 1", "bridge"),
            ("port 1 colour=red", "colour"),
            ("port 1 learning=maybe", "maybe"),
            ("port 1 isolated", "isolated"),
            ("port 4096", "4096"),
            ("port 1\nport 1", "twice"),
            ("offload port=1", "frame"),
            ("network gateway=10.0.0.1/33", "/33"),
            ("port 1 offloads=ufo", "ufo"),
            ("network mapping=any", "any"),
            ("link from=1", "to"),
            ("link from=1 to=2 port=80", "protocol"),
        ] {
            let (_, what) = refusal(text);
            assert!(what.contains(word), "{text}: {what}");
        }
    }

    #[test]
    fn frames_go_in_by_time_whatever_their_port() {
        let description =
            Description::parse("network\nport 1\nport 2\noffload port=2 frame=1 checksum=0+2").unwrap();
        let at = Duration::from_secs;
        let captures = BTreeMap::from([
            (PortId(1), vec![(at(100), vec![1]), (at(103), vec![2])]),
            (PortId(2), vec![(at(101), vec![3])]),
        ]);
        let case = description.with_captures(captures).unwrap();
        let order: Vec<_> = case.arrivals.iter().map(|a| (a.at, a.frame.bytes[0])).collect();
        assert_eq!(order, [(at(0), 1), (at(1), 3), (at(3), 2)]);
        assert!(case.arrivals[1].frame.offload.needs_checksum);
        assert_eq!(case.epoch, at(100));
        let description = Description::parse("network\nport 1\noffload port=1 frame=1 checksum=0+2").unwrap();
        assert!(description.with_captures(BTreeMap::new()).is_err());
    }
}
