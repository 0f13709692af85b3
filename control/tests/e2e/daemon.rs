//! A daemon of the real binary in a network namespace of its own, and sandboxes for its endpoints. It runs on a kernel
//! without netfilter, as far as it can tell.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pontoon::api::types::{DeviceKind, Endpoint, FdbEntry, Mac, Port, PortStats, Stats};
use pontoon_tools::lab::Namespace;
use pontoon_tools::machine::Machine;
use pontoon_tools::witness::Traces;
use pontoon_tools::{bpf, netfilter};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;

/// The program.
pub(crate) const PONTOON: &str = env!("CARGO_BIN_EXE_pontoon");

/// How long anything may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "this did not come about within {PATIENCE:?}: {what}");
        // Only so as not to burn the processor that the daemon needs.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a command line gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// Runs the program with these arguments.
    pub(crate) fn of(command: &mut Command) -> Answer {
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A running daemon, killed when dropped. Its log is shown when the test fails.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The namespace that it runs in: the host, as far as it knows.
    pub(crate) host: Namespace,
    directory: tempfile::TempDir,
    /// Further options of the daemon, from its next start on.
    pub(crate) options: Vec<String>,
    /// Whether the kernel lets it load programs, as far as it can tell.
    has_bpf: bool,
    /// The machine that it is a process of; that of the tests when there is none.
    machine: Option<Arc<Machine>>,
    /// What it logs, as PONTOON_LOG says it, from its next start on.
    pub(crate) verbosity: Option<&'static str>,
    process: Option<Process>,
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    reader: JoinHandle<()>,
}

impl Daemon {
    /// Starts one and waits until it is ready.
    pub(crate) fn start() -> Daemon {
        Daemon::start_with(&[])
    }

    /// Starts one with further options.
    pub(crate) fn start_with(options: &[&str]) -> Daemon {
        Daemon::start_in(Namespace::new("e2e-host").expect("a namespace"), options)
    }

    /// Starts one on a host that is there already.
    pub(crate) fn start_in(host: Namespace, options: &[&str]) -> Daemon {
        Daemon::start_on(host, options, true)
    }

    /// As [`Daemon::start_in`], on a kernel without bpf(2).
    pub(crate) fn start_without_bpf_in(host: Namespace) -> Daemon {
        Daemon::start_on(host, &[], false)
    }

    fn start_on(host: Namespace, options: &[&str], has_bpf: bool) -> Daemon {
        let mut daemon = Daemon::not_yet(host, options, None);
        daemon.has_bpf = has_bpf;
        daemon.start_again();
        daemon
    }

    /// One that has not been started yet.
    pub(crate) fn not_yet(host: Namespace, options: &[&str], machine: Option<Arc<Machine>>) -> Daemon {
        Daemon {
            host,
            directory: tempfile::tempdir().expect("a directory"),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            has_bpf: true,
            machine,
            verbosity: None,
            process: None,
            log: Arc::default(),
        }
    }

    /// A file in the daemon's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command line for a daemon on the same socket and state.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(PONTOON);
        command.arg("--socket").arg(self.path("pontoon.sock"));
        command.arg("daemon").arg("--state").arg(self.path("state")).args(&self.options);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon again after it has ended, and waits until it is ready.
    pub(crate) fn start_again(&mut self) {
        let mut command = self.command();
        command.env_remove("PONTOON_KILL");
        let before = self.spawn(command);
        until("the daemon is ready", || {
            let log = self.log.lock().unwrap();
            assert!(!self.has_ended(), "the daemon has ended: {:?}", &log[before..]);
            log[before..].iter().any(|line| line.contains(" ready "))
        });
    }

    /// Starts the daemon, which kills itself at that instant (`src/failpoint.rs`), and waits until it is ready or dead. Returns whether it
    /// became ready.
    pub(crate) fn start_to_die(&mut self, instant: &str) -> bool {
        let mut command = self.command();
        command.env("PONTOON_KILL", instant);
        let before = self.spawn(command);
        let is_ready = |daemon: &Daemon| {
            daemon.log.lock().unwrap()[before..].iter().any(|line| line.contains(" ready "))
        };
        until("the daemon is ready or dead", || is_ready(self) || self.has_ended());
        is_ready(self) || !self.is_dead()
    }

    /// Whether it has been killed; it is waited for then.
    pub(crate) fn is_dead(&mut self) -> bool {
        let Some(process) = &mut self.process else { return true };
        if process.child.try_wait().expect("it can be waited for").is_none() && !process.reader.is_finished()
        {
            return false;
        }
        let mut process = self.process.take().expect("it was there");
        let status = process.child.wait().expect("it can be waited for");
        process.reader.join().unwrap();
        assert_eq!(status.signal(), Some(9), "the daemon has ended: {status}");
        true
    }

