//! `pontoon run`: commands in fresh sandboxes, how they end, and that nothing is left of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use pontoon::api::types::{DnsName, Endpoint, Link, Network, Port, Protocol, Publication, SandboxRef};
use pontoon::link::Links;
use pontoon::netns::{Netns, run_in};
use pontoon_tools::outside::{HOST, OUTSIDE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::thread::UnshareFlags;

use crate::daemon::{Answer, Daemon, PATIENCE, PONTOON, until};
use crate::edge::{Edge, SILENCE, plain_test, try_connect};
use crate::names::{LOCAL, look_up};
use crate::nameserver::{Manner, Upstream, given};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("run/by-name", by_name),
        test("run/none-and-host", none_and_host),
        test("run/status", status),
        test("run/signals", signals),
        test("run/terminal", terminal),
        test("run/killed", killed),
        test("run/left-behind", left_behind),
        test("run/files", files),
        test("run/files-that-the-host-lacks", files_that_the_host_lacks),
        test("run/files-that-the-host-replaces", files_that_the_host_replaces),
        test("run/dns", dns),
        test("run/link", link),
        test("run/all-or-nothing", all_or_nothing),
        test("run/several-networks", several_networks),
        test("run/daemon-restarted", daemon_restarted),
        test("run/daemon-gone", daemon_gone),
        plain_test("run/published", "", published),
    ]
}

/// A command in a sandbox that says `up` when it runs and then copies what it is told, until it is told no more.
const COPY: [&str; 3] = ["sh", "-c", "echo up; exec cat"];

/// A command that runs.
#[derive(Debug)]
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts one and waits until it has said `up`.
    fn start(daemon: &Daemon, options: &str, command: &[&str]) -> Running {
        let mut running = heeds_signals(PONTOON);
        running.arg("--socket").arg(daemon.path("pontoon.sock")).arg("run");
        running.args(options.split_whitespace()).arg("--").args(command);
        Running::of(running)
    }

    fn of(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(BufReader::new);
        let mut running = Running { child, stdin, stdout };
        assert_eq!(running.line(), "up\n");
        running
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: its status as a shell would say it, and what else it printed before it and all that it started had ended.
    fn end(mut self) -> (i32, String) {
        drop(self.stdin.take());
        let mut stdout = self.stdout.take().unwrap();
        let (said, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            // Nobody listens when it came too late.
            let _ = said.send(rest);
        });
        let rest = hear.recv_timeout(PATIENCE).expect("all that could write have ended");
        let status = self.child.wait().unwrap();
        (status.code().or_else(|| status.signal().map(|it| 128 + it)).unwrap(), rest)
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }
}

/// Runs a command of a shell to its end.
fn shell(daemon: &Daemon, options: &str, script: &str) -> Answer {
    let mut arguments = vec!["run"];
    arguments.extend(options.split_whitespace());
    arguments.extend(["--", "bash", "-c", script]);
    daemon.ask(&arguments)
}

/// What a command of a shell prints; it must succeed.
fn says(daemon: &Daemon, options: &str, script: &str) -> String {
    let answer = shell(daemon, options, script);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{options}: {script}");
    answer.stdout
}

/// The endpoint of that name on the network blue, and its namespace.
fn endpoint(daemon: &Daemon, name: &str) -> (Ipv4Addr, Netns) {
    let network: Network = daemon.json("network show blue");
    let found: &Endpoint = network.endpoints.iter().find(|it| it.name == name).unwrap();
    let address = found.address.addr().to_string().parse().unwrap();
    (address, Netns::find(&found.sandbox).unwrap())
}

/// What there is of sandboxes: ports, publications, names, links.
fn left(daemon: &Daemon) -> Vec<String> {
    let ports: Vec<Port> = daemon.json("port ls");
    let publications: Vec<Publication> = daemon.json("ports");
    let names: Vec<DnsName> = daemon.json("dns ls");
    let links: Vec<Link> = daemon.json("link ls");
    let ports = ports.into_iter().map(|it| it.port);
    let publications = publications.into_iter().map(|it| it.ports.to_string());
    let names = names.into_iter().map(|it| it.name);
    ports.chain(publications).chain(names).chain(links.into_iter().map(|it| it.from)).collect()
}

fn nothing_is_left(daemon: &Daemon) {
    assert_eq!(left(daemon), [] as [String; 0]);
}

