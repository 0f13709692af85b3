//! Default routes of sandboxes: each has one, by the gateway of the network that it was put on first of those that are not internal. When that
//! endpoint goes, or its network becomes internal, the endpoint that has been there longest of the others gives the next one.
//!
//! Which endpoint gives it is in its record ([`EndpointRecord::default_route`]), so that a daemon that starts again can mend
//! what an earlier one left half done: a route is added after the record says so, and removed before.

use std::collections::BTreeSet;

use super::{DevicePlan, Step};
use crate::id::Id;
use crate::state::{NetworkState, State};
use crate::store::{Change, EndpointRecord, NetworkRecord, Phase, Record};

/// The endpoints of a sandbox that are there to stay. A sandbox that pontoon does not recognise (its inode is 0) is led by somebody
/// else, who gives its default route too.
fn inside(state: &State, sandbox: Id) -> impl Iterator<Item = &EndpointRecord> {
    state
        .endpoints()
        .filter(move |it| it.sandbox_id == sandbox && it.phase == Phase::Attached && it.netns.ino != 0)
}

/// Whether an endpoint of the sandbox gives the default route.
pub fn is_given(state: &State, sandbox: Id) -> bool {
    inside(state, sandbox).any(|it| it.default_route)
}

/// Who gives the sandbox's default route once nobody does: who has been there longest on a network that is not internal.
fn successor(state: &State, sandbox: Id) -> Option<&EndpointRecord> {
    let leads_out = |it: &&EndpointRecord| {
        state.networks.get(&it.network).is_some_and(|network| !network.record.connection.internal)
    };
    // Within one second, in the order that interfaces were numbered in.
    let order = |it: &&EndpointRecord| (it.created.clone(), it.ifname.len(), it.ifname.clone());
    inside(state, sandbox).filter(leads_out).min_by_key(order)
}

fn mark(endpoint: &EndpointRecord, default_route: bool) -> Change {
    let after = EndpointRecord { default_route, ..endpoint.clone() };
    Change::Replace { before: Record::Endpoint(endpoint.clone()), after: Record::Endpoint(after) }
}

fn device(state: &State, endpoint: &EndpointRecord) -> Option<DevicePlan> {
    let network = state.networks.get(&endpoint.network)?.record.clone();
    Some(DevicePlan { endpoint: endpoint.clone(), network })
}

/// How a default route passes from one endpoint to another: what is written when the one is marked as going, and the step to take once
/// its device is gone. Nothing, if it did not give one, or nobody else can.
pub(super) fn pass_on(state: &State, leaving: &EndpointRecord) -> (Option<Change>, Option<Step>) {
    if !leaving.default_route {
        return (None, None);
    }
    let mut without = state.clone();
    without.apply(&Change::Remove(Record::Endpoint(leaving.clone())));
    // An earlier daemon may have come as far as to mark it.
    let marked = inside(&without, leaving.sandbox_id).find(|it| it.default_route);
    let Some(next) = marked.or_else(|| successor(&without, leaving.sandbox_id)) else { return (None, None) };
    let change = (!next.default_route).then(|| mark(next, true));
    (change, device(&without, next).map(Step::AddDefaultRoute))
}

/// What a network's becoming internal, or ceasing to be, does to the default routes of who is on it: steps before it, changes
/// with it, steps after it.
pub(super) fn turn(
    state: &State,
    network: &NetworkState,
    after: &NetworkRecord,
) -> (Vec<Step>, Vec<Change>, Vec<Step>) {
    let (mut before, mut changes, mut then) = (Vec::new(), Vec::new(), Vec::new());
    if network.record.connection.internal == after.connection.internal {
        return (before, changes, then);
    }
    let mut turned = state.clone();
    let record = Record::Network(after.clone());
    turned.apply(&Change::Replace { before: Record::Network(network.record.clone()), after: record });
    for endpoint in network.endpoints.values().filter(|it| it.phase == Phase::Attached) {
        if after.connection.internal && endpoint.default_route {
            before.extend(device(&turned, endpoint).map(Step::RemoveDefaultRoute));
            changes.push(mark(endpoint, false));
        } else if is_given(&turned, endpoint.sandbox_id) {
            continue;
        }
        if let Some(next) = successor(&turned, endpoint.sandbox_id) {
            changes.push(mark(next, true));
            then.extend(device(&turned, next).map(Step::AddDefaultRoute));
        }
    }
    (before, changes, then)
}

/// Finds somebody to give the default route where nobody does, as in states from before it was written down who did.
pub fn adopt(state: &State) -> Vec<Change> {
    let sandboxes: BTreeSet<Id> = state.endpoints().map(|it| it.sandbox_id).collect();
    let orphans = sandboxes.into_iter().filter(|sandbox| !is_given(state, *sandbox));
    orphans.filter_map(|sandbox| successor(state, sandbox)).map(|next| mark(next, true)).collect()
}
