//! The commands that are requests to the daemon.

mod dns;
mod edge;

use std::path::Path;

use hyper::Method;
use serde::Serialize;

use super::args::{
    AttachArgs, CreateArgs, DetachArgs, EventsArgs, FdbCommand, KnownSandboxArgs, NetworkCommand,
    PortCommand, StatsArgs,
};
use super::client::{Client, encode, path};
use super::output::{self, Output};
use super::show;
use crate::api::types::{
    Applied, ConnectRequest, DisconnectRequest, Document, Endpoint, EndpointRequest, Event, FdbEntry,
    FdbRequest, Inspected, Interface, InterfaceRequest, Network, NetworkPatch, NetworkRequest, Port,
    SandboxName, SandboxRef, Stats,
};
use crate::failure::Failure;
use crate::names;

type Done = Result<(), Failure>;

/// `{"removed": …}`, what removing commands print with `--json`.
#[derive(Serialize)]
struct Removed<'a> {
    removed: &'a str,
}

/// `{"flushed": …}`, what `fdb flush` prints with `--json`.
#[derive(Serialize)]
struct Flushed<'a> {
    flushed: &'a str,
}

/// The daemon as the commands see it: where to ask, and where the answer is printed.
#[derive(Debug)]
pub struct Session {
    client: Client,
    out: Output,
}

impl Session {
    /// A session with the daemon on `socket`.
    ///
    /// # Errors
    /// When the client cannot start.
    pub fn new(socket: &Path, out: Output) -> Result<Session, Failure> {
        Ok(Session { client: Client::new(socket)?, out })
    }

    /// `pontoon network …`.
    ///
    /// # Errors
    /// The daemon's refusal, or that it cannot be reached; so for all commands.
    pub fn network(&self, command: NetworkCommand) -> Done {
        match command {
            NetworkCommand::Create(args) => {
                let request = creation(*args);
                let made: Network = self.client.send(Method::POST, "/networks", &request)?;
                self.out.show(&made, || {
                    let words = format!("network {}: {}, gateway {}\n", made.name, made.subnet, made.gateway);
                    words + &show::note(made.note.as_ref())
                })
            }
            NetworkCommand::Ls { list } => {
                let all: Vec<Network> = self.client.get("/networks")?;
                self.out.list(&all, list.quiet, |network| network.name.clone(), show::networks)
            }
            NetworkCommand::Show { name } => {
                let network: Network = self.client.get(&path(&["networks", &name]))?;
                self.out.show(&network, || show::network(&network))
            }
            NetworkCommand::Inspect { names } => {
                let inspect = |name: &String| self.client.get(&path(&["networks", name, "inspect"]));
                let all: Vec<Inspected> = names.iter().map(inspect).collect::<Result<_, _>>()?;
                output::inspect(&all)
            }
            NetworkCommand::Connect(args) => {
                let args = *args;
                let request = ConnectRequest {
                    sandbox: sandbox_name(args.sandbox)?,
                    name: args.name,
                    aliases: args.aliases,
                    ifname: args.ifname,
                    ip: args.ip,
                    mac: args.mac,
                };
                let target = path(&["networks", &args.network, "connect"]);
                let made: Endpoint = self.client.send(Method::POST, &target, &request)?;
                self.out.show(&made, || show::endpoint(&made))
            }
            NetworkCommand::Disconnect { network, sandbox } => {
                let request = DisconnectRequest { sandbox: sandbox_name(sandbox)? };
                let target = path(&["networks", &network, "disconnect"]);
                self.client.send_only(Method::POST, &target, &request)?;
                let removed = describe(&request.sandbox);
                self.out.show(&Removed { removed: &removed }, || {
                    format!("{removed} is off the network {network}\n")
                })
            }
            NetworkCommand::Rm { name, force } => {
                let query = if force { "?force=true" } else { "" };
                self.remove(&(path(&["networks", &name]) + query), &name, &format!("network {name} removed"))
            }
            NetworkCommand::Set { name, ageing, connection } => {
                let patch = connection.patch(ageing);
                let network: Network =
                    self.client.send(Method::PATCH, &path(&["networks", &name]), &patch)?;
                self.out.show(&network, || {
                    format!("network {name}: {}\n", show::patch(&patch)) + &show::note(network.note.as_ref())
                })
            }
        }
    }

