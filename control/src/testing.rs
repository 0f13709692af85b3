//! A world made of plain data, for tests: every step can be made to fail, and what is left can be looked at.

mod lab;
mod there;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use ipnet::Ipv4Net;
use pontoon_dataplane::counters::CounterSum;
use pontoon_dataplane::edge::tuple::{Protocol, Tuple};
use pontoon_dataplane::edge::view::SessionView;
use pontoon_dataplane::engine::{Event, Reader};
use pontoon_dataplane::fdb::FdbStats;
use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::port::memory::OwnedFrame;
use pontoon_dataplane::trace::{Leaving, Trace};
use pontoon_dataplane::{MacAddr, PortId, Verdict};

use crate::api::types::{DeviceKind, SandboxRef, Uplink, UplinkState};
use crate::dns::decide::{Decision, decide};
use crate::dns::message::Transport;
use crate::dns::zone::{Asker, Zone};
use crate::error::{Error, describe};
use crate::link::{HostStack, Link};
use crate::netns::{NetnsError, NetnsId};
use crate::plan::{PublicationPlan, ResolverPlan, Step};
use crate::state::{PortName, RulesOf};
use crate::store::EndpointRecord;
use crate::world::{FdbView, Ingress, NatUse, NatView, Remains, ResolverView, TraceView, World};

pub(crate) use lab::{Lab, endpoint, endpoint_record, network, network_record};
pub(crate) use there::There;
use there::names_of;

/// What the host's IP stack makes of an interface that is no port.
pub(crate) const USUAL: HostStack = HostStack { arp: true, rp_filter: 2 };

#[derive(Debug, Default)]
pub(crate) struct FakeWorld {
    pub(crate) there: Mutex<There>,
    /// How many more steps succeed before one fails; none: all do.
    pub(crate) fail_after: Mutex<Option<usize>>,
    /// A step waits here until it can lock this.
    pub(crate) gate: Mutex<()>,
    pub(crate) taken: Mutex<Vec<Step>>,
    /// Ports of the host that others have, with their names.
    pub(crate) busy: Mutex<BTreeMap<u16, String>>,
    pub(crate) interface_changes: Mutex<u64>,
    /// The names that can be asked for, a line each.
    pub(crate) names: Mutex<Vec<String>>,
    pub(crate) neighbours: Mutex<ArpTables>,
}

/// MACs by ARP tables: an endpoint's (none: the host's), on which interface, of which address.
pub(crate) type ArpTables = BTreeMap<(Option<String>, String, Ipv4Addr), MacAddr>;

impl FakeWorld {
    /// A machine with namespaces of these names and one interface, `nic0`, that is down.
    pub(crate) fn with_namespaces(names: &[&str]) -> Arc<FakeWorld> {
        let world = FakeWorld::default();
        {
            let mut there = world.there.lock().unwrap();
            for (number, name) in names.iter().enumerate() {
                there
                    .namespaces
                    .insert((*name).into(), NetnsId { dev: 4, ino: 100 + number as u64, boot: 1 });
            }
            there.devices.insert((None, "nic0".into()));
        }
        Arc::new(world)
    }

    /// What a daemon that ended leaves: the machine's part.
    pub(crate) fn without_daemon(&self) {
        let mut there = self.there.lock().unwrap();
        there.networks.clear();
        there.connections.clear();
        there.host_ports.clear();
        there.rules.clear();
        there.links.clear();
        there.published.clear();
        there.resolvers.clear();
        there.opened.clear();
        there.ports.clear();
        there.statics.clear();
        there.names.clear();
    }

    pub(crate) fn delete_namespace(&self, name: &str) {
        let mut there = self.there.lock().unwrap();
        let gone = there.namespaces.remove(name).unwrap();
        there.devices.retain(|(place, _)| *place != Some(gone.ino));
    }

    pub(crate) fn snapshot(&self) -> There {
        self.there.lock().unwrap().clone()
    }

    fn netns(&self, sandbox: &SandboxRef) -> Result<NetnsId, Error> {
        let SandboxRef::Netns(name) = sandbox else {
            return Err(NetnsError::NoSuchProcess(0).into());
        };
        let missing = || NetnsError::NoSuchName { name: name.clone() }.into();
        self.there.lock().unwrap().namespaces.get(name).copied().ok_or_else(missing)
    }
}

