//! The manager in a world of plain data: what its tests share.

mod edge;
mod endpoints;
mod networks;
mod restore;
mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pontoon_dataplane::PortId;

use super::*;
use crate::api::types::{
    Connection, EndpointRequest, FdbRequest, InterfaceRequest, LinkBody, PortPatch, Publication,
    PublicationRequest, RuleAction, RuleBody, RuleRequest, Uplink,
};
use crate::state::{PortName, RulesOf};
use crate::store::{Change, InterfaceRecord, Record};
use crate::testing::{FakeWorld, Lab, endpoint, network};

/// All records.
pub(super) fn records(lab: &Lab) -> Vec<Record> {
    lab.manager.store.load().unwrap()
}

/// The records but for what is remembered of addresses.
fn things(lab: &Lab) -> Vec<Record> {
    let is_thing = |record: &Record| !matches!(record, Record::Cursor(_) | Record::Resting(_));
    records(lab).into_iter().filter(is_thing).collect()
}

/// Makes `change` fail at its first step, its second, ... and checks each time that nothing is left of it.
/// Returns how many steps it had.
pub(super) fn fails_cleanly<T>(lab: &Lab, change: impl Fn(&Manager) -> Result<T, Error>) -> usize {
    let before = (lab.world.snapshot(), records(lab), lab.manager.state().clone());
    for steps in 0.. {
        *lab.world.fail_after.lock().unwrap() = Some(steps);
        let done = change(&lab.manager);
        *lab.world.fail_after.lock().unwrap() = None;
        let Err(error) = done else { return steps };
        assert!(error.to_string().contains("told to fail"), "{error}");
        let after = (lab.world.snapshot(), records(lab), lab.manager.state().clone());
        assert_eq!(after, before, "after {steps} steps");
    }
    unreachable!()
}

fn publish(lab: &Lab, endpoint: &str, ports: &str, allow: &[&str]) -> Result<Publication, Error> {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    let request =
        PublicationRequest { endpoint: endpoint.into(), ports: ports.parse().unwrap(), allow, rules: vec![] };
    lab.manager.publish("red", &request)
}

/// The network red with the endpoints a and b.
fn lab_of_two() -> Lab {
    let lab = Lab::new(&["a", "b"]);
    lab.create("red", "10.1.0.0/24");
    lab.attach("red", "a", "eth0").unwrap();
    lab.attach("red", "b", "eth0").unwrap();
    lab
}