/// Serves `hello` to whoever connects to a port in a namespace.
fn serve(at: &Netns, port: u16) -> std::thread::JoinHandle<()> {
    let listener = run_in(at, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello\n").unwrap())
}

fn by_name() {
    let daemon = Daemon::start();
    daemon.network("");
    let web = Running::start(&daemon, "--network blue --name web --network-alias www --ip 10.88.0.77", &COPY);
    let (address, netns) = endpoint(&daemon, "web");
    assert_eq!(address, Ipv4Addr::new(10, 88, 0, 77));
    let served = serve(&netns, 7000);
    let said = says(&daemon, "--network blue", "exec 3<>/dev/tcp/web/7000; cat <&3; getent hosts www");
    assert!(said.starts_with("hello\n10.88.0.77"), "{said}");
    served.join().unwrap();
    drop(netns);
    assert_eq!(web.end(), (0, String::new()));
    nothing_is_left(&daemon);

    // Who names no network is on one all the same.
    assert_eq!(says(&daemon, "--name usual", "getent hosts usual",).split_whitespace().last(), Some("usual"));
    let usual: Network = daemon.json("network show default");
    assert_eq!(usual.subnet.to_string(), "172.17.0.0/16");
    says(&daemon, "--network default", "true");
}

fn none_and_host() {
    // Neither needs a daemon.
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PONTOON);
        Answer::of(command.args(["--socket", "/run/nobody.sock", "run"]).args(arguments))
    };
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1; cat /etc/hosts; hostname; ls /sys/class/net";
    let none = run(&["--network", "none", "--hostname", "lone", "--", "sh", "-c", script]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = none.stdout.lines().collect();
    assert_eq!(
        (lines[0].trim(), lines[1], lines.len()),
        ("lo", "127.0.0.1\tlocalhost", 9),
        "{}",
        none.stdout
    );
    assert_eq!(lines[7..], ["lone", "lo"]);
    let pinged = run(&["--network", "none", "--", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"]);
    assert!(pinged.stderr.contains("Connection refused"), "its loopback is up: {}", pinged.stderr);
    let asked = ["--network", "none", "--dns", "192.0.2.1", "--", "grep", "nameserver", "/etc/resolv.conf"];
    assert_eq!(run(&asked).stdout, "nameserver 192.0.2.1\n");

    let namespaces = ["/proc/self/ns/net", "/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/ns/uts"];
    let own = namespaces.map(|it| fs::read_link(it).unwrap().display().to_string() + "\n").concat();
    let readlink = [&["--network", "host", "--", "readlink"], &namespaces[..]].concat();
    assert_eq!(run(&readlink).stdout, own);
    let readlink = [&["--network", "none", "--", "readlink"], &namespaces[..]].concat();
    for (own, other) in own.lines().zip(run(&readlink).stdout.lines()) {
        assert_ne!(own, other);
    }

    let missing = run(&["--", "true"]);
    assert_eq!(missing.code, Some(125));
    assert!(
        missing.stderr.starts_with("pontoon: no daemon is running on /run/nobody.sock"),
        "{}",
        missing.stderr
    );
    let both = run(&["--network", "host", "-p", "80:80", "--", "true"]);
    assert_eq!(both.code, Some(125));
    assert_eq!(both.stderr, "pontoon: --publish has no effect with --network host; leave it out\n");
}

fn status() {
    let daemon = Daemon::start();
    daemon.network("");
    let run = |network: &str, command: &[&str]| {
        daemon.ask(&[&["run", "--network", network, "--"], command].concat())
    };
    for network in ["blue", "none", "host"] {
        assert_eq!(run(network, &["sh", "-c", "exit 7"]).code, Some(7), "{network}");
        let missing = run(network, &["no-such-command"]);
        assert_eq!(missing.code, Some(127), "{network}");
        assert_eq!(missing.stderr, "pontoon: cannot run no-such-command: there is no such command\n");
        let denied = run(network, &["/etc"]);
        assert_eq!(denied.code, Some(126), "{network}");
        assert!(denied.stderr.starts_with("pontoon: cannot run /etc: "), "{}", denied.stderr);
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        assert_eq!(run("blue", &["sh", "-c", &format!("kill -{signal} $$")]).code, Some(code));
    }
    let unknown = daemon.ask(&["run", "--json", "--network", "red", "--", "true"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(125), ""));
    let said: serde_json::Value = serde_json::from_str(&unknown.stderr).unwrap();
    assert_eq!(said["error"], "there is no network red; `pontoon network ls` lists what there is");
    for (options, said) in
        [("--name a/b", "\"a/b\" cannot be the name of an endpoint"), ("--hostname _", "of a host")]
    {
        let refused = shell(&daemon, options, "true");
        assert_eq!(refused.code, Some(125));
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    nothing_is_left(&daemon);
}

fn signals() {
    let daemon = Daemon::start();
    daemon.network("");
    let script =
        "trap 'echo term; exit 3' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 60 & wait $!; done";
    let mut running = Running::start(&daemon, "--network blue", &["sh", "-c", script]);
    running.signal(Signal::USR1);
    assert_eq!(running.line(), "usr1\n");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), (3, "term\n".to_owned()));
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let running = Running::start(&daemon, "--network blue", &["sh", "-c", "echo up; exec sleep 60"]);
        running.signal(signal);
        assert_eq!(running.end(), (code, String::new()));
    }
    nothing_is_left(&daemon);
}

