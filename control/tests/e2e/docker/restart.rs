//! Pontoon restarted under running containers, the Engine restarted, both.

use std::net::Ipv4Addr;

use pontoon_tools::outside::{HOST, OUTSIDE};
use rustix::process::Signal;

use super::compose::fetch;
use super::{Docker, docker_test, docker_test_with};
use crate::Test;
use crate::daemon::until;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        docker_test("docker/restart/pontoon-killed", |docker| pontoon(docker, Signal::KILL)),
        docker_test("docker/restart/pontoon-ended", |docker| pontoon(docker, Signal::TERM)),
        docker_test_with("docker/restart/engine-with-live-containers", &["--live-restore"], |docker| {
            let before = setup(docker);
            docker.end_engine(Signal::TERM);
            docker.start_engine();
            unchanged(docker, before);
            goes_on(docker);
        }),
        docker_test("docker/restart/engine-killed", |docker| {
            setup(docker);
            docker.end_engine(Signal::KILL);
            docker.start_engine();
            comes_back(docker);
        }),
        docker_test("docker/restart/engine-ended", |docker| {
            setup(docker);
            docker.end_engine(Signal::TERM);
            docker.start_engine();
            comes_back(docker);
        }),
        docker_test_with("docker/restart/both-with-live-containers", &["--live-restore"], |docker| {
            let before = setup(docker);
            docker.end_engine(Signal::KILL);
            docker.daemon.end(Signal::KILL);
            docker.daemon.start_again();
            docker.start_engine();
            unchanged(docker, before);
            goes_on(docker);
        }),
        docker_test("docker/restart/both", |docker| {
            setup(docker);
            docker.daemon.end(Signal::KILL);
            docker.end_engine(Signal::KILL);
            docker.daemon.start_again();
            docker.start_engine();
            comes_back(docker);
        }),
        docker_test("docker/restart/forgotten-state", forgotten_state),
    ]
}

/// Two networks, three containers; who has which port.
fn setup(docker: &Docker) -> String {
    docker.ok("network create -d pontoon front");
    docker.ok("network create -d pontoon --ipam-driver pontoon --subnet 10.77.0.0/24 back");
    docker.web("db", "--restart always --network back");
    docker.web("web", "--restart always --network front -p 8080:80");
    docker.ok("network connect back web");
    docker.idle("client", "--restart always --network front");
    works(docker);
    docker.daemon.ok("port ls")
}

/// Everything that the setup is there for.
fn works(docker: &Docker) {
    assert_eq!(docker.shell("client", "wget -qO- http://web/name"), "web");
    assert_eq!(docker.shell("web", "wget -qO- http://db/name"), "db");
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8080), "name").unwrap(), "web");
    let everywhere = Ipv4Addr::UNSPECIFIED;
    assert_eq!(fetch(&docker.daemon.host, everywhere, (HOST, 8080), "name").unwrap(), "web");
    assert!(docker.can("client", &format!("ping -c 1 -W 5 {OUTSIDE}")));
    docker.check_kernel();
}

/// The same ports are there, and all of it works without anybody's doing anything.
fn unchanged(docker: &Docker, before: String) {
    assert_eq!(docker.daemon.ok("port ls"), before);
    works(docker);
}

/// New containers find their place among those that went on, and all of them go.
fn goes_on(docker: &Docker) {
    docker.web("late", "--network back -p 8081:80");
    docker.ok("network connect front late");
    assert_eq!(docker.shell("web", "wget -qO- http://late/name"), "late");
    assert_eq!(fetch(&docker.outside.machine, OUTSIDE, (HOST, 8081), "name").unwrap(), "late");
    for container in ["late", "client", "web", "db"] {
        docker.ok(&format!("rm -f {container}"));
    }
    docker.ok("network rm front back");
    docker.nothing_is_left();
}

/// The Engine has started its containers anew, as `--restart always` says.
fn comes_back(docker: &Docker) {
    for (container, port) in [("db", 80), ("web", 80)] {
        until("the web servers listen again", || {
            docker.can(container, &format!("netstat -lnt | grep -q ':{port} '"))
        });
    }
    until("the client runs again", || docker.can("client", "true"));
    works(docker);
    goes_on(docker);
}

fn pontoon(docker: &mut Docker, signal: Signal) {
    let before = setup(docker);
    for _ in 0..2 {
        docker.daemon.end(signal);
        docker.daemon.start_again();
        unchanged(docker, before.clone());
    }
    // A container stops while nobody is there to hear of it, and the Engine tells again what was missed.
    let stop = {
        docker.daemon.end(signal);
        let socket = docker.socket();
        std::thread::spawn(move || {
            let arguments = ["-H", &socket, "stop", "-t", "0", "client"];
            crate::daemon::Answer::of(std::process::Command::new("docker").args(arguments)).code
        })
    };
    docker.daemon.start_again();
    assert_eq!(stop.join().unwrap(), Some(0));
    docker.ok("start client");
    works(docker);
    goes_on(docker);
}

/// What pontoon has lost and Docker still knows is refused with a sentence that says what to do, and can be removed.
fn forgotten_state(docker: &mut Docker) {
    docker.ok("network create -d pontoon net");
    let name = docker.daemon.ok("network ls -q");
    docker.daemon.ok(&format!("network rm {name}"));
    let sentence = docker.refused("run --name ant --network net box true");
    assert!(sentence.contains("`docker network rm` it and create it again"), "{sentence}");
    docker.ok("rm ant");
    docker.ok("network rm net");
    docker.ok("network create -d pontoon net");
    docker.ok("run --rm --network net box true");
    docker.ok("network rm net");
    docker.nothing_is_left();
}
