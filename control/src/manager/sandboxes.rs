//! Sandboxes that are put on further networks while they run, and taken off.

use super::Manager;
use crate::api::types::{
    ConnectRequest, DisconnectRequest, Endpoint, EndpointRequest, PortPatch, SandboxName, SandboxRef,
};
use crate::choose;
use crate::error::Error;
use crate::netns::NetnsId;
use crate::state::State;
use crate::store::{EndpointRecord, Phase};

/// The fewest digits of an id that stand for it.
const SHORTEST_ID: usize = 4;

impl Manager {
    /// Puts a sandbox on a network.
    ///
    /// # Errors
    /// The request cannot be met; nothing is left of it then.
    pub fn connect(&self, network: &str, request: &ConnectRequest) -> Result<Endpoint, Error> {
        let _turn = self.turn();
        let request = self.attachment(request)?;
        self.attach_now(network, &request, &PortPatch::default())?;
        let name = choose::endpoint_names(&request)?.name;
        self.endpoint(network, &name)
    }

    /// Takes a sandbox off a network.
    ///
    /// # Errors
    /// It is not there, or something could not be removed.
    pub fn disconnect(&self, network: &str, request: &DisconnectRequest) -> Result<(), Error> {
        let _turn = self.turn();
        let (sandbox, netns) = self.find_sandbox(&request.sandbox)?;
        let endpoint = {
            let state = self.state();
            let endpoints = &state.network(network)?.endpoints;
            endpoints.values().find(|it| it.is_in(&sandbox, netns)).map(|it| it.name.clone())
        };
        let missing = || Error::Missing {
            what: "endpoint",
            name: format!("of {} on the network {network}", describe(&request.sandbox)),
            list: "network show",
        };
        self.detach_now(network, &endpoint.ok_or_else(missing)?)
    }

    fn attachment(&self, request: &ConnectRequest) -> Result<EndpointRequest, Error> {
        let (sandbox, netns) = self.find_sandbox(&request.sandbox)?;
        let name = request.name.clone().or_else(|| {
            let state = self.state();
            eldest(&state, |it| it.is_in(&sandbox, netns)).map(|it| it.name.clone())
        });
        Ok(EndpointRequest {
            name,
            aliases: request.aliases.clone(),
            ifname: request.ifname.clone(),
            ip: request.ip,
            mac: request.mac,
            ..EndpointRequest::of(sandbox)
        })
    }

    /// The sandbox as endpoints refer to it, and what it is recognised by.
    fn find_sandbox(&self, name: &SandboxName) -> Result<(SandboxRef, NetnsId), Error> {
        let reference = match name {
            SandboxName::Netns(netns) => SandboxRef::Netns(netns.clone()),
            SandboxName::Pid(pid) => SandboxRef::Pid(*pid),
            SandboxName::Name(name) => return known(&self.state(), name),
        };
        let netns = self.world.sandbox(&reference)?;
        Ok((reference, netns))
    }
}

fn describe(name: &SandboxName) -> String {
    match name {
        SandboxName::Name(name) | SandboxName::Netns(name) => format!("the sandbox {name}"),
        SandboxName::Pid(pid) => format!("the sandbox of process {pid}"),
    }
}

/// The endpoint that has been there longest of those that `which` picks.
fn eldest(state: &State, which: impl Fn(&EndpointRecord) -> bool) -> Option<&EndpointRecord> {
    let there = state.endpoints().filter(|it| it.phase == Phase::Attached && which(it));
    there.min_by_key(|it| (it.created.clone(), it.ifname.len(), it.ifname.clone()))
}

