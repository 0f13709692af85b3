//! A change is a list of steps, computed from the state and the request alone. [`apply`](crate::apply) takes them.
//!
//! The order is always the same: a record first, then the device, then the port; and backwards to remove.

mod dns;
mod docker;
mod edge;
pub mod ipam;
pub mod routes;
mod step;

use pontoon_dataplane::network::{PortSettings, StormLimits};

use crate::api::types::{Mac, PortFlags, PortPatch};
use crate::link::HostStack;
use crate::state::{NetworkState, PortRecord, State};
use crate::store::{Change, EndpointRecord, InterfaceRecord, NetworkRecord, Phase, Record, StaticRecord};

pub use dns::{at_gateway, resolver, serve_in};
pub use docker::{join, leave, release, reserve};
pub use edge::{publish, republish, set_links, set_rules, unpublish};
pub use step::{DevicePlan, PortPlan, PublicationPlan, ResolverPlan, Step};

/// What an endpoint's port may do unless told otherwise.
pub const ENDPOINT_FLAGS: PortFlags = PortFlags {
    learning: true,
    flood: true,
    isolated: false,
    hairpin: false,
    guard: true,
    broadcast_limit: StormLimits::DEFAULT.broadcast,
    multicast_limit: StormLimits::DEFAULT.multicast,
    unknown_limit: StormLimits::DEFAULT.unknown_unicast,
    loop_guard: true,
};
/// What an existing interface's port may do unless told otherwise: there may be anybody behind it.
pub const INTERFACE_FLAGS: PortFlags = PortFlags { guard: false, ..ENDPOINT_FLAGS };

/// A port's flags as the engine wants them.
pub fn settings(flags: PortFlags) -> PortSettings {
    let PortFlags { learning, flood, isolated, hairpin, guard, loop_guard, .. } = flags;
    let storm = StormLimits {
        broadcast: flags.broadcast_limit,
        multicast: flags.multicast_limit,
        unknown_unicast: flags.unknown_limit,
    };
    PortSettings { learning, flood, isolated, hairpin, guard, storm, loop_guard }
}

/// Flags with a patch laid over.
pub fn patched(flags: PortFlags, patch: &PortPatch) -> PortFlags {
    PortFlags {
        learning: patch.learning.unwrap_or(flags.learning),
        flood: patch.flood.unwrap_or(flags.flood),
        isolated: patch.isolated.unwrap_or(flags.isolated),
        hairpin: patch.hairpin.unwrap_or(flags.hairpin),
        guard: patch.guard.unwrap_or(flags.guard),
        broadcast_limit: patch.broadcast_limit.unwrap_or(flags.broadcast_limit),
        multicast_limit: patch.multicast_limit.unwrap_or(flags.multicast_limit),
        unknown_limit: patch.unknown_limit.unwrap_or(flags.unknown_limit),
        loop_guard: patch.loop_guard.unwrap_or(flags.loop_guard),
    }
}

/// Adds a network.
pub fn add_network(record: NetworkRecord) -> Vec<Step> {
    let mut steps = vec![Step::Store(vec![Change::Add(Record::Network(record.clone()))])];
    steps.push(Step::AddNetwork(record.clone()));
    if record.host_interface.is_some() {
        steps.push(Step::AddHostPort(record.clone()));
    }
    steps.extend(dns::at_gateway(&record).map(Step::AddResolver));
    steps
}

/// Changes a network; nothing to do when nothing differs.
pub fn set_network(state: &State, network: &NetworkState, after: &NetworkRecord) -> Vec<Step> {
    let (before, after) = (network.record.clone(), after.clone());
    if before == after {
        return Vec::new();
    }
    let (mut steps, mut changes, then) = routes::turn(state, network, &after);
    let (was, is) = (Record::Network(before.clone()), Record::Network(after.clone()));
    changes.push(Change::Replace { before: was, after: is });
    let store = Step::Store(changes);
    let set = Step::SetNetwork { before: before.clone(), after: after.clone() };
    let resolver = dns::change_at_gateway(&before, &after);
    steps.extend(match (&before.host_interface, &after.host_interface) {
        (Some(_), None) => vec![Step::RemoveHostPort(before), set, store],
        (None, Some(_)) => vec![store, set, Step::AddHostPort(after)],
        _ => vec![store, set],
    });
    steps.extend(resolver);
    steps.extend(then);
    steps
}

