//! `pontoon demo` on the real kernel: that it passes, and that it leaves nothing however it ends.
//!
//! Where the machine lacks what it needs the tests are reported as ignored, with the reason; with CI=true that is a
//! failure.

// A failed step is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use pontoon::api::types::SandboxRef;
use pontoon::netns::Netns;
use pontoon_tools::witness::Traces;
use pontoon_tools::{netfilter, nftables};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PONTOON: &str = env!("CARGO_BIN_EXE_pontoon");

type Test = fn() -> Result<(), Failed>;

fn main() -> ExitCode {
    let lack = lack();
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    // These change what they find of the machine, in private mount namespaces, or become somebody else.
    let lack_of_root =
        (!rustix::process::geteuid().is_root()).then(|| "it must be root to begin with".to_owned());
    let lack_of_root = lack.clone().or(lack_of_root);
    let trials: [(&str, Test, &Option<String>); 10] = [
        ("passes_every_check_and_leaves_nothing", passes_every_check_and_leaves_nothing, &lack),
        ("passes_on_a_kernel_without_netfilter", passes_on_a_kernel_without_netfilter, &lack),
        ("shows_a_line_for_each_check", shows_a_line_for_each_check, &lack),
        ("leaves_nothing_on_signals", leaves_nothing_on_signals, &lack),
        ("stays_up_when_asked_and_can_be_reached", stays_up_when_asked_and_can_be_reached, &lack),
        ("says_to_machines_where_it_stays_up", says_to_machines_where_it_stays_up, &lack),
        ("has_no_bridge_veth_or_rule_anywhere", has_no_bridge_veth_or_rule_anywhere, &lack_of_root),
        (
            "works_or_says_why_not_as_an_ordinary_user",
            works_or_says_why_not_as_an_ordinary_user,
            &lack_of_root,
        ),
        ("says_that_the_tun_device_is_another", says_that_the_tun_device_is_another, &lack_of_root),
        ("says_who_may_open_the_tun_device", says_who_may_open_the_tun_device, &lack_of_root),
    ];
    let trials = trials.into_iter().map(|(name, test, lack)| match lack {
        None => Trial::test(name, test),
        Some(reason) if in_ci => {
            let reason = reason.clone();
            Trial::test(name, move || Err(format!("CI must be able to run this: {reason}").into()))
        }
        // The reason becomes part of the name: nothing else of an ignored test is printed.
        Some(reason) => Trial::test(format!("{name} (ignored: {reason})"), || Ok(())).with_ignored_flag(true),
    });
    let trials = trials.collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What this machine lacks for the demo, by the doctor's word.
fn lack() -> Option<String> {
    let output = Command::new(PONTOON).args(["doctor", "--json"]).output().expect("the binary runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the doctor prints JSON");
    if report["demo"] == true {
        return None;
    }
    let bad = |check: &&Value| check["status"] != "ok" && check["name"] != "capabilities";
    let bad = report["checks"].as_array().into_iter().flatten().filter(bad);
    Some(bad.filter_map(|check| check["found"].as_str()).collect::<Vec<_>>().join("; "))
}

/// What the demo could leave on the host.
#[derive(Debug, PartialEq)]
struct Host {
    interfaces: BTreeSet<String>,
    mounts: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    socket_dir: bool,
}

impl Host {
    fn now() -> Host {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let devices = read("/proc/self/net/dev");
        let mounts = read("/proc/self/mountinfo");
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        Host {
            interfaces: devices
                .lines()
                .filter_map(|l| Some(l.split_once(':')?.0.trim().to_owned()))
                .collect(),
            mounts: mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(str::to_owned).collect(),
            namespaces: entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
            socket_dir: fs::exists("/run/pontoon").unwrap_or(false),
        }
    }
}

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(PONTOON);
    command.arg("demo").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the demo and reads its output up to the first line that is the `last` one.
fn start_until(args: &[&str], last: impl Fn(&str) -> bool) -> (Child, Vec<String>) {
    let mut child = demo(args).spawn().unwrap();
    let mut seen = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        seen.push(line.unwrap());
        if last(seen.last().unwrap()) {
            return (child, seen);
        }
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    panic!("the demo ended too early: {seen:?} {stderr} {:?}", child.wait());
}

/// Waits for the demo's end; one that does not end is killed, which no test takes for an end of its own.
fn end_of(mut child: Child) -> ExitStatus {
    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if end.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
            // Not waited for yet, so the number is still the child's.
            kill_process(pid, Signal::KILL).unwrap();
        }
    });
    let status = child.wait().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    status
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn passes_every_check_and_leaves_nothing() -> Result<(), Failed> {
    let before = Host::now();
    let output = demo(&["--json"]).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert!(output.status.success() && report["ok"] == true, "{report:#}");
    assert!(report["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true));
    // Three stations ping two others, the gateway and the outside each, and each has the first three in its ARP table.
    let pings = report["pings"].as_array().unwrap();
    assert!(pings.len() == 12 && pings.iter().all(|ping| ping["median_us"].as_f64().unwrap() > 0.0));
    for name in ["red", "green", "blue"] {
        assert_eq!(report["arp"][name].as_array().unwrap().len(), 3, "{name}");
        let port = format!("demo/{name}");
        assert!(
            report["fdb"].as_array().unwrap().iter().any(|entry| entry["port"] == port.as_str()),
            "{port}"
        );
    }
    check_who_was_asked(report["asked"].as_array().unwrap());
    let fetched = report["fetched"].as_array().unwrap().iter();
    let fetched = fetched.map(|it| (it["by"].as_str().unwrap(), it["bytes"].as_u64().unwrap()));
    assert_eq!(
        fetched.collect::<Vec<_>>(),
        [("red", 10_000_000), ("green", 100_000_000), ("blue", 10_000_000)]
    );
    assert!(report["throughput_gbit_per_s"].as_f64().unwrap() > 0.0);
    if report["offloads"].as_array().unwrap().iter().any(|offload| offload == "tso") {
        assert!(report["mean_frame_bytes"].as_u64().unwrap() > 1514);
    }
    assert!(report["drops"].as_array().unwrap().iter().all(|drop| drop["expected"] == true));
    assert_eq!(before, Host::now());
    Ok(())
}

/// What the outside sees of anybody inside is the uplink's address; who comes from outside keeps his own. The published port is
/// tried by everybody.
fn check_who_was_asked(asked: &[Value]) {
    let mut kinds = BTreeMap::<_, BTreeSet<_>>::new();
    for asked in asked {
        let text = |field: &str| asked[field].as_str().unwrap();
        let address = |field: &str| text(field).split(':').next().unwrap();
        let seen_as = match (text("from"), text("by")) {
            (_, "outside") => "198.51.100.2",
            ("outside", "red") => address("own"),
            // As with docker, the gateway stands in.
            (_, "red") => "10.88.0.1",
            (_, "host") => address("own"),
            other => panic!("{other:?}"),
        };
        assert_eq!(address("seen_as"), seen_as, "{asked}");
        kinds.entry((text("from"), text("by"))).or_default().insert(text("protocol"));
    }
    for name in ["red", "green", "blue"] {
        assert_eq!(kinds[&(name, "outside")], BTreeSet::from(["icmp", "tcp", "udp"]), "{name}");
    }
    for name in ["outside", "host", "red", "green", "blue"] {
        assert_eq!(kinds[&(name, "red")], BTreeSet::from(["tcp", "udp"]), "{name} to the published port");
    }
}

/// As far as one program can tell: seccomp takes every way to netfilter from it.
fn passes_on_a_kernel_without_netfilter() -> Result<(), Failed> {
    let run = || {
        netfilter::deny().unwrap();
        let refused = [nftables::census().map(drop), netfilter::iptables()];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
        // A child has what the thread that makes it still has.
        demo(&["--json"]).output()
    };
    let output = thread::spawn(run).join().unwrap()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert!(output.status.success() && report["ok"] == true, "{report:#}");
    Ok(())
}

fn shows_a_line_for_each_check() -> Result<(), Failed> {
    let output = demo(&[]).output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}");
    for start in [
        " ok    set up ",
        " ok    ping from red ",
        " ok    ping from green ",
        " ok    ping from blue ",
        " ok    ping with 20 kB ",
        " ok    ARP tables ",
        " ok    MAC learning ",
        " ok    seen from outside ",
        " ok    host ",
        " ok    published port 8080 ",
        " ok    red fetches 10 MB ",
        " ok    green fetches 100 MB ",
        " ok    blue fetches 10 MB ",
        " ok    TCP, red to green ",
        " ok    super-frames ",
        " ok    drops ",
        " All 16 checks passed in ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "no \"{start}\" in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours or a progress bar without a terminal:\n{text}");
    // As the whole of it is printed again by sha256sum(1).
    assert!(text.contains("SHA-256 eb3c0e03ee10d5b4"), "{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?} columns:\n{text}");
    Ok(())
}

fn leaves_nothing_on_signals() -> Result<(), Failed> {
    let before = Host::now();
    for (sent, status) in [(Signal::INT, Some(130)), (Signal::TERM, Some(143)), (Signal::KILL, None)] {
        // In the middle: namespaces, devices and daemon are there.
        let (mut child, _) = start_until(&[], |line| line.contains("MAC learning"));
        signal(&child, sent);
        let mut stderr = child.stderr.take().unwrap();
        let ended = end_of(child);
        let mut said = String::new();
        stderr.read_to_string(&mut said)?;
        // Nobody can say anything after SIGKILL.
        assert_eq!(said.contains("all is cleaned up"), status.is_some(), "{said}");
        assert_eq!(ended.code(), status, "{sent:?}: {ended}");
        assert!(status.is_some() || ended.signal() == Some(9));
        assert_eq!(before, Host::now(), "after {sent:?}");
    }
    Ok(())
}

fn stays_up_when_asked_and_can_be_reached() -> Result<(), Failed> {
    let before = Host::now();
    let (child, seen) = start_until(&["--keep"], |line| line.contains("ip neigh"));
    let socket = seen.iter().find_map(|line| line.trim().strip_prefix("export PONTOON_SOCKET=")).unwrap();
    // The very command that is printed for the user to try.
    let list = Command::new(PONTOON).args(["network", "ls", "-q"]).env("PONTOON_SOCKET", socket).output()?;
    assert_eq!((String::from_utf8_lossy(&list.stdout).as_ref(), list.status.code()), ("demo\n", Some(0)));
    let namespace = seen.iter().find_map(|line| line.split_once("--net=")?.1.split(' ').next()).unwrap();
    assert!(fs::metadata(namespace)?.is_file(), "{namespace}");
    signal(&child, Signal::INT);
    assert_eq!(end_of(child).code(), Some(0));
    assert_eq!(before, Host::now());
    Ok(())
}

/// A demo that stays up, and what it says to machines.
fn start_kept() -> (Child, Value) {
    let (child, seen) = start_until(&["--keep", "--json"], |line| line == "}");
    let report = serde_json::from_str(&seen.join("\n")).unwrap();
    (child, report)
}

/// In the demo's host, its sandboxes and the world outside of it.
fn has_no_bridge_veth_or_rule_anywhere() -> Result<(), Failed> {
    let (child, report) = start_kept();
    let (kept, host) = (&report["kept"], format!("/proc/{}/ns/net", child.id()));
    let others = kept["sandboxes"].as_array().unwrap().iter().chain([&kept["outside"]]);
    let others = others.map(|it| it["netns"].as_str().unwrap().to_owned());
    let places: Vec<_> = std::iter::once(host).chain(others).collect();
    assert_eq!(places.len(), 5, "{places:?}");
    for place in places {
        let netns = Netns::find(&SandboxRef::Netns(place.clone()))?;
        let traces = Traces::of(&netns, &[]).unwrap();
        assert!(traces.links.is_empty() && traces.xtables.is_empty(), "{place}: {traces:?}");
        let rules = traces.nf_tables.map_or([0; 3], |it| [it.tables, it.chains, it.rules]);
        assert_eq!(rules, [0; 3], "{place}: {traces:?}");
    }
    signal(&child, Signal::INT);
    assert_eq!(end_of(child).code(), Some(0));
    Ok(())
}

fn says_to_machines_where_it_stays_up() -> Result<(), Failed> {
    let (mut child, report) = start_kept();
    let kept = &report["kept"];
    assert_eq!((&report["ok"], &kept["pid"]), (&Value::from(true), &Value::from(child.id())));
    assert!(fs::exists(kept["socket"].as_str().unwrap())?);
    let sandboxes = kept["sandboxes"].as_array().unwrap();
    let names: Vec<_> = sandboxes.iter().map(|sandbox| sandbox["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["red", "green", "blue"]);
    assert_eq!(kept["outside"]["name"], "outside");
    let enter: Vec<_> = sandboxes[0]["enter"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    let output = Command::new(enter[0]).args(&enter[1..]).args(["cat", "/proc/net/dev"]).output()?;
    assert!(String::from_utf8(output.stdout)?.contains("eth0:"), "{enter:?}");
    signal(&child, Signal::INT);
    let mut stderr = child.stderr.take().unwrap();
    assert_eq!(end_of(child).code(), Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    assert_eq!(said, "");
    Ok(())
}

fn works_or_says_why_not_as_an_ordinary_user() -> Result<(), Failed> {
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let program = dir.path().join("pontoon");
    fs::copy(PONTOON, &program)?;
    let output =
        Command::new(program).args(["demo", "--json"]).current_dir("/").uid(NOBODY).gid(NOBODY).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    match output.status.code() {
        Some(0) => {
            let report: Value = serde_json::from_slice(&output.stdout)?;
            assert!(report["ok"] == true && stderr.is_empty(), "{stderr}");
        }
        Some(1) => {
            assert!(stderr.starts_with("{\"error\":\"the demo ") && stderr.lines().count() == 1, "{stderr}");
            assert!(output.stdout.is_empty());
        }
        other => panic!("{other:?}: {stderr}"),
    }
    Ok(())
}

/// Runs a shell script in a mount namespace of its own; `$0` is the program.
fn with_own_mounts(script: &str) -> Result<Output, Failed> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, PONTOON]);
    Ok(command.stdin(Stdio::null()).current_dir("/").output()?)
}

fn says_that_the_tun_device_is_another() -> Result<(), Failed> {
    const NULL: &str = "mount --bind /dev/null /dev/net/tun";
    let output = with_own_mounts(&format!("{NULL}; exec \"$0\" demo"))?;
    let stderr = String::from_utf8(output.stderr)?;
    let sentence = "/dev/net/tun is not the TUN driver's device; `pontoon doctor` says more\n";
    assert!(stderr.ends_with(sentence) && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    let output = with_own_mounts(&format!("{NULL}; exec \"$0\" doctor"))?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("See the tun device above.") && !text.contains("seccomp"), "{text}");
    assert!(!text.lines().last().unwrap().contains("as this user"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

fn says_who_may_open_the_tun_device() -> Result<(), Failed> {
    // The copy is for where nobody can read it in the tree that it was built in.
    let output = with_own_mounts(
        "mount -t tmpfs -o mode=0755 pontoon-test /dev/net
         mknod -m 0600 /dev/net/tun c 10 200
         cp \"$0\" /dev/net/pontoon
         exec setpriv --reuid 65534 --regid 65534 --clear-groups /dev/net/pontoon demo",
    )?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    for way_out in ["run it as root", "`chmod 0666 /dev/net/tun`"] {
        assert!(stderr.contains(way_out), "{stderr}");
    }
    Ok(())
}
