//! Docker's calls on a world that is not there: daemons that die, calls that fail, ports that are taken.

use super::*;
use crate::api::types::{PortRange, Protocol};
use crate::apply::all_or_nothing;
use crate::plugin::network::{CreateEndpoint, EndpointRef, Join};
use crate::plugin::ports::PortBinding;
use crate::testing::Lab;

const SANDBOX: &str = "/run/docker/netns/1";

fn id(digit: char) -> Id {
    digit.to_string().repeat(64).parse().unwrap()
}

fn at() -> EndpointRef {
    EndpointRef { network: id('a'), endpoint: id('b') }
}

fn join() -> Join {
    Join { endpoint: at(), sandbox_key: SANDBOX.to_owned() }
}

fn endpoint(endpoint: EndpointRef, address: &str) -> CreateEndpoint {
    CreateEndpoint { endpoint, address: address.parse().unwrap(), mac: None }
}

/// A network with an endpoint that is in no sandbox yet.
fn lab() -> Lab {
    let lab = Lab::new(&[]);
    lab.manager.docker_create_network(&network()).unwrap();
    lab.manager.docker_create_endpoint(&endpoint(at(), "10.1.0.2/24")).unwrap();
    lab
}

fn network() -> CreateNetwork {
    CreateNetwork {
        id: id('a'),
        subnet: "10.1.0.0/24".parse().unwrap(),
        pooled: false,
        gateway: Some([10, 1, 0, 1].into()),
        auxiliary: Default::default(),
        internal: false,
        options: Default::default(),
    }
}

/// The daemon dies after each step of a join. The next one either has the endpoint in its sandbox or nothing of it, and the Engine's
/// repeated call, the leave and the end all do what they should.
#[test]
fn a_join_that_dies_anywhere_can_be_repeated_and_taken_back() {
    for done in 0..=6 {
        for repeats in [true, false] {
            let lab = lab();
            let reserved = lab.manager.reserved(&at()).unwrap().device;
            let steps = lab.manager.join_steps(&lab.manager.reserved(&at()).unwrap(), SANDBOX).unwrap();
            // Record, device, port, record, names, announcement.
            assert_eq!(steps.len(), 6, "{steps:?}");
            all_or_nothing(lab.manager.site(), &steps[..done]).unwrap();
            let lab = lab.restart(|_| ());
            let ports = lab.world.snapshot().ports.len();
            // Until the record says that it is attached, nobody was told.
            assert_eq!(ports, usize::from(done >= 4), "after {done} steps");
            if repeats {
                assert_eq!(lab.manager.docker_join(&join()).unwrap().device, reserved, "after {done} steps");
                assert_eq!(lab.world.snapshot().ports.len(), 1);
                assert_eq!(lab.world.snapshot().names.len(), 1);
                lab.manager.docker_leave(&at()).unwrap();
            }
            lab.manager.docker_delete_endpoint(&at()).unwrap();
            lab.manager.docker_delete_network(id('a')).unwrap();
            nothing_is_left(&lab);
        }
    }
}

fn nothing_is_left(lab: &Lab) {
    let there = lab.world.snapshot();
    let devices: Vec<_> = there.devices.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(devices, ["nic0"]);
    assert!(
        there.ports.is_empty()
            && there.names.is_empty()
            && there.published.is_empty()
            && there.opened.is_empty()
    );
    assert_eq!(lab.manager.known(), Default::default());
}

#[test]
fn a_join_that_fails_anywhere_leaves_the_endpoint_as_it_was() {
    let lab = lab();
    let before = (lab.world.snapshot(), lab.manager.known());
    let mut steps = 0;
    loop {
        *lab.world.fail_after.lock().unwrap() = Some(steps);
        let done = lab.manager.docker_join(&join());
        *lab.world.fail_after.lock().unwrap() = None;
        let Err(error) = done else { break };
        assert!(error.to_string().starts_with("cannot join aaaaaaaaaaaa/bbbbbbbbbbbb: "), "{error}");
        assert_eq!((lab.world.snapshot(), lab.manager.known()), before, "after {steps} steps");
        steps += 1;
    }
    assert_eq!(steps, 4);
}

