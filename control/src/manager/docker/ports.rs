//! Published ports: all that a container publishes, set at once by the endpoint that is its way out.

use super::Manager;
use crate::api::types::{PortRange, PublicationRequest, PublishedPorts, WantedPorts};
use crate::error::Error;
use crate::plugin::network::EndpointRef;
use crate::plugin::ports::PortBinding;
use crate::state::PortName;
use crate::store::PublicationRecord;

impl Manager {
    /// Publishes exactly these ports of an endpoint. What is published already stays as it is.
    ///
    /// # Errors
    /// The endpoint is in no sandbox, or a port is not to be had: what was published before is published still then, and nothing else.
    pub fn docker_publish(&self, at: &EndpointRef, bindings: &[PortBinding]) -> Result<(), Error> {
        let _turn = self.turn();
        let record = self.reserved(at)?;
        let (network, endpoint) = (record.network.as_str(), record.name.as_str());
        if self.joined(&record).is_none() {
            let port = PortName::new(network, endpoint);
            return Err(Error::Conflict(format!("{port} is in no sandbox, so it has nothing to publish")));
        }
        let mut there = self.publications_of(network, endpoint);
        let mut missing = Vec::new();
        for binding in bindings {
            match there.iter().position(|it| self.satisfies(network, it.ports, binding)) {
                Some(place) => drop(there.swap_remove(place)),
                None => missing.push(*binding),
            }
        }
        // What is not wanted any more goes first: it may stand on a port that is wanted.
        for gone in &there {
            self.unpublish_now(gone)?;
        }
        let mut made = Vec::new();
        for binding in &missing {
            match self.publish_binding(network, endpoint, binding) {
                Ok(record) => made.push(record),
                Err(error) => {
                    self.take_back_publications(network, endpoint, &made, &there);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes everything back that an endpoint publishes.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn docker_unpublish(&self, at: &EndpointRef) -> Result<(), Error> {
        let _turn = self.turn();
        let Ok(record) = self.reserved(at) else { return Ok(()) };
        let all = self.publications_of(&record.network, &record.name);
        let errors: Vec<Error> = all.iter().filter_map(|it| self.unpublish_now(it).err()).collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) }
    }

    fn publications_of(&self, network: &str, endpoint: &str) -> Vec<PublicationRecord> {
        let state = self.state();
        let all = state.networks.get(network).into_iter().flat_map(|it| it.publications.values());
        all.filter(|it| it.endpoint == endpoint).cloned().collect()
    }

    /// Whether what is published is what the binding asks for.
    fn satisfies(&self, network: &str, ports: PublishedPorts, binding: &PortBinding) -> bool {
        let own = PortRange { first: binding.port, last: binding.port };
        let range = binding.host_ports.unwrap_or(WantedPorts::ANY);
        ports.protocol == binding.protocol
            && ports.endpoint == own
            && ports.address == binding.host_ip.or(self.publish_address(network))
            && range.overlaps(ports.host)
    }

    /// The host's address that a network's publications stand on which name none.
    fn publish_address(&self, network: &str) -> Option<std::net::Ipv4Addr> {
        self.state().networks.get(network)?.record.publish_address
    }

    fn publish_binding(
        &self,
        network: &str,
        endpoint: &str,
        binding: &PortBinding,
    ) -> Result<PublicationRecord, Error> {
        let one = PortRange { first: binding.port, last: binding.port };
        let PortBinding { host_ip, protocol, .. } = *binding;
        let address = host_ip.or(self.publish_address(network));
        let ports = WantedPorts { address, host: None, endpoint: one, protocol };
        let (endpoint, allow, rules) = (endpoint.to_owned(), Vec::new(), Vec::new());
        let request = PublicationRequest { endpoint, ports, allow, rules };
        match binding.host_ports {
            Some(PortRange { first, last }) => {
                let candidates = (first..=last).filter_map(|port| ports.from(port));
                self.publish_on_one_of(network, &request, candidates)
            }
            None => self.publish_on_one_of(network, &request, self.any_ports(ports)),
        }
    }

    fn take_back_publications(
        &self,
        network: &str,
        endpoint: &str,
        made: &[PublicationRecord],
        gone: &[PublicationRecord],
    ) {
        let mut errors: Vec<Error> = made.iter().filter_map(|it| self.unpublish_now(it).err()).collect();
        for record in gone {
            let again = PublicationRequest {
                endpoint: endpoint.to_owned(),
                ports: record.ports.into(),
                allow: Vec::new(),
                rules: record.rules.iter().map(|it| it.rule.clone()).collect(),
            };
            errors.extend(self.publish_now(network, &again).err());
        }
        for error in errors {
            tracing::error!(%error, "cannot undo all of what was published");
        }
    }
}
