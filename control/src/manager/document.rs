//! Declared state: `up` makes it so and `down` removes it. Both look at all of the declaration first.

mod declared;

use std::collections::BTreeSet;

use super::Manager;
use crate::api::types::{
    Applied, Connection, Document, EndpointDecl, EndpointRequest, InterfaceDecl, LinkBody, Mac,
    NamespaceDecl, NetworkDecl, PortFlags, PublicationRequest, RuleBody, SandboxRef,
};
use crate::choose;
use crate::error::{Error, describe};
use crate::netns::NetnsError;
use crate::plan::{self, ENDPOINT_FLAGS, INTERFACE_FLAGS, Step, patched};
use crate::state::{PortName, RulesOf};
use crate::store::{
    Change, EndpointRecord, LinkRecord, NamespaceRecord, NetworkRecord, PublicationRecord, Record, RuleRecord,
};

use declared::{check, declared_ports, differing_settings, flags_patch, same, same_network};

/// What was done so far of something larger, to be taken back if the rest fails.
pub(super) enum Done {
    Namespace(String),
    NamespaceResolver(NamespaceRecord),
    Network(String),
    Settings(String, u32, Connection),
    Rules(String, Vec<RuleRecord>),
    Link(LinkRecord),
    Publication(PublicationRecord),
    Republication(PublicationRecord),
    Endpoint(PortName),
    EndpointNames(EndpointRecord),
    Interface(PortName),
    Flags(PortName, PortFlags),
    Static(String, Mac),
    StaticMoved(String, Mac, String),
}

/// An `up` under way.
struct Up<'a> {
    manager: &'a Manager,
    done: Vec<Done>,
    changes: Vec<String>,
}

impl Manager {
    /// Makes what is declared so. A second time changes nothing.
    ///
    /// # Errors
    /// The declaration cannot be met; everything is as before then.
    pub fn up(&self, document: &Document) -> Result<Applied, Error> {
        check(document)?;
        let _turn = self.turn();
        let mut up = Up { manager: self, done: Vec::new(), changes: Vec::new() };
        match up.everything(document) {
            Ok(()) => Ok(Applied { changes: up.changes }),
            Err(error) => {
                self.take_all_back(up.done);
                Err(error)
            }
        }
    }

    /// Removes what is declared: networks with all that is on them, and namespaces that pontoon created.
    ///
    /// # Errors
    /// Something undeclared is in the way (nothing is removed then), or could not be removed.
    pub fn down(&self, document: &Document) -> Result<Applied, Error> {
        check(document)?;
        let _turn = self.turn();
        let state = self.state().clone();
        let declared: BTreeSet<&str> = document.networks.iter().map(|it| it.name.as_str()).collect();
        let networks = document.networks.iter().rev();
        let networks: Vec<_> = networks.filter_map(|it| Some((it, state.networks.get(&it.name)?))).collect();
        for (declaration, network) in &networks {
            let ports = declared_ports(declaration)?;
            let others = network.endpoints.keys().chain(network.interfaces.keys());
            let others: Vec<&str> =
                others.map(String::as_str).filter(|name| !ports.contains(*name)).collect();
            if !others.is_empty() {
                let network = declaration.name.clone();
                return Err(Error::InUse { network, users: others.join(", ") });
            }
        }
        let namespaces = document.namespaces.iter().rev().filter_map(|it| state.namespaces.get(&it.name));
        let namespaces: Vec<&NamespaceRecord> = namespaces.collect();
        for namespace in &namespaces {
            let inside = |it: &&EndpointRecord| {
                Some(it.netns) == namespace.netns && !declared.contains(it.network.as_str())
            };
            if let Some(endpoint) = state.endpoints().find(inside) {
                let text = format!(
                    "the namespace {} is in use by {}; detach it first",
                    namespace.name,
                    endpoint.port()
                );
                return Err(Error::Conflict(text));
            }
        }

        let mut changes = Vec::new();
        for (_, network) in networks {
            self.remove_network_now(network)?;
            let ports = network.endpoints.keys().chain(network.interfaces.keys());
            changes.extend(ports.map(|port| format!("{}/{port} removed", network.record.name)));
            changes.push(format!("network {} removed", network.record.name));
        }
        for namespace in namespaces {
            self.delete_namespace_now(namespace)?;
            changes.push(format!("namespace {} deleted", namespace.name));
        }
        Ok(Applied { changes })
    }

