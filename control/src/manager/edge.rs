//! Publications, rules and links.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Manager;
use crate::api::types::{
    Link, LinkBody, PortRange, Publication, PublicationRequest, PublishedPorts, Rule, RuleBody, RuleRequest,
    WantedPorts,
};
use crate::edge::lease::LeaseError;
use crate::error::Error;
use crate::plan::{self, Step};
use crate::state::{NetworkState, PortName, RulesOf};
use crate::store::{LinkRecord, PublicationRecord, RuleRecord};
use crate::{choose, clock};

/// How long whoever has a port that is published may keep it without our trying to get it.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The most rules that a network or a publication may have: each new session is held against all of them.
const MAX_RULES: usize = 1000;

/// The most ports that are tried where any will do.
const TRIES: usize = 1000;

impl Manager {
    /// Publishes ports of an endpoint. What is published already with the same ports gets the new rules, and its sessions end.
    ///
    /// # Errors
    /// The request cannot be met, or a port is taken; everything is as before then.
    pub fn publish(&self, network: &str, request: &PublicationRequest) -> Result<Publication, Error> {
        let _turn = self.turn();
        let (record, _) = self.publish_now(network, request)?;
        self.publication(network, record.id)
    }

    /// Takes a publication back.
    ///
    /// # Errors
    /// There is none of that number, or something could not be removed.
    pub fn unpublish(&self, network: &str, id: u32) -> Result<(), Error> {
        let _turn = self.turn();
        let record = self.state().publication(network, id)?.clone();
        self.unpublish_now(&record)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// It cannot be, or has no place there.
    pub fn add_rule(&self, of: &RulesOf, request: &RuleRequest) -> Result<Rule, Error> {
        let _turn = self.turn();
        let (mut rules, published) = {
            let state = self.state();
            let publication = of.publication.map(|id| state.publication(&of.network, id)).transpose()?;
            (state.rules(of)?.to_vec(), publication.map(|it| it.ports))
        };
        let rule = choose::rule(&request.rule, published.as_ref())?;
        let place = place(request.at, rules.len() + 1)?;
        let id = choose::next_number(&rules);
        rules.insert(place, RuleRecord { id, rule: rule.clone() });
        self.set_rules_now(of, rules)?;
        Ok(Rule { number: place as u32 + 1, rule, hits: 0 })
    }

    /// Removes the rule with that number.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_rule(&self, of: &RulesOf, number: u32) -> Result<(), Error> {
        let _turn = self.turn();
        let mut rules = self.state().rules(of)?.to_vec();
        let missing = || Error::Missing { what: "rule", name: format!("{number} of {of}"), list: "rule ls" };
        let place =
            (number as usize).checked_sub(1).filter(|place| *place < rules.len()).ok_or_else(missing)?;
        rules.remove(place);
        self.set_rules_now(of, rules).map(drop)
    }

    /// Removes all rules of a list.
    ///
    /// # Errors
    /// There is no such network or publication.
    pub fn flush_rules(&self, of: &RulesOf) -> Result<(), Error> {
        let _turn = self.turn();
        self.set_rules_now(of, Vec::new()).map(drop)
    }

    /// Lets an endpoint of an isolated network speak to another.
    ///
    /// # Errors
    /// The request cannot be met.
    pub fn add_link(&self, network: &str, request: &LinkBody) -> Result<Link, Error> {
        let _turn = self.turn();
        self.link_now(network, request)?;
        Ok(super::view::link(&choose::link(self.state().network(network)?, request)?))
    }

