//! What a declaration asks for, what is wrong with it, and where it says something else than what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::types::{
    Document, EndpointDecl, EndpointRequest, NetworkDecl, NetworkRequest, PortFlags, PortPatch, SandboxRef,
};
use crate::choose;
use crate::error::Error;
use crate::names;
use crate::store::NetworkRecord;

impl NetworkDecl {
    pub(super) fn request(&self) -> NetworkRequest {
        NetworkRequest {
            name: self.name.clone(),
            id: self.id,
            subnet: self.subnet,
            ip_range: self.ip_range,
            pooled: false,
            gateway: self.gateway,
            aux_addresses: self.aux_addresses.clone(),
            driver: self.driver.clone(),
            attachable: self.attachable,
            ipv6: self.ipv6,
            labels: self.labels.clone(),
            options: self.options.clone(),
            mtu: self.mtu,
            ageing_seconds: self.ageing_seconds,
            host_access: self.host_access,
            uplink: self.uplink.clone(),
            internal: self.internal,
            icc: self.icc,
            snat_ip: self.snat_ip,
            nat_mapping: self.nat_mapping,
            resolver: self.resolver,
            dns: self.dns.clone(),
        }
    }
}

impl EndpointDecl {
    /// The endpoint as a request.
    ///
    /// # Errors
    /// It names no sandbox, or two.
    pub(super) fn request(&self, network: &str) -> Result<EndpointRequest, Error> {
        let sandbox = match (&self.netns, self.pid) {
            (Some(name), None) => SandboxRef::Netns(name.clone()),
            (None, Some(pid)) => SandboxRef::Pid(pid),
            _ => {
                let name = self.name.as_deref().unwrap_or("without a name");
                let text =
                    format!("the endpoint {name} of the network {network} must have either netns or pid");
                return Err(Error::Declaration(text));
            }
        };
        Ok(EndpointRequest {
            name: self.name.clone(),
            aliases: self.aliases.clone(),
            ifname: self.ifname.clone(),
            ip: self.ip,
            mac: self.mac,
            kind: self.kind,
            resolver: self.resolver,
            dns: self.dns.clone(),
            ..EndpointRequest::of(sandbox)
        })
    }
}

pub(super) fn flags_patch(flags: PortFlags) -> PortPatch {
    PortPatch {
        learning: Some(flags.learning),
        flood: Some(flags.flood),
        isolated: Some(flags.isolated),
        hairpin: Some(flags.hairpin),
        guard: Some(flags.guard),
        broadcast_limit: Some(flags.broadcast_limit),
        multicast_limit: Some(flags.multicast_limit),
        unknown_limit: Some(flags.unknown_limit),
        loop_guard: Some(flags.loop_guard),
    }
}

/// Finds what is wrong with a declaration whatever the machine looks like.
pub(super) fn check(document: &Document) -> Result<(), Error> {
    unique("the namespace", document.namespaces.iter().map(|it| it.name.clone()))?;
    unique("the network", document.networks.iter().map(|it| it.name.clone()))?;
    for namespace in &document.namespaces {
        names::check_namespace(&namespace.name)?;
        if namespace.name.contains('/') {
            return Err(names::NameError::Namespace(namespace.name.clone()).into());
        }
    }
    let published = document.networks.iter().flat_map(|it| &it.publications);
    unique("the publication", published.filter_map(|it| Some(it.ports.settled()?.host_side())))?;
    for network in &document.networks {
        names::check_network(&network.name)?;
        choose::network_alone(&network.request(), None)?;
        let mut ports = Vec::new();
        for endpoint in &network.endpoints {
            ports.push(choose::endpoint_names(&endpoint.request(&network.name)?)?.name);
        }
        for interface in &network.interfaces {
            names::check_interface(&interface.name)?;
            ports.push(interface.name.clone());
        }
        unique(&format!("on the network {} the port", network.name), ports)?;
        let stations = network.fdb.iter().map(|it| it.mac.to_string());
        unique(&format!("on the network {} the FDB entry", network.name), stations)?;
        network.rules.iter().try_for_each(|rule| choose::rule(rule, None).map(drop))?;
        for publication in &network.publications {
            choose::publication_rules(publication, publication.ports.settled().as_ref())?;
        }
        let links = network.links.iter().map(ToString::to_string);
        unique(&format!("on the network {} the link", network.name), links)?;
    }
    Ok(())
}

fn unique(what: &str, names: impl IntoIterator<Item = String>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(name.clone())) {
        Some(twice) => Err(Error::Declaration(format!("{what} {twice} is declared twice"))),
        None => Ok(()),
    }
}

pub(super) fn same(what: &str, field: &'static str, is: String, declared: String) -> Result<(), Error> {
    if is == declared {
        return Ok(());
    }
    Err(Error::Differs { what: what.to_owned(), field, is, declared })
}

/// Refuses a declaration that says something else of what cannot be changed.
pub(super) fn same_network(
    is: &NetworkRecord,
    declared: &NetworkRecord,
    mtu: Option<u16>,
) -> Result<(), Error> {
    let what = format!("the network {}", is.name);
    let list = |map: &BTreeMap<String, String>| {
        let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("\"{}\"", pairs.join(", "))
    };
    let range = |it: &NetworkRecord| it.range.unwrap_or(it.subnet).to_string();
    let reserved = |it: &NetworkRecord| {
        list(&it.reserved.iter().map(|(name, address)| (name.clone(), address.to_string())).collect())
    };
    same(&what, "id", is.id.to_string(), declared.id.to_string())?;
    same(&what, "subnet", is.subnet.to_string(), declared.subnet.to_string())?;
    same(&what, "ip_range", range(is), range(declared))?;
    same(&what, "gateway", is.gateway.to_string(), declared.gateway.to_string())?;
    same(&what, "aux_addresses", reserved(is), reserved(declared))?;
    same(&what, "driver", is.driver.clone(), declared.driver.clone())?;
    same(&what, "attachable", is.attachable.to_string(), declared.attachable.to_string())?;
    same(&what, "labels", list(&is.labels), list(&declared.labels))?;
    same(&what, "options", list(&is.options), list(&declared.options))?;
    match mtu {
        Some(mtu) => same(&what, "mtu", is.mtu.to_string(), mtu.to_string()),
        None => Ok(()),
    }
}

/// The settings in which two networks differ, as they are called in a declaration.
pub(super) fn differing_settings(is: &NetworkRecord, declared: &NetworkRecord) -> Vec<&'static str> {
    let (was, then) = (&is.connection, &declared.connection);
    let all = [
        ("ageing_seconds", is.ageing_seconds != declared.ageing_seconds),
        ("host_access", was.host_access != then.host_access),
        ("uplink", was.uplink != then.uplink),
        ("internal", was.internal != then.internal),
        ("icc", was.icc != then.icc),
        ("snat_ip", was.snat_ip != then.snat_ip),
        ("nat_mapping", was.nat_mapping != then.nat_mapping),
        ("resolver", was.resolver != then.resolver),
        ("dns", was.dns != then.dns),
    ];
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// The names of the ports that a declaration speaks of.
pub(super) fn declared_ports(declaration: &NetworkDecl) -> Result<BTreeSet<String>, Error> {
    let mut ports: BTreeSet<String> = declaration.interfaces.iter().map(|it| it.name.clone()).collect();
    for endpoint in &declaration.endpoints {
        ports.insert(choose::endpoint_names(&endpoint.request(&declaration.name)?)?.name);
    }
    Ok(ports)
}
