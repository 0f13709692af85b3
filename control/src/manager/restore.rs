//! Starting where an earlier daemon ended, noticing what has gone, and ending.

use std::collections::BTreeSet;

use pontoon_dataplane::PortId;

use super::Manager;
use crate::api::types::SandboxRef;
use crate::error::Error;
use crate::link::HostStack;
use crate::netns::NetnsId;
use crate::plan::{self, DevicePlan, ResolverPlan, Step};
use crate::state::{NetworkState, PortName, RulesOf, State};
use crate::store::{Change, EndpointRecord, InterfaceRecord, NamespaceRecord, Phase, Record};
use crate::world::Remains;

impl Manager {
    /// Takes up what the records tell of: networks, endpoints whose device is still there, interfaces, static
    /// entries. Sweeps what is unfinished or has gone.
    pub(super) fn restore(&self) -> Result<(), Error> {
        self.forget_unheard();
        let found: State = self.state().clone();
        for network in found.networks.values() {
            self.restore_network(network)
                .map_err(|error| error.during(format!("restore the network {}", network.record.name)))?;
        }
        // Sweep first, so that nobody is told of addresses that have gone.
        let stays = found.endpoints().filter(|endpoint| self.stays_or_swept(endpoint)).collect::<Vec<_>>();
        let adopted = plan::routes::adopt(&self.state());
        if !adopted.is_empty() {
            self.log_failure(&self.change(&[Step::Store(adopted)]), "find who gives default routes");
        }
        for endpoint in stays {
            // It may give the default route of one that was swept.
            let now = self.state().endpoint(&endpoint.network, &endpoint.name).cloned();
            now.into_iter().for_each(|endpoint| self.restore_endpoint(&endpoint));
        }
        for interface in found.interfaces() {
            self.restore_interface(interface);
        }
        for namespace in found.namespaces.values() {
            self.check_namespace(namespace);
        }
        let state = self.state().clone();
        self.restore_resolvers(&state);
        for network in state.networks.values() {
            for record in network.statics.values() {
                self.log_failure(
                    &self.change(&[Step::AddStatic(record.clone())]),
                    "restore a static FDB entry",
                );
            }
            self.restore_edge(network);
            let announce = Step::Announce(network.record.name.clone());
            self.log_failure(&self.change(&[announce]), "announce a gateway");
        }
        Ok(())
    }

    /// The network with its rules, before anybody is on it. Its host port and its resolver may fail: the rest goes on without.
    fn restore_network(&self, network: &NetworkState) -> Result<(), Error> {
        let record = network.record.clone();
        self.change(&[Step::AddNetwork(record.clone())])?;
        if !network.rules.is_empty() {
            let (before, after) = (Vec::new(), network.rules.clone());
            self.change(&[Step::SetRules { of: RulesOf::network(&record.name), before, after }])?;
        }
        if record.host_interface.is_some() {
            let made = self.change(&[Step::AddHostPort(record.clone())]);
            self.log_failure(&made, &format!("restore the host port of the network {}", record.name));
        }
        if let Some(plan) = plan::at_gateway(&record) {
            let made = self.change(&[Step::AddResolver(plan)]);
            self.log_failure(&made, &format!("serve names at the gateway of the network {}", record.name));
        }
        Ok(())
    }

    fn stays_or_swept(&self, endpoint: &EndpointRecord) -> bool {
        let cause = match (endpoint.phase, self.world.remains(endpoint)) {
            (Phase::Attaching, _) => "the daemon ended before it was attached",
            (Phase::Detaching, _) => "the daemon ended before it was detached",
            (Phase::Attached, Ok(Remains::All)) => return true,
            (Phase::Attached, Ok(Remains::Sandbox)) => "its device has gone",
            (Phase::Attached, Ok(Remains::Nothing)) => "its sandbox has gone",
            (Phase::Attached, Err(error)) => {
                tracing::error!(endpoint = %endpoint.port(), %error, "cannot look for an endpoint; it is left alone");
                return false;
            }
        };
        self.sweep_endpoint(endpoint, "endpoint-swept", cause);
        false
    }

