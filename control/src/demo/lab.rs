//! What the demo looks at: a daemon of its own in this process, one network, three stations.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::Method;

use crate::api::types::{
    Applied, DeviceKind, Document, EndpointDecl, Mac, NamespaceDecl, Network, NetworkDecl, Port, PortPatch,
    SandboxRef,
};
use crate::cli::args::DEFAULT_SOCKET;
use crate::cli::client::{Client, path};
use crate::failure::Failure;
use pontoon_dataplane::port::Offloads;

use crate::daemon::{self, DaemonOptions};
use crate::netns::Netns;

/// The network's name.
pub(super) const NETWORK: &str = "demo";
/// The stations' names.
pub(super) const NAMES: [&str; 3] = ["red", "green", "blue"];
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
    /// The offloads that all ports have.
    pub offloads: Vec<String>,
}

impl Lab {
    /// Starts the daemon and lets it make namespaces, network and endpoints, as `pontoon daemon` and `pontoon up -f`
    /// would. The process must be in private namespaces already.
    pub(super) fn build() -> Result<Lab, Failure> {
        let socket = Path::new(DEFAULT_SOCKET);
        let daemon = start_daemon()?;
        wait_for(socket, daemon)?;
        let client = Client::new(socket)?;
        let _: Applied = client.send(Method::PUT, "/apply", &document()?)?;
        let network: Network = client.get(&path(&["networks", NETWORK]))?;
        let ports: Vec<Port> = client.get("/ports")?;
        let stations = NAMES.iter().map(|name| station(name, &network)).collect::<Result<Vec<_>, _>>()?;
        let everywhere = |offload: &&str| ports.iter().all(|port| port.offloads.iter().any(|o| o == offload));
        let offloads = ["checksum", "tso", "uso"].iter().filter(|o| everywhere(o));
        let offloads = offloads.map(|offload| (*offload).to_owned()).collect();
        Ok(Lab { client, network, stations, offloads })
    }
}

fn start_daemon() -> Result<JoinHandle<Result<(), String>>, Failure> {
    let options = DaemonOptions {
        socket: DEFAULT_SOCKET.into(),
        state_dir: "/run/pontoon/state".into(),
        config: None,
        ephemeral: true,
        workers: 0,
        offloads: Offloads::ALL,
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
        netns: Some((*name).to_owned()),
        pid: None,
        ifname: None,
        ip: None,
        mac: None,
        kind: DeviceKind::Tap,
        port: PortPatch::default(),
    };
    Ok(Document {
        namespaces: NAMES
            .iter()
            .map(|name| NamespaceDecl { name: (*name).to_owned(), create: true })
            .collect(),
        networks: vec![NetworkDecl {
            name: NETWORK.to_owned(),
            subnet: SUBNET.parse().map_err(|_| Failure::sentence("the demo's subnet is malformed"))?,
            gateway: None,
            mtu: None,
            ageing_seconds: None,
            endpoints: NAMES.iter().map(endpoint).collect(),
            interfaces: Vec::new(),
            fdb: Vec::new(),
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
