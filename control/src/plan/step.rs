//! What a change is made of: steps as plain data, each with the one that takes it back.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use pontoon_dataplane::network::{Identity, PortSettings};

use crate::api::types::SandboxRef;
use crate::link::HostStack;
use crate::netns::NetnsId;
use crate::state::{PortName, RulesOf};
use crate::store::{
    Change, EndpointRecord, InterfaceRecord, LinkRecord, NetworkRecord, PublicationRecord, ReservationRecord,
    RuleRecord, StaticRecord,
};

/// All that is needed to make an endpoint's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePlan {
    /// The endpoint.
    pub endpoint: EndpointRecord,
    /// Its network.
    pub network: NetworkRecord,
}

/// A port as the engine shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name.
    pub port: PortName,
    /// What it may do.
    pub settings: PortSettings,
    /// Who is behind it.
    pub identity: Option<Identity>,
    /// Largest layer-3 packet in bytes.
    pub mtu: u16,
}

/// All that is needed to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationPlan {
    /// What is published.
    pub record: PublicationRecord,
    /// The endpoint's address.
    pub address: Ipv4Addr,
}

/// Where names can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolverPlan {
    /// At a network's gateway.
    Gateway(Box<NetworkRecord>),
    /// At 127.0.0.11 in a sandbox.
    Sandbox {
        /// The sandbox as it was named.
        sandbox: SandboxRef,
        /// The sandbox as it is recognised.
        netns: NetnsId,
    },
}

/// One thing to do, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write to the store, all of it or nothing.
    Store(Vec<Change>),
    /// Make a named namespace.
    CreateNamespace(String),
    /// Delete a named namespace.
    DeleteNamespace(String),
    /// Give the engine a network.
    AddNetwork(NetworkRecord),
    /// Change the engine's network.
    SetNetwork {
        /// As it was.
        before: NetworkRecord,
        /// As it will be.
        after: NetworkRecord,
    },
    /// Take a network without ports from the engine.
    RemoveNetwork(NetworkRecord),
    /// Make an endpoint's device, under the name that only it has, in its sandbox and open.
    CreateDevice(DevicePlan),
    /// Name it, set MAC, MTU, address and, if it gives one, default route, bring it and `lo` up.
    ConfigureDevice(DevicePlan),
    /// Lead the sandbox's default route by an endpoint's gateway, unless it has another one.
    AddDefaultRoute(DevicePlan),
    /// Take that route away, if it is there.
    RemoveDefaultRoute(DevicePlan),
    /// Open an endpoint's device again.
    OpenDevice(DevicePlan),
    /// Delete an endpoint's device, whatever has become of it.
    DeleteDevice(EndpointRecord),
    /// Delete the device of an endpoint of Docker's, if there is one, wherever it is.
    DeleteReserved(ReservationRecord),
    /// Bring the Engine's name server to port 53 in a sandbox of Docker's, when the sandbox is there.
    ServeNames(SandboxRef),
    /// Leave port 53 in a sandbox.
    EndNames(SandboxRef),
    /// Open an existing interface.
    OpenInterface(InterfaceRecord),
    /// Close a device that no port was made of yet.
    CloseDevice(PortName),
    /// Bring an interface of the host up or take it down.
    SetLinkUp {
        /// The interface.
        interface: String,
        /// Up or down.
        up: bool,
    },
    /// Change what the host's own IP stack makes of an interface, if it is there.
    SetHostStack {
        /// The interface.
        interface: String,
        /// As it was.
        before: HostStack,
        /// As it will be.
        after: HostStack,
    },
    /// Give the engine a port with the device that was opened for it.
    AddPort(PortPlan),
    /// Take a port from the engine.
    RemovePort(PortName),
    /// Change what a port may do.
    SetPort {
        /// The port.
        port: PortName,
        /// As it was.
        before: PortSettings,
        /// As it will be.
        after: PortSettings,
    },
    /// Change who is behind a port.
    SetIdentity {
        /// The port.
        port: PortName,
        /// As it was.
        before: Option<Identity>,
        /// As it will be.
        after: Option<Identity>,
    },
    /// Add a static FDB entry.
    AddStatic(StaticRecord),
    /// Remove a static FDB entry.
    RemoveStatic(StaticRecord),
    /// Make the network's host port, or take up the one that an earlier daemon left.
    AddHostPort(NetworkRecord),
    /// Take the host port from the engine and delete its device.
    RemoveHostPort(NetworkRecord),
    /// Change a list of rules; of a publication, as far as its ports are held.
    SetRules {
        /// Whose.
        of: RulesOf,
        /// As they were.
        before: Vec<RuleRecord>,
        /// As they will be.
        after: Vec<RuleRecord>,
    },
    /// Change a network's links.
    SetLinks {
        /// The network.
        network: String,
        /// As they were.
        before: BTreeSet<LinkRecord>,
        /// As they will be.
        after: BTreeSet<LinkRecord>,
    },
    /// Hold ports of the host and lead them to an endpoint.
    Publish(PublicationPlan),
    /// Let go of published ports, if they are held, and end their sessions.
    Unpublish(PublicationPlan),
    /// Publish ports anew with other rules, while they are held, and end their sessions.
    Republish {
        /// As it was.
        before: PublicationPlan,
        /// As it will be.
        after: PublicationPlan,
    },
    /// Serve names at a place.
    AddResolver(ResolverPlan),
    /// Serve names there no more, if they are.
    RemoveResolver(ResolverPlan),
    /// The gateway announces itself.
    Announce(String),
}

