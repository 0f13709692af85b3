//! A fake Engine: call sequences of real ones, recorded and derived, and calls that nobody should make.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::store::Record;
use crate::testing::Lab;

/// What an Engine is answered: the status and the body.
async fn call(lab: &Lab, path: &str, said: &[u8]) -> (u16, Value) {
    // No Content-Type, as the Engine.
    let request = Request::post(path).body(Body::from(said.to_vec())).unwrap();
    let response = router(Arc::clone(&lab.manager)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn records(lab: &Lab) -> Vec<Record> {
    let is_thing = |record: &Record| !matches!(record, Record::Cursor(_) | Record::Resting(_));
    lab.manager.known_records().into_iter().filter(is_thing).collect()
}

/// Lists sorted, as recordings have them: the Engine writes them in random order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(sorted).collect();
            list.sort_by_key(Value::to_string);
            list.into()
        }
        Value::Object(fields) => fields.iter().map(|(name, it)| (name.clone(), sorted(it))).collect(),
        other => other.clone(),
    }
}

/// Devices have random names: each recorded one stands for one that is seen.
#[derive(Default)]
struct Devices(BTreeMap<String, String>);

impl Devices {
    fn check(&mut self, seen: &mut Value, kept: &Value) {
        let at = "/InterfaceName/SrcName";
        let (Some(seen), Some(kept)) = (seen.pointer_mut(at), kept.pointer(at)) else { return };
        let known = self.0.entry(kept.to_string()).or_insert_with(|| seen.to_string());
        assert_eq!(*known, seen.to_string(), "another device for the same endpoint");
        *seen = kept.clone();
    }
}

fn recording(name: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("note").is_none()).collect()
}

/// Replays a recording, each call as often as `times` says. Everything must be answered as it was, and nothing be left.
async fn replay(name: &str, times: usize) {
    let lab = Lab::new(&[]);
    let before = lab.world.snapshot();
    let mut devices = Devices::default();
    for (line, kept) in recording(name).iter().enumerate() {
        let said = match &kept["said"] {
            Value::Null => String::new(),
            said => said.to_string(),
        };
        for _ in 0..times {
            let (status, seen) = call(&lab, kept["call"].as_str().unwrap(), said.as_bytes()).await;
            let mut seen = sorted(&seen);
            devices.check(&mut seen, &kept["answer"]);
            assert_eq!((status, &seen), (200, &sorted(&kept["answer"])), "{name}, line {}: {kept}", line + 1);
        }
    }
    assert_eq!(records(&lab), []);
    assert_eq!(lab.world.snapshot(), before);
}

const RECORDINGS: [&str; 5] = [
    "engine-20.10.24-commands.jsonl",
    "engine-20.10.24-engine-killed.jsonl",
    "engine-20.10.24-live-restore.jsonl",
    "engine-28-derived.jsonl",
    "engine-29-derived.jsonl",
];

#[tokio::test]
async fn every_generation_of_engines_is_answered() {
    for name in RECORDINGS {
        replay(name, 1).await;
    }
}

/// The Engine says it again when the answer was lost.
#[tokio::test]
async fn every_call_may_come_twice() {
    for name in RECORDINGS {
        replay(name, 2).await;
    }
}

const NETWORK: &str = "0000000000010000000000000000000000000000000000000000000000000000";
const ENDPOINT: &str = "0000000000020000000000000000000000000000000000000000000000000000";
const OTHER: &str = "0000000000030000000000000000000000000000000000000000000000000000";

fn network(change: Value) -> Value {
    let whole = json!({
        "NetworkID": OTHER,
        "Options": { "com.docker.network.enable_ipv6": false, "com.docker.network.generic": {} },
        "IPv4Data": [{ "AddressSpace": "LocalDefault", "Gateway": "10.2.0.1/24", "Pool": "10.2.0.0/24" }],
        "IPv6Data": [],
    });
    merged(whole, change)
}