    /// `pontoon attach`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn attach(&self, args: AttachArgs) -> Done {
        let sandbox = match args.sandbox.reference() {
            // The daemon has another working directory than we have.
            Some(SandboxRef::Netns(name)) if name.contains('/') => {
                let file = absolute(&name)?;
                if args.name.is_none() {
                    check_nameable(&file)?;
                }
                SandboxRef::Netns(file)
            }
            Some(reference) => reference,
            None => return Err(Failure::sentence("say --netns NAME or --pid PID")),
        };
        let request = EndpointRequest {
            name: args.name,
            id: None,
            aliases: args.aliases,
            sandbox,
            ifname: args.ifname,
            ip: args.ip,
            leased: false,
            mac: args.mac,
            kind: args.kind.into(),
            isolated: args.isolated,
            resolver: args.resolver,
            dns: args.dns.into_iter().flat_map(|it| it.0).collect(),
        };
        let target = path(&["networks", &args.network, "endpoints"]);
        let made: Endpoint = self.client.send(Method::POST, &target, &request)?;
        self.out.show(&made, || show::endpoint(&made))
    }

    /// `pontoon detach`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn detach(&self, args: &DetachArgs) -> Done {
        let target = path(&["networks", &args.network, "endpoints", &args.endpoint]);
        let name = format!("{}/{}", args.network, args.endpoint);
        self.remove(&target, &name, &format!("{name} detached"))
    }

    /// `pontoon port …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn port(&self, command: PortCommand) -> Done {
        match command {
            PortCommand::Add { network, interface } => {
                let target = path(&["networks", &network, "interfaces"]);
                let made: Interface =
                    self.client.send(Method::POST, &target, &InterfaceRequest { interface })?;
                self.out.show(&made, || format!("{}/{} is a port now\n", made.network, made.interface))
            }
            PortCommand::Rm { port, interface } => {
                let port = interface.map_or(port.clone(), |interface| format!("{port}/{interface}"));
                let (network, interface) = split_port(&port)?;
                let target = path(&["networks", network, "interfaces", interface]);
                self.remove(&target, &port, &format!("{port} is no port any more"))
            }
            PortCommand::Ls { network, list } => {
                let mut all: Vec<Port> = self.client.get("/ports")?;
                self.only(network, &mut all, |port| &port.network)?;
                self.out.list(&all, list.quiet, |port| port.port.clone(), show::ports)
            }
            PortCommand::Set { port, flag, value } => {
                let (network, name) = split_port(&port)?;
                let target = path(&["ports", network, name]);
                let patch = flag.patch(value).map_err(Failure::Sentence)?;
                let port: Port = self.client.send(Method::PATCH, &target, &patch)?;
                self.out.show(&port, || show::ports(std::slice::from_ref(&port)))
            }
        }
    }

    /// `pontoon fdb …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn fdb(&self, command: FdbCommand) -> Done {
        match command {
            FdbCommand::Ls { network, quiet } => {
                let mut all: Vec<FdbEntry> = self.client.get("/fdb")?;
                self.only(network, &mut all, |entry| &entry.network)?;
                self.out.list(&all, quiet, |entry| entry.mac.to_string(), show::fdb)
            }
            FdbCommand::Add { network, mac, port } => {
                let request = FdbRequest { network, mac, port };
                let entry: FdbEntry = self.client.send(Method::POST, "/fdb", &request)?;
                self.out.show(&entry, || show::fdb(std::slice::from_ref(&entry)))
            }
            FdbCommand::Rm { network, mac } => {
                let mac = mac.to_string();
                self.remove(&path(&["fdb", &network, &mac]), &mac, &format!("{network}: {mac} removed"))
            }
            FdbCommand::Flush { network, port } => {
                let query = port.as_ref().map(|p| format!("?port={}", encode(p))).unwrap_or_default();
                self.client.call(Method::DELETE, &(path(&["fdb", &network]) + &query))?;
                let flushed = port.as_ref().unwrap_or(&network);
                self.out.show(&Flushed { flushed }, || format!("{flushed}: learned entries forgotten\n"))
            }
        }
    }

    /// `pontoon stats`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn stats(&self, args: StatsArgs) -> Done {
        let mut stats: Stats = self.client.get("/stats")?;
        self.only(args.network.clone(), &mut stats.ports, |port| &port.network)?;
        if let Some(network) = args.network {
            stats.fdbs.retain(|fdb| fdb.network == network);
            stats.uplinks.clear();
        }
        self.out.show(&stats, || show::stats(&stats))
    }

    /// `pontoon events`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn events(&self, args: &EventsArgs) -> Done {
        if args.no_follow {
            let all: Vec<Event> = self.client.get("/events")?;
            return all.iter().try_for_each(|event| self.out.line(event, || show::event(event)));
        }
        self.client.lines("/events?follow=true", |line| {
            let event: Event = serde_json::from_str(line)
                .map_err(|e| Failure::Sentence(format!("the daemon sent an event that is none: {e}")))?;
            self.out.line(&event, || show::event(&event))
        })?
    }

    /// `pontoon up` and, with `DELETE`, `pontoon down`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn apply(&self, method: Method, document: &Document) -> Done {
        let nothing = if method == Method::DELETE {
            "nothing to do: nothing of it is there\n"
        } else {
            "nothing to do: everything is as declared\n"
        };
        let applied: Applied = self.client.send(method, "/apply", document)?;
        self.out.show(&applied, || {
            if applied.changes.is_empty() { nothing.to_owned() } else { applied.changes.join("\n") + "\n" }
        })
    }

    fn remove(&self, target: &str, name: &str, sentence: &str) -> Done {
        self.client.call(Method::DELETE, target)?;
        self.out.show(&Removed { removed: name }, || format!("{sentence}\n"))
    }

    /// Keeps what belongs to `network`, which must exist: a misspelt name is an error, not an empty list.
    fn only<T>(&self, network: Option<String>, items: &mut Vec<T>, of: impl Fn(&T) -> &String) -> Done {
        if let Some(network) = network {
            let _: Network = self.client.get(&path(&["networks", &network]))?;
            items.retain(|item| *of(item) == network);
        }
        Ok(())
    }
}

