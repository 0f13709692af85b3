//! `pontoon bench`: that its documents say everything, and that nothing is left of it. How fast anybody is, is no matter of a test.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use pontoon::link::{LinkError, Links};
use pontoon_tools::lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::SockRef;

use crate::daemon::{Answer, PONTOON, until};
use crate::{Test, full, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("bench/quick", quick),
        test("bench/listed", listed),
        test("bench/every-scenario", every_scenario),
        test("bench/ways-out", ways_out),
        test("bench/sent-by-the-routes-congestion-control", sent_by_the_routes_congestion_control),
        test("bench/at-80-columns", at_80_columns),
        test("bench/compared-with-before", compared_with_before),
        test("bench/ended-by-a-signal", ended_by_a_signal),
        test("bench/not-as-root", not_as_root),
    ]
}

fn bench(words: &str) -> Command {
    let mut command = Command::new(PONTOON);
    command.arg("bench").args(words.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs the bench to its end, and returns the document that it prints.
fn document(words: &str) -> Value {
    let answer = Answer::of(bench(words).arg("--json"));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert_eq!(answer.stderr, "", "a progress bar without a terminal");
    serde_json::from_str(&answer.stdout).unwrap()
}

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().unwrap_or_else(|| panic!("no {field} in {of}"))
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_else(|| panic!("no {field} in {of}"))
}

/// Whoever takes part.
fn present(document: &Value) -> BTreeSet<&str> {
    let present = list(document, "contenders").iter().filter(|it| it["absent"].is_null());
    present.map(|it| text(it, "name")).collect()
}

/// Every scenario was measured, in all rounds by everybody who takes part, and nothing failed.
fn check_scenarios(document: &Value) {
    let rounds = document["settings"]["rounds"].as_u64().unwrap() as usize;
    for scenario in list(document, "scenarios") {
        let name = text(scenario, "name");
        // A kernel may lack a congestion control.
        if let Some(reason) = scenario["absent"].as_str() {
            assert!(reason.contains("congestion control"), "{name}: {reason}");
            continue;
        }
        assert_eq!(scenario.get("notes"), None, "{name}");
        for metric in list(scenario, "metrics") {
            let key = text(metric, "key");
            let of: BTreeSet<_> = list(metric, "of").iter().map(|it| text(it, "contender")).collect();
            assert_eq!(of, present(document), "{name} {key}");
            for series in list(metric, "of").iter().chain([&metric["control"]]) {
                assert_eq!(list(series, "rounds").len(), rounds, "{name} {key}: {series}");
            }
            let pontoon = list(metric, "of").iter().find(|it| it["contender"] == "pontoon").unwrap();
            let value =
                |field: &str| pontoon[field].as_f64().unwrap_or_else(|| panic!("{name} {key}: {pontoon}"));
            assert!(value("min") <= value("median") && value("median") <= value("max"), "{name} {key}");
            // A loss may be none, and so may be the processor time of a moment.
            let may_be_zero = ["loss_percent", "idle_cpu_percent", "machine_memory_mb"].contains(&key)
                || key.contains("cpu");
            assert!(value("min") > 0.0 || may_be_zero, "{name} {key}: {pontoon}");
        }
    }
}

fn quick() {
    let directory = tempfile::tempdir().unwrap();
    let [saved, page] = ["bench.json", "bench.html"].map(|name| directory.path().join(name));
    let words =
        format!("--quick --rounds 1 --seconds 0.02 --save {} --html {}", saved.display(), page.display());
    let traces = Traces::now();
    let document = document(&words);
    assert_eq!(traces, Traces::now());
    assert_eq!(
        (document["schema"].as_u64(), document["settings"]["subject"].as_str()),
        (Some(1), Some("pontoon"))
    );
    for field in ["kernel", "cpu"] {
        assert_ne!(text(&document["machine"], field), "");
    }
    assert!(present(&document).contains("pontoon"));
    check_scenarios(&document);
    let names: BTreeSet<_> = list(&document, "scenarios").iter().map(|it| text(it, "name")).collect();
    assert!(
        names.is_superset(&BTreeSet::from(["tcp-1-cubic", "udp-64", "rr", "snat-out-cubic"])),
        "{names:?}"
    );
    let rr = list(&document, "scenarios").iter().find(|it| it["name"] == "rr").unwrap();
    assert_eq!(list(rr, "curves").len(), present(&document).len());
    // One round proves nothing, and is not said to.
    let metrics = list(&document, "scenarios").iter().flat_map(|it| list(it, "metrics"));
    for comparison in metrics.flat_map(|metric| list(metric, "comparisons")) {
        assert_eq!(text(comparison, "verdict"), "too-few-rounds");
    }
    let saved: Value = serde_json::from_str(&fs::read_to_string(saved).unwrap()).unwrap();
    assert_eq!(saved, document);
    check_page(&fs::read_to_string(page).unwrap(), &document);
}

/// A browser shows it without asking anybody for anything.
fn check_page(page: &str, document: &Value) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    for scenario in list(document, "scenarios") {
        assert!(page.contains(&format!("<h2 id=\"{}\">", text(scenario, "name"))), "{scenario}");
    }
    let plots = list(document, "scenarios").iter().map(|it| list(it, "metrics").len()).sum::<usize>();
    // One for each figure, and the curves.
    assert_eq!(page.matches("<svg ").count(), plots + 1);
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    assert!(!page.contains("NaN") && !page.contains("inf"), "no number");
}