/// A terminal: the side that a person has, and the path of the other.
fn open_terminal() -> (fs::File, String) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&person).unwrap();
    let path = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    (person.into(), path)
}

/// A program that does not ignore SIGHUP, SIGINT and SIGQUIT, as those do that are started under nohup or in the background of a script.
fn heeds_signals(program: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT", program]);
    command
}

/// A command of a shell in a sandbox, whose terminal that is.
fn at_terminal(path: &str, script: &str) -> Child {
    let open = || fs::File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).unwrap();
    let mut command = heeds_signals("setsid");
    command.args(["--ctty", PONTOON, "run", "--network", "none", "--", "bash", "-c", script]);
    command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap()
}

/// Waits until the terminal shows that; what else it showed before.
fn shows(person: &mut fs::File, text: &str) -> String {
    let mut shown = String::new();
    until(text, || {
        // A turn of `until` at most, should it show nothing more.
        let soon = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut [PollFd::new(person, PollFlags::IN)], Some(&soon)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 512];
        let length = person.read(&mut buffer).unwrap();
        shown += std::str::from_utf8(&buffer[..length]).unwrap();
        shown.contains(text)
    });
    shown
}

fn terminal() {
    // The kernel sends it to all who have the terminal, and nobody sends it once more.
    let (mut person, path) = open_terminal();
    let script = "n=0; trap 'n=$((n+1)); echo got $n' INT; echo up; while read line; do echo $line $n; done";
    let mut child = at_terminal(&path, script);
    shows(&mut person, "up");
    for round in 1..=3 {
        person.write_all(b"\x03").unwrap();
        shows(&mut person, &format!("got {round}"));
    }
    person.write_all(b"sum\n").unwrap();
    shows(&mut person, "sum 3");
    person.write_all(b"\x04").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // A hang-up.
    let (mut person, path) = open_terminal();
    let mut child = at_terminal(&path, "echo up; sleep 1000");
    shows(&mut person, "up");
    drop(person);
    assert_eq!(child.wait().unwrap().code(), Some(129));
}

/// Whoever is killed, and however: nothing is left of it soon.
fn killed() {
    let daemon = Daemon::start();
    daemon.network("");
    let init_of = |name: &str| {
        let network: Network = daemon.json("network show blue");
        match network.endpoints.into_iter().find(|it| it.name == name).unwrap().sandbox {
            SandboxRef::Pid(pid) => Pid::from_raw(pid.cast_signed()).unwrap(),
            SandboxRef::Netns(name) => panic!("{name}"),
        }
    };
    for who in ["run", "init"] {
        let options = "--network blue --name web --ip 10.88.0.50 -p 8080:80 --hostname h";
        // One that would rather stay.
        let script = "trap '' HUP INT TERM; setsid sleep 1000 & echo up; wait";
        let running = Running::start(&daemon, options, &["sh", "-c", script]);
        assert_eq!(left(&daemon).len(), 3, "its port, its publication and its name");
        match who {
            "run" => running.signal(Signal::KILL),
            _ => kill_process(init_of("web"), Signal::KILL).unwrap(),
        }
        // Standard output ends: so has everybody who could write there.
        assert_eq!(running.end(), (137, String::new()), "{who}");
        until("nothing is left", || left(&daemon).is_empty());
    }
    // All of it can be had again.
    let again = "--network blue --name web --ip 10.88.0.50 -p 8080:80 --hostname h";
    assert_eq!(says(&daemon, again, "hostname -I"), "10.88.0.50 \n");
}