    /// Returns whether it was made.
    fn namespace_up(&self, declaration: &NamespaceDecl) -> Result<bool, Error> {
        let sandbox = SandboxRef::Netns(declaration.name.clone());
        match self.world.sandbox(&sandbox) {
            Ok(_) => return Ok(false),
            Err(Error::Netns(NetnsError::NoSuchName { .. })) if declaration.create => {}
            Err(error) => return Err(error),
        }
        let before = self.state().namespaces.get(&declaration.name).cloned();
        let begun = NamespaceRecord { name: declaration.name.clone(), netns: None, resolver: false };
        let begin = match before {
            // An earlier one that somebody deleted.
            Some(before) => {
                Change::Replace { before: Record::Namespace(before), after: Record::Namespace(begun.clone()) }
            }
            None => Change::Add(Record::Namespace(begun.clone())),
        };
        self.change(&[Step::Store(vec![begin]), Step::CreateNamespace(declaration.name.clone())])?;
        let recorded = self.world.sandbox(&sandbox).and_then(|netns| {
            let made = NamespaceRecord { netns: Some(netns), ..begun.clone() };
            let before = Record::Namespace(begun.clone());
            self.change(&[Step::Store(vec![Change::Replace { before, after: Record::Namespace(made) }])])
        });
        if let Err(error) = recorded {
            // The first error is what matters. The record has no number yet, so it is not deleted by that.
            let gone = Step::Store(vec![Change::Remove(Record::Namespace(begun))]);
            let _ = self.remove(&[Step::DeleteNamespace(declaration.name.clone()), gone]);
            return Err(error);
        }
        self.journal.note("namespace-created", &declaration.name, "");
        Ok(true)
    }

    /// Serves names in an endpoint's sandbox, or does not, and asks whom the request names. Returns how its record was if anything changed.
    fn serve_endpoint(
        &self,
        is: &EndpointRecord,
        request: &EndpointRequest,
    ) -> Result<Option<EndpointRecord>, Error> {
        let dns = choose::upstreams(&request.dns)?;
        let after = EndpointRecord { resolver: request.resolver, dns, ..is.clone() };
        if after == *is { Ok(None) } else { self.put_endpoint(after).map(|()| Some(is.clone())) }
    }

    /// Puts an endpoint's record in place of the one that it has; it may differ in what concerns names.
    fn put_endpoint(&self, after: EndpointRecord) -> Result<(), Error> {
        let port = after.port();
        let before = self.state().endpoint(&port.network, &port.port)?.clone();
        let netns = after.netns;
        let change = Change::Replace { before: Record::Endpoint(before), after: Record::Endpoint(after) };
        let steps = plan::serve_in(&self.state(), netns, change);
        self.change(&steps).map_err(|error| error.during(format!("serve names for {port}")))
    }

    /// Serves names in a namespace that pontoon created, or does not. Returns how its record was if anything changed.
    fn serve_in(&self, name: &str, resolver: bool) -> Result<Option<NamespaceRecord>, Error> {
        let before = self.state().namespaces.get(name).filter(|it| it.resolver != resolver).cloned();
        let Some((before, netns)) = before.and_then(|it| it.netns.map(|netns| (it, netns))) else {
            return Ok(None);
        };
        let after = NamespaceRecord { resolver, ..before.clone() };
        let change =
            Change::Replace { before: Record::Namespace(before.clone()), after: Record::Namespace(after) };
        let steps = plan::serve_in(&self.state(), netns, change);
        self.change(&steps).map_err(|error| error.during(format!("serve names in the namespace {name}")))?;
        Ok(Some(before))
    }
}

