//! The binary as a user calls it, as far as no privilege is needed.

// Helpers outside of #[test] functions are test code as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

fn pontoon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontoon"));
    command.args(args).env_remove("PONTOON_SOCKET").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    pontoon(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_each_command_says_so_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let expected = format!(
        "pontoon: no daemon is running on {0}; start one with `pontoon --socket {0} daemon`\n",
        socket.display()
    );
    for line in [
        "network create blue --subnet 10.88.0.0/24",
        "network ls",
        "network ls --json",
        "network show blue",
        "network inspect blue",
        "network connect blue web",
        "network disconnect blue web",
        "network rm blue",
        "network set blue --ageing 3",
        "attach blue --netns web",
        "detach blue web",
        "port add blue --interface eth1",
        "port rm blue/eth1",
        "port ls -q",
        "port set blue/web guard off",
        "fdb ls",
        "fdb add blue 02:42:0a:58:00:09 web",
        "fdb rm blue 02:42:0a:58:00:09",
        "fdb flush blue",
        "publish blue web 8080:80",
        "unpublish blue web 8080:80",
        "ports",
        "rule add blue deny",
        "rule ls blue",
        "rule rm blue 1",
        "rule flush blue",
        "link blue a b",
        "link ls",
        "unlink blue a b",
        "nat ls --json",
        "nat flush",
        "nat stats",
        "uplink ls",
        "trace blue --from web arp",
        "stats",
        "events",
    ] {
        let output =
            pontoon(&line.split(' ').collect::<Vec<_>>()).env("PONTOON_SOCKET", &socket).output().unwrap();
        let stderr = text(&output.stderr);
        if line.ends_with("--json") {
            let said: serde_json::Value = serde_json::from_str(&stderr).unwrap();
            let sentence = expected.trim_end().strip_prefix("pontoon: ").unwrap();
            assert_eq!(said, serde_json::json!({ "error": sentence }), "{line}");
        } else {
            assert_eq!(stderr, expected, "{line}");
        }
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{line}");
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    for args in
        [&["frobnicate"][..], &["network", "create"], &["attach", "blue"], &["port", "set", "a/b", "x", "on"]]
    {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("--help"), "{args:?}");
    }
    for args in [&["run"][..], &["--json", "run", "--speed", "9", "--", "true"]] {
        assert_eq!(run(args).status.code(), Some(125), "as docker's: {args:?}");
    }
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["attach", "--help"],
        &["--version"],
        &["help", "network", "create"],
    ] {
        assert_eq!(run(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.toml");
    let wrong = dir.path().join("wrong.toml");
    std::fs::write(&wrong, "[[network]]\nname = \"blue\"\nsubnett = \"10.0.0.0/24\"\n").unwrap();
    for (file, parts) in [(&missing, &["missing.toml"][..]), (&wrong, &["wrong.toml", "subnett", "3"])] {
        for command in ["up", "down"] {
            let output = run(&[command, "-f", file.to_str().unwrap()]);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(
                message.starts_with("pontoon: ") && parts.iter().all(|p| message.contains(p)),
                "{message}"
            );
        }
    }
}

#[test]
fn what_a_sandbox_starts_with_is_not_for_everybody() {
    let output = pontoon(&["true"]).arg0("pontoon-run-init").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "pontoon: pontoon-run-init is for `pontoon run` to start; use that\n");
}

#[test]
fn completions_and_manual_are_printed() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("pontoon"), "{shell}");
    }
    assert!(text(&run(&["man"]).stdout).contains(".TH pontoon 1"));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    // More than a pipe holds, so that writing goes on after the reader has left.
    let mut child =
        pontoon(&["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((stderr.as_str(), child.wait().unwrap().code()), ("", Some(0)));
}

#[test]
fn the_doctor_looks_at_everything_and_touches_nothing() {
    let before = std::fs::read_to_string("/proc/net/dev").unwrap();
    let output = run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    for name in [
        "kernel",
        "tun device",
        "capabilities",
        "named netns",
        "user namespaces",
        "open files",
        "TAP devices",
    ] {
        assert!(checks.iter().any(|check| check["name"] == name), "no {name} in {report}");
    }
    for check in checks {
        let explained = check["cost"].is_string() && check["remedy"].is_string();
        assert!(check["status"] == "ok" || explained, "{check}");
    }
    assert_eq!(output.status.success(), report["ok"].as_bool().unwrap());
    let names = |text: &str| {
        text.lines().filter_map(|l| l.split_once(':')).map(|(n, _)| n.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&std::fs::read_to_string("/proc/net/dev").unwrap()));
}

/// A run of `pontoon bench` in which pontoon was `ratio` times as fast as the bridge, with that interval.
fn run_of_a_bench(ratio: f64, [low, high]: [f64; 2], cpu: &str) -> String {
    let comparison = serde_json::json!({
        "peer": "bridge", "ratio": ratio, "low": low, "high": high, "confidence": 0.96875, "verdict": "too-noisy",
    });
    let metric = serde_json::json!({
        "key": "gbit_per_s", "title": "throughput", "unit": "Gbit/s", "better": "more",
        "of": [], "control": null, "drift": 1.02, "comparisons": [comparison],
    });
    let machine = serde_json::json!({
        "kernel": "Linux 6.18.0", "cpu": cpu, "cpus": 2, "memory_mb": 8000.0, "virtual_machine": false, "governor": null,
        "load_before": 0.1, "congestion_controls": ["cubic"],
    });
    let settings = serde_json::json!({
        "rounds": 6, "seconds": 1.0, "quick": false, "subject": "pontoon", "baseline": "bridge", "mtu": 1500, "interval": "",
    });
    let scenario =
        serde_json::json!({ "name": "tcp-1-cubic", "title": "TCP", "absent": null, "metrics": [metric] });
    serde_json::json!({
        "schema": 1, "version": "0.1.0", "build": "release", "started": "2026-11-26T00:00:00Z", "seconds": 9.0,
        "machine": machine, "settings": settings, "contenders": [], "scenarios": [scenario],
    })
    .to_string()
}

#[test]
fn two_runs_of_the_bench_are_compared_without_privilege() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["old", "better", "worse", "same"].map(|name| dir.path().join(name).display().to_string());
    let [old, better, worse, same] = &files;
    std::fs::write(old, run_of_a_bench(0.5, [0.45, 0.55], "A")).unwrap();
    std::fs::write(better, run_of_a_bench(0.9, [0.8, 1.0], "A")).unwrap();
    std::fs::write(worse, run_of_a_bench(0.4, [0.35, 0.44], "B")).unwrap();
    std::fs::write(same, run_of_a_bench(0.6, [0.54, 0.7], "A")).unwrap();
    let compare = |new: &str| text(&run(&["bench", "--compare", old, new]).stdout);
    assert_eq!(
        compare(better),
        "SCENARIO     FIGURE              PONTOON BY   OLD  [RANGE]       NEW  [RANGE]      BECAME\n\
         tcp-1-cubic  throughput, Gbit/s  bridge      0.50  [0.45-0.55]  0.90  [0.80-1.00]  better\n\
         0 figures without a change that could be shown.\n"
    );
    let shown = compare(worse);
    assert!(shown.starts_with("not alike: the processor was A and is B\n"), "{shown}");
    assert!(shown.contains("0.40  [0.35-0.44]  worse\n"), "{shown}");
    assert_eq!(compare(same), "1 figure without a change that could be shown.\n");
    let json = run(&["bench", "--json", "--compare", old, better]);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&document["changes"][0]["became"], &document["changes"][0]["beside"]),
        (&"better".into(), &"bridge".into())
    );
}

#[test]
fn what_the_bench_cannot_read_or_does_not_know_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("old.json").display().to_string();
    std::fs::write(&file, run_of_a_bench(1.0, [1.0, 1.0], "A").replace("\"schema\":1", "\"schema\":2"))
        .unwrap();
    for (arguments, words) in [
        (&["bench", "--compare", &file, &file][..], "it is of schema 2, and this version of pontoon knows 1"),
        (
            &["bench", "--compare", "/nowhere/x.json"],
            "cannot read /nowhere/x.json as what `pontoon bench --json` prints",
        ),
        (&["bench", "--scenario", "tpc"], "there is no scenario tpc; `pontoon bench --list` names them"),
        (
            &["bench", "--against", "docker1"],
            "there is no contender docker1; `pontoon bench --list` names them",
        ),
    ] {
        let output = run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}