fn endpoint(change: Value) -> Value {
    let interface = json!({ "Address": "10.1.0.9/24", "AddressIPv6": "", "MacAddress": "" });
    merged(
        json!({ "NetworkID": NETWORK, "EndpointID": OTHER, "Interface": interface, "Options": null }),
        change,
    )
}

fn at(change: Value) -> Value {
    merged(json!({ "NetworkID": NETWORK, "EndpointID": ENDPOINT }), change)
}

fn ports(binding: Value) -> Value {
    at(json!({ "Options": { "com.docker.network.portmap": [binding] } }))
}

/// Fields laid over those of an object, one level deep.
fn merged(mut whole: Value, change: Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        whole[name] = value.clone();
    }
    whole
}

/// A network, an endpoint in a sandbox, a pool with an address.
async fn setup() -> Lab {
    let lab = Lab::new(&[]);
    let pool = json!({ "AddressSpace": "LocalDefault", "Gateway": "10.1.0.1/24", "Pool": "10.1.0.0/24" });
    let mut interface = endpoint(json!({ "EndpointID": ENDPOINT }));
    interface["Interface"]["Address"] = "10.1.0.2/24".into();
    for (path, said) in [
        ("/NetworkDriver.CreateNetwork", network(json!({ "NetworkID": NETWORK, "IPv4Data": [pool] }))),
        ("/NetworkDriver.CreateEndpoint", interface),
        ("/NetworkDriver.Join", at(json!({ "SandboxKey": "/run/docker/netns/1" }))),
        ("/IpamDriver.RequestPool", json!({ "AddressSpace": "pontoon", "Pool": "10.3.0.0/24" })),
        ("/IpamDriver.RequestAddress", json!({ "PoolID": "10.3.0.0/24", "Address": "10.3.0.7" })),
    ] {
        let (status, answer) = call(&lab, path, said.to_string().as_bytes()).await;
        assert!(
            status == 200 && answer.get("Err").is_none() && answer.get("Error").is_none(),
            "{path}: {answer}"
        );
    }
    lab
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_sentence_and_changes_nothing() {
    let lab = setup().await;
    let before = (lab.world.snapshot(), records(&lab));
    let v6 = json!([{ "AddressSpace": "x", "Gateway": "fd00::1/64", "Pool": "fd00::/64" }]);
    let pool = |pool: &str, gateway: &str| json!({ "IPv4Data": [{ "Pool": pool, "Gateway": gateway }] });
    let generic = |options: Value| json!({ "Options": { "com.docker.network.generic": options } });
    let interface = |address: &str, v6: &str, mac: &str| json!({ "Interface": { "Address": address, "AddressIPv6": v6, "MacAddress": mac } });
    let free = "10.1.0.9/24";
    let n = "NetworkDriver";
    let cases: Vec<(&str, &str, Value, &str)> = vec![
        (
            n,
            "CreateNetwork",
            network(json!({ "NetworkID": "blue" })),
            "\"blue\" is not the id of a network: an id has 64",
        ),
        (
            n,
            "CreateNetwork",
            network(json!({ "NetworkID": 7 })),
            "not right at NetworkID: invalid type: integer",
        ),
        (n, "CreateNetwork", network(json!({ "IPv6Data": v6 })), "no gateway for IPv6 yet"),
        (
            n,
            "CreateNetwork",
            network(json!({ "Options": { "com.docker.network.enable_ipv6": true } })),
            "without --ipv6",
        ),
        (n, "CreateNetwork", network(json!({ "IPv4Data": null })), "has one IPv4 subnet, not 0"),
        (n, "CreateNetwork", network(json!({ "IPv4Data": [{}, {}] })), "has one IPv4 subnet, not 2"),
        (n, "CreateNetwork", network(pool("0.0.0.0/0", "")), "\"0.0.0.0/0\" is no IPv4 subnet"),
        (
            n,
            "CreateNetwork",
            network(pool("10.2.0.0/24", "10.9.0.1/24")),
            "10.9.0.1/24 is not in the network's subnet",
        ),
        (n, "CreateNetwork", network(pool("10.2.0.0/24", "10.2.0.0/24")), "10.2.0.0 cannot be the gateway"),
        (
            n,
            "CreateNetwork",
            network(pool("10.1.0.0/16", "")),
            "overlaps with 10.1.0.0/24 of the network 000000000001",
        ),
        (n, "CreateNetwork", network(generic(json!([]))), "com.docker.network.generic must be an object"),
        (n, "CreateNetwork", network(generic(json!({ "a": {} }))), "the option a must be text"),
        (
            n,
            "CreateNetwork",
            network(generic(json!({ "com.docker.network.bridge.enable_icc": "perhaps" }))),
            "write true or false",
        ),
        (
            n,
            "CreateNetwork",
            network(json!({ "NetworkID": NETWORK })),
            "exists with another subnet (10.1.0.0/24",
        ),
        (n, "DeleteNetwork", json!({ "NetworkID": "x" }), "is not the id of a network"),
        (n, "DeleteNetwork", json!({}), "missing field `NetworkID`"),
        (n, "CreateEndpoint", endpoint(json!({ "NetworkID": OTHER })), "pontoon has no network 000000000003"),
        (n, "CreateEndpoint", endpoint(json!({ "EndpointID": "" })), "\"\" is not the id of an endpoint"),
        (
            n,
            "CreateEndpoint",
            endpoint(interface("", "", "")),
            "\"\" is no IPv4 address with a prefix length",
        ),
        (
            n,
            "CreateEndpoint",
            endpoint(interface(free, "fd00::2/64", "")),
            "cannot have the IPv6 address fd00::2/64",
        ),
        (n, "CreateEndpoint", endpoint(interface(free, "", "02:42")), "\"02:42\" is no MAC address"),
        (
            n,
            "CreateEndpoint",
            endpoint(interface(free, "", "01:00:5e:00:00:01")),
            "cannot be a station's MAC",
        ),
        (n, "CreateEndpoint", endpoint(interface("10.9.0.2/24", "", "")), "10.9.0.2 cannot be"),
        (n, "CreateEndpoint", endpoint(interface("10.1.0.1/24", "", "")), "it is the gateway's"),
        (
            n,
            "CreateEndpoint",
            endpoint(interface("10.1.0.2/24", "", "")),
            "in use by the endpoint 000000000002",
        ),
        (
            n,
            "CreateEndpoint",
            endpoint(json!({ "EndpointID": ENDPOINT })),
            "exists with another address (10.1.0.2",
        ),
        (n, "EndpointOperInfo", at(json!({ "EndpointID": OTHER })), "there is no endpoint 000000000003"),
        (n, "DeleteEndpoint", at(json!({ "EndpointID": null })), "not right at EndpointID"),
        (n, "Join", at(json!({ "SandboxKey": "" })), "\"\" is not the path of a sandbox"),
        (n, "Join", at(json!({ "SandboxKey": "netns/1" })), "\"netns/1\" is not the path of a sandbox"),
        (n, "Join", at(json!({ "SandboxKey": "/run/docker/netns/2" })), "/run/docker/netns/1 already"),
        (n, "Join", at(json!({ "SandboxKey": "/run/a", "EndpointID": OTHER })), "there is no endpoint"),
        (n, "Leave", json!([]), "Leave needs a JSON object"),
        (n, "ProgramExternalConnectivity", at(json!({ "EndpointID": OTHER })), "there is no endpoint"),
        (n, "ProgramExternalConnectivity", ports(json!({ "Proto": 132, "Port": 1 })), "not protocol 132"),
        (
            n,
            "ProgramExternalConnectivity",
            ports(json!({ "Proto": 6, "Port": 0 })),
            "0 is no port of a container",
        ),
        (
            n,
            "ProgramExternalConnectivity",
            ports(json!({ "Proto": 6, "Port": 70000 })),
            "portmap is not right at [0].Port",
        ),
        (
            n,
            "ProgramExternalConnectivity",
            ports(json!({ "Proto": 6, "Port": 1, "HostIP": "::" })),
            "on IPv4 addresses",
        ),
        (
            n,
            "ProgramExternalConnectivity",
            ports(json!({ "Proto": 6, "Port": 1, "HostPort": 9, "HostPortEnd": 8 })),
            "9-8 runs backwards",
        ),
        (n, "RevokeExternalConnectivity", json!({ "NetworkID": NETWORK }), "is not the id of an endpoint"),
    ];
    for (driver, method, said, words) in cases {
        refused(&lab, driver, method, said.to_string().as_bytes(), words).await;
        assert_eq!((lab.world.snapshot(), records(&lab)), before, "{method} {said}");
    }
    let i = "IpamDriver";
    let space =
        |change: Value| merged(json!({ "AddressSpace": "pontoon", "Pool": "", "SubPool": "" }), change);
    let address =
        |change: Value| merged(json!({ "PoolID": "10.3.0.0/24", "Address": "", "Options": {} }), change);
    let mac = "com.docker.network.endpoint.macaddress";
    for (method, said, words) in [
        (
            "RequestPool",
            space(json!({ "AddressSpace": "LocalDefault" })),
            "there is no address space \"LocalDefault\"",
        ),
        ("RequestPool", space(json!({ "V6": true })), "no addresses of IPv6"),
        ("RequestPool", space(json!({ "Pool": "ten" })), "\"ten\" is no IPv4 subnet"),
        ("RequestPool", space(json!({ "Pool": "10.1.0.0/16" })), "overlaps"),
        ("RequestPool", space(json!({ "Pool": "127.0.0.0/24" })), "127.0.0.0/24"),
        ("RequestPool", space(json!({ "SubPool": "10.4.0.0/25" })), "needs the subnet that it is a part of"),
        (
            "RequestPool",
            space(json!({ "Pool": "10.4.0.0/24", "SubPool": "10.5.0.0/25" })),
            "is not in the subnet",
        ),
        ("RequestPool", space(json!({ "Options": 1, "Pool": 1 })), "not right at Pool"),
        ("ReleasePool", json!({ "PoolID": "blue" }), "there is no pool \"blue\""),
        ("RequestAddress", address(json!({ "PoolID": "10.4.0.0/24" })), "pontoon has no pool 10.4.0.0/24"),
        ("RequestAddress", address(json!({ "PoolID": "" })), "there is no pool \"\""),
        ("RequestAddress", address(json!({ "Address": "10.9.0.1" })), "10.9.0.1 cannot be"),
        ("RequestAddress", address(json!({ "Address": "fd00::1" })), "\"fd00::1\" is no IPv4 address"),
        ("RequestAddress", address(json!({ "Options": { mac: "x" } })), "\"x\" is no MAC address"),
        (
            "RequestAddress",
            address(json!({ "Address": "10.3.0.7", "Options": { mac: "02:00:00:00:00:01" } })),
            "10.3.0.7 is in use by whoever has leased it",
        ),
        ("ReleaseAddress", address(json!({ "Address": "" })), "\"\" is no IPv4 address"),
    ] {
        refused(&lab, i, method, said.to_string().as_bytes(), words).await;
        assert_eq!((lab.world.snapshot(), records(&lab)), before, "{method} {said}");
    }
}

/// Any method, given what is no call at all.
#[tokio::test]
async fn what_is_no_json_is_refused_by_every_method_that_reads() {
    let lab = setup().await;
    let before = (lab.world.snapshot(), records(&lab));
    let network = [
        "CreateNetwork",
        "DeleteNetwork",
        "CreateEndpoint",
        "EndpointOperInfo",
        "DeleteEndpoint",
        "Join",
        "Leave",
        "ProgramExternalConnectivity",
        "RevokeExternalConnectivity",
    ];
    let ipam = ["RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress"];
    let methods =
        network.map(|it| ("NetworkDriver", it)).into_iter().chain(ipam.map(|it| ("IpamDriver", it)));
    for (driver, method) in methods {
        for (said, words) in [
            (&b""[..], "came without a body"),
            (b"[]", "needs a JSON object"),
            (b"{", "is not JSON: EOF"),
            (b"{\"NetworkID\"}", "is not JSON: expected `:`"),
            (b"{} {}", "missing field"),
        ] {
            // A pool may be asked for without saying anything of it but the space.
            let words = if method == "RequestPool" && said == b"{} {}" { "is not JSON" } else { words };
            refused(&lab, driver, method, said, words).await;
        }
    }
    assert_eq!((lab.world.snapshot(), records(&lab)), before);
}

/// The call must be refused: with status 200, which says so to the Engine, and a sentence in the field that it looks at.
async fn refused(lab: &Lab, driver: &str, method: &str, said: &[u8], words: &str) {
    let (status, answer) = call(lab, &format!("/{driver}.{method}"), said).await;
    let field = if driver == "IpamDriver" { "Error" } else { "Err" };
    let sentence = answer[field].as_str().unwrap_or_default();
    let said = String::from_utf8_lossy(said);
    assert!(status == 200 && sentence.contains(words), "{method} {said}: {status} {answer}, not \"{words}\"");
    assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "one sentence: {sentence}");
}