impl World for FakeWorld {
    fn perform(&self, step: &Step) -> Result<(), Error> {
        let _open = self.gate.lock().unwrap();
        if let Some(left) = &mut *self.fail_after.lock().unwrap() {
            if *left == 0 {
                // Undoing works.
                *left = usize::MAX;
                return Err(Error::Internal("told to fail".into()));
            }
            *left -= 1;
        }
        self.taken.lock().unwrap().push(step.clone());
        let mut there = self.there.lock().unwrap();
        match step {
            Step::Store(_) => panic!("the world has no store"),
            Step::CreateNamespace(name) => {
                let ino = 500 + there.namespaces.len() as u64;
                assert_eq!(there.namespaces.insert(name.clone(), NetnsId { dev: 4, ino, boot: 1 }), None);
            }
            Step::DeleteNamespace(name) => {
                there.namespaces.remove(name);
            }
            Step::AddNetwork(record) => {
                assert!(there.networks.insert(record.name.clone()));
                there.connections.insert(record.name.clone(), record.connection.clone());
            }
            Step::RemoveNetwork(record) => {
                assert!(!there.host_ports.contains(&record.name), "its ports go first");
                assert!(!there.resolvers.contains(&(Some(record.name.clone()), None)), "and its resolver");
                assert!(there.networks.remove(&record.name));
                there.connections.remove(&record.name);
                there.rules.remove(&record.name);
            }
            Step::SetNetwork { after, .. } => {
                assert!(there.networks.contains(&after.name));
                there.connections.insert(after.name.clone(), after.connection.clone());
            }
            Step::AddHostPort(record) => {
                assert!(there.networks.contains(&record.name));
                assert!(there.host_ports.insert(record.name.clone()));
                there.devices.insert((None, record.host_interface.clone().unwrap()));
            }
            Step::RemoveHostPort(record) => {
                there.host_ports.remove(&record.name);
                there.devices.remove(&(None, record.host_interface.clone().unwrap()));
            }
            Step::SetRules { of: RulesOf { network, publication: None }, before, after } => {
                assert_eq!(there.rules.get(network).cloned().unwrap_or_default(), *before);
                there.rules.insert(network.clone(), after.clone());
                there.rules.retain(|_, rules| !rules.is_empty());
            }
            Step::SetRules { of: RulesOf { publication: Some(id), .. }, before, after } => {
                if let Some(published) = there.published.get_mut(id) {
                    assert_eq!(published.record.rules, *before);
                    published.record.rules.clone_from(after);
                }
            }
            Step::SetLinks { network, after, .. } => {
                there.links.retain(|it| it.network != *network);
                there.links.extend(after.iter().cloned());
            }
            Step::AddResolver(ResolverPlan::Gateway(record)) => {
                assert!(there.networks.contains(&record.name));
                assert!(there.resolvers.insert((Some(record.name.clone()), None)));
            }
            Step::AddResolver(ResolverPlan::Sandbox { netns, .. }) => {
                assert!(there.namespaces.values().any(|it| it == netns));
                assert!(there.resolvers.insert((None, Some(*netns))));
            }
            Step::RemoveResolver(ResolverPlan::Gateway(record)) => {
                there.resolvers.remove(&(Some(record.name.clone()), None));
            }
            Step::RemoveResolver(ResolverPlan::Sandbox { netns, .. }) => {
                there.resolvers.remove(&(None, Some(*netns)));
            }
            Step::Publish(plan) => there.publish(plan, &self.busy.lock().unwrap())?,
            Step::Unpublish(plan) => {
                there.published.remove(&plan.record.id);
            }
            Step::Republish { before, after } => {
                assert_eq!(there.published.insert(after.record.id, after.clone()).as_ref(), Some(before));
            }
            Step::CreateDevice(plan) => {
                let [unready, _] = names_of(&plan.endpoint);
                // One that Docker gave back is replaced.
                assert!(there.devices.insert(unready) || plan.endpoint.docker);
                there.opened.insert(plan.endpoint.port());
            }
            Step::ConfigureDevice(plan) => {
                let [unready, ready] = names_of(&plan.endpoint);
                assert!(there.devices.remove(&unready));
                assert!(there.devices.insert(ready));
                if plan.endpoint.default_route {
                    there.add_route(plan);
                }
            }
            Step::AddDefaultRoute(plan) => there.add_route(plan),
            Step::RemoveDefaultRoute(plan) => there.remove_route(&plan.endpoint),
            Step::OpenDevice(plan) => {
                assert!(there.devices.contains(&names_of(&plan.endpoint)[1]));
                there.opened.insert(plan.endpoint.port());
            }
            Step::DeleteDevice(endpoint) => {
                assert!(!there.ports.contains_key(&endpoint.port()), "a port's device is closed first");
                there.opened.remove(&endpoint.port());
                for name in names_of(endpoint) {
                    there.devices.remove(&name);
                }
                there.remove_route(endpoint);
            }
            Step::DeleteReserved(reservation) => {
                there.devices.remove(&(None, reservation.device.clone()));
            }
            Step::ServeNames(sandbox) => {
                there.names.insert(describe(sandbox));
            }
            Step::EndNames(sandbox) => {
                there.names.remove(&describe(sandbox));
            }
            Step::OpenInterface(record) => {
                assert!(there.up.contains(&record.interface));
                assert!(there.kept_off.contains(&record.interface));
                there.opened.insert(record.port());
            }
            Step::CloseDevice(port) => {
                there.opened.remove(port);
            }
            Step::SetLinkUp { interface, up: true } => assert!(there.up.insert(interface.clone())),
            Step::SetLinkUp { interface, up: false } => assert!(there.up.remove(interface)),
            Step::SetHostStack { interface, after: HostStack::KEPT_OFF, .. } => {
                there.kept_off.insert(interface.clone());
            }
            Step::SetHostStack { interface, after, .. } => {
                assert_eq!(*after, USUAL);
                there.kept_off.remove(interface);
            }
            Step::AddPort(plan) => {
                assert!(there.networks.contains(&plan.port.network));
                assert!(there.opened.remove(&plan.port));
                there.ports.insert(plan.port.clone(), (plan.settings, plan.identity.clone()));
            }
            Step::RemovePort(port) => {
                let of = |plan: &&PublicationPlan| {
                    PortName::new(&plan.record.network, &plan.record.endpoint) == *port
                };
                assert!(!there.published.values().any(|plan| of(&plan)), "what it publishes goes first");
                there.opened.remove(port);
                there.ports.remove(port);
                there.statics.retain(|(network, _), of| (network, &*of) != (&port.network, &port.port));
            }
            Step::SetPort { port, after, .. } => there.ports.get_mut(port).unwrap().0 = *after,
            Step::SetIdentity { port, after, .. } => {
                if let Some(there) = there.ports.get_mut(port) {
                    there.1.clone_from(after);
                }
            }
            Step::AddStatic(record) => {
                assert!(there.ports.contains_key(&PortName::new(&record.network, &record.port)));
                there.statics.insert((record.network.clone(), record.mac.0), record.port.clone());
            }
            Step::RemoveStatic(record) => {
                assert!(there.statics.remove(&(record.network.clone(), record.mac.0)).is_some());
            }
            Step::Announce(network) => assert!(there.networks.contains(network)),
        }
        Ok(())
    }