/// What a command leaves in its sandbox ends with it.
fn left_behind() {
    let daemon = Daemon::start();
    daemon.network("");
    let script = "setsid sh -c 'trap \"\" HUP TERM; sleep 1000; echo late' & echo up; exit 5";
    let running = Running::start(&daemon, "--network blue", &["sh", "-c", script]);
    assert_eq!(running.end(), (5, String::new()));
    nothing_is_left(&daemon);
    // Orphans that end meanwhile are waited for.
    let script =
        "(sh -c 'exit 0' & exit 0); until [ -z \"$(ps -o stat= --ppid 1 | grep Z)\" ]; do :; done; echo none";
    assert_eq!(says(&daemon, "--network blue", script), "none\n");
}

/// Runs `work` on a thread whose /etc is that directory.
fn with_etc<T: Send>(etc: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let own = move || {
            pontoon::sys::unshare(UnshareFlags::NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount_bind(etc, "/etc").unwrap();
            work()
        };
        scope.spawn(own).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A directory that may be an /etc, with these files.
fn etc(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["passwd", "nsswitch.conf"] {
        if Path::new("/etc").join(name).exists() {
            fs::copy(Path::new("/etc").join(name), directory.path().join(name)).unwrap();
        }
    }
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

const ALL: &str = "cat /etc/hostname /etc/resolv.conf; tail -n 1 /etc/hosts; stat -c %a /etc/hostname";

fn files() {
    let daemon = Daemon::start();
    daemon.network("");
    let host = [
        ("hosts", "192.0.2.1 host-only\n"),
        ("hostname", "the-host\n"),
        ("host.conf", "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n"),
    ];
    let etc = etc(&host);
    std::os::unix::fs::symlink("host.conf", etc.path().join("resolv.conf")).unwrap();
    with_etc(etc.path(), || {
        let said = says(&daemon, "--network blue --name web --hostname h.example.org", ALL);
        let expected = "h.example.org\nnameserver 127.0.0.11\nsearch example.com\noptions edns0 ndots:0\n\
                        10.88.0.2\th.example.org h web\n644\n";
        assert_eq!(said, expected);
        assert_eq!(
            says(&daemon, "--network blue --hostname h", "hostname; umask 077; touch /etc/new"),
            "h\n"
        );
        let none =
            says(&daemon, "--network none", "cat /etc/resolv.conf; grep -c host-only /etc/hosts || true");
        assert_eq!(none, "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n0\n");
        // Nobody else sees the mounts.
        let running = Running::start(&daemon, "--network blue", &COPY);
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(" /etc/"), "{mounts}");
        assert_eq!(running.end().0, 0);
    });
    for (name, text) in host {
        assert_eq!(fs::read_to_string(etc.path().join(name)).unwrap(), text);
    }
    // The rest of /etc is the host's.
    assert!(etc.path().join("new").exists());
}

fn files_that_the_host_lacks() {
    let daemon = Daemon::start();
    daemon.network("");
    let etc = etc(&[("hosts", "192.0.2.1 host-only\n"), ("other", "before\n")]);
    fs::create_dir(etc.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("/run/nowhere/resolv.conf", etc.path().join("resolv.conf")).unwrap();
    let listing = || {
        let names = fs::read_dir(etc.path()).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let before = listing();
    with_etc(etc.path(), || {
        let script = format!("{ALL}; echo after > /etc/other; echo deep > /etc/sub/new; getent hosts web");
        let said = says(&daemon, "--network blue --name web", &script);
        let expected = "web\nnameserver 127.0.0.11\noptions ndots:0\n10.88.0.2\tweb\n644\n";
        assert!(said.starts_with(expected) && said.ends_with("web\n"), "{said}");
    });
    assert_eq!(listing(), before);
    assert_eq!(fs::read_to_string(etc.path().join("other")).unwrap(), "after\n");
    assert_eq!(fs::read_to_string(etc.path().join("sub/new")).unwrap(), "deep\n");
}

/// As a DHCP client and most editors write a file anew.
fn files_that_the_host_replaces() {
    let daemon = Daemon::start();
    daemon.network("");
    let etc = etc(&[("hosts", "192.0.2.1 host-only\n"), ("resolv.conf", "nameserver 192.0.2.53\n")]);
    with_etc(etc.path(), || {
        let script = "echo up; while read word; do head -n 1 /etc/resolv.conf; done";
        let mut running = Running::start(&daemon, "--network blue", &["sh", "-c", script]);
        for round in 0..6 {
            let (new, file) = (etc.path().join("new"), etc.path().join("resolv.conf"));
            fs::write(&new, format!("nameserver 192.0.2.{round}\n")).unwrap();
            if round % 2 == 0 {
                fs::remove_file(&file).unwrap();
            }
            fs::rename(new, file).unwrap();
            until("the sandbox has its own again", || {
                running.stdin.as_mut().unwrap().write_all(b"look\n").unwrap();
                running.line() == "nameserver 127.0.0.11\n"
            });
        }
        assert_eq!(running.end().0, 0);
    });
}

fn dns() {
    let daemon = Daemon::start();
    let other = Ipv4Addr::new(127, 0, 0, 99);
    daemon
        .host
        .run(|| Links::open().and_then(|links| links.set_up(&links.get("lo")?, true)))
        .unwrap()
        .unwrap();
    daemon.network("");
    let upstream = Upstream::start(daemon.host.netns(), other, Manner::Good);
    let said = says(
        &daemon,
        "--network blue --dns 127.0.0.99",
        "getent ahostsv4 some.example | head -1; grep nameserver /etc/resolv.conf",
    );
    assert!(said.starts_with(&given(other).to_string()), "{said}");
    assert!(said.ends_with("nameserver 127.0.0.11\n"), "{said}");
    assert!(upstream.names().contains(&"some.example.".to_owned()), "{:?}", upstream.names());
    // A name of a single label is nobody else's business.
    assert_eq!(shell(&daemon, "--network blue --dns 127.0.0.99", "getent hosts nobody").code, Some(2));
    assert!(!upstream.names().iter().any(|it| it.starts_with("nobody")), "{:?}", upstream.names());
    let many = shell(&daemon, "--network blue --dns 192.0.2.1,192.0.2.2 --dns 192.0.2.3,192.0.2.4", "true");
    assert_eq!(many.code, Some(125));
    assert!(many.stderr.contains("give 3 at most"), "{}", many.stderr);
}

fn link() {
    let daemon = Daemon::start();
    daemon.network("--icc=false");
    let db = Running::start(&daemon, "--network blue --name db --network-alias data", &COPY);
    let (_, netns) = endpoint(&daemon, "db");
    let connect = "timeout 1 bash -c 'exec 3<>/dev/tcp/db/7000; cat <&3'";
    let served = serve(&netns, 7000);
    assert_eq!(shell(&daemon, "--network blue", connect).code, Some(124), "nothing passes");
    assert_eq!(
        shell(&daemon, "--network blue --link db:7001", connect).code,
        Some(124),
        "it is to another port"
    );
    assert_eq!(says(&daemon, "--network blue --link data:7000", connect), "hello\n");
    served.join().unwrap();
    let served = serve(&netns, 7000);
    assert_eq!(says(&daemon, "--network blue --link db", connect), "hello\n");
    served.join().unwrap();
    let links: Vec<Link> = daemon.json("link ls");
    assert!(links.is_empty(), "{links:?}");
    let unknown = shell(&daemon, "--network blue --link nobody", "true");
    assert_eq!(unknown.code, Some(125));
    assert!(unknown.stderr.contains("no endpoint nobody on blue"), "{}", unknown.stderr);
    drop(netns);
    assert_eq!(db.end().0, 0);
    nothing_is_left(&daemon);
}

/// Whatever cannot be met: one sentence, and nothing is there that was not there before.
fn all_or_nothing() {
    let daemon = Daemon::start();
    daemon.network("");
    daemon.ok("network create red --subnet 10.89.0.0/24");
    let web = Running::start(&daemon, "--network blue --name web --ip 10.88.0.9 -p 8080:80", &COPY);
    let before = (left(&daemon), daemon.ok("network ls -q"));
    for (options, said) in [
        ("--network red --network blue --name web", "blue/web exists already"),
        (
            "--network red --network blue --name other --network-alias a --network name=blue",
            "is on the network blue already",
        ),
        ("--network red --network name=blue,ip=10.88.0.9", "10.88.0.9"),
        ("--network red --network name=blue,alias=web", "web"),
        ("--network name=red,ip=10.88.0.9", "is outside"),
        ("--network red --network green", "there is no network green"),
        ("--network red -p 7000:70 -p 8080:80", "8080/tcp is taken by blue/web"),
        ("--network red -p 7000:70 -p 192.0.2.77:80:80", "192.0.2.77"),
        ("--network red --link web", "no endpoint web on red"),
        ("--network red --mac-address 03:00:00:00:00:01", "03:00:00:00:00:01"),
        // The network that would be made for it goes again.
        ("-p 8080:80", "8080/tcp is taken by blue/web"),
    ] {
        let refused = shell(&daemon, options, "true");
        assert_eq!(
            (refused.code, refused.stderr.lines().count()),
            (Some(125), 1),
            "{options}: {}",
            refused.stderr
        );
        assert!(refused.stderr.contains(said), "{options}: {}", refused.stderr);
        assert_eq!((left(&daemon), daemon.ok("network ls -q")), before, "{options}");
    }
    assert_eq!(web.end().0, 0);
}

fn several_networks() {
    let daemon = Daemon::start();
    daemon.network("--internal");
    daemon.ok("network create red --subnet 10.89.0.0/24");
    let options = "--network blue --network name=red,ip=10.89.0.7,alias=far -p 8080:80 --name both";
    let script = "ip -o -4 addr show | awk '{print $2, $4}'; tail -n 2 /etc/hosts; ip route show default; getent hosts both.red far";
    let said = says(&daemon, options, script);
    let lines: Vec<String> =
        said.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "lo 127.0.0.1/8",
        "eth0 10.88.0.2/24",
        "eth1 10.89.0.7/24",
        "10.88.0.2 both",
        "10.89.0.7 both",
        "default via 10.89.0.1 dev eth1 proto static",
        "10.89.0.7 both.red",
        "10.89.0.7 far",
    ];
    assert_eq!(lines, expected);
    nothing_is_left(&daemon);
}

fn daemon_restarted() {
    let mut daemon = Daemon::start();
    daemon.network("");
    let db = Running::start(&daemon, "--network blue --name db", &COPY);
    let web = Running::start(&daemon, "--network blue --name web -p 8080:80", &COPY);
    daemon.end(Signal::KILL);
    daemon.start_again();
    let (address, netns) = endpoint(&daemon, "db");
    let (_, from) = endpoint(&daemon, "web");
    assert_eq!(look_up(&from, LOCAL, "db."), Some(vec![address]));
    let served = serve(&netns, 7000);
    let mut said = String::new();
    let connect = || std::net::TcpStream::connect_timeout(&(address, 7000).into(), PATIENCE);
    run_in(&from, connect).unwrap().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello\n");
    served.join().unwrap();
    drop((netns, from));
    assert_eq!(web.end().0, 0);
    let expected = ["blue/db", "db"];
    assert_eq!(left(&daemon), expected, "given back at once");
    db.signal(Signal::KILL);
    db.end();
    until("nothing is left", || left(&daemon).is_empty());
}

/// It ends while no daemon runs; the next one finds out.
fn daemon_gone() {
    let mut daemon = Daemon::start();
    daemon.network("");
    let web = Running::start(&daemon, "--network blue --name web -p 8080:80", &COPY);
    daemon.end(Signal::KILL);
    assert_eq!(web.end(), (0, String::new()));
    daemon.start_again();
    nothing_is_left(&daemon);
}

fn published(edge: &mut Edge) {
    let daemon = &edge.daemon;
    let web = Running::start(daemon, "--network blue --name web -p 8080:80 -p 9000-9001:90-91/udp", &COPY);
    let (_, netns) = endpoint(daemon, "web");
    let served = serve(&netns, 80);
    let from_outside = |patience| try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, 8080), patience);
    let mut said = String::new();
    from_outside(PATIENCE).unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello\n");
    served.join().unwrap();
    assert_eq!(daemon.ok("ports -q").lines().count(), 2);
    drop(netns);
    assert_eq!(web.end().0, 0);
    assert!(from_outside(SILENCE).is_err());
    // At once, for whoever wants it next.
    let again = Running::start(daemon, "--network blue -p 8080:80", &COPY);
    assert_eq!(again.end().0, 0);
    // On any port that is free.
    let any = Running::start(daemon, "--network blue --name any -p 80 -p 90/udp", &COPY);
    let chosen: Vec<Publication> = daemon.json("ports");
    let (_, netns) = endpoint(daemon, "any");
    let served = serve(&netns, 80);
    let port = chosen.iter().find(|it| it.protocol == Protocol::Tcp).unwrap().host_ports.first;
    let mut said = String::new();
    let mut stream = try_connect(&edge.outside.machine, (OUTSIDE, 0), (HOST, port), PATIENCE).unwrap();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), chosen.len()), ("hello\n", 2));
    served.join().unwrap();
    drop(netns);
    assert_eq!(any.end().0, 0);
    nothing_is_left(daemon);
}
