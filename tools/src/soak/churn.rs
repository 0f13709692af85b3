//! What comes and goes: networks, sandboxes, endpoints, published ports, rules, links and settings, at random from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};

use hyper::Method;
use pontoon::api::types::{
    ConnectRequest, DeviceKind, DisconnectRequest, DnsAnswer, Endpoint, EndpointRequest, FdbEntry,
    FdbRequest, LinkBody, NatMapping, Network, NetworkPatch, NetworkRequest, Port, PortPatch, Rule,
    RuleAction, RuleBody, RuleRequest, SandboxName, SandboxRef, Trace, TraceRequest,
};
use pontoon::cli::client::{ClientError, path};
use pontoon::link::Links;
use pontoon_dataplane::MacAddr;

use super::site::{Daemon, OPEN, PATIENCE, Site, ipv4, until};
use crate::lab::{LabError, Namespace};
use crate::outside::OUTSIDE;
use crate::ping::{self, Pinger};
use crate::random::Random;

/// Networks beside those that stay, at most.
const NETWORKS: usize = 4;
/// Sandboxes beside those that stay, at most.
const SANDBOXES: usize = 10;
/// The first port of the host that is published; each publication takes the next one.
const FIRST_PORT: u32 = 20_000;
/// How many there are: below those that kernels and NAT choose from.
const PORTS: u32 = 10_000;

/// Something that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    AddNetwork,
    RemoveNetwork,
    SetNetwork,
    Attach,
    Connect,
    Detach,
    Disconnect,
    LoseSandbox,
    LoseDevice,
    Publish,
    Unpublish,
    AddRule,
    FlushRules,
    AddLink,
    RemoveLink,
    SetPort,
    AddStatic,
    FlushFdb,
    FlushSessions,
    DownAndUp,
    Talk,
    Ask,
    Refused,
}

/// All of them, the more usual ones more than once.
const ACTS: [Act; 33] = {
    use Act::*;
    [
        AddNetwork,
        AddNetwork,
        RemoveNetwork,
        SetNetwork,
        Attach,
        Attach,
        Attach,
        Attach,
        Connect,
        Connect,
        Detach,
        Detach,
        Disconnect,
        LoseSandbox,
        LoseDevice,
        Publish,
        Publish,
        Unpublish,
        AddRule,
        FlushRules,
        AddLink,
        RemoveLink,
        SetPort,
        SetPort,
        AddStatic,
        FlushFdb,
        FlushSessions,
        DownAndUp,
        Talk,
        Talk,
        Talk,
        Ask,
        Refused,
    ]
};

/// What there is beside what stays.
#[derive(Debug)]
pub(super) struct Churn<'a> {
    site: &'a Site,
    daemon: &'a Daemon,
    random: Random,
    /// What is named next.
    next: u32,
    /// By the names of their namespaces.
    sandboxes: BTreeMap<String, Namespace>,
    /// Names of the networks.
    networks: BTreeSet<String>,
    /// The endpoints that there must be, by their networks and names.
    endpoints: BTreeSet<(String, String)>,
}