/// Removes a network that nothing is on.
pub fn remove_network(state: &State, network: &NetworkState) -> Vec<Step> {
    let record = network.record.clone();
    let mut steps: Vec<Step> = dns::at_gateway(&record).map(Step::RemoveResolver).into_iter().collect();
    if record.host_interface.is_some() {
        steps.push(Step::RemoveHostPort(record.clone()));
    }
    let mut gone: Vec<Change> = edge::rules_record(network).map(Change::Remove).into_iter().collect();
    if !state.pools.contains_key(&record.subnet) {
        gone.extend(ipam::forget(state, record.subnet));
    }
    gone.push(Change::Remove(Record::Network(record.clone())));
    steps.extend([Step::RemoveNetwork(record), Step::Store(gone)]);
    steps
}

/// Attaches an endpoint: `endpoint` is not in the state yet. Its address was `chosen` by us, or asked for.
pub fn attach(state: &State, network: &NetworkState, endpoint: EndpointRecord, chosen: bool) -> Vec<Step> {
    let begun = EndpointRecord { phase: Phase::Attaching, ..endpoint.clone() };
    let done = EndpointRecord { phase: Phase::Attached, ..endpoint };
    let device = DevicePlan { endpoint: done.clone(), network: network.record.clone() };
    let mut with = state.clone();
    with.apply(&Change::Add(Record::Endpoint(done.clone())));

    let mut begin = ipam::take(state, network.record.subnet, done.address, chosen);
    begin.push(Change::Add(Record::Endpoint(begun.clone())));
    let mut steps = vec![
        Step::Store(begin),
        Step::CreateDevice(device.clone()),
        Step::ConfigureDevice(device),
        Step::AddPort(endpoint_port(&with, network, &done)),
    ];
    steps.extend(dns::change_in_sandbox(state, &with, done.netns));
    steps.extend(new_identities(state, &with, &done));
    let change = Change::Replace { before: Record::Endpoint(begun), after: Record::Endpoint(done) };
    steps.push(Step::Store(vec![change]));
    steps.push(Step::Announce(network.record.name.clone()));
    steps
}

/// Opens an endpoint's device again after a restart.
pub fn reattach(state: &State, network: &NetworkState, endpoint: &EndpointRecord) -> Vec<Step> {
    let device = DevicePlan { endpoint: endpoint.clone(), network: network.record.clone() };
    let mut steps = vec![Step::OpenDevice(device), Step::AddPort(endpoint_port(state, network, endpoint))];
    if endpoint.docker {
        steps.push(Step::ServeNames(endpoint.sandbox.clone()));
    }
    steps
}

fn endpoint_port(state: &State, network: &NetworkState, endpoint: &EndpointRecord) -> PortPlan {
    PortPlan {
        port: endpoint.port(),
        settings: settings(endpoint.flags),
        identity: state.identities(endpoint.sandbox_id).remove(&endpoint.port()),
        mtu: network.record.mtu,
    }
}

/// Removes an endpoint, whatever phase it is in.
pub fn detach(state: &State, endpoint: &EndpointRecord) -> Vec<Step> {
    take_out(state, endpoint, true)
}

fn take_out(state: &State, endpoint: &EndpointRecord, device_too: bool) -> Vec<Step> {
    let last = EndpointRecord { phase: Phase::Detaching, ..endpoint.clone() };
    let mark =
        Change::Replace { before: Record::Endpoint(endpoint.clone()), after: Record::Endpoint(last.clone()) };
    let mut without = state.clone();
    without.apply(&mark);
    let (passed_on, route) = routes::pass_on(state, endpoint);
    let mut begin: Vec<Change> = passed_on.into_iter().collect();
    if endpoint.phase != Phase::Detaching {
        begin.push(mark);
    }
    let mut steps = Vec::new();
    if !begin.is_empty() {
        steps.push(Step::Store(begin));
    }
    let network = state.networks.get(&endpoint.network);
    let (ends, mut gone) = network.map(|network| edge::leave(network, endpoint)).unwrap_or_default();
    steps.extend(ends);
    steps.push(Step::RemovePort(endpoint.port()));
    steps.extend(new_identities(state, &without, endpoint));
    steps.extend(dns::change_in_sandbox(state, &without, endpoint.netns));
    let same =
        |it: &&EndpointRecord| it.docker && it.sandbox == endpoint.sandbox && it.port() != endpoint.port();
    if endpoint.docker && !state.endpoints().any(|it| same(&it)) {
        steps.push(Step::EndNames(endpoint.sandbox.clone()));
    }
    if device_too {
        steps.push(Step::DeleteDevice(last.clone()));
    }
    steps.extend(route);
    gone.extend(statics_behind(network, &endpoint.name));
    gone.push(Change::Remove(Record::Endpoint(last)));
    if let Some(subnet) = network.map(|network| network.record.subnet)
        && !endpoint.docker
        && !state.is_leased(subnet, endpoint.address)
    {
        gone.extend(ipam::release(state, subnet, endpoint.address));
    }
    steps.push(Step::Store(gone));
    steps
}

