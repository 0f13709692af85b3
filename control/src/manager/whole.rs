//! New sandboxes with all that they shall have at once, and their end.

use super::Manager;
use super::document::Done;
use crate::api::types::{
    Endpoint, EndpointRequest, LinkBody, LinkTarget, Membership, NetworkRequest, PortPatch,
    PublicationRequest, Sandbox, SandboxRequest,
};
use crate::error::Error;
use crate::id::Id;
use crate::state::PortName;

/// The network of whoever names none. It is created when it is first needed, and stays.
pub const DEFAULT_NETWORK: &str = "default";

impl Manager {
    /// Puts a new sandbox on its networks, with what it publishes and its links.
    ///
    /// # Errors
    /// Some of it cannot be met; nothing is left of the rest then.
    pub fn add_sandbox(&self, request: &SandboxRequest) -> Result<Sandbox, Error> {
        let _turn = self.turn();
        let mut done = Vec::new();
        let added = self.add_sandbox_now(request, &mut done);
        if added.is_err() {
            self.take_all_back(done);
        }
        added
    }

    /// Takes a sandbox off all of its networks.
    ///
    /// # Errors
    /// No endpoint is in one of that id, or something could not be removed.
    pub fn remove_sandbox(&self, id: Id) -> Result<(), Error> {
        let _turn = self.turn();
        let inside: Vec<PortName> = {
            let state = self.state();
            state.endpoints().filter(|it| it.sandbox_id == id).map(|it| it.port()).collect()
        };
        if inside.is_empty() {
            return Err(Error::Missing { what: "sandbox", name: id.short(), list: "port ls" });
        }
        let errors = inside.iter().filter_map(|it| self.detach_now(&it.network, &it.port).err());
        let errors: Vec<Error> = errors.collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) }
    }

    /// What is done goes into `done`; publications and links go with their endpoint.
    fn add_sandbox_now(&self, request: &SandboxRequest, done: &mut Vec<Done>) -> Result<Sandbox, Error> {
        let usual = [Membership { network: DEFAULT_NETWORK.to_owned(), ..Membership::default() }];
        let networks = if request.networks.is_empty() { &usual[..] } else { &request.networks };
        for membership in networks {
            self.make_default_network(&membership.network, done)?;
            self.attach_now(&membership.network, &endpoint(request, membership), &PortPatch::default())?;
            done.push(Done::Endpoint(PortName::new(&membership.network, &request.name)));
        }
        let names: Vec<&str> = networks.iter().map(|it| it.network.as_str()).collect();
        for link in &request.links {
            let (network, body) = self.link_of(&request.name, &names, link)?;
            self.link_now(&network, &body)?;
        }
        let way_out = self.way_out(&request.name, &names).unwrap_or(DEFAULT_NETWORK);
        for ports in &request.publications {
            let (endpoint, ports) = (request.name.clone(), *ports);
            let request = PublicationRequest { endpoint, ports, allow: Vec::new(), rules: Vec::new() };
            self.publish_now(way_out, &request)?;
        }
        let endpoints = names.iter().map(|network| self.endpoint(network, &request.name));
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
        let id = endpoints.first().map_or(Id::NONE, |it| it.sandbox_id);
        Ok(Sandbox { id, endpoints })
    }

    /// Creates the network of whoever names none, if it is that one and missing.
    fn make_default_network(&self, name: &str, done: &mut Vec<Done>) -> Result<(), Error> {
        if name != DEFAULT_NETWORK || self.state().networks.contains_key(name) {
            return Ok(());
        }
        self.create_network_now(&NetworkRequest { name: name.to_owned(), ..NetworkRequest::default() })?;
        done.push(Done::Network(name.to_owned()));
        Ok(())
    }

    /// The link that is asked for, and the network that it is on.
    fn link_of(
        &self,
        from: &str,
        networks: &[&str],
        target: &LinkTarget,
    ) -> Result<(String, LinkBody), Error> {
        let state = self.state();
        for network in networks {
            // Its own names are not meant: the endpoint of another one may be called so elsewhere.
            if let Some(to) = state.network(network)?.named(&target.to).filter(|it| it.name != from) {
                let (port, protocol) = (target.port, target.protocol);
                let body = LinkBody { from: from.to_owned(), to: to.name.clone(), port, protocol };
                return Ok(((*network).to_owned(), body));
            }
        }
        let name = format!("{} on {}, to link to", target.to, networks.join(" or "));
        Err(Error::Missing { what: "endpoint", name, list: "port ls" })
    }

    /// The network that a sandbox's default route goes by, else the first of them.
    fn way_out<'a>(&self, name: &str, networks: &[&'a str]) -> Option<&'a str> {
        let state = self.state();
        let gives = |network: &&&str| state.endpoint(network, name).is_ok_and(|it| it.default_route);
        networks.iter().find(gives).or(networks.first()).copied()
    }
}

