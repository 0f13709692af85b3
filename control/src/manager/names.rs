//! The names that can be asked for, from what is known.

use super::Manager;
use crate::api::types::Uplink;
use crate::dns::zone::{NetworkNames, Station, Zone};
use crate::plan::Step;
use crate::state::{NetworkState, State};
use crate::store::{EndpointRecord, Phase};

/// All names of an endpoint, its own first.
fn names_of(endpoint: &EndpointRecord) -> Vec<String> {
    vec![endpoint.name.clone()]
}

/// All names.
fn zone(state: &State) -> Zone {
    Zone::new(state.networks.values().map(network).collect())
}

fn network(network: &NetworkState) -> NetworkNames {
    let record = &network.record;
    let there = network.endpoints.values().filter(|it| it.phase == Phase::Attached);
    let station = |it: &EndpointRecord| Station {
        sandbox: it.netns,
        address: it.address,
        names: names_of(it),
        upstreams: it.dns.clone(),
    };
    NetworkNames {
        name: record.name.clone(),
        subnet: record.subnet,
        gateway: record.gateway,
        forwards: record.connection.way_out() != Uplink::None,
        upstreams: record.connection.dns.clone(),
        stations: there.map(station).collect(),
    }
}

impl Manager {
    /// Has the resolver know what is known.
    pub(super) fn tell_names(&self) {
        self.world.set_names(zone(&self.state()));
    }

    /// As [`Manager::tell_names`], if these steps may have changed anything about it.
    pub(super) fn tell_names_after(&self, steps: &[Step]) {
        if steps.iter().any(|step| matches!(step, Step::Store(_))) {
            self.tell_names();
        }
    }
}
