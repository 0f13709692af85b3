use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::testing::Lab;

/// Asks the API and returns status and JSON; null for an empty body.
async fn ask(lab: &Lab, method: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let answer = router(Arc::clone(&lab.manager)).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    (status, value)
}

async fn ask_json(lab: &Lab, method: &str, path: &str, body: Value) -> (u16, Value) {
    ask(lab, method, path, body.to_string()).await
}

/// Asserts that the answer is an error of one sentence with `words` in it.
fn refused((status, body): (u16, Value), expected: u16, words: &str) {
    let sentence = body["error"].as_str().unwrap_or_default();
    assert_eq!(status, expected, "{body}");
    assert!(sentence.contains(words), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_sandbox_gets_all_that_it_asks_for_or_nothing() {
    let lab = Lab::new(&["a"]);
    lab.create("red", "10.1.0.0/24");
    let body = json!({"name": "web", "sandbox": {"netns": "a"}, "networks": [{"network": "red"}, {"network": "default"}]});
    let (status, made) = ask_json(&lab, "POST", "/sandboxes", body.clone()).await;
    assert_eq!((status, &made["endpoints"][1]["network"]), (201, &json!("default")));
    let path = format!("/sandboxes/{}", made["id"].as_str().unwrap());
    assert_eq!(made["id"], made["endpoints"][0]["sandbox_id"]);
    assert_eq!(ask(&lab, "DELETE", &path, "").await, (204, Value::Null));
    refused(ask(&lab, "DELETE", &path, "").await, 404, "there is no sandbox");
    refused(ask(&lab, "DELETE", "/sandboxes/web", "").await, 400, "64 hexadecimal digits");
    let with = |key: &str, value: Value| {
        let mut body = body.clone();
        body[key] = value;
        body
    };
    for (key, value, status, words) in [
        ("speed", json!(9), 400, "speed"),
        ("sandbox", json!({}), 400, "either netns or pid"),
        ("sandbox", json!({"netns": "b"}), 404, "no network namespace b"),
        ("publications", json!(["80:"]), 400, "does not say what to publish"),
        ("networks", json!([{"network": "red"}, {"network": "blue"}]), 404, "no network blue"),
        ("networks", json!([{"network": "red"}, {"network": "red"}]), 409, "is on the network red already"),
        ("links", json!([{"to": "nobody"}]), 404, "no endpoint nobody on red or default"),
    ] {
        refused(ask_json(&lab, "POST", "/sandboxes", with(key, value)).await, status, words);
        assert_eq!(ask(&lab, "GET", "/ports", "").await, (200, json!([])), "{key}");
    }
}

#[tokio::test]
async fn the_life_of_a_network() {
    let lab = Lab::new(&["a"]);
    let (status, made) =
        ask_json(&lab, "POST", "/networks", json!({"name": "red", "subnet": "10.1.0.0/24"})).await;
    assert_eq!((status, &made["gateway_mac"]), (201, &json!("02:42:0a:01:00:01")));
    assert_eq!(ask(&lab, "GET", "/networks", "").await, (200, json!([made])));
    let body = json!({"sandbox": {"netns": "a"}, "isolated": true});
    let (status, endpoint) = ask_json(&lab, "POST", "/networks/red/endpoints", body).await;
    assert_eq!((status, &endpoint["address"]), (201, &json!("10.1.0.2/24")));
    assert_eq!(ask(&lab, "GET", "/networks/red/endpoints/a", "").await, (200, endpoint));
    let (status, port) = ask_json(&lab, "PATCH", "/ports/red/a", json!({"hairpin": true})).await;
    assert_eq!(status, 200);
    assert_eq!(
        port["flags"],
        json!({
            "learning": true, "flood": true, "isolated": true, "hairpin": true, "guard": true,
            "broadcast_limit": 10_000, "multicast_limit": 0, "unknown_limit": 0, "loop_guard": true,
        })
    );
    assert_eq!(ask(&lab, "GET", "/ports", "").await, (200, json!([port])));
    let entry = json!({"network": "red", "mac": "02:00:00:00:00:01", "port": "red/a"});
    assert_eq!(ask_json(&lab, "POST", "/fdb", entry).await.0, 201);
    let (_, entries) = ask(&lab, "GET", "/fdb?network=red", "").await;
    assert_eq!(entries[0]["kind"], "static");
    assert_eq!(ask(&lab, "DELETE", "/fdb/red/02:00:00:00:00:01", "").await, (204, Value::Null));
    assert_eq!(ask(&lab, "POST", "/fdb/flush?network=red&port=a", "").await.0, 204);
    assert_eq!(ask(&lab, "DELETE", "/fdb/red?port=red/a", "").await.0, 204);
    refused(ask(&lab, "DELETE", "/networks/red", "").await, 409, "in use by a");
    assert_eq!(ask(&lab, "DELETE", "/networks/red/endpoints/a", "").await.0, 204);
    assert_eq!(ask(&lab, "DELETE", "/networks/red", "").await.0, 204);
    refused(ask(&lab, "GET", "/networks/red", "").await, 404, "there is no network red");
    let (_, events) = ask(&lab, "GET", "/events", "").await;
    let names: Vec<_> = events.as_array().unwrap().iter().map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["network-created", "endpoint-attached", "endpoint-detached", "network-removed"]);
}

#[tokio::test]
async fn every_refusal_is_a_sentence() {
    let lab = Lab::new(&[]);
    refused(ask(&lab, "POST", "/networks", "{\n \"name\": \"x\",\n oops").await, 400, "line 3 column 2");
    refused(ask_json(&lab, "POST", "/networks", json!({"mtu": 1})).await, 400, "missing field `name`");
    let unknown = json!({"name": "x", "subnet": "10.1.0.0/24", "mtuu": 1});
    refused(ask_json(&lab, "POST", "/networks", unknown).await, 400, "unknown field `mtuu`");
    refused(ask(&lab, "POST", "/networks", vec![b' '; MAX_BODY + 1]).await, 413, "larger than");
    refused(ask(&lab, "GET", "/nowhere", "").await, 404, "there is nothing at /nowhere");
    refused(ask(&lab, "PUT", "/networks", "").await, 405, "does not take PUT");
    refused(ask(&lab, "GET", "/networks/%ff", "").await, 400, "path");
    refused(
        ask(&lab, "GET", "/fdb?nonsense=1", "").await,
        400,
        "the query ?nonsense=1 is not right: nonsense: unknown parameter `nonsense`, expected `network`",
    );
    refused(
        ask(&lab, "DELETE", "/networks/red?force=perhaps", "").await,
        400,
        "the query ?force=perhaps is not right: force: it is not `true` or `false`",
    );
    refused(ask(&lab, "DELETE", "/fdb/red/nonsense", "").await, 400, "is not a MAC address");
    refused(ask(&lab, "POST", "/fdb/flush?port=a", "").await, 400, "without its network");
    refused(ask(&lab, "POST", "/networks/red/endpoints", r#"{"sandbox":{"netns":"a"}}"#).await, 404, "red");
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_with_its_place() {
    let lab = Lab::new(&["a"]);
    lab.create("red", "10.1.0.0/24");
    for (body, words) in [
        (r#"{"sandbox": {"netns": "a", "pid": 4}}"#, "at sandbox: give either netns or pid"),
        (r#"{"sandbox": {}}"#, "at sandbox: give either netns or pid"),
        (r#"{"sandbox": {"path": "a"}}"#, "unknown field `path`, expected `netns` or `pid`"),
        (r#"{"sandbox": "a"}"#, "expected an object with either netns or pid"),
        (r#"{"sandbox": {"netns": "a"}, "ip": "10.1.0"}"#, "not right at ip: invalid IP address"),
        (
            r#"{"sandbox": {"netns": "a"}, "kind": "bridge"}"#,
            "at kind: unknown variant `bridge`, expected `tap`",
        ),
        (r#"{"sandbox": {"netns": "a"}, "isolated": 1}"#, "at isolated: invalid type"),
        (r#"{"name": "a"}"#, "is not right: missing field `sandbox`"),
        ("[]", "the body must be a JSON object"),
        ("\"a\"", "the body must be a JSON object"),
        ("", "the body must be a JSON object"),
        (r#"{"sandbox": {"netns": "a"}} x"#, "is not JSON: trailing characters"),
        (r#"{"sandbox": "#, "is not JSON: EOF"),
    ] {
        refused(ask(&lab, "POST", "/networks/red/endpoints", body).await, 400, words);
    }
    let nested = r#"{"network": [{"name": "x", "subnet": "10.9.0.0/24"}, {"name": "y", "subnet": "x"}]}"#;
    refused(ask(&lab, "PUT", "/apply", nested).await, 400, "at network[1].subnet: ");
    assert_eq!(lab.manager.network("red").unwrap().endpoints, []);
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let lab = Lab::new(&[]);
    let panicked = work(Arc::clone(&lab.manager), |_| -> Result<(), Error> { panic!("a bug") }).await;
    assert_eq!(panicked.unwrap_err().status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn followers_get_what_was_and_what_comes() {
    let lab = Lab::new(&[]);
    lab.create("red", "10.1.0.0/24");
    let request = Request::get("/events?follow=true").body(Body::empty()).unwrap();
    let answer = router(Arc::clone(&lab.manager)).oneshot(request).await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let mut body = answer.into_body();
    lab.create("blue", "10.2.0.0/24");
    for expected in ["red", "blue"] {
        let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(line.ends_with(b"\n"));
        let event: types::Event = serde_json::from_slice(&line).unwrap();
        assert_eq!(event.subject, expected);
    }
}

#[tokio::test]
async fn declarations_go_up_and_down() {
    let lab = Lab::new(&["a"]);
    let declaration = json!({"network": [
        {"name": "red", "subnet": "10.1.0.0/24", "endpoint": [{"netns": "a"}]},
    ]});
    let (status, applied) = ask_json(&lab, "PUT", "/apply", declaration.clone()).await;
    assert_eq!((status, applied), (200, json!({"changes": ["network red created", "red/a attached"]})));
    assert_eq!(ask_json(&lab, "PUT", "/apply", declaration.clone()).await, (200, json!({"changes": []})));
    assert_eq!(ask_json(&lab, "DELETE", "/apply", declaration).await.0, 200);
    assert_eq!(ask(&lab, "GET", "/networks", "").await, (200, json!([])));
}

#[tokio::test]
async fn the_description_names_every_operation() {
    let lab = Lab::new(&[]);
    let (status, description) = ask(&lab, "GET", "/openapi.json", "").await;
    assert_eq!(status, 200);
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, of)| {
            of.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    // Whatever is described is served, and whatever is served is described.
    for path in described.iter().map(|(path, _)| path).collect::<BTreeSet<_>>() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let (status, _) = ask(&lab, method, path, "").await;
            let is_described = described.contains(&(path.clone(), method.to_owned()));
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
        }
    }
    assert_eq!(described.len(), 48, "{described:?}");
}