fn listed() {
    let listing = document("--list");
    // Who is not here is listed all the same, with what is missing.
    let names: Vec<_> = list(&listing, "contenders").iter().map(|it| text(it, "name")).collect();
    for name in
        ["bridge", "bridge-off", "pontoon", "pontoon-veth", "docker0", "ovs", "vde", "pasta", "slirp4netns"]
    {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(list(&listing, "scenarios").iter().any(|it| it["name"] == "ports-512" && it["quick"] == false));
    let alone = Answer::of(bench("--list").env("PATH", "/nowhere")).stdout;
    for package in ["iptables", "docker.io", "openvswitch-switch", "vde2", "passt", "slirp4netns"] {
        assert!(alone.contains(&format!(" is not installed (package {package})\n")), "{alone}");
    }
}

fn every_scenario() {
    let large = if full() { "flood ports" } else { "flood-2 ports-2" };
    let words = format!(
        "--scenario tcp udp rr idle setup snat connect {large} --against bridge --rounds 1 --seconds 0.02"
    );
    let document = document(&words);
    assert!(present(&document).is_subset(&BTreeSet::from(["bridge", "pontoon"])));
    check_scenarios(&document);
}

/// Whatever is said of the run fits a terminal.
fn at_80_columns() {
    let words = "--scenario snat-out-cubic rr idle --rounds 6 --seconds 0.02 --against bridge";
    let answer = Answer::of(&mut bench(words));
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.contains("  throughput, Gbit/s") && answer.stdout.contains("    pontoon "));
    for line in answer.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// Who ends the sandbox's connections and goes on with connections of its own is measured as well.
fn ways_out() {
    let words = "--scenario snat connect --against pasta slirp4netns --rounds 1 --seconds 0.1";
    let document = document(words);
    assert_eq!(present(&document), BTreeSet::from(["pasta", "pontoon", "slirp4netns"]));
    check_scenarios(&document);
    for scenario in list(&document, "scenarios").iter().filter(|it| text(it, "name").starts_with("connect-"))
    {
        for series in list(&list(scenario, "metrics")[0], "of") {
            assert!(series["min"].as_f64().unwrap() > 100.0, "hardly a connection: {series}");
        }
    }
}

/// A way out's own connections send by what the route says, whatever the machine's own congestion control is.
fn sent_by_the_routes_congestion_control() {
    let [host, outside] = ["host", "out"].map(|name| Namespace::new(name).unwrap());
    host.run(|| -> Result<(), LinkError> {
        let links = Links::open()?;
        links.create_veth("wan0", "eth0", outside.netns())?;
        let wan0 = links.get("wan0")?;
        links.add_address(&wan0, "198.51.100.2".parse().unwrap(), 24)?;
        links.set_up(&wan0, true)
    })
    .unwrap()
    .unwrap();
    let listener = outside.run(|| -> Result<TcpListener, LinkError> {
        let links = Links::open()?;
        let (eth0, lo) = (links.get("eth0")?, links.get("lo")?);
        links.add_address(&eth0, "198.51.100.1".parse().unwrap(), 24)?;
        links.add_address(&lo, "203.0.113.9".parse().unwrap(), 32)?;
        [eth0, lo].iter().try_for_each(|link| links.set_up(link, true))?;
        Ok(TcpListener::bind("203.0.113.9:0").unwrap())
    });
    let target = listener.as_ref().unwrap().as_ref().unwrap().local_addr().unwrap();
    for congestion in ["reno", "cubic"] {
        let used = host.run(|| {
            let links = Links::open().unwrap();
            let wan0 = links.get("wan0").unwrap();
            // There is a route already the second time.
            links.set_default_congestion(&wan0, "198.51.100.1".parse().unwrap(), congestion).unwrap();
            SockRef::from(&TcpStream::connect(target).unwrap()).tcp_congestion().unwrap()
        });
        assert!(used.unwrap().starts_with(congestion.as_bytes()));
    }
}

fn compared_with_before() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.json");
    let words =
        format!("--scenario idle rr --against bridge --rounds 2 --seconds 0.03 --save {}", old.display());
    let before = document(&words);
    let differences = document(&format!("--compare {}", old.display()));
    // It ran again as it had, so that nothing is unlike.
    assert_eq!(list(&differences, "unlike"), [] as [Value; 0]);
    // Two rounds prove nothing.
    assert_eq!(differences["too_few_rounds"], true);
    assert!(list(&differences, "changes").iter().all(|it| it["became"] == "same"), "{differences}");
    let scenarios: BTreeSet<_> =
        list(&differences, "changes").iter().map(|it| text(it, "scenario")).collect();
    assert_eq!(scenarios, BTreeSet::from(["idle", "rr"]));
    let beside: BTreeSet<_> =
        list(&differences, "changes").iter().filter_map(|it| it["beside"].as_str()).collect();
    assert_eq!(beside.is_empty(), !present(&before).contains("bridge"));
    // A document and itself.
    let file = old.display();
    let same = document(&format!("--compare {file} {file}"));
    assert!(!list(&same, "changes").is_empty());
    assert!(list(&same, "changes").iter().all(|it| it["became"] == "same"), "{same}");
}