/// The static entries of a port that goes: the engine drops them with the port.
fn statics_behind(network: Option<&NetworkState>, port: &str) -> Vec<Change> {
    let statics = network.into_iter().flat_map(|network| network.statics.values());
    statics.filter(|it| it.port == port).map(|it| Change::Remove(Record::Static(it.clone()))).collect()
}

/// Tells the other endpoints of a sandbox which addresses it has now.
fn new_identities(before: &State, after: &State, except: &EndpointRecord) -> Vec<Step> {
    let (mut before, after) = (before.identities(except.sandbox_id), after.identities(except.sandbox_id));
    let except = except.port();
    let others = after.into_iter().filter(|(port, _)| *port != except);
    others
        .map(|(port, identity)| Step::SetIdentity {
            before: before.remove(&port),
            after: Some(identity),
            port,
        })
        .collect()
}

/// Puts an existing interface on a network.
pub fn add_interface(network: &NetworkState, interface: InterfaceRecord) -> Vec<Step> {
    let mut steps = vec![Step::Store(vec![Change::Add(Record::Interface(interface.clone()))])];
    // First: what comes before the port hears is not the host's any more.
    steps.extend(keep_host_off(&interface));
    if !interface.was_up {
        steps.push(Step::SetLinkUp { interface: interface.interface.clone(), up: true });
    }
    steps.extend(reopen_interface(network, &interface));
    steps.push(Step::Announce(network.record.name.clone()));
    steps
}

/// Keeps the host's own IP stack off an interface that is a port.
pub fn keep_host_off(interface: &InterfaceRecord) -> Option<Step> {
    let (interface, before) = (interface.interface.clone(), interface.host_stack?);
    Some(Step::SetHostStack { interface, before, after: HostStack::KEPT_OFF })
}

/// Opens an interface again after a restart.
pub fn reopen_interface(network: &NetworkState, interface: &InterfaceRecord) -> Vec<Step> {
    let port = PortPlan {
        port: interface.port(),
        settings: settings(interface.flags),
        identity: None,
        mtu: network.record.mtu,
    };
    vec![Step::OpenInterface(interface.clone()), Step::AddPort(port)]
}

/// Takes an interface from a network and gives it back as it was.
pub fn remove_interface(network: &NetworkState, interface: &InterfaceRecord) -> Vec<Step> {
    let mut steps = vec![Step::RemovePort(interface.port())];
    if !interface.was_up {
        steps.push(Step::SetLinkUp { interface: interface.interface.clone(), up: false });
    }
    steps.extend(keep_host_off(interface).as_ref().and_then(Step::inverse));
    let mut gone = statics_behind(Some(network), &interface.interface);
    gone.push(Change::Remove(Record::Interface(interface.clone())));
    steps.push(Step::Store(gone));
    steps
}

/// Changes what a port may do; nothing to do when nothing differs.
pub fn set_port(record: PortRecord<'_>, patch: &PortPatch) -> Vec<Step> {
    let (before, after) = (record.flags(), patched(record.flags(), patch));
    if before == after {
        return Vec::new();
    }
    let change = match record {
        PortRecord::Endpoint(it) => Change::Replace {
            before: Record::Endpoint(it.clone()),
            after: Record::Endpoint(EndpointRecord { flags: after, ..it.clone() }),
        },
        PortRecord::Interface(it) => Change::Replace {
            before: Record::Interface(it.clone()),
            after: Record::Interface(InterfaceRecord { flags: after, ..it.clone() }),
        },
    };
    let set = Step::SetPort { port: record.name(), before: settings(before), after: settings(after) };
    vec![Step::Store(vec![change]), set]
}

/// Adds a static FDB entry, in place of another for the same station.
pub fn add_static(network: &NetworkState, mac: Mac, port: &str) -> Vec<Step> {
    let record = StaticRecord { network: network.record.name.clone(), mac, port: port.to_owned() };
    match network.statics.get(&mac) {
        Some(there) if *there == record => Vec::new(),
        Some(there) => {
            let (before, after) = (Record::Static(there.clone()), Record::Static(record.clone()));
            vec![
                Step::Store(vec![Change::Replace { before, after }]),
                Step::RemoveStatic(there.clone()),
                Step::AddStatic(record),
            ]
        }
        None => {
            let change = Change::Add(Record::Static(record.clone()));
            vec![Step::Store(vec![change]), Step::AddStatic(record)]
        }
    }
}

