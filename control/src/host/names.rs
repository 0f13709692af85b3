//! Where names are served.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::Host;
use crate::api::types::SandboxRef;
use crate::dns::place::{Place, Sockets};
use crate::error::Error;
use crate::netns::{self, NetnsId};
use crate::plan::ResolverPlan;
use crate::world::ResolverView;

impl Host {
    pub(super) fn add_resolver(&self, plan: &ResolverPlan) -> Result<(), Error> {
        match plan {
            ResolverPlan::Gateway(_) => Ok(()),
            ResolverPlan::Sandbox { sandbox, netns } => {
                self.resolver.open(Place::Sandbox(*netns), Sockets::in_sandbox(sandbox, *netns)?)?;
                self.served().insert(*netns, sandbox.clone());
                Ok(())
            }
        }
    }

    pub(super) fn remove_resolver(&self, plan: &ResolverPlan) {
        match plan {
            ResolverPlan::Gateway(_) => {}
            ResolverPlan::Sandbox { netns, .. } => self.leave([*netns]),
        }
    }

    /// Sandboxes in which names are served and that are no longer what they were called.
    pub(super) fn served_without_a_name(&self) -> Vec<NetnsId> {
        let served = self.served();
        let unnamed = served.iter().filter(|(netns, sandbox)| !netns::still_names(sandbox, **netns));
        unnamed.map(|(netns, _)| *netns).collect()
    }

    /// Serves names in these sandboxes no more, so that they go unless somebody else keeps them.
    pub(super) fn leave(&self, sandboxes: impl IntoIterator<Item = NetnsId>) {
        for netns in sandboxes {
            self.resolver.close(&Place::Sandbox(netns));
            self.served().remove(&netns);
        }
    }

    pub(super) fn resolver_view(&self) -> ResolverView {
        let served = self.served().clone();
        let named = |place: Place| {
            let sandbox = match &place {
                Place::Sandbox(netns) => served.get(netns).cloned(),
                Place::Gateway(_) => None,
            };
            (place, sandbox)
        };
        ResolverView {
            places: self.resolver.places_now().into_iter().map(named).collect(),
            host_resolvers: self.resolver.host_resolvers(),
            under_way: self.resolver.under_way(),
            counts: self.resolver.counts(),
        }
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<NetnsId, SandboxRef>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
