//! Many containers at once, and a daemon that dies while they start and end.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;

use pontoon_tools::outside::{HOST, OUTSIDE};
use rustix::process::Signal;

use super::compose::fetch;
use super::{Docker, docker_test};
use crate::daemon::{Answer, until};
use crate::{Test, full};

pub(crate) fn tests() -> Vec<Test> {
    vec![docker_test("docker/many", many), docker_test("docker/killed-at-every-step", killed)]
}

/// Commands of Docker's, all at the same time.
fn all_at_once(docker: &Docker, commands: impl IntoIterator<Item = String>) {
    let socket = docker.socket();
    thread::scope(|scope| {
        let start = |line: String| {
            let socket = &socket;
            let run =
                move || Answer::of(Command::new("docker").args(["-H", socket]).args(line.split_whitespace()));
            scope.spawn(run)
        };
        let started: Vec<_> = commands.into_iter().map(start).collect();
        for one in started {
            let answer = one.join().unwrap();
            assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        }
    });
}

/// What the daemon has open: descriptors by what they are of.
fn descriptors(docker: &Docker) -> BTreeMap<String, usize> {
    let directory = format!("/proc/{}/fd", docker.daemon.pid());
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let kind = target.split(['[', ':']).next().unwrap_or_default().to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// As many containers as the subnet has addresses, twice: whatever the first ones left behind, the second ones would miss.
fn many(docker: &mut Docker) {
    let (prefix, count) = if full() { (25, 125) } else { (28, 13) };
    docker.ok(&format!("network create -d pontoon --ipam-driver pontoon --subnet 10.77.0.0/{prefix} net"));
    docker.ok("run --rm --network net box true");
    let before = descriptors(docker);
    for _ in 0..2 {
        let run =
            |it| format!("run -d --name c{it} --network net -p {}:80 box httpd -f -h /etc", 20_000 + it);
        all_at_once(docker, (0..count).map(run));
        assert_eq!(docker.daemon.ports().iter().filter(|it| !it.port.contains("ptn-")).count(), count);
        // Each has what nobody else has.
        let last = count - 1;
        assert!(docker.can("c0", &format!("ping -c 1 -W 5 c{last}")));
        let page = fetch(&docker.outside.machine, OUTSIDE, (HOST, 20_000 + last as u16), "passwd").unwrap();
        assert!(page.starts_with("root:"), "{page}");
        docker.check_kernel();
        all_at_once(docker, (0..count).map(|it| format!("rm -f c{it}")));
        assert_eq!(docker.stray_devices(), Vec::<String>::new());
        assert_eq!(docker.daemon.ok("ports -q"), "");
        until("no descriptor is left", || {
            let of_before = |kind: &String| before.get(kind).copied().unwrap_or_default();
            // The Engine keeps two connections that nobody uses (net/http's DefaultMaxIdleConnsPerHost).
            let spare = |kind: &String| if kind == "socket" { 2 } else { 0 };
            descriptors(docker).iter().all(|(kind, count)| *count <= of_before(kind) + spare(kind))
        });
    }
    // When this many end at once the Engine miscounts its network's endpoints now and then, for good and with its own bridges too
    // (moby/moby#42119). It counts them anew when it starts.
    docker.end_engine(Signal::TERM);
    docker.start_engine();
    docker.ok("network rm net");
    docker.nothing_is_left();
}

/// The daemon dies before each single step of what starting and removing a container makes it do. What takes something back comes about all the same;
/// what starts something does too when it is asked for again; and nothing is left.
fn killed(docker: &mut Docker) {
    docker.ok("network create -d pontoon --ipam-driver pontoon --subnet 10.77.0.0/29 net");
    docker.ok("network create -d pontoon --internal other");
    let [run, connect, disconnect, remove] = COMMANDS;
    for line in COMMANDS {
        let mut deaths = 0;
        while let Some(answer) = dies(docker, line, deaths + 1) {
            deaths += 1;
            if answer.code != Some(0) {
                assert!(
                    line == run || line == connect,
                    "{line}, killed before step {deaths}: {}",
                    answer.stderr
                );
                assert!(
                    answer.stderr.contains("as Docker repeats a call whose answer was lost"),
                    "{}",
                    answer.stderr
                );
                docker.ok(if line == run { "start ant" } else { line });
            }
            works(docker, line);
            // Back to where it was, for the next step.
            let undone = match line {
                _ if line == run => &[remove][..],
                _ if line == connect => &[disconnect],
                _ if line == disconnect => &[connect],
                _ => &[run],
            };
            undone.iter().for_each(|line| drop(docker.ok(line)));
            assert_eq!(docker.stray_devices(), Vec::<String>::new(), "{line}, after {deaths} deaths");
        }
        assert!(deaths >= 3, "{line} has more steps than {deaths}");
        works(docker, line);
    }
    // The last one would still die some day.
    docker.daemon.end(Signal::KILL);
    docker.daemon.start_again();
    // Five addresses are free if none was lost.
    for number in 0..5 {
        docker.idle(&format!("c{number}"), "--network net");
    }
    all_at_once(docker, (0..5).map(|it| format!("rm -f c{it}")));
    docker.ok("network rm net other");
    docker.nothing_is_left();
}

/// Each stays done for the next one.
const COMMANDS: [&str; 4] = [
    "run -d --name ant --network net -p 8080:80 box httpd -f -h /etc",
    "network connect other ant",
    "network disconnect other ant",
    "rm -f ant",
];

/// Runs a command of Docker's while the daemon dies before its step of that number. What was answered if it died; it runs again then.
fn dies(docker: &mut Docker, line: &'static str, step: usize) -> Option<Answer> {
    docker.daemon.end(Signal::KILL);
    assert!(docker.daemon.start_to_die(&format!("run:{step}")));
    let socket = docker.socket();
    let command = thread::spawn(move || {
        Answer::of(Command::new("docker").args(["-H", &socket]).args(line.split_whitespace()))
    });
    until("the daemon is dead or was not asked so much", || docker.daemon.is_dead() || command.is_finished());
    let died = docker.daemon.is_dead();
    if died {
        docker.daemon.start_again();
    }
    let answer = command.join().unwrap();
    if !died {
        assert_eq!(answer.code, Some(0), "{line}: {}", answer.stderr);
    }
    died.then_some(answer)
}

/// What must be so after a command, however often the daemon died meanwhile.
fn works(docker: &Docker, line: &str) {
    let page = || fetch(&docker.outside.machine, OUTSIDE, (HOST, 8080), "passwd");
    let interfaces = || docker.shell("ant", "ls /sys/class/net").split_whitespace().count();
    if line.starts_with("rm") {
        assert!(page().is_err(), "{line}");
        return;
    }
    until("the container serves", || page().is_ok_and(|it| it.starts_with("root:")));
    assert_eq!(interfaces(), if line.starts_with("network connect") { 3 } else { 2 }, "{line}");
}
