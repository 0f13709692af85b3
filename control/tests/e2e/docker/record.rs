//! What the Engine says to its driver, as it is kept in `tests/recordings/`: a unit test replays it without an Engine.
//!
//! `PONTOON_BLESS=1 cargo test -p pontoon --test e2e -- docker/recorded` writes it anew. What is random (ids, MACs, sandboxes, device names) is
//! numbered in the order of its appearance, so that two recordings of the same Engine are the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Docker, docker_test, docker_test_with};
use crate::Test;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        docker_test("docker/recorded/commands", |docker| check(docker, "commands", commands)),
        docker_test("docker/recorded/engine-killed", |docker| check(docker, "engine-killed", engine_killed)),
        docker_test_with("docker/recorded/live-restore", &["--live-restore"], |docker| {
            check(docker, "live-restore", live_restore);
        }),
    ]
}

fn check(docker: &mut Docker, name: &str, work: impl FnOnce(&mut Docker)) {
    let version = docker.ok("version --format {{.Server.Version}}");
    work(docker);
    let seen = recording(&docker.daemon.log());
    let release: String = version.split('+').next().unwrap_or_default().to_owned();
    let file = format!("engine-{release}-{name}.jsonl");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(&file);
    if std::env::var_os("PONTOON_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &seen).unwrap();
    }
    // Another Engine may speak otherwise: its recording is its own.
    let kept = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{file}: {error}; PONTOON_BLESS=1 records this Engine, {version}"));
    assert!(
        seen == kept,
        "the Engine speaks otherwise than in {file}; PONTOON_BLESS=1 shows what is different:\n{seen}"
    );
}

fn commands(docker: &mut Docker) {
    docker.ok(
        "network create -d pontoon --subnet 10.77.1.0/24 -o com.docker.network.bridge.enable_icc=false one",
    );
    docker.ok("network create -d pontoon --ipam-driver pontoon --subnet 10.77.2.0/24 --ip-range 10.77.2.128/25 --aux-address router=10.77.2.7 --internal two");
    docker.idle("ant", "--network one -p 127.0.0.1:8080:80 -p 9000-9002:90/udp");
    docker.ok("network connect --ip 10.77.2.77 two ant");
    docker.ok("network disconnect two ant");
    docker.ok("stop -t 0 ant");
    docker.ok("start ant");
    docker.ok("restart -t 0 ant");
    docker.ok("rm -f ant");
    docker.ok("network rm one");
    docker.ok("network rm two");
}

fn engine_killed(docker: &mut Docker) {
    docker.ok("network create -d pontoon --subnet 10.77.1.0/24 one");
    docker.idle("ant", "--network one -p 8080:80");
    docker.end_engine(Signal::KILL);
    docker.start_engine();
    docker.ok("rm -f ant");
    docker.ok("network rm one");
}

fn live_restore(docker: &mut Docker) {
    docker.ok("network create -d pontoon --subnet 10.77.1.0/24 one");
    docker.idle("ant", "--network one -p 8080:80");
    docker.end_engine(Signal::TERM);
    docker.start_engine();
    docker.ok("rm -f ant");
    docker.ok("network rm one");
}

/// The calls that the daemon has logged, one a line.
fn recording(log: &[String]) -> String {
    let mut names = Names::default();
    let mut last = Value::Null;
    let mut lines = String::new();
    for line in log.iter().filter_map(|line| line.split_once("pontoon::plugin::record: ")) {
        let mut call = parse(line.1);
        names.number(&mut call);
        // How often the Engine asks what it knows depends on who asks it.
        if call["call"] == "/NetworkDriver.EndpointOperInfo" && call == last {
            continue;
        }
        lines.push_str(&format!("{call}\n"));
        last = call;
    }
    lines
}

/// `call="/X.Y" said="…" answer={…}`
fn parse(line: &str) -> Value {
    let (call, rest) = line.strip_prefix("call=").unwrap().split_once(" said=").unwrap();
    let (said, answer) = rest.rsplit_once(" answer=").unwrap();
    let text = |quoted: &str| serde_json::from_str::<String>(quoted).unwrap();
    let said = match text(said).as_str() {
        "" => Value::Null,
        said => serde_json::from_str(said).unwrap(),
    };
    json!({ "call": text(call), "said": said, "answer": serde_json::from_str::<Value>(answer).unwrap() })
}

/// Numbers for what is random.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn number(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(name) = self.name(text) {
                    *text = name;
                }
            }
            Value::Array(list) => {
                // Go writes what it keeps in maps in random order.
                list.sort_by_key(Value::to_string);
                list.iter_mut().for_each(|it| self.number(it));
            }
            Value::Object(fields) => {
                // Networks before endpoints, whatever order fields have.
                for field in ["NetworkID", "EndpointID"] {
                    fields.get_mut(field).into_iter().for_each(|it| self.number(it));
                }
                let others = fields.iter_mut().filter(|(name, _)| !name.ends_with("ID"));
                others.for_each(|(_, it)| self.number(it));
            }
            _ => {}
        }
    }

    fn name(&mut self, text: &str) -> Option<String> {
        let hex = |text: &str| text.bytes().all(|it| it.is_ascii_hexdigit());
        let next = self.0.len() + 1;
        let name = if text.len() == 64 && hex(text) {
            format!("{next:012x}{:052x}", 0)
        } else if let Some(key) = text.strip_prefix("/run/docker/netns/").filter(|it| hex(it)) {
            format!("/run/docker/netns/{next:0width$x}", width = key.len())
        // Those of 10.77.0.0/16 come from the addresses.
        } else if text.starts_with("02:42:") && text.len() == 17 && !text.starts_with("02:42:0a:4d") {
            format!("02:42:00:00:00:{next:02x}")
        } else if text.starts_with("ptn") && text.len() == 13 {
            format!("ptn{next:010x}")
        } else {
            return None;
        };
        Some(self.0.entry(text.to_owned()).or_insert(name).clone())
    }
}