impl Up<'_> {
    fn changed(&mut self, done: Done, change: String) {
        self.done.push(done);
        self.changes.push(change);
    }

    fn everything(&mut self, document: &Document) -> Result<(), Error> {
        for namespace in &document.namespaces {
            let created = self.manager.namespace_up(namespace)?;
            if created {
                let done = Done::Namespace(namespace.name.clone());
                self.changed(done, format!("namespace {} created", namespace.name));
            }
            let is_ours = self.manager.state().namespaces.contains_key(&namespace.name);
            if namespace.resolver == Some(true) && !is_ours {
                return Err(Error::Conflict(format!(
                    "pontoon did not create the namespace {name}, so it serves no names there for its own sake; give an endpoint in it the resolver instead, or leave resolver out of [[namespace]] {name}",
                    name = namespace.name
                )));
            }
            let resolver = namespace.resolver.unwrap_or(namespace.create);
            if let Some(before) = self.manager.serve_in(&namespace.name, resolver)? {
                self.done.push(Done::NamespaceResolver(before));
                if !created {
                    let what = if resolver { "resolver added" } else { "resolver removed" };
                    self.changes.push(format!("namespace {}: {what}", namespace.name));
                }
            }
        }
        document.networks.iter().try_for_each(|network| self.network(network))
    }

    fn network(&mut self, declaration: &NetworkDecl) -> Result<(), Error> {
        let name = &declaration.name;
        let there = self.manager.state().networks.get(name).map(|it| it.record.clone());
        match there {
            None => {
                self.manager.create_network_now(&declaration.request())?;
                self.changed(Done::Network(name.clone()), format!("network {name} created"));
            }
            Some(is) => {
                let declared = choose::network_alone(&declaration.request(), Some(&is))?;
                same_network(&is, &declared, declaration.mtu)?;
                self.settings(&is, declared)?;
            }
        }
        // Before anybody is on it whom they are about.
        self.rules(name, &declaration.rules)?;
        declaration.endpoints.iter().try_for_each(|endpoint| self.endpoint(name, endpoint))?;
        declaration.interfaces.iter().try_for_each(|interface| self.interface(name, interface))?;
        for entry in &declaration.fdb {
            let before = self.manager.state().network(name)?.statics.get(&entry.mac).cloned();
            if self.manager.add_fdb_now(name, entry.mac, &entry.port)? {
                let done = match before {
                    Some(before) => Done::StaticMoved(name.clone(), entry.mac, before.port),
                    None => Done::Static(name.clone(), entry.mac),
                };
                self.changed(done, format!("{name}: {} set behind {}", entry.mac, entry.port));
            }
        }
        declaration.links.iter().try_for_each(|link| self.link(name, link))?;
        declaration.publications.iter().try_for_each(|publication| self.publication(name, publication))
    }

    fn settings(&mut self, is: &NetworkRecord, declared: NetworkRecord) -> Result<(), Error> {
        let name = &is.name;
        let what = differing_settings(is, &declared).join(", ");
        if self.manager.put_settings_now(name, declared.ageing_seconds, declared.connection)? {
            let done = Done::Settings(name.clone(), is.ageing_seconds, is.connection.clone());
            self.changed(done, format!("network {name}: {what} set"));
        }
        Ok(())
    }

    /// Rules are an order, so those declared are all; without any, whatever there is stays.
    fn rules(&mut self, network: &str, declared: &[RuleBody]) -> Result<(), Error> {
        if declared.is_empty() {
            return Ok(());
        }
        let before = self.manager.state().network(network)?.rules.clone();
        if self.manager.replace_rules_now(network, declared)? {
            let done = Done::Rules(network.to_owned(), before);
            self.changed(done, format!("{network}: rules set"));
        }
        Ok(())
    }

    fn link(&mut self, network: &str, declared: &LinkBody) -> Result<(), Error> {
        if let Some(record) = self.manager.link_now(network, declared)? {
            let change = format!("{network}: {} linked", record.link);
            self.changed(Done::Link(record), change);
        }
        Ok(())
    }

    fn publication(&mut self, network: &str, declared: &PublicationRequest) -> Result<(), Error> {
        let there = self.manager.published(network, declared)?;
        let (record, changed) = self.manager.publish_now(network, declared)?;
        if changed {
            let change = format!("{network}/{}: {} published", record.endpoint, record.ports);
            self.changed(there.map_or(Done::Publication(record), Done::Republication), change);
        }
        Ok(())
    }

    fn endpoint(&mut self, network: &str, declaration: &EndpointDecl) -> Result<(), Error> {
        let request = declaration.request(network)?;
        let names = choose::endpoint_names(&request)?;
        let port = PortName::new(network, &names.name);
        let there = self.manager.state().network(network)?.endpoints.get(&names.name).cloned();
        let Some(is) = there else {
            self.manager.attach_now(network, &request, &declaration.port)?;
            self.changed(Done::Endpoint(port.clone()), format!("{port} attached"));
            return Ok(());
        };
        let what = format!("the endpoint {port}");
        if self.manager.world.sandbox(&request.sandbox)? != is.netns {
            let (is, declared) = (describe(&is.sandbox), describe(&request.sandbox));
            return Err(Error::Differs { what, field: "namespace", is, declared });
        }
        if let Some(ifname) = names.ifname {
            same(&what, "ifname", is.ifname.clone(), ifname)?;
        }
        let kind = |kind| format!("{kind:?}").to_lowercase();
        same(&what, "kind", kind(is.kind), kind(request.kind))?;
        if let Some(ip) = request.ip {
            same(&what, "ip", is.address.to_string(), ip.to_string())?;
        }
        if let Some(mac) = request.mac {
            same(&what, "mac", is.mac.to_string(), mac.to_string())?;
        }
        let list = |aliases: &BTreeSet<String>| aliases.iter().cloned().collect::<Vec<_>>().join(", ");
        let declared = choose::distinct(&names.name, &request.aliases)?;
        same(&what, "aliases", list(&is.aliases), list(&declared))?;
        if let Some(before) = self.manager.serve_endpoint(&is, &request)? {
            self.changed(Done::EndpointNames(before), format!("{port}: resolver set"));
        }
        self.flags(port, is.flags, patched(ENDPOINT_FLAGS, &declaration.port))
    }

    fn interface(&mut self, network: &str, declaration: &InterfaceDecl) -> Result<(), Error> {
        let port = PortName::new(network, &declaration.name);
        let there = self.manager.state().network(network)?.interfaces.get(&declaration.name).cloned();
        match there {
            Some(is) => self.flags(port, is.flags, patched(INTERFACE_FLAGS, &declaration.port)),
            None => {
                self.manager.add_interface_now(network, &declaration.name, &declaration.port)?;
                self.changed(Done::Interface(port.clone()), format!("{port} added"));
                Ok(())
            }
        }
    }

    fn flags(&mut self, port: PortName, is: PortFlags, declared: PortFlags) -> Result<(), Error> {
        if self.manager.set_port_now(&port.network, &port.port, &flags_patch(declared))? {
            self.changed(Done::Flags(port.clone(), is), format!("{port}: flags set"));
        }
        Ok(())
    }
}