impl<'a> Churn<'a> {
    pub(super) fn new(site: &'a Site, daemon: &'a Daemon, seed: u64) -> Churn<'a> {
        let random = Random::new(seed);
        let (sandboxes, networks, endpoints) = Default::default();
        Churn { site, daemon, random, next: 0, sandboxes, networks, endpoints }
    }

    /// Does something, and looks whether there is what there must be. Returns what was done.
    ///
    /// # Errors
    /// What was done, and what was wrong with it.
    pub(super) fn act(&mut self) -> Result<Act, LabError> {
        loop {
            let act = *self.random.pick(&ACTS);
            let there = self.there()?;
            let done = self.attempt(act, &there).and_then(|done| {
                self.check()?;
                Ok(done)
            });
            match done {
                Ok(true) => return Ok(act),
                // There is nothing to do it to.
                Ok(false) => {}
                Err(error) => return Err(format!("{act:?}: {error}").into()),
            }
        }
    }

    /// Removes all that is there, in one of several ways.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub(super) fn clear(&mut self) -> Result<(), LabError> {
        for (network, name) in std::mem::take(&mut self.endpoints) {
            // Others go with their networks.
            if network == OPEN || self.random.chance(1, 2) {
                self.client(Method::DELETE, &path(&["networks", &network, "endpoints", &name]))?;
            }
        }
        for network in std::mem::take(&mut self.networks) {
            self.client(Method::DELETE, &(path(&["networks", &network]) + "?force=true"))?;
        }
        self.client(Method::DELETE, &path(&["networks", OPEN, "rules"]))?;
        self.sandboxes.clear();
        self.check()
    }

    fn client(&self, method: Method, path: &str) -> Result<(), LabError> {
        self.daemon
            .client
            .call(method.clone(), path)
            .map_err(|error| format!("{method} {path}: {error}").into())
    }

    /// The networks that things are done to, as the daemon has them. Of [`OPEN`] without what stays.
    fn there(&self) -> Result<Vec<Network>, LabError> {
        let mut networks: Vec<Network> = self.daemon.client.get("/networks")?;
        networks.retain(|network| network.name == OPEN || self.networks.contains(&network.name));
        for network in &mut networks {
            let kept = |name: &str| format!("{}/{name}", network.name) == self.site.open.port;
            network.endpoints.retain(|endpoint| !kept(&endpoint.name));
            let publications = std::mem::take(&mut network.publications);
            network.publications = publications.into_iter().filter(|it| !kept(&it.endpoint)).collect();
        }
        Ok(networks)
    }

    /// Whether there are the networks and endpoints that there must be, and no others.
    fn check(&self) -> Result<(), LabError> {
        let there = self.there()?;
        let names: BTreeSet<String> =
            there.iter().map(|it| it.name.clone()).filter(|it| it != OPEN).collect();
        let endpoints = there.iter().flat_map(|network| &network.endpoints);
        let endpoints: BTreeSet<_> = endpoints.map(|it| (it.network.clone(), it.name.clone())).collect();
        if names != self.networks {
            return Err(format!("there are the networks {names:?}, and not {:?}", self.networks).into());
        }
        if endpoints != self.endpoints {
            return Err(format!("there are the endpoints {endpoints:?}, and not {:?}", self.endpoints).into());
        }
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Does it, if there is anything to do it to.
    fn attempt(&mut self, act: Act, there: &[Network]) -> Result<bool, LabError> {
        match act {
            Act::AddNetwork | Act::RemoveNetwork | Act::SetNetwork => self.networks(act, there),
            Act::Attach => self.attach(there),
            Act::Connect => self.connect(there),
            Act::Refused => self.refused(there),
            Act::AddRule | Act::FlushRules => self.rules(act, there),
            _ => {
                let endpoints: Vec<(&Network, &Endpoint)> = there
                    .iter()
                    .flat_map(|it| it.endpoints.iter().map(move |endpoint| (it, endpoint)))
                    .collect();
                if endpoints.is_empty() {
                    return Ok(false);
                }
                let (network, endpoint) = *self.random.pick(&endpoints);
                self.of_endpoint(act, network, endpoint)
            }
        }
    }

    fn networks(&mut self, act: Act, there: &[Network]) -> Result<bool, LabError> {
        let client = &self.daemon.client;
        if act == Act::AddNetwork {
            if self.networks.len() == NETWORKS {
                return Ok(false);
            }
            let name = format!("n{}", self.number());
            let [internal, isolated, closed, silent, open_mapping] =
                core::array::from_fn(|_| self.random.chance(1, 4));
            let request = NetworkRequest {
                name: name.clone(),
                internal: internal.then_some(true),
                icc: isolated.then_some(false),
                host_access: (closed && !internal).then_some(false),
                resolver: silent.then_some(false),
                nat_mapping: open_mapping.then_some(NatMapping::EndpointIndependent),
                ..NetworkRequest::default()
            };
            let _: Network = client.send(Method::POST, "/networks", &request)?;
            self.networks.insert(name);
            return Ok(true);
        }
        let own: Vec<&Network> = there.iter().filter(|it| it.name != OPEN).collect();
        if own.is_empty() {
            return Ok(false);
        }
        let name = self.random.pick(&own).name.clone();
        if act == Act::RemoveNetwork {
            self.client(Method::DELETE, &(path(&["networks", &name]) + "?force=true"))?;
            self.networks.remove(&name);
            self.endpoints.retain(|(network, _)| *network != name);
            return Ok(true);
        }
        let patch = NetworkPatch {
            icc: Some(self.random.chance(1, 2)),
            ageing_seconds: Some(self.random.between(1, 600) as u32),
            ..NetworkPatch::default()
        };
        let _: Network = client.send(Method::PATCH, &path(&["networks", &name]), &patch)?;
        Ok(true)
    }

    /// A new sandbox on a network, which asks the gateway at once.
    fn attach(&mut self, there: &[Network]) -> Result<bool, LabError> {
        self.sandboxes.retain(|name, _| {
            let is = |endpoint: &Endpoint| endpoint.sandbox == SandboxRef::Netns(name.clone());
            there.iter().any(|network| network.endpoints.iter().any(is))
        });
        if self.sandboxes.len() == SANDBOXES {
            return Ok(false);
        }
        let network = self.random.pick(there);
        let namespace = Namespace::new("soak")?;
        let request = EndpointRequest {
            name: Some(format!("e{}", self.number())),
            kind: if self.random.chance(1, 4) { DeviceKind::Veth } else { DeviceKind::Tap },
            isolated: self.random.chance(1, 8),
            resolver: self.random.chance(1, 2),
            ..EndpointRequest::of(SandboxRef::Netns(namespace.name().to_owned()))
        };
        let endpoint = self.daemon.attach(&network.name, &request)?;
        self.endpoints.insert((network.name.clone(), endpoint.name));
        let answer = Pinger::new(&namespace, network.gateway)?.ping(network.gateway, 100, PATIENCE)?;
        self.sandboxes.insert(namespace.name().to_owned(), namespace);
        match answer {
            ping::Answer::Reply => Ok(true),
            other => Err(format!("the gateway answers a new endpoint with {other:?}").into()),
        }
    }

    /// Puts a sandbox on one more network.
    fn connect(&mut self, there: &[Network]) -> Result<bool, LabError> {
        let endpoints: Vec<&Endpoint> = there.iter().flat_map(|network| &network.endpoints).collect();
        if endpoints.is_empty() {
            return Ok(false);
        }
        let sandbox = self.random.pick(&endpoints).sandbox.clone();
        let network = self.random.pick(there);
        if network.endpoints.iter().any(|endpoint| endpoint.sandbox == sandbox) {
            return Ok(false);
        }
        let request = ConnectRequest {
            sandbox: SandboxName::from(sandbox),
            name: Some(format!("e{}", self.number())),
            aliases: vec![format!("a{}", self.next)],
            ifname: None,
            ip: None,
            mac: None,
        };
        let target = path(&["networks", &network.name, "connect"]);
        let endpoint: Endpoint = self.daemon.client.send(Method::POST, &target, &request)?;
        self.endpoints.insert((network.name.clone(), endpoint.name));
        Ok(true)
    }

    /// What must be refused, and change nothing.
    fn refused(&mut self, there: &[Network]) -> Result<bool, LabError> {
        let network = self.random.pick(there);
        let request = EndpointRequest {
            name: Some("nobody".to_owned()),
            ip: Some(network.gateway.into()),
            ..EndpointRequest::of(SandboxRef::Netns(self.site.open.namespace.name().to_owned()))
        };
        let target = path(&["networks", &network.name, "endpoints"]);
        match self.daemon.client.send::<_, Endpoint>(Method::POST, &target, &request) {
            Err(ClientError::Refused { status, .. }) if status.is_client_error() => Ok(true),
            Err(error) => Err(error.into()),
            Ok(endpoint) => Err(format!("{} got the gateway's address", endpoint.name).into()),
        }
    }

    /// Rules that match nothing of the load.
    fn rules(&mut self, act: Act, there: &[Network]) -> Result<bool, LabError> {
        let network = self.random.pick(there);
        let target = path(&["networks", &network.name, "rules"]);
        if act == Act::FlushRules {
            self.client(Method::DELETE, &target)?;
            return Ok(true);
        }
        let rule = RuleBody {
            action: RuleAction::Deny,
            from: None,
            to: Some(format!("192.0.2.{}/32", self.random.below(256)).parse()?),
            protocol: None,
            port: None,
        };
        let at = (!network.rules.is_empty()).then_some(1);
        let _: Rule = self.daemon.client.send(Method::POST, &target, &RuleRequest { rule, at })?;
        Ok(true)
    }

    fn of_endpoint(&mut self, act: Act, network: &Network, endpoint: &Endpoint) -> Result<bool, LabError> {
        let client = &self.daemon.client;
        let (net, name) = (network.name.as_str(), endpoint.name.as_str());
        match act {
            Act::Detach => {
                self.client(Method::DELETE, &path(&["networks", net, "endpoints", name]))?;
                self.endpoints.remove(&(net.to_owned(), name.to_owned()));
            }
            Act::Disconnect => {
                let request = DisconnectRequest { sandbox: endpoint.sandbox.clone().into() };
                client.send_only(Method::POST, &path(&["networks", net, "disconnect"]), &request)?;
                self.endpoints.remove(&(net.to_owned(), name.to_owned()));
            }
            Act::LoseSandbox | Act::LoseDevice | Act::DownAndUp | Act::Talk => {
                return self.in_sandbox(act, network, endpoint);
            }
            // Nobody would reach it.
            Act::Publish if network.connection.internal => return Ok(false),
            Act::Publish => {
                let port = FIRST_PORT + self.number() % PORTS;
                let protocol = if self.random.chance(1, 2) { "tcp" } else { "udp" };
                self.daemon.publish(net, name, &format!("{port}:{port}/{protocol}"))?;
            }
            Act::Unpublish => {
                let Some(publication) = network.publications.first() else { return Ok(false) };
                self.client(
                    Method::DELETE,
                    &path(&["networks", net, "publications", &publication.id.to_string()]),
                )?;
            }
            Act::AddLink | Act::RemoveLink => return self.links(act, network, name),
            Act::SetPort => {
                let mut flag = || Some(self.random.chance(3, 4));
                let patch =
                    PortPatch { learning: flag(), flood: flag(), loop_guard: flag(), ..PortPatch::default() };
                let _: Port = client.send(Method::PATCH, &path(&["ports", net, name]), &patch)?;
            }
            Act::AddStatic => {
                let number = self.number().to_be_bytes();
                let mac = MacAddr([0x02, 0x50, number[0], number[1], number[2], number[3]]);
                let port = format!("{net}/{name}");
                let request =
                    FdbRequest { network: net.to_owned(), mac: pontoon::api::types::Mac(mac), port };
                let _: FdbEntry = client.send(Method::POST, "/fdb", &request)?;
            }
            Act::FlushFdb => self.client(Method::POST, &format!("/fdb/flush?network={net}"))?,
            Act::FlushSessions => {
                client
                    .delete::<serde_json::Value>(&format!("/nat/sessions?network={net}&endpoint={name}"))?;
            }
            Act::Ask => self.ask(network, endpoint)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn links(&mut self, act: Act, network: &Network, name: &str) -> Result<bool, LabError> {
        let client = &self.daemon.client;
        let target = path(&["networks", &network.name, "links"]);
        if act == Act::RemoveLink {
            let Some(link) = network.links.first() else { return Ok(false) };
            self.client(Method::DELETE, &format!("{target}?from={}&to={}", link.from, link.to))?;
            return Ok(true);
        }
        let to = self.random.pick(&network.endpoints).name.clone();
        let is_there = network.links.iter().any(|link| link.from == name && link.to == to);
        if to == name || is_there {
            return Ok(false);
        }
        let link = LinkBody { from: name.to_owned(), to, port: None, protocol: None };
        client.send_only(Method::POST, &target, &link)?;
        Ok(true)
    }

    /// Questions that change nothing.
    fn ask(&mut self, network: &Network, endpoint: &Endpoint) -> Result<(), LabError> {
        let (client, name) = (&self.daemon.client, &endpoint.name);
        let question = format!("/dns/query?network={}&name={name}", network.name);
        let answer: DnsAnswer = client.get(&question)?;
        if answer.records.is_empty() {
            return Err(format!("{name} has no address: {}", answer.code).into());
        }
        let request = TraceRequest {
            network: network.name.clone(),
            from: name.clone(),
            packet: Some(format!("tcp {}:40000 > {OUTSIDE}:80", ipv4(endpoint)?)),
            frame: None,
            segment_size: None,
        };
        let _: Trace = client.send(Method::POST, "/trace", &request)?;
        Ok(())
    }

    /// What happens in the sandbox itself, and the daemon is not told of.
    fn in_sandbox(&mut self, act: Act, network: &Network, endpoint: &Endpoint) -> Result<bool, LabError> {
        let SandboxRef::Netns(name) = &endpoint.sandbox else { return Ok(false) };
        let Some(namespace) = self.sandboxes.get(name) else { return Ok(false) };
        let change = |how: fn(&Links, &str) -> Result<(), pontoon::link::LinkError>| {
            namespace.run(|| how(&Links::open()?, &endpoint.ifname))
        };
        match act {
            Act::DownAndUp => {
                change(|links, name| links.set_up(&links.get(name)?, false))??;
                change(|links, name| links.set_up(&links.get(name)?, true))??;
            }
            Act::LoseDevice => {
                change(|links, name| links.delete(&links.get(name)?))??;
                let (network, name) = (network.name.clone(), endpoint.name.clone());
                self.lost(|endpoint| *endpoint == (network.clone(), name.clone()))?;
            }
            Act::LoseSandbox => {
                let there = self.there()?;
                let lost = there.iter().flat_map(|network| &network.endpoints);
                let lost = lost.filter(|it| it.sandbox == endpoint.sandbox);
                let lost: BTreeSet<_> = lost.map(|it| (it.network.clone(), it.name.clone())).collect();
                let name = name.clone();
                self.sandboxes.remove(&name);
                self.lost(|endpoint| lost.contains(endpoint))?;
            }
            _ => talk(namespace, ipv4(endpoint)?, network)?,
        }
        Ok(true)
    }

    /// The daemon must notice that these are gone.
    fn lost(&mut self, is_lost: impl Fn(&(String, String)) -> bool) -> Result<(), LabError> {
        self.endpoints.retain(|endpoint| !is_lost(endpoint));
        until("the daemon noticed the loss", || Ok(self.check().map_err(|error| error.to_string())))
    }
}

/// Datagrams to all kinds of places, whoever listens there; sessions are left behind.
fn talk(from: &Namespace, own: Ipv4Addr, network: &Network) -> Result<(), LabError> {
    let socket = from.run(|| UdpSocket::bind((own, 0)))??;
    let neighbours = network.endpoints.iter().filter_map(|endpoint| ipv4(endpoint).ok());
    for target in [OUTSIDE, network.gateway].into_iter().chain(neighbours) {
        for size in [10, 1000, 3000] {
            // Refused by rules, routes or a host that listens not: that is not what is looked for.
            let _ = socket.send_to(&vec![0x5a; size], (target, 4242));
        }
    }
    Ok(())
}