    /// Starts a process and reads its log; where that begins.
    fn spawn(&mut self, mut command: Command) -> usize {
        assert!(self.process.is_none(), "it runs already");
        let before = self.log.lock().unwrap().len();
        command.env_remove("PONTOON_LOG").stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(self.verbosity.map(|filter| ("PONTOON_LOG", filter)));
        // A child is in the namespace of the thread that made it, and has what the thread still has.
        let has_bpf = self.has_bpf;
        let mut child = match &self.machine {
            Some(machine) => machine.spawn(command).unwrap(),
            None => netfilter::run_without(&self.host, move || {
                if !has_bpf {
                    bpf::deny().expect("a filter against bpf(2)");
                }
                command.spawn().expect("the daemon starts")
            })
            .expect("a filter against netfilter"),
        };
        let stderr = child.stderr.take().expect("it was piped");
        let log = Arc::clone(&self.log);
        let reader = std::thread::spawn(move || copy_log(stderr, &log));
        self.process = Some(Process { child, reader });
        before
    }

    fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(|process| process.reader.is_finished())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").child.id()
    }

    /// Sends it a signal and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let pid = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, signal).expect("it can be signalled");
        let mut status = None;
        until("the daemon has ended", || {
            status = process.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        process.reader.join().unwrap();
        status.expect("it has ended")
    }

    /// Lines that it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Asks it by the command line.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(PONTOON);
        Answer::of(command.arg("--socket").arg(self.path("pontoon.sock")).args(arguments))
    }

    /// Asks it for something that must succeed; what was printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let answer = self.ask(&arguments);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "pontoon {line}");
        answer.stdout
    }

    /// Asks for JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, line: &str) -> T {
        let text = self.ok(&format!("{line} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("pontoon {line}: {error} in {text}"))
    }

    /// Creates the network `blue` (10.88.0.0/24).
    pub(crate) fn network(&self, options: &str) {
        self.ok(&format!("network create blue --subnet 10.88.0.0/24 {options}"));
    }

    /// Attaches a new sandbox to the network `blue`.
    pub(crate) fn attach(&self, options: &str) -> Station {
        self.attach_to(Namespace::new("e2e").expect("a namespace"), options)
    }

    /// Attaches a sandbox to the network `blue`.
    pub(crate) fn attach_to(&self, namespace: Namespace, options: &str) -> Station {
        self.attach_on("blue", namespace, options)
    }

    /// Attaches a sandbox to a network.
    pub(crate) fn attach_on(&self, network: &str, namespace: Namespace, options: &str) -> Station {
        let before = Traces::of(namespace.netns(), &[]).expect("the sandbox can be looked at");
        let endpoint = self.json(&format!("attach {network} --netns {} {options}", namespace.name()));
        Station { namespace, endpoint, before }
    }

    /// The forwarding database.
    pub(crate) fn fdb(&self) -> Vec<FdbEntry> {
        self.json("fdb ls")
    }

    /// The ports.
    pub(crate) fn ports(&self) -> Vec<Port> {
        self.json("port ls")
    }

    /// The counters of a station's port.
    pub(crate) fn counters(&self, station: &Station) -> PortStats {
        let stats: Stats = self.json("stats");
        let port = station.port();
        stats.ports.into_iter().find(|stats| stats.port == port).expect("the port has counters")
    }

    /// Frames of a station that were dropped for a reason.
    pub(crate) fn dropped(&self, station: &Station, reason: &str) -> u64 {
        self.counters(station).drops.get(reason).map_or(0, |traffic| traffic.frames)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
            let _ = process.reader.join();
        }
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("the daemon's log:\n{}", log.join("\n"));
        }
    }
}

fn copy_log(stderr: ChildStderr, log: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        log.lock().unwrap().push(line);
    }
}

/// A sandbox with its endpoint. When it goes, it must have no more of bridges, veths and firewall rules than when it came, but
/// for the veth that was asked for.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) namespace: Namespace,
    pub(crate) endpoint: Endpoint,
    before: Traces,
}

impl Drop for Station {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut after = Traces::of(self.namespace.netns(), &[]).expect("the sandbox can be looked at");
        if self.endpoint.kind == DeviceKind::Veth {
            after.links.retain(|_, kind| kind != "veth");
        }
        assert_eq!(after, self.before, "{} is not as it was", self.port());
    }
}

impl Station {
    /// Its address.
    pub(crate) fn ip(&self) -> Ipv4Addr {
        match self.endpoint.address.addr() {
            std::net::IpAddr::V4(address) => address,
            std::net::IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
        }
    }

    /// Its MAC.
    pub(crate) fn mac(&self) -> Mac {
        self.endpoint.mac
    }

    /// Its port's name.
    pub(crate) fn port(&self) -> String {
        format!("{}/{}", self.endpoint.network, self.endpoint.name)
    }
}

/// The gateway of the network `blue`.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