/// Removes a static FDB entry.
pub fn remove_static(record: &StaticRecord) -> Vec<Step> {
    let change = Change::Remove(Record::Static(record.clone()));
    vec![Step::RemoveStatic(record.clone()), Step::Store(vec![change])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Lab;

    /// A state with the endpoint a of the network red, and one more that shares its sandbox on blue.
    fn state() -> State {
        let lab = Lab::new(&["a"]);
        lab.create("red", "10.1.0.0/24");
        lab.create("blue", "10.2.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        lab.attach("blue", "a", "eth1").unwrap();
        lab.manager.known()
    }

    fn without(state: &State, endpoint: &EndpointRecord) -> State {
        let mut state = state.clone();
        state.apply(&Change::Remove(Record::Endpoint(endpoint.clone())));
        state
    }

    fn place(steps: &[Step], which: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(which).unwrap()
    }

    #[test]
    fn a_record_comes_before_the_device_and_goes_after_it() {
        let state = state();
        let endpoint = &state.networks["red"].endpoints["a"];
        let attach = attach(&without(&state, endpoint), &state.networks["red"], endpoint.clone(), true);
        let phase = |step: &Step, phase: Phase| match step {
            Step::Store(changes) => changes.iter().any(|change| {
                matches!(change, Change::Add(Record::Endpoint(it))
                    | Change::Replace { after: Record::Endpoint(it), .. } if it.phase == phase)
            }),
            _ => false,
        };
        let begun = place(&attach, |step| phase(step, Phase::Attaching));
        let device = place(&attach, |step| matches!(step, Step::CreateDevice(_)));
        let configured = place(&attach, |step| matches!(step, Step::ConfigureDevice(_)));
        let port = place(&attach, |step| matches!(step, Step::AddPort(_)));
        let done = place(&attach, |step| phase(step, Phase::Attached));
        assert!(begun < device && device < configured && configured < port && port < done);

        let detach = detach(&state, endpoint);
        let begun = place(&detach, |step| phase(step, Phase::Detaching));
        let port = place(&detach, |step| matches!(step, Step::RemovePort(_)));
        let device = place(&detach, |step| matches!(step, Step::DeleteDevice(_)));
        let is_removal = |change: &Change| matches!(change, Change::Remove(Record::Endpoint(_)));
        let gone =
            place(&detach, |step| matches!(step, Step::Store(changes) if changes.iter().any(is_removal)));
        assert!(begun < port && port < device && device < gone);
    }

    #[test]
    fn others_of_the_sandbox_hear_of_it_and_the_port_itself_does_not() {
        let state = state();
        let endpoint = &state.networks["red"].endpoints["a"];
        let told = |steps: Vec<Step>| -> Vec<(String, usize)> {
            let told = steps.into_iter().filter_map(|step| match step {
                Step::SetIdentity { port, after: Some(after), .. } => {
                    Some((port.to_string(), after.sandbox_addresses.len()))
                }
                _ => None,
            });
            told.collect()
        };
        let attach = attach(&without(&state, endpoint), &state.networks["red"], endpoint.clone(), true);
        assert_eq!(told(attach), [("blue/a".to_owned(), 2)]);
        assert_eq!(told(detach(&state, endpoint)), [("blue/a".to_owned(), 1)]);
    }

    #[test]
    fn what_changes_nothing_has_no_steps() {
        let state = state();
        let network = &state.networks["red"];
        assert_eq!(set_network(&state, network, &network.record), []);
        let port = network.port("a").unwrap();
        let same = PortPatch { guard: Some(true), ..PortPatch::default() };
        assert_eq!(set_port(port, &same), []);
        assert_eq!(set_port(port, &PortPatch::default()), []);
    }

    #[test]
    fn taking_back_twice_is_doing_again() {
        let state = state();
        let endpoint = &state.networks["red"].endpoints["a"];
        let hairpin = PortPatch { hairpin: Some(true), ..PortPatch::default() };
        let red = &state.networks["red"];
        let steps = [
            attach(&without(&state, endpoint), red, endpoint.clone(), true),
            set_network(&state, red, &NetworkRecord { ageing_seconds: 1, ..red.record.clone() }),
            set_port(state.networks["red"].port("a").unwrap(), &hairpin),
            add_static(&state.networks["red"], Mac("02:00:00:00:00:01".parse().unwrap()), "a"),
        ];
        let reversible = |step: &Step| {
            matches!(
                step,
                Step::Store(_)
                    | Step::SetIdentity { .. }
                    | Step::SetNetwork { .. }
                    | Step::SetPort { .. }
                    | Step::AddStatic(_)
            )
        };
        let mut looked_at = 0;
        for step in steps.concat().into_iter().filter(reversible) {
            let back = step.inverse().unwrap();
            assert_ne!(back, step);
            assert_eq!(back.inverse(), Some(step));
            looked_at += 1;
        }
        assert_eq!(looked_at, 9);
    }
}
