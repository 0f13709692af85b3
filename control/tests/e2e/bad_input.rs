//! Bad input: one clear line that names cause and way out, the right status, and nothing left behind.

use std::path::Path;
use std::process::Command;

use pontoon_tools::lab::Namespace;

use crate::daemon::{Answer, Daemon, PONTOON, Station};
use crate::survive::links;
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("bad-input/commands", commands),
        test("bad-input/files", files),
        test("bad-input/api", api),
        test("bad-input/no-daemon", no_daemon),
        test("bad-input/no-privilege", no_privilege),
    ]
}

/// One line on standard error and nothing else, with all of `words` in it.
fn assert_refused(answer: &Answer, code: i32, words: &[&str], what: &str) {
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(code), ""), "{what}: {answer:?}");
    if code == 1 {
        assert_eq!(answer.stderr.lines().count(), 1, "{what}: {answer:?}");
    }
    let lower = answer.stderr.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{what}: no \"{word}\" in {}", answer.stderr);
    }
}

/// Everything that a refused command could leave.
fn everything(daemon: &Daemon, stations: &[&Namespace]) -> Vec<String> {
    let devices = |namespace: &Namespace| {
        let list = || std::fs::read_to_string("/proc/thread-self/net/dev");
        let text = namespace.run(list).unwrap().unwrap();
        // Names alone: what they carried changes by itself.
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect::<Vec<_>>().join(" ")
    };
    let mut all = vec![daemon.ok("network ls --json"), daemon.ok("port ls --json"), links(daemon).join(" ")];
    all.extend(stations.iter().map(|namespace| devices(namespace)));
    all
}