/// Whatever became of the sandbox while no daemon ran, the endpoint stays until Docker deletes it.
#[test]
fn an_endpoint_whose_device_has_gone_can_be_left_and_deleted() {
    let lab = lab();
    lab.manager.docker_join(&join()).unwrap();
    let lab = lab.restart(|world| {
        let mut there = world.there.lock().unwrap();
        there.devices.retain(|(_, name)| !name.starts_with("ptn") || name.starts_with("ptn-"));
    });
    assert!(lab.world.snapshot().ports.is_empty());
    assert!(lab.manager.docker_endpoint(&at()).is_ok());
    lab.manager.docker_leave(&at()).unwrap();
    lab.manager.docker_delete_endpoint(&at()).unwrap();
    lab.manager.docker_delete_network(id('a')).unwrap();
    nothing_is_left(&lab);
}

/// The Engine never heard that an endpoint was made, so it gives the address to another one, or back.
#[test]
fn an_endpoint_that_docker_never_heard_of_gives_way() {
    let lab = lab();
    let other = EndpointRef { endpoint: id('c'), ..at() };
    lab.manager.docker_create_endpoint(&endpoint(other, "10.1.0.2/24")).unwrap();
    assert!(lab.manager.docker_endpoint(&at()).is_err());
    // One in a sandbox does not.
    lab.manager.docker_join(&Join { endpoint: other, ..join() }).unwrap();
    let error = lab.manager.docker_create_endpoint(&endpoint(at(), "10.1.0.2/24")).unwrap_err().to_string();
    assert!(error.contains("in use by the endpoint cccccccccccc"), "{error}");
    lab.manager.docker_release_address("10.1.0.0/24".parse().unwrap(), [10, 1, 0, 2].into()).unwrap();
    assert!(lab.manager.docker_endpoint(&other).is_ok(), "it is in a sandbox");
    lab.manager.docker_leave(&other).unwrap();
    lab.manager.docker_release_address("10.1.0.0/24".parse().unwrap(), [10, 1, 0, 2].into()).unwrap();
    assert!(lab.manager.docker_endpoint(&other).is_err());
    // A network goes with its pool when nothing is on it.
    lab.manager.docker_release_pool("10.1.0.0/24".parse().unwrap()).unwrap();
    nothing_is_left(&lab);
}

#[test]
fn addresses_that_docker_never_heard_of_are_free_after_a_restart() {
    let lab = Lab::new(&[]);
    let pool: ipnet::Ipv4Net = "10.1.0.0/24".parse().unwrap();
    lab.manager.request_pool(Some(pool.into()), None).unwrap();
    lab.manager.request_pool(None, None).unwrap();
    lab.manager.request_address(pool, Some([10, 1, 0, 1].into()), Some("the gateway")).unwrap();
    let request = CreateNetwork { pooled: true, ..network() };
    lab.manager.docker_create_network(&request).unwrap();
    for (address, mac) in [([10, 1, 0, 2], "02:42:00:00:00:02"), ([10, 1, 0, 3], "02:42:00:00:00:03")] {
        let owner = format!("{ENDPOINT_OWNER}{mac}");
        lab.manager.request_address(pool, Some(address.into()), Some(&owner)).unwrap();
    }
    lab.manager.request_address(pool, Some([10, 1, 0, 9].into()), None).unwrap();
    lab.manager.docker_create_endpoint(&endpoint(at(), "10.1.0.2/24")).unwrap();
    let lab = lab.restart(|_| ());
    let pools = lab.manager.pools();
    assert_eq!(pools.len(), 1, "nothing came of the other pool");
    let leases: Vec<u8> = pools[0].leases.iter().map(|it| it.address.octets()[3]).collect();
    assert_eq!(leases, [1, 2, 9], "nothing came of 10.1.0.3");
}