/// The sandbox as the API names it. The daemon has another working directory than we have.
fn sandbox_name(args: KnownSandboxArgs) -> Result<SandboxName, Failure> {
    match (args.known, args.netns, args.pid) {
        (_, Some(netns), _) if netns.contains('/') => absolute(&netns).map(SandboxName::Netns),
        (_, Some(netns), _) => Ok(SandboxName::Netns(netns)),
        (_, _, Some(pid)) => Ok(SandboxName::Pid(pid)),
        (Some(known), ..) => Ok(SandboxName::Name(known)),
        _ => Err(Failure::sentence("say SANDBOX, --netns NAME or --pid PID")),
    }
}

fn describe(sandbox: &SandboxName) -> String {
    match sandbox {
        SandboxName::Name(name) | SandboxName::Netns(name) => name.clone(),
        SandboxName::Pid(pid) => format!("pid {pid}"),
    }
}

fn creation(args: CreateArgs) -> NetworkRequest {
    let NetworkPatch {
        ageing_seconds,
        host_access,
        uplink,
        internal,
        icc,
        snat_ip,
        nat_mapping,
        resolver,
        dns,
    } = args.connection.patch(args.ageing);
    NetworkRequest {
        name: args.name,
        id: None,
        subnet: args.subnet,
        ip_range: args.ip_range,
        pooled: false,
        gateway: args.gateway,
        aux_addresses: args.aux_addresses.into_iter().collect(),
        driver: args.driver,
        attachable: args.attachable.then_some(true),
        ipv6: args.ipv6.then_some(true),
        labels: args.labels.into_iter().collect(),
        options: args.options.into_iter().collect(),
        mtu: args.mtu,
        ageing_seconds,
        host_access,
        uplink,
        internal,
        icc,
        snat_ip,
        nat_mapping,
        resolver,
        dns,
    }
}

fn split_port(port: &str) -> Result<(&str, &str), Failure> {
    port.split_once('/').filter(|(network, name)| !network.is_empty() && !name.is_empty()).ok_or_else(|| {
        Failure::Sentence(format!(
            "\"{port}\" names no port; write NETWORK/NAME, as `pontoon port ls -q` prints it"
        ))
    })
}

/// Whether an endpoint can be called after the last part of a namespace's path. What is no file can be no namespace,
/// and is said first.
fn check_nameable(file: &str) -> Done {
    let last = file.rsplit('/').next().unwrap_or_default();
    // What cannot be looked at from here the daemon may see.
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            Err(Failure::Sentence(format!("{file} is not a network namespace")))
        }
        Ok(_) if names::check("an endpoint", last).is_err() => {
            Err(Failure::sentence("give the endpoint a name with --name"))
        }
        _ => Ok(()),
    }
}

fn absolute(file: &str) -> Result<String, Failure> {
    let path = std::path::absolute(file)
        .map_err(|e| Failure::Sentence(format!("cannot make the path {file} absolute: {e}")))?;
    Ok(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_only_when_the_path_may_be_a_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("odd name");
        std::fs::write(&odd, "").unwrap();
        let says = |file: &str| check_nameable(file).map_err(|failure| failure.to_string());
        assert_eq!(says("/").unwrap_err(), "/ is not a network namespace");
        assert_eq!(says(odd.to_str().unwrap()).unwrap_err(), "give the endpoint a name with --name");
        assert_eq!(says("/proc/self/ns/net"), Ok(()));
        assert_eq!(says("/no/such/file"), Ok(()));
    }

    #[test]
    fn ports_are_named_by_network_and_name() {
        assert_eq!(split_port("blue/web").unwrap(), ("blue", "web"));
        for bad in ["blue", "/web", "blue/", "/", ""] {
            let sentence = split_port(bad).unwrap_err().to_string();
            assert!(sentence.contains("write NETWORK/NAME"), "{sentence}");
        }
    }
}
