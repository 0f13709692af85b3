//! Where Docker finds its driver: a socket of the daemon's own, one that systemd hands over, or none.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::daemon::{Answer, Daemon, PATIENCE, PONTOON, until};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("docker-socket/own", own),
        test("docker-socket/handed-over", handed_over),
        test("docker-socket/off", off),
        test("docker-socket/taken", taken),
    ]
}

/// Asks the driver as the Engine does: what it answers, header and all.
fn ask(mut stream: UnixStream, method: &str) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "POST /{method} HTTP/1.1\r\nHost: \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_driver(path: &Path) -> bool {
    UnixStream::connect(path).is_ok_and(|stream| {
        let answer = ask(stream, "Plugin.Activate");
        answer.starts_with("HTTP/1.1 200")
            && answer.contains("NetworkDriver")
            && answer.contains("IpamDriver")
    })
}

fn own() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("plugins/pontoon.sock");
    let mut daemon = Daemon::start_with(&["--docker-plugin", socket.to_str().unwrap()]);
    assert!(is_driver(&socket));
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "root's alone");
    daemon.end(Signal::KILL);
    daemon.start_again();
    assert!(is_driver(&socket), "the stale one is replaced");
    assert!(daemon.end(Signal::TERM).success());
    assert!(!socket.exists());
}

/// A daemon whose descriptor 3 is a socket that was made before it, as systemd does.
fn activated(daemon: &Daemon, listener: &UnixListener) -> Child {
    const SCRIPT: &str = "exec 3<&0 0</dev/null; \
        LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=docker-plugin exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh", PONTOON, "--socket"]).arg(daemon.path("activated.sock"));
    command.arg("daemon").arg("--state").arg(daemon.path("activated"));
    // Never made: the one that is handed over is taken.
    command.arg("--docker-plugin").arg(daemon.path("never.sock"));
    let descriptor: OwnedFd = listener.try_clone().unwrap().into();
    command.stdin(descriptor).stdout(Stdio::null()).stderr(Stdio::null());
    daemon.host.run(|| command.spawn()).unwrap().unwrap()
}

/// The socket is there before the daemon and after it: calls wait meanwhile.
fn handed_over() {
    let daemon = Daemon::start();
    let path = daemon.path("pontoon.docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let early = UnixStream::connect(&path).unwrap();
        let asked = std::thread::spawn(move || ask(early, "NetworkDriver.GetCapabilities"));
        let mut child = activated(&daemon, &listener);
        assert!(asked.join().unwrap().contains("\"Scope\":\"local\""));
        assert!(is_driver(&path) && !daemon.path("never.sock").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(path.exists(), "it is systemd's");
    }
}

fn off() {
    let daemon = Daemon::start_with(&["--docker-plugin", "off"]);
    assert!(!Path::new(pontoon::plugin::socket::DEFAULT).exists());
    // Nor does a daemon on a socket of its own take Docker's calls by chance.
    let other = Daemon::start();
    assert!(!Path::new(pontoon::plugin::socket::DEFAULT).exists());
    drop((daemon, other));
}

fn taken() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("pontoon.sock");
    let first = Daemon::start_with(&["--docker-plugin", socket.to_str().unwrap()]);
    let second = Daemon::not_yet(
        pontoon_tools::lab::Namespace::new("e2e-host").unwrap(),
        &["--docker-plugin", socket.to_str().unwrap()],
        None,
    );
    let answer = second.host.run(|| Answer::of(&mut second.command())).unwrap();
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("another daemon is Docker's driver on"), "{}", answer.stderr);
    assert!(answer.stderr.contains("--docker-plugin off"), "{}", answer.stderr);
    until("the first one still answers", || is_driver(&socket));
    drop(first);
}