#[test]
fn endpoints_of_a_sandbox_know_each_others_addresses_and_names_are_served_once() {
    let lab = lab();
    let mut second = EndpointRef { network: id('d'), endpoint: id('e') };
    let request = CreateNetwork {
        id: second.network,
        subnet: "10.2.0.0/24".parse().unwrap(),
        pooled: false,
        gateway: None,
        auxiliary: Default::default(),
        internal: true,
        options: Default::default(),
    };
    lab.manager.docker_create_network(&request).unwrap();
    lab.manager.docker_create_endpoint(&endpoint(second, "10.2.0.2/24")).unwrap();
    lab.manager.docker_join(&join()).unwrap();
    let joined = lab.manager.docker_join(&Join { endpoint: second, ..join() }).unwrap();
    assert_eq!(joined.gateway, None, "an internal network leads nowhere");
    let known = |lab: &Lab| -> Vec<usize> {
        let ports = lab.world.snapshot().ports.into_values();
        ports.map(|(_, identity)| identity.unwrap().sandbox_addresses.len()).collect()
    };
    assert_eq!(known(&lab), [2, 2]);
    let lab = lab.restart(|_| ());
    assert_eq!((known(&lab), lab.world.snapshot().names.len()), (vec![2, 2], 1));
    lab.manager.docker_leave(&at()).unwrap();
    assert_eq!((known(&lab), lab.world.snapshot().names.len()), (vec![1], 1));
    lab.manager.docker_leave(&second).unwrap();
    assert_eq!(lab.world.snapshot().names.len(), 0);
    // Another sandbox is another one.
    second.endpoint = id('f');
    lab.manager.docker_create_endpoint(&endpoint(second, "10.2.0.3/24")).unwrap();
    lab.manager.docker_join(&join()).unwrap();
    lab.manager.docker_join(&Join { endpoint: second, sandbox_key: "/run/docker/netns/2".into() }).unwrap();
    assert_eq!((known(&lab), lab.world.snapshot().names.len()), (vec![1, 1], 2));
}

fn binding(port: u16, host_ports: Option<(u16, u16)>) -> PortBinding {
    let host_ports = host_ports.map(|(first, last)| PortRange { first, last });
    PortBinding { protocol: Protocol::Tcp, port, host_ip: None, host_ports }
}

fn published(lab: &Lab) -> Vec<String> {
    let mut ports: Vec<_> =
        lab.manager.docker_endpoint(&at()).unwrap().ports.iter().map(ToString::to_string).collect();
    ports.sort();
    ports
}

#[test]
fn what_is_published_is_what_the_last_call_says() {
    let lab = lab();
    let publish = |bindings: &[PortBinding]| {
        lab.manager.docker_publish(&at(), bindings).map_err(|error| error.to_string())
    };
    let error = publish(&[binding(80, Some((8080, 8080)))]).unwrap_err();
    assert!(error.contains("is in no sandbox"), "{error}");
    lab.manager.docker_join(&join()).unwrap();
    *lab.world.busy.lock().unwrap() = [(8080, "somebody".to_owned()), (32768, "a client".to_owned())].into();
    publish(&[binding(80, Some((8080, 8082))), binding(53, None)]).unwrap();
    assert_eq!(published(&lab), ["32769:53/tcp", "8081:80/tcp"]);
    // Again: nothing moves, and what is not asked for goes.
    publish(&[binding(80, Some((8080, 8082))), binding(53, None)]).unwrap();
    assert_eq!(published(&lab), ["32769:53/tcp", "8081:80/tcp"]);
    publish(&[binding(80, Some((8080, 8082))), binding(81, Some((8083, 8083)))]).unwrap();
    assert_eq!(published(&lab), ["8081:80/tcp", "8083:81/tcp"]);
    // One that cannot be had: all is as before.
    let error = publish(&[binding(82, Some((8084, 8084))), binding(80, Some((8080, 8080)))]).unwrap_err();
    assert!(error.contains("8080 is taken by somebody"), "{error}");
    assert_eq!(published(&lab), ["8081:80/tcp", "8083:81/tcp"]);
    lab.manager.docker_unpublish(&at()).unwrap();
    assert!(published(&lab).is_empty());
    publish(&[binding(80, Some((8085, 8085)))]).unwrap();
    // An Engine that has forgotten revokes nothing before the endpoint leaves.
    lab.manager.docker_leave(&at()).unwrap();
    assert!(published(&lab).is_empty());
}

#[test]
fn names_are_the_digits_that_docker_shows() {
    assert_eq!(unused_name(id('a'), |_| false), "a".repeat(12));
    assert_eq!(unused_name(id('a'), |name| name.len() < 40), "a".repeat(48));
}
