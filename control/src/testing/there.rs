//! What there is in a fake world.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::{Identity, PortSettings};

use super::USUAL;
use crate::api::types::Connection;
use crate::error::Error;
use crate::link::HostStack;
use crate::netns::NetnsId;
use crate::plan::{DevicePlan, PublicationPlan};
use crate::state::PortName;
use crate::store::{EndpointRecord, LinkRecord, RuleRecord};

/// What there is. The machine's part outlives a daemon, the engine's does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) namespaces: BTreeMap<String, NetnsId>,
    /// Devices: in which namespace (none: the host's), of which name.
    pub(crate) devices: BTreeSet<(Option<u64>, String)>,
    pub(crate) up: BTreeSet<String>,
    /// The default route of each namespace: by which interface, over which gateway.
    pub(crate) routes: BTreeMap<u64, (String, Ipv4Addr)>,
    /// Interfaces that the host's own IP stack is kept off.
    pub(crate) kept_off: BTreeSet<String>,
    pub(crate) networks: BTreeSet<String>,
    pub(crate) opened: BTreeSet<PortName>,
    pub(crate) ports: BTreeMap<PortName, (PortSettings, Option<Identity>)>,
    /// Ports that are in a loop.
    pub(crate) blocked: BTreeSet<PortName>,
    pub(crate) statics: BTreeMap<(String, MacAddr), String>,
    /// How networks are connected.
    pub(crate) connections: BTreeMap<String, Connection>,
    /// Host ports of the engine; their devices are the machine's.
    pub(crate) host_ports: BTreeSet<String>,
    pub(crate) rules: BTreeMap<String, Vec<RuleRecord>>,
    pub(crate) links: BTreeSet<LinkRecord>,
    pub(crate) published: BTreeMap<u32, PublicationPlan>,
    /// Where names are served: at a network's gateway, or in a sandbox.
    pub(crate) resolvers: BTreeSet<(Option<String>, Option<NetnsId>)>,
    /// Sandboxes that names are served in.
    pub(crate) names: BTreeSet<String>,
}

impl There {
    pub(super) fn add_route(&mut self, plan: &DevicePlan) {
        let DevicePlan { endpoint, network } = plan;
        if self.devices.contains(&names_of(endpoint)[1]) {
            let route = (endpoint.ifname.clone(), network.gateway);
            self.routes.entry(endpoint.netns.ino).or_insert(route);
        }
    }

    pub(super) fn remove_route(&mut self, endpoint: &EndpointRecord) {
        self.routes.retain(|netns, (ifname, _)| (*netns, &*ifname) != (endpoint.netns.ino, &endpoint.ifname));
    }

    pub(super) fn host_stack(&self, interface: &str) -> HostStack {
        if self.kept_off.contains(interface) { HostStack::KEPT_OFF } else { USUAL }
    }

    pub(super) fn publish(
        &mut self,
        plan: &PublicationPlan,
        busy: &BTreeMap<u16, String>,
    ) -> Result<(), Error> {
        let PublicationPlan { record, .. } = plan;
        assert!(self.ports.contains_key(&PortName::new(&record.network, &record.endpoint)));
        let ports = record.ports.host;
        if let Some((port, holder)) = busy.range(ports.first..=ports.last).next() {
            return Err(Error::PortsTaken(format!("{port} is taken by {holder}")));
        }
        assert_eq!(self.published.insert(record.id, plan.clone()), None);
        Ok(())
    }
}

/// Where the interface is: under the name that only it has, or under its own.
pub(super) fn names_of(endpoint: &EndpointRecord) -> [(Option<u64>, String); 2] {
    if endpoint.docker {
        // Nobody here plays the Engine and moves it.
        return [(None, endpoint.device.clone()), (None, endpoint.device.clone())];
    }
    let inside = Some(endpoint.netns.ino);
    [(inside, endpoint.device.clone()), (inside, endpoint.ifname.clone())]
}
