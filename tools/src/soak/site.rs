//! What a soak is about: a host with the real daemon, a world outside, and the endpoints that stay.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hyper::Method;
use pontoon::api::types::{
    Endpoint, EndpointRequest, Network, NetworkRequest, Publication, PublicationRequest, SandboxRef, Uplink,
};
use pontoon::bench::process::Process;
use pontoon::cli::client::{Client, path};

use super::Sabotage;
use crate::lab::{LabError, Namespace};
use crate::outside::{Outside, Way};

/// The network whose two endpoints talk to one another alone: what comes in by one goes out by the other, or is dropped.
pub(super) const CLOSED: &str = "closed";
/// The network whose endpoint talks to the host and to the world outside.
pub(super) const OPEN: &str = "open";
/// The port of the host that leads to port [`SERVICE`] of the endpoint on [`OPEN`].
pub(super) const PUBLISHED: u16 = 8080;
/// Where that endpoint serves.
pub(super) const SERVICE: u16 = 80;

/// Where the daemon has its files; /run is the soak's own.
const DIRECTORY: &str = "/run/pontoon-soak";

/// Lines of the log that are shown when something is found.
const LAST_WORDS: usize = 20;

/// How long anything may take that should take no time.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Errors
/// It did not within [`PATIENCE`], with what it last said.
pub(super) fn until(
    what: &str,
    mut condition: impl FnMut() -> Result<Result<(), String>, LabError>,
) -> Result<(), LabError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition()? {
            Ok(()) => return Ok(()),
            Err(state) if Instant::now() > end => {
                let seconds = PATIENCE.as_secs();
                return Err(format!("{seconds} s were not enough until {what}: {state}").into());
            }
            // Only so as not to burn the processor that the daemon needs.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// An endpoint that stays, in a sandbox of its own.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) namespace: Namespace,
    pub(super) address: Ipv4Addr,
    /// The name of its port.
    pub(super) port: String,
}

/// Host, outside and stations.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) host: Namespace,
    pub(super) outside: Outside,
    /// The two of [`CLOSED`].
    pub(super) closed: [Station; 2],
    /// The one of [`OPEN`].
    pub(super) open: Station,
}

/// The daemon, a process of this very program ([`super::daemon`]); killed when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Process,
    pub(super) client: Client,
}

impl Daemon {
    /// Starts it on the host and waits until it listens.
    pub(super) fn start(host: &Namespace, sabotage: Option<Sabotage>) -> Result<Daemon, LabError> {
        fs::create_dir_all(DIRECTORY)?;
        let socket = PathBuf::from(DIRECTORY).join("pontoon.sock");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--socket").arg(&socket).arg("daemon").arg("--state").arg(format!("{DIRECTORY}/state"));
        command.args(["--ephemeral", "--docker-plugin", "off"]).env_remove("PONTOON_LOG");
        // What glibc keeps to itself grows with every thread that has a heap of its own, up to eight a CPU, and hides what is lost.
        command.env("MALLOC_ARENA_MAX", "1");
        command.envs(sabotage.map(|what| (super::BREAK, what.name())));
        let mut process = Process::start(command, host.netns(), Path::new(DIRECTORY))?;
        process.wait_until(|| UnixStream::connect(&socket).is_ok())?;
        let client = Client::new(&socket)?;
        Ok(Daemon { process, client })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The lines of its log that tell of a fault.
    pub(super) fn faults(&self) -> io::Result<Vec<String>> {
        let log = fs::read_to_string(self.process.log())?;
        let is_fault = |line: &&str| line.contains(" ERROR ") || line.contains("panicked");
        Ok(log.lines().filter(is_fault).map(str::to_owned).collect())
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.process.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    /// Tells it to end, and waits until it has.
    pub(super) fn end(mut self) -> Result<(), LabError> {
        let status = self.process.terminate(PATIENCE)?;
        if status.success() { Ok(()) } else { Err(format!("the daemon ended with {status}").into()) }
    }

    /// Puts a sandbox on a network, with the name of the sandbox.
    pub(super) fn attach(&self, network: &str, request: &EndpointRequest) -> Result<Endpoint, LabError> {
        Ok(self.client.send(Method::POST, &path(&["networks", network, "endpoints"]), request)?)
    }

    /// Leads a port of the host to an endpoint.
    pub(super) fn publish(
        &self,
        network: &str,
        endpoint: &str,
        ports: &str,
    ) -> Result<Publication, LabError> {
        let request = PublicationRequest {
            endpoint: endpoint.to_owned(),
            ports: ports.parse()?,
            allow: Vec::new(),
            rules: Vec::new(),
        };
        Ok(self.client.send(Method::POST, &path(&["networks", network, "publications"]), &request)?)
    }

    fn station(&self, network: &str, name: &str) -> Result<Station, LabError> {
        let namespace = Namespace::new(name)?;
        // So that nothing speaks there but what the soak lets speak.
        let quiet = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        if Path::new("/proc/sys/net/ipv6").exists() {
            namespace.run(quiet)??;
        }
        let request = EndpointRequest {
            name: Some(name.to_owned()),
            ..EndpointRequest::of(SandboxRef::Netns(namespace.name().to_owned()))
        };
        let endpoint = self.attach(network, &request)?;
        Ok(Station { namespace, address: ipv4(&endpoint)?, port: format!("{network}/{name}") })
    }
}

/// An endpoint's address.
pub(super) fn ipv4(endpoint: &Endpoint) -> Result<Ipv4Addr, LabError> {
    match endpoint.address.addr() {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(format!("{address} is no IPv4 address").into()),
    }
}

impl Site {
    /// A host that reaches the outside, without a daemon yet.
    pub(super) fn host() -> Result<(Namespace, Outside), LabError> {
        let host = Namespace::new("soak-host")?;
        let outside = Outside::behind(&host, Way::Direct(1500))?;
        Ok((host, outside))
    }

    /// The networks and stations that stay.
    pub(super) fn build((host, outside): (Namespace, Outside), daemon: &Daemon) -> Result<Site, LabError> {
        let create = |request: NetworkRequest| -> Result<Network, LabError> {
            Ok(daemon.client.send(Method::POST, "/networks", &request)?)
        };
        let closed = NetworkRequest {
            name: CLOSED.to_owned(),
            subnet: Some("10.88.0.0/24".parse()?),
            host_access: Some(false),
            uplink: Some(Uplink::None),
            resolver: Some(false),
            ..NetworkRequest::default()
        };
        create(closed)?;
        let open = NetworkRequest {
            name: OPEN.to_owned(),
            subnet: Some("10.89.0.0/24".parse()?),
            ..NetworkRequest::default()
        };
        create(open)?;
        let closed = [daemon.station(CLOSED, "one")?, daemon.station(CLOSED, "other")?];
        let open = daemon.station(OPEN, "kept")?;
        daemon.publish(OPEN, "kept", &format!("{PUBLISHED}:{SERVICE}"))?;
        Ok(Site { host, outside, closed, open })
    }

    /// The stations that stay.
    pub(super) fn stations(&self) -> impl Iterator<Item = &Station> {
        self.closed.iter().chain([&self.open])
    }
}