impl Step {
    /// The step that takes this one back; none when there is nothing to take back.
    pub fn inverse(&self) -> Option<Step> {
        Some(match self {
            Step::Store(changes) => Step::Store(changes.iter().rev().map(Change::inverse).collect()),
            Step::CreateNamespace(name) => Step::DeleteNamespace(name.clone()),
            Step::AddNetwork(record) => Step::RemoveNetwork(record.clone()),
            Step::RemoveNetwork(record) => Step::AddNetwork(record.clone()),
            Step::SetNetwork { before, after } => {
                Step::SetNetwork { before: after.clone(), after: before.clone() }
            }
            Step::CreateDevice(plan) => Step::DeleteDevice(plan.endpoint.clone()),
            Step::ServeNames(sandbox) => Step::EndNames(sandbox.clone()),
            Step::EndNames(sandbox) => Step::ServeNames(sandbox.clone()),
            Step::AddDefaultRoute(plan) => Step::RemoveDefaultRoute(plan.clone()),
            Step::RemoveDefaultRoute(plan) => Step::AddDefaultRoute(plan.clone()),
            Step::OpenDevice(plan) => Step::CloseDevice(plan.endpoint.port()),
            Step::OpenInterface(record) => Step::CloseDevice(record.port()),
            Step::SetLinkUp { interface, up } => Step::SetLinkUp { interface: interface.clone(), up: !up },
            Step::SetHostStack { interface, before, after } => {
                Step::SetHostStack { interface: interface.clone(), before: *after, after: *before }
            }
            Step::AddPort(plan) => Step::RemovePort(plan.port.clone()),
            Step::SetPort { port, before, after } => {
                Step::SetPort { port: port.clone(), before: *after, after: *before }
            }
            Step::SetIdentity { port, before, after } => {
                Step::SetIdentity { port: port.clone(), before: after.clone(), after: before.clone() }
            }
            Step::AddStatic(record) => Step::RemoveStatic(record.clone()),
            Step::RemoveStatic(record) => Step::AddStatic(record.clone()),
            Step::AddHostPort(record) => Step::RemoveHostPort(record.clone()),
            Step::RemoveHostPort(record) => Step::AddHostPort(record.clone()),
            Step::SetRules { of, before, after } => {
                Step::SetRules { of: of.clone(), before: after.clone(), after: before.clone() }
            }
            Step::SetLinks { network, before, after } => {
                Step::SetLinks { network: network.clone(), before: after.clone(), after: before.clone() }
            }
            Step::AddResolver(plan) => Step::RemoveResolver(plan.clone()),
            Step::RemoveResolver(plan) => Step::AddResolver(plan.clone()),
            Step::Publish(plan) => Step::Unpublish(plan.clone()),
            Step::Unpublish(plan) => Step::Publish(plan.clone()),
            Step::Republish { before, after } => {
                Step::Republish { before: after.clone(), after: before.clone() }
            }
            Step::DeleteNamespace(_)
            | Step::ConfigureDevice(_)
            | Step::DeleteDevice(_)
            | Step::DeleteReserved(_)
            | Step::CloseDevice(_)
            | Step::RemovePort(_)
            | Step::Announce(_) => return None,
        })
    }
}