fn endpoint(request: &SandboxRequest, membership: &Membership) -> EndpointRequest {
    EndpointRequest {
        name: Some(request.name.clone()),
        aliases: membership.aliases.clone(),
        ip: membership.ip,
        mac: membership.mac,
        resolver: true,
        dns: request.dns.clone(),
        ..EndpointRequest::of(request.sandbox.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{NetworkPatch, SandboxRef};
    use crate::store::Record;
    use crate::testing::Lab;

    fn request(networks: &[&str]) -> SandboxRequest {
        let membership =
            |network: &&str| Membership { network: (*network).to_owned(), ..Membership::default() };
        SandboxRequest {
            name: "web".into(),
            sandbox: SandboxRef::Netns("a".into()),
            networks: networks.iter().map(membership).collect(),
            dns: Vec::new(),
            publications: vec!["8080:80".parse().unwrap(), "53:53/udp".parse().unwrap()],
            links: vec![LinkTarget { to: "db".into(), port: None, protocol: None }],
        }
    }

    /// The networks red, blue and inner, which is internal, and the endpoint db on blue.
    fn lab() -> Lab {
        let lab = Lab::new(&["a", "b"]);
        for (name, subnet) in [("red", "10.1.0.0/24"), ("blue", "10.2.0.0/24"), ("inner", "10.3.0.0/24")] {
            lab.create(name, subnet);
        }
        let internal = NetworkPatch { internal: Some(true), ..NetworkPatch::default() };
        lab.manager.set_network("inner", &internal).unwrap();
        let db =
            EndpointRequest { name: Some("db".into()), ..EndpointRequest::of(SandboxRef::Netns("b".into())) };
        lab.manager.attach("blue", &db).unwrap();
        lab
    }

    #[test]
    fn wherever_it_fails_nothing_is_left() {
        let lab = lab();
        // An address that was given back rests; all else is as before.
        let is_thing = |it: &Record| !matches!(it, Record::Cursor(_) | Record::Resting(_));
        let all = |lab: &Lab| {
            let records = lab.manager.known_records().into_iter().filter(is_thing);
            (lab.world.snapshot(), records.collect::<Vec<_>>())
        };
        let before = all(&lab);
        let mut steps = 0;
        let made = loop {
            *lab.world.fail_after.lock().unwrap() = Some(steps);
            let made = lab.manager.add_sandbox(&request(&["inner", "red", "blue"]));
            *lab.world.fail_after.lock().unwrap() = None;
            match made {
                Ok(made) => break made,
                Err(error) => assert!(error.to_string().contains("told to fail"), "{error}"),
            }
            assert!(all(&lab) == before, "after {steps} steps");
            steps += 1;
        };
        assert!(steps > 12, "{steps} steps");
        let ifnames: Vec<_> =
            made.endpoints.iter().map(|it| (it.network.as_str(), it.ifname.as_str())).collect();
        assert_eq!(ifnames, [("inner", "eth0"), ("red", "eth1"), ("blue", "eth2")]);
        let published = lab.manager.publications();
        assert!(published.iter().all(|it| it.network == "red") && published.len() == 2, "{published:?}");
        let links: Vec<_> = lab.manager.links().into_iter().map(|it| (it.network, it.from, it.to)).collect();
        assert_eq!(links, [("blue".to_owned(), "web".to_owned(), "db".to_owned())]);

        lab.manager.remove_sandbox(made.id).unwrap();
        assert!(all(&lab) == before);
        assert_eq!(lab.manager.remove_sandbox(made.id).unwrap_err().status(), 404);
    }

    #[test]
    fn the_default_network_is_made_once_and_only_for_who_gets_on_it() {
        let lab = lab();
        let usual = SandboxRequest { links: Vec::new(), ..request(&[]) };
        let taken = SandboxRequest { publications: vec!["0.0.0.0:80:80".parse().unwrap()], ..usual.clone() };
        lab.world.busy.lock().unwrap().insert(80, "nginx".into());
        assert!(lab.manager.add_sandbox(&taken).unwrap_err().to_string().contains("nginx"));
        assert!(lab.manager.network(DEFAULT_NETWORK).is_err());
        let made = lab.manager.add_sandbox(&usual).unwrap();
        assert_eq!(made.endpoints[0].network, DEFAULT_NETWORK);
        lab.manager.remove_sandbox(made.id).unwrap();
        let id = lab.manager.network(DEFAULT_NETWORK).unwrap().id;
        lab.manager.add_sandbox(&usual).unwrap();
        assert_eq!(lab.manager.network(DEFAULT_NETWORK).unwrap().id, id);
    }

    #[test]
    fn a_link_is_to_somebody_else_who_is_there() {
        let lab = lab();
        let on = |networks: &[&str], to: &str| {
            let links = vec![LinkTarget { to: to.into(), port: Some(80), protocol: None }];
            lab.manager.add_sandbox(&SandboxRequest { links, ..request(networks) })
        };
        for (networks, to) in [(&["red"][..], "db"), (&["red", "blue"], "nobody"), (&["blue"], "web")] {
            let error = on(networks, to).unwrap_err();
            assert_eq!(error.status(), 404, "{error}");
        }
        on(&["red", "blue"], "db").unwrap();
    }
}