fn ended_by_a_signal() {
    for (signal, status) in [(Signal::INT, Some(130)), (Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let traces = Traces::now();
        let mut bench = bench("--scenario rr --rounds 1000 --against bridge");
        let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut children = BTreeSet::new();
        until("the bench's daemon is there", || {
            children.extend(children_of(&bench));
            children.iter().any(|it| it.1.contains("daemon"))
        });
        kill_process(Pid::from_child(&bench), signal).unwrap();
        assert_eq!(bench.wait().unwrap().code(), status, "{signal:?}");
        // The kernel kills them when the bench has gone, and takes a moment.
        until("its programs are gone", || {
            children.iter().all(|it| command_line(it.0).as_ref() != Some(&it.1))
        });
        assert_eq!(traces, Traces::now(), "{signal:?}");
    }
}

/// Numbers and command lines of a process's children.
fn children_of(process: &Child) -> Vec<(u32, String)> {
    let parent = process.id().to_string();
    let numbers =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    let of_parent = |number: &u32| {
        // proc(5): behind the name, which may have anything in it, come the state and the parent's number.
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split(' ').nth(2)) == Some(&parent)
    };
    numbers.filter(of_parent).filter_map(|number| Some((number, command_line(number)?))).collect()
}

/// None when there is no such process, or a dead one.
fn command_line(number: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{number}/cmdline")).ok()?;
    (!text.is_empty()).then(|| text.replace('\0', " "))
}

/// What a bench could leave on the machine.
#[derive(Debug, PartialEq)]
struct Traces {
    interfaces: BTreeSet<String>,
    /// Where those of the bench would be.
    files: Vec<String>,
}

impl Traces {
    fn now() -> Traces {
        let devices = fs::read_to_string("/proc/self/net/dev").unwrap();
        let interfaces = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let names = |directory: &str| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains("bench"))
        };
        let mut files: Vec<String> = names("/run").chain(names("/run/netns")).collect();
        files.extend(mounts.lines().filter(|line| line.contains("bench")).map(str::to_owned));
        Traces { interfaces: interfaces.collect(), files }
    }
}

fn not_as_root() {
    // Where anybody may run it.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("pontoon");
    fs::copy(PONTOON, &program).unwrap();
    let answer = Answer::of(Command::new(&program).arg("bench").uid(65534).gid(65534));
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        answer.stderr,
        "pontoon: the bench makes network namespaces, which needs root; try `sudo pontoon bench`\n"
    );
}