    /// Removes a link.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_link(&self, network: &str, request: &LinkBody) -> Result<(), Error> {
        let _turn = self.turn();
        let record = choose::link(self.state().network(network)?, request)?;
        if !self.state().network(network)?.links.contains(&record) {
            let name = format!("from {} on {network}", record.link);
            return Err(Error::Missing { what: "link", name, list: "link ls" });
        }
        self.unlink_now(&record)
    }

    /// Why a publication is down; none when it is up.
    pub(super) fn cause_of(&self, id: u32) -> Option<String> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn set_down(&self, id: u32, cause: Option<String>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match cause {
            Some(cause) => down.insert(id, cause),
            None => down.remove(&id),
        };
    }

    /// What is wanted, on the host's address that the network's publications stand on if it names none itself.
    fn wanted(&self, network: &str, request: &PublicationRequest) -> Result<WantedPorts, Error> {
        Ok(request.ports.or_on(self.state().network(network)?.record.publish_address))
    }

    /// The publication that is what the request wants, if there is one.
    pub(super) fn published(
        &self,
        network: &str,
        request: &PublicationRequest,
    ) -> Result<Option<PublicationRecord>, Error> {
        let wanted = self.wanted(network, request)?;
        let state = self.state();
        let mut there = state.network(network)?.publications.values();
        Ok(there.find(|it| it.endpoint == request.endpoint && wanted.is_met_by(it.ports)).cloned())
    }

    /// Returns the publication, and whether anything changed.
    pub(super) fn publish_now(
        &self,
        network: &str,
        request: &PublicationRequest,
    ) -> Result<(PublicationRecord, bool), Error> {
        if let Some(there) = self.published(network, request)? {
            let PublicationRecord { ports, id, created, .. } = there;
            let record = choose::publication(&self.state(), network, request, ports, id, created)?;
            check_count(&RulesOf::publication(&record), record.rules.len())?;
            let changed = self.republish_now(&record)?;
            return Ok((record, changed));
        }
        let wanted = self.wanted(network, request)?;
        let record = match wanted.settled() {
            Some(ports) => self.publish_on(network, request, ports)?,
            None => self.publish_on_one_of(network, request, self.any_ports(wanted))?,
        };
        Ok((record, true))
    }

    /// Publishes on the first of these that is free.
    pub(super) fn publish_on_one_of(
        &self,
        network: &str,
        request: &PublicationRequest,
        candidates: impl IntoIterator<Item = PublishedPorts>,
    ) -> Result<PublicationRecord, Error> {
        let mut taken = None;
        let mut tried = 0;
        for ports in candidates {
            match self.publish_on(network, request, ports) {
                Err(error) if is_taken(&error) => taken = Some(error),
                done => return done,
            }
            tried += 1;
        }
        let wanted = format!("{network}/{} {}", request.endpoint, request.ports);
        Err(match taken {
            None => Error::Internal(format!("there was no port to try for {wanted}")),
            Some(error) if tried == 1 => error,
            Some(last) => Error::NoPortsFree { tried, wanted, last: Box::new(last) },
        })
    }

    /// What may be tried where any ports of the host will do.
    pub(super) fn any_ports(&self, wanted: WantedPorts) -> impl Iterator<Item = PublishedPorts> {
        let count = wanted.endpoint.len();
        let PortRange { first, .. } = WantedPorts::ANY;
        let next =
            move |_| first + (self.next_port.fetch_add(count, Relaxed) % WantedPorts::ANY.len()) as u16;
        (0..TRIES).map(next).filter_map(move |first| wanted.from(first))
    }

    fn publish_on(
        &self,
        network: &str,
        request: &PublicationRequest,
        ports: PublishedPorts,
    ) -> Result<PublicationRecord, Error> {
        let id = self.next_publication.load(Relaxed);
        let record = choose::publication(&self.state(), network, request, ports, id, clock::now())?;
        check_count(&RulesOf::publication(&record), record.rules.len())?;
        let steps = plan::publish(self.state().endpoint(network, &record.endpoint)?, &record);
        self.change(&steps).map_err(|error| error.during(what("publish", &record)))?;
        self.next_publication.store(id + 1, Relaxed);
        self.journal.note("published", &subject(&record), "");
        Ok(record)
    }

    /// Makes the publication that has this record's number as it says, and up if it is down. Returns whether anything changed.
    pub(super) fn republish_now(&self, record: &PublicationRecord) -> Result<bool, Error> {
        let down = self.cause_of(record.id).is_some();
        let steps = {
            let state = self.state();
            let endpoint = state.endpoint(&record.network, &record.endpoint)?;
            let before = state.publication(&record.network, record.id)?;
            plan::republish(endpoint, before, record, down)
        };
        self.change(&steps).map_err(|error| error.during(what("publish", record)))?;
        self.set_down(record.id, None);
        if !steps.is_empty() {
            self.journal.note("published", &subject(record), "");
        }
        Ok(!steps.is_empty())
    }

    pub(super) fn unpublish_now(&self, record: &PublicationRecord) -> Result<(), Error> {
        let steps = plan::unpublish(self.state().endpoint(&record.network, &record.endpoint)?, record);
        self.remove(&steps).map_err(|error| error.during(what("unpublish", record)))?;
        self.set_down(record.id, None);
        self.journal.note("unpublished", &subject(record), "");
        Ok(())
    }

    /// Returns whether anything changed.
    pub(super) fn set_rules_now(&self, of: &RulesOf, rules: Vec<RuleRecord>) -> Result<bool, Error> {
        check_count(of, rules.len())?;
        let steps = {
            let state = self.state();
            state.rules(of)?;
            plan::set_rules(state.network(&of.network)?, of.clone(), rules)
        };
        self.change(&steps).map_err(|error| error.during(format!("change the rules of {of}")))?;
        if !steps.is_empty() {
            self.journal.note("rules-changed", &self.subject_of(of), "");
        }
        Ok(!steps.is_empty())
    }

    /// What events call it.
    fn subject_of(&self, of: &RulesOf) -> String {
        let state = self.state();
        let publication = of.publication.and_then(|id| state.publication(&of.network, id).ok());
        publication.map_or_else(|| of.network.clone(), subject)
    }

    /// Sets the rules that `declared` says; those that are there keep their hits. Returns whether anything changed.
    pub(super) fn replace_rules_now(&self, network: &str, declared: &[RuleBody]) -> Result<bool, Error> {
        let of = RulesOf::network(network);
        let there = self.state().rules(&of)?.to_vec();
        let rules = declared.iter().map(|body| choose::rule(body, None)).collect::<Result<Vec<_>, _>>()?;
        self.set_rules_now(&of, choose::numbered(there, &rules))
    }

    /// Returns the link if it is new.
    pub(super) fn link_now(&self, network: &str, request: &LinkBody) -> Result<Option<LinkRecord>, Error> {
        let record = choose::link(self.state().network(network)?, request)?;
        let added = self.change_links(network, &record, |links| links.insert(record.clone()))?;
        if added {
            self.journal.note("linked", &format!("{network}: {}", record.link), "");
        }
        Ok(added.then_some(record))
    }

    pub(super) fn unlink_now(&self, record: &LinkRecord) -> Result<(), Error> {
        self.change_links(&record.network, record, |links| links.remove(record))?;
        self.journal.note("unlinked", &format!("{}: {}", record.network, record.link), "");
        Ok(())
    }

    /// Returns whether anything changed.
    fn change_links(
        &self,
        network: &str,
        record: &LinkRecord,
        change: impl FnOnce(&mut std::collections::BTreeSet<LinkRecord>) -> bool,
    ) -> Result<bool, Error> {
        let steps = {
            let state = self.state();
            let network = state.network(network)?;
            let mut links = network.links.clone();
            change(&mut links);
            plan::set_links(network, links)
        };
        self.change(&steps)
            .map_err(|error| error.during(format!("change the link {} on {network}", record.link)))?;
        Ok(!steps.is_empty())
    }

    /// Links and publications, once the endpoints are there. Whose port is taken meanwhile is down until it can be had.
    pub(super) fn restore_edge(&self, network: &NetworkState) {
        if !network.links.is_empty() {
            let (name, after) = (network.record.name.clone(), network.links.clone());
            let set = Step::SetLinks { network: name, before: Default::default(), after };
            if let Err(error) = self.change(&[set]) {
                tracing::error!(%error, "cannot restore links");
            }
        }
        for record in network.publications.values() {
            if let Err(error) = self.bring_up(network, record) {
                self.journal.note("publication-down", &subject(record), &error.to_string());
                self.set_down(record.id, Some(error.to_string()));
            }
        }
    }

    fn bring_up(&self, network: &NetworkState, record: &PublicationRecord) -> Result<(), Error> {
        let Some(endpoint) = network.endpoints.get(&record.endpoint) else { return Ok(()) };
        self.change(&plan::republish(endpoint, record, record, true))
    }

    /// Tries publications that are down again: when the host's interfaces or addresses have changed since the last time, and
    /// every [`TRY_AGAIN`]. To be called often.
    pub fn retry_publications(&self, now: Instant) {
        let is_down = |record: &&PublicationRecord| self.cause_of(record.id).is_some();
        if !self.is_time_to_retry(now) || !self.state().publications().any(|it| is_down(&it)) {
            return;
        }
        let _turn = self.turn();
        let networks: Vec<NetworkState> = self.state().networks.values().cloned().collect();
        for network in &networks {
            for record in network.publications.values().filter(is_down) {
                let cause = self.bring_up(network, record).err().map(|error| error.to_string());
                if cause.is_none() {
                    self.journal.note("publication-up", &subject(record), "");
                }
                self.set_down(record.id, cause);
            }
        }
    }

    fn is_time_to_retry(&self, now: Instant) -> bool {
        let changes = self.world.interface_changes();
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, known) = *tried;
        let is_time = changes != known || now.saturating_duration_since(last) >= TRY_AGAIN;
        if is_time {
            *tried = (now, changes);
        }
        is_time
    }
}

