//! Many containers at once, and daemons killed in the middle of it.

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
    let killed = |call: &'static str| {
        docker_test(format!("docker/killed-after/{call}"), move |docker| killed_after(docker, call))
    };
    vec![
        docker_test("docker/many", many),
        killed("IpamDriver.RequestAddress"),
        killed("NetworkDriver.CreateEndpoint"),
        killed("NetworkDriver.Join"),
        killed("NetworkDriver.ProgramExternalConnectivity"),
    ]
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
    docker.ok("network rm net");
    docker.nothing_is_left();
}

/// The daemon is killed as soon as it has answered a call for a container that starts: it starts all the same, or not at all, and
/// then when it is asked again.
fn killed_after(docker: &mut Docker, call: &str) {
    docker.ok("network create -d pontoon --ipam-driver pontoon --subnet 10.77.0.0/29 net");
    let rounds = if full() { 10 } else { 3 };
    for round in 0..rounds {
        let seen = |docker: &Docker| docker.daemon.log().iter().filter(|line| line.contains(call)).count();
        let before = seen(docker);
        let socket = docker.socket();
        let start = thread::spawn(move || {
            let line = "run -d --name ant --network net -p 8080:80 box httpd -f -h /etc";
            Answer::of(Command::new("docker").args(["-H", &socket]).args(line.split_whitespace()))
        });
        until("the call was made", || seen(docker) > before);
        docker.daemon.end(Signal::KILL);
        docker.daemon.start_again();
        let answer = start.join().unwrap();
        if answer.code != Some(0) {
            docker.ok("start ant");
        }
        let page = || fetch(&docker.outside.machine, OUTSIDE, (HOST, 8080), "passwd");
        until("the container serves", || page().is_ok_and(|it| it.starts_with("root:")));
        docker.ok("rm -f ant");
        assert_eq!(docker.stray_devices(), Vec::<String>::new(), "round {round}");
    }
    // Five addresses are free if none was lost.
    for number in 0..5 {
        docker.idle(&format!("c{number}"), "--network net");
    }
    all_at_once(docker, (0..5).map(|it| format!("rm -f c{it}")));
    docker.ok("network rm net");
    docker.nothing_is_left();
}