/// The sandbox that some endpoint is in and that `name` stands for: what it is called comes before names of endpoints, and these before ids.
fn known(state: &State, name: &str) -> Result<(SandboxRef, NetnsId), Error> {
    let called = |it: &EndpointRecord| {
        choose::sandbox_name(&it.sandbox) == name || it.sandbox == SandboxRef::Netns(name.to_owned())
    };
    let endpoint = |it: &EndpointRecord| it.name == name;
    let id = |it: &EndpointRecord| name.len() >= SHORTEST_ID && it.sandbox_id.to_string().starts_with(name);
    let ways: [&dyn Fn(&EndpointRecord) -> bool; 3] = [&called, &endpoint, &id];
    for way in ways {
        let Some(found) = eldest(state, way) else { continue };
        if let Some(other) = eldest(state, |it| way(it) && it.sandbox_id != found.sandbox_id) {
            let mut both = [found.port(), other.port()];
            both.sort();
            let [one, another] = both;
            return Err(Error::Conflict(format!(
                "{name} may be the sandbox of {one} or that of {another}; say which by --netns or --pid"
            )));
        }
        return Ok((found.sandbox.clone(), found.netns));
    }
    Err(Error::Missing { what: "sandbox", name: format!("{name} with an endpoint"), list: "port ls" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{NetworkPatch, NetworkRequest};
    use crate::testing::{Lab, endpoint, network};

    fn connect(lab: &Lab, network: &str, sandbox: &str) -> Result<Endpoint, Error> {
        let sandbox = SandboxName::Name(sandbox.into());
        let request =
            ConnectRequest { sandbox, name: None, aliases: vec![], ifname: None, ip: None, mac: None };
        lab.manager.connect(network, &request)
    }

    fn disconnect(lab: &Lab, network: &str, sandbox: &str) -> Result<(), Error> {
        lab.manager.disconnect(network, &DisconnectRequest { sandbox: SandboxName::Name(sandbox.into()) })
    }

    /// Which endpoints give default routes according to the records, and by which interface each namespace has one.
    fn routes(lab: &Lab) -> (Vec<String>, Vec<String>) {
        let known = lab.manager.known();
        let said = known.endpoints().filter(|it| it.default_route).map(|it| it.port().to_string()).collect();
        let there = lab.world.snapshot().routes.into_values().map(|(ifname, via)| format!("{ifname} {via}"));
        (said, there.collect())
    }

    fn lab() -> Lab {
        let lab = Lab::new(&["a", "b"]);
        lab.create("red", "10.1.0.0/24");
        lab.create("blue", "10.2.0.0/24");
        let inner = NetworkRequest { internal: Some(true), ..network("inner", "10.3.0.0/24") };
        lab.manager.create_network(&inner).unwrap();
        lab
    }

    fn gives(lab: &Lab, endpoint: &str, route: &str) {
        assert_eq!(routes(lab), (vec![endpoint.to_owned()], vec![route.to_owned()]));
    }

    #[test]
    fn a_sandbox_is_found_by_whatever_it_is_known_as() {
        let lab = lab();
        let first = EndpointRequest { name: Some("web".into()), ..endpoint("a") };
        let first = lab.manager.attach("red", &first).unwrap();
        assert_eq!(connect(&lab, "blue", "nobody").unwrap_err().status(), 404);
        let id = first.sandbox_id.to_string();
        for known in ["a", "web", &id, &id[..4]] {
            let made = connect(&lab, "blue", known).unwrap();
            assert_eq!(
                (made.name.as_str(), made.ifname.as_str(), made.sandbox_id),
                ("web", "eth1", first.sandbox_id)
            );
            disconnect(&lab, "blue", known).unwrap();
        }
        assert!(connect(&lab, "blue", &id[..3]).is_err());
        let error = disconnect(&lab, "blue", "a").unwrap_err().to_string();
        assert!(error.contains("no endpoint of the sandbox a on the network blue"), "{error}");
        let error = connect(&lab, "red", "a").unwrap_err().to_string();
        assert!(error.contains("is on the network red already, as the endpoint red/web"), "{error}");
        // Another one of that name on another network.
        lab.manager.attach("blue", &EndpointRequest { name: Some("web".into()), ..endpoint("b") }).unwrap();
        let error = connect(&lab, "inner", "web").unwrap_err().to_string();
        assert!(error.contains("may be the sandbox of blue/web or that of red/web"), "{error}");
        assert_eq!(connect(&lab, "inner", "b").unwrap().name, "web");
    }

    #[test]
    fn interfaces_are_numbered_by_the_networks_prefix() {
        let lab = lab();
        let key = "com.docker.network.container_iface_prefix".to_owned();
        let other =
            NetworkRequest { options: [(key, "net".into())].into(), ..network("other", "10.4.0.0/24") };
        lab.manager.create_network(&other).unwrap();
        for (network, ifname) in [("red", "eth0"), ("blue", "eth1"), ("inner", "eth2"), ("other", "net0")] {
            let made = lab.manager.attach(network, &endpoint("a")).unwrap();
            assert_eq!(made.ifname, ifname);
        }
        disconnect(&lab, "red", "a").unwrap();
        assert_eq!(connect(&lab, "red", "a").unwrap().ifname, "eth0", "the first that is free");
    }

    #[test]
    fn the_default_route_is_the_first_networks_that_leads_out() {
        let mut lab = lab();
        lab.manager.attach("inner", &endpoint("a")).unwrap();
        assert_eq!(routes(&lab), (vec![], vec![]), "an internal network gives none");
        connect(&lab, "blue", "a").unwrap();
        gives(&lab, "blue/a", "eth1 10.2.0.1");
        connect(&lab, "red", "a").unwrap();
        gives(&lab, "blue/a", "eth1 10.2.0.1");
        disconnect(&lab, "blue", "a").unwrap();
        gives(&lab, "red/a", "eth2 10.1.0.1");
        lab = lab.restart(|_| ());
        gives(&lab, "red/a", "eth2 10.1.0.1");
        connect(&lab, "blue", "a").unwrap();

        let internal = |on| NetworkPatch { internal: Some(on), ..NetworkPatch::default() };
        lab.manager.set_network("red", &internal(true)).unwrap();
        gives(&lab, "blue/a", "eth1 10.2.0.1");
        lab.manager.set_network("red", &internal(false)).unwrap();
        gives(&lab, "blue/a", "eth1 10.2.0.1");
        disconnect(&lab, "red", "a").unwrap();
        disconnect(&lab, "blue", "a").unwrap();
        assert_eq!(routes(&lab), (vec![], vec![]));
        lab.manager.set_network("inner", &internal(false)).unwrap();
        gives(&lab, "inner/a", "eth0 10.3.0.1");
    }

    #[test]
    fn a_state_that_does_not_say_who_gives_the_route_is_completed() {
        let lab = lab();
        lab.manager.attach("red", &endpoint("a")).unwrap();
        lab.manager.attach("blue", &endpoint("a")).unwrap();
        let before = lab.manager.known().endpoint("red", "a").unwrap().clone();
        let silent = EndpointRecord { default_route: false, ..before.clone() };
        let record = |it: EndpointRecord| crate::store::Record::Endpoint(it);
        let change = crate::store::Change::Replace { before: record(before), after: record(silent) };
        lab.manager.store.commit(&[change]).unwrap();
        let lab = lab.restart(|world| world.there.lock().unwrap().routes.clear());
        gives(&lab, "red/a", "eth0 10.1.0.1");
    }
}