fn commands() {
    let daemon = Daemon::start();
    daemon.network("");
    let Station { namespace: taken, endpoint } = daemon.attach("--name web --ip 10.88.0.9");
    let free = Namespace::new("e2e-free").unwrap();
    let file = daemon.path("file");
    std::fs::write(&file, "no namespace").unwrap();
    let attach = format!("attach blue --netns {}", free.name());
    let before = everything(&daemon, &[&taken, &free]);
    let cases: &[(&str, i32, &[&str])] = &[
        // networks
        ("network create blue --subnet 10.99.0.0/24", 1, &["network blue", "exists"]),
        ("network create red --subnet 10.88.0.128/25", 1, &["10.88.0.128/25", "overlaps", "blue"]),
        ("network create red --subnet 10.0.0.0/8", 1, &["overlaps", "blue"]),
        ("network create red --subnet 10.99.0.0/0", 1, &["too large"]),
        ("network create red --subnet 10.99.0.0/31", 1, &["too small", "30"]),
        ("network create red --subnet 10.99.0.7/24", 1, &["10.99.0.0/24"]),
        ("network create red --subnet 127.0.0.0/8", 1, &["reserved"]),
        ("network create red --subnet fd00::/64", 1, &["IPv6", "IPv4"]),
        ("network create red --subnet 10.99.0.0/24 --gateway 10.98.0.1", 1, &["10.98.0.1", "gateway"]),
        ("network create red --subnet 10.99.0.0/24 --gateway 10.99.0.255", 1, &["10.99.0.255", "broadcast"]),
        ("network create red --subnet 10.99.0.0/24 --mtu 100", 1, &["MTU", "100", "576"]),
        ("network create -x --subnet 10.99.0.0/24", 2, &["-x"]),
        ("network create a/b --subnet 10.99.0.0/24", 1, &["a/b", "letters"]),
        ("network create red --subnet 10.99.0.0", 2, &["10.99.0.0"]),
        ("network create red --gateway 10.99.0.1", 1, &["need a subnet"]),
        ("network create none", 1, &["no network can be called", "none"]),
        ("network create red --ipv6", 1, &["IPv6"]),
        (
            "network create red --subnet 10.99.0.0/24 --ip-range 10.98.0.0/24",
            1,
            &["10.98.0.0/24", "not inside"],
        ),
        ("network create red --subnet 10.99.0.0/24 --aux-address x=10.99.0.1", 1, &["10.99.0.1", "gateway"]),
        (
            "network create red -o com.docker.network.bridge.enable_icc=yes",
            1,
            &["enable_icc=yes", "true or false"],
        ),
        ("network create red --icc -o com.docker.network.bridge.enable_icc=0", 1, &["contradicts icc=true"]),
        ("network create red -o com.docker.network.bridge.name=lo", 1, &["an interface lo already"]),
        ("network create red -o mtu", 2, &["KEY=VALUE"]),
        ("network inspect red", 1, &["no network red", "network ls"]),
        ("network connect red web", 1, &["no network red"]),
        ("network connect blue nobody", 1, &["no sandbox nobody", "port ls"]),
        ("network connect blue web", 1, &["on the network blue already"]),
        ("network connect blue", 2, &["SANDBOX"]),
        ("network disconnect blue nobody", 1, &["no sandbox nobody"]),
        ("network disconnect blue --netns FREE", 1, &["no endpoint of the sandbox", "network show"]),
        ("network show red", 1, &["no network red", "network ls"]),
        ("network rm red", 1, &["no network red", "network ls"]),
        ("network rm blue", 1, &["in use", "web", "force"]),
        ("network set red --ageing 3", 1, &["no network red"]),
        // endpoints
        ("attach red --netns FREE", 1, &["no network red", "network ls"]),
        ("attach blue --netns no-such-namespace", 1, &["no-such-namespace", "ip netns add"]),
        ("attach blue --netns /no/such/file", 1, &["/no/such/file"]),
        ("attach blue --netns DIR/file", 1, &["not a network namespace"]),
        ("attach blue --pid 4194304", 1, &["process", "4194304"]),
        ("attach blue", 2, &["--netns"]),
        ("attach blue --netns FREE --pid 1", 2, &["--pid"]),
        ("ATTACH --ifname sixteen-byte-nam", 1, &["16 bytes", "15"]),
        ("ATTACH --ifname a/b", 1, &["a/b", "interface"]),
        ("ATTACH --ip 10.99.0.2", 1, &["10.99.0.2", "10.88.0.0/24"]),
        ("ATTACH --ip 10.88.0.9", 1, &["10.88.0.9", "in use", "web"]),
        ("ATTACH --ip 10.88.0.1", 1, &["10.88.0.1", "gateway"]),
        ("ATTACH --ip 10.88.0.0", 1, &["10.88.0.0"]),
        ("ATTACH --ip 10.88.0.255", 1, &["10.88.0.255", "broadcast"]),
        ("ATTACH --ip fd00::2", 1, &["fd00::2", "10.88.0.0/24", "IPv6"]),
        ("ATTACH --ip nonsense", 2, &["nonsense"]),
        ("ATTACH --mac 02:42:0a:58:00:09", 1, &["02:42:0a:58:00:09", "in use", "web"]),
        ("ATTACH --mac 02:42:0a:58:00:01", 1, &["in use", "gateway"]),
        ("ATTACH --mac 01:00:5e:00:00:01", 1, &["01:00:5e:00:00:01", "multicast"]),
        ("ATTACH --mac 00:00:00:00:00:00", 1, &["00:00:00:00:00:00"]),
        ("ATTACH --mac 02:42", 2, &["02:42"]),
        ("ATTACH --name web", 1, &["blue/web", "exists"]),
        ("ATTACH --name a/b", 1, &["a/b", "letters"]),
        ("attach blue --netns TAKEN --name two", 1, &["on the network blue already", "blue/web"]),
        ("ATTACH --alias WEB", 1, &["WEB", "blue/web", "unique"]),
        ("attach blue --pid DAEMON", 1, &["port add"]),
        // The daemon is in a namespace of its own, and the machine's is none for endpoints either.
        ("attach blue --pid MACHINE", 1, &["the host's", "port add"]),
        ("detach blue nobody", 1, &["nobody", "network show"]),
        ("detach red web", 1, &["no network red"]),
        // ports and the forwarding database
        ("port add blue --interface nope0", 1, &["nope0", "ip link"]),
        ("port add blue --interface lo", 1, &["lo", "loopback"]),
        ("port add red --interface lo", 1, &["no network red"]),
        ("port rm blue/web", 1, &["blue/web is an endpoint", "pontoon detach blue web"]),
        ("port rm web", 1, &["NETWORK/NAME", "port ls"]),
        ("port set blue/nobody guard off", 1, &["nobody", "port ls"]),
        ("port set blue/web guard perhaps", 2, &["perhaps"]),
        ("port ls red", 1, &["no network red"]),
        ("fdb add blue 02:00:00:00:00:01 nobody", 1, &["nobody", "port ls"]),
        ("fdb add blue 01:00:5e:00:00:01 web", 1, &["01:00:5e:00:00:01", "multicast"]),
        ("fdb add blue 02:42:0a:58:00:01 web", 1, &["gateway"]),
        ("fdb rm blue 02:00:00:00:00:01", 1, &["02:00:00:00:00:01", "fdb ls"]),
        ("fdb flush red", 1, &["no network red"]),
        ("frobnicate", 2, &["frobnicate"]),
    ];
    // Whoever may not look at process 1 takes its own parent's for the machine's.
    let machine = if std::fs::metadata("/proc/1/ns/net").is_ok() { 1 } else { std::process::id() };
    let mut wrong = Vec::new();
    for (line, code, words) in cases {
        let line =
            line.replace("ATTACH", &attach).replace("FREE", free.name()).replace("TAKEN", taken.name());
        let line = line.replace("DIR/file", file.to_str().unwrap());
        let line = line.replace("DAEMON", &daemon.pid().to_string()).replace("MACHINE", &machine.to_string());
        let answer = daemon.ask(&line.split(' ').collect::<Vec<_>>());
        let check = || assert_refused(&answer, *code, words, &line);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err() {
            wrong.push(format!("{line}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(everything(&daemon, &[&taken, &free]), before);
    assert_eq!(endpoint.name, "web");
    // Nor is any address, MAC or name taken.
    daemon.json::<pontoon::api::types::Endpoint>(&format!("{attach} --ip 10.88.0.2 --name two"));
}

fn files() {
    let daemon = Daemon::start();
    let made = format!("e2e-bad-{}", std::process::id());
    let before = everything(&daemon, &[]);
    let network = "[[network]]\nname = \"blue\"\nsubnet = \"10.88.0.0/24\"\n";
    let namespace = format!("[[namespace]]\nname = \"{made}\"\ncreate = true\n");
    let cases: &[(String, &[&str])] = &[
        (format!("{network}colour = \"blue\"\n"), &["bad.toml:4:1", "colour"]),
        (network.replace("\"10.88.0.0/24\"", "10"), &["bad.toml:3:10"]),
        (network.replace("10.88.0.0/24", "10.88.0.0/33"), &["bad.toml:3:10"]),
        ("[[network]\n".to_owned(), &["bad.toml:1:"]),
        ("[[network]]\nsubnet = \"10.88.0.0/24\"\n".to_owned(), &["bad.toml:1:1", "name"]),
        (format!("{network}{network}"), &["blue", "twice"]),
        (format!("{network}[[network.endpoint]]\nname = \"web\"\n"), &["web", "netns", "pid"]),
        // What is found out only on the way: nothing of what came before is left.
        (
            format!(
                "{namespace}{network}[[network.endpoint]]\nnetns = \"{made}\"\n[[network.endpoint]]\nnetns = \"missing\"\n"
            ),
            &["missing", "ip netns add"],
        ),
        (
            format!(
                "{namespace}{network}[[network.endpoint]]\nnetns = \"{made}\"\nkind = \"veth\"\n[[network.interface]]\nname = \"nope0\"\n"
            ),
            &["nope0"],
        ),
        (
            format!(
                "{namespace}{network}[[network.endpoint]]\nnetns = \"{made}\"\n[[network.endpoint]]\nname = \"two\"\nnetns = \"{made}\"\nifname = \"eth1\"\nip = \"10.88.0.1\"\n"
            ),
            &["on the network blue already"],
        ),
    ];
    let file = daemon.path("bad.toml");
    for (text, words) in cases {
        std::fs::write(&file, text).unwrap();
        let answer = daemon.ask(&["up", "-f", file.to_str().unwrap()]);
        assert_refused(&answer, 1, words, text);
        assert_eq!(everything(&daemon, &[]), before, "{text}");
        assert!(!Path::new("/run/netns").join(&made).exists(), "{text}");
    }
    let answer = daemon.ask(&["up", "-f", "/no/such/file.toml"]);
    assert_refused(&answer, 1, &["/no/such/file.toml"], "a missing file");
}

fn api() {
    let daemon = Daemon::start();
    daemon.network("");
    let cases = [
        ("POST", "/networks", "{\"name\": ", 400),
        ("POST", "/networks", "{\"subnet\": \"10.9.0.0/24\"}", 400),
        ("POST", "/networks", "{\"name\": \"red\", \"id\": \"12\"}", 400),
        ("POST", "/networks", "{\"name\": \"red\", \"pooled\": true}", 400),
        ("POST", "/networks/blue/connect", "{\"sandbox\": {}}", 400),
        ("POST", "/networks/blue/connect", "{\"sandbox\": {\"name\": \"x\"}}", 404),
        ("POST", "/networks/blue/disconnect", "{\"sandbox\": {\"pid\": 4194304}}", 404),
        ("POST", "/networks", "{\"name\": \"red\", \"subnet\": \"10.9.0.0/24\", \"colour\": 1}", 400),
        ("POST", "/networks", "{\"name\": \"blue\", \"subnet\": \"10.9.0.0/24\"}", 409),
        ("POST", "/networks/red/endpoints", "{\"sandbox\": {\"netns\": \"x\"}}", 404),
        ("POST", "/networks/blue/endpoints", "{\"sandbox\": {\"netns\": \"x\"}}", 404),
        ("POST", "/networks/blue/endpoints", "{\"sandbox\": {\"netns\": \"x\", \"pid\": 1}}", 400),
        ("GET", "/networks/red", "", 404),
        ("GET", "/nothing", "", 404),
        ("DELETE", "/stats", "", 405),
        ("PATCH", "/ports/blue/web", "{\"guard\": 1}", 400),
    ];
    for (method, path, body, status) in cases {
        let (found, answer) = http(&daemon, method, path, body);
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        let error: pontoon::api::types::ErrorBody = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("{method} {path}: {error} in {answer:?}"));
        assert!(error.error.len() > 10 && !error.error.contains('\n'), "{error:?}");
    }
    let (status, text) = http(&daemon, "GET", "/openapi.json", "");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200);
    for path in ["/networks", "/networks/{network}/endpoints", "/ports", "/fdb", "/stats"] {
        assert!(
            document["paths"][path].is_object(),
            "no {path} in {:?}",
            document["paths"].as_object().unwrap().keys()
        );
    }
}

/// One request over the daemon's socket as any HTTP client makes it.
fn http(daemon: &Daemon, method: &str, path: &str, body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.path("pontoon.sock")).unwrap();
    let len = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: pontoon\r\nContent-Type: application/json\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    for line in ["network ls", "stats", "attach blue --netns x", "events"] {
        let mut command = Command::new(PONTOON);
        let answer = Answer::of(command.arg("--socket").arg(&socket).args(line.split(' ')));
        assert_refused(&answer, 1, &["no daemon is running", "none.sock", "daemon"], line);
    }
}

/// As an ordinary user, in the tests' own namespaces.
fn no_privilege() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path(), daemon.path("pontoon.sock").parent().unwrap()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Where nobody can read it in the tree that it was built in, a copy.
    let program = directory.path().join("pontoon");
    std::fs::copy(PONTOON, &program).unwrap();
    let nobody = |command: &mut Command| {
        command.uid(NOBODY).gid(NOBODY);
        Answer::of(command)
    };
    let answer = nobody(
        Command::new(&program).arg("--socket").arg(daemon.path("pontoon.sock")).args(["network", "ls"]),
    );
    assert_refused(&answer, 1, &["permission denied", "root"], "the daemon's socket");
    let mut own = Command::new(&program);
    own.arg("--socket").arg("/run/pontoon/pontoon.sock").arg("daemon");
    let answer = nobody(&mut own);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_refused(
        &answer,
        1,
        &["cannot", "denied", "run it as root, or give --socket and --state"],
        "a daemon of one's own",
    );
}