    fn sweep_endpoint(&self, endpoint: &EndpointRecord, event: &str, cause: &str) {
        let port = endpoint.port().to_string();
        let steps = {
            let state = self.state();
            plan::detach(&state, endpoint)
        };
        self.log_failure(&self.remove(&steps), "remove an endpoint");
        self.journal.note(event, &port, cause);
    }

    fn restore_endpoint(&self, endpoint: &EndpointRecord) {
        let steps = {
            let state = self.state();
            state.networks.get(&endpoint.network).map(|network| plan::reattach(&state, network, endpoint))
        };
        let restored = self.change(&steps.unwrap_or_default());
        if restored.is_ok() {
            self.journal.note("endpoint-restored", &endpoint.port().to_string(), "");
        }
        // Its record stays: whatever is in the way may be out of it at the next start.
        self.log_failure(&restored, &format!("restore the endpoint {}", endpoint.port()));
        if restored.is_ok() && endpoint.default_route {
            let network = self.state().networks.get(&endpoint.network).map(|it| it.record.clone());
            let plan = network.map(|network| DevicePlan { endpoint: endpoint.clone(), network });
            let added = plan.map_or(Ok(()), |plan| self.change(&[Step::AddDefaultRoute(plan)]));
            self.log_failure(&added, &format!("restore the default route of {}", endpoint.port()));
        }
    }

    fn restore_interface(&self, interface: &InterfaceRecord) {
        let port = interface.port().to_string();
        let link = match self.world.link(None, &interface.interface) {
            Ok(Some(link)) => link,
            Ok(None) => {
                self.log_failure(&self.sweep_interface(interface), "forget an interface");
                self.journal.note("interface-swept", &port, "the interface has gone");
                return;
            }
            Err(error) => {
                tracing::error!(interface = %port, %error, "cannot look for an interface; it is left alone");
                return;
            }
        };
        // By itself: should the rest fail, the host must not answer for the gateway there.
        let kept_off = self.keep_host_off(interface, link.host_stack);
        self.log_failure(&kept_off, &format!("keep the host's own IP stack off {}", interface.interface));
        let steps = {
            let state = self.state();
            state.networks.get(&interface.network).map(|network| plan::reopen_interface(network, interface))
        };
        let mut steps = steps.unwrap_or_default();
        if !link.up {
            steps.insert(0, Step::SetLinkUp { interface: interface.interface.clone(), up: true });
        }
        self.log_failure(&self.change(&steps), &format!("restore the interface {port}"));
    }

    /// Whatever may have become of its settings while no daemon ran; a record that does not know them learns them first.
    fn keep_host_off(&self, interface: &InterfaceRecord, found: HostStack) -> Result<(), Error> {
        let mut steps = Vec::new();
        let known = InterfaceRecord { host_stack: interface.host_stack.or(Some(found)), ..interface.clone() };
        if known != *interface {
            let (before, after) = (Record::Interface(interface.clone()), Record::Interface(known.clone()));
            steps.push(Step::Store(vec![Change::Replace { before, after }]));
        }
        steps.extend(plan::keep_host_off(&known));
        self.change(&steps)
    }

    /// Names, wherever they are to be asked for. Where that fails everything else goes on without.
    fn restore_resolvers(&self, state: &State) {
        let made = state.namespaces.values().filter_map(|it| it.netns);
        let sandboxes: BTreeSet<NetnsId> = made.chain(state.endpoints().map(|it| it.netns)).collect();
        for plan in sandboxes.into_iter().filter_map(|netns| plan::resolver(state, netns)) {
            self.log_failure(&self.change(&[Step::AddResolver(plan)]), "serve names");
        }
    }

    fn sweep_interface(&self, interface: &InterfaceRecord) -> Result<(), Error> {
        let steps = {
            let state = self.state();
            plan::remove_interface(state.network(&interface.network)?, interface)
        };
        self.remove(&steps)
    }