fn check_count(of: &RulesOf, rules: usize) -> Result<(), Error> {
    if rules <= MAX_RULES {
        return Ok(());
    }
    Err(Error::Conflict(format!("{of} cannot have {rules} rules; {MAX_RULES} is the most")))
}

fn subject(record: &PublicationRecord) -> String {
    format!("{} {}", PortName::new(&record.network, &record.endpoint), record.ports)
}

fn what(action: &str, record: &PublicationRecord) -> String {
    format!("{action} {} of {}/{}", record.ports, record.network, record.endpoint)
}

/// The index of the place `at`, of `places`; the last one when none is asked for.
fn place(at: Option<u32>, places: usize) -> Result<usize, Error> {
    let Some(at) = at else { return Ok(places - 1) };
    (1..=places).contains(&(at as usize)).then(|| at as usize - 1).ok_or_else(|| {
        let possible =
            if places == 1 { "1 is the only one".to_owned() } else { format!("1 to {places} are possible") };
        Error::Declaration(format!("a rule cannot have the number {at}: {possible}"))
    })
}

/// Whether another port might be free where this one is not.
fn is_taken(error: &Error) -> bool {
    match error {
        Error::During { source, .. } => is_taken(source),
        Error::PortsTaken(_) | Error::Lease(LeaseError::Taken(_)) => true,
        _ => false,
    }
}