impl Manager {
    /// Takes back what was done, the last first.
    pub(super) fn take_all_back(&self, done: Vec<Done>) {
        for done in done.into_iter().rev() {
            if let Err(error) = self.take_back(done) {
                tracing::error!(%error, "cannot undo all of it");
            }
        }
    }

    fn take_back(&self, done: Done) -> Result<(), Error> {
        match done {
            Done::Namespace(name) => {
                let record = self.state().namespaces.get(&name).cloned();
                record.map_or(Ok(()), |record| self.delete_namespace_now(&record))
            }
            Done::NamespaceResolver(before) => self.serve_in(&before.name, before.resolver).map(drop),
            Done::Network(name) => {
                let network = self.state().network(&name)?.clone();
                self.remove_network_now(&network)
            }
            Done::Settings(name, ageing, connection) => {
                self.put_settings_now(&name, ageing, connection).map(drop)
            }
            Done::Rules(network, before) => self.set_rules_now(&RulesOf::network(&network), before).map(drop),
            Done::Link(record) => self.unlink_now(&record),
            Done::Publication(record) => self.unpublish_now(&record),
            Done::Republication(before) => self.republish_now(&before).map(drop),
            Done::Endpoint(port) => self.detach_now(&port.network, &port.port),
            Done::EndpointNames(before) => self.put_endpoint(before).map(drop),
            Done::Interface(port) => self.remove_interface_now(&port.network, &port.port),
            Done::Flags(port, flags) => {
                self.set_port_now(&port.network, &port.port, &flags_patch(flags)).map(drop)
            }
            Done::Static(network, mac) => {
                let record = self.state().network(&network)?.statics.get(&mac).cloned();
                record.map_or(Ok(()), |record| self.change(&crate::plan::remove_static(&record)))
            }
            Done::StaticMoved(network, mac, port) => self.add_fdb_now(&network, mac, &port).map(drop),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
