//! Pontoon: a daemon of this very binary, with socket and state of its own.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use hyper::Method;

use crate::api::types::{DeviceKind, Endpoint, EndpointRequest, Network, NetworkRequest, SandboxRef};
use crate::bench::contender::{Contender, Switch};
use crate::bench::error::{BenchError, cannot};
use crate::bench::lab::{MTU, Namespace, SUBNET, Site, Station, address, station};
use crate::bench::process::{Process, directory};
use crate::cli::client::{Client, path};

const NETWORK: &str = "bench";

/// Pontoon as a contender.
#[derive(Debug)]
pub(super) struct Daemon {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: DeviceKind,
}

impl Contender for Daemon {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn start(&self, host: &Namespace, _: Site) -> Result<Box<dyn Switch>, BenchError> {
        let directory = directory(host.name())?;
        let socket = directory.join("pontoon.sock");
        let mut command = Command::new(own_program()?);
        command.arg("--socket").arg(&socket).arg("daemon").arg("--state").arg(directory.join("state"));
        command.args(["--ephemeral", "--docker-plugin", "off"]);
        let mut process = Process::start(command, host.netns(), &directory)?;
        process.wait_until(|| UnixStream::connect(&socket).is_ok())?;
        let client = Client::new(&socket)?;
        let request = NetworkRequest {
            name: NETWORK.to_owned(),
            subnet: SUBNET.parse().ok(),
            mtu: Some(MTU),
            ..NetworkRequest::default()
        };
        let _: Network = client.send(Method::POST, "/networks", &request)?;
        Ok(Box::new(Running { process, client, kind: self.kind }))
    }
}

/// The file of the running program.
fn own_program() -> Result<PathBuf, BenchError> {
    std::env::current_exe().map_err(cannot("find pontoon's own program"))
}

struct Running {
    process: Process,
    client: Client,
    kind: DeviceKind,
}

fn name(number: usize) -> String {
    format!("sandbox{number}")
}

impl Switch for Running {
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError> {
        let request = EndpointRequest {
            name: Some(name(number)),
            ip: Some(IpAddr::V4(address(number))),
            kind: self.kind,
            ..EndpointRequest::of(SandboxRef::Netns(namespace.name().to_owned()))
        };
        let target = path(&["networks", NETWORK, "endpoints"]);
        let _: Endpoint = self.client.send(Method::POST, &target, &request)?;
        station(namespace, number)
    }

    fn detach(&mut self, number: usize) -> Result<(), BenchError> {
        Ok(self.client.call(Method::DELETE, &path(&["networks", NETWORK, "endpoints", &name(number)]))?)
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.process.id()]
    }
}