    fn sandbox(&self, sandbox: &SandboxRef) -> Result<NetnsId, Error> {
        self.netns(sandbox)
    }

    fn link(&self, sandbox: Option<&SandboxRef>, name: &str) -> Result<Option<Link>, Error> {
        let place = sandbox.map(|sandbox| self.netns(sandbox)).transpose()?.map(|id| id.ino);
        let there = self.there.lock().unwrap();
        let link = Link {
            index: 7,
            name: name.to_owned(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 7])),
            mtu: 1500,
            up: there.up.contains(name),
            kind: String::new(),
            loopback: name == "lo",
            enslaved: false,
            peer: None,
            alias: String::new(),
            host_stack: there.host_stack(name),
        };
        Ok((name == "lo" || there.devices.contains(&(place, name.to_owned()))).then_some(link))
    }

    fn interface_names(&self, sandbox: &SandboxRef) -> Result<BTreeSet<String>, Error> {
        let place = Some(self.netns(sandbox)?.ino);
        let there = self.there.lock().unwrap();
        let here = there.devices.iter().filter(|(of, _)| *of == place).map(|(_, name)| name.clone());
        Ok(here.chain(["lo".to_owned()]).collect())
    }

    fn remains(&self, endpoint: &EndpointRecord) -> Result<Remains, Error> {
        let there = self.there.lock().unwrap();
        if !endpoint.docker && !there.namespaces.values().any(|id| *id == endpoint.netns) {
            return Ok(Remains::Nothing);
        }
        let found = names_of(endpoint).iter().any(|name| there.devices.contains(name));
        Ok(if found { Remains::All } else { Remains::Sandbox })
    }

    /// Devices are numbered as the last byte of their endpoint's address is; the other end of a veth comes next.
    fn place(&self, endpoint: &EndpointRecord) -> Option<Link> {
        let link = self.link(Some(&endpoint.sandbox), &endpoint.ifname).ok()??;
        let index = u32::from(endpoint.address.octets()[3]);
        Some(Link { index, peer: (endpoint.kind == DeviceKind::Veth).then_some(index + 1), ..link })
    }

    fn own_netns(&self) -> u64 {
        1
    }

    fn namespace_is(&self, name: &str, netns: NetnsId) -> bool {
        self.there.lock().unwrap().namespaces.get(name) == Some(&netns)
    }

    fn orphans(&self) -> Vec<PortName> {
        Vec::new()
    }

    fn set_names(&self, names: Zone) {
        let line = |(network, name, address)| format!("{network}: {name} {address}");
        *self.names.lock().unwrap() = names.names().into_iter().map(line).collect();
    }

    fn resolver(&self) -> ResolverView {
        ResolverView::default()
    }

    /// There are no names.
    fn ask(&self, asker: Asker, message: &[u8]) -> Option<(Vec<u8>, bool)> {
        match decide(&Zone::default(), &asker, Transport::Udp, message) {
            Decision::Answer(answer, _) => Some((answer, false)),
            Decision::Forward(_) | Decision::Ignore(_) => None,
        }
    }

    fn events(&self) -> Receiver<Event> {
        never()
    }

    /// Ports are numbered in the order of their names.
    fn name_of(&self, id: PortId) -> Option<PortName> {
        self.there.lock().unwrap().ports.keys().nth(id.index()).cloned()
    }

    fn set_blocked(&self, port: &PortName, blocked: bool) -> Result<(), Error> {
        let mut there = self.there.lock().unwrap();
        match blocked && there.ports.contains_key(port) {
            true => there.blocked.insert(port.clone()),
            false => there.blocked.remove(port),
        };
        Ok(())
    }

    fn is_blocked(&self, port: &PortName) -> bool {
        self.there.lock().unwrap().blocked.contains(port)
    }

    fn reader(&self, port: &PortName) -> Option<usize> {
        self.there.lock().unwrap().ports.contains_key(port).then_some(0)
    }

    fn offloads(&self, port: &PortName) -> Option<Offloads> {
        self.there.lock().unwrap().ports.contains_key(port).then_some(Offloads::ALL)
    }

    fn counters(&self, port: &PortName) -> Option<CounterSum> {
        self.there.lock().unwrap().ports.contains_key(port).then(CounterSum::default)
    }

    fn fdb(&self, network: &str) -> Result<Vec<FdbView>, Error> {
        let there = self.there.lock().unwrap();
        let here = there.statics.iter().filter(|((of, _), _)| of == network);
        let view = |((network, mac), port): (&(String, MacAddr), &String)| FdbView {
            mac: *mac,
            port: PortName::new(network, port),
            kind: "static",
            age: None,
        };
        Ok(here.map(view).collect())
    }

    fn fdb_counts(&self, _: &str) -> Result<FdbStats, Error> {
        Ok(FdbStats::default())
    }

    fn forget_behind_lost_links(&self) {}

    fn set_reader(&self, _: PortId, _: Reader) {}

    fn flush(&self, _: &str, _: Option<&PortName>) -> Result<(), Error> {
        Ok(())
    }

    fn forget(&self, _: &str, _: MacAddr) -> Result<bool, Error> {
        Ok(false)
    }

    fn workers(&self) -> usize {
        1
    }

    fn free_host_interface(&self, network: &str, wish: Option<&str>) -> Result<String, Error> {
        Ok(wish.map_or_else(|| format!("ptn-{network}"), str::to_owned))
    }

    fn check_subnet(&self, subnet: Ipv4Net, _: Ipv4Addr, _: Option<&str>) -> Result<(), Error> {
        let taken = subnet == "192.0.2.0/24".parse().unwrap();
        if taken { Err(Error::Conflict("the host is on it".into())) } else { Ok(()) }
    }

    fn subnets_in_use(&self) -> Result<Vec<Ipv4Net>, Error> {
        Ok(vec!["192.0.2.0/24".parse().unwrap(), "172.17.0.0/24".parse().unwrap()])
    }

    fn default_mtu(&self, uplink: &Uplink) -> Result<Option<u32>, Error> {
        Ok(match uplink {
            Uplink::Interface(name) => self.link(None, name)?.map(|link| link.mtu),
            Uplink::Auto | Uplink::None => Some(1420),
        })
    }

    fn has_address(&self, address: Ipv4Addr) -> bool {
        address == Ipv4Addr::new(198, 51, 100, 1)
    }

    fn interface_changes(&self) -> u64 {
        *self.interface_changes.lock().unwrap()
    }

    fn uplinks(&self) -> Vec<UplinkState> {
        let addresses = vec!["198.51.100.1/24".parse().unwrap()];
        vec![UplinkState { interface: "nic1".into(), addresses, mtu: 1420, up: true }]
    }

    fn uplink_counters(&self) -> BTreeMap<String, CounterSum> {
        BTreeMap::from([("nic1".to_owned(), CounterSum::default())])
    }

    /// Each rule decided as many sessions as its number says.
    fn rule_hits(&self, of: &RulesOf) -> BTreeMap<u32, u64> {
        let there = self.there.lock().unwrap();
        let rules = match of.publication {
            None => there.rules.get(&of.network),
            Some(id) => there.published.get(&id).map(|it| &it.record.rules),
        };
        rules.into_iter().flatten().map(|it| (it.id, u64::from(it.id))).collect()
    }

    /// One session of each port.
    fn sessions(
        &self,
        endpoint: Option<&PortName>,
        from: u32,
        max: usize,
    ) -> Result<(Vec<NatView>, Option<u32>), Error> {
        let all: Vec<NatView> = (0..).zip(self.there.lock().unwrap().ports.keys()).map(session).collect();
        let page: Vec<NatView> = all.iter().skip(from as usize).take(max).cloned().collect();
        let end = from as usize + page.len();
        let wanted = |it: &NatView| endpoint.is_none() || it.endpoint.as_ref() == endpoint;
        Ok((page.into_iter().filter(wanted).collect(), (end < all.len()).then_some(end as u32)))
    }

    fn flush_sessions(&self, endpoint: Option<&PortName>) -> Result<u64, Error> {
        Ok(self.sessions(endpoint, 0, usize::MAX)?.0.len() as u64)
    }

    fn nat_use(&self) -> Result<NatUse, Error> {
        let ports = self.there.lock().unwrap().ports.keys().map(|name| (name.clone(), 1)).collect();
        Ok(NatUse { endpoints: ports, ..NatUse::default() })
    }

    fn neighbour(
        &self,
        endpoint: Option<&EndpointRecord>,
        interface: &str,
        address: Ipv4Addr,
    ) -> Option<MacAddr> {
        let place = endpoint.map(|endpoint| endpoint.name.clone());
        self.neighbours.lock().unwrap().get(&(place, interface.to_owned(), address)).copied()
    }

    /// Whatever comes in is forwarded to port 0.
    fn trace(&self, ingress: &Ingress, frame: &OwnedFrame) -> Result<TraceView, Error> {
        if let Ingress::Uplink(name) = ingress
            && name != "nic1"
        {
            return Err(Error::Missing { what: "uplink", name: name.clone(), list: "uplink ls" });
        }
        let egress = PortId(0);
        let trace = Trace {
            verdict: Verdict::Forward { egress },
            decisions: Vec::new(),
            waits: Vec::new(),
            asks: Vec::new(),
            leaves: vec![Leaving { port: egress, frame: frame.clone(), after: 0 }],
            lacks: None,
        };
        let ports = BTreeMap::from([(egress, "red/somewhere".to_owned())]);
        Ok(TraceView { trace, ports, networks: BTreeMap::new(), publications: BTreeMap::new() })
    }
}

fn session((id, port): (u32, &PortName)) -> NatView {
    let (inside, outside, remote) = ([10, 0, 0, 2].into(), [198, 51, 100, 1].into(), [192, 0, 2, 7].into());
    let session = SessionView {
        id,
        owner: PortId(id as u16),
        original: Tuple::v4(Protocol::Tcp, (inside, 40_000), (remote, 80)),
        reply: Tuple::v4(Protocol::Tcp, (remote, 80), (outside, 20_000)),
        state: "established",
        publication: None,
        idle: Duration::from_secs(3),
        expires_in: Duration::from_secs(7437),
    };
    NatView { endpoint: Some(port.clone()), publication: None, session }
}
