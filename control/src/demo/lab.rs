//! What the demo looks at: a daemon of its own in this process, one network, three stations, and a world outside.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::Method;

use crate::api::types::{
    Applied, DeviceKind, Document, EndpointDecl, Mac, NamespaceDecl, Network, NetworkDecl, Port, PortPatch,
    PublicationRequest, SandboxRef,
};
use crate::cli::args::DEFAULT_SOCKET;
use crate::cli::client::{Client, path};
use crate::dns::upstreams::RESOLV_CONF;
use crate::edge::EdgeSettings;
use crate::failure::Failure;

use crate::daemon::{self, DaemonOptions, DockerPlugin};
use crate::netns::Netns;

use super::outside::{self, Outside};
use super::service;

/// The network's name.
pub(super) const NETWORK: &str = "demo";
/// The stations' names.
pub(super) const NAMES: [&str; 3] = ["red", "green", "blue"];
/// The port of the host that leads to the first station's service.
pub(super) const PUBLISHED: u16 = 8080;
const SUBNET: &str = "10.88.0.0/24";
/// How long the daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A namespace on the network.
#[derive(Debug)]
pub(super) struct Station {
    pub name: &'static str,
    pub ip: Ipv4Addr,
    pub mac: Mac,
    pub netns: Netns,
}

impl Station {
    /// The name of its port.
    pub(super) fn port(&self) -> String {
        format!("{NETWORK}/{}", self.name)
    }
}

/// Everything that has been set up.
#[derive(Debug)]
pub(super) struct Lab {
    pub client: Client,
    pub network: Network,
    pub stations: Vec<Station>,
    /// Where the daemon runs.
    pub host: Netns,
    pub outside: Outside,
    /// The offloads that all ports have.
    pub offloads: Vec<String>,
}

impl Lab {
    /// Starts the daemon and lets it make namespaces, network and endpoints, as `pontoon daemon` and `pontoon up -f`
    /// would. The process must be in private namespaces already.
    pub(super) fn build() -> Result<Lab, Failure> {
        let sentence = |error: &dyn std::error::Error| Failure::Sentence(error.to_string());
        let outside = Outside::build()?;
        let host = Netns::current().map_err(|error| sentence(&error))?;
        service::start(outside::NAME, &outside.netns, outside::ADDRESS)?;
        let socket = Path::new(DEFAULT_SOCKET);
        let daemon = start_daemon()?;
        wait_for(socket, daemon)?;
        let client = Client::new(socket)?;
        let _: Applied = client.send(Method::PUT, "/apply", &document()?)?;
        let network: Network = client.get(&path(&["networks", NETWORK]))?;
        let ports: Vec<Port> = client.get("/ports")?;
        let stations = NAMES.iter().map(|name| station(name, &network)).collect::<Result<Vec<_>, _>>()?;
        for address in [network.gateway, outside::HOST] {
            service::start("host", &host, address)?;
        }
        if let Some(first) = stations.first() {
            service::start(first.name, &first.netns, first.ip)?;
        }
        let everywhere = |offload: &&str| ports.iter().all(|port| port.offloads.iter().any(|o| o == offload));
        let offloads = ["checksum", "tso", "uso"].iter().filter(|o| everywhere(o));
        let offloads = offloads.map(|offload| (*offload).to_owned()).collect();
        Ok(Lab { client, network, stations, host, outside, offloads })
    }
}

fn start_daemon() -> Result<JoinHandle<Result<(), String>>, Failure> {
    let options = DaemonOptions {
        socket: DEFAULT_SOCKET.into(),
        state_dir: "/run/pontoon/state".into(),
        config: None,
        ephemeral: true,
        workers: 0,
        edge: EdgeSettings::default(),
        resolv_conf: RESOLV_CONF.into(),
        docker_plugin: DockerPlugin::Off,
    };
    thread::Builder::new()
        .name("daemon".into())
        .spawn(move || daemon::run(options).map_err(|error| error.to_string()))
        .map_err(|e| Failure::Sentence(format!("cannot start a thread: {e}")))
}

/// Waits until the daemon listens, or says why it does not.
fn wait_for(socket: &Path, daemon: JoinHandle<Result<(), String>>) -> Result<(), Failure> {
    let start = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if daemon.is_finished() {
            let reason = match daemon.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) => "it ended at once".to_owned(),
                Err(_) => "it panicked".to_owned(),
            };
            return Err(Failure::Sentence(format!("the demo's daemon did not start: {reason}")));
        }
        if start.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(Failure::Sentence(format!("the demo's daemon did not listen within {seconds} s")));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn document() -> Result<Document, Failure> {
    let endpoint = |name: &&str| EndpointDecl {
        name: None,
        aliases: Vec::new(),
        netns: Some((*name).to_owned()),
        pid: None,
        ifname: None,
        ip: None,
        mac: None,
        kind: DeviceKind::Tap,
        resolver: false,
        dns: Vec::new(),
        port: PortPatch::default(),
    };
    let publish = |protocol: &str| -> Result<PublicationRequest, Failure> {
        let ports = format!("{PUBLISHED}:{}/{protocol}", service::PORT);
        let ports = ports.parse().map_err(|_| Failure::sentence("the demo's published port is malformed"))?;
        Ok(PublicationRequest { endpoint: NAMES[0].to_owned(), ports, allow: Vec::new(), rules: Vec::new() })
    };
    Ok(Document {
        namespaces: NAMES
            .iter()
            .map(|name| NamespaceDecl { name: (*name).to_owned(), create: true, resolver: None })
            .collect(),
        networks: vec![NetworkDecl {
            name: NETWORK.to_owned(),
            subnet: Some(SUBNET.parse().map_err(|_| Failure::sentence("the demo's subnet is malformed"))?),
            endpoints: NAMES.iter().map(endpoint).collect(),
            publications: vec![publish("tcp")?, publish("udp")?],
            ..NetworkDecl::default()
        }],
    })
}

fn station(name: &'static str, network: &Network) -> Result<Station, Failure> {
    let found = network.endpoints.iter().find(|endpoint| endpoint.name == name);
    let (endpoint, ip) = match found.map(|endpoint| (endpoint, endpoint.address.addr())) {
        Some((endpoint, IpAddr::V4(ip))) => (endpoint, ip),
        _ => return Err(Failure::Sentence(format!("the demo's daemon did not attach {name}"))),
    };
    let netns =
        Netns::find(&SandboxRef::Netns(name.to_owned())).map_err(|e| Failure::Sentence(e.to_string()))?;
    Ok(Station { name, ip, mac: endpoint.mac, netns })
}
