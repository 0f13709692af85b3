//! Where names can be asked for.

use super::{ResolverPlan, Step};
use crate::api::types::SandboxRef;
use crate::netns::NetnsId;
use crate::state::State;
use crate::store::{Change, NetworkRecord, Phase};

/// The resolver at a network's gateway, if there shall be one.
pub fn at_gateway(network: &NetworkRecord) -> Option<ResolverPlan> {
    network.connection.resolver.then(|| ResolverPlan::Gateway(Box::new(network.clone())))
}

/// What comes or goes at a network's gateway when the network changes.
pub(super) fn change_at_gateway(before: &NetworkRecord, after: &NetworkRecord) -> Option<Step> {
    match (at_gateway(before), at_gateway(after)) {
        (None, Some(plan)) => Some(Step::AddResolver(plan)),
        (Some(plan), None) => Some(Step::RemoveResolver(plan)),
        _ => None,
    }
}

/// The resolver in the sandbox `netns`, if there shall be one: pontoon made the sandbox, or somebody asked for it with an endpoint there.
pub fn resolver(state: &State, netns: NetnsId) -> Option<ResolverPlan> {
    let made = state.namespaces.values().filter(|it| it.netns == Some(netns) && it.resolver);
    let mut made = made.map(|it| SandboxRef::Netns(it.name.clone()));
    let endpoints = state.endpoints().filter(|it| it.netns == netns && it.resolver);
    let mut asked = endpoints.filter(|it| it.phase != Phase::Detaching).map(|it| it.sandbox.clone());
    let sandbox = made.next().or_else(|| asked.next())?;
    Some(ResolverPlan::Sandbox { sandbox, netns })
}

/// What comes or goes in the sandbox `netns` when the state changes.
pub(super) fn change_in_sandbox(before: &State, after: &State, netns: NetnsId) -> Option<Step> {
    match (resolver(before, netns), resolver(after, netns)) {
        (None, Some(plan)) => Some(Step::AddResolver(plan)),
        (Some(plan), None) => Some(Step::RemoveResolver(plan)),
        _ => None,
    }
}

/// Changes the record of an endpoint or of a namespace that pontoon made, and serves names in that sandbox or not as it then says.
pub fn serve_in(state: &State, netns: NetnsId, change: Change) -> Vec<Step> {
    let mut after = state.clone();
    after.apply(&change);
    let resolver = change_in_sandbox(state, &after, netns);
    [Step::Store(vec![change])].into_iter().chain(resolver).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{NamespaceRecord, Record};

    #[test]
    fn a_sandbox_that_pontoon_made_has_one_unless_told_otherwise() {
        let netns = NetnsId { dev: 4, ino: 7, boot: 1 };
        let state = |resolver| {
            let record = NamespaceRecord { name: "web".into(), netns: Some(netns), resolver };
            State::of([Record::Namespace(record)])
        };
        let plan = ResolverPlan::Sandbox { sandbox: SandboxRef::Netns("web".into()), netns };
        assert_eq!(resolver(&state(true), netns), Some(plan.clone()));
        assert_eq!(resolver(&state(false), netns), None);
        assert_eq!(resolver(&state(true), NetnsId { ino: 8, ..netns }), None);
        let change = |before, after| change_in_sandbox(&state(before), &state(after), netns);
        assert_eq!(change(true, true), None);
        assert_eq!(change(true, false), Some(Step::RemoveResolver(plan.clone())));
        assert_eq!(change(false, true), Some(Step::AddResolver(plan)));
    }
}