    /// Finishes or forgets a namespace that an earlier daemon created.
    fn check_namespace(&self, record: &NamespaceRecord) {
        let forget = Step::Store(vec![Change::Remove(Record::Namespace(record.clone()))]);
        let done = match record.netns {
            // Nobody was told of it.
            None => self.remove(&[Step::DeleteNamespace(record.name.clone()), forget]),
            Some(netns) if self.world.namespace_is(&record.name, netns) => Ok(()),
            Some(_) => self.remove(&[forget]),
        };
        self.log_failure(&done, "check a namespace");
    }

    /// The engine lost the device of a port: takes the port out of everything.
    pub fn port_lost(&self, id: PortId, cause: &str) {
        let _turn = self.turn();
        if let Some(name) = self.world.name_of(id) {
            self.drop_port(&name, cause);
        }
    }

    /// Removes endpoints whose sandbox has gone without the kernel's saying so.
    pub fn drop_orphans(&self) {
        if self.world.orphans().is_empty() {
            return;
        }
        let _turn = self.turn();
        for name in self.world.orphans() {
            self.drop_port(&name, "its sandbox has gone");
        }
    }

    pub(super) fn drop_port(&self, name: &PortName, cause: &str) {
        let Some(network) = self.state().networks.get(&name.network).cloned() else { return };
        let endpoint = network.endpoints.get(&name.port).cloned();
        let interface = network.interfaces.get(&name.port).cloned();
        let host_port = Some(network.record).filter(|it| it.host_interface.as_ref() == Some(&name.port));
        if let Some(endpoint) = endpoint {
            self.sweep_endpoint(&endpoint, "port-lost", cause);
        } else if let Some(interface) = interface {
            self.log_failure(&self.sweep_interface(&interface), "remove an interface");
            self.journal.note("port-lost", &name.to_string(), cause);
        } else if let Some(record) = host_port {
            // It is what the network was asked to have, so another takes its place.
            self.journal.note("port-lost", &name.to_string(), cause);
            let again = [Step::RemoveHostPort(record.clone()), Step::AddHostPort(record)];
            self.log_failure(&self.remove(&again), &format!("make the host port {name} again"));
        }
    }

    /// Removes everything, as a daemon does that leaves nothing behind.
    ///
    /// # Errors
    /// All that could not be removed.
    pub fn remove_everything(&self) -> Result<(), Error> {
        let _turn = self.turn();
        let state = self.state().clone();
        let networks = state.networks.values().filter_map(|network| self.remove_network_now(network).err());
        let mut errors: Vec<Error> = networks.collect();
        for namespace in state.namespaces.values() {
            errors.extend(self.delete_namespace_now(namespace).err());
        }
        if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) }
    }

    /// Deletes a namespace that pontoon created, if it is still the same.
    pub(super) fn delete_namespace_now(&self, record: &NamespaceRecord) -> Result<(), Error> {
        let mut steps = Vec::new();
        let resolver = record
            .netns
            .filter(|_| record.resolver)
            .map(|netns| ResolverPlan::Sandbox { sandbox: SandboxRef::Netns(record.name.clone()), netns });
        steps.extend(resolver.map(Step::RemoveResolver));
        if record.netns.is_some_and(|netns| self.world.namespace_is(&record.name, netns)) {
            steps.push(Step::DeleteNamespace(record.name.clone()));
        }
        steps.push(Step::Store(vec![Change::Remove(Record::Namespace(record.clone()))]));
        self.remove(&steps).map_err(|error| error.during(format!("delete the namespace {}", record.name)))?;
        self.journal.note("namespace-deleted", &record.name, "");
        Ok(())
    }

    pub(super) fn log_failure(&self, done: &Result<(), Error>, action: &str) {
        if let Err(error) = done {
            tracing::error!(%error, "cannot {action}");
        }
    }
}