#[tokio::test]
async fn methods_that_are_not_there_are_told_by_the_status() {
    let lab = Lab::new(&[]);
    for (path, field) in [
        ("/NetworkDriver.Fly", "Err"),
        ("/IpamDriver.Fly", "Error"),
        ("/VolumeDriver.Create", "Err"),
        ("/", "Err"),
        ("/networks", "Err"),
    ] {
        let (status, answer) = call(&lab, path, b"{}").await;
        assert_eq!(status, 404, "{path}");
        assert!(answer[field].as_str().unwrap().starts_with("pontoon has no "), "{answer}");
    }
    let (status, _) = call(&lab, "/NetworkDriver.DiscoverNew", b"{\"DiscoveryType\":1}").await;
    assert_eq!(status, 200);
}

/// A daemon dies under calls of Docker's, and the next one is asked again without a body.
#[tokio::test]
async fn what_was_to_be_taken_back_is_taken_back_by_the_next_daemon() {
    let lab = setup().await;
    let calls = lab.manager.info().state_dir.join("docker-calls");
    std::fs::create_dir_all(&calls).unwrap();
    let whole = |method: &str, said: Value| format!("{method}\n{said}");
    let left = [
        whole("/NetworkDriver.Leave", at(json!({}))),
        whole("/IpamDriver.ReleaseAddress", json!({ "PoolID": "10.3.0.0/24", "Address": "10.3.0.7" })),
        // Cut off while it was written, and nonsense.
        whole("/NetworkDriver.DeleteEndpoint", at(json!({})))[..60].to_owned(),
        "nonsense".to_owned(),
    ];
    for (number, text) in left.iter().enumerate() {
        std::fs::write(calls.join(number.to_string()), text).unwrap();
    }
    let lab = lab.restart(|_| ());
    let drivers = router(Arc::clone(&lab.manager));
    assert!(lab.world.snapshot().ports.is_empty(), "it has left");
    assert_eq!(std::fs::read_dir(&calls).unwrap().count(), 0);
    let again = async |path: &str| {
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = drivers.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    for path in ["/NetworkDriver.Leave", "/IpamDriver.ReleaseAddress"] {
        assert_eq!(again(path).await, json!({}), "{path}");
        // Once for each that was left.
        assert!(again(path).await.to_string().contains("came without a body"), "{path}");
    }
    assert!(again("/NetworkDriver.DeleteEndpoint").await.to_string().contains("came without a body"));
}
