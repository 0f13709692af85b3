//! Publications, rules and links.

use std::collections::BTreeSet;

use super::{PublicationPlan, Step};
use crate::state::{NetworkState, RulesOf};
use crate::store::{Change, EndpointRecord, LinkRecord, PublicationRecord, Record, RuleRecord, RulesRecord};

fn plan(endpoint: &EndpointRecord, record: &PublicationRecord) -> PublicationPlan {
    PublicationPlan { record: record.clone(), address: endpoint.address }
}

/// Publishes ports of the endpoint.
pub fn publish(endpoint: &EndpointRecord, record: &PublicationRecord) -> Vec<Step> {
    let add = Change::Add(Record::Publication(record.clone()));
    vec![Step::Store(vec![add]), Step::Publish(plan(endpoint, record))]
}

/// Publishes anew with other rules; `down` when its ports are not held: they are then.
pub fn republish(
    endpoint: &EndpointRecord,
    before: &PublicationRecord,
    after: &PublicationRecord,
    down: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if before != after {
        let (was, is) = (Record::Publication(before.clone()), Record::Publication(after.clone()));
        steps.push(Step::Store(vec![Change::Replace { before: was, after: is }]));
    }
    if down {
        steps.push(Step::Publish(plan(endpoint, after)));
    } else if before != after {
        steps.push(Step::Republish { before: plan(endpoint, before), after: plan(endpoint, after) });
    }
    steps
}

/// Takes a publication back.
pub fn unpublish(endpoint: &EndpointRecord, record: &PublicationRecord) -> Vec<Step> {
    let gone = Change::Remove(Record::Publication(record.clone()));
    vec![Step::Unpublish(plan(endpoint, record)), Step::Store(vec![gone])]
}

/// Changes a network's rules, or those of one of its publications; nothing to do when nothing differs.
pub fn set_rules(network: &NetworkState, of: RulesOf, after: Vec<RuleRecord>) -> Vec<Step> {
    let publication = of.publication.and_then(|id| network.publications.get(&id));
    let before = publication.map_or(&network.rules, |it| &it.rules).clone();
    if before == after {
        return Vec::new();
    }
    let change = match publication {
        Some(publication) => {
            let after = PublicationRecord { rules: after.clone(), ..publication.clone() };
            let (before, after) = (publication.clone(), after);
            Change::Replace { before: Record::Publication(before), after: Record::Publication(after) }
        }
        None => match (record(&of.network, &before), record(&of.network, &after)) {
            (Some(before), Some(after)) => Change::Replace { before, after },
            (Some(before), None) => Change::Remove(before),
            (None, Some(after)) => Change::Add(after),
            (None, None) => return Vec::new(),
        },
    };
    vec![Step::Store(vec![change]), Step::SetRules { of, before, after }]
}

/// A network's rules as they are stored; none when there are none.
fn record(network: &str, rules: &[RuleRecord]) -> Option<Record> {
    let record = || Record::Rules(RulesRecord { network: network.to_owned(), rules: rules.to_vec() });
    (!rules.is_empty()).then(record)
}

/// The record of the network's rules.
pub(super) fn rules_record(network: &NetworkState) -> Option<Record> {
    record(&network.record.name, &network.rules)
}

/// Changes a network's links; nothing to do when nothing differs.
pub fn set_links(network: &NetworkState, after: BTreeSet<LinkRecord>) -> Vec<Step> {
    let before = network.links.clone();
    if before == after {
        return Vec::new();
    }
    let gone = before.difference(&after).map(|it| Change::Remove(Record::Link(it.clone())));
    let new = after.difference(&before).map(|it| Change::Add(Record::Link(it.clone())));
    let changes = gone.chain(new).collect();
    vec![Step::Store(changes), Step::SetLinks { network: network.record.name.clone(), before, after }]
}

/// What must end before an endpoint's port goes, and the records that go with it.
pub(super) fn leave(network: &NetworkState, endpoint: &EndpointRecord) -> (Vec<Step>, Vec<Change>) {
    let published = network.publications.values().filter(|it| it.endpoint == endpoint.name);
    let (mut steps, mut gone): (Vec<Step>, Vec<Change>) = published
        .map(|it| (Step::Unpublish(plan(endpoint, it)), Change::Remove(Record::Publication(it.clone()))))
        .unzip();
    let others = |it: &&LinkRecord| it.link.from != endpoint.name && it.link.to != endpoint.name;
    let after: BTreeSet<LinkRecord> = network.links.iter().filter(others).cloned().collect();
    if after != network.links {
        gone.extend(network.links.difference(&after).map(|it| Change::Remove(Record::Link(it.clone()))));
        let (network, before) = (network.record.name.clone(), network.links.clone());
        steps.push(Step::SetLinks { network, before, after });
    }
    (steps, gone)
}
