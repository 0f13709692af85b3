//! Lists of rules as the data plane has them, with what each rule has counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use pontoon_dataplane::edge::config::{Action, Hits, Rule};

use crate::api::types::RuleAction;
use crate::store::RuleRecord;

/// An ordered list: a network's or a publication's.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleList {
    rules: Vec<RuleRecord>,
    /// By the rules' own numbers: they go on counting when rules move or change places.
    hits: BTreeMap<u32, Arc<Hits>>,
}

impl RuleList {
    pub(super) fn set(&mut self, rules: &[RuleRecord]) {
        self.rules = rules.to_vec();
        self.hits.retain(|id, _| rules.iter().any(|it| it.id == *id));
        for rule in rules {
            self.hits.entry(rule.id).or_default();
        }
    }

    /// As the data plane wants them, with their places in the list for numbers.
    pub(super) fn rules(&self) -> Arc<[Rule]> {
        let numbered = (1..).zip(&self.rules);
        let rule = |(number, it): (u32, &RuleRecord)| Rule {
            number,
            action: action(it.rule.action),
            source: it.rule.from,
            destination: it.rule.to,
            protocol: it.rule.protocol.map(Into::into),
            ports: it.rule.port.map(|ports| (ports.first, ports.last)),
            hits: self.hits.get(&it.id).cloned().unwrap_or_default(),
        };
        numbered.map(rule).collect()
    }

    /// How many sessions each rule decided, by the rule's own number.
    pub(super) fn hits(&self) -> BTreeMap<u32, u64> {
        self.hits.iter().map(|(id, hits)| (*id, hits.get())).collect()
    }
}

fn action(action: RuleAction) -> Action {
    match action {
        RuleAction::Allow => Action::Allow,
        RuleAction::Deny => Action::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Protocol, RuleBody};

    fn rule(id: u32, port: &str) -> RuleRecord {
        let body = RuleBody {
            action: RuleAction::Deny,
            from: None,
            to: None,
            protocol: Some(Protocol::Tcp),
            port: Some(port.parse().unwrap()),
        };
        RuleRecord { id, rule: body }
    }

    #[test]
    fn hits_stay_with_their_rule_wherever_it_moves() {
        let mut list = RuleList::default();
        list.set(&[rule(1, "80"), rule(2, "81")]);
        list.rules()[1].hits.count();
        list.set(&[rule(2, "81"), rule(3, "82"), rule(1, "80")]);
        let rules = list.rules();
        assert_eq!(
            rules.iter().map(|it| (it.number, it.hits.get())).collect::<Vec<_>>(),
            [(1, 1), (2, 0), (3, 0)]
        );
        list.set(&[rule(1, "80")]);
        list.set(&[rule(1, "80"), rule(2, "90")]);
        assert_eq!(list.hits(), BTreeMap::from([(1, 0), (2, 0)]), "a new rule starts from nothing");
    }
}
